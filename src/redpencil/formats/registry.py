"""All formats that can be read, by name, and checks of a row against them."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.formats import (
    alpaca,
    arena,
    columns,
    figa,
    helpsteer,
    hh,
    pku,
    qa_feedback,
    rewardbench,
    sharegpt,
    shp,
    trl,
    ultrafeedback,
)
from redpencil.formats.base import Draft, Format, Kind, Reader, Values

FORMATS: Final[Mapping[str, Format]] = {
    format_.name: format_
    for format_ in (
        columns.REDPENCIL,
        trl.PREFERENCE,
        trl.PROMPT,
        trl.MESSAGES,
        sharegpt.SHAREGPT,
        alpaca.FARM,
        alpaca.EVAL,
        hh.HH_RLHF,
        ultrafeedback.ULTRAFEEDBACK,
        helpsteer.HELPSTEER3,
        pku.PKU,
        shp.SHP,
        qa_feedback.QA_FEEDBACK,
        arena.ARENA,
        rewardbench.REWARDBENCH,
        figa.FIGA,
        columns.COLUMNS,
    )
}


def find_format(name: str) -> Format:
    """Find a format by its name.

    Raises:
        RedpencilError: if there is none.
    """
    if name not in FORMATS:
        raise RedpencilError(f"no format called {name!r}", field="--format", hint=f"use one of: {', '.join(FORMATS)}")
    return FORMATS[name]


def guess_format(row: Values, kind: Kind | None = None) -> Format:
    """Choose the format that explains most columns of a row, if all that do give the same records.

    Args:
        row: the row.
        kind: the kind to read it as; None means each format's own.

    Raises:
        RedpencilError: naming the formats between which the row does not decide, or its columns if there are none.
    """
    found: list[tuple[int, Format, Kind, list[Any]]] = []
    refusals: list[tuple[int, RedpencilError]] = []
    for format_ in FORMATS.values():
        wanted = kind or format_.natural_kind(row)
        reader = format_.readers.get(wanted)
        if reader is None or not reader.fits(row):
            continue
        # redpencil's own rows may hold anything else, too, which explains nothing.
        named = {name: row[name] for name in columns.FIELDS if name in row} if format_ is columns.REDPENCIL else row
        try:
            explained, drafts = _explained(named, reader)
        except RedpencilError as error:
            refusals.append((reader.needed(row), error))
            continue
        # Fields that the record can do without may be given or left out.
        fields = [{name: draft.fields.get(name) for name in columns.NEEDS[wanted]} for draft in drafts]
        found.append((explained, format_, wanted, fields))
    most = max((explained for explained, *_ in found), default=0)
    best = [one for one in found if one[0] == most]
    needed, refusal = max(refusals, key=lambda one: one[0], default=(0, None))
    if refusal is not None and needed > most and kind is None and all(one[2] is Kind.PROMPTS for one in best):
        raise refusal  # a row of that format with a mistake, and not a prompt with other columns
    if not best:
        raise RedpencilError(
            f"no format fits a row with the columns {columns.listed(row)}",
            field="--format",
            hint=f"name one; with the format columns {_naming_responses(row)}",
        )
    first = best[0]
    if any(one[2:] != first[2:] for one in best):
        options = " or ".join(f"--format {format_.name} --as {wanted}" for _, format_, wanted, _ in best)
        raise RedpencilError("the first row fits several formats", field="--format", hint=f"choose one: {options}")
    return first[1]


def check_kind(format_: Format, kind: Kind) -> None:
    """Refuse a kind of record that the format cannot be read as.

    Raises:
        RedpencilError: naming the kinds that it can.
    """
    if kind not in format_.readers:
        raise RedpencilError(
            f"the format {format_.name} gives no {kind}",
            field="--as",
            hint=f"read it as one of: {', '.join(format_.readers)}",
        )


def check_renames(format_: Format, renames: Mapping[str, str]) -> None:
    """Refuse to rename a column to a name that the format does not know, where that is certainly a mistake.

    Formats of named columns know only the fields of records and the keys that other commands read from `meta`; in the
    other formats a column may also be one that is kept as it is, unless the two names were swapped.

    Args:
        format_: the format.
        renames: the row's own name of a column by the name that the format expects.

    Raises:
        RedpencilError: naming the column, and how to write it.
    """
    strict = format_ in (columns.COLUMNS, columns.REDPENCIL)
    needed = {name for reader in format_.readers.values() for names in reader.needs for name in names}
    known = needed | set(columns.FIELDS)
    for name, own in renames.items():
        swapped = own in (known if strict else needed)
        if name not in known and (strict or swapped):
            example = f"--column {own}={name}" if swapped else f"with FIELD one of {', '.join(columns.FIELDS)}"
            raise RedpencilError(f"no field called {name!r}", field="--column", hint=f"write FIELD=YOURS: {example}")


def check_columns(row: Values, format_: Format, kind: Kind, *, asked: bool = True) -> None:
    """Refuse a row without the columns of its format.

    Args:
        row: the row.
        format_: the format.
        kind: the kind that the row is read as.
        asked: whether the user named that kind.

    Raises:
        RedpencilError: naming the row's columns, the expected ones, and the formats that fit.
    """
    reader = format_.readers[kind]
    if reader.fits(row):
        return
    nearest = min(reader.needs, key=lambda names: len(set(names) - row.keys()))
    alternatives = "; or ".join(", ".join(names) for names in reader.needs)
    raise RedpencilError(
        f"not a row of {format_.name} as {kind}: it has the columns {columns.listed(row)}; expected {alternatives}",
        field=next(name for name in nearest if name not in row),
        hint=_naming_responses(row) if format_ is columns.COLUMNS and not asked else _hint(row, kind, nearest),
    )


def _hint(row: Values, kind: Kind, needed: tuple[str, ...]) -> str:
    fitting = _fitting(row, kind)
    if fitting:
        return f"these columns fit {' or '.join(fitting)}"
    missing = " ".join(f"--column {name}=NAME" for name in needed if name not in row)
    return f"give another file, or say which columns hold it: {missing}"


def _naming_responses(row: Values) -> str:
    """Give an example of how to name columns, with the first two that the row has."""
    own = [name for name in row if name != "id"]
    own = own if len(own) > 1 else ["question", "answer"]
    return (
        f"say which of yours is which, such as: --column prompt={own[0]} --column response={own[1]} "
        f"--as {Kind.RESPONSES}; or choose another --format"
    )


def _fitting(row: Values, kind: Kind) -> list[str]:
    """Options that fit the row: first what explains most of its columns, then what gives most kinds of records."""
    options: list[tuple[int, int, str]] = []
    for format_ in FORMATS.values():
        for option in (kind, format_.natural_kind(row)):
            reader = format_.readers.get(option)
            if reader is not None and reader.fits(row):
                kinds = sum(other.fits(row) for other in format_.readers.values())
                explained = 0
                with suppress(RedpencilError):
                    explained, _ = _explained(row, reader)
                options.append((-explained, -kinds, f"`--format {format_.name} --as {option}`"))
                break
    return [name for *_, name in sorted(options, key=lambda option: option[:2])[:3]]


def _explained(row: Values, reader: Reader) -> tuple[int, list[Draft]]:
    """Count the columns that a reader needs or that the records' fields come from; returns it with the drafts.

    Raises:
        RedpencilError: if the values do not suit the format.
    """
    drafts = [draft for draft in reader.read(row) if isinstance(draft, Draft)]
    return max([reader.needed(row), *(len(draft.used & row.keys()) for draft in drafts)]), drafts
