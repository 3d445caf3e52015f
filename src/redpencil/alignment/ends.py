"""Which texts end where their author stopped, and so with an end-of-sequence token, and which were cut off."""

from typing import Final

from redpencil.alignment.words import diff_visible
from redpencil.records import Comparison, Edit, Response, says_finished

_SIDES: Final = ("first_finished", "second_finished")
"""Names in the `meta` of a comparison that are false where that response was cut off."""


def finished_sides(row: Edit | Comparison) -> tuple[bool, bool]:
    """Return which side of a row is finished: the original and the edited text, or the first and the second response.

    `finished: false` in the `meta` of an edit is about its original. The edited text is then unfinished too if it ends
    in the original's last words, with the same tear.

    Raises:
        RedpencilError: naming the row and the field, if `meta` says it in another way than by true or false.
    """
    if isinstance(row, Comparison):
        return says_finished(row, _SIDES[0]), says_finished(row, _SIDES[1])
    if says_finished(row):
        return True, True
    kinds = [block.kind for block in diff_visible(row.original, row.edited) if block.kind != "space"]
    return False, kinds[-1:] != ["equal"]


def unfinished_sides(first: bool, second: bool) -> dict[str, bool]:
    """Return the entries of a comparison's `meta` for the responses that were cut off, by which `finished_sides` knows
    them.
    """
    return {name: False for name, finished in zip(_SIDES, (first, second), strict=True) if not finished}


def original_of(edit: Edit) -> Response:
    """Return the response that was edited, with the metadata of its edit.

    Raises:
        RedpencilError: as `finished_sides`.
    """
    return Response(edit.id, edit.prompt, edit.original, finished=finished_sides(edit)[0], meta=edit.meta)
