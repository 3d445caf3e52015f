"""Rollouts: the scores of responses, and the rewards that PPO and GRPO make of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from redpencil.config import PPOConfig, RewardConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec
from redpencil.models.forward import (
    Batch,
    collate,
    response_logits,
    response_logprobs,
    sequence_rewards,
    token_rewards,
    token_values,
)
from redpencil.models.checkpoints import LanguageModel, RewardModel, head_of
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import Sample
from redpencil.maths.masked import masked_whiten
from redpencil.training.ppo import compute_advantages
from redpencil.training.reward import measure
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    Scores,
    load_actors,
    rewards_of,
    sample_rollouts,
    sampling_of,
    score_rollouts,
)
from redpencil.training.scoring import SampledBatch, make_scorer

PROMPTS = [[2, 4], [5], [2, 6, 7], [2, 8]]
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


@pytest.fixture(scope="module")
def actors(trained: Trained, runtime: Runtime) -> Actors:
    """Every model; the value model says something, for it is the token reward model."""
    loaded = load_actors(PPOConfig(reward="both"), trained.sft, trained.token, trained.sequence, runtime)
    return replace(loaded, value=loaded.token_reward.model)


def test_scores_are_those_of_each_model(actors: Actors, runtime: Runtime) -> None:
    batch, settings = batch_of(), config(reward="both", temperature=0.7)
    found = score(actors, batch, settings, runtime)
    token, sequence = actors.token_reward, actors.sequence_reward
    with torch.no_grad():
        logits = response_logits(actors.policy, batch, 0.7)
        expected = {
            "logprobs": response_logprobs(actors.policy, batch, 0.7),
            "ref_logprobs": response_logprobs(actors.reference, batch, 0.7),
            "values": token_values(actors.value, batch),
            "entropy": torch.distributions.Categorical(logits=logits).entropy(),
            "token_rewards": (token_rewards(token.model, batch) - token.card.center) / token.card.scale,
            "sequence_reward": (sequence_rewards(sequence.model, batch) - sequence.card.center) / sequence.card.scale,
        }
    for name, tensor in expected.items():
        torch.testing.assert_close(getattr(found, name), tensor, rtol=1e-4, atol=1e-5, msg=name)
    assert not any(getattr(found, name).requires_grad for name in expected)


@pytest.mark.parametrize("size", [1, 3])
def test_scoring_in_parts_changes_nothing(actors: Actors, runtime: Runtime, size: int) -> None:
    whole = score(actors, batch_of(), config(reward="both"), runtime)
    parts = score(actors, batch_of(), config(reward="both", micro_batch_size=size), runtime)
    for name in Scores.__dataclass_fields__:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_what_a_reward_kind_does_not_need_is_not_there(trained: Trained, runtime: Runtime) -> None:
    only_token = load_actors(config(reward="token"), trained.sft, trained.token, None, runtime)
    found = score(only_token, batch_of(), config(reward="token"), runtime)
    assert found.sequence_reward is None
    assert found.token_rewards is not None


def test_centre_scale_and_clip_are_options(actors: Actors, runtime: Runtime) -> None:
    batch, card = batch_of(), actors.token_reward.card
    assert abs(card.center) > 1e-4
    assert abs(card.scale - 1) > 1e-2

    def found(**changes: object) -> Tensor:
        return score(actors, batch, config(reward="both", **changes), runtime).token_rewards

    raw = found(center_rewards=False, scale_rewards=False)
    with torch.no_grad():
        torch.testing.assert_close(raw, token_rewards(actors.token_reward.model, batch))
    torch.testing.assert_close(found(scale_rewards=False), raw - card.center)
    torch.testing.assert_close(found(center_rewards=False), raw / card.scale)
    torch.testing.assert_close(found(), (raw - card.center) / card.scale)
    assert found(reward_clip=0.25).abs().max() == 0.25


def test_the_mean_token_reward_has_its_own_centre_and_scale(actors: Actors, runtime: Runtime) -> None:
    batch, card = batch_of(), actors.token_reward.card
    found = score(actors, batch, config(reward="token_mean_at_end"), runtime).token_rewards
    with torch.no_grad():
        raw = token_rewards(actors.token_reward.model, batch)
    torch.testing.assert_close(found, (raw - card.trajectory_center) / card.trajectory_scale)


@pytest.mark.parametrize("kind", ["token", "token_mean_at_end"])
def test_a_constant_in_the_reward_head_pays_nothing(
    trained: Trained, runtime: Runtime, codec: Codec, samples: Samples, kind: str
) -> None:
    """Trap 5: PPO's return sums, so what Eq. 3 cannot see would pay for length; the measured centre takes it out."""
    settings = config(reward=kind)
    actors = load_actors(settings, trained.sft, trained.token, None, runtime)

    def paid(actors: Actors, **changes: object) -> Tensor:
        found = score(actors, batch_of(), config(reward=kind, **changes), runtime)
        rollouts, _ = learn_from(found, batch_of(), SAMPLES, config(reward=kind, gae_lambda=1.0), kl_coef=0.0)
        return rollouts.returns

    before, raw = paid(actors), paid(actors, center_rewards=False)
    reward = actors.token_reward
    with torch.no_grad():
        head_of(reward.model).bias.add_(3.0)
    card = reward.card
    scales = measure(reward.model, RewardConfig(), samples, codec, runtime)
    measured = replace(
        actors,
        token_reward=replace(
            reward,
            card=replace(
                card,
                **{
                    name: getattr(scales, name) for name in ("center", "scale", "trajectory_center", "trajectory_scale")
                },
            ),
        ),
    )
    torch.testing.assert_close(paid(measured), before, rtol=1e-3, atol=1e-3)
    # without a centre the constant is paid out; per token it grows with the length
    extra = (paid(measured, center_rewards=False) - raw)[:, 0]
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
    }
    return Scores(**{**plain, **changes})


def test_rewards_returns_and_metrics_by_hand() -> None:
    settings = config(reward="token", gae_lambda=1.0, missing_eos_penalty=5.0)
    rollouts, metrics = learn_from(scores_by_hand(), batch_of(), SAMPLES, settings, kl_coef=2.0)
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
    kind: str, paid: list[float], kl_term: str, penalty: list[float]
) -> None:
    settings = config(reward=kind, kl_term=kl_term, gae_lambda=0)  # lambda 0: the return is r_t + V(s_{t+1}) = r_t
    rollouts, metrics = learn_from(scores_by_hand(), batch_of(), SAMPLES, settings, kl_coef=2.0)
    expected = [reward - cost for reward, cost in zip(paid, penalty, strict=True)]
    assert rollouts.returns[0].tolist() == pytest.approx(expected, abs=1e-5)
    assert metrics["kl"] == pytest.approx(0.35)  # logged whether or not it is paid


def test_the_terminal_kl_is_paid_at_the_end() -> None:
    settings = config(reward="token", kl_term="terminal", gae_lambda=0)
    rollouts, _ = learn_from(scores_by_hand(), batch_of(), SAMPLES, settings, kl_coef=2.0)
    assert rollouts.returns[0].tolist() == pytest.approx([1, 2, 3, 4 - 0.8, 0, 0], abs=1e-5)


@pytest.mark.parametrize("garbage", [1e9, math.nan, math.inf])
@pytest.mark.parametrize("kind", ["token", "sequence", "both", "token_mean_at_end"])
def test_padding_counts_nowhere(kind: str, garbage: float) -> None:
    """Trap 7: whitening, means and returns are those of response tokens, whatever stands in the padding."""
    torch.manual_seed(0)
    batch = batch_of()
    drawn = {name: torch.randn(4, 6) for name in ("logprobs", "ref_logprobs", "values", "entropy", "token_rewards")}
    spoilt = {name: torch.where(batch.response_mask, tensor, garbage) for name, tensor in drawn.items()}
    settings = config(reward=kind, whiten_rewards=True, whiten_advantages=True, gae_lambda=0.9, gamma=0.9)
    clean, metrics = learn_from(scores_by_hand(**drawn), batch, SAMPLES, settings, kl_coef=0.1)
    dirty, spoilt_metrics = learn_from(scores_by_hand(**spoilt), batch, SAMPLES, settings, kl_coef=0.1)
    torch.testing.assert_close(dirty.advantages, clean.advantages)
    torch.testing.assert_close(dirty.returns, clean.returns)
    assert spoilt_metrics == pytest.approx(metrics)
    assert float(clean.advantages[~batch.response_mask].abs().max()) == 0
    counted = clean.advantages[batch.response_mask]
    assert float(counted.mean()) == pytest.approx(0, abs=1e-6)
    assert float(counted.square().mean()) == pytest.approx(1, abs=1e-5)


def test_wider_padding_changes_no_whitening() -> None:
    """The same responses beside a longer one that is then masked away give the same numbers."""
    torch.manual_seed(0)
    drawn = {name: torch.randn(4, 6) for name in ("logprobs", "ref_logprobs", "values", "entropy", "token_rewards")}
    wide = {name: torch.cat([t, torch.full((4, 5), 7.0)], dim=1) for name, t in drawn.items()}
    batch = batch_of()
    wider = replace(batch, response_mask=torch.nn.functional.pad(batch.response_mask, (0, 5)))
    settings = config(whiten_rewards=True, whiten_advantages=True)
    narrow_rollouts, _ = learn_from(scores_by_hand(**drawn), batch, SAMPLES, settings, kl_coef=0.1)
    wide_rollouts, _ = learn_from(scores_by_hand(**wide), wider, SAMPLES, settings, kl_coef=0.1)
    torch.testing.assert_close(wide_rollouts.advantages[:, :6], narrow_rollouts.advantages)


@pytest.mark.parametrize("kind", ["token", "sequence", "both", "token_mean_at_end"])
def test_the_pad_id_does_not_matter(actors: Actors, runtime: Runtime, kind: str) -> None:
    """Trap 9: padding with the end token, as GPT-2 does, gives the results of any other pad id."""
    settings = config(reward=kind, missing_eos_penalty=3.0, whiten_advantages=True)
    outcomes = []
    for pad_id in (0, 3, 12):
        batch = batch_of(pad_id)
        assert batch.lengths.tolist() == [4, 3, 6, 1]
        outcomes.append(learn_from(score(actors, batch, settings, runtime), batch, SAMPLES, settings, kl_coef=0.1))
    for rollouts, metrics in outcomes[1:]:
        torch.testing.assert_close(rollouts.returns, outcomes[0][0].returns, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rollouts.advantages, outcomes[0][0].advantages, rtol=1e-4, atol=1e-4)
        assert metrics == pytest.approx(outcomes[0][1], rel=1e-4)
    assert outcomes[0][1]["length"] == 3.5
    assert outcomes[0][1]["finished"] == 0.75


@pytest.mark.parametrize("pad_id", [0, 3])
def test_where_the_sequence_reward_and_the_missing_end_are_paid(pad_id: int) -> None:
    settings = config(reward="sequence", kl_term="none", gae_lambda=0, missing_eos_penalty=5.0)
    rollouts, _ = learn_from(scores_by_hand(), batch_of(pad_id), SAMPLES, settings, kl_coef=0.0)
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
    for name in Batch.__dataclass_fields__:
        assert torch.equal(getattr(part.batch, name), getattr(direct, name)), name
    for name in ("logprobs", "values", "advantages", "returns"):
        assert torch.equal(getattr(part, name), getattr(rollouts, name)[rows, : direct.response_width])


def test_rollouts_are_sampled_without_a_nucleus() -> None:
    sampling = sampling_of(config(temperature=0.8, response_length=5, max_prompt_length=9, rollout_batch_size=3))
    assert (sampling.temperature, sampling.top_p, sampling.response_length) == (0.8, 1.0, 5)


@pytest.mark.parametrize("kind", ["token", "sequence"])
def test_a_reward_that_is_no_number_names_the_reward_model(
    kind: str, trained: Trained, runtime: Runtime, codec: Codec
) -> None:
    actors = load_actors(config(reward=kind), trained.sft, trained.token, trained.sequence, runtime)
    (reward,) = actors.rewards
    with torch.no_grad():
        head_of(reward.model).weight.fill_(math.nan)
    with pytest.raises(RedpencilError, match="the reward model says nan") as caught:
        roll_out(actors, PROMPTS, config(reward=kind), 0.1, codec, runtime)
    assert caught.value.file == str(getattr(trained, kind))
    assert "reward model" in str(caught.value.hint)


def test_a_rollout_from_prompts_to_advantages(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config(reward="token", response_length=8)
    actors = load_actors(settings, trained.sft, trained.token, None, runtime)

    def draw(seed: int) -> tuple[Rollouts, dict[str, float]]:
        set_seed(seed)
        return roll_out(actors, PROMPTS * 8, settings, 0.1, codec, runtime)

    rollouts, metrics = draw(0)
    assert metrics["kl"] == pytest.approx(0, abs=1e-5)  # policy and reference are still the same
    assert metrics["length"] == pytest.approx(float(rollouts.batch.lengths.float().mean()))
    assert rollouts.batch.input_ids.shape[0] == 32
    assert not rollouts.advantages.requires_grad
    assert bool(rollouts.advantages.isfinite().all())
    again, _ = draw(0)
    assert torch.equal(again.batch.input_ids, rollouts.batch.input_ids)
    assert torch.equal(again.advantages, rollouts.advantages)
