"""What was asked and what was answered, kept in one SQLite file, so that no answer is paid for twice.

An answer is committed before the next one is drawn. In WAL mode a commit survives the death of the process at any
moment. A request that was under way when a process died is known as such: nobody can tell whether it was paid for.
"""

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Provider, Request, Result, StopReason, Usage

_APPLICATION_ID: Final = 0x72647063
_VERSION: Final = 1
_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE IF NOT EXISTS answer (
  key BLOB PRIMARY KEY,     -- SHA-256 of who is asked and what, see providers.base.request_key
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


class Journal:
    """The answers of one SQLite file; made by `open_journal`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __len__(self) -> int:
        (count,) = self._connection.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
        return int(count)

    def is_empty(self, *, but_for_questions: bool = False) -> bool:
        """Whether nothing is kept; or, if so asked, nothing but that requests were under way."""
        worth = "text IS NOT NULL OR problem IS NOT NULL" if but_for_questions else "TRUE"
        return self._connection.execute(f"SELECT 1 FROM answer WHERE {worth} LIMIT 1").fetchone() is None

    def find(self, key: str) -> Completion | None:
        """The answer to a request, if there is one.

        Raises:
            sqlite3.DatabaseError: if what is kept is no answer; `open_journal` turns it into a `RedpencilError`.
        """
        row = self._connection.execute(
            "SELECT text, stop_reason, input_tokens, output_tokens FROM answer WHERE key = ? AND text IS NOT NULL",
            (bytes.fromhex(key),),
        ).fetchone()
        if row is None:
            return None
        text, stop_reason, input_tokens, output_tokens = row
        if stop_reason not in list(StopReason) or (input_tokens is None) != (output_tokens is None):
            raise sqlite3.DatabaseError(f"the row of answer {key} is damaged")
        usage = None if input_tokens is None else Usage(input_tokens, output_tokens)
        return Completion(text, StopReason(stop_reason), usage)

    def under_way(self, key: str) -> bool:
        """Whether a request was sent and nobody knows what became of it."""
        return self._holds("text IS NULL AND problem IS NULL", key)

    def of_batch(self, key: str) -> bool:
        """Whether the answer to a request came in a batch."""
        return self._holds("text IS NOT NULL AND batch", key)

    def problem(self, key: str) -> str | None:
        """Why the last attempt at a request failed; None if it did not, or was never made."""
        row = self._connection.execute("SELECT problem FROM answer WHERE key = ?", (bytes.fromhex(key),)).fetchone()
        return None if row is None else row[0]

    def ask(self, key: str, model: str) -> None:
        """Note that a request is about to be sent."""
        self._connection.execute(
            "INSERT INTO answer (key, model) VALUES (?, ?) "
            "ON CONFLICT DO UPDATE SET problem = NULL, asked_at = excluded.asked_at",
            (bytes.fromhex(key), model),
        )

    def record(self, key: str, model: str, result: Result, *, batch: bool = False) -> None:
        """Keep an answer, or why there is none. An answer that is there stays. `batch` says that it came in one."""
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

    def _holds(self, condition: str, key: str) -> bool:
        found = self._connection.execute(f"SELECT 1 FROM answer WHERE key = ? AND {condition}", (bytes.fromhex(key),))
        return found.fetchone() is not None


@contextmanager
def open_journal(path: Path | None = None) -> Iterator[Journal]:
    """Open a journal, or make one; without a path it lives in memory.

    Only one process at a time works with a file: two would pay for the same requests. A file that holds nothing at the
    end is removed.

    Raises:
        RedpencilError: if another process has it open, it is no journal, or it cannot be read or written.
    """
    if path is None:
        with _connected(":memory:", None) as connection:
            yield Journal(connection)
        return
    with _locked(path) as place:
        existed, useless = place.exists(), False
        try:
            with _connected(str(place), path) as connection:
                journal = Journal(connection)
                try:
                    yield journal
                except BaseException as error:
                    # Where no request could succeed, those under way did not either.
                    hopeless = isinstance(error, RedpencilError) and not existed
                    with suppress(sqlite3.Error):
                        useless = journal.is_empty(but_for_questions=hopeless)
                    raise
                useless = journal.is_empty()
        finally:
            if useless:
                place.unlink(missing_ok=True)
                _lock_of(place).unlink(missing_ok=True)  # while it is held: who comes next makes one of their own


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Keep other processes away from a journal, whatever name they have for it; yields its place behind all links."""
    if path.is_dir():
        raise RedpencilError("a folder stands where the journal should be", file=path, hint="choose another file")
    place = Path(os.path.realpath(path))
    lock = FileLock(_lock_of(place), timeout=0)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            _lock_of(place).touch()  # where no file can be made, this says why
            raise RedpencilError(
                "another process is working with this journal",
                file=path,
                hint="wait until it has ended, or choose another --journal",
            ) from None
    except OSError as error:
        raise RedpencilError(
            f"cannot open the journal ({error.strerror})", file=path, hint="choose another --journal"
        ) from None
    try:
        yield place
    finally:
        lock.release()


def _lock_of(place: Path) -> Path:
    return place.with_name(place.name + ".lock")


@contextmanager
def _connected(place: str, file: Path | None) -> Iterator[sqlite3.Connection]:
    connection = None
    try:
        connection = sqlite3.connect(place, isolation_level=None)
        _check(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        yield connection
    except sqlite3.Error as error:
        raise RedpencilError(
            f"the journal cannot be used ({error})",
            file=file,
            hint="choose another --journal; if the disk is full, make room and run the command again",
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
            f"a journal of version {version}, this redpencil knows version {_VERSION}",
            file=file,
            hint="use the redpencil that wrote it, or choose another --journal",
        )
    if application != _APPLICATION_ID and (tables or application):
        raise RedpencilError("a database, but no journal of redpencil", file=file, hint="choose another --journal")


def ask_missing(journal: Journal, provider: Provider, requests: Iterable[Request], asked: set[str]) -> Iterator[Result]:
    """Ask what the journal does not hold, each request once, and yield every result after it is on disk.

    `asked` holds the keys that were asked before, and is added to: a request that failed is not tried again with the
    same set.
    """
    model = provider.name

    def missing() -> Iterator[Request]:
        for request in requests:
            if request.key not in asked and journal.find(request.key) is None:
                asked.add(request.key)
                failed_before = journal.problem(request.key) is not None
                journal.ask(request.key, model)
                yield replace(request, failed_before=failed_before)

    for request, result in provider.answer(missing()):
        journal.record(request.key, model, result)
        yield result


NEVER_ASKED: Final = "never asked"
"""The problem of a row about which nobody was asked yet."""

Answers = Iterable[tuple[Request, Completion | None]]
"""Requests with what the journal has for an answer. One that only another's answer can call for comes after that."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens of answers that were asked for one by one, and of those that came in batches."""

    live: Usage
    batch: Usage


def ask_due(
    due: Callable[[], Iterable[Request]],
    provider: Provider,
    journal: Journal,
    asked: set[str],
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Ask for what is due and yield each result after the journal has it.

    What an earlier run asked without success comes last, so that it never keeps others from being asked; for that
    `due` is gone through twice. Nothing more is sent once `enough` says so. What failed is not asked again while the
    set `asked` is the same.

    Raises:
        RedpencilError: as `due`, or where no request can succeed.
    """

    def in_turn() -> Iterator[Request]:
        left_for_later = False
        for request in due():
            if journal.problem(request.key) is None:
                yield request
            else:
                left_for_later = True
        if left_for_later:
            yield from due()

    return ask_missing(journal, provider, takewhile(lambda _: not enough(), in_turn()), asked)


def unanswered(answers: Answers) -> Iterator[Request]:
    """The requests without an answer."""
    return (request for request, completion in answers if completion is None)


def spent(answers: Answers, journal: Journal) -> Spent:
    """Tokens that the answers cost, each answer counted once."""
    seen: set[str] = set()
    tokens: Counter[tuple[bool, str]] = Counter()
    for request, completion in answers:
        if completion is not None and completion.usage is not None and request.key not in seen:
            seen.add(request.key)
            batch = journal.of_batch(request.key)
            tokens[batch, "input"] += completion.usage.input_tokens
            tokens[batch, "output"] += completion.usage.output_tokens
    live, batched = (Usage(tokens[batch, "input"], tokens[batch, "output"]) for batch in (False, True))
    return Spent(live, batched)


def foreign_keys(keys: Iterable[str], answers: Answers) -> set[str]:
    """Those of the keys that belong to none of the requests."""
    return set(keys).difference(request.key for request, _ in answers)
