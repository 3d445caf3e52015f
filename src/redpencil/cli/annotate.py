"""`annotate`: a web service in which people edit responses (section 2.1 of the paper) or compare them blindly."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

import typer

from redpencil.cli.options import JsonOption, examples, option
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.errors import RedpencilError

app = typer.Typer()
DATABASE: Final = "REDPENCIL_DATABASE"
BASE_URL: Final = "REDPENCIL_BASE_URL"
HOST, PORT = "127.0.0.1", 8008
ITEMS, PROJECT, SERVER, NO_SERVER = "Items", "Project", "Server", "Without serving"
PACKAGES: Final = (
    *("fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg"),
    *("itsdangerous", "python_multipart", "markdown_it"),
)


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
    responses: Annotated[Path | None, option("JSONL", "Add responses to edit.", panel=ITEMS)] = None,
    suggestions: Annotated[
        Path | None,
        option(
            "JSONL",
            "Edits of these responses, or of those in --known, by an LLM; people accept or reject each change.",
            panel=ITEMS,
        ),
    ] = None,
    known: Annotated[
        Path | None,
        option(
            "JSONL",
            "Add edits that are known to be right: their originals are mixed into people's items, as often "
            "as the project's known_answer_share says, to check the editors.",
            panel=ITEMS,
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        option(
            "JSONL JSONL", "Add pairs of responses to the same prompts, matched by id, to compare blindly.", panel=ITEMS
        ),
    ] = None,
    project: Annotated[
        Path | None,
        option(
            "YAML",
            "Settings: title, guidelines, limits, tags, editors_per_item ... They replace those of the database.",
            panel=PROJECT,
        ),
    ] = None,
    invite: Annotated[
        list[str] | None,
        option(
            "NAME:ROLE", "Invite a person as editor, reviewer or admin, and print the link. Repeatable.", panel=PROJECT
        ),
    ] = None,
    host: Annotated[
        str | None,
        option(
            "ADDRESS",
            "Address to listen on; 0.0.0.0 is all addresses, and links then need --base-url.",
            panel=SERVER,
            show_default=HOST,
        ),
    ] = None,
    port: Annotated[
        int | None,
        option(
            "N", "Port to listen on; 0 takes any that is free.", panel=SERVER, min=0, max=65535, show_default=str(PORT)
        ),
    ] = None,
    workers: Annotated[int, option("N", "Server processes.", panel=SERVER, min=1, max=64)] = 1,
    base_url: Annotated[
        str | None,
        option(
            "URL",
            "Address that people use, such as https://edits.example.org, if the service listens on another one. "
            f"Default: ${BASE_URL}.",
            panel=SERVER,
        ),
    ] = None,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", rich_help_panel=NO_SERVER, help="Add items and people, and exit.")
    ] = False,
    status: Annotated[
        bool,
        typer.Option(
            "--status", rich_help_panel=NO_SERVER, help="Print the progress of the work and how far people agree."
        ),
    ] = False,
    export: Annotated[Path | None, option("JSONL", "Write the edits.", panel=NO_SERVER)] = None,
    export_comparisons: Annotated[Path | None, option("JSONL", "Write the comparisons.", panel=NO_SERVER)] = None,
    as_json: JsonOption = False,
) -> None:
    """Let people edit responses in a browser, or compare them; the result is the same edits.jsonl that an LLM writes.

    Serves until Ctrl+C. Everything is in the database: the same command continues the work, and adds new items.
    """
    _check_packages()
    location = _database(place, database)

    from redpencil.cli import annotation
    from redpencil.web.auth import checked_base_url, listens_to_all
    from redpencil.web.database import open_database
    from redpencil.web.server import bind, serve

    base_url = base_url or os.environ.get(BASE_URL) or None
    base_url = None if base_url is None else checked_base_url(base_url)
    inputs = annotation.Inputs(responses, suggestions, known, compare, project)
    inputs.check()
    serves = not (no_serve or status or export is not None or export_comparisons is not None)
    outs = [path for path in (export, export_comparisons) if path is not None]
    _check_outs(outs, location, inputs.files())
    if not serves and not inputs.files() and not invite and "://" not in location and not Path(location).exists():
        raise RedpencilError("no such database", file=location, hint="check the path; --responses starts a new project")
    if not serves and invite and port == 0 and base_url is None:
        raise RedpencilError("links need to know the port", field="--invite", hint="give a --port, or --base-url")

    named = host is not None or port is not None
    host, port = host or HOST, PORT if port is None else port
    listener = bind(host, port) if serves else None
    try:
        engine = open_database(location)
        try:
            done = inputs.bring_in(engine)
            address = annotation.address_of_links(engine, listener, base_url, host, port, named=named) if invite else ""
            done["invited"] = annotation.invite(engine, invite or (), address)
            done |= annotation.write_results(engine, export, export_comparisons)
            progress = annotation.read_status(engine) if status else None
        finally:
            engine.dispose()
    except BaseException:
        if listener is not None:
            listener.close()
        raise
    if as_json:
        if progress is not None:
            preferences = [asdict(count) for count in progress[1]]
            done["status"] = asdict(progress[0]) | {"preferences": preferences}
        print_json(done)
    else:
        links = [(person, person["link"]) for person in done["invited"] if person["link"] is not None]
        for person, link in links:
            console.print(f"{link}  ({person['name']}, {person['role']})")
        if listener is None and not listens_to_all(host):  # for these, there was a warning
            annotation.say_reach([link for _, link in links])
        if progress is not None:
            annotation.print_status(*progress)
    if listener is not None:
        serve(location, host=host, workers=workers, base_url=base_url, say=say, listener=listener)


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
