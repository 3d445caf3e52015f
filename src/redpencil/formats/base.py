"""What a format is: for each kind of record, the columns that it needs and a pure function from a row to drafts."""

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Example, Preference, Prompt, Response

UNDECIDED: Final = "pairs without a preference"
Values = Mapping[str, Any]
"""A row: its columns, with values as JSON has them."""
Columns = tuple[str, ...]


class Kind(enum.StrEnum):
    """What rows can be read as."""

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
    """A record in the making; it still lacks an id and the columns that no field holds.

    Args:
        fields: fields of the record.
        used: columns that the fields hold whole; all others go to `meta`.
        meta: what else goes to `meta`.
        defaults: fields that a column of the same name overrides.
        suffix: what tells the records of one row apart, added to the id.
    """

    fields: Values
    used: frozenset[str]
    meta: Values = field(default_factory=dict)
    defaults: Values = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A sound row that holds no record of the wanted kind, and why."""

    reason: str


Read = Callable[[Values], Iterable[Draft | Nothing]]


@dataclass(frozen=True, slots=True)
class Reader:
    """How a format gives one kind of record; a row needs all columns of one of `needs`."""

    needs: tuple[Columns, ...]
    read: Read

    def fits(self, row: Values) -> bool:
        """Whether a row has the columns."""
        return any(row.keys() >= set(columns) for columns in self.needs)


@dataclass(frozen=True, slots=True)
class Format:
    """A format that data comes in.

    Args:
        name: what people call it.
        about: one line on what it is.
        readers: by kind.
        natural: the kind that rows are read as unless another is asked for: the first whose columns a row has.
    """

    name: str
    about: str
    readers: Mapping[Kind, Reader]
    natural: tuple[tuple[Columns, Kind], ...]

    def natural_kind(self, row: Values) -> Kind:
        """What a row is read as unless another kind is asked for."""
        return next((kind for columns, kind in self.natural if row.keys() >= set(columns)), self.natural[-1][1])


def said(value: object) -> str:
    """What kind of value it is, as JSON calls it."""
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def expected(what: str, value: object, column: str) -> RedpencilError:
    """The error of a value that is not what its column should hold."""
    shown = "" if isinstance(value, dict | list) or value is None else f" {str(value)[:40]!r}"
    return RedpencilError(
        f"expected {what}, found {said(value)}{shown if not isinstance(value, bool) else ''}",
        field=column,
        hint=f"write {what} there; `--on-error skip` passes such rows over and lists them",
    )


def text(row: Values, column: str) -> str:
    """The text in a column.

    Raises:
        RedpencilError: if there is something else.
    """
    value = row.get(column)
    if not isinstance(value, str):
        raise expected("text", value, column)
    return value


def optional_text(row: Values, column: str) -> str:
    """The text in a column, empty where there is none.

    Raises:
        RedpencilError: if there is something else.
    """
    return "" if row.get(column) is None else text(row, column)


def number(row: Values, column: str) -> float | None:
    """The number in a column, also one that is written as text; None where there is none.

    Raises:
        RedpencilError: if there is something else.
    """
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            pass
        else:
            return None if math.isnan(found) else found
    raise expected("a number", value, column)


def one_or_two(row: Values, column: str) -> Preference | None:
    """A preference as AlpacaFarm and AlpacaEval write it; None where there is none.

    1 means the first, 2 the second; what lies between leans to the nearer; 0 and 1.5 are ties.

    Raises:
        RedpencilError: if there is something else.
    """
    found = number(row, column)
    if found is None:
        return None
    if found in (0, 1.5):
        return Preference.TIE
    if not 1 <= found <= 2:
        raise expected("a preference from 1 (the first) to 2 (the second), or 0 (a tie)", row[column], column)
    return Preference.FIRST if found < 1.5 else Preference.SECOND
