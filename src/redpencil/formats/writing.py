"""Export of records to the formats that other tools read, as a stream; the file appears only when it is complete.

Records that a format cannot hold are counted by reason and listed in `<out>.skipped.jsonl`, each as
`{"reason": ..., "record": ...}`.

Parquet has one column a field, of a fixed type: `meta` is one JSON text, enums are text, token ids and flags are lists.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, get_type_hints

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats.base import Row, Unfit, no_correction
from redpencil.formats.conversations import messages_in, render
from redpencil.formats.datasets import library
from redpencil.formats.figa import Cutter, Weights, figa_row
from redpencil.formats.values import meta_text
from redpencil.records import Comparison, Edit, Example, Meta, Pair, Preference, Prompt, Record, Response, to_row
from redpencil.text import check_text, json_line

KINDS: tuple[type[Record], ...] = (Edit, Comparison, Prompt, Example, Response)


def trl_row(record: Record) -> Row | Unfit:
    """Turn a record into a row of texts, or say why not: nothing was corrected, or neither side won."""
    own: Row = {}
    texts: Row = {}
    unfit: Unfit | None = None
    if isinstance(record, Edit):
        own = {"editor": record.editor, "outcome": str(record.outcome)}
        texts = {"chosen": record.edited, "rejected": record.original}
        unfit = no_correction(record)
    elif isinstance(record, Comparison):
        own = {"annotator": record.annotator, "preference": str(record.preference)}
        sides = (record.first, record.second)
        chosen, rejected = sides if record.preference is Preference.FIRST else reversed(sides)
        texts = {"chosen": chosen, "rejected": rejected}
        same = Unfit("both sides the same") if record.first == record.second else None
        unwon = {Preference.TIE: Unfit("tie"), Preference.NONE: Unfit("no verdict")}
        unfit = unwon.get(record.preference, same)
    elif isinstance(record, Response | Example):
        own = {"model": record.model, "finished": record.finished} if isinstance(record, Response) else {}
        texts = {"completion": record.response}
    elif not isinstance(record, Prompt):
        raise RedpencilError("TRL has no type for token pairs", hint="export edits or comparisons")
    row = {"id": record.id, "prompt": record.prompt, **texts, **own, "meta": meta_text(record.meta)}
    return row if unfit is None else unfit


def conversational_row(record: Record) -> Row | Unfit:
    """Turn a record into a row as `trl_row` does, with messages instead of texts.

    The prompt is the conversation in `meta["messages"]` if that has only roles and texts and renders as the record's
    prompt; else it is one message of the user.
    """
    row = trl_row(record)
    if isinstance(row, Unfit):
        return row
    row["prompt"] = _conversation(record.meta, row["prompt"])
    for column in row.keys() & {"chosen", "rejected", "completion"}:
        row[column] = [{"role": "assistant", "content": row[column]}]
    return row


def _conversation(meta: Meta, prompt: str) -> list[dict[str, str]]:
    kept = meta.get("messages")
    with suppress(RedpencilError):  # it need not be a conversation
        messages = [{"role": one["role"], "content": one["content"]} for one in messages_in(kept, "messages")]
        # With names, tool calls or images it would not load as a column of one type, nor survive the way back.
        if messages == kept and all(isinstance(one["content"], str) for one in messages) and render(messages) == prompt:
            return messages
    return [{"role": "user", "content": prompt}]


GROUP_ROWS: Final = 2_000
"""The largest number of rows in a row group."""
GROUP_BYTES: Final = 16 << 20
"""The approximate size at which a row group is closed, so that memory stays small with large texts too."""


def parquet_row(record: Record) -> Row:
    """Turn a record into a row for Parquet."""
    return {**to_row(record), "meta": meta_text(record.meta)}


@contextmanager
def parquet_rows(out: BinaryIO, kind: type[Record]) -> Iterator[Callable[[Row], object]]:
    """Open a Parquet file for records of `kind`; the value of the block is a function that adds a row.

    Raises:
        RedpencilError: if pyarrow is missing, a text holds half of a surrogate pair, or a number more than 64 bits.
    """
    arrow, parquet = library("pyarrow", "Parquet"), library("pyarrow.parquet", "Parquet")
    schema = _schema(kind, arrow)
    held: list[Row] = []
    size = 0

    def add(row: Row) -> None:
        nonlocal size
        held.append(row)
        size += _bytes(row)
        if len(held) == GROUP_ROWS or size >= GROUP_BYTES:
            close_group()

    def close_group() -> None:
        nonlocal size
        try:
            batch = arrow.RecordBatch.from_pylist(held, schema=schema)
        except UnicodeEncodeError:
            for row in held:
                check_text(row)
            raise
        except (OverflowError, arrow.ArrowInvalid):
            for row in held:
                _check_numbers(row)
            raise
        writer.write_batch(batch)
        held.clear()
        size = 0

    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        yield add
        if held:
            close_group()


def _schema(kind: type[Record], arrow: Any) -> Any:
    types = {
        bool: arrow.bool_(),
        tuple[int, ...]: arrow.list_(arrow.int64()),
        tuple[bool, ...]: arrow.list_(arrow.bool_()),
        tuple[tuple[int, int], ...]: arrow.list_(arrow.list_(arrow.int64())),
    }
    hints = get_type_hints(kind)
    return arrow.schema([arrow.field(f.name, types.get(hints[f.name], arrow.string())) for f in fields(kind)])


def _check_numbers(row: Row) -> None:
    """Refuse numbers that 64 bits cannot hold."""
    for name, value in row.items():
        items = value if isinstance(value, tuple | list) else ()
        numbers = [part for item in items for part in (item if isinstance(item, tuple | list) else (item,))]
        if any(not -(2**63) <= number < 2**63 for number in numbers):
            raise RedpencilError(
                f"a number of more than 64 bits in the row with the id {row.get('id')!a}",
                field=name,
                hint="correct the row, or export to redpencil",
            )


def _bytes(row: Row) -> int:
    """Estimate the size of a row: characters of its texts, eight bytes for each number of its lists."""
    return sum(len(value) * (1 if isinstance(value, str) else 8) for value in row.values() if hasattr(value, "__len__"))


class Format(enum.StrEnum):
    """The formats that can be written."""

    REDPENCIL = "redpencil"
    TRL = "trl"
    TRL_CONVERSATIONAL = "trl-conversational"
    FIGA = "figa"
    PARQUET = "parquet"


ALL_KINDS: Final[tuple[type[Record], ...]] = (*KINDS, Pair)
HOLDS: Final[Mapping[Format, tuple[type[Record], ...]]] = {
    Format.REDPENCIL: ALL_KINDS,
    Format.TRL: KINDS,
    Format.TRL_CONVERSATIONAL: KINDS,
    Format.FIGA: (Edit,),
    Format.PARQUET: ALL_KINDS,
}
"""The kinds of records that each format can hold."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of an export: `rows` are in the file, the others are counted by reason."""

    rows: int
    skipped: Counter[str]
    skipped_file: Path | None


def skipped_file(out: Path) -> Path:
    """Return the path of the list of skipped rows or records."""
    return out.with_name(out.name + ".skipped.jsonl")


def check_format(format_: Format, kind: type[Record]) -> None:
    """Refuse a kind of record that the format cannot hold.

    Raises:
        RedpencilError: naming the formats that can.
    """
    if kind not in HOLDS[format_]:
        fit = ", ".join(name for name, kinds in HOLDS.items() if kind in kinds)
        raise RedpencilError(f"the format {format_} holds no {kind.__name__} rows", hint=f"use one of: {fit}")


def export(
    records: Iterable[Record],
    kind: type[Record],
    format_: Format,
    out: Path,
    *,
    weights: Weights | None = None,
    cutter: Cutter | None = None,
) -> Written:
    """Write records of one kind to `out`, and those that the format cannot hold to the list of skipped ones.

    Both files appear only when everything is written; an error leaves the previous files. If nothing is skipped, a list
    from an earlier export is removed.

    Args:
        records: read once.
        kind: the kind of all records.
        format_: the format to write.
        out: the file.
        weights: the weights of FIGA; None means its defaults.
        cutter: the tokenizer of FIGA; None writes weights of words.

    Raises:
        RedpencilError: if the format cannot hold the kind or any of the records, a file cannot be written, or a text
            holds half of a surrogate pair.
    """
    check_format(format_, kind)
    row_of = _ROW_OF.get(format_) or partial(_figa_row, weights=weights or Weights(), cutter=cutter)
    side = skipped_file(out)
    rows, skipped = 0, Counter[str]()
    with ExitStack() as files:
        add = files.enter_context(_rows_of(format_, kind, files.enter_context(whole_file(out))))
        listed: BinaryIO | None = None
        for record in records:
            row = row_of(record)
            if not isinstance(row, Unfit):
                add(row)
                rows += 1
                continue
            if listed is None:
                listed = files.enter_context(whole_file(side))
            listed.write(json_line({"reason": row.reason, "record": to_row(record)}))
            skipped[row.reason] += 1
        if skipped and not rows:
            reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
            raise RedpencilError(
                f"the format {format_} can hold none of the rows ({reasons})",
                hint="give rows with corrections or preferences, or export to redpencil or parquet",
            )
    if not skipped:
        side.unlink(missing_ok=True)
    return Written(rows, skipped, side if skipped else None)


_ROW_OF: Final[Mapping[Format, Callable[[Record], Row | Unfit]]] = {
    Format.REDPENCIL: to_row,
    Format.TRL: trl_row,
    Format.TRL_CONVERSATIONAL: conversational_row,
    Format.PARQUET: parquet_row,
}
"""The function that turns a record into a row, but for FIGA, which has options."""


def _figa_row(record: Record, weights: Weights, cutter: Cutter | None) -> Row | Unfit:
    assert isinstance(record, Edit)
    return figa_row(record, weights, cutter)


@contextmanager
def _rows_of(format_: Format, kind: type[Record], out: BinaryIO) -> Iterator[Callable[[Row], object]]:
    if format_ is Format.PARQUET:
        with parquet_rows(out, kind) as add:
            yield add
        return
    yield lambda row: out.write(json_line(row))
