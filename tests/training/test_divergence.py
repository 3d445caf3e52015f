"""Training that breaks down names step and rows, and leaves the weights that were good before."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redpencil.config.methods import DPOConfig, FIGAConfig, GRPOConfig, PPOConfig
from redpencil.config.training import RewardConfig, SFTConfig
from redpencil.errors import DivergedError
from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts
from redpencil.records import Example, Pair, Prompt
from redpencil.runs import Stage, open_stage, read_metrics
from redpencil.text import read_json
from redpencil.training.divergence import check_policy
from redpencil.training.dpo import train_dpo
from redpencil.training.figa import train_figa
from redpencil.training.grpo import run_grpo
from redpencil.training.ppo import run_ppo
from redpencil.training.reward import train_reward
from redpencil.training.rollout import load_actors, sampling_of
from redpencil.training.sft import train_sft
from redpencil.training.update import LastGood, Objective, check_loss
from redpencil.training.validation import Validation

Train = Callable[[Stage, dict[str, Any]], None]
SLOW = {"lr_scheduler_type": "constant", "weight_decay": 0.0, "batch_size": 8}
SUPERVISED = {**SLOW, "warmup_ratio": 0.0, "max_steps": 3}
ROLLED_OUT = {
    **SLOW,
    "warmup_steps": 0,
    "total_steps": 2,
    "response_length": 6,
    "rollout_batch_size": 8,
    "eval_steps": 10,
}


@pytest.fixture
def trainers(trained: Any, codec: Codec, runtime: Runtime, pairs: list[Pair], samples: list[Any]) -> dict[str, Train]:
    """Each trainer on the toy, as a function of a stage and options."""
    examples = [Example(f"row {number}", "topic1", "sun sea sky sand") for number in range(8)]
    prompts = encode_prompts([Prompt(f"row {number}", f"topic{number}") for number in range(8)], codec, 8)
    on_pairs: dict[str, Any] = {"policy": trained.sft, "pairs": pairs[:8], "codec": codec, "runtime": runtime}

    def rolled_out(run: Any, config: Any, stage: Stage) -> None:
        actors = load_actors(config, trained.sft, trained.token, None, runtime, codec)
        validation = Validation(prompts, sampling_of(config), lambda _: {"win_rate": 50.0}, config.eval_steps)
        run(config, actors=actors, prompts=prompts, validation=validation, stage=stage)

    def sft(stage: Stage, options: dict[str, Any]) -> None:
        config = SFTConfig(**{**SUPERVISED, **options})
        train_sft(config, model=trained.sft, examples=examples, codec=codec, runtime=runtime, stage=stage)

    def reward(stage: Stage, options: dict[str, Any]) -> None:
        train_reward(
            RewardConfig(**{**SUPERVISED, "reference_samples": 8, **options}),
            backbone=trained.sft,
            pairs=pairs[:8],
            samples=samples,
            codec=codec,
            trained_on="edits",
            runtime=runtime,
            stage=stage,
        )

    return {
        "sft": sft,
        "reward": reward,
        "dpo": lambda stage, options: train_dpo(
            DPOConfig(**{**SUPERVISED, **options}), validation=None, stage=stage, **on_pairs
        ),
        "figa": lambda stage, options: train_figa(
            FIGAConfig(**{**SUPERVISED, **options}), validation=None, stage=stage, **on_pairs
        ),
        "ppo": lambda stage, options: rolled_out(
            run_ppo, PPOConfig(**{**ROLLED_OUT, "value_init": "policy", **options}), stage
        ),
        "grpo": lambda stage, options: rolled_out(
            run_grpo, GRPOConfig(**{**ROLLED_OUT, "group_size": 2, **options}), stage
        ),
    }


NAMES = ("sft", "reward", "dpo", "figa", "ppo", "grpo")
STEPS = {"sft": "max_steps", "reward": "max_steps", "dpo": "max_steps", "figa": "max_steps"}


def run(folder: Path, train: Train, options: dict[str, Any]) -> None:
    with open_stage(folder, "toy", seed=0, config=options, inputs={}) as stage:
        assert stage is not None
        train(stage, options)


@pytest.mark.parametrize(
    ("name", "rate", "steps"),
    [
        (name, rate, steps)
        for name in NAMES
        for rate in (1e18, 1e24, 1e30)
        for steps in (1, 2)
        # The first step moves only the head of a new reward model, so its loss is large and finite.
        if (name, steps) != ("reward", 1)
    ],
)
def test_a_learning_rate_that_diverges(
    trainers: dict[str, Train], trained: Any, runtime: Runtime, tmp_path: Path, name: str, rate: float, steps: int
) -> None:
    folder, options = tmp_path / "out", {"learning_rate": rate, STEPS.get(name, "total_steps"): steps}
    with pytest.raises(DivergedError, match=r"training broke down at step [12]: .*; rows '") as caught:
        run(folder, trainers[name], options)
    assert not folder.exists()
    kept = tmp_path / "out.diverged-1"
    assert f"the last good weights are in {kept / 'last-good'}" in str(caught.value.hint)
    told = read_json(kept / "diverged.json")
    assert told["step"] <= steps
    assert 1 <= len(told["rows"]) <= 8
    assert [row["step"] for row in read_metrics(kept) if row["step"] > 0] == list(range(1, told["step"]))
    if name != "reward":  # The first step moved them: what was good are the weights that it began with.
        good = load_policy(kept / "last-good", runtime, trained=False).module.state_dict()
        start = load_policy(trained.sft, runtime, trained=False).module.state_dict()
        assert all(torch.equal(good[key], start[key]) for key in start)


@pytest.mark.parametrize("name", NAMES)
def test_a_sound_rate_leaves_nothing_of_it(trainers: dict[str, Train], tmp_path: Path, name: str) -> None:
    run(tmp_path / "out", trainers[name], {"learning_rate": 1e-4})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint",
        "manifest.json",
        "metrics.jsonl",
    ]


def poison(stage: Stage, weight: Tensor, *, at: int) -> None:
    """Let a weight be NaN in one step, as when a reward model cannot read a response of it."""
    kept = weight.clone()

    def progress(done: int, _total: int, _note: str) -> None:
        with torch.no_grad():
            weight.copy_(torch.full_like(kept, math.nan) if done == at - 1 else kept)

    stage.progress = progress


@pytest.mark.parametrize(("run_method", "config_type"), [(run_ppo, PPOConfig), (run_grpo, GRPOConfig)])
@pytest.mark.parametrize(
    ("whose", "told"), [("reward", "the reward model gives a response the reward nan"), ("reference", "the reference")]
)
def test_a_step_whose_rewards_are_broken_may_be_left_out(
    trained: Any,
    codec: Codec,
    runtime: Runtime,
    tmp_path: Path,
    run_method: Any,
    config_type: Any,
    whose: str,
    told: str,
) -> None:
    prompts = encode_prompts([Prompt(f"row {number}", f"topic{number}") for number in range(8)], codec, 8)
    kinds = {PPOConfig: {"value_init": "policy", "kl_target": 0.1}, GRPOConfig: {"group_size": 2}}
    base = {**ROLLED_OUT, **kinds[config_type], "total_steps": 4, "eval_steps": 3, "lr_scheduler_type": "linear"}
    for allowed in (1, 0):
        config = config_type(**base, skip_nonfinite=allowed)
        actors = load_actors(config, trained.sft, trained.token, None, runtime, codec)
        model = actors.scorers[0].reward.model if whose == "reward" else actors.reference
        validation = Validation(prompts, sampling_of(config), lambda _: {"win_rate": 50.0}, config.eval_steps)
        with open_stage(tmp_path / f"out-{allowed}", "toy", seed=0, config={}, inputs={}) as stage:
            assert stage is not None
            poison(stage, model.module.get_output_embeddings().weight if whose == "reference" else head(model), at=2)
            call = {"actors": actors, "prompts": prompts, "validation": validation, "stage": stage}
            if not allowed:
                with pytest.raises(DivergedError, match=f"training broke down at step 2: {told}.*; rows 'row"):
                    run_method(config, **call)
                return
            run_method(config, **call)
            notes = stage.notes
        rows = read_metrics(tmp_path / "out-1")
        assert [row["step"] for row in rows if "reward" not in row] == [0, 2]
        assert rows[2]["learning_rate"] == rows[3]["learning_rate"] > rows[4]["learning_rate"]
        assert rows[2]["kl_coef"] == rows[3]["kl_coef"]
        assert rows[3]["kl"] != 0.0
        assert {"time/sample", "time/score", "time/update"} <= rows[1].keys()
        assert rows[1]["step_time"] >= rows[1]["time/sample"] + rows[1]["time/score"] + rows[1]["time/update"] - 0.001
        assert len(notes["left out"]) == 1
        assert notes["left out"][0].startswith(f"step 2: {told}")


def head(model: Any) -> Tensor:
    weight: Tensor = head_of(model.module).weight
    return weight


class Weights(nn.Module):
    """As many weights as the test asks for."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values))


def objective(module: Weights) -> Objective[Sequence[float]]:
    """The sum of w * x over the rows, which are numbers."""

    def terms(item: Sequence[float]) -> dict[str, Tensor]:
        return {"sum": (module.w * torch.tensor(item)).sum()}

    return Objective({"sum": 1.0}, lambda item: {"sum": float(len(item))}, terms)


def test_a_loss_is_checked_for_each_micro_batch() -> None:
    module, runtime = Weights(1e30), Runtime(torch.device("cpu"), torch.float32)
    check_loss([[1.0], [2.0, 3.0]], objective(module), runtime)
    with pytest.raises(DivergedError, match="loss inf"):
        check_loss([[1.0], [1e30]], objective(module), runtime)


def test_the_last_good_weights_are_copied_and_come_back() -> None:
    module, good = Weights(1.0, 2.0), LastGood()
    good.restore([module.w])
    assert module.w.tolist() == [1.0, 2.0]
    good.take([module.w])
    with torch.no_grad():
        module.w.fill_(math.nan)
    good.restore([module.w])
    assert module.w.tolist() == [1.0, 2.0]


def test_a_copy_that_takes_long_is_not_made_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("redpencil.training.update.time.monotonic", lambda: now.__setitem__(0, now[0] + 1) or now[0])
    module, good, copies = Weights(0.0), LastGood(), 0
    for step in range(1000):
        with torch.no_grad():
            module.w.fill_(float(step))
        if good.due:
            good.take([module.w])
        copies += float(good.weights[0]) == step
    # A copy takes one tick of this clock, and a step one more: a copy after every hundred ticks or so.
    assert 8 <= copies <= 11


def test_the_rows_without_a_probability_are_named(
    trained: Any, codec: Codec, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(trained.sft, runtime, trained=False, codec=codec)
    prompts, responses = codec.encode_prompts(["topic1", "topic3", "topic2"]), [[4, 3], [4, 4], [5, 3]]
    batch = collate(prompts, responses, codec.pad_id, runtime.device)
    check_policy(policy, batch, 1.0, 3)
    sizes: list[int] = []
    monkeypatch.setattr(
        "redpencil.training.divergence.response_logprobs",
        lambda module, part, temperature: (
            sizes.append(len(part.input_ids)) or response_logprobs(module, part, temperature)
        ),
    )
    with torch.no_grad():
        policy.module.get_input_embeddings().weight[prompts[2][-1]] = math.nan
    with pytest.raises(DivergedError, match="probabilities are not finite") as caught:
        check_policy(policy, batch, 1.0, 2)
    assert list(caught.value.rows) == [2]
    assert sorted(sizes) == [1, 2]  # a whole batch of rollouts need not fit into memory at once
