"""Rollouts: the scores of responses, and the rewards that PPO and GRPO make of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from redpencil.config.methods import PPOConfig
from redpencil.config.training import RewardConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import RewardModel, load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import (
    Batch,
    collate,
    response_logprobs,
    sequence_rewards,
    token_rewards,
    token_values,
)
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample
from redpencil.models.sharing import APART, Sharing
from redpencil.training import ppo
from redpencil.training.ppo import compute_advantages, value_objective
from redpencil.training.reward import measure
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    Scores,
    load_actors,
    policy_objective,
    rewards_of,
    sample_rollouts,
    sampling_of,
    score_rollouts,
    update_on_rollouts,
)
from redpencil.training.scoring import SampledBatch, make_scorer
from redpencil.training.update import Optimization

PROMPTS = [[2, 4], [5], [2, 6, 7], [2, 8]]
TEXTS = ["topic0", "topic1", "topic2 topic3", "topic4"]
RESPONSES = [[12, 13, 14, 3], [16, 12, 3], [12, 12, 12, 12, 12, 12], [3]]
SAMPLES = [Sample(tuple(ids), finished=ids[-1] == 3) for ids in RESPONSES]
Samples = list[tuple[list[int], tuple[int, ...]]]


class Trained(Protocol):
    sft: Path
    token: Path
    sequence: Path


def config(**changes: object) -> PPOConfig:
    options = {"response_length": 6, "batch_size": 4, "rollout_batch_size": 4, "whiten_advantages": False}
    return PPOConfig.model_validate({**options, **changes})


def batch_of(pad_id: int = 0) -> Batch:
    return collate(PROMPTS, RESPONSES, pad_id, torch.device("cpu"))


def sampled_of(codec: Codec, pad_id: int = 0) -> SampledBatch:
    return SampledBatch(batch_of(pad_id), SAMPLES, TEXTS, codec)


def reward_of(actors: Actors, level: str) -> RewardModel:
    """The reward model of a level, of the scorers."""
    [reward] = [scorer.reward for scorer in actors.scorers if scorer.reward.card.level == level]
    return reward


def with_options(actors: Actors, settings: PPOConfig) -> Actors:
    """The same models, whose rewards are standardised as `settings` has it."""
    return replace(actors, scorers=tuple(make_scorer(scorer.reward, settings) for scorer in actors.scorers))


def scores_of(actors: Actors, codec: Codec, settings: PPOConfig) -> Scores:
    return score_rollouts(with_options(actors, settings), sampled_of(codec), settings)


@pytest.fixture(scope="module")
def actors(trained: Trained, runtime: Runtime, codec: Codec) -> Actors:
    """Every model; the values are those of the token reward model, so that they are not 0."""
    loaded = load_actors(PPOConfig(reward="both"), trained.sft, trained.token, trained.sequence, runtime, codec)
    return replace(loaded, value=reward_of(loaded, "token").model)


def test_scores_are_those_of_each_model(actors: Actors, codec: Codec) -> None:
    batch, settings = batch_of(), config(reward="both", temperature=0.7)
    scores = scores_of(actors, codec, settings)
    token, sequence = reward_of(actors, "token"), reward_of(actors, "sequence")
    assert actors.value is not None
    with torch.no_grad():
        logits = actors.policy.module(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids
        ).logits[:, batch.prompt_width - 1 : -1]
        expected = {
            "logprobs": response_logprobs(actors.policy.module, batch, 0.7),
            "ref_logprobs": response_logprobs(actors.reference.module, batch, 0.7),
            "values": token_values(actors.value.module, batch),
            "entropy": torch.distributions.Categorical(logits=logits / 0.7).entropy() * batch.response_mask,
            "token_rewards": (token_rewards(token.model.module, batch) - token.card.center) / token.card.scale,
            "sequence_reward": (sequence_rewards(sequence.model.module, batch) - sequence.card.center)
            / sequence.card.scale,
        }
    for name, tensor in expected.items():
        counted = tensor * batch.response_mask if tensor.ndim == 2 else tensor  # 0 on padding
        torch.testing.assert_close(getattr(scores, name), counted, rtol=1e-4, atol=1e-5, msg=name)
    assert not any(getattr(scores, name).requires_grad for name in expected)
    assert scores.truncated is None


@pytest.mark.parametrize("size", [1, 3])
def test_scoring_in_parts_changes_nothing(actors: Actors, codec: Codec, size: int) -> None:
    whole = scores_of(actors, codec, config(reward="both"))
    parts = scores_of(actors, codec, config(reward="both", micro_batch_size=size))
    for name in Scores.__dataclass_fields__:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_only_the_scores_that_a_reward_kind_needs_are_computed(
    trained: Trained, runtime: Runtime, codec: Codec
) -> None:
    only_token = load_actors(config(reward="token"), trained.sft, trained.token, None, runtime, codec)
    scores = scores_of(only_token, codec, config(reward="token"))
    assert scores.sequence_reward is None
    assert scores.token_rewards is not None
    assert scores.values is not None
    assert scores_of(replace(only_token, value=None), codec, config(reward="token")).values is None


def test_centre_scale_and_clip_are_options(actors: Actors, codec: Codec) -> None:
    reward = reward_of(actors, "token")
    card = reward.card
    assert abs(card.center) > 1e-4
    assert abs(card.scale - 1) > 1e-2

    def rewards(**changes: object) -> Tensor:
        tensor = scores_of(actors, codec, config(reward="both", **changes)).token_rewards
        assert tensor is not None
        return tensor

    raw, mask = rewards(center_rewards=False, scale_rewards=False), batch_of().response_mask
    with torch.no_grad():
        torch.testing.assert_close(raw, token_rewards(reward.model.module, batch_of()) * mask)
    torch.testing.assert_close(rewards(scale_rewards=False), (raw - card.center) * mask)
    torch.testing.assert_close(rewards(center_rewards=False), raw / card.scale)
    torch.testing.assert_close(rewards(), (raw - card.center) / card.scale * mask)
    assert rewards(reward_clip=0.25).abs().max() == 0.25


def test_the_mean_token_reward_has_its_own_centre_and_scale(actors: Actors, codec: Codec) -> None:
    reward = reward_of(actors, "token")
    scores = scores_of(actors, codec, config(reward="token_mean_at_end"))
    with torch.no_grad():
        raw = token_rewards(reward.model.module, batch_of())
    expected = (raw - reward.card.trajectory_center) / reward.card.trajectory_scale * batch_of().response_mask
    torch.testing.assert_close(scores.token_rewards, expected)


@pytest.mark.parametrize("kind", ["token", "token_mean_at_end"])
def test_a_constant_in_the_reward_head_pays_nothing(
    trained: Trained, runtime: Runtime, codec: Codec, samples: Samples, kind: str
) -> None:
    """Trap 5: PPO's return sums, so what Eq. 3 cannot see would pay for length; the measured centre takes it out."""
    actors = load_actors(config(reward=kind), trained.sft, trained.token, None, runtime, codec)

    def returns(actors: Actors, **changes: object) -> Tensor:
        settings = config(reward=kind, gae_lambda=1.0, **changes)
        rollouts, _ = compute_advantages(with_options(actors, settings), sampled_of(codec), settings, kl_coef=0.0)
        assert rollouts.returns is not None
        return rollouts.returns

    before, raw = returns(actors), returns(actors, center_rewards=False)
    reward = reward_of(actors, "token")
    card = reward.card
    with torch.no_grad():
        head_of(reward.model.module).bias.add_(3.0)
    scales = measure(reward.model, RewardConfig(), samples)
    shifted = replace(reward, card=replace(card, **asdict(scales)))
    measured = replace(actors, scorers=(make_scorer(shifted, config(reward=kind)),))
    torch.testing.assert_close(returns(measured), before, rtol=1e-3, atol=1e-3)
    # without a centre the constant is paid out; per token it grows with the length
    extra = (returns(measured, center_rewards=False) - raw)[:, 0]
    lengths = torch.tensor([4.0, 3.0, 6.0, 1.0])
    expected = 3 * lengths / card.scale if kind == "token" else 3 * torch.ones(4) / card.trajectory_scale
    torch.testing.assert_close(extra, expected, rtol=1e-2, atol=1e-2)


def scores_by_hand(**changes: Tensor | None) -> Scores:
    """Rewards 1, 2, 3, ... per token, KL .1 per token, values 0."""
    shape = (4, 6)
    plain = {
        "logprobs": torch.full(shape, -1.0),
        "ref_logprobs": torch.full(shape, -1.1),
        "values": torch.zeros(shape),
        "entropy": torch.full(shape, 0.5),
        "token_rewards": torch.arange(1.0, 7.0).expand(shape).clone(),
        "sequence_reward": torch.tensor([10.0, 20.0, 30.0, 40.0]),
        "truncated": None,
    }
    return Scores(**{**plain, **changes})


Learn = Callable[[Scores, SampledBatch, PPOConfig, float], tuple[Rollouts, dict[str, float]]]


@pytest.fixture
def learn_from(monkeypatch: pytest.MonkeyPatch) -> Learn:
    """`learn_from(scores, sampled, config, kl_coef)`: what `compute_advantages` makes of scores written by hand.

    That the models give such scores is tested above.
    """

    def run(
        scores: Scores, sampled: SampledBatch, settings: PPOConfig, kl_coef: float
    ) -> tuple[Rollouts, dict[str, float]]:
        monkeypatch.setattr(ppo, "score_rollouts", lambda *_: scores)
        return compute_advantages(None, sampled, settings, kl_coef)  # type: ignore[arg-type]

    return run


def test_rewards_returns_and_metrics_by_hand(learn_from: Learn, codec: Codec) -> None:
    settings = config(reward="token", gae_lambda=1.0, missing_eos_penalty=5.0)
    rollouts, metrics = learn_from(scores_by_hand(), sampled_of(codec), settings, 2.0)
    # r_t - 2 * .1; with gamma = lambda = 1 and no values the return is the sum of what is still to come
    first = [1 - 0.2, 2 - 0.2, 3 - 0.2, 4 - 0.2]
    expected = [sum(first), sum(first[1:]), sum(first[2:]), first[3]]
    assert rollouts.returns[0].tolist() == pytest.approx([*expected, 0, 0], abs=1e-5)
    # the third response was cut off: 21 - 6 * .2 - 5
    assert float(rollouts.returns[2, 0]) == pytest.approx(21 - 1.2 - 5, abs=1e-5)
    assert float(rollouts.returns[3].sum()) == pytest.approx(0.8, abs=1e-5)
    # the reward without KL: (10 + 6 + (21 - 5) + 1) / 4 = 8.25, squared deviations 3.0625 + 5.0625 + 60.0625 + 52.5625
    # over 4 are 30.1875, root 5.4943; KL .1 * (4 + 3 + 6 + 1) / 4
    assert metrics == pytest.approx(
        {"reward": 8.25, "reward_std": 5.4943, "kl": 0.35, "length": 3.5, "finished": 0.75, "entropy": 0.5}, abs=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "paid"),
    [
        ("token", [1, 2, 3, 4, 0, 0]),
        ("sequence", [0, 0, 0, 10, 0, 0]),
        ("both", [1, 2, 3, 14, 0, 0]),
        ("token_mean_at_end", [0, 0, 0, 2.5, 0, 0]),
    ],
)
@pytest.mark.parametrize(("kl_term", "penalty"), [("none", [0] * 6), ("per_token", [0.2] * 4 + [0] * 2)])
def test_each_kind_of_reward_with_and_without_kl(
    learn_from: Learn, codec: Codec, kind: str, paid: list[float], kl_term: str, penalty: list[float]
) -> None:
    settings = config(reward=kind, kl_term=kl_term, gae_lambda=0)  # lambda 0: the return is r_t + V(s_{t+1}) = r_t
    rollouts, metrics = learn_from(scores_by_hand(), sampled_of(codec), settings, 2.0)
    expected = [reward - cost for reward, cost in zip(paid, penalty, strict=True)]
    assert rollouts.returns[0].tolist() == pytest.approx(expected, abs=1e-5)
    rewards, same = rewards_of(scores_by_hand(), sampled_of(codec), settings, kl_coef=2.0)
    assert rewards[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert same == metrics
    assert metrics["kl"] == pytest.approx(0.35)  # logged whether or not it is paid


def test_the_terminal_kl_is_paid_at_the_end(learn_from: Learn, codec: Codec) -> None:
    settings = config(reward="token", kl_term="terminal", gae_lambda=0)
    rollouts, _ = learn_from(scores_by_hand(), sampled_of(codec), settings, 2.0)
    assert rollouts.returns[0].tolist() == pytest.approx([1, 2, 3, 4 - 0.8, 0, 0], abs=1e-5)


@pytest.mark.parametrize("garbage", [1e9, math.nan, math.inf])
@pytest.mark.parametrize("kind", ["token", "sequence", "both", "token_mean_at_end"])
def test_padding_counts_nowhere(learn_from: Learn, codec: Codec, kind: str, garbage: float) -> None:
    """Trap 7: whitening, means and returns are those of response tokens, whatever the padding holds."""
    torch.manual_seed(0)
    batch = batch_of()
    drawn = {name: torch.randn(4, 6) for name in ("logprobs", "ref_logprobs", "values", "entropy", "token_rewards")}
    spoilt = {name: torch.where(batch.response_mask, tensor, garbage) for name, tensor in drawn.items()}
    settings = config(reward=kind, whiten_rewards=True, whiten_advantages=True, gae_lambda=0.9, gamma=0.9)
    clean, metrics = learn_from(scores_by_hand(**drawn), sampled_of(codec), settings, 0.1)
    dirty, spoilt_metrics = learn_from(scores_by_hand(**spoilt), sampled_of(codec), settings, 0.1)
    torch.testing.assert_close(dirty.advantages, clean.advantages)
    torch.testing.assert_close(dirty.returns, clean.returns)
    assert spoilt_metrics == pytest.approx(metrics)
    assert float(clean.advantages[~batch.response_mask].abs().max()) == 0
    counted = clean.advantages[batch.response_mask]
    assert float(counted.mean()) == pytest.approx(0, abs=1e-6)
    assert float(counted.square().mean()) == pytest.approx(1, abs=1e-5)


def test_wider_padding_changes_no_whitening(learn_from: Learn, codec: Codec) -> None:
    """The same responses in a batch with a longer one that is masked away give the same numbers."""
    torch.manual_seed(0)
    drawn = {name: torch.randn(4, 6) for name in ("logprobs", "ref_logprobs", "values", "entropy", "token_rewards")}
    wide = {name: torch.cat([t, torch.full((4, 5), 7.0)], dim=1) for name, t in drawn.items()}
    batch = batch_of()
    wider = replace(batch, response_mask=torch.nn.functional.pad(batch.response_mask, (0, 5)))
    settings = config(whiten_rewards=True, whiten_advantages=True)
    narrow_rollouts, _ = learn_from(scores_by_hand(**drawn), sampled_of(codec), settings, 0.1)
    wide_rollouts, _ = learn_from(scores_by_hand(**wide), replace(sampled_of(codec), batch=wider), settings, 0.1)
    torch.testing.assert_close(wide_rollouts.advantages[:, :6], narrow_rollouts.advantages)


@pytest.mark.parametrize("kind", ["token", "sequence", "both", "token_mean_at_end"])
def test_the_pad_id_does_not_matter(actors: Actors, codec: Codec, kind: str) -> None:
    """Trap 9: padding with the end token, as GPT-2 does, gives the results of any other pad id."""
    settings = config(reward=kind, missing_eos_penalty=3.0, whiten_advantages=True)
    outcomes = []
    for pad_id in (0, 3, 12):
        sampled = sampled_of(codec, pad_id)
        assert sampled.batch.lengths.tolist() == [4, 3, 6, 1]
        outcomes.append(compute_advantages(with_options(actors, settings), sampled, settings, kl_coef=0.1))
    for rollouts, metrics in outcomes[1:]:
        torch.testing.assert_close(rollouts.returns, outcomes[0][0].returns, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rollouts.advantages, outcomes[0][0].advantages, rtol=1e-4, atol=1e-4)
        assert metrics == pytest.approx(outcomes[0][1], rel=1e-4)
    assert outcomes[0][1]["length"] == 3.5
    assert outcomes[0][1]["finished"] == 0.75


@pytest.mark.parametrize("pad_id", [0, 3])
def test_the_sequence_reward_and_the_penalty_for_a_missing_end_are_paid_at_the_last_token(
    learn_from: Learn, codec: Codec, pad_id: int
) -> None:
    settings = config(reward="sequence", kl_term="none", gae_lambda=0, missing_eos_penalty=5.0)
    rollouts, _ = learn_from(scores_by_hand(), sampled_of(codec, pad_id), settings, 0.0)
    assert rollouts.returns.tolist() == [
        [0, 0, 0, 10, 0, 0],
        [0, 0, 20, 0, 0, 0],
        [0, 0, 0, 0, 0, 25],  # cut off
        [40, 0, 0, 0, 0, 0],
    ]


def columns_by_number(batch: Batch) -> Rollouts:
    shape = batch.response_mask.shape
    numbers = torch.arange(float(shape[0] * shape[1])).reshape(shape)
    return Rollouts(batch, numbers, numbers + 0.1, numbers + 0.2, numbers + 0.3)


@pytest.mark.parametrize("rows", [[0], [3], [1, 3], [2, 0, 1, 3]])
def test_selected_rows_lose_only_padding(rows: Sequence[int]) -> None:
    rollouts = columns_by_number(batch_of())
    part = rollouts.select(rows)
    direct = collate([PROMPTS[i] for i in rows], [RESPONSES[i] for i in rows], 0, torch.device("cpu"))
    for name in ("input_ids", "attention_mask", "position_ids", "response_mask"):
        assert torch.equal(getattr(part.batch, name), getattr(direct, name)), name
    for name in ("logprobs", "values", "advantages", "returns"):
        assert torch.equal(getattr(part, name), getattr(rollouts, name)[rows, : direct.response_width])
    bare = replace(rollouts, values=None, returns=None).select(rows)
    assert (bare.values, bare.returns) == (None, None)
    assert torch.equal(bare.advantages, part.advantages)


@pytest.mark.parametrize("packs", [True, False])
def test_rows_without_padding_take_the_same_step(trained: Trained, runtime: Runtime, codec: Codec, packs: bool) -> None:
    """In float64: all rows in one batch, and rows of similar length, packed or sharing their prompt, by parts."""
    prompts, responses = [*PROMPTS, PROMPTS[2], PROMPTS[2]], [*RESPONSES, [12, 13, 3], [12, 13, 12, 12]]
    found = []
    for settings, sharing in (
        (config(batch_size=6, rollout_batch_size=6), APART),
        (config(batch_size=6, rollout_batch_size=6, micro_batch_size=4), Sharing(32, packs=packs)),
    ):
        actors = load_actors(settings, trained.sft, trained.token, None, runtime, codec)
        assert actors.value is not None
        models = {"policy": actors.policy.module.double(), "value": actors.value.module.double()}
        optimizations = {}
        for name, model in models.items():
            weights = tuple(model.parameters())
            sgd = torch.optim.SGD(weights, lr=0.1)
            schedule = torch.optim.lr_scheduler.ConstantLR(sgd)
            optimizations[name] = Optimization(weights, sgd, schedule, 1.0)
        objectives = {
            "policy": policy_objective(models["policy"], settings),
            "value": value_objective(models["value"], settings),
        }
        rollouts = columns_by_number(collate(prompts, responses, 0, torch.device("cpu")))
        metrics = update_on_rollouts(*(rollouts, objectives, optimizations, 2, settings, runtime, 5), sharing=sharing)
        state = [weight for model in models.values() for weight in model.parameters()]
        found.append((metrics, torch.cat([weight.detach().flatten() for weight in state])))
    (metrics, weights), (others, other_weights) = found
    assert others == pytest.approx(metrics, rel=1e-9)
    torch.testing.assert_close(other_weights, weights, rtol=0, atol=1e-9)


def test_rollouts_are_sampled_without_a_nucleus() -> None:
    sampling = sampling_of(config(temperature=0.8, response_length=5, max_prompt_length=9, rollout_batch_size=3))
    assert (sampling.temperature, sampling.top_p, sampling.response_length) == (0.8, 1.0, 5)
    assert (sampling.max_prompt_length, sampling.batch_size) == (9, 3)
    assert sampling_of(config(rollout_batch_size=4, generation_batch_size=2)).batch_size == 2


@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_a_reward_that_is_not_a_number_names_the_reward_model(
    kind: str, trained: Trained, runtime: Runtime, codec: Codec
) -> None:
    settings = config(reward=kind)
    actors = load_actors(settings, trained.sft, trained.token, trained.sequence, runtime, codec)
    [scorer] = actors.scorers
    with torch.no_grad():
        head_of(scorer.reward.model.module).weight.fill_(math.nan)
    sampled = sample_rollouts(actors, PROMPTS, TEXTS, settings, seed=0)
    with pytest.raises(RedpencilError, match="the reward model gives a response the reward nan") as caught:
        compute_advantages(actors, sampled, settings, 0.1)
    assert caught.value.file == str(getattr(trained, kind))
    assert "reward model" in str(caught.value.hint)


def test_a_rollout_from_prompts_to_advantages(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config(reward="token", response_length=8)
    actors = load_actors(settings, trained.sft, trained.token, None, runtime, codec)

    def draw(seed: int) -> tuple[Rollouts, dict[str, float]]:
        sampled = sample_rollouts(actors, PROMPTS * 8, TEXTS * 8, settings, seed)
        return compute_advantages(actors, sampled, settings, 0.1)

    rollouts, metrics = draw(0)
    assert metrics["kl"] == pytest.approx(0, abs=1e-5)  # policy and reference are still the same
    assert metrics["length"] == pytest.approx(float(rollouts.batch.lengths.float().mean()))
    assert rollouts.batch.input_ids.shape[0] == 32
    assert not rollouts.advantages.requires_grad
    assert bool(rollouts.advantages.isfinite().all())
    again, _ = draw(0)
    assert torch.equal(again.batch.input_ids, rollouts.batch.input_ids)
    assert torch.equal(again.advantages, rollouts.advantages)
    assert not torch.equal(draw(1)[0].batch.input_ids, rollouts.batch.input_ids)


@pytest.mark.parametrize("micro_batch_size", [2, None])
def test_a_policy_that_has_not_moved_has_no_kl_in_bfloat16(
    trained: Trained, codec: Codec, micro_batch_size: int | None
) -> None:
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    settings = config(micro_batch_size=micro_batch_size)
    actors = load_actors(settings, trained.sft, trained.token, None, half, codec)
    scores = scores_of(actors, codec, settings)
    assert torch.equal(scores.logprobs, scores.ref_logprobs)
    # What it was before: weights in bfloat16 give other numbers.
    rounded = replace(actors, reference=load_policy(trained.sft, half, trained=False, codec=codec))
    other = scores_of(rounded, codec, settings)
    assert float((other.logprobs - other.ref_logprobs).abs().max()) > 1e-3


def test_activations_computed_again_change_no_gradient(trained: Trained, codec: Codec) -> None:
    gradients = []
    for checkpointing in (False, True):
        runtime = Runtime(torch.device("cpu"), torch.float32, checkpointing=checkpointing)
        actors = load_actors(config(), trained.sft, trained.token, None, runtime, codec)
        rollouts, _ = compute_advantages(actors, sampled_of(codec), config(), 0.1)
        terms = policy_objective(actors.policy.module, config()).terms(rollouts)
        terms["policy_loss"].backward()
        gradients.append([weight.grad for weight in actors.policy.module.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
