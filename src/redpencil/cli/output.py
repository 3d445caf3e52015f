"""Output of the commands: results on stdout; messages, errors and progress on stderr."""

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from redpencil.alignment.words import diff_words
from redpencil.digests import check_outside
from redpencil.errors import RedpencilError
from redpencil.files import followed, is_device, partial_of
from redpencil.pipeline.failures import error_to_json, follows_another
from redpencil.pipeline.group import group
from redpencil.records import R, count_lines, read_jsonl
from redpencil.report.markup import visible
from redpencil.report.terminal import redline, redline_plain
from redpencil.runs import Progress
from redpencil.stopping import request
from redpencil.text import escape_half_pairs, finite

INTERRUPTED: Final = 130
"""Exit code of a command that was interrupted, as shells have it for Ctrl-C."""
DASH: Final = "\N{EN DASH}"
"""Text of a cell without a figure."""
STEP: Final = 100
"""Rows between two steps of a progress bar."""
_BESIDE_THE_BAR: Final = 90
"""Columns that a line of progress needs without its bar, roughly."""
_WORD: Final = 7
"""Letters of a word in a table's header that are kept on one line."""
_UPPER: Final = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class _Visible:
    """Something to print, with its control characters made visible; our own colours are added after that."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class _AllVisible(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(renderable) for renderable in renderables]


def _console(*, stderr: bool) -> Console:
    new = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    new.push_render_hook(_AllVisible())
    return new


console = _console(stderr=False)
log = _console(stderr=True)


def say(text: str) -> None:
    """Print a line on stderr, for the person at the terminal; stdout is for results."""
    log.print(text)


def print_error(error: RedpencilError) -> None:
    """Print a user's mistake without a traceback: the problem, its place and a hint."""
    log.print(Text.assemble(("error: ", "bold red"), str(error)))


def print_for_all(error: Exception) -> None:
    """Print the error that ends several processes in one of them; one that is no user's mistake with its traceback."""
    with request.held(lambda: None):
        if not group().speaks_of(error):
            return
    sys.stderr = sys.__stderr__
    if isinstance(error, RedpencilError):
        print_error(error)
        return
    kind = "another process has ended" if follows_another(error_to_json(error)) else "unexpected"
    log.print(f"{group().name}: {kind}")
    traceback.print_exception(error)


def print_json(content: Any, *, indent: int | None = 2) -> None:
    """Print valid JSON on stdout, on one line without an indent; a number that is not finite becomes null.

    The control characters that JSON allows as they are get escaped, so that none reaches a terminal.
    """
    text = json.dumps(finite(content), indent=indent, ensure_ascii=False)
    print(_UPPER.sub(lambda match: f"\\u{ord(match.group()):04x}", escape_half_pairs(text)))


def say_skipped(skipped: Mapping[str, int]) -> None:
    """Print how many rows were left out, for each reason; nothing if none was."""
    reasons = [f"{count:,} {reason}" for reason, count in skipped.items() if count]
    if reasons:
        say(f"skipped: {', '.join(reasons)}")


def check_out_file(path: Path, *others: Path | None) -> None:
    """Refuse an output file that cannot be written, before the work and not after it.

    Raises:
        RedpencilError: if `path` is a folder, cannot be created, is in the folder of a finished stage, or is one of the
            `others` (inputs and other outputs).
    """
    if path.is_dir() or not path.name:
        raise RedpencilError("it is a folder, not a file", file=path, hint="name a file in it")
    if is_device(path):
        return
    check_outside(path)
    probe = partial_of(followed(path))  # the rows are written here until all are there
    for other in others:
        if other is not None and any(_same(place, other) for place in (path, probe)):
            raise RedpencilError(
                f"it is also an input, and {other} would be overwritten", file=path, hint="choose another file"
            )
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        if not probe.exists():
            try:
                probe.touch()
            finally:
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, hint="choose another path") from None


def _same(path: Path, other: Path) -> bool:
    """Compare two names of files, which need not exist yet."""
    if path.exists() and other.exists():
        return path.samefile(other)
    return os.path.realpath(path) == os.path.realpath(other)


def print_table(
    header: Sequence[str], rows: Iterable[Iterable[str | Text]], *, caption: str = "", notes: Iterable[str] = ()
) -> None:
    """Print a table whose first column names its rows; the other columns are numbers."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(header):
        longest = max((len(word) for word in name.split()), default=0)
        justify: Any = "right" if number else "left"
        table.add_column(Text(name), justify=justify, overflow="fold", min_width=min(longest, _WORD))
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    if caption:
        console.print(caption, style="bold")
    console.print(table, soft_wrap=False)
    for note in notes:
        console.print(Text(note, style="dim"))


def print_redline(original: str, edited: str) -> None:
    """Print an edit: in colours on a terminal, else with `[-deleted-]` and `{+inserted+}`."""
    draw = redline if console.is_terminal else redline_plain
    console.print(draw(original, edited, diff_words(original, edited)))


def short_names(paths: Sequence[Path]) -> list[str]:
    """Make a short name for each path: the stem of a file, the name of a folder, and of a checkpoint that of its stage.

    Paths whose short names are the same are named in full.

    Raises:
        RedpencilError: if a path is there twice.
    """
    names: list[str] = []
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise RedpencilError("it is named twice", file=path, hint="name each once")
        if path.name == "checkpoint":
            names.append(path.absolute().parent.name)
        else:
            names.append(path.name if path.is_dir() else path.stem)
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


class PaceColumn(ProgressColumn):
    """Rate and time left of a stage."""

    def render(self, task: Task) -> Text:
        if not (task.fields["steady"] and task.total):
            return Text("")
        return Text(_pace(task.completed, task.total, task.elapsed or 0.0), style="cyan")


def _pace(done: float, total: float, seconds: float) -> str:
    """Format steps a second, or seconds a step if that is the larger number, and the time left."""
    if not (done and seconds):
        return ""
    rate = done / seconds
    left = timedelta(seconds=round((total - done) / rate))
    return f"{rate:.1f}/s, {left} left" if rate >= 1 else f"{1 / rate:.1f} s each, {left} left"


class Board(Protocol):
    """Shows the progress of stages."""

    def start(self, stage: str) -> None:
        """Show that a stage has begun."""

    def advance(self, stage: str, done: int, total: int, note: str) -> None:
        """Show how far a stage is."""

    def warn(self, stage: str, text: str) -> None:
        """Show a warning about a stage."""

    def tell(self, stage: str, text: str) -> None:
        """Show what a stage decided."""

    def end(self, stage: str, how: str, note: str = "") -> None:
        """Show that a stage has ended: `how` is "done", "already complete", "failed" or "waiting"."""


class Lines:
    """A line at the start of a stage, one at its end with the seconds it took, and one every half minute between."""

    def __init__(self, total: int, every_s: float = 30.0) -> None:
        self.total, self.ended, self.every_s = total, 0, every_s
        self.started: dict[str, float] = {}
        self.spoke: dict[str, float] = {}
        self.parts: dict[str, tuple[int, int, float]] = {}

    def start(self, stage: str) -> None:
        self.started[stage] = self.spoke[stage] = time.monotonic()
        log.print(f"{self._count()}{stage}: started")

    def advance(self, stage: str, done: int, total: int, note: str) -> None:
        """Print steps, rate and time left, unless less than `every_s` seconds have passed since the last line."""
        now = time.monotonic()
        part = self.parts.get(stage)
        if part is None or part[0] != total or part[1] > done:
            part = (total, done, now)
        self.parts[stage] = (total, done, part[2])
        if now - self.spoke.get(stage, now) < self.every_s:
            return
        self.spoke[stage] = now
        pace = _pace(done, total, now - part[2])
        log.print(f"{self._count()}{stage}: " + ", ".join(text for text in (f"{done}/{total}", pace, note) if text))

    def warn(self, stage: str, text: str) -> None:
        log.print(_warning(stage, text))

    def tell(self, stage: str, text: str) -> None:
        log.print(f"{self._count()}{stage}: {text}")

    def end(self, stage: str, how: str, note: str = "") -> None:
        self.ended += 1
        log.print(f"{self._count()}{stage}: {_ending(how, note, self.started.get(stage))}")

    def _count(self) -> str:
        return f"[{self.ended:>{len(str(self.total))}}/{self.total}] " if self.total > 1 else ""


class Bars:
    """A bar for each running stage, and one for all stages; a stage that has ended becomes a line above the bars."""

    def __init__(self, total: int, progress: RichProgress) -> None:
        self.progress = progress
        self.overall = progress.add_task("all stages", total=total, note="", steady=False) if total > 1 else None
        self.running: dict[str, Task] = {}
        self.started: dict[str, float] = {}
        self.ended: set[str] = set()

    def start(self, stage: str) -> None:
        """Add a bar. Reports of a worker that arrive after the end of its stage are ignored, here and in `advance`."""
        if stage not in self.ended:
            self.started[stage] = time.monotonic()
            task = self.progress.add_task(stage, total=None, note="", steady=True)
            self.running[stage] = next(bar for bar in self.progress.tasks if bar.id == task)

    def advance(self, stage: str, done: int, total: int, note: str) -> None:
        """Move the bar. A stage with several parts begins again with each of them, and so does its rate."""
        if stage not in self.running:
            return
        task = self.running[stage]
        if task.total != total or task.completed > done:
            self.progress.reset(task.id, total=total)
        self.progress.update(task.id, completed=done, note=note)

    def warn(self, stage: str, text: str) -> None:
        self.progress.console.print(_warning(stage, text))

    def tell(self, stage: str, text: str) -> None:
        self.progress.console.print(f"{stage}: {text}")

    def end(self, stage: str, how: str, note: str = "") -> None:
        self.ended.add(stage)
        if stage in self.running:
            self.progress.remove_task(self.running.pop(stage).id)
        self.progress.console.print(f"{stage}: {_ending(how, note, self.started.get(stage))}")
        if self.overall is not None:
            self.progress.advance(self.overall)


def _warning(stage: str, text: str) -> Text:
    return Text.assemble((f"{stage}: warning: ", "bold yellow"), text)


def _ending(how: str, note: str, started: float | None) -> str:
    if how in ("failed", "waiting") and note:
        return f"{how} ({note.splitlines()[0]})"
    return f"{how} in {time.monotonic() - started:.1f} s" if how == "done" and started is not None else how


@contextmanager
def board_for(total: int) -> Iterator[Board]:
    """Make a board for `total` stages: bars on a terminal, else lines."""
    if not log.is_terminal:
        yield Lines(total)
        return
    # A line that wraps cannot be drawn over, so a narrow terminal gets a shorter bar, and then a shorter note.
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=min(24, max(4, log.width - _BESIDE_THE_BAR))),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        PaceColumn(table_column=Column(no_wrap=True)),
        TextColumn("[dim]{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with RichProgress(*columns, console=log, transient=True) as progress:
        yield Bars(total, progress)


@contextmanager
def working(name: str) -> Iterator[Progress]:
    """Show the progress of work that a command does in its own process."""
    with board_for(1) as board:
        board.start(name)
        yield lambda done, total, note: board.advance(name, done, total, note)
        board.end(name, "done")


def watched(path: Path, kind: type[R], progress: Progress) -> Iterator[R]:
    """Read the records of a file, with progress in lines."""
    total = count_lines(path)
    for done, row in enumerate(read_jsonl(path, kind), start=1):
        yield row
        if done % STEP == 0:
            progress(done, total, "")
