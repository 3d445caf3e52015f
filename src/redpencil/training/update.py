"""The update function of every stage that trains: accumulation, clipping and scheduling.

A stage brings an objective: named terms, each a mean over something that is counted (tokens, pairs), with weights.
Because every term is weighted by its share of the whole batch's count, one batch of 8 and eight micro-batches of 1
give the same gradient.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import get_scheduler

from redpencil.config.training import OptimizerConfig
from redpencil.errors import DivergedError, NotFiniteError
from redpencil.models.lora import trained_parameters
from redpencil.models.parallel import by_mesh, clip_gradients, local, sum_gradients, synchronise, total_norm
from redpencil.models.runtime import Runtime
from redpencil.training.batches import even_batches, switch_of

Item = TypeVar("Item")
LOWER = "lower the learning rate or max_grad_norm"
_DUE = "last good weights are due"


@dataclass(frozen=True, slots=True)
class Objective(Generic[Item]):
    """The function that a stage minimises: the weighted sum of `terms`; terms without a weight are only logged.

    counts: the number of things that each term averages over in a micro-batch, known before the forward pass, so that
    they can be added up over the batch and over processes first.
    terms: the means over a micro-batch.
    """

    weights: Mapping[str, float]
    counts: Callable[[Item], Mapping[str, float]]
    terms: Callable[[Item], Mapping[str, Tensor]]


class LastGood:
    """A copy of weights in main memory, from before the last step that loss and gradient allowed.

    It is renewed at a step unless that would take more than a hundredth of the time since it was renewed last, as it
    would for a large model on a GPU.
    """

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self._due = -math.inf

    @property
    def due(self) -> bool:
        """Whether it is time to copy the weights."""
        return time.monotonic() >= self._due

    def take(self, parameters: Sequence[Tensor]) -> None:
        """Copy the weights, of sharded ones this process's part."""
        start = time.monotonic()
        if not self.weights:
            self.weights = [torch.empty_like(local(parameter), device="cpu") for parameter in parameters]
        for kept, parameter in zip(self.weights, parameters, strict=True):
            kept.copy_(local(parameter.detach()))
        now = time.monotonic()
        self._due = now + 100 * (now - start)

    @torch.no_grad()
    def restore(self, parameters: Sequence[Tensor]) -> None:
        """Put the copied weights back; without a copy, the weights are those that training started from."""
        for kept, parameter in zip(self.weights, parameters, strict=False):
            local(parameter).copy_(kept)


@dataclass(frozen=True, slots=True)
class Optimization:
    """An optimiser with its schedule and its clipping, and the last good weights."""

    parameters: tuple[nn.Parameter, ...]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    max_grad_norm: float
    last_good: LastGood = field(default_factory=LastGood)
    model: nn.Module | None = None
    """Whose `backward` adds up gradients over processes, if its weights are sharded."""


def make_optimization(
    model: nn.Module,
    *,
    learning_rate: float,
    lr_scheduler_type: str,
    warmup_steps: int,
    total_steps: int,
    weight_decay: float,
    adam_epsilon: float,
    max_grad_norm: float,
    adam_beta2: float = 0.999,
) -> Optimization:
    """Make AdamW over the parameters that want gradients; norms and biases are not decayed."""
    parameters = tuple(trained_parameters(model).values())
    decayed, others = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": group, "weight_decay": decay}
        for chosen, decay in ((decayed, weight_decay), (others, 0.0))
        for group in by_mesh(chosen) or [[]]
    ]
    # The default takes temporary tensors as large as the weights on a GPU, and four times the time on a CPU.
    whole = all(parameter.is_cpu and not isinstance(parameter, DTensor) for parameter in parameters)
    fused = (bool(parameters) and whole) or any(parameter.is_cuda for parameter in parameters) or None
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, adam_beta2), eps=adam_epsilon, fused=fused)
    shape = "constant_with_warmup" if lr_scheduler_type == "constant" else lr_scheduler_type
    scheduler = get_scheduler(shape, optimizer, num_warmup_steps=warmup_steps, num_training_steps=total_steps)
    return Optimization(parameters, optimizer, scheduler, max_grad_norm, model=model)


def optimization_of(model: nn.Module, config: OptimizerConfig, total_steps: int) -> Optimization:
    """Make the optimisation that a supervised stage's configuration asks for."""
    return make_optimization(
        model,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=math.ceil(config.warmup_ratio * total_steps),
        total_steps=total_steps,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
        adam_beta2=config.adam_beta2,
    )


def update(
    optimization: Optimization,
    micro_batches: Sequence[Item],
    objective: Objective[Item],
    runtime: Runtime,
    *,
    advance_schedule: bool = True,
    idle: int = 0,
) -> dict[str, float]:
    """Take one optimiser step on a batch of micro-batches; returns the terms' batch means, `loss` and `grad_norm`.

    Counts and logged means are those of all processes of the runtime. Each gives its own micro-batches, all the same
    number: the last `idle` of a process are there to keep step with the others, and count nothing (`own_items`).

    Raises:
        NotFiniteError: if loss or gradient is not a finite number, naming the term; weights, optimiser and schedule are
            left as they were.
        DivergedError: if a weight is not after the step.
    """
    counts = [objective.counts(item) for item in micro_batches]
    counts[len(counts) - idle :] = [dict.fromkeys(count, 0.0) for count in counts[len(counts) - idle :]]
    totals = runtime.sum({name: sum(count[name] for count in counts) for name in counts[0]})
    optimization.optimizer.zero_grad(set_to_none=True)
    logged: dict[str, Tensor] = {}
    for number, (item, count) in enumerate(zip(micro_batches, counts, strict=True), start=1):
        if optimization.model is not None:
            synchronise(optimization.model, wanted=number == len(counts))
        with runtime.autocast():
            terms = objective.terms(item)
        shares = {name: count[name] / totals[name] if totals[name] else 0.0 for name in terms}
        parts = [weight * shares[name] * terms[name] for name, weight in objective.weights.items() if weight]
        torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
        for name, term in terms.items():
            # A tensor, because reading a number from a GPU would wait for it in every micro-batch.
            share = shares[name] * term.detach().double()
            logged[name] = logged[name] + share if name in logged else share
    sum_gradients(optimization.parameters, runtime)
    norm = clip_gradients(optimization.parameters, optimization.max_grad_norm)
    own = dict(zip(logged, torch.stack(list(logged.values())).tolist(), strict=True))
    metrics = runtime.sum({**own, _DUE: optimization.last_good.due})
    all_due = metrics.pop(_DUE) == runtime.data_size
    metrics["loss"] = sum(weight * metrics[name] for name, weight in objective.weights.items() if weight)
    metrics["grad_norm"] = float(norm)
    if not (math.isfinite(metrics["grad_norm"]) and math.isfinite(metrics["loss"])):
        optimization.optimizer.zero_grad(set_to_none=True)
        figures = f"loss {metrics['loss']}, gradient norm {metrics['grad_norm']}"
        raise NotFiniteError(f"{_broken_terms(objective.weights, metrics)} ({figures})", hint=LOWER)
    if all_due:
        optimization.last_good.take(optimization.parameters)
    runtime.together(lambda: _step(optimization.optimizer))
    _check_weights(optimization.parameters)
    if advance_schedule:
        optimization.scheduler.step()
    return metrics


def _broken_terms(weights: Mapping[str, float], terms: Mapping[str, float]) -> str:
    """Name the weighted terms that are no finite numbers, or else those of which one has such a gradient."""
    weighted = [name for name, weight in weights.items() if weight]
    broken = [f"the term {name} is {terms[name]}" for name in weighted if not math.isfinite(terms[name])]
    return ", ".join(broken) or f"the gradient of {' or '.join(weighted)} is not finite"


def _check_weights(parameters: Sequence[Tensor]) -> None:
    """Refuse weights that are not finite. Squares of finite ones may overflow; their norm takes a tenth of the time."""
    if math.isfinite(float(total_norm(parameters))):
        return
    largest = float(total_norm(parameters, math.inf))
    if not math.isfinite(largest):
        raise DivergedError(f"after the step a weight is {largest}", hint=LOWER)


def _step(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise DivergedError(f"the step is too large ({error})", hint=LOWER) from error


@torch.no_grad()
def check_loss(micro_batches: Sequence[Item], objective: Objective[Item], runtime: Runtime) -> None:
    """Refuse weights that give no finite loss, as after a last step that no other one follows.

    Raises:
        DivergedError: naming the micro-batches that have none.
    """
    found = []
    for item in micro_batches:
        with runtime.autocast():
            terms = objective.terms(item)
        losses = {name: weight * float(terms[name]) for name, weight in objective.weights.items() if weight}
        if not all(map(math.isfinite, losses.values())):
            found.append(f"{_broken_terms(objective.weights, losses)} (loss {sum(losses.values())})")
            if runtime.world_size == 1:
                break
    found = [loss for part in runtime.everyone(found) for loss in part]
    if found:
        raise DivergedError(found[0], hint=LOWER)


def own_items(
    rows: Sequence[int],
    micro_batch_size: int | None,
    make: Callable[[Sequence[int]], Item],
    runtime: Runtime,
    widths: Mapping[int, int] | None = None,
) -> tuple[list[Item], int]:
    """Make this process's micro-batches of a batch of row indices, as many as every other process has.

    Args:
        rows: the indices.
        micro_batch_size: rows of a micro-batch; None sets no limit.
        make: makes a micro-batch.
        runtime: decides which rows are this process's.
        widths: the columns that each row takes; with them rows of similar width share a micro-batch.

    Returns:
        The micro-batches, and how many of them, at the end, are there only to keep step: see `update`.
    """
    shares = [rows[rank :: runtime.data_size] for rank in range(runtime.data_size)]
    if widths is None:
        cuts = [micro_batches_of(share, micro_batch_size) for share in shares]
    else:
        switch = switch_of(runtime.device)
        cuts = [
            [[share[i] for i in part] for part in even_batches([widths[i] for i in share], micro_batch_size, switch)]
            for share in shares
        ]
    parts = cuts[runtime.data_rank]
    idle = max(map(len, cuts)) - len(parts)
    return [make(part) for part in (*parts, *[rows[:1]] * idle)], idle


def micro_batches_of(rows: Sequence[int], micro_batch_size: int | None) -> list[Sequence[int]]:
    """Cut a batch of row indices into micro-batches."""
    size = micro_batch_size or max(len(rows), 1)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def steps_in(epochs: float, rows: int, batch_size: int, max_steps: int | None) -> int:
    """Count the optimiser steps of a stage."""
    return max_steps or max(1, math.ceil(epochs * math.ceil(rows / batch_size)))


def epochs_of(make_batches: Callable[[], Iterable[list[int]]], steps: int) -> Iterable[list[int]]:
    """Draw batches epoch after epoch until there were `steps`."""
    drawn = 0
    while True:
        for batch in make_batches():
            if drawn == steps:
                return
            drawn += 1
            yield batch
