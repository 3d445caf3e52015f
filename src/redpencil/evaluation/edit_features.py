"""Features of an edit that reward models are evaluated by: its kind, size and place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from redpencil.audit.rules import measure
from redpencil.records import Edit, Pair

EditType = Literal["insertion", "deletion", "replacement", "mixed"]
EDIT_TYPES: Final[tuple[EditType, ...]] = ("insertion", "deletion", "replacement", "mixed")
_PURE: Final[dict[str, EditType]] = {"insert": "insertion", "delete": "deletion", "replace": "replacement"}
Third = Literal["first third", "middle third", "last third"]
THIRDS: Final[tuple[Third, ...]] = ("first third", "middle third", "last third")


@dataclass(frozen=True, slots=True)
class EditFeatures:
    """Features of an edit.

    Args:
        type: kind of its changes; mixed if there are several kinds.
        share_changed: words removed and added, as a share of the words of both texts; from 0 to 1.
        tokens_changed: number of changed tokens (U1), of both sides.
        first_change: the third of the original's words with the first change.
        words: number of words of the original.
        growth: number of words of the edit less that of the original.
    """

    type: EditType
    share_changed: float
    tokens_changed: int
    first_change: Third
    words: int
    growth: int


def all_features(edits: Sequence[Edit], pairs: Sequence[Pair]) -> list[EditFeatures]:
    """Compute the features of each edit."""
    return [features_of(edit, pair) for edit, pair in zip(edits, pairs, strict=True)]


def features_of(edit: Edit, pair: Pair) -> EditFeatures:
    """Compute the features of an edit, from its texts and the pair that `align` made of it."""
    measures = measure(edit.original, edit.edited)
    kinds = {piece.kind for piece in measures.pieces}
    words = len(measures.original)
    place = measures.pieces[0].original[0] if measures.pieces else 0
    return EditFeatures(
        type=_PURE[kinds.pop()] if len(kinds) == 1 else "mixed",
        share_changed=(measures.removed + measures.added) / max(words + len(measures.edited), 1),
        tokens_changed=sum(pair.rejected_changed) + sum(pair.chosen_changed),
        first_change=THIRDS[min(3 * place // max(words, 1), 2)],
        words=words,
        growth=len(measures.edited) - words,
    )
