"""What a step leaves out, and what it says of its time."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn

from redpencil.errors import NotFiniteError
from redpencil.runs import Stage, is_time
from redpencil.training.step import Skips, TrainingStep, learning_rates, listed
from redpencil.training.update import Optimization


def broken(*rows: int) -> NotFiniteError:
    error = NotFiniteError("the term nll is nan")
    error.rows = rows
    return error


def test_rows_are_named_or_counted() -> None:
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(number) for number in range(12)]).endswith("'9' and 2 more")


def test_as_many_as_are_allowed_are_left_out(new_stage: Callable[..., Stage]) -> None:
    stage, warned = new_stage(), []
    stage.warn = warned.append
    skips = Skips(stage, 2)
    step = TrainingStep(3, ["a", "b", "c"], skips)
    step.skip(broken(1))
    assert warned == [
        "left out an update at step 3: the term nll is nan; rows 'b'. As many as 1 more may be left out "
        "(skip_nonfinite)"
    ]
    TrainingStep(5, ["d"], skips).skip(broken())
    assert skips.record == {"1": "step 3: the term nll is nan; rows 'b'", "2": "step 5: the term nll is nan; rows 'd'"}
    with pytest.raises(NotFiniteError, match=r"after 2 updates that were left out \(skip_nonfinite\)"):
        step.skip(broken(0))
    skips.finish()
    assert stage.notes["left out"] == list(skips.record.values())


def test_nothing_is_noted_where_nothing_was_left_out(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    Skips(stage, 2).finish()
    assert stage.notes == {}
    with pytest.raises(NotFiniteError, match=r"^the term nll is nan$"):
        Skips(stage, 0).take(1, broken(), ["a"])


def test_phases_add_up(new_stage: Callable[..., Stage]) -> None:
    step = TrainingStep(1, [], Skips(new_stage(), 0))
    for _ in range(2):
        with step.phase("sample"):
            time.sleep(0.02)
    with pytest.raises(ValueError, match="broken"), step.phase("score"):
        raise ValueError("broken")
    times = step.costs(1000, torch.device("cpu"))
    assert list(times) == ["step_time", "tokens_per_second", "time/sample", "time/score", "memory/peak"]
    assert 0.04 <= times["time/sample"] <= times["step_time"]
    assert times["tokens_per_second"] == pytest.approx(1000 / times["step_time"], rel=0.01)
    assert all(map(is_time, times))
    assert not any(map(is_time, ("loss", "learning_rate", "num_tokens", "eval/length", "step")))


def test_the_first_model_has_the_plain_name() -> None:
    def optimization(rate: float) -> Optimization:
        parameter = nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([parameter], lr=rate)
        return Optimization((parameter,), optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0), 1.0)

    assert learning_rates({"policy": optimization(0.5)}) == {"learning_rate": 0.5}
    both = {"policy": optimization(0.5), "value": optimization(0.25)}
    assert learning_rates(both) == {"learning_rate": 0.5, "value_learning_rate": 0.25}
