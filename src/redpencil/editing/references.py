"""References as an editor: an answer becomes the one of its prompt's references that is nearest to it."""

from collections.abc import Sequence
from typing import Final

from redpencil.alignment.words import word_distance
from redpencil.editing.edit import make_edit
from redpencil.records import Edit, EditOutcome, Response, references_of

EDITOR: Final = "the nearest reference"


def nearest(text: str, references: Sequence[str], *, spacing: bool = False) -> str:
    """Return the reference that the fewest changed words make of a text, the first of equals; `spacing` as in
    `word_distance`.
    """
    return min(references, key=lambda reference: word_distance(text, reference, spacing=spacing))


def edit_to_reference(response: Response, *, spacing: bool = False) -> Edit:
    """Make of a response the nearest of the references in its `meta`.

    It stays as it is if only white space differs; with `spacing`, as for code, only at the ends.

    Raises:
        RedpencilError: as `references_of`.
    """
    text = response.response
    edited = nearest(text, references_of(response.id, response.meta), spacing=spacing)
    if word_distance(text, edited, spacing=spacing):
        return make_edit(response, edited, EditOutcome.EDITED, EDITOR)
    return make_edit(response, text, EditOutcome.UNCHANGED, EDITOR)
