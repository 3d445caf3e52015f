"""A step of training: its rows, which updates of it may be left out, and what its phases cost."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import torch

from redpencil.errors import NotFiniteError
from redpencil.models.runtime import peak_memory
from redpencil.runs import PEAK_MEMORY, PHASE, Stage
from redpencil.training.update import Optimization

NAMED: Final = 10
"""Rows, or updates that were left out, that a sentence names."""


def listed(rows: Sequence[str]) -> str:
    """Name the first rows, and count the others."""
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"{', '.join(map(repr, rows[:NAMED]))}{more}"


@dataclass
class Skips:
    """The updates that a stage has left out, `allowed` at most, since their numbers were not finite.

    `record` has a sentence for each, by its number, and is part of the stage's saved state.
    """

    stage: Stage
    allowed: int
    record: dict[str, str] = field(default_factory=dict)

    def take(self, step: int, error: NotFiniteError, names: Sequence[str]) -> None:
        """Leave out what found `error`, with a warning, or raise it if as many were left out as may be.

        Raises:
            NotFiniteError: if no more may be left out.
        """
        if len(self.record) >= self.allowed:
            if self.record:
                error.problem += f", after {len(self.record)} updates that were left out (skip_nonfinite)"
            raise error
        sentence = f"step {step}: {error.problem}; rows {listed([names[row] for row in error.rows] or names)}"
        self.record[str(len(self.record) + 1)] = sentence
        left = self.allowed - len(self.record)
        self.stage.warn(f"left out an update at {sentence}. As many as {left} more may be left out (skip_nonfinite)")

    def finish(self) -> None:
        """Write what was left out into the stage's notes, and say it for the report."""
        if self.record:
            self.stage.notes["left out"] = list(self.record.values())
            some = ". ".join(list(self.record.values())[:NAMED])
            self.stage.remark(f"{len(self.record)} updates were left out, since numbers were not finite. {some}")


@dataclass
class TrainingStep:
    """One step: its number from 1, the ids of its rows, and the seconds of its phases."""

    number: int
    names: Sequence[str]
    skips: Skips
    phases: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=time.perf_counter)

    def skip(self, error: NotFiniteError) -> None:
        """Leave an update out, or raise its error; see `Skips.take`."""
        self.skips.take(self.number, error, self.names)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure the time of a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.phases[name] = self.phases.get(name, 0.0) + time.perf_counter() - start

    def costs(self, tokens: int, device: torch.device) -> dict[str, float]:
        """Return the seconds until now, of all and by phase, the tokens a second, and the peak of memory."""
        seconds = time.perf_counter() - self._start
        found = {"step_time": seconds, "tokens_per_second": tokens / max(seconds, 1e-9)}
        found |= {f"{PHASE}{name}": spent for name, spent in self.phases.items()}
        peak = peak_memory(device)
        found |= {} if peak is None else {PEAK_MEMORY: peak}
        return {name: round(value, 4) for name, value in found.items()}


def learning_rates(optimizations: Mapping[str, Optimization]) -> dict[str, float]:
    """Return the rate of the next update of each model; that of the first is `learning_rate`."""
    rates = [float(each.optimizer.param_groups[0]["lr"]) for each in optimizations.values()]
    others = zip(list(optimizations)[1:], rates[1:], strict=True)
    return {"learning_rate": rates[0], **{f"{name}_learning_rate": rate for name, rate in others}}
