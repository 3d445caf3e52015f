"""The response cache: requests to a provider and their answers in one SQLite file, so that no answer is paid for twice.

An answer is committed before the next request is sent. In WAL mode a commit survives the death of the process at any
moment. A request that was sent and has neither an answer nor an error is pending: the process died before the reply
came, and the provider may have charged for it.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Result, StopReason, Usage

_APPLICATION_ID: Final = 0x72647063
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS answer (
  key BLOB PRIMARY KEY,     -- SHA-256 of provider, parameters and messages, see providers.base.request_key
  model TEXT NOT NULL,
  asked_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  text TEXT,                -- NULL until it is answered
  stop_reason TEXT,
  input_tokens INTEGER,
  output_tokens INTEGER,
  problem TEXT,             -- why the last attempt failed
  batch INTEGER NOT NULL DEFAULT 0  -- 1 where the answer came in a batch, which costs less
) STRICT;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """The cache's knowledge of one request; all defaults for a request that was never sent.

    Args:
        completion: the answer.
        problem: why the last attempt failed, where there is no answer.
        batch: the answer came in a batch.
        pending: the request was sent, and the process ended before it had an answer or an error.
    """

    completion: Completion | None = None
    problem: str | None = None
    batch: bool = False
    pending: bool = False


class ResponseCache:
    """The answers in one SQLite file; made by `open_cache`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __len__(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
        return int(count)

    def is_empty(self, *, ignore_pending: bool = False) -> bool:
        """Return True if it holds nothing, or nothing but pending requests if these are ignored."""
        condition = "text IS NOT NULL OR problem IS NOT NULL" if ignore_pending else "TRUE"
        return self._connection.execute(f"SELECT 1 FROM answer WHERE {condition} LIMIT 1").fetchone() is None

    def get(self, key: str) -> Entry:
        """Look a request up.

        Raises:
            sqlite3.DatabaseError: if its row is damaged; `open_cache` turns that into a `RedpencilError`.
        """
        row = self._connection.execute(
            "SELECT text, stop_reason, input_tokens, output_tokens, problem, batch FROM answer WHERE key = ?",
            (bytes.fromhex(key),),
        ).fetchone()
        if row is None:
            return Entry()
        text, stop_reason, input_tokens, output_tokens, problem, batch = row
        if text is None:
            return Entry(problem=problem, pending=problem is None)
        if stop_reason not in list(StopReason) or (input_tokens is None) != (output_tokens is None):
            raise sqlite3.DatabaseError(f"the row of answer {key} is damaged")
        usage = None if input_tokens is None else Usage(input_tokens, output_tokens)
        return Entry(Completion(text, StopReason(stop_reason), usage), batch=bool(batch))

    def mark_sent(self, key: str, model: str) -> None:
        """Note that a request is about to be sent."""
        self._connection.execute(
            "INSERT INTO answer (key, model) VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET problem = NULL, asked_at = excluded.asked_at",
            (bytes.fromhex(key), model),
        )

    def store(self, key: str, model: str, result: Result, *, batch: bool = False) -> None:
        """Store an answer or a failure; an answer that is there already stays. `batch`: it came in a batch."""
        if isinstance(result, Failure):
            values = (None, None, None, None, result.problem)
        else:
            usage = (None, None) if result.usage is None else (result.usage.input_tokens, result.usage.output_tokens)
            values = (result.text, result.stop_reason.value, *usage, None)
        self._connection.execute(
            "INSERT INTO answer (key, model, text, stop_reason, input_tokens, output_tokens, problem, batch) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text, "
            "stop_reason = excluded.stop_reason, input_tokens = excluded.input_tokens, "
            "output_tokens = excluded.output_tokens, problem = excluded.problem, batch = excluded.batch "
            "WHERE text IS NULL",
            (bytes.fromhex(key), model, *values, batch),
        )


@contextmanager
def open_cache(path: Path | None = None) -> Iterator[ResponseCache]:
    """Open a response cache, or make one; without a path it lives in memory.

    Only one process at a time may use a file: two would pay for the same requests. A file that holds nothing at the
    end is removed.

    Raises:
        RedpencilError: if another process uses it, it is not a response cache, or it cannot be read or written.
    """
    if path is None:
        with _connected(":memory:", None) as connection:
            yield ResponseCache(connection)
        return
    with _locked(path) as target:
        existed, useless = target.exists(), False
        try:
            with _connected(str(target), path) as connection:
                cache = ResponseCache(connection)
                try:
                    yield cache
                except BaseException as error:
                    # A RedpencilError says that no request could succeed, so the pending ones did not either.
                    hopeless = isinstance(error, RedpencilError) and not existed
                    with suppress(sqlite3.Error):
                        useless = cache.is_empty(ignore_pending=hopeless)
                    raise
                useless = cache.is_empty()
        finally:
            if useless:
                target.unlink(missing_ok=True)
                _lock_of(target).unlink(missing_ok=True)  # while it is held: the next process makes its own


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Lock a cache against other processes, under whatever name they open it; yields its path without links."""
    if path.is_dir():
        raise RedpencilError("the response cache cannot be a folder", file=path, hint="choose another file")
    target = Path(os.path.realpath(path))
    lock = FileLock(_lock_of(target), timeout=0)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            _lock_of(target).touch()  # where no file can be made, this raises the error that says why
            raise RedpencilError(
                "another process is using this response cache",
                file=path,
                hint="wait until it has ended, or choose another --cache",
            ) from None
    except OSError as error:
        raise RedpencilError(
            f"cannot open the response cache ({error.strerror})", file=path, hint="choose another --cache"
        ) from None
    try:
        yield target
    finally:
        lock.release()


def _lock_of(target: Path) -> Path:
    return target.with_name(target.name + ".lock")


@contextmanager
def _connected(target: str, file: Path | None) -> Iterator[sqlite3.Connection]:
    connection = None
    try:
        connection = sqlite3.connect(target, isolation_level=None)
        _check(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        yield connection
    except sqlite3.Error as error:
        raise RedpencilError(
            f"the response cache cannot be used ({error})",
            file=file,
            hint="choose another --cache; if the disk is full, make room and run the command again",
        ) from error
    finally:
        if connection is not None:
            connection.close()


def _check(connection: sqlite3.Connection, file: Path | None) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == _APPLICATION_ID and version != _VERSION:
        raise RedpencilError(
            f"a response cache of version {version}, but this redpencil reads version {_VERSION}",
            file=file,
            hint="use the redpencil that wrote it, or choose another --cache",
        )
    if application != _APPLICATION_ID and (tables or application):
        raise RedpencilError("a database, but not a response cache", file=file, hint="choose another --cache")
