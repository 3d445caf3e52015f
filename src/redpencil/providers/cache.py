"""The response cache: requests to a provider and their answers in one SQLite file, so that no answer is paid for twice.

An answer is committed before the next request is sent. In WAL mode a commit survives the death of the process at any
moment. A request that was sent and has neither an answer nor an error is pending: the process died before the reply
came, and the provider may have charged for it.

Damage must not make a command pay again without a word. Each answer carries a checksum, and the number of answers
stands in a second file, that of the lock: a cache that is damaged or holds fewer answers is never used as it is.
"""

import os
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.files import PRIVATE, make_private, of_database, open_alone
from redpencil.providers.base import Completion, Failure, Result, StopReason, Usage

APPLICATION_ID: Final = 0x72647063
"""What the header of the file says of who made it."""
_VERSION: Final = 2
_COLUMNS: Final = "key, model, asked_at, text, stop_reason, input_tokens, output_tokens, problem, batch, checksum"
_TEXT: Final = 3
"""The place of an answer's text among the columns."""
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS answer (
  key BLOB PRIMARY KEY,     -- SHA-256 of provider, server, parameters and messages, see providers.base.request_key
  model TEXT NOT NULL,
  asked_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  text TEXT,                -- NULL until it is answered
  stop_reason TEXT,
  input_tokens INTEGER,
  output_tokens INTEGER,
  problem TEXT,             -- why the last attempt failed
  batch INTEGER NOT NULL DEFAULT 0,  -- 1 where the answer came in a batch, which costs less
  checksum INTEGER          -- of an answer, see _checksum
) STRICT;
PRAGMA application_id = {APPLICATION_ID};
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
    """The answers in one SQLite file; made by `open_cache`. `note` is told their number whenever it has grown."""

    def __init__(self, connection: sqlite3.Connection, note: Callable[[int], None] = lambda _: None) -> None:
        self._connection, self._note = connection, note
        (count,) = connection.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
        self._answers = int(count)

    def __len__(self) -> int:
        return self._answers

    def is_empty(self, *, ignore_pending: bool = False) -> bool:
        """Return True if it holds nothing, or nothing but pending requests if these are ignored."""
        condition = "text IS NOT NULL OR problem IS NOT NULL" if ignore_pending else "TRUE"
        return self._connection.execute(f"SELECT 1 FROM answer WHERE {condition} LIMIT 1").fetchone() is None

    def get(self, key: str) -> Entry:
        """Look a request up."""
        row = self._connection.execute(
            "SELECT text, stop_reason, input_tokens, output_tokens, problem, batch FROM answer WHERE key = ?",
            (bytes.fromhex(key),),
        ).fetchone()
        if row is None:
            return Entry()
        text, stop_reason, input_tokens, output_tokens, problem, batch = row
        if text is None:
            return Entry(problem=problem, pending=problem is None)
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
        answer: tuple[str | int | None, ...] = (None, None, None, None)
        if isinstance(result, Completion):
            usage = (None, None) if result.usage is None else (result.usage.input_tokens, result.usage.output_tokens)
            answer = (result.text, result.stop_reason.value, *usage)
        problem = result.problem if isinstance(result, Failure) else None
        raw = bytes.fromhex(key)
        changed = self._connection.execute(
            "INSERT INTO answer (key, model, text, stop_reason, input_tokens, output_tokens, problem, batch, checksum) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET text = excluded.text, "
            "stop_reason = excluded.stop_reason, input_tokens = excluded.input_tokens, "
            "output_tokens = excluded.output_tokens, problem = excluded.problem, batch = excluded.batch, "
            "checksum = excluded.checksum WHERE text IS NULL",
            (raw, model, *answer, problem, batch, _checksum(raw, *answer)),
        )
        if isinstance(result, Completion) and changed.rowcount:
            self._answers += 1
            self._note(self._answers)


def _checksum(key: bytes, *answer: str | int | None) -> int | None:
    """CRC-32 of an answer with its key; None for a request without one."""
    return None if answer[0] is None else zlib.crc32(repr((key, *answer)).encode("utf-8", "surrogatepass"))


@contextmanager
def open_cache(path: Path | None = None) -> Iterator[ResponseCache]:
    """Open a response cache, or make one, which only its owner may read; without a path it lives in memory.

    Only one process at a time may use a file: two would pay for the same requests. A file that holds nothing at the
    end is removed. What can be read of a damaged cache is put in its place first, and the error says so.

    Raises:
        RedpencilError: if another process uses it, it is not a response cache, it cannot be read or written, it is
            damaged, or answers are missing that it once held.
    """
    if path is None:
        with _connected(":memory:", None) as connection:
            yield ResponseCache(connection)
        return
    with _locked(path) as (target, lock):
        existed, useless = target.exists(), False
        _inspect(target, path, lock)
        try:
            if not existed:
                make_private(target)
            with _connected(str(target), path) as connection:
                cache = ResponseCache(connection, lambda count: _note(lock, count))
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
def _locked(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Lock a cache against other processes, under whatever name they open it.

    Yields its path without links, and the file of the lock, in which the number of answers stands.
    """
    if path.is_dir():
        raise RedpencilError("the response cache cannot be a folder", file=path, hint="choose another file")
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = open_alone(_lock_of(target), PRIVATE)
    except OSError as error:
        raise RedpencilError(
            f"cannot open the response cache ({error.strerror})", file=path, hint="choose another --cache"
        ) from None
    if lock is None:
        raise RedpencilError(
            "another process is using this response cache",
            file=path,
            hint="wait until it has ended, or choose another --cache",
        )
    with lock:
        yield target, lock


def _noted(lock: BinaryIO) -> int:
    """The number of answers that the cache held when it was last used; 0 where none was noted."""
    lock.seek(0)
    text = lock.read().strip()
    return int(text) if re.fullmatch(rb"\d{1,20}", text) else 0


def _note(lock: BinaryIO, answers: int) -> None:
    """Note the number of answers, after an answer was committed, so that it is never greater than what is there."""
    try:
        lock.seek(0)
        lock.write(b"%20d\n" % answers)
        lock.flush()
    except OSError as error:
        raise RedpencilError(
            f"cannot write beside the response cache ({error.strerror})",
            file=lock.name,
            hint="make room, and run the command again",
        ) from None


def _inspect(target: Path, file: Path, lock: BinaryIO) -> None:
    """Check that a cache is sound and holds all answers that it ever held, before a request is paid for again.

    Raises:
        RedpencilError: if it is damaged, which is what could be read of it then, or answers are missing.
    """
    answers, expected, sound = 0, _noted(lock), True
    if target.exists() and target.stat().st_size:
        with _opened(f"{target.as_uri()}?mode=ro", file) as connection:
            _check(connection, file)
            try:
                (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                sound = said == "ok" and _has_table(connection)
                for row in connection.execute(f"SELECT {_COLUMNS} FROM answer") if sound else ():
                    sound = sound and _is_sound(row)
                    answers += row[_TEXT] is not None
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
                    raise
                sound = False
    if not sound:
        _salvage(target, file, lock)
    if answers < expected:
        raise RedpencilError(
            f"the response cache has lost {expected - answers:,} of its {expected:,} answers",
            file=file,
            hint=f"bring back {target.name} and {target.name}-wal; or delete {_lock_of(target)} to go on with the "
            f"{answers:,} that are left and pay for the others again",
        )
    _note(lock, answers)


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'answer'").fetchone() is not None


def _is_sound(row: tuple[Any, ...]) -> bool:
    key, _, _, text, stop_reason, input_tokens, output_tokens, _, _, checksum = row
    return bool(_checksum(key, text, stop_reason, input_tokens, output_tokens) == checksum)


def _salvage(target: Path, file: Path, lock: BinaryIO) -> None:
    """Put what can be read of a damaged cache in its place, keep the damaged files, and raise an error that says so."""
    new = target.with_name(f"{target.name}.salvaged")
    new.unlink(missing_ok=True)
    make_private(new)
    expected = _noted(lock)
    with _connected(str(new), file) as out, _opened(f"{target.as_uri()}?mode=ro", file) as connection:
        out.execute("BEGIN")
        for row in _readable(connection):
            out.execute(f"INSERT OR IGNORE INTO answer ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        out.execute("COMMIT")
        saved = len(ResponseCache(out))
    names = (f"{target.name}.damaged{number or ''}" for number in count())
    kept = next(path for path in map(target.with_name, names) if not path.exists())
    for old, name in zip(of_database(target), of_database(kept), strict=True):
        if old.exists():
            old.replace(name)
    new.replace(target)
    _note(lock, saved)
    of = f" of {expected:,}" if expected else ""
    raise RedpencilError(
        f"the response cache was damaged; {saved:,}{of} answers could be read and are kept",
        file=file,
        hint=f"bring back a copy; or run the command again to pay for the others. The damaged file is {kept}",
    )


def _readable(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a damaged cache that can be read and are sound: one by one, as a scan ends at the damage."""
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        (last,) = connection.execute("SELECT max(rowid) FROM answer").fetchone()
    except sqlite3.DatabaseError:  # then no more than fit into the file
        (last,) = connection.execute(
            "SELECT page_count * page_size / 64 FROM pragma_page_count, pragma_page_size"
        ).fetchone()
    for number in range(1, (last or 0) + 1):
        with suppress(sqlite3.DatabaseError):
            row = connection.execute(f"SELECT {_COLUMNS} FROM answer WHERE rowid = ?", (number,)).fetchone()
            if row is not None and _is_sound(row):
                yield row


def _lock_of(target: Path) -> Path:
    return target.with_name(target.name + ".lock")


@contextmanager
def _connected(target: str, file: Path | None) -> Iterator[sqlite3.Connection]:
    """Open a cache to read and write; tables are made."""
    with _opened(target, file) as connection:
        _check(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        yield connection


@contextmanager
def _opened(target: str, file: Path | None) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(target, isolation_level=None, uri=target.startswith("file:"))) as connection:
            yield connection
    except sqlite3.Error as error:
        raise RedpencilError(
            f"the response cache cannot be used ({error})",
            file=file,
            hint="bring back a copy, or choose another --cache, which pays for all answers anew; if the disk is full, "
            "make room and run the command again",
        ) from error


def _check(connection: sqlite3.Connection, file: Path | None) -> None:
    """Refuse a file that is not a cache, and take the rights of other users from one that is, damaged or not."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION_ID and version != _VERSION:
        raise RedpencilError(
            f"a response cache of version {version}, but this redpencil reads version {_VERSION}",
            file=file,
            hint="use the redpencil that wrote it, or choose another --cache",
        )
    if application != APPLICATION_ID and (tables or application):
        raise RedpencilError("a database, but not a response cache", file=file, hint="choose another --cache")
    if file is not None:
        make_private(file)
