"""Rows whose columns are named as the fields of a record: our own files, and anyone's once columns are renamed.

`redpencil` is strict, as our own files should be. `columns` is for other data: prompts may also be lists of messages,
preferences also numbers as in AlpacaEval, and an optional column that is no good for its field is kept in `meta`.
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
    Nothing,
    Read,
    Reader,
    Values,
    one_or_two,
    text,
)
from redpencil.formats.conversations import messages_in, prompt_of
from redpencil.formats.figa import edit_of_row
from redpencil.formats.rows import read_meta
from redpencil.records import Edit, Preference, parse_record

_NEEDS = {
    kind: tuple(f.name for f in fields(record) if f.default is MISSING and f.default_factory is MISSING)[1:]
    for kind, record in RECORDS.items()
}
FIELDS = (
    *dict.fromkeys(f.name for record in RECORDS.values() for f in fields(record)),
    *("input", "instruction", "spans", "messages"),
)
"""Names that mean something: fields of records, and what other commands read from `meta`."""
_PREFERENCES = {str(one): one for one in Preference}
"""`none` too, which is no verdict."""
_NATURAL = (
    *((_NEEDS[kind], kind) for kind in (Kind.EDITS, Kind.COMPARISONS, Kind.RESPONSES)),
    ((), Kind.PROMPTS),
)


def renamed(row: Values, columns: Mapping[str, str]) -> dict[str, Any]:
    """A row with columns under the names that a format expects; what stood there before gets `_column` at its end.

    Args:
        row: a row.
        columns: from the expected name to the row's own.

    Raises:
        RedpencilError: if the row lacks a column, or has one already with that ending.
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
            raise in_the_way(name)
    kept = {f"{name}_column" if name in columns else name: row[name] for name in row if name not in moved}
    return {**kept, **{name: row[own] for name, own in columns.items()}}


def in_the_way(name: str) -> RedpencilError:
    """The error of a column that should get `_column` at its end where there is such a one."""
    return RedpencilError(
        f"the column {name} cannot be kept as {name}_column, for there is such a column",
        field=name,
        hint=f"leave one of the two out with `--drop {name}` or `--drop {name}_column`, or rename it",
    )


def listed(columns: Values) -> str:
    """The names of columns as a text."""
    return ", ".join(columns) or "none"


def _named(kind: Kind) -> Read:
    def read(row: Values) -> Iterator[Draft | Nothing]:
        prompt = prompt_of(messages_in(row["prompt"], "prompt"), "prompt")
        found: dict[str, Any] = {"prompt": prompt.text}
        for name in _NEEDS[kind]:
            if name == "preference":
                preference = _preference(row)
                if preference is None:
                    yield Nothing(UNDECIDED)
                    return
                found[name] = preference
            elif name != "prompt":
                found[name] = text(row, name)
        yield Draft(found, frozenset(found), prompt.meta)

    return read


def _preference(row: Values) -> Preference | None:
    given = row["preference"]
    named = _PREFERENCES.get(given.strip().lower()) if isinstance(given, str) else None
    found = named or one_or_two(row, "preference")
    return None if found is Preference.NONE else found


def _strict(kind: Kind) -> Read:
    def read(row: Values) -> Iterator[Draft | Nothing]:
        found = parse_record({**row, "id": "", "meta": read_meta(row.get("meta"))}, RECORDS[kind])
        own = {f.name: getattr(found, f.name) for f in fields(found)}
        yield Draft(
            {name: own[name] for name in own if name not in ("id", "meta")}, frozenset(row) - {"id"}, own["meta"]
        )

    return read


def _figa(row: Values) -> Iterator[Draft | Nothing]:
    found = edit_of_row({**row, "id": ""})
    own = {f.name: getattr(found, f.name) for f in fields(Edit) if f.name not in ("id", "meta")}
    yield Draft(own, frozenset(row) - {"id"}, found.meta)


REDPENCIL = Format(
    "redpencil",
    "redpencil's own rows, from JSONL, Parquet or any other file",
    {kind: Reader((needs,), _strict(kind)) for kind, needs in _NEEDS.items()},
    _NATURAL,
)
COLUMNS = Format(
    "columns",
    "any rows with named columns: prompt, response, original, edited, ...; rename yours with --column",
    {kind: Reader((needs,), _named(kind)) for kind, needs in _NEEDS.items()},
    _NATURAL,
)
FIGA = Format(
    "figa",
    "FIGA token weights: instruction, input, original_output, revised_output",
    {Kind.EDITS: Reader((("instruction", "original_output", "revised_output"),), _figa)},
    natural=(((), Kind.EDITS),),
)
