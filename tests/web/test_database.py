"""Opening, migrating and refusing databases."""

import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from redpencil.errors import RedpencilError
from redpencil.web import database, schema
from redpencil.web.app import create_app
from redpencil.web.auth import add_person, cookie_name, new_session, person_of_invite, server_secret, sign_session
from redpencil.web.database import (
    MOST_EVENTS,
    check_file,
    explained,
    list_events,
    meaning_of,
    open_database,
    reading,
    record_event,
    store_value,
    store_value_once,
    writing,
)
from redpencil.web.errors import BusyError, StorageError
from redpencil.web.schema import metadata, setting

NOTE = select(setting.c.value).where(setting.c.key == "note")


def test_sqlite_is_set_up_for_many_readers_and_for_power_cuts(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "busy_timeout": 5000, "foreign_keys": 1, "synchronous": 2}


def test_what_was_written_is_there_after_opening_again(place: str) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        connection.execute(insert(setting).values(key="note", value={"text": "Grüße 🖍️"}))
    engine.dispose()
    engine = open_database(place)
    with reading(engine) as connection:
        assert connection.execute(NOTE).scalar_one() == {"text": "Grüße 🖍️"}
    engine.dispose()


def test_whoever_could_read_the_secret_writes_no_cookie_with_it_after_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "edits.db"
    engine = open_database(path)
    secret, link = server_secret(engine), add_person(engine, "boss", "admin")
    engine.dispose()
    for mode in (0o600, 0o644, 0o620):
        path.chmod(mode)
        engine = open_database(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert (server_secret(engine) == secret) == (mode == 0o600)
        with reading(engine) as connection:
            boss = person_of_invite(connection, link)
        assert boss is not None
        forged = sign_session(secret, new_session(boss, time.time()))
        client = TestClient(create_app(engine), cookies={cookie_name(server_secret(engine)): forged})
        assert client.get("/api/me").status_code == (200 if mode == 0o600 else 401)
        assert (f"could read {path}" in caplog.text) == (mode != 0o600)
        secret = server_secret(engine)
        engine.dispose()
        caplog.clear()


def test_a_transaction_that_raises_leaves_nothing(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(setting).values(key="note", value=1))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with reading(engine) as connection:
        assert connection.execute(NOTE).all() == []


def test_readers_do_not_wait_for_a_writer(engine: Engine) -> None:
    with writing(engine) as writer, reading(engine) as reader:
        writer.execute(insert(setting).values(key="note", value=1))
        assert reader.execute(NOTE).all() == []


def test_writers_wait_for_each_other_and_lose_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(insert(setting).values(key="note", value=0))

    def add() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                count = connection.execute(NOTE.with_for_update()).scalar_one()
                connection.execute(setting.update().where(setting.c.key == "note").values(value=count + 1))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.execute(NOTE).scalar_one() == 160


def test_processes_that_start_at_once_all_find_the_tables(place: str) -> None:
    script = (
        "import sys\n"
        "from sqlalchemy import text\n"
        "from redpencil.web.database import open_database, reading\n"
        "sys.stdin.readline()\n"
        "engine = open_database(sys.argv[1])\n"
        "with reading(engine) as connection:\n"
        "    connection.execute(text('SELECT count(*) FROM submission'))\n"
    )
    command = [sys.executable, "-c", script, place]
    starting = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    problems = []
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in starting:
        problems.append(process.communicate(timeout=60)[1])
    assert problems == [""] * 6
    assert all(process.returncode == 0 for process in starting)


def test_a_database_of_something_else_is_refused_and_left_as_it_is(place: str) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE redpencil_version"))
    engine.dispose()
    with pytest.raises(RedpencilError, match="belongs to another program"):
        open_database(place)


def test_another_programs_sqlite_file_keeps_its_journal_mode(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE holiday (day TEXT)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(RedpencilError, match="it has a table 'holiday'"):
        open_database(path)
    assert path.read_bytes() == before


def test_a_database_of_a_newer_redpencil_is_refused(place: str) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        connection.execute(text("UPDATE redpencil_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(RedpencilError, match="newer redpencil") as caught:
        open_database(place)
    assert caught.value.hint == "pip install --upgrade redpencil"


@pytest.mark.parametrize("written", ["0000", "000x", None])
def test_a_schema_that_nobody_knows_is_refused(place: str, written: str | None) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM redpencil_version"))
        if written is not None:
            connection.execute(text("INSERT INTO redpencil_version VALUES (:written)"), {"written": written})
    engine.dispose()
    newer = written is not None and written > "0001"
    with pytest.raises(RedpencilError, match="newer redpencil" if newer else "schema of the database is unknown"):
        open_database(place)


def test_an_empty_version_table_alone_is_a_new_database(place: str) -> None:
    engine = open_database(place)
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        else:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            metadata.drop_all(connection)
            connection.execute(text("DROP TABLE redpencil_version"))
        connection.execute(text("CREATE TABLE redpencil_version (version_num VARCHAR(32) NOT NULL)"))
    engine.dispose()
    engine = open_database(place)
    with reading(engine) as connection:
        assert connection.execute(NOTE).all() == []
    engine.dispose()


@pytest.mark.parametrize("name", ["", "missing/edits.db", "text.txt"])
def test_a_path_that_cannot_be_a_database_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("This is a letter, not a database. " * 40)
    with pytest.raises(RedpencilError, match="cannot be opened") as caught:
        open_database(tmp_path / name)
    assert caught.value.file == str(tmp_path / name)


def test_a_server_that_is_not_there_is_named_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_S", 0.0)
    with pytest.raises(RedpencilError, match="cannot be opened") as caught:
        open_database("postgresql://ada:geheim@127.0.0.1:1/edits")
    assert "geheim" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://localhost/edits", "sqlite:///edits.db", "nonsense://"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(RedpencilError, match="only SQLite files and PostgreSQL"):
        open_database(url)


def test_a_postgres_database_that_is_not_utf8_is_refused(postgres_url: str, postgres_server: str) -> None:
    engine = open_database(postgres_url)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0"))
    try:
        with pytest.raises(RedpencilError, match="LATIN1"):
            open_database(f"{postgres_server}/latin")
    finally:
        with autocommit.connect() as connection:
            connection.execute(text("DROP DATABASE latin WITH (FORCE)"))
        engine.dispose()


def test_a_file_that_somebody_holds_for_too_long_is_called_busy(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.1)
    other = sqlite3.connect(str(sqlite_engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(RedpencilError, match="busy"), writing(sqlite_engine):
            pytest.fail("somebody else is writing")
    finally:
        other.execute("ROLLBACK")
        other.close()
    with writing(sqlite_engine) as connection:
        connection.execute(insert(setting).values(key="a", value=1))


def test_a_thread_that_writes_for_too_long_makes_the_others_say_busy(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_S", 0.1)
    problems: list[str] = []

    def write() -> None:
        try:
            with writing(sqlite_engine):
                problems.append("it could write")
        except RedpencilError as error:
            problems.append(error.problem)

    with writing(sqlite_engine):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(problems) == 1
    assert "busy" in problems[0]


def test_the_log_is_read_backwards_page_by_page(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    with writing(engine) as connection:
        for at in range(5):
            record_event(connection, f"did {at}", at=float(at), detail={"n": at, "text": "\u00e9 \U0001f600"})
    with reading(engine) as connection:
        first = list_events(connection, limit=2)
        second = list_events(connection, before=first[-1].id, limit=2)
        last = list_events(connection, before=second[-1].id, limit=2)
    assert [event.action for event in [*first, *second, *last]] == ["did 4", "did 3", "did 2", "did 1", "did 0"]
    assert first[0].detail == {"n": 4, "text": "\u00e9 \U0001f600"}
    assert first[0].person is None
    engine.dispose()


def test_an_event_is_gone_with_the_transaction_that_it_tells_of(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    try:
        with writing(engine) as connection:
            record_event(connection, "did it", at=1.0)
            raise RuntimeError
    except RuntimeError:
        pass
    with reading(engine) as connection:
        assert connection.execute(select(schema.event)).all() == []
    engine.dispose()


def test_a_page_of_the_log_has_a_limit(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "edits.db")
    with writing(engine) as connection:
        for at in range(MOST_EVENTS + 1):
            record_event(connection, "did", at=float(at))
    with reading(engine) as connection:
        assert len(list_events(connection, limit=10_000_000)) == MOST_EVENTS
    engine.dispose()


def value(connection: Connection) -> object:
    return connection.execute(select(setting.c.value).where(setting.c.key == "note")).scalar()


def test_the_last_is_kept_or_the_first(engine: Engine) -> None:
    with writing(engine) as connection:
        for n in ([1], {"a": None}, "two"):
            store_value(connection, "note", n)
            assert value(connection) == n
        store_value_once(connection, "note", "three")
        assert value(connection) == "two"


def test_whoever_is_later_finds_the_first_ones(engine: Engine) -> None:
    together = threading.Barrier(4)

    def write(number: int) -> object:
        together.wait()
        with writing(engine) as connection:
            store_value_once(connection, "note", number)
            return value(connection)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(write, range(4)))
    with reading(engine) as connection:
        assert found == [value(connection)] * 4


def complaint(act: Callable[[], object]) -> RedpencilError | None:
    with pytest.raises(DBAPIError) as caught:
        act()
    return meaning_of(caught.value)


def sqlite_complaint(code: int) -> RedpencilError | None:
    error = sqlite3.OperationalError("geheim")
    error.sqlite_errorcode = code
    return meaning_of(DBAPIError("SELECT", {}, error))


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (sqlite3.SQLITE_BUSY, "busy"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "busy"),
        (sqlite3.SQLITE_LOCKED, "busy"),
        (sqlite3.SQLITE_FULL, "disk of the server is full"),
        (sqlite3.SQLITE_READONLY, "cannot be written to"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written to"),
        (sqlite3.SQLITE_IOERR_WRITE, "does not work"),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened"),
        (sqlite3.SQLITE_CORRUPT, "damaged"),
    ],
)
def test_what_sqlite_says(code: int, told: str) -> None:
    found = sqlite_complaint(code)
    assert found is not None
    assert isinstance(found, BusyError if told == "busy" else StorageError)
    assert told in found.problem
    assert "geheim" not in str(found)
    assert sqlite_complaint(sqlite3.SQLITE_ERROR) is None  # such as a table that is not there


def test_a_full_disk_is_named_and_what_was_saved_stays(sqlite_engine: Engine) -> None:
    def fill() -> None:
        with writing(sqlite_engine) as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            connection.execute(insert(setting).values(key="big", value="x" * 1_000_000))

    found = complaint(fill)
    assert isinstance(found, StorageError)
    assert "full" in found.problem


def test_what_postgresql_says(postgres_url: str, postgres_server: str) -> None:
    engine = open_database(postgres_url)

    def lose() -> None:
        with reading(engine) as connection, reading(engine) as other:
            number = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            other.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
            connection.execute(text("SELECT 1"))

    def wait() -> None:
        with reading(engine) as connection:
            connection.execute(text("SET statement_timeout = 50"))
            connection.execute(text("SELECT pg_sleep(5)"))

    for act in (lose, wait):
        assert isinstance(complaint(act), BusyError)

    def write() -> None:
        with writing(engine) as connection:
            connection.execute(text("SET TRANSACTION READ ONLY"))
            connection.execute(insert(setting).values(key="a", value=1))

    found = complaint(write)
    assert isinstance(found, StorageError)
    assert "cannot be written to" in found.problem

    def ask() -> None:
        with reading(engine) as connection:
            connection.execute(text("SELECT * FROM nowhere"))

    assert complaint(ask) is None
    engine.dispose()
    for place, busy in ((f"{postgres_server}/nowhere", False), ("postgresql://ada@127.0.0.1:1/edits", True)):
        other = create_engine(place.replace("postgresql:", "postgresql+psycopg:"))
        assert isinstance(complaint(lambda other=other: other.connect()), BusyError) == busy


@pytest.mark.slow
def test_it_waits_while_postgresql_recovers_and_says_so(
    recovering_postgres: tuple[str, Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, finish = recovering_postgres
    monkeypatch.setattr(database, "PATIENCE_S", 0.5)
    with pytest.raises(RedpencilError, match="not accepting connections") as caught:
        open_database(place)
    assert caught.value.hint is not None
    assert "waiting up to 0 s for postgresql" in caplog.text
    monkeypatch.undo()
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_database, place)
        time.sleep(1)
        assert not opened.done()
        finish()
        engine = opened.result(timeout=database.PATIENCE_S)
    assert server_secret(engine)
    engine.dispose()


def test_a_password_is_not_waited_for(caplog: pytest.LogCaptureFixture, postgres_server: str) -> None:
    with pytest.raises(RedpencilError, match="does not exist"):
        open_database(f"{postgres_server}/nowhere")
    assert caplog.text == ""


def test_a_command_explains_that_the_database_went_away(postgres_url: str) -> None:
    engine = open_database(postgres_url)
    with (  # noqa: PT012
        pytest.raises(RedpencilError, match="the database is busy") as caught,
        explained(postgres_url.replace("tester@", "tester:geheim@")),
        reading(engine) as connection,
        reading(engine) as other,
    ):
        number = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        other.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
        connection.execute(text("SELECT 1"))
    assert "geheim" not in str(caught.value)
    engine.dispose()


def test_a_password_that_is_wrong_is_not_called_busy() -> None:
    import psycopg

    said = 'connection failed: FATAL:  password authentication failed for user "ada"'
    assert meaning_of(DBAPIError("", {}, psycopg.OperationalError(said))) is None


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
def test_nothing_is_called_saved_in_a_file_that_is_not_there(tmp_path: Path, how: str) -> None:
    path = tmp_path / "edits.db"
    engine = open_database(path)
    check_file(engine)
    path.unlink() if how == "deleted" else path.rename(tmp_path / "old.db")
    if how == "replaced":
        open_database(path).dispose()
    told = "was replaced" if how == "replaced" else "is not where it was"
    with pytest.raises(StorageError, match=told) as caught, writing(engine):
        pytest.fail("what is written now is lost")
    assert "start the server again" in str(caught.value.hint)
    with pytest.raises(StorageError):
        check_file(engine)
    engine.dispose()  # a connection that is made now finds out too
    with pytest.raises(StorageError), reading(engine):
        pytest.fail("this is another file")
    assert path.exists() == (how == "replaced")
    if how == "moved":
        (tmp_path / "old.db").rename(path)
        with writing(engine) as connection:
            connection.execute(insert(setting).values(key="a", value=1))
    engine.dispose()


def test_a_name_with_signs_of_addresses_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "50%? #1 ü.db"
    open_database(path).dispose()
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_new_connection_never_makes_a_file(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from redpencil.web import database\n"
        "from redpencil.web.database import open_database, reading\n"
        "engine = open_database(sys.argv[1])\n"
        "engine.dispose()\n"
        "database._FILES.clear()\n"
        "Path(sys.argv[1]).unlink()\n"
        "try:\n"
        "    with reading(engine): pass\n"
        "except Exception as error:\n"
        "    print(error.orig)\n"
    )
    path = tmp_path / "edits.db"
    shown = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert "unable to open database file" in shown.stdout
    assert not path.exists()
