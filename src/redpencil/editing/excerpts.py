"""Edits cut down to what is worth reading: the changes with some words around them."""

from redpencil.alignment.words import Span, diff_words, split_words

GAP = " […] "
AROUND = 120
"""Characters that stay on each side of a change."""
LONGEST_CHANGE = 400
"""Characters of a change that are shown."""
LONGEST = 1600
"""Characters of both texts together after which an excerpt ends."""


def excerpt(original: str, edited: str) -> tuple[str, str]:
    """Both texts without long stretches that are equal, and with long changes cut.

    Gaps are marked, and stand between words and on both sides.
    """
    before: list[str] = []
    after: list[str] = []
    shown = 0
    blocks = diff_words(original, edited)
    for number, block in enumerate(blocks):
        if shown > LONGEST:
            before.append(GAP)
            after.append(GAP)
            break
        old, new = original[slice(*block.original)], edited[slice(*block.edited)]
        if block.kind == "equal":
            old = new = _context(old, first=number == 0, last=number == len(blocks) - 1)
        else:
            old, new = _start(old), _start(new)
        before.append(old)
        after.append(new)
        shown += len(old) + len(new)
    return "".join(before), "".join(after)


def shorten(text: str, longest: int = 300) -> str:
    """The beginning of a text, whole where it is short."""
    return text if len(text) <= longest else text[: _border(text, longest)].rstrip() + GAP.rstrip()


def _context(text: str, *, first: bool, last: bool) -> str:
    """An equal stretch: its end before the first change, its beginning after the last one, both between changes."""
    head, tail = (0 if first and not last else AROUND), (0 if last and not first else AROUND)
    if len(text) <= head + tail + AROUND:
        return text
    end = len(text) - tail
    return (
        text[: _border(text, head)]
        + (GAP if head else GAP.lstrip())
        + (text[_border(text, end, behind=True) :].lstrip(" ") if tail else "")
    )


def _start(text: str) -> str:
    return text if len(text) <= LONGEST_CHANGE else text[: _border(text, LONGEST_CHANGE)] + GAP.rstrip()


def _border(text: str, place: int, *, behind: bool = False) -> int:
    """The border between words nearest before `place`, or behind it; `place` itself within a word of unusual length."""
    start = max(place - AROUND, 0)
    near: list[Span] = split_words(text[start : place + AROUND])
    borders = [start + end for _, end in near]
    fitting = [border for border in borders if (border >= place if behind else border <= place)]
    return (min(fitting) if behind else max(fitting)) if fitting else place
