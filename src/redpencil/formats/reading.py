"""Reads rows of any format as records: a stream, with every row that gives none accounted for."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.formats.base import RECORDS, Draft, Format, Kind, Nothing, Values, expected
from redpencil.formats.columns import in_the_way, renamed
from redpencil.formats.registry import check_columns, check_kind, check_renames
from redpencil.formats.rows import meta_of
from redpencil.formats.text_files import Place, Source, SourceRow
from redpencil.formats.values import plain_row
from redpencil.records import Comparison, Edit, EditOutcome, Example, Prompt, Response

Found = Prompt | Example | Response | Comparison | Edit


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that gave no record, or one record less: where, why and what was there."""

    place: Place
    problem: str
    field: str | None
    row: object


@dataclass(slots=True)
class Tally:
    """What became of the rows so far.

    Args:
        kind: what the rows are read as; None until the first one is seen.
        rows: rows that were read.
        records: records that they gave.
        nothing: sound rows that hold nothing of the kind, by reason.
        bad: rows that were passed over because of a mistake in them.
        dropped: columns to leave out that a row had.
    """

    kind: Kind | None = None
    rows: int = 0
    records: int = 0
    nothing: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    dropped: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How rows are to be read.

    Args:
        format: what they are.
        kind: what to read them as; None leaves it to the first row's columns.
        columns: from the name that the format expects to the row's own.
        drop: columns to leave out.
        on_error_skip: whether a bad row is passed over instead of ending the work.
    """

    format: Format
    kind: Kind | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    on_error_skip: bool = False


def read_records(source: Source, wanted: Wanted, tally: Tally, skipped: Callable[[Skipped], None]) -> Iterator[Found]:
    """The records of a source.

    A row's id is its own (column `id`, text or a whole number), else the source's name and the row's number. Where one
    row gives several records, they are told apart by an ending. An id that occurs twice is a mistake of the second row.

    Args:
        source: an open source.
        wanted: how to read it.
        tally: counts on while the records are drawn.
        skipped: called with each row that gives nothing.

    Raises:
        RedpencilError: naming file, line or row, and field, at the first bad row unless these are to be passed over;
            for a source that is damaged or empty; and as `check_kind` and `check_renames`.
    """
    if wanted.kind is not None:
        check_kind(wanted.format, wanted.kind)
    check_renames(wanted.format, wanted.columns)
    tally.kind = wanted.kind
    ids = _Ids()
    for row in source.rows:
        tally.rows += 1
        try:
            found, reasons = _records_of(row, wanted, tally, source.name, ids)
        except RedpencilError as error:
            if not wanted.on_error_skip:
                raise
            tally.bad += 1
            given = row.values if row.error is None else row.raw
            skipped(Skipped(row.place, error.problem, error.field, given))
            continue
        for reason in reasons:
            tally.nothing[reason] += 1
            skipped(Skipped(row.place, reason, None, row.values))
        for record in found:
            tally.records += 1
            yield record
    if tally.rows == 0:
        raise RedpencilError("there is no row in it", file=source.file, hint="give a file with rows")


def _records_of(row: SourceRow, wanted: Wanted, tally: Tally, name: str, ids: "_Ids") -> tuple[list[Found], list[str]]:
    if row.error is not None:
        raise row.error
    try:
        tally.dropped |= wanted.drop & row.values.keys()
        values = {column: value for column, value in row.values.items() if column not in wanted.drop}
        values = plain_row(renamed(values, wanted.columns))
        tally.kind = tally.kind or wanted.format.natural_kind(values)
        check_columns(values, wanted.format, tally.kind, asked=wanted.kind is not None)
        own = _own_id(values)
        drafts = list(wanted.format.readers[tally.kind].read(values))
        base = own if own is not None else f"{name}-{row.place.row}"
        records = [_record(draft, values, tally.kind, base) for draft in drafts if isinstance(draft, Draft)]
        ids.claim([record.id for record in records], row.place)
    except RedpencilError as error:
        raise row.place.locate(error) from None
    return records, [draft.reason for draft in drafts if isinstance(draft, Nothing)]


def _own_id(row: Values) -> str | None:
    value = row.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():  # how tables write numbers where some are missing
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise expected("an id, text or a whole number", value, "id")
    return str(value)


_OPTIONAL: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.PROMPTS: (),
    Kind.EXAMPLES: (),
    Kind.RESPONSES: ("model", "finished"),
    Kind.COMPARISONS: ("annotator",),
    Kind.EDITS: ("editor", "outcome"),
}
_OUTCOMES: Final = {str(one): one for one in EditOutcome}
_TRUTH: Final = {"true": True, "false": False}


def _record(draft: Draft, row: Values, kind: Kind, base: str) -> Found:
    """The record of a draft: columns named as optional fields fill these, all other columns go to `meta`."""
    fields = dict(draft.fields)
    rest = {column: value for column, value in row.items() if column not in draft.used and column != "id"}
    for name in _OPTIONAL[kind]:
        if name in fields:
            continue
        good, value = _optional(name, rest.get(name))
        if good:
            del rest[name]
            fields[name] = value
        elif name in draft.defaults:
            fields[name] = draft.defaults[name]
    fields["id"] = f"{base}-{draft.suffix}" if draft.suffix else base
    fields["meta"] = _meta(rest, draft.meta)
    record: Found = RECORDS[kind](**fields)
    return record


def _optional(name: str, value: object) -> tuple[bool, object]:
    """Whether a value is good for an optional field, and what it means there."""
    if name == "finished":
        meant = _TRUTH.get(value.strip().lower()) if isinstance(value, str) else value
        return isinstance(meant, bool), meant
    if name == "outcome":
        meant = _OUTCOMES.get(value) if isinstance(value, str) else None
        return meant is not None, meant
    return isinstance(value, str), value


def _meta(rest: dict[str, Any], added: Values) -> dict[str, Any]:
    """Columns that no field holds, those of a column `meta` (an object or its JSON text), and what the format adds."""
    inner: dict[str, Any] = {}
    if "meta" in rest:
        found = meta_of(rest["meta"])
        if found is not None:
            inner = found
            del rest["meta"]
    for key in rest.keys() & inner.keys():
        raise RedpencilError("the key stands both in the row and in its meta", field=key, hint="rename one of the two")
    meta = {**inner, **rest}
    for key, value in added.items():
        if key in meta and meta[key] != value:
            if f"{key}_column" in meta:
                raise in_the_way(key)
            meta[f"{key}_column"] = meta.pop(key)
    return {**meta, **added}


class _Ids:
    """Which ids have occurred: a hash and a line or row each, so that memory stays small with long ids too."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def claim(self, ids: list[str], place: Place) -> None:
        for one in ids:
            hashed = int.from_bytes(hashlib.blake2b(one.encode(), digest_size=8).digest())
            if hashed in self.seen:
                unit = "row" if place.line is None else "line"
                raise RedpencilError(
                    f"the id {one!r} stands on {unit} {self.seen[hashed]} already",
                    field="id",
                    hint="give each row an id of its own, or leave the column out with `--drop id`",
                )
            self.seen[hashed] = place.row if place.line is None else place.line
