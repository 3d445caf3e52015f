"""References as an editor: an answer becomes the one of its prompt's references that is nearest to it."""

from collections.abc import Sequence
from typing import Final

from redpencil.alignment.words import word_distance
from redpencil.editing.edit import make_edit
from redpencil.records import Edit, EditOutcome, Response, references_of

EDITOR: Final = "the nearest reference"


def nearest(text: str, references: Sequence[str]) -> str:
    """Return the reference that the fewest changed words make of a text, the first of equals."""
    return min(references, key=lambda reference: word_distance(text, reference))


def edit_to_reference(response: Response) -> Edit:
    """Make of a response the nearest of the references in its `meta`; it stays as it is if only white space differs.

    Raises:
        RedpencilError: as `references_of`.
    """
    text = response.response
    edited = nearest(text, references_of(response.id, response.meta))
    if word_distance(text, edited):
        return make_edit(response, edited, EditOutcome.EDITED, EDITOR)
    return make_edit(response, text, EditOutcome.UNCHANGED, EDITOR)
