"""One database for one project: an SQLite file, or PostgreSQL for many people on several server processes.

All writes go through `writing`, in short transactions. SQLite runs one of them at a time; on PostgreSQL transactions
that exclude each other lock their rows.
"""

import logging
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, insert, inspect, make_url, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError

from redpencil.errors import RedpencilError
from redpencil.files import make_private
from redpencil.web import schema
from redpencil.web.errors import BusyError, StorageError
from redpencil.web.schema import SCHEMA_VERSION, setting

log = logging.getLogger("redpencil.web")
SECRET_KEY: Final = "secret"
"""The key under which the secret that signs cookies is stored."""
_BUSY_SQLITE: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_BUSY_POSTGRES: Final = (
    *("08", "57P01", "57P02", "57P03"),  # the connection was lost, the server stops or starts
    *("40001", "40P01", "55P03", "57014", "53300"),  # conflicts with other transactions, or too many connections
)
_REFUSED_POSTGRES: Final = ("password", "authentication", "pg_hba.conf", "does not exist")
"""Parts of messages about connections that will fail the next time too. PostgreSQL gives no code for them."""
_SAVED = "what was saved before is safe"
_NEEDS: Final = {
    sqlite3.SQLITE_FULL: ("the disk of the server is full", "make room on it; " + _SAVED),
    sqlite3.SQLITE_READONLY: ("the database cannot be written to", "look at the rights of its file and folder"),
    sqlite3.SQLITE_IOERR: ("the disk of the server does not work", "look at it and at the server's log"),
    sqlite3.SQLITE_CANTOPEN: ("the database's file cannot be opened", "look at its folder and the server's log"),
    sqlite3.SQLITE_CORRUPT: ("the database's file is damaged", "stop the server and bring back a copy"),
    sqlite3.SQLITE_NOTADB: ("the database's file is damaged", "stop the server and bring back a copy"),
    "53100": ("the disk of the database is full", "make room on it; " + _SAVED),
    "25006": ("the database cannot be written to", "look at its settings"),
}
_FILES: WeakKeyDictionary[Engine, tuple[Path, tuple[int, int]]] = WeakKeyDictionary()
"""The files that engines were opened on, by device and inode: the path may lead to another file later."""


def meaning_of(error: DBAPIError) -> RedpencilError | None:
    """Translate a database error for people: the database is busy, or the server needs repair.

    None means any other error: a bug, which needs a traceback.
    """
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code: int | str = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        busy = code in _BUSY_SQLITE
    else:
        code = getattr(cause, "sqlstate", None) or ""
        busy = code.startswith(_BUSY_POSTGRES) if code else _is_lost(error)
    if busy:
        return BusyError("the database is busy", hint="try again in a moment")
    return _needs(*_NEEDS[code]) if code in _NEEDS else None


def _is_lost(error: DBAPIError) -> bool:
    """Return whether a connection to PostgreSQL broke or could not be made, so that the next one may."""
    if error.connection_invalidated:
        return True
    message = str(error.orig)
    return type(error.orig).__name__ == "OperationalError" and not any(word in message for word in _REFUSED_POSTGRES)


def _needs(problem: str, remedy: str) -> StorageError:
    return StorageError(problem, hint=f"nothing was changed; tell an admin of the project: {remedy}")


def check_file(engine: Engine) -> None:
    """Check that the engine's file is still at its path: SQLite would continue to write to a file that was deleted or
    moved, and that work would be lost. Does nothing for PostgreSQL.

    Raises:
        StorageError: if the file is gone or was replaced.
    """
    if engine not in _FILES:
        return
    path, identity = _FILES[engine]
    try:
        current = _identity(path)
    except OSError:
        current = None
    if current != identity:
        event = "is not where it was" if current is None else "was replaced by another one"
        raise _needs(f"the database's file {event}", f"bring back {path.name} and start the server again")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


VERSION_TABLE = "redpencil_version"
"""The table with the current migration; a database that has tables but not this one belongs to another program."""

_KNOWN_VERSIONS = frozenset(f"{number:04}" for number in range(1, int(SCHEMA_VERSION) + 1))
_BUSY_S = 5.0
"""Seconds that a connection to SQLite waits for another one to finish writing."""
PATIENCE_S = 60.0
"""Seconds that PostgreSQL may take until it is ready; recovery after a crash takes some."""
_MIGRATION_LOCK = 0x7265_6470_656E
"""The advisory lock of PostgreSQL that one process holds while it migrates."""
_WRITING = "redpencil_writing"
_TURNS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()
_HINT = "give a path in a writable folder, or the URL of a running PostgreSQL database"


def open_database(place: str | Path) -> Engine:
    """Open a project's database. It is created or migrated first, by one process at a time.

    Args:
        place: path of an SQLite file, or a URL such as `postgresql://user:password@host/name`.

    While PostgreSQL starts, recovers or restarts, this waits for it, `PATIENCE_S` at most, and the log says so.

    Raises:
        RedpencilError: if it cannot be opened, belongs to another program, or was made by a newer redpencil.
    """
    url = _url(place)
    sqlite = url.get_backend_name() == "sqlite"
    name = url.database if sqlite else url.render_as_string(hide_password=True)
    engine = _sqlite(url) if sqlite else _postgres(url)
    path = Path(str(url.database))
    if sqlite:
        _make_file(path)
    try:
        if not sqlite:
            _wait_for_server(engine, str(name))
        _check_encoding(engine)
        with reading(engine) as connection:
            version = _version(connection)
        exposed = sqlite and make_private(path)
        if version != SCHEMA_VERSION:
            if sqlite:
                _use_wal(path)
            _migrate(engine)
        if exposed and version is not None:
            _renew_secret(engine, path)
        if sqlite:
            _FILES[engine] = (path, _identity(path))
    except RedpencilError as error:
        engine.dispose()
        raise RedpencilError(error.problem, file=name, hint=error.hint) from None
    except DBAPIError as error:
        engine.dispose()
        problem = f"the database cannot be opened ({str(error.orig).strip()})"
        raise RedpencilError(problem, file=name, hint=_HINT) from None
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that may write; it is committed at the end, and rolled back on an exception.

    Raises:
        BusyError: if other writers take too long.
        StorageError: if the SQLite file is gone.
    """
    with _turn(engine), engine.connect() as connection:
        check_file(engine)
        connection.execution_options(**{_WRITING: True})
        with connection.begin():
            yield connection


def reading(engine: Engine) -> Connection:
    """Open a connection that reads and blocks no other connection, for a `with` statement."""
    return engine.connect()


def _url(place: str | Path) -> URL:
    """Read the place of a database; anything that is not a URL is a path."""
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite", database=str(Path(place).absolute()))
    with suppress(ArgumentError):
        url = make_url(place)
        if url.get_backend_name() in ("postgresql", "postgres"):
            return url.set(drivername="postgresql+psycopg")
    raise RedpencilError(
        "only SQLite files and PostgreSQL can hold a project",
        field="database",
        hint="give a path, or a URL such as postgresql://user:password@host/name",
    )


def _make_file(path: Path) -> None:
    """Create an empty private file, which SQLite opens as an empty database, unless the file exists."""
    try:
        if not path.exists():
            make_private(path)
    except OSError as error:
        problem = f"the database cannot be opened ({error.strerror})"
        raise RedpencilError(problem, file=path, hint=_HINT) from None


def _renew_secret(engine: Engine, path: Path) -> None:
    """Make a new secret when the application starts: whoever read the old one could write the cookie of an admin."""
    with writing(engine) as connection:
        connection.execute(delete(setting).where(setting.c.key == SECRET_KEY))
    log.warning(
        "other users of this machine could read %s; its rights are mended, and everybody has to open their link again",
        path,
    )


def _postgres(url: URL) -> Engine:
    return create_engine(
        url, isolation_level="READ COMMITTED", pool_size=10, max_overflow=10, pool_pre_ping=True, hide_parameters=True
    )


def _sqlite(url: URL) -> Engine:
    """Create an engine for SQLite. Mode `rw` opens the existing file and never creates a new one while people work."""
    place = f"{Path(str(url.database)).as_uri()}?mode=rw"
    engine = create_engine(url, pool_size=20, max_overflow=20, hide_parameters=True)

    def connect(_dialect: object, _record: object, _args: object, _kwargs: object) -> sqlite3.Connection:
        check_file(engine)
        return sqlite3.connect(place, uri=True, timeout=_BUSY_S, check_same_thread=False)

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    _TURNS[engine] = threading.Lock()
    return engine


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """Let the threads of this process write to SQLite in turn, so that only processes compete."""
    lock = _TURNS.get(engine)
    if lock is None:
        yield
        return
    if not lock.acquire(timeout=2 * _BUSY_S):
        raise _busy()
    try:
        yield
    finally:
        lock.release()


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    """Set what SQLite does not store in its file. With `FULL` a draft that was reported as saved survives a crash."""
    connection.isolation_level = None  # `_begin` begins transactions, not the driver
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    """Begin a transaction. One that will write takes the lock now: SQLite does not let it wait for the lock later."""
    if not connection.get_execution_options().get(_WRITING, False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.driver_connection
    if not isinstance(raw, sqlite3.Connection):
        raise TypeError(f"expected a connection to SQLite, found {type(raw).__name__}")
    deadline = time.monotonic() + _BUSY_S
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while not _try_to_begin(raw):
            if time.monotonic() > deadline:
                raise _busy()
            time.sleep(random.uniform(0.0005, 0.003))
    finally:
        raw.execute(f"PRAGMA busy_timeout = {_BUSY_S * 1000:.0f}")


def _busy() -> BusyError:
    return BusyError(
        f"the database has been busy for more than {_BUSY_S:.0f} s",
        hint="try again; where many people work at once, use PostgreSQL",
    )


def _try_to_begin(raw: sqlite3.Connection) -> bool:
    """Try to begin writing. SQLite itself would retry after pauses that grow to a tenth of a second, so that a process
    that writes a lot would block the others for seconds.
    """
    try:
        raw.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _use_wal(path: Path) -> None:
    """Let connections read while another one writes. The file stores this mode; SQLite does not wait by itself here."""
    deadline = time.monotonic() + _BUSY_S
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise RedpencilError(f"the database cannot be written ({error})", hint=_HINT) from None
                time.sleep(0.02)


def _wait_for_server(engine: Engine, name: str) -> None:
    """Wait until PostgreSQL takes a connection, if it seems that it soon will.

    Raises:
        DBAPIError: if a later attempt would fail too, or it takes too long.
    """
    deadline, told = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            reading(engine).close()
            return
        except DBAPIError as error:
            if not isinstance(meaning_of(error), BusyError) or time.monotonic() > deadline:
                raise
            if not told:
                said = " ".join(str(error.orig).split())
                log.warning("waiting up to %.0f s for %s, which is not ready (%s)", PATIENCE_S, name, said)
                told = True
            time.sleep(0.2)


@contextmanager
def explained(place: str | Path) -> Iterator[None]:
    """Turn a database error that has a meaning for people into a `RedpencilError`, where no request is answered."""
    try:
        yield
    except DBAPIError as error:
        meaning = meaning_of(error)
        if meaning is None:
            raise
        name = place if isinstance(place, Path) or "://" not in place else make_url(place).render_as_string()
        raise RedpencilError(meaning.problem, file=name, hint=meaning.hint) from None


def _check_encoding(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        return
    with reading(engine) as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise RedpencilError(
            f"the database holds text as {encoding}, which lacks most characters",
            hint="make it with: createdb --encoding=UTF8 --template=template0 NAME",
        )


def _version(connection: Connection) -> str | None:
    """The current migration of the database; None for a new one.

    Raises:
        RedpencilError: if it belongs to another program or was made by a newer redpencil.
    """
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if tables:
            raise RedpencilError(
                f"the database belongs to another program (it has a table {min(tables)!r})",
                hint="give another path or a new database",
            )
        return None
    version: Any = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if version is None and tables == {VERSION_TABLE}:
        return None
    if version is not None and version > SCHEMA_VERSION:
        raise RedpencilError(
            f"the database was made by a newer redpencil (its schema is {version}, this one knows {SCHEMA_VERSION})",
            hint="pip install --upgrade redpencil",
        )
    if version not in _KNOWN_VERSIONS:
        name = "none" if version is None else repr(version)
        raise RedpencilError(
            f"the schema of the database is unknown ({name} is in its table {VERSION_TABLE})",
            hint="bring back a copy of it, or start a new one",
        )
    return str(version)


def lock_out_others(connection: Connection, lock: int) -> None:
    """Wait for an advisory lock of PostgreSQL, and hold it until the transaction ends; SQLite needs none."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _migrate(engine: Engine) -> None:
    """Migrate the schema in one transaction; other processes wait for it and then have nothing to do."""
    from alembic import command  # slow to import, and most starts have nothing to migrate
    from alembic.config import Config

    with writing(engine) as connection:
        lock_out_others(connection, _MIGRATION_LOCK)
        if _version(connection) == SCHEMA_VERSION:
            return
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


MOST_EVENTS = 500
"""Lines on one page of the log."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log. `person` is the name of the person who acted; None if the visitor was not signed in."""

    id: int
    at: float
    person_id: int | None
    person: str | None
    action: str
    item_id: int | None
    detail: Mapping[str, Any]


def record_event(
    connection: Connection,
    action: str,
    *,
    at: float,
    person_id: int | None = None,
    item_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a line to the log, in the transaction of the action itself."""
    values = {"at": at, "action": action, "person_id": person_id, "item_id": item_id, "detail": dict(detail or {})}
    connection.execute(insert(schema.event).values(values))


def list_events(connection: Connection, *, before: int | None = None, limit: int = 100) -> list[Event]:
    """List the newest lines first; `before` is the id of the oldest line already seen."""
    query = (
        select(schema.event, schema.person.c.name.label("person"))
        .join(schema.person, schema.person.c.id == schema.event.c.person_id, isouter=True)
        .order_by(schema.event.c.id.desc())
        .limit(min(limit, MOST_EVENTS))
    )
    if before is not None:
        query = query.where(schema.event.c.id < before)
    return [Event(**row) for row in connection.execute(query).mappings()]


def read_value(connection: Connection, key: str) -> Any:
    """Read the value under a key; None if there is none."""
    return connection.scalar(select(setting.c.value).where(setting.c.key == key))


def store_value(connection: Connection, key: str, value: Any) -> None:
    """Store a value under a key, and replace the value that the key has."""
    adding = _insert(connection).values(key=key, value=value)
    connection.execute(adding.on_conflict_do_update(index_elements=[setting.c.key], set_={"value": value}))


def store_value_once(connection: Connection, key: str, value: Any) -> None:
    """Store a value under a key that has none. A simultaneous call with the same key is awaited and wins."""
    connection.execute(_insert(connection).values(key=key, value=value).on_conflict_do_nothing())


def _insert(connection: Connection) -> postgresql.Insert | sqlite.Insert:
    return postgresql.insert(setting) if connection.dialect.name == "postgresql" else sqlite.insert(setting)
