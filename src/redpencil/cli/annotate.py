"""`annotate`: a web service in which people edit responses (section 2.1 of the paper) or compare them blindly."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from redpencil.cli.options import JsonOption, examples, option, with_options
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.errors import RedpencilError

if TYPE_CHECKING:  # It loads the web room, whose packages are an extra.
    from socket import socket

    from redpencil.cli import annotation

app = typer.Typer()
DATABASE: Final = "REDPENCIL_DATABASE"
BASE_URL: Final = "REDPENCIL_BASE_URL"
HOST, PORT = "127.0.0.1", 8008
ITEMS, PROJECT, SERVER, NO_SERVER = "Items", "Project", "Server", "Without serving"
PACKAGES: Final = (
    *("fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg"),
    *("itsdangerous", "python_multipart", "markdown_it"),
)


@dataclass(frozen=True, slots=True)
class ItemOptions:
    """The files that go into the database."""

    responses: Annotated[Path | None, option("JSONL", "Add responses to edit.", panel=ITEMS)] = None
    suggestions: Annotated[
        Path | None,
        option(
            "JSONL",
            "Edits of these responses, or of those in --known, by an LLM; people accept or reject each change.",
            panel=ITEMS,
        ),
    ] = None
    known: Annotated[
        Path | None,
        option(
            "JSONL",
            "Add edits that are known to be right: their originals are mixed into people's items, as often "
            "as the project's known_answer_share says, to check the editors.",
            panel=ITEMS,
        ),
    ] = None
    compare: Annotated[
        tuple[Path, Path] | None,
        option(
            "JSONL JSONL", "Add pairs of responses to the same prompts, matched by id, to compare blindly.", panel=ITEMS
        ),
    ] = None
    project: Annotated[
        Path | None,
        option(
            "YAML",
            "Settings: title, guidelines, limits, tags, editors_per_item ... They replace those of the database.",
            panel=PROJECT,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The address and the processes of the service."""

    host: Annotated[
        str | None,
        option(
            "ADDRESS",
            "Address to listen on; 0.0.0.0 is all addresses, and links then need --base-url.",
            panel=SERVER,
            show_default=HOST,
        ),
    ] = None
    port: Annotated[
        int | None,
        option(
            "N", "Port to listen on; 0 takes any that is free.", panel=SERVER, min=0, max=65535, show_default=str(PORT)
        ),
    ] = None
    workers: Annotated[int, option("N", "Server processes.", panel=SERVER, min=1, max=64)] = 1
    base_url: Annotated[
        str | None,
        option(
            "URL",
            "Address that people use, such as https://edits.example.org, if the service listens on another one. "
            f"Default: ${BASE_URL}.",
            panel=SERVER,
        ),
    ] = None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return self.host or HOST, PORT if self.port is None else self.port

    def url(self) -> str | None:
        """Return the address that people use, if it is known; a RedpencilError if it is not one."""
        from redpencil.web.auth import checked_base_url

        url = self.base_url or os.environ.get(BASE_URL)
        return checked_base_url(url) if url else None


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """What the command does instead of serving."""

    no_serve: Annotated[
        bool, typer.Option("--no-serve", rich_help_panel=NO_SERVER, help="Add items and people, and exit.")
    ] = False
    status: Annotated[
        bool,
        typer.Option(
            "--status", rich_help_panel=NO_SERVER, help="Print the progress of the work and how far people agree."
        ),
    ] = False
    export: Annotated[Path | None, option("JSONL", "Write the edits.", panel=NO_SERVER)] = None
    export_comparisons: Annotated[Path | None, option("JSONL", "Write the comparisons.", panel=NO_SERVER)] = None

    @property
    def outs(self) -> list[Path]:
        return [path for path in (self.export, self.export_comparisons) if path is not None]

    @property
    def serves(self) -> bool:
        """Whether the service starts."""
        return not (self.no_serve or self.status or self.outs)


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
@with_options
def annotate(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="DATABASE", help="SQLite file that holds the project; it is created if it does not exist."
        ),
    ] = None,
    database: Annotated[
        str | None,
        option(
            "URL",
            "PostgreSQL database instead of a file, for many people on several server processes. Default: "
            f"${DATABASE}.",
        ),
    ] = None,
    *,
    items: ItemOptions,
    invite: Annotated[
        list[str] | None,
        option(
            "NAME:ROLE", "Invite a person as editor, reviewer or admin, and print the link. Repeatable.", panel=PROJECT
        ),
    ] = None,
    server: ServerOptions,
    results: ResultOptions,
    as_json: JsonOption = False,
) -> None:
    """Let people edit responses in a browser, or compare them; the result is the same edits.jsonl that an LLM writes.

    Serves until Ctrl+C. Everything is in the database: the same command continues the work, and adds new items.
    """
    _check_packages()
    location = _database(place, database)

    from redpencil.cli import annotation
    from redpencil.web.database import explained
    from redpencil.web.server import bind, serve

    base_url, inputs = server.url(), annotation.Inputs(**asdict(items))
    inputs.check()
    _check_outs(results.outs, location, inputs.files())
    if not results.serves:
        _check_without_serving(location, inputs.files(), invite, server, base_url)
    listener = bind(*server.place) if results.serves else None
    with explained(location), ExitStack() as on_error:
        if listener is not None:
            on_error.callback(listener.close)
        done = _work(location, inputs, invite or (), server, base_url, listener, results)
        _show(done, listener, server, as_json=as_json)
        on_error.pop_all()
    if listener is not None:
        host, _ = server.place
        with explained(location):
            serve(location, host=host, workers=server.workers, base_url=base_url, say=say, listener=listener)


def _check_without_serving(
    location: str, inputs: Sequence[Path], invite: Sequence[str] | None, server: ServerOptions, base_url: str | None
) -> None:
    if not inputs and not invite and "://" not in location and not Path(location).exists():
        raise RedpencilError("no such database", file=location, hint="check the path; --responses starts a new project")
    if invite and server.port == 0 and base_url is None:
        raise RedpencilError("links need to know the port", field="--invite", hint="give a --port, or --base-url")


def _work(
    location: str,
    inputs: "annotation.Inputs",
    people: Sequence[str],
    server: ServerOptions,
    base_url: str | None,
    listener: "socket | None",
    results: ResultOptions,
) -> dict[str, Any]:
    """Bring items and people into the database and results out of it; return what was done and the `progress`."""
    from redpencil.cli import annotation
    from redpencil.web.database import open_database

    engine = open_database(location)
    try:
        done = inputs.bring_in(engine)
        named = server.host is not None or server.port is not None
        address = ""
        if people:
            address = annotation.address_of_links(engine, listener, base_url, *server.place, named=named)
        done["invited"] = annotation.invite(engine, people, address)
        done |= annotation.write_results(engine, results.export, results.export_comparisons)
        done["progress"] = annotation.read_status(engine) if results.status else None
    finally:
        engine.dispose()
    return done


def _show(done: dict[str, Any], listener: "socket | None", server: ServerOptions, *, as_json: bool) -> None:
    from redpencil.cli import annotation
    from redpencil.web.auth import listens_to_all

    progress = done.pop("progress")
    if as_json:
        if progress is not None:
            preferences = [asdict(count) for count in progress[1]]
            done["status"] = asdict(progress[0]) | {"preferences": preferences}
        print_json(done)
        return
    links = [(person, person["link"]) for person in done["invited"] if person["link"] is not None]
    for person, link in links:
        console.print(f"{link}  ({person['name']}, {person['role']})")
    if listener is None and not listens_to_all(server.place[0]):  # for these, there was a warning
        annotation.say_reach([link for _, link in links])
    if progress is not None:
        annotation.print_status(*progress)


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise RedpencilError(f"the service needs {', '.join(missing)}", hint="pip install 'redpencil[web]'")


def _database(place: str | None, url: str | None) -> str:
    if place is not None and url is not None:
        raise RedpencilError(
            "a project has one database, and two are given", field="--database", hint="give a path or a URL"
        )
    location = place or url or os.environ.get(DATABASE)
    if not location:
        raise RedpencilError(
            "which database?",
            field="DATABASE",
            hint="name a file, such as edits.db; it is created if it does not exist",
        )
    return location


def _check_outs(outs: Sequence[Path], location: str, inputs: Sequence[Path]) -> None:
    """Refuse to write results over the database, an input or each other."""
    for path in outs:
        check_out_file(path, None if "://" in location else Path(location), *inputs)
    if len(outs) == 2 and outs[0].resolve() == outs[1].resolve():
        raise RedpencilError("edits and comparisons are two files", file=outs[0], hint="choose another file")
