"""The one update function: accumulation, clipping, schedule, and what it does when numbers break."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from redpencil.config.training import SFTConfig
from redpencil.errors import NotFiniteError, RedpencilError
from redpencil.models.runtime import Runtime
from redpencil.training.update import (
    Objective,
    Optimization,
    epochs_of,
    make_optimization,
    micro_batches_of,
    optimization_of,
    steps_in,
    update,
)

CPU = Runtime(torch.device("cpu"), torch.float32)
Item = tuple[Tensor, Tensor]


def sgd(model: nn.Module, learning_rate: float = 1.0, max_grad_norm: float = 1e9) -> Optimization:
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Optimization(tuple(model.parameters()), optimizer, scheduler, max_grad_norm)


def masked_error(model: nn.Module, weight: float = 1.0) -> Objective[Item]:
    """Mean squared output over the rows whose flag is set, and twice the mean absolute output over all rows."""

    def counts(item: Item) -> dict[str, float]:
        return {"error": float(item[1].sum()), "size": float(len(item[1]))}

    def terms(item: Item) -> dict[str, Tensor]:
        out = model(item[0])[:, 0]
        error = (out.square() * item[1]).sum() / item[1].sum().clamp(min=1)
        return {"error": error, "size": out.abs().mean()}

    return Objective({"error": weight, "size": 2.0}, counts, terms)


def data() -> Item:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    flags = torch.tensor([1.0, 0, 0, 1, 1, 0, 0, 0], dtype=torch.float64)
    return inputs, flags


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1).double()


@pytest.mark.parametrize("sizes", [[1] * 8, [3, 3, 2], [4, 4], [7, 1]])
def test_micro_batches_give_the_gradient_of_the_whole_batch(sizes: list[int]) -> None:
    inputs, flags = data()
    models = [linear(), linear()]
    whole = update(sgd(models[0]), [(inputs, flags)], masked_error(models[0]), CPU)
    parts = list(zip(inputs.split(sizes), flags.split(sizes), strict=True))
    parted = update(sgd(models[1]), parts, masked_error(models[1]), CPU)
    torch.testing.assert_close(models[0].weight, models[1].weight, rtol=1e-12, atol=1e-12)
    assert parted == pytest.approx(whole, rel=1e-9)


def test_by_hand() -> None:
    """w = 2, rows 1 and 3, the second flagged: error = (2 * 3)^2 / 1 = 36, size = (2 + 6) / 2 = 4."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    item = torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])
    logged = update(sgd(model, learning_rate=0.01), [item], masked_error(model), CPU)
    # loss = 36 + 2 * 4; d/dw = 2 * 6 * 3 + 2 * (1 + 3) / 2 = 36 + 4 = 40
    assert logged == pytest.approx({"error": 36, "size": 4, "loss": 44, "grad_norm": 40})
    assert float(model.weight.detach()) == pytest.approx(2 - 0.4)


def test_a_term_without_weight_is_only_logged() -> None:
    inputs, flags = data()
    model = linear()
    objective = masked_error(model)
    silent = Objective({"size": 2.0}, objective.counts, objective.terms)
    logged = update(sgd(model), [(inputs, flags)], silent, CPU)
    assert logged["loss"] == pytest.approx(2 * logged["size"])
    assert logged["error"] > 0


def test_gradients_are_clipped_and_the_norm_before_is_logged() -> None:
    inputs, flags = data()
    model, before = linear(), linear()
    logged = update(sgd(model, max_grad_norm=0.1), [(inputs, flags)], masked_error(model), CPU)
    moved = torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), before.parameters(), strict=True)])
    assert logged["grad_norm"] > 0.1
    assert float(moved.detach().norm()) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_numbers_raise_and_leave_the_weights(broken: float) -> None:
    inputs, flags = data()
    model = linear()
    optimization = make(model)
    update(optimization, [(inputs, flags)], masked_error(model), CPU)
    before = [p.clone() for p in model.parameters()]
    inputs[3] = broken
    with pytest.raises(RedpencilError, match="gradient norm") as raised:
        update(optimization, [(inputs[:2], flags[:2]), (inputs[2:], flags[2:])], masked_error(model), CPU)
    assert "learning rate" in raised.value.hint
    for parameter, kept in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)
    # and a sound batch continues from there
    update(optimization, [data()], masked_error(model), CPU)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_the_term_that_is_not_finite_is_named_and_nothing_moves() -> None:
    model = linear()
    optimization = make(model, lr_scheduler_type="linear")
    update(optimization, [data()], masked_error(model), CPU)
    before = copy.deepcopy((optimization.optimizer.state_dict(), optimization.scheduler.state_dict()))
    weights = [p.clone() for p in model.parameters()]
    sound = masked_error(model)

    def broken(value: float, name: str) -> Objective[Item]:
        def terms(item: Item) -> dict[str, Tensor]:
            found = sound.terms(item)
            return {**found, name: found[name] * value}

        return Objective({**sound.weights, "logged": 0.0}, sound.counts, terms)

    for value, name, told in [
        (math.nan, "error", r"^the term error is nan \(loss nan, gradient norm nan\)"),
        (math.inf, "size", r"^the term size is inf \(loss inf, gradient norm (inf|nan)\)"),
        (1e200, "error", r"^the gradient of error or size is not finite \(loss .*e\+\d+, gradient norm inf\)"),
    ]:
        with pytest.raises(NotFiniteError, match=told):
            update(optimization, [data()], broken(value, name), CPU)
    after = optimization.optimizer.state_dict(), optimization.scheduler.state_dict()
    assert str(after) == str(before)
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), weights, strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("rate", [math.inf, 1e308])
def test_a_step_that_breaks_the_weights_is_an_error_and_what_was_before_comes_back(rate: float) -> None:
    model = linear()
    before = [p.clone() for p in model.parameters()]
    optimization = sgd(model, rate)
    with pytest.raises(RedpencilError, match=r"after the step a weight is (inf|nan)"):
        update(optimization, [(1e3 * data()[0], data()[1])], masked_error(model), CPU)
    optimization.last_good.restore(optimization.parameters)
    assert all(torch.equal(p, kept) for p, kept in zip(model.parameters(), before, strict=True))


def make(model: nn.Module, **changes: object) -> Optimization:
    options = {
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "total_steps": 10,
        "weight_decay": 0.0,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
    }
    return make_optimization(model, **{**options, **changes})


def rates(steps: int, advance: bool = True, **changes: object) -> list[float]:
    model = linear()
    optimization = make(model, **changes)
    found = []
    for _ in range(steps):
        found.append(optimization.optimizer.param_groups[0]["lr"])
        update(optimization, [data()], masked_error(model), CPU, advance_schedule=advance)
    return found


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine"])
def test_the_rate_rises_from_zero_over_the_warm_up(shape: str) -> None:
    found = rates(9, lr_scheduler_type=shape, warmup_steps=4, total_steps=8)
    assert found[:5] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    # then 4 steps down to 0
    after = {
        "constant": [0.5, 0.5, 0.5, 0.5],
        "linear": [0.375, 0.25, 0.125, 0],
        "cosine": [0.25 * (1 + math.cos(math.pi * k / 4)) for k in (1, 2, 3, 4)],
    }
    assert found[5:] == pytest.approx(after[shape])


def test_the_schedule_can_wait() -> None:
    assert rates(4, advance=False, lr_scheduler_type="linear") == [0.5] * 4


def test_biases_and_norms_are_not_decayed() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimization = make(model, weight_decay=0.1)
    decayed, kept = (group["params"] for group in optimization.optimizer.param_groups)
    assert [id(p) for p in decayed] == [id(model[0].weight)]
    assert len(kept) == 3
    assert [group["weight_decay"] for group in optimization.optimizer.param_groups] == [0.1, 0.0]


def test_frozen_parameters_are_left_out() -> None:
    model = linear()
    model.bias.requires_grad_(False)
    assert [id(p) for p in make(model).parameters] == [id(model.weight)]


def test_options_of_a_recipe_arrive() -> None:
    config = SFTConfig(learning_rate=0.1, adam_beta2=0.95, adam_epsilon=1e-6, warmup_ratio=0.1, max_grad_norm=3)
    optimization = optimization_of(linear(), config, total_steps=25)
    group = optimization.optimizer.param_groups[0]
    assert (group["betas"], group["eps"], optimization.max_grad_norm) == ((0.9, 0.95), 1e-6, 3)
    for _ in range(3):  # 10 % of 25 steps, rounded up
        assert group["lr"] < 0.1
        optimization.optimizer.step()
        optimization.scheduler.step()
    assert group["lr"] == pytest.approx(0.1)


@given(st.lists(st.integers(), min_size=1, max_size=20), st.integers(1, 25) | st.none())
def test_micro_batches_hold_every_row_once(rows: list[int], size: int | None) -> None:
    parts = micro_batches_of(rows, size)
    assert [row for part in parts for row in part] == rows
    assert max(map(len, parts)) <= (size or len(rows))
    assert len(parts) == math.ceil(len(rows) / (size or len(rows)))


def test_steps_of_a_stage() -> None:
    assert steps_in(2, 10, 4, None) == 6  # 3 batches an epoch
    assert steps_in(0.5, 10, 4, None) == 2  # 1.5, rounded up
    assert steps_in(0.01, 10, 4, None) == 1
    assert steps_in(3, 10, 4, 7) == 7


def test_epochs_follow_each_other_until_the_steps_are_done() -> None:
    epochs = iter([[[1], [2]], [[3], [4]], [[5], [6]]])
    assert list(epochs_of(lambda: next(epochs), 5)) == [[1], [2], [3], [4], [5]]
