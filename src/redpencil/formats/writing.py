"""Writes records in the formats that other tools read: a stream, a file that appears whole, and no row lost unsaid.

What a format cannot hold is counted by its reason and listed in `<out>.skipped.jsonl`, each row as
`{"reason": ..., "record": ...}`.
"""

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats.conversations import messages_in, render
from redpencil.formats.figa import Cutter, Weights, figa_row
from redpencil.formats.parquet import parquet_row, parquet_rows
from redpencil.formats.rows import Row, Unfit, json_line, meta_text, no_correction
from redpencil.records import Comparison, Edit, Example, Meta, Pair, Preference, Prompt, Record, Response, to_row

KINDS: tuple[type[Record], ...] = (Edit, Comparison, Prompt, Example, Response)


def trl_row(record: Record) -> Row | Unfit:
    """A record as a row of texts, or why it is none: nothing was corrected, or nobody won."""
    if isinstance(record, Edit):
        own: Row = {"editor": record.editor, "outcome": str(record.outcome)}
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
    elif isinstance(record, Response):
        own = {"model": record.model, "finished": record.finished}
        texts, unfit = {"completion": record.response}, None
    elif isinstance(record, Example):
        own, texts, unfit = {}, {"completion": record.response}, None
    elif isinstance(record, Prompt):
        own, texts, unfit = {}, {}, None
    else:
        raise RedpencilError("TRL has no type for token pairs", hint="export edits or comparisons")
    row = {"id": record.id, "prompt": record.prompt, **texts, **own, "meta": meta_text(record.meta)}
    return row if unfit is None else unfit


def conversational_row(record: Record) -> Row | Unfit:
    """As `trl_row`, with messages instead of texts.

    The prompt is the conversation in `meta["messages"]` where that has roles and texts alone and the record's prompt is
    its text; else it is one message of the user.
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
    with suppress(RedpencilError):  # what is kept there may be no conversation
        messages = [{"role": one["role"], "content": one["content"]} for one in messages_in(kept, "messages")]
        # With names, tool calls or images in it, it would not load as a column of one type, nor be the same again.
        if messages == kept and all(isinstance(one["content"], str) for one in messages) and render(messages) == prompt:
            return messages
    return [{"role": "user", "content": prompt}]


class Format(enum.StrEnum):
    """What can be written."""

    REDPENCIL = "redpencil"
    TRL = "trl"
    TRL_CONVERSATIONAL = "trl-conversational"
    FIGA = "figa"
    PARQUET = "parquet"


ALL_KINDS: Final[tuple[type[Record], ...]] = (Edit, Comparison, Prompt, Example, Response, Pair)
HOLDS: Final[Mapping[Format, tuple[type[Record], ...]]] = {
    Format.REDPENCIL: ALL_KINDS,
    Format.TRL: KINDS,
    Format.TRL_CONVERSATIONAL: KINDS,
    Format.FIGA: (Edit,),
    Format.PARQUET: ALL_KINDS,
}
"""The kinds of records that each format has a place for."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the records: `rows` are in the file, the others are counted by reason."""

    rows: int
    skipped: Counter[str]
    skipped_file: Path | None


def skipped_file(out: Path) -> Path:
    """Where the records are listed that the format cannot hold."""
    return out.with_name(out.name + ".skipped.jsonl")


def check_format(format_: Format, kind: type[Record]) -> None:
    """Refuse a kind of record that the format has no place for.

    Raises:
        RedpencilError: naming the formats that have one.
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
    """Write records of one kind to `out`, and what the format cannot hold to the side file.

    Both files appear only when all is written; an error leaves what stood there before. A side file that an earlier
    export left at `out` goes away where nothing is skipped.

    Args:
        records: gone through once.
        kind: what they are.
        format_: the format to write.
        out: the file.
        weights: of FIGA; None means its defaults.
        cutter: the tokenizer of FIGA; None writes weights of words.

    Raises:
        RedpencilError: if the format has no place for the kind or for any of the records, a place cannot be written to,
            or a text holds half of a surrogate pair.
    """
    check_format(format_, kind)
    row_of = _row_of(format_, weights or Weights(), cutter)
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


def _row_of(format_: Format, weights: Weights, cutter: Cutter | None) -> Callable[[Record], Row | Unfit]:
    match format_:
        case Format.REDPENCIL:
            return to_row
        case Format.TRL:
            return trl_row
        case Format.TRL_CONVERSATIONAL:
            return conversational_row
        case Format.PARQUET:
            return parquet_row
        case Format.FIGA:
            return partial(_figa_row, weights=weights, cutter=cutter)


def _figa_row(record: Record, weights: Weights, cutter: Cutter | None) -> Row | Unfit:
    assert isinstance(record, Edit)
    return figa_row(record, weights, cutter)


@contextmanager
def _rows_of(format_: Format, kind: type[Record], out: BinaryIO) -> Iterator[Callable[[Row], None]]:
    if format_ is Format.PARQUET:
        with parquet_rows(out, kind) as add:
            yield add
        return

    def add_line(row: Row) -> None:
        out.write(json_line(row))

    yield add_line
