"""Reading rows that a test makes by hand."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.base import Kind
from redpencil.formats.reading import Skipped, Tally, Wanted, read_records
from redpencil.formats.registry import FORMATS
from redpencil.formats.text_files import Place, Source, SourceRow


@dataclass(frozen=True)
class Outcome:
    records: list[Any]
    skipped: list[Skipped]
    tally: Tally


Read = Callable[..., Outcome]


def id_of(prompt: str, messages: Any = None) -> str:
    """The id of the first record with this prompt, in a source without ids."""
    content = prompt if messages is None else f"{prompt}\0{json.dumps(messages, ensure_ascii=False, sort_keys=True)}"
    return f"p{hashlib.blake2b(content.encode('utf-8'), digest_size=8).hexdigest()}"


@pytest.fixture
def made_id() -> Callable[[str], str]:
    """Gives the id that is made of a prompt."""
    return id_of


def read_rows(rows: Iterable[Any], name: str, kind: str | None = None, **options: Any) -> Outcome:
    placed = (SourceRow(Place("data.jsonl", number, number), row) for number, row in enumerate(rows, start=1))
    source = Source("data.jsonl", placed, lambda: (0, 0))
    wanted = Wanted(FORMATS[name], None if kind is None else Kind(kind), **options)
    tally, skipped = Tally(), list[Skipped]()
    return Outcome(list(read_records(source, wanted, tally, skipped.append)), skipped, tally)


@pytest.fixture
def read() -> Read:
    """Reads rows: `read(rows, format, kind, drop=..., columns=..., on_error_skip=...)`."""
    return read_rows


@pytest.fixture
def one(read: Read) -> Callable[..., Any]:
    """Reads one row that gives one record; an id that was made of its prompt becomes `made`."""

    def run(row: Any, name: str, kind: str | None = None, **options: Any) -> Any:
        (record,) = read([row], name, kind, **options).records
        return replace(record, id="made") if record.id == id_of(record.prompt, record.meta.get("messages")) else record

    return run


@pytest.fixture
def refused(read: Read) -> Callable[..., RedpencilError]:
    """Reads one row that must be refused, and returns the error."""

    def run(row: Any, name: str, kind: str | None = None, **options: Any) -> RedpencilError:
        with pytest.raises(RedpencilError) as caught:
            read([row], name, kind, **options)
        assert (caught.value.file, caught.value.line) == ("data.jsonl", 1)
        assert caught.value.hint
        return caught.value

    return run
