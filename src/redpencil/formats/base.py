"""The interface of a format: for each kind of record, the columns it needs and a pure function from a row to drafts."""

import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.alignment.words import same_visible
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, EditOutcome, Example, Prompt, Response

UNDECIDED: Final = "pairs without a preference"
DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d{1,2}")
Values = Mapping[str, Any]
"""A row: its columns, with values as JSON has them."""
Row = dict[str, Any]
"""A row to be written."""
Columns = tuple[str, ...]


class Kind(enum.StrEnum):
    """The kinds of records that rows can be read as."""

    PROMPTS = "prompts"
    EXAMPLES = "examples"
    RESPONSES = "responses"
    COMPARISONS = "comparisons"
    EDITS = "edits"


RECORDS: Final[Mapping[Kind, type[Any]]] = {
    Kind.PROMPTS: Prompt,
    Kind.EXAMPLES: Example,
    Kind.RESPONSES: Response,
    Kind.COMPARISONS: Comparison,
    Kind.EDITS: Edit,
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A record without its id and without the columns that no field holds.

    Args:
        fields: fields of the record.
        used: columns that the fields hold completely; all others go to `meta`.
        meta: more entries of `meta`.
        defaults: fields that a column of the same name overrides.
        suffix: the ending of the id that distinguishes the records of one row.
        side: the side of a pair, first or second, that the response or the original is.
    """

    fields: Values
    used: frozenset[str]
    meta: Values = field(default_factory=dict)
    defaults: Values = field(default_factory=dict)
    suffix: str = ""
    side: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The result of a valid row that holds no record of the requested kind, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """The reason, in a word or two, why a format cannot hold a record."""

    reason: str


def no_correction(edit: Edit) -> Unfit | None:
    """Return why an edit teaches nothing: an outcome other than `edited`, or the same words; None where it does."""
    if edit.outcome is not EditOutcome.EDITED:
        return Unfit(str(edit.outcome))
    if edit.edited == edit.original:
        return Unfit(str(EditOutcome.UNCHANGED))
    return Unfit("only white space differs") if same_visible(edit.original, edit.edited) else None


Read = Callable[[Values], Iterable[Draft | Nothing]]


@dataclass(frozen=True, slots=True)
class Reader:
    """The function of a format that reads one kind of record; a row needs all columns of one of `needs`."""

    needs: tuple[Columns, ...]
    read: Read

    def fits(self, row: Values) -> bool:
        """Return whether a row has the columns."""
        return any(row.keys() >= set(columns) for columns in self.needs)

    def needed(self, row: Values) -> int:
        """Return how many of a row's columns are needed; 0 where the row lacks some."""
        return max((len(columns) for columns in self.needs if row.keys() >= set(columns)), default=0)


@dataclass(frozen=True, slots=True)
class Label:
    """The column that says which of two answers is better.

    Args:
        column: its name.
        kinds: the kinds of records that depend on it.
        one_is_first: whether the format says that 1 is the first and 2 the second.
    """

    column: str
    kinds: tuple[Kind, ...] = (Kind.COMPARISONS, Kind.RESPONSES, Kind.EDITS, Kind.EXAMPLES)
    one_is_first: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """A format that data comes in.

    Args:
        name: its usual name.
        about: a description in one line.
        readers: by kind.
        natural: the kind that rows are read as by default: the first whose columns a row has.
        label: its column of labels, if those may be of several dialects.
    """

    name: str
    about: str
    readers: Mapping[Kind, Reader]
    natural: tuple[tuple[Columns, Kind], ...]
    label: Label | None = None

    def natural_kind(self, row: Values) -> Kind:
        """Return the kind that a row is read as by default."""
        return next((kind for columns, kind in self.natural if row.keys() >= set(columns)), self.natural[-1][1])


def json_type(value: object) -> str:
    """Name the type of a value as JSON calls it."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def expected(what: str, value: object, column: str) -> RedpencilError:
    """Return the error for a value that is not what its column should hold."""
    excerpt = "" if isinstance(value, dict | list | bool) or value is None else f" {str(value)[:40]!r}"
    return RedpencilError(
        f"expected {what}, found {json_type(value)}{excerpt}",
        field=column,
        hint=f"write {what} there; `--on-error skip` skips such rows and lists them",
    )


def text(row: Values, column: str) -> str:
    """Return the text in a column.

    Raises:
        RedpencilError: if it holds something else.
    """
    value = row.get(column)
    if not isinstance(value, str):
        raise expected("text", value, column)
    return value


def optional_text(row: Values, column: str) -> str:
    """Return the text in a column, empty where there is none.

    Raises:
        RedpencilError: if it holds something else.
    """
    return "" if row.get(column) is None else text(row, column)


def number(row: Values, column: str) -> float | None:
    """Return the number in a column, also one that is written as text; None where there is none.

    Raises:
        RedpencilError: if it holds something else.
    """
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            # 8,5 is no thousand of anything, so there the comma is decimal, as in tables that semicolons divide.
            parsed = float(
                value.replace(",", ".") if isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()) else value
            )
        except (ValueError, OverflowError):
            pass
        else:
            return None if math.isnan(parsed) else parsed
    raise expected("a number", value, column)
