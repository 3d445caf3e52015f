"""Preference pairs, the shape of most preference data, and the kinds of records they can be read as.

A comparison is both sides with the preference; a response is the less preferred side, which is the one to edit; an
edit has the less preferred side as original and the other as its edit; an example is the preferred side; a prompt is
the prompt. A tie has no preferred side, so it gives no response, edit or example. Two sides with the same text give no
comparison, since neither can be better; as an edit they are a response that was left unchanged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.formats.base import Columns, Draft, Kind, Nothing, Reader, Values
from redpencil.formats.conversations import Prompted
from redpencil.records import EditOutcome, Preference

TIE: Final = "ties, which have no better side"
SAME: Final = "pairs whose two sides are the same text"
APART: Final = "pairs whose conversations differ before the last answer"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two answers.

    Args:
        prompt: the prompt that it answers.
        text: the answer.
        used: the columns that it came from.
        model: the model that wrote it, where that is known, and `model_column` the column that says so.
        meta: content that its text does not hold.
    """

    prompt: Prompted
    text: str
    used: frozenset[str]
    model: str = ""
    model_column: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two answers with a preference.

    Args:
        first: an answer.
        second: an answer to the same prompt.
        preference: the better one.
        shared: columns that the prompt came from, unless a side names them.
        settled: columns that hold nothing but the preference.
        annotator: the annotator, unless a column names one.
        editor: the editor who made the better answer from the other, if one did.
        meta: content to keep with every kind of record.
    """

    first: Side
    second: Side
    preference: Preference
    shared: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    annotator: str = ""
    editor: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


ReadPair = Callable[[Values], PreferencePair | Nothing]


def pair_readers(read_pair: ReadPair, *needs: Columns) -> dict[Kind, Reader]:
    """Make readers of all kinds from a function that reads a row as a preference pair."""

    def reader(draft: Callable[[PreferencePair], Draft | Nothing]) -> Reader:
        def read(row: Values) -> Iterator[Draft | Nothing]:
            pair = read_pair(row)
            yield pair if isinstance(pair, Nothing) else draft(pair)

        return Reader(needs, read)

    return {kind: reader(draft) for kind, draft in _DRAFTS.items()}


def _comparison(pair: PreferencePair) -> Draft | Nothing:
    first, second = pair.first, pair.second
    if first.prompt != second.prompt:
        return Nothing(APART)
    if first.text == second.text and pair.preference is not Preference.TIE:
        return Nothing(SAME)
    return Draft(
        {
            "prompt": first.prompt.text,
            "first": first.text,
            "second": second.text,
            "preference": pair.preference,
        },
        pair.shared | first.used | second.used | pair.settled,
        {**pair.meta, **first.prompt.meta, **first.meta, **second.meta},
        {"annotator": pair.annotator},
    )


def _edit(pair: PreferencePair) -> Draft | Nothing:
    ranked = _ranked(pair)
    if ranked is None:
        return Nothing(TIE)
    better, worse = ranked
    if better.prompt != worse.prompt:
        return Nothing(APART)
    outcome = EditOutcome.UNCHANGED if better.text == worse.text else EditOutcome.EDITED
    return Draft(
        {"prompt": worse.prompt.text, "original": worse.text, "edited": better.text},
        pair.shared | better.used | worse.used,
        {**pair.meta, **worse.prompt.meta, **worse.meta, **better.meta},
        {"editor": pair.editor, "outcome": outcome},
    )


def _response(pair: PreferencePair) -> Draft | Nothing:
    ranked = _ranked(pair)
    if ranked is None:
        return Nothing(TIE)
    side = ranked[1]
    return Draft(
        {"prompt": side.prompt.text, "response": side.text},
        pair.shared | side.used | ({side.model_column} if side.model else set()),
        {**pair.meta, **side.prompt.meta, **side.meta},
        {"model": side.model},
    )


def _example(pair: PreferencePair) -> Draft | Nothing:
    ranked = _ranked(pair)
    if ranked is None:
        return Nothing(TIE)
    side = ranked[0]
    return Draft(
        {"prompt": side.prompt.text, "response": side.text},
        pair.shared | side.used,
        {**pair.meta, **side.prompt.meta, **side.meta},
    )


def _prompt(pair: PreferencePair) -> Draft | Nothing:
    first = pair.first
    if first.prompt != pair.second.prompt:
        return Nothing(APART)
    return Draft({"prompt": first.prompt.text}, pair.shared, {**pair.meta, **first.prompt.meta})


def _ranked(pair: PreferencePair) -> tuple[Side, Side] | None:
    """The better side and the other one; None for a tie."""
    if pair.preference not in (Preference.FIRST, Preference.SECOND):
        return None
    sides = (pair.first, pair.second)
    return sides if pair.preference is Preference.FIRST else (sides[1], sides[0])


_DRAFTS: Final[Mapping[Kind, Callable[[PreferencePair], Draft | Nothing]]] = {
    Kind.COMPARISONS: _comparison,
    Kind.RESPONSES: _response,
    Kind.EDITS: _edit,
    Kind.EXAMPLES: _example,
    Kind.PROMPTS: _prompt,
}
