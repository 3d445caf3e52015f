"""`annotate`: edits by people, in a browser (section 2.1 of the paper), and blind comparisons."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import check_out_file, console, naming, print_json, say
from redpencil.cli.progress import working
from redpencil.errors import RedpencilError
from redpencil.records import Edit, EditOutcome, JsonlFile, Response, count_lines, write_jsonl

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from redpencil.web.agreement import Alpha
    from redpencil.web.dashboard import Progress
    from redpencil.web.items import ImportCount

app = typer.Typer(rich_markup_mode="rich")
Row = TypeVar("Row", Response, Edit)
DATABASE: Final = "REDPENCIL_DATABASE"
BASE_URL: Final = "REDPENCIL_BASE_URL"
ITEMS, PROJECT, SERVER, NO_SERVER = "Items", "Project", "Server", "Without serving"
PACKAGES: Final = (
    *("starlette", "uvicorn", "sqlalchemy", "alembic", "psycopg"),
    *("itsdangerous", "python_multipart", "markdown_it"),
)
EVERY: Final = 500
"""Rows between two steps of the progress bar; a shorter file has none."""


@app.command(
    rich_help_panel="Data",
    epilog=examples(
        "redpencil annotate edits.db --responses responses.jsonl",
        "redpencil annotate edits.db",
        "redpencil annotate edits.db --responses r.jsonl --suggestions by_llm.jsonl --project project.yaml "
        "--invite ana:editor --invite rita:reviewer",
        "redpencil annotate --database postgresql://redpencil@db/edits --workers 4 --host 0.0.0.0 "
        "--base-url https://edits.example.org",
        "redpencil annotate judged.db --compare outputs.jsonl reference.jsonl",
        "redpencil annotate edits.db --status --export edits.jsonl",
    ),
)
def annotate(
    place: Annotated[
        str | None,
        typer.Argument(metavar="DATABASE", help="SQLite file that holds the project; it is made where there is none."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="PostgreSQL database instead of a file, for many people on several server processes. Default: what "
            f"{DATABASE} names.",
        ),
    ] = None,
    responses: Annotated[
        Path | None, typer.Option(metavar="JSONL", rich_help_panel=ITEMS, help="Add responses to edit.")
    ] = None,
    suggestions: Annotated[
        Path | None,
        typer.Option(
            metavar="JSONL",
            rich_help_panel=ITEMS,
            help="Edits of these responses, by an LLM, which people take or leave hunk by hunk.",
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            metavar="JSONL",
            rich_help_panel=ITEMS,
            help="Add edits that are known to be right: people get their originals among the others.",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="JSONL JSONL",
            rich_help_panel=ITEMS,
            help="Add pairs of responses to the same prompts, matched by id, to compare blindly.",
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML",
            rich_help_panel=PROJECT,
            help="Settings: title, guidelines, limits, tags, editors_per_item ... They replace those of the database.",
        ),
    ] = None,
    invite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:ROLE",
            rich_help_panel=PROJECT,
            help="Invite somebody as editor, reviewer or admin, and print the link. Repeatable.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", rich_help_panel=SERVER, help="Address to listen on; 0.0.0.0 is all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", rich_help_panel=SERVER, help="0 takes any that is free.")
    ] = 8008,
    workers: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", rich_help_panel=SERVER, help="Server processes.")
    ] = 1,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=SERVER,
            help=f"Where people find the service, where a proxy stands before it. Default: what {BASE_URL} names.",
        ),
    ] = None,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", rich_help_panel=NO_SERVER, help="Add items and people, and end.")
    ] = False,
    status: Annotated[
        bool,
        typer.Option("--status", rich_help_panel=NO_SERVER, help="Say how far the work is, and how far people agree."),
    ] = False,
    export: Annotated[
        Path | None, typer.Option(metavar="JSONL", rich_help_panel=NO_SERVER, help="Write the edits.")
    ] = None,
    export_comparisons: Annotated[
        Path | None, typer.Option(metavar="JSONL", rich_help_panel=NO_SERVER, help="Write the comparisons.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let people edit responses in a browser, or compare them; the result is the edits.jsonl that an LLM would write.

    Serves until Ctrl+C. Everything is in the database: the same command goes on, and adds what is new.
    """
    _check_packages()
    found = _database(place, database)
    address = base_url or os.environ.get(BASE_URL) or None
    inputs = Inputs(responses, suggestions, known, compare, project)
    inputs.check()
    leaves = no_serve or status or export is not None or export_comparisons is not None
    outs = [path for path in (export, export_comparisons) if path is not None]
    _check_outs(outs, found, inputs)
    if leaves and not inputs.files() and not invite and "://" not in found and not Path(found).exists():
        raise RedpencilError("no such database", file=found, way_out="check the path; --responses starts a new project")
    if invite and port == 0 and address is None:
        raise RedpencilError("links need to know the port", field="--invite", way_out="give a --port, or --base-url")

    from redpencil.web.database import open_database
    from redpencil.web.server import serve, url_of

    engine = open_database(found)
    try:
        done = inputs.bring_in(engine)
        done["invited"] = _invite(engine, invite or (), address or url_of(host, port))
        done |= _write(engine, export, export_comparisons)
        progress = _status(engine) if status else None
    finally:
        engine.dispose()
    if as_json:
        print_json(done if progress is None else done | {"status": asdict(progress)})
    else:
        for one in done["invited"]:
            if one["link"] is not None:
                console.print(f"{one['link']}  ({one['name']}, {one['role']})")
        if progress is not None:
            _tell_status(progress)
    if not leaves:
        serve(found, host=host, port=port, workers=workers, base_url=address, say=say)


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise RedpencilError(f"the service needs {', '.join(missing)}", way_out="pip install 'redpencil[web]'")


def _database(place: str | None, url: str | None) -> str:
    if place is not None and url is not None:
        raise RedpencilError(
            "a project has one database, and two are given", field="--database", way_out="give a path or a URL"
        )
    found = place or url or os.environ.get(DATABASE)
    if not found:
        raise RedpencilError(
            "which database?", field="DATABASE", way_out="name a file, such as edits.db; it is made where there is none"
        )
    return found


def _check_outs(outs: list[Path], database: str, inputs: "Inputs") -> None:
    """Refuse results that would be written over something else."""
    for path in outs:
        check_out_file(path, None if "://" in database else Path(database), *inputs.files())
    if len(outs) == 2 and outs[0].resolve() == outs[1].resolve():
        raise RedpencilError("edits and comparisons are two files", file=outs[0], way_out="choose another file")


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
        if self.suggestions is not None and self.responses is None:
            raise RedpencilError(
                "suggestions belong to responses", field="--suggestions", way_out="give the --responses too"
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
        from redpencil.web.items import import_comparisons, import_known_answers, import_responses

        done: dict[str, Any] = {}
        if self.project is not None:
            done["project"] = _set_project(engine, self.project)
        if self.known is not None:  # before the responses: an item that somebody has begun cannot become one of these
            with naming(self.known):
                done["known"] = _said(self.known, import_known_answers(engine, _watched(self.known, Edit)))
        if self.responses is not None:
            edits = {} if self.suggestions is None else _suggested_edits(self.suggestions)
            texts: dict[str, str] = {}
            with naming(self.responses):
                rows = _noting(_watched(self.responses, Response), edits, texts)
                done["responses"] = _said(self.responses, import_responses(engine, rows, texts))
            if self.suggestions is not None:
                done["suggestions"] = {"used": len(texts), "unused": len(edits) - len(texts)}
                say(f"{self.suggestions}: {len(texts):,} suggestions{_unused(len(edits) - len(texts))}")
        if self.compare is not None:
            first, second = self.compare
            with naming(first):
                added = import_comparisons(engine, _watched(first, Response), JsonlFile(second, Response))
            done["compare"] = _said(first, added)
        return done


def _check_first_row(path: Path | None, kind: type[Row]) -> None:
    """A pipe is left alone: it can be read but once."""
    if path is not None and (path.is_file() or not path.exists()):
        next(iter(JsonlFile(path, kind)))


def _watched(path: Path, kind: type[Row]) -> Iterator[Row]:
    """The rows of a file, with progress where there are many."""
    total = count_lines(path)
    if total < EVERY:
        yield from JsonlFile(path, kind)
        return
    with working(path.name) as progress:
        for done, row in enumerate(JsonlFile(path, kind), start=1):
            yield row
            if done % EVERY == 0:
                progress(done, total, "")


def _suggested_edits(path: Path) -> dict[str, Edit]:
    return {edit.id: edit for edit in JsonlFile(path, Edit) if edit.outcome is EditOutcome.EDITED}


def _noting(rows: Iterable[Response], edits: Mapping[str, Edit], texts: dict[str, str]) -> Iterator[Response]:
    """The rows; what is suggested for each goes into `texts` before, if it is an edit of this very text."""
    for row in rows:
        edit = edits.get(row.id)
        if edit is not None and edit.original == row.response:
            texts[row.id] = edit.edited
        yield row


def _said(path: Path, count: "ImportCount") -> dict[str, int]:
    notes = [f"{count.added:,} added"]
    notes += [f"{count.known:,} here already"] if count.known else []
    notes += [f"{count.changed:,} left out, as their ids belong to other texts"] if count.changed else []
    notes += [f"{count.empty:,} left out, as there is nothing to edit"] if count.empty else []
    say(f"{path}: {', '.join(notes)}")
    return asdict(count)


def _unused(count: int) -> str:
    return f", {count:,} left out, as they are for other texts" if count else ""


def _set_project(engine: "Engine", path: Path) -> list[str]:
    """Write the settings of a file; gives the names of those that changed."""
    from redpencil.web.database import writing
    from redpencil.web.events import record_event
    from redpencil.web.project import load_project_file, read_project, write_project

    config = load_project_file(path)
    with writing(engine) as connection:
        before = read_project(connection)
        changed = [name for name in type(config).model_fields if getattr(config, name) != getattr(before, name)]
        if changed:
            write_project(connection, config)
            record_event(connection, "changed project", at=time.time(), detail={"fields": changed})
    say(f"{path}: changed {', '.join(changed)}" if changed else f"{path}: nothing to change")
    return changed


def _invite(engine: "Engine", wanted: Iterable[str], address: str) -> list[dict[str, str | None]]:
    """Invite people; who is here already keeps the link that they have, which nobody can read again.

    Raises:
        RedpencilError: for a name or role that cannot be, or somebody who is here with another role.
    """
    from redpencil.web.database import reading
    from redpencil.web.people import Role, add_person, person_by_name

    invited: list[dict[str, str | None]] = []
    for text in wanted:
        name, _, role = text.rpartition(":") if ":" in text else (text, "", Role.EDITOR.value)
        with reading(engine) as connection:
            person = person_by_name(connection, name.strip())
        if person is None:
            link = f"{address.rstrip('/')}/join/{add_person(engine, name, role)}"
        elif person.role != role:
            raise RedpencilError(
                f"{person.name} is here already, as {person.role}", field="--invite", way_out="choose another name"
            )
        else:
            link = None
            say(f"{person.name} is here already; an admin can make a new link on the page People")
        invited.append({"name": name.strip(), "role": role, "link": link})
    return invited


def _write(engine: "Engine", edits: Path | None, comparisons: Path | None) -> dict[str, Any]:
    """Export what is asked for, and say what is not in it."""
    from redpencil.web.database import reading
    from redpencil.web.items import count_exports, export_comparisons, export_edits

    done: dict[str, Any] = {}
    if edits is None and comparisons is None:
        return done
    with reading(engine) as connection:
        if edits is not None:
            done["edits"] = write_jsonl(edits, export_edits(connection))
            say(f"{done['edits']:,} edits in {edits}")
        if comparisons is not None:
            done["comparisons"] = write_jsonl(comparisons, export_comparisons(connection))
            say(f"{done['comparisons']:,} comparisons in {comparisons}")
        counts = count_exports(connection)
    done["left_out"] = {"skipped": counts.skipped, "known_answers": counts.known_answers}
    reasons = ((counts.skipped, "skipped"), (counts.known_answers, "on items with a known answer"))
    if any(count for count, _ in reasons):
        say("not in it: " + ", ".join(f"{count:,} {reason}" for count, reason in reasons if count))
    return done


def _status(engine: "Engine") -> "Progress":
    from redpencil.web.dashboard import progress
    from redpencil.web.database import reading

    with reading(engine) as connection:
        return progress(connection)


def _tell_status(found: "Progress") -> None:
    """How far the work is, in a few lines."""
    items, of = found.items, found.agreement.overall
    people = "1 person" if found.editors_per_item == 1 else f"{found.editors_per_item} people"
    console.print(
        f"{found.title}: {items.done:,} of {items.total:,} items done, {items.started:,} begun, {items.waiting:,} "
        f"waiting; each is for {people}"
    )
    for person in found.people:
        if person.done or person.skipped:
            pace = "" if person.median_seconds is None else f", {person.median_seconds:.0f} s an item in the median"
            kept = "" if person.kept is None else f", {person.kept:.0%} of the words kept"
            console.print(f"  {person.name}: {person.done:,} done, {person.skipped:,} skipped{pace}{kept}")
    named = (("outcome", of.outcome), ("words changed", of.words), ("preference", of.preference))
    told = [f"{name} {_alpha(alpha)}" for name, alpha in named if alpha.value is not None]
    console.print(f"Krippendorff's alpha: {'; '.join(told) or 'not yet, as no two people have done the same items'}")
    if found.disputed:
        wait = "item on which people differ waits" if found.disputed == 1 else "items on which people differ wait"
        console.print(f"{found.disputed:,} {wait} for a reviewer")


def _alpha(alpha: "Alpha") -> str:
    interval = "" if alpha.low is None or alpha.high is None else f", {alpha.low:.2f} to {alpha.high:.2f}"
    return f"{alpha.value:.2f} ({alpha.items:,} items{interval})"
