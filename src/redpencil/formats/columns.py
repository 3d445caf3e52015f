"""Rows whose columns are named like the fields of a record: redpencil's own files, and others once columns are renamed.

`redpencil` is strict. `columns` is for other data: prompts may also be lists of messages, preferences also labels of
other tools, and an optional column with a value that does not suit its field is kept in `meta`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.formats.base import (
    RECORDS,
    UNDECIDED,
    Draft,
    Format,
    Kind,
    Label,
    Nothing,
    Read,
    Reader,
    Values,
    text,
)
from redpencil.formats.conversations import prompt_in
from redpencil.formats.labels import preference_in
from redpencil.formats.values import read_meta
from redpencil.records import parse_record

NEEDS = {
    kind: tuple(f.name for f in fields(record) if f.default is MISSING and f.default_factory is MISSING)[1:]
    for kind, record in RECORDS.items()
}
"""The fields that a record of each kind cannot do without, but for its id."""
FIELDS = (
    *dict.fromkeys(f.name for record in RECORDS.values() for f in fields(record)),
    *("input", "instruction", "spans", "messages"),
)
"""Names with a meaning: fields of records, and keys that other commands read from `meta`."""
_NATURAL = (*((NEEDS[kind], kind) for kind in (Kind.EDITS, Kind.COMPARISONS, Kind.RESPONSES)), ((), Kind.PROMPTS))


def renamed(row: Values, columns: Mapping[str, str]) -> dict[str, Any]:
    """Rename columns to the names that a format expects; columns with such a name already get the ending `_column`.

    Args:
        row: a row.
        columns: the row's own name by the expected one.

    Raises:
        RedpencilError: if the row lacks a column, or has a column with that ending already.
    """
    for name, own in columns.items():
        if own not in row:
            raise RedpencilError(
                f"no such column; the row has {listed(row)}",
                field=own,
                hint=f"name one of them: `--column {name}=NAME`",
            )
    moved = set(columns.values())
    for name in columns:
        if name in row and name not in moved and f"{name}_column" in row.keys() - moved:
            raise name_taken(name)
    kept = {f"{name}_column" if name in columns else name: row[name] for name in row if name not in moved}
    return {**kept, **{name: row[own] for name, own in columns.items()}}


def name_taken(name: str) -> RedpencilError:
    """Return the error for a column that cannot get the ending `_column`, because there is such a column."""
    return RedpencilError(
        f"the column {name} cannot be kept as {name}_column, because that column exists",
        field=name,
        hint=f"leave one of the two out with `--drop {name}` or `--drop {name}_column`, or rename it",
    )


def listed(columns: Values) -> str:
    """Return the names of columns as a text."""
    return ", ".join(columns) or "none"


def _named(kind: Kind) -> Read:
    def read(row: Values) -> Iterator[Draft | Nothing]:
        prompt = prompt_in(row, "prompt")
        values: dict[str, Any] = {"prompt": prompt.text}
        others = [name for name in NEEDS[kind] if name != "prompt"]
        values |= {name: preference_in(row, name) if name == "preference" else text(row, name) for name in others}
        yield Nothing(UNDECIDED) if None in values.values() else Draft(values, frozenset(values), prompt.meta)

    return read


def _strict(kind: Kind) -> Read:
    def read(row: Values) -> Iterator[Draft | Nothing]:
        record = parse_record({**row, "id": "", "meta": read_meta(row.get("meta"))}, RECORDS[kind])
        own = {f.name: getattr(record, f.name) for f in fields(record)}
        yield Draft(
            {name: own[name] for name in own if name not in ("id", "meta")}, frozenset(row) - {"id"}, own["meta"]
        )

    return read


REDPENCIL = Format(
    "redpencil",
    "redpencil's own rows, from JSONL, Parquet or any other file",
    {kind: Reader((needs,), _strict(kind)) for kind, needs in NEEDS.items()},
    _NATURAL,
)
COLUMNS = Format(
    "columns",
    "any rows with named columns: prompt, response, original, edited, ...; rename yours with --column",
    {kind: Reader((needs,), _named(kind)) for kind, needs in NEEDS.items()},
    _NATURAL,
    Label("preference", (Kind.COMPARISONS,)),
)
