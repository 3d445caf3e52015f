"""A source becomes a file of records: whole or not at all, with a side file of all rows that gave none.

The side file is `<out>.skipped.jsonl`. Each line has `file`, `line` (null where the source has no lines), `row_number`,
`field`, `problem` and `row`. Where nothing is skipped there is none, and one that an earlier import left goes away.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from redpencil.errors import RedpencilError
from redpencil.files import whole_file
from redpencil.formats.base import Kind
from redpencil.formats.reading import Found, Skipped, Tally, Wanted, read_records
from redpencil.formats.text_files import Source
from redpencil.formats.values import safe_line
from redpencil.formats.writing import skipped_file
from redpencil.records import write_records
from redpencil.runs import Progress, no_progress

_STEP = 64


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import gave. `kind` is what the rows were read as, `nothing` counts sound rows by why they gave none.

    `undropped` are columns that were to be left out and that no row had.
    """

    kind: Kind
    rows: int
    records: int
    nothing: dict[str, int]
    bad: int
    skipped_file: Path | None
    undropped: tuple[str, ...] = ()


def import_rows(
    source: Source, wanted: Wanted, out: Path, *, limit: int | None = None, progress: Progress = no_progress
) -> Imported:
    """Read a source and write its records to `out` as JSONL.

    Args:
        source: an open source.
        wanted: how to read it.
        out: the file, which appears only when all is written.
        limit: most records; the rows after them are not read.
        progress: called with kB or rows that are done and in all, and how many records there are.

    Raises:
        RedpencilError: as `read_records`; and if no row gives a record, when only the side file is written.
    """
    tally = Tally()
    side = skipped_file(out)
    with ExitStack() as files:
        listing: list[BinaryIO] = []

        def skipped(row: Skipped) -> None:
            if not listing:
                listing.append(files.enter_context(whole_file(side)))
            listing[0].write((safe_line(_entry(row)) + "\n").encode("utf-8"))

        records = islice(read_records(source, wanted, tally, skipped), limit)
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
    return Imported(
        tally.kind,
        tally.rows,
        tally.records,
        dict(tally.nothing),
        tally.bad,
        side if listing else None,
        tuple(sorted(wanted.drop - tally.dropped)),
    )


def _entry(row: Skipped) -> dict[str, object]:
    place = row.place
    return {
        "file": place.file,
        "line": place.line,
        "row_number": place.row,
        "field": row.field,
        "problem": row.problem,
        "row": row.row,
    }


def _watched(records: Iterator[Found], source: Source, tally: Tally, progress: Progress) -> Iterator[Found]:
    for record in records:
        if tally.records % _STEP == 0:
            progress(*source.position(), f"{tally.records} {tally.kind}")
        yield record
