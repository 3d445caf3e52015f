"""Preference pairs, the shape of most preference data, and the kinds of records they can be read as.

A comparison is both sides with the preference; a response is the less preferred side, which is the one to edit; an
edit has the less preferred side as original and the other as its edit; an example is the preferred side; a prompt is
the prompt. A tie has no preferred side, so it gives no response, edit or example. Two sides with the same text give no
comparison, since neither can be better; as an edit they are a response that was left unchanged.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
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
DraftPair = Callable[[PreferencePair], Draft | Nothing]


def pair_readers(read_pair: ReadPair, *needs: Columns) -> dict[Kind, Reader]:
    """Make readers of all kinds from a function that reads a row as a preference pair."""

    def reader(draft: DraftPair) -> Reader:
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
    prompt = first.prompt.text
    return Draft(
        {"prompt": prompt, "first": first.text, "second": second.text, "preference": pair.preference},
        pair.shared | first.used | second.used | pair.settled,
        {**pair.meta, **first.prompt.meta, **first.meta, **second.meta},
        {"annotator": pair.annotator},
    )


def _ranked(draft: Callable[[PreferencePair, Side, Side], Draft | Nothing]) -> DraftPair:
    """Make a function of a pair from one that also takes its better and its other side; a tie gives no record."""

    def of_pair(pair: PreferencePair) -> Draft | Nothing:
        if pair.preference is Preference.FIRST:
            return draft(pair, pair.first, pair.second)
        return draft(pair, pair.second, pair.first) if pair.preference is Preference.SECOND else Nothing(TIE)

    return of_pair


def _edit(pair: PreferencePair, better: Side, worse: Side) -> Draft | Nothing:
    if better.prompt != worse.prompt:
        return Nothing(APART)
    outcome = EditOutcome.UNCHANGED if better.text == worse.text else EditOutcome.EDITED
    return Draft(
        {"prompt": worse.prompt.text, "original": worse.text, "edited": better.text},
        pair.shared | better.used | worse.used,
        {**pair.meta, **worse.prompt.meta, **worse.meta, **better.meta},
        {"editor": pair.editor, "outcome": outcome},
        side=_place(pair, worse),
    )


def _response(pair: PreferencePair, _: Side, worse: Side) -> Draft:
    draft = _example(pair, worse, worse)
    return replace(
        draft, used=draft.used | ({worse.model_column} if worse.model else set()), defaults={"model": worse.model}
    )


def _example(pair: PreferencePair, better: Side, _: Side) -> Draft:
    return Draft(
        {"prompt": better.prompt.text, "response": better.text},
        pair.shared | better.used,
        {**pair.meta, **better.prompt.meta, **better.meta},
        side=_place(pair, better),
    )


def _place(pair: PreferencePair, side: Side) -> str:
    return "first" if side is pair.first else "second"


def _prompt(pair: PreferencePair) -> Draft | Nothing:
    first = pair.first
    if first.prompt != pair.second.prompt:
        return Nothing(APART)
    return Draft({"prompt": first.prompt.text}, pair.shared, {**pair.meta, **first.prompt.meta})


_DRAFTS: Final[Mapping[Kind, DraftPair]] = {
    Kind.COMPARISONS: _comparison,
    Kind.RESPONSES: _ranked(_response),
    Kind.EDITS: _ranked(_edit),
    Kind.EXAMPLES: _ranked(_example),
    Kind.PROMPTS: _prompt,
}
