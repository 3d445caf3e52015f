"""The work of `annotate`: items and people go into a database, edits and figures come out of it.

Imports the web room, whose packages are an extra; `annotate` checks for them first.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import socket
from typing import Any, Final, TypeVar

from sqlalchemy import Engine

from redpencil.cli.output import console, say, watched, working
from redpencil.errors import RedpencilError, naming
from redpencil.files import PRIVATE
from redpencil.records import Edit, JsonlFile, Response, count_lines, write_jsonl
from redpencil.web.agreement import Alpha
from redpencil.web.auth import (
    Role,
    add_person,
    last_address,
    listens_to_all,
    loopback_port,
    person_by_name,
    url_of,
)
from redpencil.web.dashboard import PreferenceCount, Progress, preference_counts, progress
from redpencil.web.database import reading, writing
from redpencil.web.gold import gold_warnings
from redpencil.web.items import (
    ImportCount,
    count_exports,
    export_comparisons,
    export_edits,
    import_comparisons,
    import_gold_items,
    import_responses,
    matching,
    read_suggestions,
)
from redpencil.web.project import change_project, load_project_file

Row = TypeVar("Row", Response, Edit)
LONG: Final = 500
"""Rows from which a file gets a progress bar."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Files of items and settings that go into the database."""

    responses: Path | None
    suggestions: Path | None
    known: Path | None
    compare: tuple[Path, Path] | None
    project: Path | None

    def files(self) -> list[Path]:
        """List the files."""
        files = (self.responses, self.suggestions, self.known, *(self.compare or ()), self.project)
        return [path for path in files if path is not None]

    def check(self) -> None:
        """Check the files before a database is created for them.

        Raises:
            RedpencilError: if a file cannot be read, or has other rows than it should.
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
            load_project_file(self.project)

    def bring_in(self, engine: Engine) -> dict[str, Any]:
        """Add all items and settings to the database, report and return the counts; existing items stay as they are."""
        done: dict[str, Any] = {}
        if self.project is not None:
            done["project"] = _set_project(engine, self.project)
        edits = {} if self.suggestions is None else read_suggestions(self.suggestions)
        texts: dict[str, str] = {}
        if self.known is not None:  # before the responses: an item that an editor has begun cannot become one of these
            with naming(self.known):
                rows = matching(_watched(self.known, Edit), edits, texts)
                done["known"] = _report_import(self.known, import_gold_items(engine, rows, texts))
        if self.responses is not None:
            with naming(self.responses):
                others = matching(_watched(self.responses, Response), edits, texts)
                done["responses"] = _report_import(self.responses, import_responses(engine, others, texts))
        if self.suggestions is not None:
            done["suggestions"] = {"used": len(texts), "unused": len(edits) - len(texts)}
            unused = f", {len(edits) - len(texts):,} left out, as they are for other texts"
            say(f"{self.suggestions}: {len(texts):,} suggestions{unused if len(texts) < len(edits) else ''}")
        if self.compare is not None:
            first, second = self.compare
            with naming(first):
                sides = _watched(first, Response), JsonlFile(second, Response)
                added = import_comparisons(engine, *sides, files=(str(first), str(second)))
            done["compare"] = _report_import(first, added)
        if {"project", "known", "responses"} & done.keys():
            _warn(engine)
        return done


def _check_first_row(path: Path | None, kind: type[Row]) -> None:
    """Read the first row of a file. A pipe is not checked, as it can be read only once."""
    if path is not None and (path.is_file() or not path.exists()):
        next(iter(JsonlFile(path, kind)))


def _watched(path: Path, kind: type[Row]) -> Iterator[Row]:
    """Read the rows of a file, with progress if there are many."""
    if count_lines(path) < LONG:
        yield from JsonlFile(path, kind)
        return
    with working(path.name) as progress:
        yield from watched(path, kind, progress)


def _report_import(path: Path, count: ImportCount) -> dict[str, int]:
    notes = [f"{count.added:,} added"]
    notes += [f"{count.known:,} here already"] if count.known else []
    notes += [f"{count.changed:,} left out, as their ids belong to other texts"] if count.changed else []
    notes += [f"{count.empty:,} left out, as there is nothing to edit"] if count.empty else []
    notes += [f"{count.by_prompt:,} pairs matched by prompt, as their ids differ"] if count.by_prompt else []
    notes += [f"{len(count.refused):,} left out, as they are too long to be handed in:"] if count.refused else []
    say(f"{path}: {', '.join(notes)}")
    for row in count.refused:
        say(f"  {row.id}: {row.problem}")
    return asdict(count)


def _warn(engine: Engine) -> None:
    """Print why items with a known answer cannot do their work."""
    with reading(engine) as connection:
        for warning in gold_warnings(connection):
            say(f"warning: {warning}")


def _set_project(engine: Engine, path: Path) -> list[str]:
    """Write the settings of a file to the database, and return the names of those that changed."""
    config = load_project_file(path)
    with writing(engine) as connection:
        changed = change_project(connection, config, now=time.time())
    say(f"{path}: changed {', '.join(changed)}" if changed else f"{path}: nothing to change")
    return changed


def address_of_links(
    engine: Engine, listener: socket | None, base_url: str | None, host: str, port: int, *, named: bool
) -> str:
    """Return what invitation links begin with.

    Args:
        listener: the socket of the service, if this command serves.
        base_url: the address that people use, if it is known.
        host: the address to listen on.
        port: the port to listen on.
        named: whether the user named one of the two. If not, links use the address of the last start of the service.
    """
    if base_url is not None:
        return base_url
    if listener is not None:
        return url_of(host, listener.getsockname()[1])
    if listens_to_all(host):
        say("warning: the links work on this machine only; give --base-url the address that people use")
    if not named:
        with reading(engine) as connection:
            last = last_address(connection)
        if last is not None:
            return last
    return url_of(host, port)


def invite(engine: Engine, people: Iterable[str], address: str) -> list[dict[str, str | None]]:
    """Invite people; a person who is in the project keeps the old link, which cannot be read again.

    Args:
        people: NAME:ROLE of each person.
        address: the beginning of the links.

    Raises:
        RedpencilError: for an invalid name or role, or a person who is in the project with another role.
    """
    invited: list[dict[str, str | None]] = []
    for text in people:
        name, _, role = text.rpartition(":") if ":" in text else (text, "", Role.EDITOR.value)
        with reading(engine) as connection:
            person = person_by_name(connection, name.strip())
        if person is None:
            link = f"{address}/join/{add_person(engine, name, role)}"
        elif person.role != role:
            raise RedpencilError(
                f"{person.name} is here already, as {person.role}", field="--invite", hint="choose another name"
            )
        else:
            link = None
            say(f"{person.name} is here already; an admin can make a new link on the page People")
        invited.append({"name": name.strip(), "role": role, "link": link})
    return invited


def write_results(engine: Engine, edits: Path | None, comparisons: Path | None) -> dict[str, Any]:
    """Export edits and comparisons to the files that are not None, and report what is left out."""
    done: dict[str, Any] = {}
    if edits is None and comparisons is None:
        return done
    with reading(engine) as connection:
        if edits is not None:
            done["edits"] = write_jsonl(edits, export_edits(connection), rights=PRIVATE)
            say(f"{done['edits']:,} edits in {edits}")
        if comparisons is not None:
            done["comparisons"] = write_jsonl(comparisons, export_comparisons(connection), rights=PRIVATE)
            say(f"{done['comparisons']:,} comparisons in {comparisons}")
        counts = count_exports(connection)
    done["left_out"] = {"skipped": counts.skipped, "known_answers": counts.known_answers}
    reasons = ((counts.skipped, "skipped"), (counts.known_answers, "on items with a known answer"))
    if any(count for count, _ in reasons):
        say("not in it: " + ", ".join(f"{count:,} {reason}" for count, reason in reasons if count))
    return done


def say_reach(links: Sequence[str]) -> None:
    """Print a note if links work on this machine only."""
    port = loopback_port(links[0]) if links else None  # all have the same beginning
    if port is not None:
        these = "This link works" if len(links) == 1 else "These links work"
        say(f"{these} on this machine only, at port {port}; for others give --host and --base-url.")


def read_status(engine: Engine) -> tuple[Progress, tuple[PreferenceCount, ...]]:
    """Read the progress of the work, and the preferences in comparisons."""
    with reading(engine) as connection:
        return progress(connection), preference_counts(connection)


def print_status(status: Progress, preferences: Sequence[PreferenceCount]) -> None:
    """Print the progress of the work in a few lines."""
    items, overall = status.items, status.agreement.overall
    people = "1 person" if status.editors_per_item == 1 else f"{status.editors_per_item} people"
    console.print(
        f"{status.title}: {items.done:,} of {items.total:,} items done, {items.started:,} begun, {items.waiting:,} "
        f"waiting; each is for {people}"
    )
    for person in status.people:
        if person.done or person.skipped:
            pace = "" if person.median_seconds is None else f", {person.median_seconds:.0f} s an item in the median"
            kept = "" if person.kept is None else f", {person.kept:.0%} of the words kept"
            console.print(f"  {person.name}: {person.done:,} done, {person.skipped:,} skipped{pace}{kept}")
    for count in preferences:
        first, second = count.names
        console.print(f"{first} preferred: {count.first:,}; {second}: {count.second:,}; tie: {count.tie:,}")
    alphas = (("outcome", overall.outcome), ("words changed", overall.words), ("preference", overall.preference))
    texts = [f"{name} {_alpha(alpha)}" for name, alpha in alphas if alpha.value is not None]
    console.print(f"Krippendorff's alpha: {'; '.join(texts) or 'not yet, as no two people have done the same items'}")
    if status.disputed:
        wait = "item on which people differ waits" if status.disputed == 1 else "items on which people differ wait"
        console.print(f"{status.disputed:,} {wait} for a reviewer")


def _alpha(alpha: Alpha) -> str:
    interval = "" if alpha.low is None or alpha.high is None else f", {alpha.low:.2f} to {alpha.high:.2f}"
    return f"{alpha.value:.2f} ({alpha.items:,} items{interval})"
