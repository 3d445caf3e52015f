"""The loops of training: which rows and prompts a step sees, and what is logged."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import pytest
import torch
from torch import Tensor

from redpencil.config.methods import PPOConfig
from redpencil.config.training import SFTConfig
from redpencil.errors import DivergedError, RedpencilError
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.codec import Codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import encode_prompts
from redpencil.records import Prompt
from redpencil.runs import Stage, is_time, read_metrics
from redpencil.training.dpo import train_dpo
from redpencil.training.loop import train_on_rollouts, train_supervised
from redpencil.training.rollout import load_actors, optimization_for, sampling_of
from redpencil.training.scoring import SampledBatch
from redpencil.training.step import TrainingStep
from redpencil.training.update import Objective, make_optimization, update
from redpencil.training.validation import Validation
from redpencil.turns import Asked, prompt_text


class Line(torch.nn.Module):
    """y = w x, to be trained towards y = 3 x."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1, 1))


@pytest.fixture
def line(codec: Codec, runtime: Runtime) -> LanguageModel:
    return LanguageModel(Line(), codec, runtime)  # type: ignore[arg-type]


def train(line: LanguageModel, stage: Stage, rows: Sequence[int], total_steps: int, **options: Any) -> list[list[int]]:
    """Train the line on x = 1 for each row; returns the rows of each micro-batch."""
    seen: list[list[int]] = []

    def collate(part: Sequence[int]) -> int:
        seen.append(list(part))
        return len(part)

    def terms(_: int) -> dict[str, Tensor]:
        return {"error": (line.module.w - 3).square().sum()}  # type: ignore[operator]

    config = SFTConfig(**{"learning_rate": 0.1, "lr_scheduler_type": "constant", "warmup_ratio": 0, **options})
    train_supervised(
        line,
        rows,
        names=list(map(str, rows)),
        lengths=[1] * len(rows),
        collate=collate,
        objective=Objective({"error": 1.0}, lambda size: {"error": float(size)}, terms),
        config=config,
        total_steps=total_steps,
        stage=stage,
    )
    return seen


def test_every_row_is_seen_once_an_epoch(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    seen = train(line, new_stage(), range(100, 110), 8, batch_size=3, micro_batch_size=2)
    # batches of 3, 3, 3 and 1 rows, in parts of at most 2
    assert sorted(map(len, seen[:7])) == [1, 1, 1, 1, 2, 2, 2]
    assert Counter(itertools.chain(*seen)) == dict.fromkeys(range(100, 110), 2)


def test_the_model_learns_and_every_step_is_logged(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    stage, shown = new_stage(), []
    stage.progress = lambda done, total, note: shown.append((done, total, note))
    train(line, stage, range(4), 100, batch_size=4)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert rows[0]["loss"] == rows[0]["error"] == 9
    assert rows[-1]["loss"] < 0.05
    assert shown[0] == (1, 100, "loss 9.000")
    assert shown[-1][:2] == (100, 100)


def test_the_seed_decides_the_batches(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    one, same, other = (train(line, new_stage(seed), range(50), 5, batch_size=10) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_times_rates_and_tokens_are_logged(line: LanguageModel, new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    train(line, stage, range(5), 4, batch_size=2, lr_scheduler_type="linear", learning_rate=0.4)
    rows = read_metrics(stage.folder)
    # A row has one token, and batches have 2, 2 and 1 rows; the rate falls to 0 in 4 steps.
    assert sorted(after - before for before, after in pairwise([0, *(row["num_tokens"] for row in rows[:3])])) == [
        *(1, 2, 2)
    ]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert all(row["step_time"] > 0 for row in rows)
    for row in rows:
        assert row["tokens_per_second"] > 0
        assert row["memory/peak"] > 0
        costs = {"seconds", "step_time", "tokens_per_second", "memory/peak"}
        assert {name for name in row if is_time(name)} == costs


POISONED: Final = 7
"""A row whose loss is not a finite number."""


def poisoned(line: LanguageModel, stage: Stage, *, stop: int | None = None, **options: Any) -> None:
    """Train the line on eight rows, one of which breaks its batch, for eight steps of two rows."""

    def progress(done: int, _total: int, _note: str) -> None:
        if done == stop:
            raise KeyboardInterrupt

    def terms(rows: Sequence[int]) -> dict[str, Tensor]:
        return {"error": (line.module.w - 3).square().sum() * (math.nan if POISONED in rows else 1.0)}  # type: ignore[operator]

    stage.progress = progress
    given = {"learning_rate": 0.1, "lr_scheduler_type": "linear", "warmup_ratio": 0, "batch_size": 2, **options}
    train_supervised(
        line,
        range(8),
        names=[f"row {number}" for number in range(8)],
        lengths=[1] * 8,
        collate=list,
        objective=Objective({"error": 1.0}, lambda rows: {"error": float(len(rows))}, terms),
        config=SFTConfig(**given),
        total_steps=8,
        stage=stage,
    )


def test_steps_may_be_left_out_up_to_a_bound(
    line: LanguageModel, new_stage: Callable[..., Stage], codec: Codec, runtime: Runtime
) -> None:
    stage, warned = new_stage(), []
    stage.warn = warned.append
    poisoned(line, stage, skip_nonfinite=2)
    rows = read_metrics(stage.folder)
    out = [row["step"] for row in rows if "loss" not in row]
    assert len(rows) == 8
    assert [1 <= out[0] <= 4, 5 <= out[1] <= 8] == [True, True]  # once in each epoch of four batches
    # Six updates on one curve are the same wherever the two that were left out lay; the schedule stood still there.
    other = LanguageModel(Line(), codec, runtime)  # type: ignore[arg-type]
    optimization = make_optimization(
        other.module,
        learning_rate=0.1,
        lr_scheduler_type="linear",
        warmup_steps=0,
        total_steps=8,
        weight_decay=0.0,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
    )

    def terms(_: int) -> dict[str, Tensor]:
        return {"error": (other.module.w - 3).square().sum()}  # type: ignore[operator]

    for _ in range(6):
        update(optimization, [0], Objective({"error": 1.0}, lambda _: {"error": 1.0}, terms), runtime)
    assert torch.equal(line.module.w, other.module.w)  # type: ignore[arg-type]
    rates = [row["learning_rate"] for row in rows]
    assert rates[int(out[0]) - 1] == rates[int(out[0])] or out[0] == 8
    told = stage.notes["left out"]
    assert [sentence.split(":")[0] for sentence in told] == [f"step {step}" for step in out]
    assert all("the term error is nan" in sentence and "'row 7'" in sentence for sentence in told)
    assert len(warned) == 3
    assert "left out an update at step" in warned[0]
    assert "2 updates were left out" in warned[2]
    assert stage.notes["remarks"] == [warned[2]]


@pytest.mark.parametrize("allowed", [0, 1])
def test_one_more_step_that_breaks_ends_the_stage(
    line: LanguageModel, new_stage: Callable[..., Stage], allowed: int
) -> None:
    after = r", after 1 updates that were left out \(skip_nonfinite\)" if allowed else ""
    with pytest.raises(DivergedError, match=rf"broke down at step \d: the term error is nan .*{after}; rows 'row 7'"):
        poisoned(line, new_stage(), skip_nonfinite=allowed, batch_size=8)


def test_a_stage_in_which_every_step_is_left_out_is_an_error(
    line: LanguageModel, new_stage: Callable[..., Stage]
) -> None:
    with pytest.raises(DivergedError, match="every update was left out; step 1: the term error is nan"):
        poisoned(line, new_stage(), skip_nonfinite=99, batch_size=8)


def test_what_was_left_out_before_a_stop_counts_on_after_it(
    line: LanguageModel, new_stage: Callable[..., Stage], codec: Codec, runtime: Runtime
) -> None:
    whole, stopped = new_stage(), new_stage()
    poisoned(line, whole, skip_nonfinite=2, save_every=1)
    again = LanguageModel(Line(), codec, runtime)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        poisoned(again, stopped, stop=6, skip_nonfinite=2, save_every=1)
    resumed = LanguageModel(Line(), codec, runtime)  # type: ignore[arg-type]
    poisoned(resumed, stopped, skip_nonfinite=2, save_every=1)
    assert torch.equal(resumed.module.w, line.module.w)  # type: ignore[arg-type]
    assert stopped.notes["left out"] == whole.notes["left out"]
    untimed = [
        [{name: value for name, value in row.items() if not is_time(name)} for row in read_metrics(stage.folder)]
        for stage in (whole, stopped)
    ]
    assert untimed[0] == untimed[1]


def test_no_pairs_are_refused(trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]) -> None:
    from redpencil.config.methods import DPOConfig

    with pytest.raises(RedpencilError, match="no pairs to train on"):
        train_dpo(
            DPOConfig(), policy=trained.sft, pairs=[], validation=None, codec=codec, runtime=runtime, stage=new_stage()
        )


def test_rollouts_go_through_all_prompts_and_adapt_the_coefficient(
    trained: Any, codec: Codec, runtime: Runtime, new_stage: Callable[..., Stage]
) -> None:
    config = PPOConfig(
        response_length=4,
        rollout_batch_size=4,
        batch_size=4,
        total_steps=4,
        eval_steps=2,
        kl_coef=0.1,
        value_init="policy",
    )
    actors, stage = load_actors(config, trained.sft, trained.token, None, runtime, codec), new_stage()
    prompts = encode_prompts([Prompt(str(i), f"topic{i}") for i in range(8)], codec, 8)
    steps: list[tuple[int, float]] = []
    asked: list[Asked] = []

    def learn(sampled: SampledBatch, step: TrainingStep, kl_coef: float) -> dict[str, float]:
        steps.append((step.number, kl_coef))
        asked.extend(sampled.prompts)
        return {"reward": 0.0, "kl": 5.0, "length": 4.0}

    train_on_rollouts(
        config,
        learn,
        actors=actors,
        optimizations={"policy": optimization_for(actors.policy, 1e-3, config)},
        prompts=prompts,
        validation=Validation(prompts, sampling_of(config), lambda _: {"win_rate": 50.0}, config.eval_steps),
        stage=stage,
        next_kl_coef=lambda kl_coef, kl: kl_coef * kl,
    )
    assert steps == [(1, 0.1), (2, 0.5), (3, 2.5), (4, 12.5)]
    assert Counter(map(prompt_text, asked)) == dict.fromkeys((f"topic{i}" for i in range(8)), 2)
    rows = read_metrics(stage.folder)
    assert [row["step"] for row in rows if "eval/win_rate" in row] == [0, 2, 4]
    assert [row["kl_coef"] for row in rows[1:]] == [0.1, 0.5, 2.5, 12.5]
    assert stage.notes["best"] == {"step": 0, "value": 50.0, "kl": 0.0}
    assert stage.notes["skipped prompts"] == 0
