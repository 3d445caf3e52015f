"""PPO: its objectives, its bookkeeping, and that it learns what each kind of reward pays."""

import math
import operator
import shutil
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from redpencil.config.compute import ServerConfig
from redpencil.config.methods import PPOConfig, SamplingConfig
from redpencil.config.training import LoraConfig
from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import LanguageModel, RewardModel, load_head, load_policy, load_reward_model
from redpencil.models.codec import Codec, load_codec
from redpencil.models.forward import response_logprobs, token_values
from redpencil.models.lora import merge, role_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import EncodedPrompts, HFSampler, Sample, encode_prompts
from redpencil.models.sharing import Sharing
from redpencil.models.vllm import VLLMSampler
from redpencil.pipeline.serving import RewardService, bind_service
from redpencil.records import Prompt, Response
from redpencil.runs import Stage, derive_seed, read_metrics
from redpencil.training.ppo import compute_advantages, ppo_update, run_ppo, value_objective
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    draw_prompts,
    load_actors,
    policy_objective,
    sample_rollouts,
    sampling_of,
)
from redpencil.training.scoring import encode_samples, score_tokens
from redpencil.training.update import Optimization, make_optimization, micro_batches_of, update
from redpencil.training.validation import Evaluate, Validation

KINDS = ("token", "sequence", "both", "token_mean_at_end")
TOPICS = [f"topic{i}" for i in range(8)]


class Trained(Protocol):
    sft: Path
    token: Path
    sequence: Path


def config(**changes: object) -> PPOConfig:
    options = {
        "response_length": 8,
        "rollout_batch_size": 32,
        "batch_size": 16,
        "learning_rate": 3e-3,
        "warmup_steps": 0,
        "lr_scheduler_type": "constant",
        "gae_lambda": 0.95,
        "vf_coef": 1.0,
        "kl_coef": 0.05,
        "total_steps": 2,
        "eval_steps": 1,
        "value_init": "policy",
    }
    return PPOConfig.model_validate({**options, **changes})


def prompts_of(codec: Codec, count: int = 32) -> EncodedPrompts:
    return encode_prompts([Prompt(str(i), TOPICS[i % 8]) for i in range(count)], codec, 16)


def actors_of(settings: PPOConfig, trained: Trained, runtime: Runtime, codec: Codec) -> Actors:
    return load_actors(settings, trained.sft, trained.token, trained.sequence, runtime, codec)


def rewards_in(actors: Actors) -> dict[str, RewardModel]:
    """The reward models, by their level."""
    return {scorer.reward.card.level: scorer.reward for scorer in actors.scorers}


def value_of(actors: Actors) -> LanguageModel:
    assert actors.value is not None
    return actors.value


def rolled_out(settings: PPOConfig, actors: Actors) -> Rollouts:
    prompts = prompts_of(actors.policy.codec)
    sampled = sample_rollouts(actors, prompts.ids, [prompt.prompt for prompt in prompts.records], settings, 0)
    return compute_advantages(actors, sampled, settings, settings.kl_coef)[0]


def snapshot(model: LanguageModel) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.module.parameters()]


def equal(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def sgd(model: nn.Module) -> Optimization:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Optimization(tuple(model.parameters()), optimizer, schedule, 1e9)


def optimizations_of(actors: Actors, settings: PPOConfig) -> dict[str, Optimization]:
    return {
        name: make_optimization(
            model.module,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            warmup_steps=0,
            total_steps=9,
            weight_decay=0.0,
            adam_epsilon=1e-5,
            max_grad_norm=1.0,
        )
        for name, model in (("policy", actors.policy), ("value", value_of(actors)))
    }


def test_the_first_update_starts_at_ratio_one(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config()
    actors = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, actors)
    objective = policy_objective(actors.policy.module, settings)
    for rows in (range(32), range(5), [7]):
        item = rollouts.select(list(rows))
        terms = objective.terms(item)
        assert float(terms["approx_kl"]) == pytest.approx(0, abs=1e-9)
        assert float(terms["clip_fraction"]) == 0
        # at ratio 1 the surrogate is the mean advantage
        mean = item.advantages[item.batch.response_mask].mean()
        assert float(terms["policy_loss"].detach()) == pytest.approx(-float(mean), abs=1e-5)


def test_dropout_of_a_checkpoint_does_not_move_the_ratio(
    trained: Trained, runtime: Runtime, codec: Codec, tmp_path: Path
) -> None:
    policy = load_policy(trained.sft, runtime, trained=True).module
    policy.config.attention_dropout = 0.5
    policy.save_pretrained(tmp_path)
    codec.tokenizer.save_pretrained(tmp_path)
    settings = config()
    actors = load_actors(settings, tmp_path, trained.token, None, runtime, codec)
    assert actors.policy.module.training
    assert actors.policy.module.config.attention_dropout == 0.5
    rollouts = rolled_out(settings, actors)
    terms = policy_objective(actors.policy.module, settings).terms(rollouts)
    assert float(terms["approx_kl"]) == pytest.approx(0, abs=1e-9)


def test_objectives_by_hand(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config(cliprange=0.1, cliprange_value=0.05, vf_coef=0.5, temperature=0.8)
    actors = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, actors).select([0, 1, 2])
    torch.manual_seed(0)
    shift = torch.randn_like(rollouts.logprobs) * 0.2
    moved = replace(rollouts, logprobs=rollouts.logprobs + shift, values=rollouts.values + shift)
    counted = moved.batch.response_mask
    with torch.no_grad():
        logprobs = response_logprobs(actors.policy.module, moved.batch, 0.8)
        policy, value = (
            policy_objective(actors.policy.module, settings).terms(moved),
            value_objective(value_of(actors).module, settings).terms(moved),
        )
        ratio = (logprobs - moved.logprobs)[counted].exp()
        values, old = token_values(value_of(actors).module, moved.batch)[counted], moved.values[counted]
    advantages, returns = moved.advantages[counted], moved.returns[counted]
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.9, 1.1) * advantages)
    torch.testing.assert_close(policy["policy_loss"], -surrogate.mean())
    clipped = old + (values - old).clamp(-0.05, 0.05)
    error = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    torch.testing.assert_close(value["value_loss"], error.mean() / 2)
    assert dict(value_objective(value_of(actors).module, settings).weights) == {"value_loss": 0.5}
    assert policy_objective(actors.policy.module, settings).counts(moved)["policy_loss"] == int(counted.sum())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("which", ["policy", "value"])
def test_a_batch_of_eight_is_eight_micro_batches(
    trained: Trained, runtime: Runtime, codec: Codec, which: str, size: int
) -> None:
    settings = config(vf_coef=0.3)
    first = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, first)
    assert len({int(n) for n in rollouts.batch.lengths[:8]} | {9}) > 1

    def step(size: int) -> tuple[list[torch.Tensor], dict[str, float]]:
        actors = actors_of(settings, trained, runtime, codec)
        model = getattr(actors, which)
        if which == "value":  # a head of 0 would keep the backbone still
            torch.manual_seed(0)
            nn.init.normal_(model.module.score.weight, std=0.3)
        objective = (policy_objective if which == "policy" else value_objective)(model.module, settings)
        # three rows are cut short, so that the counts of tokens differ
        uneven = replace(rollouts, batch=replace(rollouts.batch, response_mask=shorter(rollouts.batch.response_mask)))
        items = [uneven.select(part) for part in micro_batches_of(range(8), size)]
        logged = update(sgd(model.module), items, objective, runtime)
        return snapshot(model), logged

    (whole, logged), (parts, parted) = step(8), step(size)
    assert parted == pytest.approx(logged, rel=1e-3, abs=1e-6)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def shorter(response_mask: torch.Tensor) -> torch.Tensor:
    cut = response_mask.clone()
    cut[0, 1:] = cut[3, 2:] = cut[5, 1:] = False
    return cut


def test_an_update_of_the_values_alone_leaves_the_policy(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config()
    actors = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, actors)
    policy, value = snapshot(actors.policy), snapshot(value_of(actors))
    optimizations = optimizations_of(actors, settings)
    metrics = ppo_update(actors, rollouts, settings, optimizations, 0, train_policy=False)
    assert equal(snapshot(actors.policy), policy)
    assert not equal(snapshot(value_of(actors)), value)
    assert "value_loss" in metrics
    assert "policy_loss" not in metrics
    metrics = ppo_update(actors, rollouts, settings, optimizations, 0)
    assert not equal(snapshot(actors.policy), policy)
    assert {"policy_loss", "clip_fraction", "approx_kl", "value_loss", "policy_grad_norm", "value_grad_norm"} <= (
        metrics.keys()
    )
    assert "loss" not in metrics


@pytest.mark.parametrize("vf_coef", [0.1, 1.0, 4.0])
def test_the_value_loss_is_logged_without_its_factor(
    trained: Trained, runtime: Runtime, codec: Codec, vf_coef: float
) -> None:
    settings = config(vf_coef=vf_coef, ppo_epochs=1, batch_size=32, cliprange_value=1e9)
    actors = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, actors)
    metrics = ppo_update(actors, rollouts, settings, optimizations_of(actors, settings), 0)
    assert rollouts.returns is not None  # the values are still 0, so the loss is half of the mean squared return
    expected = rollouts.returns[rollouts.batch.response_mask].square().mean() / 2
    assert metrics["value_loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_rollout_is_used_once_an_epoch(
    trained: Trained, runtime: Runtime, codec: Codec, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(ppo_epochs=epochs, batch_size=12, micro_batch_size=5)
    actors = actors_of(settings, trained, runtime, codec)
    rollouts = rolled_out(settings, actors)
    seen: Counter[int] = Counter()
    sizes = []
    select = Rollouts.select

    def watched(self: Rollouts, rows: Sequence[int], sharing: Sharing) -> Rollouts:
        seen.update(rows)
        sizes.append(len(rows))
        return select(self, rows, sharing)

    monkeypatch.setattr(Rollouts, "select", watched)
    ppo_update(actors, rollouts, settings, optimizations_of(actors, settings), 0)
    assert seen == dict.fromkeys(range(32), epochs)
    assert max(sizes) <= 5
    assert len(sizes) >= 8 * epochs  # of 12 + 12 + 8 rollouts


@given(st.integers(1, 20), st.integers(1, 30), st.integers(0, 9))
def test_all_prompts_are_drawn_before_one_is_drawn_again(count: int, batch_size: int, seed: int) -> None:
    draw = draw_prompts(count, batch_size, seed)
    drawn = [i for _ in range(2 * count) for i in next(draw)]
    for start in range(0, len(drawn) - count + 1, count):
        assert sorted(drawn[start : start + count]) == list(range(count))


def test_prompts_are_drawn_by_seed() -> None:
    one, same, other = (draw_prompts(50, 10, seed) for seed in (1, 1, 2))
    first = next(one)
    assert first == next(same)
    assert first != next(other)


def run(
    settings: PPOConfig,
    actors: Actors,
    stage: Stage,
    evaluate: Evaluate = lambda _: {},
    *,
    prompts: EncodedPrompts | None = None,
    validation_prompts: int = 8,
) -> list[dict[str, float]]:
    codec = actors.policy.codec
    validation = Validation(prompts_of(codec, validation_prompts), sampling_of(settings), evaluate, settings.eval_steps)
    run_ppo(settings, actors=actors, prompts=prompts or prompts_of(codec, 64), validation=validation, stage=stage)
    return read_metrics(stage.folder)


def bad_share(responses: Sequence[Response]) -> float:
    words = [word for row in responses for word in row.response.split()]
    return sum(word in ("mud", "rot") for word in words) / len(words)


@pytest.mark.parametrize(
    ("win_rates", "best"),
    [([10, 30, 20, 25], 1), ([50, 30, 20, 25], 0), ([10, 20, 20, 40], 3), ([10, 20, 20, 15], 1)],
)
def test_the_best_checkpoint_is_kept(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    new_stage: Callable[..., Stage],
    win_rates: list[float],
    best: int,
) -> None:
    settings = config(total_steps=3, eval_steps=1)
    actors, stage = actors_of(settings, trained, runtime, codec), new_stage()
    seen: list[list[torch.Tensor]] = []
    asked: list[list[str]] = []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        seen.append(snapshot(actors.policy))
        asked.append([row.prompt for row in responses])
        return {"win_rate": win_rates[len(seen) - 1], "other": 1.0}

    rows = run(settings, actors, stage, evaluate)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["eval/win_rate"] for row in rows] == win_rates
    assert asked == [TOPICS] * 4
    assert stage.notes["best"] == {"step": best, "value": win_rates[best], "kl": rows[best]["eval/kl"]}
    kept = snapshot(load_policy(stage.folder / "checkpoint", runtime, trained=False))
    assert [equal(kept, weights) for weights in seen] == [step == best for step in range(4)]
    # the policy before training is the one that was given
    assert equal(seen[0], snapshot(load_policy(trained.sft, runtime, trained=False)))
    assert load_codec(stage.folder / "checkpoint", "<s> {prompt}").encode_prompts(["topic1"]) == [[2, 5]]


def test_without_a_judge_the_reward_on_validation_prompts_chooses(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=4)
    actors, stage = actors_of(settings, trained, runtime, codec), new_stage()
    reward = rewards_in(actors)["token"]
    expected: list[float] = []

    def remember(responses: Sequence[Response]) -> dict[str, float]:
        encoded = encode_samples(responses, codec)
        ids = [prompt for prompt, _ in encoded], [answer for _, answer in encoded]
        paid = [(row - reward.card.center) / reward.card.scale for row in score_tokens(reward.model, *ids)]
        expected.append(sum(float(row.sum()) for row in paid) / len(paid))
        return {}

    rows = run(settings, actors, stage, remember)
    rewards, kls = ({row["step"]: row[f"eval/{name}"] for row in rows} for name in ("reward", "kl"))
    assert list(rewards.values()) == pytest.approx(expected, abs=1e-4)
    best = max(rewards, key=lambda step: rewards[step])
    assert stage.notes["best"] == {"step": best, "value": rewards[best], "kl": kls[best]}
    # not those of the rollouts, which come from the policy before the step
    assert all(row["reward"] != row["eval/reward"] for row in rows[1:])
    assert all("eval/length" in row for row in rows)


def test_evaluation_every_n_steps_and_at_the_end(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=5, eval_steps=2)
    rows = run(settings, actors_of(settings, trained, runtime, codec), new_stage())
    assert [row["step"] for row in rows if "eval/length" in row] == [0, 2, 4, 5]
    for row in rows[1:]:
        assert {"reward", "kl", "length", "finished", "entropy", "kl_coef", "policy_loss", "value_loss"} <= row.keys()


def test_evaluation_does_not_disturb_training(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def rewards(seed: int, **changes: object) -> list[float]:
        settings = config(total_steps=3, **changes)
        rows = run(settings, actors_of(settings, trained, runtime, codec), new_stage(seed=seed))
        return [row["reward"] for row in rows[1:]]

    assert rewards(1, eval_steps=1) == rewards(1, eval_steps=3)
    assert rewards(1, eval_steps=1) != rewards(2, eval_steps=1)


def test_the_kl_beside_a_win_rate_is_that_of_the_policy_that_was_judged(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    """The log ratio of each answer by its own forward pass, of the policy as it was when it answered."""
    settings = config(total_steps=3, eval_steps=1, micro_batch_size=3)
    actors = actors_of(settings, trained, runtime, codec)
    expected: list[float] = []

    def logprob(module: nn.Module, prompt: list[int], response: list[int]) -> float:
        ids = torch.tensor([[*prompt, *response]])
        logits = module(input_ids=ids).logits[0, len(prompt) - 1 : -1].float() / settings.temperature
        return float(logits.log_softmax(dim=-1)[range(len(response)), response].sum())

    @torch.no_grad()
    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        ratios = []
        for row in responses:
            prompt = codec.encode_prompts([row.prompt])[0]
            (encoded,) = codec.encode_responses([row.response], finished=[row.finished])
            both = (logprob(model.module, prompt, list(encoded.ids)) for model in (actors.policy, actors.reference))
            ratios.append(operator.sub(*both))
        expected.append(statistics.fmean(ratios))
        return {"win_rate": [50.0, 40, 60, 55][len(expected) - 1]}

    stage = new_stage()
    rows = run(settings, actors, stage, evaluate)
    assert [row["eval/kl"] for row in rows] == pytest.approx(expected, abs=1e-4)
    assert expected[0] == pytest.approx(0, abs=1e-5)
    assert len({round(kl, 3) for kl in expected}) == 4
    assert stage.notes["best"] == {"step": 2, "value": 60.0, "kl": rows[2]["eval/kl"]}
    assert rows[1]["kl"] == pytest.approx(0, abs=1e-5)  # of the samples, which the policy drew before it learned


def test_evaluation_keeps_the_generators_it_uses_and_no_others(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    fork_rng = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: kept.append(devices) or fork_rng(devices=devices))
    settings = config(total_steps=1)
    run(settings, actors_of(settings, trained, runtime, codec), new_stage())
    assert kept
    assert all(devices == [] for devices in kept)  # on a CPU there is no GPU's generator to keep


def test_the_kl_coefficient_adapts(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def coefficients(**changes: object) -> list[float]:
        settings = config(total_steps=4, kl_coef=0.1, eval_steps=4, **changes)
        rows = run(settings, actors_of(settings, trained, runtime, codec), new_stage())
        return [row["kl_coef"] for row in rows[1:]]

    assert coefficients() == [0.1] * 4
    # the policy starts at KL 0: with 32 responses of a horizon of 160 the full error of 20 % moves it by 4 %
    far = coefficients(kl_target=1e3, kl_horizon=160)
    assert far == pytest.approx([0.1 * 0.96**k for k in range(4)])
    near = coefficients(kl_target=1e-3, kl_horizon=160)
    assert near[:2] == pytest.approx([0.1, 0.096])  # nothing has moved yet at the first step
    assert near[2:] == pytest.approx([0.096 * 1.04, 0.096 * 1.04**2])


def test_value_warm_up_leaves_the_policy(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=3, value_warmup_steps=2)
    actors = actors_of(settings, trained, runtime, codec)
    policies, values = [], []

    def evaluate(_: Sequence[Response]) -> dict[str, float]:
        policies.append(snapshot(actors.policy))
        values.append(snapshot(value_of(actors)))
        return {}

    rows = run(settings, actors, new_stage(), evaluate)
    assert equal(policies[0], policies[1])
    assert equal(policies[0], policies[2])
    assert not equal(policies[0], policies[3])
    assert not equal(values[0], values[1])
    assert ["policy_loss" in row for row in rows] == [False, False, False, True]


def test_one_rate_for_all_updates_of_a_step(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    """Linear over 4 steps after a warm-up of 2: the first step has rate 0, so nothing moves."""
    settings = config(total_steps=3, lr_scheduler_type="linear", warmup_steps=2)
    actors = actors_of(settings, trained, runtime, codec)
    policies = []

    def evaluate(_: Sequence[Response]) -> dict[str, float]:
        policies.append(snapshot(actors.policy))
        return {}

    run(settings, actors, new_stage(), evaluate)
    assert equal(policies[0], policies[1])
    assert not equal(policies[1], policies[2])
    assert not equal(policies[2], policies[3])


def test_a_gpus_way_of_computing_runs_and_starts_at_the_reference(
    trained: Trained, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    """bfloat16 under autocast: trained models and the reference have float32 weights, reward models do not."""
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    settings = config(reward="both", micro_batch_size=4)
    actors = actors_of(settings, trained, half, codec)
    trainable = (actors.policy, value_of(actors))
    assert {weight.dtype for model in trainable for weight in model.module.parameters()} == {torch.float32}
    assert {weight.dtype for weight in actors.reference.module.parameters()} == {torch.float32}
    rewarding = [weight for scorer in actors.scorers for weight in scorer.reward.model.module.parameters()]
    assert {weight.dtype for weight in rewarding} == {torch.bfloat16}
    first = run(settings, actors, new_stage())[1]
    assert first["kl"] == 0
    assert abs(first["policy_loss"]) < 0.1
    assert {weight.dtype for weight in actors.policy.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_ppo_learns_to_avoid_bad_words(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage], kind: str
) -> None:
    settings = config(reward=kind, total_steps=15, eval_steps=15)
    actors = load_actors(
        settings,
        trained.sft,
        None if kind == "sequence" else trained.token,
        trained.sequence if kind in ("sequence", "both") else None,
        runtime,
        codec,
    )
    shares = []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        shares.append(bad_share(responses))
        return {"win_rate": -shares[-1]}

    rows = run(settings, actors, new_stage(), evaluate, validation_prompts=64)[1:]
    assert 0.2 < shares[0] < 0.4  # the corpus has .3
    assert shares[-1] < 0.08
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert 0.2 < rows[-1]["kl"] < 20
    assert sum(row["value_loss"] for row in rows[-3:]) / 3 < sum(row["value_loss"] for row in rows[:3]) / 3
    assert 0 < rows[0]["approx_kl"] < 0.5
    assert 0 < rows[-1]["entropy"] < math.log(18)  # of a uniform choice among the vocabulary


def test_a_large_kl_coefficient_holds_the_policy(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def moved(**changes: object) -> float:
        settings = config(total_steps=8, eval_steps=8, **changes)
        rows = run(settings, actors_of(settings, trained, runtime, codec), new_stage())
        return rows[-1]["kl"]

    free, held = moved(kl_term="none", kl_coef=10.0), moved(kl_term="per_token", kl_coef=10.0)
    assert free > 0.5
    assert held < 0.3 * free


@pytest.mark.parametrize("value_init", ["policy", "reward"])
@pytest.mark.parametrize("kind", KINDS)
def test_actors(trained: Trained, runtime: Runtime, codec: Codec, kind: str, value_init: str) -> None:
    actors = actors_of(config(reward=kind, value_init=value_init), trained, runtime, codec)
    rewards = rewards_in(actors)
    assert ("token" in rewards) == (kind != "sequence")
    assert ("sequence" in rewards) == (kind in ("sequence", "both"))
    source = trained.sft
    if value_init == "reward":
        source = trained.sequence if kind == "sequence" else trained.token
    value = value_of(actors)
    assert backbone_equal(value, source, runtime)
    assert float(value.module.score.weight.detach().abs().max()) == 0
    assert all(p.requires_grad for model in (actors.policy, value) for p in model.module.parameters())
    frozen = [actors.reference, *(reward.model for reward in rewards.values())]
    assert not any(p.requires_grad for model in frozen for p in model.module.parameters())
    assert actors.reference.module is not actors.policy.module
    assert {model.codec for model in (actors.policy, actors.reference, value)} == {codec}
    assert actors.sampler.codec is codec


def test_a_value_model_that_would_see_the_action_is_refused(
    trained: Trained, runtime: Runtime, codec: Codec, tmp_path: Path
) -> None:
    encoder = tmp_path / "encoder"
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForTokenClassification(BertConfig(vocab_size=18, num_labels=1, **shape)).save_pretrained(encoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(trained.token / name, encoder)
    with pytest.raises(RedpencilError, match="cannot start from a bert reward model for a llama policy") as raised:
        load_actors(config(reward="token", value_init="reward"), trained.sft, encoder, None, runtime, codec)
    assert raised.value.field == "ppo.value_init"
    actors = load_actors(config(reward="token", value_init="policy"), trained.sft, encoder, None, runtime, codec)
    assert value_of(actors).module.config.model_type == "llama"


def backbone_equal(model: LanguageModel, folder: Path, runtime: Runtime) -> bool:
    other = load_head(folder, "token", runtime, trained=False, zero_head=True)
    weights, others = (list(each.module.model.parameters()) for each in (model, other))
    return equal(weights, others)


def test_reward_models_that_do_not_fit(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    def attempt(kind: str, policy: Path, token: Path | None, sequence: Path | None) -> None:
        load_actors(config(reward=kind), policy, token, sequence, runtime, codec)

    with pytest.raises(RedpencilError, match="needs a token-level reward model") as raised:
        attempt("token", trained.sft, None, trained.sequence)
    assert raised.value.field == "reward"
    with pytest.raises(RedpencilError, match="needs a sequence-level reward model"):
        attempt("both", trained.sft, trained.token, None)
    with pytest.raises(RedpencilError, match="level token is needed"):
        attempt("token", trained.sft, trained.sequence, None)
    with pytest.raises(RedpencilError, match="level sequence is needed"):
        attempt("sequence", trained.sft, None, trained.token)
    with pytest.raises(RedpencilError, match="LlamaForCausalLM is not a reward model"):
        attempt("token", trained.sft, trained.sft, None)
    with pytest.raises(RedpencilError, match="is not a policy"):
        attempt("token", trained.token, trained.token, None)


def test_no_value_model_starts_from_a_reward_model_with_another_tokenizer(
    trained: Trained, reshuffled: Path, runtime: Runtime, codec: Codec
) -> None:
    actors = load_actors(config(reward="token", value_init="reward"), trained.sft, reshuffled, None, runtime, codec)
    assert backbone_equal(value_of(actors), trained.sft, runtime)
    assert len(actors.notes) == 2
    assert actors.notes[1].startswith("the value model starts from the policy")
    # with the policy's tokenizer and another template it does
    other = load_codec(trained.sft, "<s> <s> {prompt}")
    actors = load_actors(config(value_init="reward"), trained.sft, trained.token, None, runtime, other)
    assert not rewards_in(actors)["token"].same_encoding
    assert backbone_equal(value_of(actors), trained.token, runtime)


def test_prompts_without_room_for_a_response_stop_before_the_first_step(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings, judged = config(response_length=20), []
    prompts = prompts_of(codec, 64)
    prompts = replace(prompts, ids=[*prompts.ids[:63], [2] * 13])  # it might be drawn at the last step only
    actors = actors_of(settings, trained, runtime, codec)
    with pytest.raises(RedpencilError, match="13 tokens and a response of up to 20 exceed the model's context of 32"):
        run(settings, actors, new_stage(), lambda responses: judged.append(responses) or {}, prompts=prompts)
    assert not judged


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_ppo_learns_from_a_reward_model_with_another_tokenizer_and_chat_template(
    trained: Trained,
    characters: Callable[..., Path],
    runtime: Runtime,
    codec: Codec,
    new_stage: Callable[..., Stage],
    level: str,
) -> None:
    settings = config(reward=level, total_steps=15, eval_steps=15, value_init="reward")
    folder = characters(level)
    token, sequence = (folder, None) if level == "token" else (None, folder)
    actors = load_actors(settings, trained.sft, token, sequence, runtime, codec)
    stage, shares = new_stage(), []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        shares.append(bad_share(responses))
        return {}

    rows = run(settings, actors, stage, evaluate, validation_prompts=64)
    assert len(stage.notes["models"]) == 2
    assert all(row["cut_for_reward_model"] == 0 for row in rows[1:])
    assert math.isfinite(rows[-1]["eval/reward"])
    if level == "token":
        assert 0.2 < shares[0] < 0.4  # the corpus has .3
        assert shares[-1] < 0.08
        assert rows[-1]["reward"] > rows[1]["reward"] + 0.3
        assert rows[-1]["eval/reward"] > rows[0]["eval/reward"] + 0.3


def test_with_one_base_in_memory_ppo_computes_what_models_of_their_own_compute(
    adapted: Trained, codec: Codec, runtime: Runtime
) -> None:
    """In float64; the models of their own are the same adapters, merged."""
    options = config(reward="both", lora=LoraConfig(r=4, alpha=8), rollout_batch_size=8, batch_size=8)
    prompts = [Prompt(str(i), topic) for i, topic in enumerate(TOPICS)]

    def load() -> Actors:
        return load_actors(options, adapted.sft, adapted.token, adapted.sequence, runtime, codec)

    def merged(model: LanguageModel) -> LanguageModel:
        return replace(model, module=merge(model.module.double()).requires_grad_())

    shared, scorers = load(), []
    for number in range(2):
        scorer: Any = load().scorers[number]
        scorers.append(replace(scorer, reward=replace(scorer.reward, model=merged(scorer.reward.model))))
    policy, reference, value = merged(load().policy), merged(load().reference), load().value
    assert value is not None
    own = replace(shared, policy=policy, reference=reference, value=merged(value), scorers=tuple(scorers))
    models = [shared.policy, shared.reference, shared.value, *(scorer.reward.model for scorer in shared.scorers)]
    assert len({id(role_of(model.module).base) for model in models if model is not None}) == 1  # type: ignore[union-attr]
    for model in models:
        assert model is not None
        model.module.double()
    sampled = sample_rollouts(shared, codec.encode_prompts(prompts), prompts, options, seed=0)
    (one, metrics), (other, expected) = (compute_advantages(each, sampled, options, 0.1) for each in (shared, own))
    assert metrics == pytest.approx(expected, abs=1e-6)
    assert metrics["reward_std"] > 0.01
    for name in ("logprobs", "advantages", "values", "returns"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=2e-6)
    losses = []
    for actors, rollouts in ((shared, one), (own, other)):
        assert actors.value is not None
        terms = policy_objective(actors.policy.module, options).terms(rollouts)
        terms |= value_objective(actors.value.module, options).terms(rollouts)
        losses.append({name: float(term.detach()) for name, term in terms.items()})
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


@dataclass(frozen=True)
class OneByOne:
    """Samples here as a server is asked: each prompt by itself, with a seed of its own."""

    policy: LanguageModel

    @property
    def codec(self) -> Codec:
        return self.policy.codec

    def check(self, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
        HFSampler(self.policy).check(prompt_ids, response_length)

    def sample(
        self, prompt_ids: Sequence[Sequence[int]], config: SamplingConfig, *, seed: int, **_: object
    ) -> list[Sample]:
        sampler = HFSampler(self.policy)
        seeds = [derive_seed(seed, "prompt", index) for index in range(len(prompt_ids))]
        return [sampler.sample([ids], config, seed=own)[0] for ids, own in zip(prompt_ids, seeds, strict=True)]

    def sync(self, policy: LanguageModel, *, exact: bool = False) -> None:
        pass


def test_ppo_by_servers_is_ppo_in_this_process(
    trained: Trained,
    runtime: Runtime,
    codec: Codec,
    new_stage: Callable[..., Stage],
    serve: Callable[..., Any],
) -> None:
    settings = config(total_steps=3, eval_steps=2, rollout_batch_size=8, batch_size=8, learning_rate=1e-3)
    here = actors_of(settings, trained, runtime, codec)
    rows = run(settings, replace(here, sampler=OneByOne(here.policy)), new_stage())
    served = serve(trained.sft)
    service = bind_service(RewardService(load_reward_model(trained.token, runtime)), "127.0.0.1", 0)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{service.server_address[1]}"
        servers = {"token": ServerConfig.model_validate({"url": url})}
        remote = settings.model_copy(update={"sampler": served.config(timeout=300), "reward_servers": servers})
        actors = actors_of(remote, trained, runtime, codec)
        assert isinstance(actors.sampler, VLLMSampler)
        there = run(remote, actors, new_stage())
    finally:
        service.shutdown()
        service.server_close()
    assert [row["step"] for row in there] == [0, 1, 2, 3]
    for row, other in zip(rows, there, strict=True):
        for name in row.keys() & {"reward", "kl", "length", "policy_loss", "value_loss", "eval/reward", "approx_kl"}:
            assert other[name] == pytest.approx(row[name], rel=1e-3, abs=1e-4), name
    assert len({row.get("policy_loss") for row in rows}) > 2
    # The start, and each step's weights once, the last ones for validation alone.
    assert len(served.log("/collective_rpc")) == 4
