"""GRPO: groups of answers to one prompt, no value model, and that it learns from token and sequence rewards."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from redpencil.config.methods import GRPOConfig
from redpencil.maths.ppo import group_advantages
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts
from redpencil.records import Prompt, Response
from redpencil.runs import Stage, read_metrics
from redpencil.training.grpo import compare_in_groups, run_grpo
from redpencil.training.rollout import (
    Actors,
    load_actors,
    rewards_of,
    sample_rollouts,
    sampling_of,
    score_rollouts,
)
from redpencil.training.validation import Validation

PROMPTS = [Prompt(str(i), f"topic{i % 8}") for i in range(64)]


def config(**changes: object) -> GRPOConfig:
    options = {
        "response_length": 8,
        "group_size": 4,
        "rollout_batch_size": 8,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "lr_scheduler_type": "constant",
        "kl_coef": 0.02,
        "total_steps": 15,
        "eval_steps": 15,
    }
    return GRPOConfig.model_validate({**options, **changes})


@pytest.fixture
def load(trained: Any, runtime: Runtime, codec: Codec) -> Callable[[GRPOConfig], Actors]:
    """The actors of a configuration."""
    return lambda settings: load_actors(settings, trained.sft, trained.token, trained.sequence, runtime, codec)


def test_there_is_no_value_model(load: Callable[[GRPOConfig], Actors]) -> None:
    assert load(config()).value is None


@pytest.mark.parametrize("advantage", ["return_to_go", "end"])
@pytest.mark.parametrize("reward", ["token", "sequence"])
def test_advantages_are_those_of_the_groups_of_neighbours(
    load: Callable[[GRPOConfig], Actors], codec: Codec, reward: str, advantage: str
) -> None:
    settings = config(reward=reward, advantage=advantage, gamma=0.9)
    actors = load(settings)
    texts = [f"topic{i // 4}" for i in range(8)]
    sampled = sample_rollouts(actors, codec.encode_prompts(texts), texts, settings, seed=0)
    rollouts, metrics = compare_in_groups(actors, sampled, settings, 0.1)
    rewards, expected_metrics = rewards_of(score_rollouts(actors, sampled, settings), sampled, settings, 0.1)
    mask = sampled.batch.response_mask
    for group in (slice(0, 4), slice(4, 8)):  # each by itself: neighbours of another prompt change nothing
        alone = group_advantages(rewards[group], mask[group], 4, kind=settings.advantage, gamma=0.9)
        torch.testing.assert_close(rollouts.advantages[group], alone)
    assert metrics == expected_metrics
    assert rollouts.values is None
    assert rollouts.select([1, 2]).values is None
    if advantage == "end":
        for row, counts in zip(rollouts.advantages, mask, strict=True):
            assert len(row[counts].unique()) == 1


@pytest.mark.parametrize("options", [
    {"reward": "token", "advantage": "return_to_go"},
    {"reward": "token", "advantage": "end"},
    {"reward": "sequence", "advantage": "end"},
])  # fmt: skip
def test_bad_words_become_rare(
    load: Callable[[GRPOConfig], Actors], codec: Codec, new_stage: Callable[..., Stage], options: dict[str, Any]
) -> None:
    settings, stage = config(**options, grpo_epochs=2), new_stage()
    shares: list[float] = []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        words = [word for row in responses for word in row.response.split()]
        shares.append(sum(word in ("mud", "rot") for word in words) / len(words))
        return {}

    prompts = encode_prompts(PROMPTS, codec, 16)
    validation = Validation(prompts, sampling_of(settings), evaluate, settings.eval_steps)
    run_grpo(settings, actors=load(settings), prompts=prompts, validation=validation, stage=stage)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows] == list(range(16))
    assert 0.2 < shares[0] < 0.4  # the corpus has .3
    assert shares[-1] < 0.5 * shares[0]
    assert rows[-1]["eval/reward"] > rows[0]["eval/reward"]
    assert {"policy_loss", "clip_fraction", "approx_kl", "kl", "entropy", "policy_grad_norm"} <= rows[1].keys()
    assert "value_loss" not in rows[1]
    assert (stage.folder / "checkpoint" / "model.safetensors").is_file()


def test_every_prompt_of_a_step_is_answered_group_size_times(
    load: Callable[[GRPOConfig], Actors], codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=1, eval_steps=1)
    actors = load(settings)
    asked: list[list[tuple[int, ...]]] = []

    class Watched:
        codec = actors.sampler.codec

        def __getattr__(self, name: str) -> Any:
            return getattr(actors.sampler, name)

        def sample(self, prompt_ids: Any, *args: Any, **options: Any) -> Any:
            asked.append([tuple(ids) for ids in prompt_ids])
            return actors.sampler.sample(prompt_ids, *args, **options)

    prompts = encode_prompts(PROMPTS[:8], codec, 16)
    validation = Validation(prompts, sampling_of(settings), lambda _: {}, 1)
    watched = replace(actors, sampler=Watched())  # type: ignore[arg-type]
    run_grpo(settings, actors=watched, prompts=prompts, validation=validation, stage=new_stage())
    rollouts = asked[1]  # before and after it the validation prompts
    assert len(rollouts) == 8 * 4
    assert all(len(set(rollouts[start : start + 4])) == 1 for start in range(0, 32, 4))
    assert len(set(rollouts)) == 8
