"""Labels that say which of two answers is better, in the many ways that data has them.

Names are certain by themselves, in capitals or not: first, A, model_a, Response A, [[A]] and the like. Numbers are
certain only as the numbers of a whole column, so they are observed row by row, and a column that may mean several
things is refused at its end, before anything is written under its name:

    1 and 2         the first and the second, with everything between them as AlpacaEval's annotators write it
    0 and 1         in PKU-SafeRLHF 0 is the first, in SHP 0 is the second, in AlpacaFarm 0 is a tie
    0, 1 and 2      0 or 2 may be the tie
    -1, 0 and 1     either sign may be the first
    response_0      says that response_1 is the second, which is the first elsewhere

Formats whose authors say that 1 is the first and 2 the second need no proof of it; 0 and 1 alone are refused there too.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.formats.base import DECIMAL_COMMA, Label, Values, expected
from redpencil.records import Preference

_SIDES: Final = {
    Preference.FIRST: ("first", "a", "1"),
    Preference.SECOND: ("second", "b", "2"),
    Preference.TIE: ("tie", "draw", "equal", "[[c]]", "tie (bothbad)", "tie (both bad)", "both_bad", "bothbad"),
    Preference.NONE: ("", "none", "null", "unknown", "n/a", "nan", "error"),
}
_NAMES: Final = {name: side for side, names in _SIDES.items() for name in names}
_NAMED: Final = re.compile(
    r"(?:answer|assistant|candidate|completion|model|option|output|response|summary|system|text|translation)"
    r"[ _-]?([ab012])|(first|second)[ _-](?:answer|completion|model|option|output|response)|\[\[([ab])\]\]"
)
"""A label that names a side by its letter or number, or by a word before what it is."""
HINT: Final = "say what each label means: {options} (or second, tie, none)"
_SHOWN: Final = 12


def label_key(value: object) -> str:
    """Return the form in which labels are compared: without white space around them, in small letters, 1.0 as 1."""
    text = "" if value is None else str(value).strip().lower()
    number = _number(text)
    return text if number is None else f"{number:g}"


def _side_in(key: str) -> str:
    """Return the letter, number or word of the side that a label names, and any other label as it is."""
    named = _NAMED.fullmatch(key)
    return key if named is None else next(filter(None, named.groups()))


def _number(text: str) -> float | None:
    try:
        number = float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def preference_in(row: Values, column: str) -> Preference | None:
    """Return the preference in a column, numbers as AlpacaFarm and AlpacaEval mean them; None where there is none.

    1 means the first, 2 the second, a number between them the nearer of the two; 0 and 1.5 are ties. Whether a column
    of numbers means that is for `Labels` to say.

    Raises:
        RedpencilError: if it is no known label.
    """
    value = row.get(column)
    key = label_key(value)
    named = _NAMES.get(_side_in(key))
    if named is not None:
        return None if named is Preference.NONE else named
    number = None if isinstance(value, bool) else _number(key)
    if number in (0, 1.5):
        return Preference.TIE
    if number is None or not 1 <= number <= 2:
        error = expected("a preference from 1 (the first) to 2 (the second), or a name such as first", value, column)
        raise RedpencilError(error.problem, field=column, hint=_hint(value))
    return Preference.FIRST if number < 1.5 else Preference.SECOND


def _hint(value: object) -> str:
    label = f"{value}".strip()[:40] if isinstance(value, str | int | float) else ""
    option = shlex.quote(f"{label or 'LABEL'}=first")
    return HINT.format(options=f"--value {option}") + "; `--on-error skip` lists such rows and goes on"


def names_of_columns(first: str, second: str) -> dict[str, Preference]:
    """Return the labels that name one of the user's two columns: by its name, or by what the two names do not share.

    Digits are left out unless they are 1 and 2: 0 and 1 may also be the answer to "is the first better?".
    """
    columns = {label_key(first): Preference.FIRST, label_key(second): Preference.SECOND}
    shared = next((at for at, pair in enumerate(zip(first, second, strict=False)) if len(set(pair)) > 1), 0)
    tails = [label_key(name[shared:]) for name in (first, second)]
    if all(tails) and (not any(tail.isdigit() for tail in tails) or set(tails) == {"1", "2"}):
        columns |= dict(zip(tails, (Preference.FIRST, Preference.SECOND), strict=True))
    return columns


@dataclass(slots=True)
class Labels:
    """The labels of a column, as they pass.

    Args:
        label: the column, and whether its numbers need no proof.
        meanings: what the user said that values mean, by `label_key`.
        names: labels that name the user's columns.
        numbers: labels by their number, no more than a few.
        numbered: labels such as response_1 by the number in them.
        read: counts of labels by their text and meaning, for a report; no more than a few.
    """

    label: Label
    meanings: Mapping[str, Preference] = field(default_factory=dict)
    names: Mapping[str, Preference] = field(default_factory=dict)
    numbers: dict[float, str] = field(default_factory=dict)
    numbered: dict[float, str] = field(default_factory=dict)
    read: Counter[tuple[str, str]] = field(default_factory=Counter)

    def translated(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row whose label is one that `preference_in` knows, and remember it.

        Raises:
            RedpencilError: for an unknown label, and for a number of which the user said nothing, but did of others.
        """
        column = self.label.column
        if column not in row:
            return row
        value = row[column]
        key = label_key(value)
        meaning = self.meanings.get(key)
        number = None if meaning or isinstance(value, bool) else _number(key)
        if number is not None and self.meanings:
            raise RedpencilError(f"no --value says what {key} means", field=column, hint=_hint(value))
        meaning = meaning or self.names.get(key)
        if meaning is None and number is None and (inner := _number(_side_in(key))) is not None:
            self.numbered[inner] = key
        translated = row if meaning is None else {**row, column: str(meaning)}
        try:
            read = preference_in(translated, column) or Preference.NONE
        except RedpencilError:  # the format's reader knows it, or says so
            return translated
        entry = (key or "(empty)", str(read))
        if number is not None and (len(self.numbers) < _SHOWN or number in (0, 2)):
            self.numbers[number] = key
        if entry in self.read or len(self.read) < _SHOWN:
            self.read[entry] += 1
        return translated

    def check(self, file: str) -> None:
        """Refuse a column whose numbers may mean several things.

        Raises:
            RedpencilError: naming the numbers, and how to say what they mean.
        """
        labels = self.numbers | (self.numbered if 0 in self.numbered else {})
        numbers = sorted(labels)
        if self.label.one_is_first and 0 not in self.numbered:
            certain = not numbers or numbers[0] > 0 or numbers[-1] > 1
        else:
            certain = not numbers or (len(numbers) > 1 and numbers[0] >= 1)
        if not certain:
            listed = [labels[number] for number in numbers]
            known = zip(listed, ("first", "second", *["tie"] * len(listed)), strict=False)
            options = (f"--value {shlex.quote(f'{label}={side}')}" for label, side in known)
            raise RedpencilError(
                f"its labels are {', '.join(listed)}, and which of the two each stands for differs from one data set "
                "to another",
                file=file,
                field=self.label.column,
                hint=HINT.format(options=" ".join(options)),
            )
