"""Read rows of any format as a stream of records, and import them into a file, with every skipped row listed.

The list of an import is `<out>.skipped.jsonl`. Each line has `file`, `line` (null where the source has no lines),
`row_number`, `field`, `problem` and `row`. Where nothing is skipped, a list from an earlier import is removed.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.alignment.spacing import normalise_marked, normalise_spacing, restore_spacing
from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats.base import RECORDS, Draft, Format, Kind, Nothing, Values, expected
from redpencil.formats.columns import name_taken, renamed
from redpencil.formats.conversations import messages_in, render
from redpencil.formats.labels import Labels, names_of_columns
from redpencil.formats.prompt_template import with_prompt
from redpencil.formats.registry import FORMATS, check_columns, check_kind, check_renames, guess_format
from redpencil.formats.text_files import Place, Rows, Source, SourceRow
from redpencil.formats.values import meta_of, plain_row, safe_line
from redpencil.formats.writing import skipped_file
from redpencil.records import (
    TRUTH,
    Comparison,
    Edit,
    EditOutcome,
    Example,
    Preference,
    Prompt,
    Response,
    says_finished,
    write_records,
)
from redpencil.runs import Progress, no_progress

_STEP = 64

ImportedRecord = Prompt | Example | Response | Comparison | Edit


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that gave no record, or one record fewer: its place, the reason and its content."""

    place: Place
    problem: str
    field: str | None
    row: object


@dataclass(slots=True)
class Tally:
    """Counts of the rows so far.

    Args:
        kind: the kind that rows are read as; None before the first row.
        rows: rows read.
        records: records made of them.
        nothing: valid rows that hold nothing of the kind, by reason.
        bad: rows skipped because of a mistake in them.
        dropped: columns to leave out that a row had.
        labels: counts of the labels by their text and what they were read as.
        respaced: edits that got back white space of their originals.
        normalised: records that got plain white space.
        emptied: those of them that changed nothing else, which are now unchanged.
    """

    kind: Kind | None = None
    rows: int = 0
    records: int = 0
    nothing: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    dropped: set[str] = field(default_factory=set)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    respaced: int = 0
    normalised: int = 0
    emptied: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The request of an import.

    Args:
        format: the format of the rows.
        kind: the kind to read them as; None decides by the columns of the first row.
        columns: the row's own name of a column by the name that the format expects.
        drop: columns to leave out.
        on_error_skip: whether to skip a bad row instead of stopping.
        values: the meaning of labels, by `label_key`.
        own_ids: whether a column `id` holds the ids of the records.
        restore_spacing: whether the words that an edit kept get the white space of the original.
        normalise_spacing: whether all responses, originals and edits get plain white space first.
        prompt_template: how prompts are made of a row's columns, see `with_prompt`; None takes the format's.
    """

    format: Format
    kind: Kind | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    on_error_skip: bool = False
    values: Mapping[str, Preference] = field(default_factory=dict)
    own_ids: bool = True
    restore_spacing: bool = True
    normalise_spacing: bool = False
    prompt_template: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of an import. `kind` is what the rows were read as, `nothing` counts valid rows without a record.

    `undropped` are columns to leave out that no row had; `labels` says what labels were read as, by their text;
    `respaced`, `normalised` and `emptied` are those of the `Tally`.
    """

    kind: Kind
    rows: int
    records: int
    nothing: dict[str, int]
    bad: int
    skipped_file: Path | None
    undropped: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    respaced: int = 0
    normalised: int = 0
    emptied: int = 0


def import_rows(
    source: Source, wanted: Wanted, out: Path, *, limit: int | None = None, progress: Progress = no_progress
) -> Imported:
    """Read a source and write its records to `out` as JSONL.

    Args:
        source: an open source.
        wanted: the request.
        out: the file, which appears only when everything is written.
        limit: the largest number of records; the rows after them are not read.
        progress: called with kB or rows done and in total, and the number of records.

    Raises:
        RedpencilError: as `read_records`; and if no row gives a record, in which case only the list is written.
    """
    tally = Tally()
    side = skipped_file(out)
    with ExitStack() as files:
        listing: list[BinaryIO] = []

        def skipped(row: Skipped) -> None:
            if not listing:
                listing.append(files.enter_context(whole_file(side)))
            listing[0].write((safe_line(_entry(row)) + "\n").encode("utf-8"))

        records = read_records(source, wanted, tally, skipped, limit)
        first = next(records, None)
        if first is not None:
            with whole_file(out) as file:
                write_records(file, _watched(chain([first], records), source, tally, progress), out)
                if listing:
                    listing[0].flush()  # what finds no room for its list must not replace the file
    if not listing:
        side.unlink(missing_ok=True)
    if first is None or tally.kind is None:
        reasons = {"bad rows": tally.bad, **tally.nothing}
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        raise RedpencilError(
            f"no row gives a record ({counted})", file=source.file, hint=f"see why in {side}, or try another --as"
        )
    listed, undropped = side if listing else None, tuple(sorted(wanted.drop - tally.dropped))
    return Imported(
        tally.kind,
        tally.rows,
        tally.records,
        dict(tally.nothing),
        tally.bad,
        listed,
        undropped,
        labels=dict(tally.labels.keys()),
        respaced=tally.respaced,
        normalised=tally.normalised,
        emptied=tally.emptied,
    )


def _entry(row: Skipped) -> dict[str, object]:
    place = {"file": row.place.file, "line": row.place.line, "row_number": row.place.row}
    return {**place, "field": row.field, "problem": row.problem, "row": row.row}


def _watched(
    records: Iterator[ImportedRecord], source: Source, tally: Tally, progress: Progress
) -> Iterator[ImportedRecord]:
    for record in records:
        if tally.records % _STEP == 0:
            progress(*source.position(), f"{tally.records} {tally.kind}")
        yield record


def guess_source(
    source: Source, kind: Kind | None, columns: Mapping[str, str], drop: frozenset[str]
) -> tuple[Format, Source]:
    """Guess the format of a source by its first row, as `guess_format` does. The source may be read on.

    Raises:
        RedpencilError: as `guess_format`; if there is no row, or the first one cannot be read.
    """
    first = next(source.rows, None)
    if first is None:
        raise RedpencilError("it has no rows", file=source.file, hint="give a file with rows")
    if first.error is not None:
        raise first.error
    values = {column: value for column, value in first.values.items() if column not in drop}
    try:
        format_ = guess_format(plain_row(renamed(values, columns)), kind)
    except RedpencilError as error:
        raise first.place.locate(error) from None

    def rows() -> Rows:
        yield first
        yield from source.rows

    return format_, replace(source, rows=rows())


def read_records(
    source: Source, wanted: Wanted, tally: Tally, skipped: Callable[[Skipped], None], limit: int | None = None
) -> Iterator[ImportedRecord]:
    """Read the records of a source.

    A row's id is its own (column `id`, text or a whole number), else made of its prompt: rows with one prompt have one
    id in every file, with a number after it from the second on. Several records of one row get different endings. An
    own id that occurs twice is a mistake of the second row.

    Args:
        source: an open source.
        wanted: the request.
        tally: updated while the records are read.
        skipped: called with each row that gives nothing.
        limit: the largest number of records; the rows after them are not read.

    Raises:
        RedpencilError: naming file, line or row, and field, at the first bad row unless such rows are to be skipped;
            for a source that is damaged or empty; after the last record, if labels may mean several things; and as
            `check_kind` and `check_renames`.
    """
    if wanted.kind is not None:
        check_kind(wanted.format, wanted.kind)
    check_renames(wanted.format, wanted.columns)
    tally.kind = wanted.kind
    labels, ids = _labels(wanted, tally), _Ids()
    for row in source.rows:
        tally.rows += 1
        try:
            records, reasons = _records_of(row, wanted, tally, labels, ids)
        except RedpencilError as error:
            if not wanted.on_error_skip:
                raise
            tally.bad += 1
            content = row.values if row.error is None else row.raw
            skipped(Skipped(row.place, error.problem, error.field, content))
            continue
        for reason in reasons:
            tally.nothing[reason] += 1
            skipped(Skipped(row.place, reason, None, row.values))
        for record in records[: None if limit is None else limit - tally.records]:
            tally.records += 1
            plain = _normalised(record, tally) if wanted.normalise_spacing else record
            yield _respaced(plain, tally) if wanted.restore_spacing and isinstance(plain, Edit) else plain
        if tally.records == limit:
            break
    if labels is not None:
        labels.check(source.file)
    if tally.rows == 0:
        raise RedpencilError("it has no rows", file=source.file, hint="give a file with rows")


def _labels(wanted: Wanted, tally: Tally) -> Labels | None:
    label = wanted.format.label
    if label is None:
        if wanted.values:
            with_labels = ", ".join(name for name, format_ in FORMATS.items() if format_.label is not None)
            raise RedpencilError(
                f"the format {wanted.format.name} has no column of labels whose values could have another meaning",
                field="--value",
                hint=f"leave --value out, or choose one of the formats {with_labels}",
            )
        return None
    names = names_of_columns(*(wanted.columns.get(side, side) for side in ("first", "second")))
    return Labels(label, wanted.values, names, read=tally.labels)


def _records_of(
    row: SourceRow, wanted: Wanted, tally: Tally, labels: Labels | None, ids: "_Ids"
) -> tuple[list[ImportedRecord], list[str]]:
    """The records of a row, and the reasons why it gives none or fewer."""
    if row.error is not None:
        raise row.error
    try:
        tally.dropped |= wanted.drop & row.values.keys()
        values = {column: value for column, value in row.values.items() if column not in wanted.drop}
        values = plain_row(renamed(values, wanted.columns))
        tally.kind = tally.kind or wanted.format.natural_kind(values)
        check_columns(values, wanted.format, tally.kind, asked=wanted.kind is not None)
        if labels is not None and tally.kind in labels.label.kinds:
            values = labels.translated(values)
        own = _own_id(values) if wanted.own_ids else None
        drafts = list(wanted.format.readers[tally.kind].read(values))
        if wanted.prompt_template is not None:
            template = wanted.prompt_template
            drafts = [with_prompt(one, values, template) if isinstance(one, Draft) else one for one in drafts]
        made = [draft for draft in drafts if isinstance(draft, Draft)]
        base = own if own is not None or not made else ids.of_prompt(made[0], row.place)
        records = [_record(draft, values, tally.kind, base or "") for draft in made]
        if own is not None:
            ids.claim([record.id for record in records], row.place)
    except RedpencilError as error:
        raise row.place.locate(error) from None
    return records, [draft.reason for draft in drafts if isinstance(draft, Nothing)]


def _respaced(edit: Edit, tally: Tally) -> Edit:
    """Give the words that an edit kept the white space of the original, and count it."""
    text = restore_spacing(edit.original, edit.edited) if edit.outcome is EditOutcome.EDITED else edit.edited
    if text == edit.edited:
        return edit
    tally.respaced += 1
    if text != edit.original:
        return replace(edit, edited=text)
    tally.emptied += 1
    return replace(edit, edited=text, outcome=EditOutcome.UNCHANGED)


def _normalised(record: ImportedRecord, tally: Tally) -> ImportedRecord:
    """Give all texts of a record but its prompt plain white space, and count it."""
    plain = record
    if isinstance(record, Edit):
        original, meta = normalise_marked(record.original, record.meta)
        edited = normalise_spacing(record.edited)
        same = record.outcome is EditOutcome.EDITED and edited == original
        tally.emptied += same
        outcome = EditOutcome.UNCHANGED if same else record.outcome
        plain = replace(record, original=original, edited=edited, outcome=outcome, meta=meta)
    elif isinstance(record, Comparison):
        plain = replace(record, first=normalise_spacing(record.first), second=normalise_spacing(record.second))
    elif isinstance(record, Response | Example):
        response, meta = normalise_marked(record.response, record.meta)
        plain = replace(record, response=response, meta=meta)
    tally.normalised += plain != record
    return plain


def _own_id(row: Values) -> str | None:
    value = row.get("id")
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():  # how tables write numbers where some are missing
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise expected("an id, text or a whole number", value, "id")
    return str(value)


_OPTIONAL: Final = {
    kind: tuple(f.name for f in fields(record) if f.default is not MISSING) for kind, record in RECORDS.items()
}
"""The fields that a record can do without, besides `meta`."""

_OUTCOMES: Final = {str(one): one for one in EditOutcome}


def _record(draft: Draft, row: Values, kind: Kind, base: str) -> ImportedRecord:
    """Make the record of a draft: columns named like optional fields fill these, all others go to `meta`."""
    content = dict(draft.fields)
    rest = {column: value for column, value in row.items() if column not in draft.used and column != "id"}
    for name in _OPTIONAL[kind]:
        if name in content:
            continue
        good, value = _optional(name, rest.get(name))
        if good:
            del rest[name]
            content[name] = value
        elif name in draft.defaults:
            content[name] = draft.defaults[name]
    content["id"] = f"{base}-{draft.suffix}" if draft.suffix else base
    content["meta"] = _meta(rest, draft)
    record: ImportedRecord = RECORDS[kind](**content)
    return _with_end(record, draft.side) if draft.side else record


def _with_end(record: ImportedRecord, side: str) -> ImportedRecord:
    """Let a record be unfinished if the side of a pair that it was made of is, and say no more of the pair's ends."""
    ends = {name: says_finished(record, name) for name in ("first_finished", "second_finished")}
    meta = {name: value for name, value in record.meta.items() if name not in ends}
    if ends[f"{side}_finished"]:
        return replace(record, meta=meta)
    if isinstance(record, Response):
        return replace(record, finished=False, meta=meta)
    return replace(record, meta={**meta, "finished": False})


def _optional(name: str, value: object) -> tuple[bool, object]:
    """Return whether a value suits an optional field, and its meaning there.

    Raises:
        RedpencilError: if it does not say whether a response is finished: by default it is, which would be a guess.
    """
    if name == "finished":
        if value in (None, ""):
            return False, None
        finished = TRUTH.get(str(value).strip().lower())
        if finished is None:
            raise expected("true, or false where the response was cut off", value, name)
        return True, finished
    if name == "outcome":
        meant = _OUTCOMES.get(value) if isinstance(value, str) else None
        return meant is not None, meant
    return isinstance(value, str), value


def _meta(rest: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Merge columns that no field holds, the content of a column `meta` and the additions of the format.

    A column of messages that are not the prompt's, such as a whole conversation beside its prompt, gets another name:
    chat templates are filled from `meta["messages"]`.
    """
    inner: dict[str, Any] = {}
    if "meta" in rest:
        parsed = meta_of(rest["meta"])
        if parsed is not None:
            inner = parsed
            del rest["meta"]
    for key in rest.keys() & inner.keys():
        raise RedpencilError("the key is both in the row and in its meta", field=key, hint="rename one of the two")
    meta = {**inner, **rest}
    moved = [key for key, value in draft.meta.items() if key in meta and meta[key] != value]
    if "messages" in rest and "messages" not in draft.meta and not _of_prompt(rest["messages"], draft.fields["prompt"]):
        moved.append("messages")
    for key in moved:
        if f"{key}_column" in meta:
            raise name_taken(key)
        meta[f"{key}_column"] = meta.pop(key)
    return {**meta, **draft.meta}


def _of_prompt(messages: object, prompt: str) -> bool:
    """Return whether messages are those of a prompt."""
    try:
        return isinstance(messages, list) and render(messages_in(messages, "messages")) == prompt
    except RedpencilError:
        return False


class _Ids:
    """The ids so far, as a hash and a line or row each, so that memory stays small with long ids too."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.repeats: dict[int, int] = {}

    def of_prompt(self, draft: Draft, place: Place) -> str:
        """Make an id of a record's prompt, and of the messages that its text may not tell apart."""
        messages, content = draft.meta.get("messages"), draft.fields["prompt"]
        if messages is not None:
            content += "\0" + json.dumps(messages, ensure_ascii=False, sort_keys=True)
        number = _hashed(content)
        made = one = f"p{number:016x}"
        repeat = self.repeats.get(number, 1)
        while _hashed(one) in self.seen:
            repeat += 1
            one = f"{made}-{repeat}"
        if one != made:
            self.repeats[number] = repeat
        self.claim([one], place)
        return one

    def claim(self, ids: list[str], place: Place) -> None:
        """Remember ids, each of which should be a new one."""
        for one in ids:
            hashed = _hashed(one)
            if hashed in self.seen:
                unit = "row" if place.line is None else "line"
                raise RedpencilError(
                    f"the id {one!r} is already on {unit} {self.seen[hashed]}",
                    field="id",
                    hint="give each row an id of its own, or leave the column out with `--drop id`",
                )
            self.seen[hashed] = place.row if place.line is None else place.line


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
