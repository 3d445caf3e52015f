"""`annotate`: edits by people, in a browser (section 2.1 of the paper), and blind comparisons."""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from redpencil.cli.annotation_inputs import Inputs
from redpencil.cli.annotations import look_at, say_reach, tell, write_results
from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from socket import socket

    from sqlalchemy import Engine

app = typer.Typer(rich_markup_mode="rich")
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
            help="Edits of these responses, or of those in --known, by an LLM; people take or leave them hunk by hunk.",
        ),
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            metavar="JSONL",
            rich_help_panel=ITEMS,
            help="Add edits that are known to be right: people get their originals among the others, as often as the "
            "project's known_answer_share says.",
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
        str | None,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=SERVER,
            show_default=HOST,
            help="Address to listen on; 0.0.0.0 is all, and needs --base-url, so that links lead there.",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            metavar="N",
            rich_help_panel=SERVER,
            show_default=str(PORT),
            help="0 takes any that is free.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", rich_help_panel=SERVER, help="Server processes.")
    ] = 1,
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=SERVER,
            help="Where people find the service, such as https://edits.example.org, where that is not the address it "
            f"listens on. Default: what {BASE_URL} names.",
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
    where = Where.of(host, port, base_url or os.environ.get(BASE_URL) or None)
    inputs = Inputs(responses, suggestions, known, compare, project)
    inputs.check()
    leaves = no_serve or status or export is not None or export_comparisons is not None
    outs = [path for path in (export, export_comparisons) if path is not None]
    _check_outs(outs, found, inputs)
    if leaves and not inputs.files() and not invite and "://" not in found and not Path(found).exists():
        raise RedpencilError("no such database", file=found, hint="check the path; --responses starts a new project")
    if leaves and invite and port == 0 and where.base_url is None:
        raise RedpencilError("links need to know the port", field="--invite", hint="give a --port, or --base-url")

    from redpencil.web.auth import listens_to_all
    from redpencil.web.database import open_database
    from redpencil.web.server import bind, serve

    listener = None if leaves else bind(host or HOST, PORT if port is None else port)  # links are for who serves
    try:
        engine = open_database(found)
        try:
            done = inputs.bring_in(engine)
            done["invited"] = _invite(engine, invite, where.links(engine, listener)) if invite else []
            done |= write_results(engine, export, export_comparisons)
            progress = look_at(engine) if status else None
        finally:
            engine.dispose()
    except BaseException:
        if listener is not None:
            listener.close()
        raise
    if as_json:
        print_json(
            done
            if progress is None
            else done | {"status": asdict(progress[0]) | {"preferences": [asdict(one) for one in progress[1]]}}
        )
    else:
        for one in done["invited"]:
            if one["link"] is not None:
                console.print(f"{one['link']}  ({one['name']}, {one['role']})")
        if listener is None and not listens_to_all(where.host or HOST):  # those were warned of
            say_reach([one["link"] for one in done["invited"] if one["link"] is not None])
        if progress is not None:
            tell(*progress)
    if listener is not None:
        serve(found, host=host or HOST, workers=workers, base_url=where.base_url, say=say, listener=listener)


def _check_packages() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise RedpencilError(f"the service needs {', '.join(missing)}", hint="pip install 'redpencil[web]'")


def _database(place: str | None, url: str | None) -> str:
    if place is not None and url is not None:
        raise RedpencilError(
            "a project has one database, and two are given", field="--database", hint="give a path or a URL"
        )
    found = place or url or os.environ.get(DATABASE)
    if not found:
        raise RedpencilError(
            "which database?", field="DATABASE", hint="name a file, such as edits.db; it is made where there is none"
        )
    return found


@dataclass(frozen=True, slots=True)
class Where:
    """Where people find the service, as far as the command says."""

    host: str | None
    port: int | None
    base_url: str | None

    @classmethod
    def of(cls, host: str | None, port: int | None, base_url: str | None) -> "Where":
        """With an address that has been looked at.

        Raises:
            RedpencilError: if the pages could not work there.
        """
        from redpencil.web.auth import checked_base_url

        return cls(host, port, None if base_url is None else checked_base_url(base_url))

    def links(self, engine: "Engine", listener: "socket | None") -> str:
        """What links begin with: the address that people use, else the one listened on, else that of the last start."""
        from redpencil.web.auth import last_address, listens_to_all, url_of
        from redpencil.web.database import reading

        if self.base_url is not None:
            return self.base_url
        if listener is None and listens_to_all(self.host or HOST):
            say("warning: the links work on this machine only; give --base-url the address that people use")
        if listener is None and self.host is None and self.port is None:
            with reading(engine) as connection:
                last = last_address(connection)
            if last is not None:
                return last
        port = PORT if self.port is None else self.port
        return url_of(self.host or HOST, port if listener is None else listener.getsockname()[1])


def _check_outs(outs: list[Path], database: str, inputs: Inputs) -> None:
    """Refuse results that would be written over something else."""
    for path in outs:
        check_out_file(path, None if "://" in database else Path(database), *inputs.files())
    if len(outs) == 2 and outs[0].resolve() == outs[1].resolve():
        raise RedpencilError("edits and comparisons are two files", file=outs[0], hint="choose another file")


def _invite(engine: "Engine", wanted: Iterable[str], address: str) -> list[dict[str, str | None]]:
    """Invite people; who is here already keeps the link that they have, which nobody can read again.

    Raises:
        RedpencilError: for a name or role that cannot be, or somebody who is here with another role.
    """
    from redpencil.web.auth import Role, add_person, person_by_name
    from redpencil.web.database import reading

    invited: list[dict[str, str | None]] = []
    for text in wanted:
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
