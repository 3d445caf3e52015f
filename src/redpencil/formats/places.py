"""Rows as they come from a source, each with its place."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from redpencil.errors import RedpencilError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands. `row` counts from 1; `line` is None where the source has no lines."""

    file: str
    row: int
    line: int | None = None

    def error(self, problem: str, *, field: str | None = None, way_out: str | None = None) -> RedpencilError:
        """An error that names the place."""
        named = problem if self.line is not None else f"row {self.row}: {problem}"
        return RedpencilError(named, file=self.file, line=self.line, field=field, way_out=way_out)

    def locate(self, error: RedpencilError) -> RedpencilError:
        """An error about a row's content with the place added."""
        if error.file is not None:
            return error
        return self.error(error.problem, field=error.field, way_out=error.way_out)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row, or what could be seen of one that cannot be read, with its error."""

    place: Place
    values: dict[Any, Any]
    error: RedpencilError | None = None
    raw: object = None


Rows = Generator[SourceRow, None, None]


@dataclass(frozen=True, slots=True)
class Source:
    """An open source.

    Args:
        name: of the file or data set, to make ids from.
        file: what to name in errors.
        rows: gone through once.
        position: how far it has been read, and how far there is to go (0: nobody knows), in kB or rows.
        unread: what else there is, which nobody asked for: the other splits of a data set.
    """

    name: str
    file: str
    rows: Rows
    position: Callable[[], tuple[int, int]]
    unread: tuple[str, ...] = ()
