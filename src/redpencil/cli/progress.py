"""Progress of stages: bars where a person watches the terminal, one line for each start and end where not."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from redpencil.cli.output import log

if TYPE_CHECKING:
    from redpencil.pipeline.execute import Event

Listener = Callable[["Event"], None]


class RateColumn(ProgressColumn):
    """Steps a second, or seconds a step where that is the larger number."""

    def render(self, task: Task) -> Text:
        """The rate of late."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", style="cyan")


class Lines:
    """A line when a stage starts and one when it ends, with its seconds."""

    def __init__(self, total: int) -> None:
        self.total, self.ended = total, 0
        self.started: dict[str, float] = {}

    def __call__(self, event: "Event") -> None:
        """Take note of an event, and print it if it is a start or an end."""
        if event.happening == "progress":
            return
        if event.happening == "started":
            self.started[event.stage] = time.monotonic()
            log.print(f"[ {self._count()}] {event.stage}: started")
            return
        self.ended += 1
        log.print(f"[{self._count()}] {event.stage}: {ending(event, self.started.get(event.stage))}")

    def _count(self) -> str:
        return f"{self.ended:>{len(str(self.total))}}/{self.total}"


class Bars:
    """A bar for each running stage, and one for all stages; what has ended becomes a line above them."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.progress = progress
        self.overall = progress.add_task("all stages", total=total, note="") if total > 1 else None
        self.running: dict[str, TaskID] = {}
        self.started: dict[str, float] = {}
        self.ended: set[str] = set()

    def __call__(self, event: "Event") -> None:
        """Show an event. What a worker reports late, after its stage has ended, is passed over."""
        if event.stage in self.ended:
            return
        if event.happening == "started":
            self.started[event.stage] = time.monotonic()
            self.running[event.stage] = self.progress.add_task(event.stage, total=None, note="")
        elif event.happening == "progress":
            self._advance(event)
        else:
            self._end(event)

    def _advance(self, event: "Event") -> None:
        task = self.running[event.stage]
        shown = self.progress.tasks[self.progress.task_ids.index(task)]
        if shown.total != event.total or shown.completed > event.done:
            # A stage with several parts starts anew with each, and so does its rate.
            self.progress.reset(task, total=event.total)
        self.progress.update(task, completed=event.done, note=event.note)

    def _end(self, event: "Event") -> None:
        self.ended.add(event.stage)
        if event.stage in self.running:
            self.progress.remove_task(self.running.pop(event.stage))
        self.progress.console.print(f"{event.stage}: {ending(event, self.started.get(event.stage))}")
        if self.overall is not None:
            self.progress.advance(self.overall)


def ending(event: "Event", started: float | None) -> str:
    """How a stage ended, in words."""
    if event.happening == "failed":
        return f"failed ({event.note.splitlines()[0] if event.note else 'no reason given'})"
    if event.happening == "already complete":
        return "already complete"
    return "done" if started is None else f"done in {time.monotonic() - started:.1f} s"


@contextmanager
def shown(total: int) -> Iterator[Listener]:
    """A listener for the events of `total` stages."""
    if not log.is_terminal:
        yield Lines(total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=log, transient=True) as progress:
        yield Bars(total, progress)


@contextmanager
def working(name: str) -> Iterator[Callable[[int, int, str], None]]:
    """Progress of one command's work, for stages that run here and now."""
    from redpencil.pipeline.execute import Event

    with shown(1) as listener:
        listener(Event(name, "started"))
        yield lambda done, total, note: listener(Event(name, "progress", done, total, note))
        listener(Event(name, "done"))
