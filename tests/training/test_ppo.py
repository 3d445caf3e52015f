"""PPO: its objectives, its bookkeeping, and that it learns what each kind of reward pays."""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForTokenClassification, PreTrainedModel

from redpencil.config import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.models.codec import Codec, load_codec
from redpencil.models.forward import response_logprobs, token_values
from redpencil.models.checkpoints import load_head, load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import EncodedPrompts, encode_prompts
from redpencil.records import Prompt, Response
from redpencil.runs import Stage, read_metrics
from redpencil.training.ppo import draw_prompts, learn, load_actors, policy_objective, run_ppo, value_objective
from redpencil.training.reward import encode_samples, score_tokens
from redpencil.training.rollout import Actors, Rollouts, roll_out
from redpencil.training.update import Optimization, make_optimization, micro_batches_of, update

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


def actors_of(settings: PPOConfig, trained: Trained, runtime: Runtime) -> Actors:
    return load_actors(settings, trained.sft, trained.token, trained.sequence, runtime)


def rolled_out(settings: PPOConfig, actors: Actors, codec: Codec, runtime: Runtime) -> Rollouts:
    set_seed(0)
    return roll_out(actors, prompts_of(codec).ids, settings, settings.kl_coef, codec, runtime)[0]


def snapshot(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def equal(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def sgd(model: nn.Module) -> Optimization:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Optimization(tuple(model.parameters()), optimizer, schedule, 1e9)


def optimizations_of(actors: Actors, settings: PPOConfig) -> dict[str, Optimization]:
    return {
        name: make_optimization(
            model,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            warmup_steps=0,
            total_steps=9,
            weight_decay=0.0,
            adam_epsilon=1e-5,
            max_grad_norm=1.0,
        )
        for name, model in (("policy", actors.policy), ("value", actors.value))
    }


def test_the_first_update_starts_at_ratio_one(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config()
    actors = actors_of(settings, trained, runtime)
    rollouts = rolled_out(settings, actors, codec, runtime)
    objective = policy_objective(actors.policy, settings)
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
    policy = load_policy(trained.sft, runtime, trained=True)
    policy.config.attention_dropout = 0.5
    policy.save_pretrained(tmp_path)
    codec.tokenizer.save_pretrained(tmp_path)
    settings = config()
    actors = load_actors(settings, tmp_path, trained.token, None, runtime, codec)
    assert actors.policy.training
    assert actors.policy.config.attention_dropout == 0.5
    rollouts = rolled_out(settings, actors, codec, runtime)
    terms = policy_objective(actors.policy, settings).terms(rollouts)
    assert float(terms["approx_kl"]) == pytest.approx(0, abs=1e-9)


def test_objectives_by_hand(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config(cliprange=0.1, cliprange_value=0.05, vf_coef=0.5, temperature=0.8)
    actors = actors_of(settings, trained, runtime)
    rollouts = rolled_out(settings, actors, codec, runtime).select([0, 1, 2])
    torch.manual_seed(0)
    shift = torch.randn_like(rollouts.logprobs) * 0.2
    moved = replace(rollouts, logprobs=rollouts.logprobs + shift, values=rollouts.values + shift)
    counted = moved.batch.response_mask
    with torch.no_grad():
        logprobs = response_logprobs(actors.policy, moved.batch, 0.8)
        policy, value = (
            policy_objective(actors.policy, settings).terms(moved),
            value_objective(actors.value, settings).terms(moved),
        )
        ratio = (logprobs - moved.logprobs)[counted].exp()
        values, old = token_values(actors.value, moved.batch)[counted], moved.values[counted]
    advantages, returns = moved.advantages[counted], moved.returns[counted]
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.9, 1.1) * advantages)
    torch.testing.assert_close(policy["policy_loss"], -surrogate.mean())
    clipped = old + (values - old).clamp(-0.05, 0.05)
    error = torch.maximum((values - returns) ** 2, (clipped - returns) ** 2)
    torch.testing.assert_close(value["value_loss"], error.mean() / 2)
    assert dict(value_objective(actors.value, settings).weights) == {"value_loss": 0.5}
    assert policy_objective(actors.policy, settings).counts(moved)["policy_loss"] == int(counted.sum())


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("which", ["policy", "value"])
def test_a_batch_of_eight_is_eight_micro_batches(
    trained: Trained, runtime: Runtime, codec: Codec, which: str, size: int
) -> None:
    settings = config(vf_coef=0.3)
    first = actors_of(settings, trained, runtime)
    rollouts = rolled_out(settings, first, codec, runtime)
    assert len({int(n) for n in rollouts.batch.lengths[:8]} | {9}) > 1

    def step(size: int) -> tuple[list[torch.Tensor], dict[str, float]]:
        actors = actors_of(settings, trained, runtime)
        model = getattr(actors, which)
        if which == "value":  # a head of 0 would keep the backbone still
            torch.manual_seed(0)
            nn.init.normal_(model.score.weight, std=0.3)
        objective = (policy_objective if which == "policy" else value_objective)(model, settings)
        # three rows are cut short, so that the counts of tokens differ
        uneven = replace(rollouts, batch=replace(rollouts.batch, response_mask=shorter(rollouts.batch.response_mask)))
        items = [uneven.select(part) for part in micro_batches_of(range(8), size)]
        logged = update(sgd(model), items, objective, runtime)
        return snapshot(model), logged

    (whole, logged), (parts, parted) = step(8), step(size)
    assert parted == pytest.approx(logged, rel=1e-3, abs=1e-6)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def shorter(response_mask: torch.Tensor) -> torch.Tensor:
    cut = response_mask.clone()
    cut[0, 1:] = cut[3, 2:] = cut[5, 1:] = False
    return cut


def test_learning_alone_from_values_leaves_the_policy(trained: Trained, runtime: Runtime, codec: Codec) -> None:
    settings = config()
    actors = actors_of(settings, trained, runtime)
    rollouts = rolled_out(settings, actors, codec, runtime)
    policy, value = snapshot(actors.policy), snapshot(actors.value)
    optimizations = optimizations_of(actors, settings)
    metrics = learn(actors, rollouts, settings, optimizations, runtime, train_policy=False)
    assert equal(snapshot(actors.policy), policy)
    assert not equal(snapshot(actors.value), value)
    assert "value_loss" in metrics
    assert "policy_loss" not in metrics
    metrics = learn(actors, rollouts, settings, optimizations, runtime)
    assert not equal(snapshot(actors.policy), policy)
    assert {"policy_loss", "clip_fraction", "approx_kl", "value_loss", "policy_grad_norm", "value_grad_norm"} <= (
        metrics.keys()
    )
    assert "loss" not in metrics


@pytest.mark.parametrize("epochs", [1, 3])
def test_every_rollout_is_learnt_from_once_an_epoch(
    trained: Trained, runtime: Runtime, codec: Codec, epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(ppo_epochs=epochs, batch_size=12, micro_batch_size=5)
    actors = actors_of(settings, trained, runtime)
    rollouts = rolled_out(settings, actors, codec, runtime)
    seen: Counter[int] = Counter()
    sizes = []
    select = Rollouts.select

    def watched(self: Rollouts, rows: Sequence[int]) -> Rollouts:
        seen.update(rows)
        sizes.append(len(rows))
        return select(self, rows)

    monkeypatch.setattr(Rollouts, "select", watched)
    learn(actors, rollouts, settings, optimizations_of(actors, settings), runtime)
    assert seen == dict.fromkeys(range(32), epochs)
    assert sizes == [5, 5, 2, 5, 5, 2, 5, 3] * epochs  # 12 + 12 + 8 rollouts


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
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
    evaluate: Callable[[Sequence[Response]], dict[str, float]] = lambda _: {},
) -> list[dict[str, float]]:
    run_ppo(
        settings,
        actors=actors,
        prompts=prompts_of(codec, 64),
        validation=prompts_of(codec, 8),
        evaluate=evaluate,
        codec=codec,
        runtime=runtime,
        stage=stage,
    )
    return read_metrics(stage.folder)


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
    actors, stage = actors_of(settings, trained, runtime), new_stage()
    seen: list[list[torch.Tensor]] = []
    asked: list[list[str]] = []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        seen.append(snapshot(actors.policy))
        asked.append([row.prompt for row in responses])
        return {"win_rate": win_rates[len(seen) - 1], "other": 1.0}

    rows = run(settings, actors, codec, runtime, stage, evaluate)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert [row["eval/win_rate"] for row in rows] == win_rates
    assert asked == [TOPICS] * 4
    assert stage.notes["best"] == {"step": best, "value": win_rates[best]}
    kept = snapshot(load_policy(stage.folder / "checkpoint", runtime, trained=False))
    assert [equal(kept, weights) for weights in seen] == [step == best for step in range(4)]
    # the policy before training is the one that was given
    assert equal(seen[0], snapshot(load_policy(trained.sft, runtime, trained=False)))
    assert load_codec(stage.folder / "checkpoint", "<s> {prompt}").encode_prompts(["topic1"]) == [[2, 5]]


def test_without_a_judge_the_reward_on_validation_prompts_chooses(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=4)
    actors, stage = actors_of(settings, trained, runtime), new_stage()
    reward = actors.token_reward
    assert reward is not None
    expected: list[float] = []

    def remember(responses: Sequence[Response]) -> dict[str, float]:
        encoded = encode_samples(responses, codec)
        ids = [prompt for prompt, _ in encoded], [answer for _, answer in encoded]
        paid = [
            (row - reward.card.center) / reward.card.scale for row in score_tokens(reward.model, *ids, codec, runtime)
        ]
        expected.append(sum(float(row.sum()) for row in paid) / len(paid))
        return {}

    rows = run(settings, actors, codec, runtime, stage, remember)
    rewards = {row["step"]: row["eval/reward"] for row in rows}
    assert list(rewards.values()) == pytest.approx(expected, abs=1e-4)
    best = max(rewards, key=lambda step: rewards[step])
    assert stage.notes["best"] == {"step": best, "value": rewards[best]}
    # not those of the rollouts, which come from the policy before the step
    assert all(row["reward"] != row["eval/reward"] for row in rows[1:])
    assert all("eval/length" in row for row in rows)


def test_evaluation_every_n_steps_and_at_the_end(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings = config(total_steps=5, eval_steps=2)
    rows = run(settings, actors_of(settings, trained, runtime), codec, runtime, new_stage())
    assert [row["step"] for row in rows if "eval/length" in row] == [0, 2, 4, 5]
    for row in rows[1:]:
        assert {"reward", "kl", "length", "finished", "entropy", "kl_coef", "policy_loss", "value_loss"} <= row.keys()


def test_evaluation_does_not_disturb_training(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def rewards(seed: int, **changes: object) -> list[float]:
        settings = config(total_steps=3, **changes)
        rows = run(settings, actors_of(settings, trained, runtime), codec, runtime, new_stage(seed=seed))
        return [row["reward"] for row in rows[1:]]

    assert rewards(1, eval_steps=1) == rewards(1, eval_steps=3)
    assert rewards(1, eval_steps=1) != rewards(2, eval_steps=1)


def test_evaluation_keeps_the_generators_it_uses_and_no_others(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    fork_rng = torch.random.fork_rng
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: kept.append(devices) or fork_rng(devices=devices))
    settings = config(total_steps=1)
    run(settings, actors_of(settings, trained, runtime), codec, runtime, new_stage())
    assert kept == [[], []]  # on a CPU there is no GPU's generator to keep


def test_the_kl_coefficient_adapts(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def coefficients(**changes: object) -> list[float]:
        settings = config(total_steps=4, kl_coef=0.1, eval_steps=4, **changes)
        rows = run(settings, actors_of(settings, trained, runtime), codec, runtime, new_stage())
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
    actors = actors_of(settings, trained, runtime)
    policies, values = [], []

    def evaluate(_: Sequence[Response]) -> dict[str, float]:
        policies.append(snapshot(actors.policy))
        values.append(snapshot(actors.value))
        return {}

    rows = run(settings, actors, codec, runtime, new_stage(), evaluate)
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
    actors = actors_of(settings, trained, runtime)
    policies = []

    def evaluate(_: Sequence[Response]) -> dict[str, float]:
        policies.append(snapshot(actors.policy))
        return {}

    run(settings, actors, codec, runtime, new_stage(), evaluate)
    assert equal(policies[0], policies[1])
    assert not equal(policies[1], policies[2])
    assert not equal(policies[2], policies[3])


def test_a_gpus_way_of_computing_runs_and_starts_at_the_reference(
    trained: Trained, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    """bfloat16 under autocast: the trained models keep float32 weights, the frozen ones do not."""
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    settings = config(reward="both", micro_batch_size=4)
    actors = actors_of(settings, trained, half)
    assert {weight.dtype for model in (actors.policy, actors.value) for weight in model.parameters()} == {torch.float32}
    assert {weight.dtype for weight in actors.reference.parameters()} == {torch.bfloat16}
    first = run(settings, actors, codec, half, new_stage())[1]
    assert abs(first["kl"]) < 0.05  # nats a response; float32 has 0
    assert abs(first["policy_loss"]) < 0.1
    assert {weight.dtype for weight in actors.policy.parameters()} == {torch.float32}


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
    )
    shares = []

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        words = [word for row in responses for word in row.response.split()]
        shares.append(sum(word in ("mud", "rot") for word in words) / len(words))
        return {"win_rate": -shares[-1]}

    stage = new_stage()
    run_ppo(
        settings,
        actors=actors,
        prompts=prompts_of(codec, 64),
        validation=prompts_of(codec, 64),
        evaluate=evaluate,
        codec=codec,
        runtime=runtime,
        stage=stage,
    )
    rows = read_metrics(stage.folder)[1:]
    assert 0.2 < shares[0] < 0.4  # the corpus has .3
    assert shares[-1] < 0.08
    assert rows[-1]["reward"] > rows[0]["reward"] + 0.5
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert 0.2 < rows[-1]["kl"] < 20
    assert rows[-1]["value_loss"] < rows[0]["value_loss"]
    assert 0 < rows[0]["approx_kl"] < 0.5
    assert 0 < rows[-1]["entropy"] < rows[0]["entropy"]


def test_a_large_kl_coefficient_holds_the_policy(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    def moved(**changes: object) -> float:
        settings = config(total_steps=8, eval_steps=8, **changes)
        rows = run(settings, actors_of(settings, trained, runtime), codec, runtime, new_stage())
        return rows[-1]["kl"]

    free, held = moved(kl_term="none", kl_coef=10.0), moved(kl_term="per_token", kl_coef=10.0)
    assert free > 0.5
    assert held < 0.3 * free


@pytest.mark.parametrize("value_init", ["policy", "reward"])
@pytest.mark.parametrize("kind", KINDS)
def test_actors(trained: Trained, runtime: Runtime, kind: str, value_init: str) -> None:
    actors = actors_of(config(reward=kind, value_init=value_init), trained, runtime)
    assert (actors.token_reward is None) == (kind == "sequence")
    assert (actors.sequence_reward is None) == (kind in ("token", "token_mean_at_end"))
    source = trained.sft
    if value_init == "reward":
        source = trained.sequence if kind == "sequence" else trained.token
    assert backbone_equal(actors.value, source, runtime)
    assert float(actors.value.score.weight.detach().abs().max()) == 0
    assert all(p.requires_grad for model in (actors.policy, actors.value) for p in model.parameters())
    frozen = [actors.reference, *(r.model for r in (actors.token_reward, actors.sequence_reward) if r)]
    assert not any(p.requires_grad for model in frozen for p in model.parameters())
    assert actors.reference is not actors.policy


def test_a_value_model_that_would_see_the_action_is_refused(trained: Trained, runtime: Runtime, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertForTokenClassification(BertConfig(vocab_size=18, num_labels=1, **shape)).save_pretrained(encoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(trained.token / name, encoder)
    with pytest.raises(RedpencilError, match="cannot start from a bert reward model for a llama policy") as raised:
        load_actors(config(reward="token", value_init="reward"), trained.sft, encoder, None, runtime)
    assert raised.value.field == "ppo.value_init"
    actors = load_actors(config(reward="token", value_init="policy"), trained.sft, encoder, None, runtime)
    assert actors.value.config.model_type == "llama"


def backbone_equal(model: PreTrainedModel, folder: Path, runtime: Runtime) -> bool:
    other = load_head(folder, "token", runtime, trained=False, zero_head=True)
    return equal(snapshot(model.model), snapshot(other.model))


def test_reward_models_that_do_not_fit(trained: Trained, runtime: Runtime) -> None:
    with pytest.raises(RedpencilError, match="needs a token-level reward model") as raised:
        load_actors(config(reward="token"), trained.sft, None, trained.sequence, runtime)
    assert raised.value.field == "ppo.reward"
    with pytest.raises(RedpencilError, match="needs a sequence-level reward model"):
        load_actors(config(reward="both"), trained.sft, trained.token, None, runtime)
    with pytest.raises(RedpencilError, match="level token is wanted"):
        load_actors(config(reward="token"), trained.sft, trained.sequence, None, runtime)
    with pytest.raises(RedpencilError, match="level sequence is wanted"):
        load_actors(config(reward="sequence"), trained.sft, None, trained.token, runtime)
    with pytest.raises(RedpencilError, match="LlamaForCausalLM is no reward model"):
        load_actors(config(reward="token"), trained.sft, trained.sft, None, runtime)
    with pytest.raises(RedpencilError, match="is no policy"):
        load_actors(config(reward="token"), trained.token, trained.token, None, runtime)


def test_no_value_model_starts_from_a_reward_model_with_another_tokenizer(
    trained: Trained, reshuffled: Path, runtime: Runtime
) -> None:
    actors = load_actors(config(reward="token", value_init="reward"), trained.sft, reshuffled, None, runtime)
    assert backbone_equal(actors.value, trained.sft, runtime)
    assert len(actors.notes) == 2
    assert actors.notes[1].startswith("the value model starts from the policy")
    # with the policy's tokenizer and another template it does
    other = load_codec(trained.sft, "<s> <s> {prompt}")
    actors = load_actors(config(value_init="reward"), trained.sft, trained.token, None, runtime, other)
    assert actors.read_text
    assert backbone_equal(actors.value, trained.token, runtime)


def test_prompts_without_room_for_a_response_stop_before_the_first_step(
    trained: Trained, runtime: Runtime, codec: Codec, new_stage: Callable[..., Stage]
) -> None:
    settings, asked = config(response_length=20), []
    prompts = prompts_of(codec, 64)
    prompts.ids[63] = [2] * 13  # it might be drawn at the last step only
    with pytest.raises(RedpencilError, match="13 tokens and a response of up to 20 exceed the model's context of 32"):
        run_ppo(
            settings,
            actors=actors_of(settings, trained, runtime),
            prompts=prompts,
            validation=prompts_of(codec, 8),
            evaluate=lambda responses: asked.append(responses) or {},
            codec=codec,
            runtime=runtime,
            stage=new_stage(),
        )
    assert not asked


def test_actors_are_loaded_for_the_codec_of_the_run(
    trained: Trained, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    other = load_codec(trained.sft, "<s> <s> {prompt}")
    settings = config(total_steps=1)
    with pytest.raises(ValueError, match="load_actors was given another codec than run_ppo"):
        run(settings, actors_of(settings, trained, runtime), other, runtime, new_stage())


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
        words = [word for row in responses for word in row.response.split()]
        shares.append(sum(word in ("mud", "rot") for word in words) / len(words))
        return {}

    run_ppo(
        settings,
        actors=actors,
        prompts=prompts_of(codec, 64),
        validation=prompts_of(codec, 64),
        evaluate=evaluate,
        codec=codec,
        runtime=runtime,
        stage=stage,
    )
    rows = read_metrics(stage.folder)
    assert len(stage.notes["models"]) == 2
    assert all(row["cut_for_reward_model"] == 0 for row in rows[1:])
    assert math.isfinite(rows[-1]["eval/reward"])
    if level == "token":
        assert 0.2 < shares[0] < 0.4  # the corpus has .3
        assert shares[-1] < 0.08
        assert rows[-1]["reward"] > rows[1]["reward"] + 0.3
        assert rows[-1]["eval/reward"] > rows[0]["eval/reward"] + 0.3
