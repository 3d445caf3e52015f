"""Databases to test on: real SQLite files and a real PostgreSQL server."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert, make_url, text
from starlette.testclient import TestClient

from redpencil.records import Response
from redpencil.web import items
from redpencil.web.app import create_app
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, writing
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import person

POSTGRES = Path("/usr/lib/postgresql/15/bin")


def _as_nobody(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    return ["runuser", "-u", "nobody", "--", *command] if os.geteuid() == 0 else command


def _programs() -> Path | None:
    if (POSTGRES / "initdb").exists():
        return POSTGRES
    found = shutil.which("initdb")
    return None if found is None else Path(found).parent


@contextmanager
def _cluster(log: Path, *options: str, signal_file: str | None = None) -> Iterator[tuple[str, str]]:
    """A new PostgreSQL server: its URL without the name of a database, and its folder. It may not be ready yet."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    # Not below pytest's own folder, which is closed to other users; a socket's path must be short too.
    folder = Path("/tmp") / f"redpencil-pg-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = str(folder / "data")
    init = [str(programs / "initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C"]
    subprocess.run(_as_nobody(init), check=True, capture_output=True, cwd=folder)
    if signal_file is not None:
        (folder / "data" / signal_file).touch()
    serve = [str(programs / "postgres"), "-D", data, "-k", str(folder), "-h", "127.0.0.1", "-p", str(port), *options]
    serve += ["-c", "fsync=off", "-c", "full_page_writes=off"]  # no test cuts the power
    with log.open("wb") as out:
        server = subprocess.Popen(_as_nobody(serve), stdout=out, stderr=out, cwd=folder)
        try:
            yield f"postgresql://tester@127.0.0.1:{port}", data
        finally:
            server.terminate()  # finishes at once where no test has left a connection open, else with the kill below
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                stop = [str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop"]
                subprocess.run(_as_nobody(stop), check=False, capture_output=True, cwd=folder)
                server.wait(timeout=10)
            shutil.rmtree(folder, ignore_errors=True)


def _await(url: str, *, answer: int) -> None:
    """Wait until `pg_isready` says that a server is ready (0), or that it runs and takes no connection (1)."""
    programs, address = _programs(), make_url(url)
    ready = [f"{programs}/pg_isready", "-h", str(address.host), "-p", str(address.port), "-U", "tester"]
    deadline = time.monotonic() + 60
    while subprocess.run(ready, capture_output=True, check=False).returncode != answer:
        assert time.monotonic() < deadline, "PostgreSQL is not there after a minute"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of its own, without the name of a database."""
    with _cluster(tmp_path_factory.mktemp("postgres") / "log") as (url, _):
        _await(url, answer=0)
        yield url


@pytest.fixture
def recovering_postgres(tmp_path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server in recovery, which takes no connection: the URL of a database, and a function that ends the recovery."""
    with _cluster(tmp_path / "log", "-c", "hot_standby=off", signal_file="standby.signal") as (url, data):
        _await(url, answer=1)

        def finish() -> None:
            promote = [f"{_programs()}/pg_ctl", "-D", data, "--no-wait", "promote"]
            subprocess.run(_as_nobody(promote), check=True, capture_output=True, cwd=data)

        yield f"{url}/postgres", finish


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    admin = create_engine(
        make_url(f"{postgres_server}/postgres").set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    yield f"{postgres_server}/{name}"
    with admin.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new database is, once an SQLite file and once PostgreSQL."""
    return str(tmp_path / "edits.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def engine(place: str) -> Iterator[Engine]:
    """A new database of each sort."""
    opened = open_database(place)
    yield opened
    opened.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Iterator[Engine]:
    """A new SQLite database, for what does not depend on the sort."""
    opened = open_database(tmp_path / "edits.db")
    yield opened
    opened.dispose()


@pytest.fixture
def add_people() -> Callable[..., list[int]]:
    """Adds people straight to the database: `add_people(engine, "Ada", "Ben", role="editor")` gives their ids."""

    def add(engine: Engine, *names: str, role: str = "editor") -> list[int]:
        with writing(engine) as connection:
            return [
                connection.execute(
                    insert(person).values(name=name, role=role, created=0.0).returning(person.c.id)
                ).scalar_one()
                for name in names
            ]

    return add


@pytest.fixture
def add_responses() -> Callable[..., None]:
    """Adds `count` responses r0, r1 ... of six words and sets the project: `add_responses(engine, 3, lease_s=60)`."""

    def add(engine: Engine, count: int, **project: object) -> None:
        with writing(engine) as connection:
            write_project(connection, ProjectConfig(**project))
        rows = [Response(f"r{n}", f"Question {n}?", f"The answer to it is {n}", model="policy") for n in range(count)]
        items.import_responses(engine, rows)

    return add


@pytest.fixture
def sign_in(engine: Engine) -> Callable[[str, str], TestClient]:
    """Adds a person and signs them in, to a project of four items; the client sends their CSRF token along."""
    words = "The cat\U0001f600 sat on a mat.\n\n\tif x:\n\t\treturn  1\n"
    items.import_responses(engine, [Response(f"r{i}", f"Question {i}", words, model="secret-model") for i in range(4)])
    app = create_app(engine)

    def join(name: str, role: str) -> TestClient:
        client = TestClient(app, raise_server_exceptions=False)
        client.post(f"/join/{add_person(engine, name, role)}", follow_redirects=False)
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        return client

    return join


@pytest.fixture
def start(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> Callable[..., tuple[Engine, list[int]]]:
    """A database with `count` responses and some people."""

    def begin(count: int = 1, people: int = 2, **project: Any) -> tuple[Engine, list[int]]:
        add_responses(engine, count, **project)
        return engine, add_people(engine, *(f"Editor {n}" for n in range(people)))

    return begin
