"""What `edit` and `judge` can be told to do with a provider: plan, ask, write batch files, read their results."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from redpencil.cli.output import INTERRUPTED, check_out_file, say
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from redpencil.cli.provider_run import ProviderRun
    from redpencil.providers.cache import Journal


class Command(Protocol):
    """A command's part in a run: what it tells before, and what it writes after."""

    @property
    def run(self) -> "ProviderRun":
        """The run."""

    def tell_plan(self, *, as_json: bool) -> None:
        """Say what would be asked, and an estimate of its cost."""

    def ask(self) -> None:
        """Ask."""

    def write(self, out: Path, *, as_json: bool, batch: bool) -> bool:
        """Write the rows and tell of them; whether all was asked that is due."""


@dataclass(frozen=True, slots=True)
class Todo:
    """What a command is to do with a provider, and where its files are; `journal` is None for one in memory."""

    out: Path
    journal: Path | None
    dry_run: bool
    batch_out: Path | None
    batch_in: tuple[Path, ...]
    as_json: bool

    def __post_init__(self) -> None:
        if self.dry_run + (self.batch_out is not None) + bool(self.batch_in) > 1:
            raise RedpencilError(
                "--dry-run, --batch-out and --batch-in are three things to do", hint="give one of them at a time"
            )

    def open_journal(self) -> "AbstractContextManager[Journal]":
        """The journal; a dry run makes none."""
        from redpencil.providers.cache import open_journal

        made = self.dry_run and self.journal is not None and not self.journal.exists()
        return open_journal(None if made else self.journal)


def journal_beside(out: Path) -> Path:
    """Where the journal of a file is that the user names no journal for.

    Raises:
        RedpencilError: if `out` is a folder without a name, such as `.` or `/`.
    """
    if not out.name:
        raise RedpencilError("a folder stands where the file should go", file=out, hint="name a file in it")
    return out.with_name(f"{out.name}.journal")


def carry_out(command: Command, todo: Todo) -> None:
    """Do what is to be done.

    Raises:
        typer.Exit: 1 if --max-cost stopped it, 130 if it was interrupted.
    """
    if todo.dry_run:
        command.tell_plan(as_json=todo.as_json)
    elif todo.batch_out is not None:
        command.run.write_batches(todo.batch_out)
    else:
        if todo.batch_in:
            command.run.read_batches(todo.batch_in)
        else:
            _ask(command, todo.journal)
        if not command.write(todo.out, as_json=todo.as_json, batch=bool(todo.batch_in)):
            raise typer.Exit(1)


def _ask(command: Command, journal: Path | None) -> None:
    with _terminated_as_interrupted():
        try:
            command.ask()
        except KeyboardInterrupt:
            if journal is None:
                raise
            say(f"interrupted: {command.run.answers_known()} are in {journal}; the same command asks for the rest")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: what has come is kept."""

    def interrupt(*_: object) -> None:
        # As SIGINT, where it is not ignored, for asyncio has a handler of its own for that while it runs.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def check_files(inputs: Iterable[Path], todo: Todo, *others: Path | None) -> None:
    """Refuse rows that can be read but once, and results that would be written over something else."""
    inputs = list(inputs)
    for given in inputs:
        if given.exists() and not given.is_file():
            raise RedpencilError(
                "responses are read several times, and this is no plain file",
                file=given,
                hint="write them to a file first",
            )
    for path in filter(None, (todo.out, todo.batch_out)):
        if todo.journal is not None and os.path.realpath(path) == os.path.realpath(todo.journal):
            raise RedpencilError("it is also the journal", file=path, hint="choose another file")
        check_out_file(path, *inputs, todo.journal, *others, *todo.batch_in)
