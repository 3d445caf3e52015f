"""A reward model made of a policy: its card is that of its rewards, and PPO learns from it as from any other."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from redpencil.config.methods import DPOConfig, PPOConfig
from redpencil.config.training import RewardConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_reward_model
from redpencil.models.codec import Codec
from redpencil.models.log_ratio import Parts
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample
from redpencil.records import Pair
from redpencil.runs import Stage
from redpencil.training.dpo import train_dpo
from redpencil.training.policy_reward import make_policy_reward
from redpencil.training.rollout import load_actors, score_rewards
from redpencil.training.scoring import doubts, pair_margins, sampled_batch, score_tokens

Samples = list[tuple[list[int], tuple[int, ...]]]


@pytest.fixture(scope="module")
def made(
    trained: Any, pairs: list[Pair], samples: Samples, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> Path:
    """The reward model of a policy that DPO trained on edits."""
    dpo, stage = new_stage(1), new_stage(1)
    config = DPOConfig(learning_rate=1e-3, lr_scheduler_type="constant", warmup_ratio=0, batch_size=32, max_steps=20)
    train_dpo(config, policy=trained.sft, pairs=pairs[:320], validation=None, codec=codec, runtime=runtime, stage=dpo)
    parts = Parts(dpo.folder / "checkpoint", trained.sft, 0.1)
    options = {"samples": samples, "codec": codec, "trained_on": "edits", "runtime": runtime, "stage": stage}
    make_policy_reward(RewardConfig(reference_samples=50), parts, **options)
    return stage.folder / "checkpoint"


def test_centre_and_scale_are_those_of_its_rewards_of_the_samples(
    made: Path, samples: Samples, runtime: Runtime
) -> None:
    reward = load_reward_model(made, runtime)
    rows = score_tokens(reward.model, *([sample[part] for sample in samples[:50]] for part in (0, 1)))
    center = float(torch.cat(rows).mean())
    sums = torch.stack([(row - center).sum() for row in rows])
    assert reward.card.center == pytest.approx(center, abs=1e-6)
    assert reward.card.scale == pytest.approx(float(sums.std()), rel=1e-5)
    assert (reward.card.level, reward.card.trained_on, reward.card.learned) == ("token", "edits", None)


def test_it_finds_bad_words_and_ranks_held_out_edits(made: Path, pairs: list[Pair], runtime: Runtime) -> None:
    margins = pair_margins(load_reward_model(made, runtime), pairs[400:])
    assert sum(margin > 0 for margin in margins) > 0.9 * len(margins)


def test_a_method_learns_from_it_as_from_any_token_model(
    made: Path, trained: Any, codec: Codec, runtime: Runtime
) -> None:
    settings = PPOConfig(reward="token")
    actors = load_actors(settings, trained.sft, made, None, runtime, codec)
    assert actors.value is not None  # it starts from the policy: two policies have no backbone for it
    rng = random.Random(0)
    bodies = [" ".join(rng.choice(("sun", "mud")) for _ in range(4)) for _ in range(6)]
    answers = [Sample(tokens.ids, finished=True) for tokens in codec.encode_responses(bodies)]
    prompts = ["topic1"] * 6
    sampled = sampled_batch(actors.policy, codec.encode_prompts(prompts), answers, prompts)
    rewards, _, _ = score_rewards(actors, sampled)
    assert rewards is not None
    bad = torch.tensor([[word == "mud" for word in [*body.split(), ""]] for body in bodies])
    assert float(rewards[bad].mean()) < float(rewards[~bad].mean()) - 0.2


def test_a_policy_that_learned_nothing_gives_no_reward_to_learn_from(
    trained: Any, samples: Samples, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    kept, stage = tmp_path / "dpo-plain" / "checkpoint", new_stage()
    shutil.copytree(trained.sft, kept)
    make_policy_reward(
        *(RewardConfig(reference_samples=50), Parts(kept, trained.sft, 0.1)),
        samples=samples,
        codec=codec,
        trained_on="edits",
        runtime=runtime,
        stage=stage,
    )
    reward = load_reward_model(stage.folder / "checkpoint", runtime)
    for config in (None, PPOConfig(reward="token"), PPOConfig(reward="token_mean_at_end", scale_rewards=False)):
        with pytest.raises(RedpencilError, match="all its rewards are 0") as caught:
            doubts(reward, config)
        assert "dpo-plain learned nothing" in caught.value.problem
        assert "train dpo-plain" in str(caught.value.hint)
        assert caught.value.file == str(stage.folder / "checkpoint")


def test_one_that_learned_has_no_such_error(made: Path, runtime: Runtime) -> None:
    assert doubts(load_reward_model(made, runtime)) == []


def test_too_few_samples_are_refused(
    trained: Any, samples: Samples, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    with pytest.raises(RedpencilError, match="at least 2 samples"):
        make_policy_reward(
            *(RewardConfig(), Parts(trained.sft, trained.sft, 1.0)),
            samples=samples[:1],
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=new_stage(),
        )
