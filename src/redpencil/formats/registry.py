"""All formats that can be read, by name, and which of them a row fits."""

from collections.abc import Mapping
from typing import Final

from redpencil.errors import RedpencilError
from redpencil.formats import alpaca, columns, helpsteer, hh, qa_feedback, trl, ultrafeedback
from redpencil.formats.base import Format, Kind, Values

FORMATS: Final[Mapping[str, Format]] = {
    each.name: each
    for each in (
        columns.REDPENCIL,
        trl.PREFERENCE,
        trl.PROMPT,
        trl.MESSAGES,
        alpaca.FARM,
        alpaca.EVAL,
        hh.HH_RLHF,
        ultrafeedback.ULTRAFEEDBACK,
        helpsteer.HELPSTEER3,
        qa_feedback.QA_FEEDBACK,
        columns.FIGA,
        columns.COLUMNS,
    )
}


def find_format(name: str) -> Format:
    """A format by its name.

    Raises:
        RedpencilError: if there is none.
    """
    if name not in FORMATS:
        raise RedpencilError(
            f"no format called {name!r}", field="--format", way_out=f"use one of: {', '.join(FORMATS)}"
        )
    return FORMATS[name]


def check_kind(format_: Format, kind: Kind) -> None:
    """Refuse a kind of record that the format does not give.

    Raises:
        RedpencilError: naming those that it gives.
    """
    if kind not in format_.readers:
        raise RedpencilError(
            f"the format {format_.name} gives no {kind}",
            field="--as",
            way_out=f"read it as one of: {', '.join(format_.readers)}",
        )


def check_columns(row: Values, format_: Format, kind: Kind) -> None:
    """Refuse a row without the columns of its format.

    Raises:
        RedpencilError: naming the columns that there are, those that were expected, and which format fits instead.
    """
    reader = format_.readers[kind]
    if reader.fits(row):
        return
    nearest = min(reader.needs, key=lambda names: len(set(names) - row.keys()))
    alternatives = "; or ".join(", ".join(names) for names in reader.needs)
    fitting = _fitting(row, kind)
    raise RedpencilError(
        f"not a row of {format_.name} as {kind}: it has the columns {columns.listed(row)}; expected {alternatives}",
        field=next(name for name in nearest if name not in row),
        way_out=f"these columns fit {' or '.join(fitting)}" if fitting else _rename(nearest, row),
    )


def _rename(needed: tuple[str, ...], row: Values) -> str:
    missing = " ".join(f"--column {name}=NAME" for name in needed if name not in row)
    return f"give another file, or say which columns hold it: {missing}"


def _fitting(row: Values, kind: Kind) -> list[str]:
    """What the row can be read as, what uses most of its columns first; the kind that was asked for goes first."""
    found: list[tuple[int, str]] = []
    for each in FORMATS.values():
        for wanted in (kind, each.natural_kind(row)):
            reader = each.readers.get(wanted)
            if reader is not None and reader.fits(row):
                most = max(len(names) for names in reader.needs if row.keys() >= set(names))
                found.append((-most, f"`--format {each.name} --as {wanted}`"))
                break
    return [name for _, name in sorted(found, key=lambda pair: pair[0])[:3]]
