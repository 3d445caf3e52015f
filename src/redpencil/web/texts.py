"""What the server does to texts: check that they can be kept, measure an edit, give line ends back."""

import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from redpencil.alignment.words import Block, diff_words, kept_share

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_LINE_END: Final = re.compile("\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Measured:
    """How far an edit goes: share of words kept, characters struck out and written in, and the diff itself."""

    kept: float
    distance: int
    blocks: tuple[Block, ...]


def measure(original: str, edited: str) -> Measured:
    """The numbers of an edit, as the limits of a project count them."""
    blocks = diff_words(original, edited)
    changed = (block for block in blocks if block.kind != "equal")
    distance = sum(b.original[1] - b.original[0] + b.edited[1] - b.edited[0] for b in changed)
    return Measured(kept_share(original, edited), distance, blocks)


def unstorable(text: str) -> str | None:
    """Why a text cannot be kept, as part of a sentence; None where it can. PostgreSQL has no place for a NUL."""
    found = _UNSTORABLE.search(text)
    if found is None:
        return None
    what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair, which is no character,"
    return f"{what} at character {found.start()}"


def restore_line_ends(original: str, edited: str) -> str:
    """Give the line ends of the original back to a text that went through a page, where every line end is a newline.

    Lines that stayed get their own line end again, new ones the first that the original has.
    """
    ends = list(_LINE_END.finditer(original))
    if "\r" in edited or all(end[0] == "\n" for end in ends):
        return edited
    shrinks = {end.start() - shrunk: len(end[0]) - 1 for end, shrunk in zip(ends, _shrunk(ends), strict=True)}
    plain = _LINE_END.sub("\n", original)
    places = list(accumulate((1 + shrinks.get(place, 0) for place in range(len(plain))), initial=0))
    usual = ends[0][0]
    parts = []
    for block in diff_words(plain, edited):
        if block.kind == "equal":
            start, end = block.original
            parts.append(original[places[start] : places[end]])
        else:
            parts.append(edited[slice(*block.edited)].replace("\n", usual))
    return "".join(parts)


def _shrunk(ends: list[re.Match[str]]) -> list[int]:
    """By how many characters the text before each line end shrinks when line ends become newlines."""
    return list(accumulate((len(end[0]) - 1 for end in ends[:-1]), initial=0))
