"""What `annotate` brings into a project: files of items and settings."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redpencil.cli.output import naming, say
from redpencil.cli.progress import watched, working
from redpencil.errors import RedpencilError
from redpencil.records import Edit, JsonlFile, Response, count_lines

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from redpencil.web.items import ImportCount

Row = TypeVar("Row", Response, Edit)
LONG: Final = 500
"""Rows of which a file needs a progress bar."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What goes into the database."""

    responses: Path | None
    suggestions: Path | None
    known: Path | None
    compare: tuple[Path, Path] | None
    project: Path | None

    def files(self) -> list[Path]:
        """All that are given."""
        given = (self.responses, self.suggestions, self.known, *(self.compare or ()), self.project)
        return [path for path in given if path is not None]

    def check(self) -> None:
        """Look at the files before a database is made for them.

        Raises:
            RedpencilError: if one cannot be read, or holds other rows.
        """
        if self.suggestions is not None and self.responses is None and self.known is None:
            raise RedpencilError(
                "suggestions belong to responses", field="--suggestions", hint="give the --responses too, or --known"
            )
        for path in (self.responses, *(self.compare or ())):
            _check_first_row(path, Response)
        for path in (self.suggestions, self.known):
            _check_first_row(path, Edit)
        if self.project is not None:
            from redpencil.web.project import load_project_file

            load_project_file(self.project)

    def bring_in(self, engine: "Engine") -> dict[str, Any]:
        """Add all of it, say so and give the counts; what is known already stays as it is."""
        from redpencil.web.items import (
            import_comparisons,
            import_gold_items,
            import_responses,
            matching,
            read_suggestions,
        )

        done: dict[str, Any] = {}
        if self.project is not None:
            done["project"] = _set_project(engine, self.project)
        edits = {} if self.suggestions is None else read_suggestions(self.suggestions)
        texts: dict[str, str] = {}
        if self.known is not None:  # before the responses: an item that somebody has begun cannot become one of these
            with naming(self.known):
                rows = matching(_watched(self.known, Edit), edits, texts)
                done["known"] = _said(self.known, import_gold_items(engine, rows, texts))
        if self.responses is not None:
            with naming(self.responses):
                others = matching(_watched(self.responses, Response), edits, texts)
                done["responses"] = _said(self.responses, import_responses(engine, others, texts))
        if self.suggestions is not None:
            done["suggestions"] = {"used": len(texts), "unused": len(edits) - len(texts)}
            say(f"{self.suggestions}: {len(texts):,} suggestions{_unused(len(edits) - len(texts))}")
        if self.compare is not None:
            first, second = self.compare
            with naming(first):
                sides = _watched(first, Response), JsonlFile(second, Response)
                added = import_comparisons(engine, *sides, files=(str(first), str(second)))
            done["compare"] = _said(first, added)
        if {"project", "known", "responses"} & done.keys():
            _warn(engine)
        return done


def _check_first_row(path: Path | None, kind: type[Row]) -> None:
    """A pipe is left alone: it can be read but once."""
    if path is not None and (path.is_file() or not path.exists()):
        next(iter(JsonlFile(path, kind)))


def _watched(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of a file, with progress where there are many."""
    if count_lines(path) < LONG:
        yield from JsonlFile(path, kind)
        return
    with working(path.name) as progress:
        yield from watched(path, kind, progress)


def _said(path: Path, count: "ImportCount") -> dict[str, int]:
    notes = [f"{count.added:,} added"]
    notes += [f"{count.known:,} here already"] if count.known else []
    notes += [f"{count.changed:,} left out, as their ids belong to other texts"] if count.changed else []
    notes += [f"{count.empty:,} left out, as there is nothing to edit"] if count.empty else []
    notes += [f"{len(count.refused):,} left out, as they are too long to be handed in:"] if count.refused else []
    say(f"{path}: {', '.join(notes)}")
    for row in count.refused:
        say(f"  {row.id}: {row.problem}")
    return asdict(count)


def _warn(engine: "Engine") -> None:
    """Say what keeps items with a known answer from doing their work."""
    from redpencil.web.database import reading
    from redpencil.web.gold import gold_warnings

    with reading(engine) as connection:
        for warning in gold_warnings(connection):
            say(f"warning: {warning}")


def _unused(count: int) -> str:
    return f", {count:,} left out, as they are for other texts" if count else ""


def _set_project(engine: "Engine", path: Path) -> list[str]:
    """Write the settings of a file; gives the names of those that changed."""
    from redpencil.web.database import writing
    from redpencil.web.project import change_project, load_project_file

    config = load_project_file(path)
    with writing(engine) as connection:
        changed = change_project(connection, config, now=time.time())
    say(f"{path}: changed {', '.join(changed)}" if changed else f"{path}: nothing to change")
    return changed
