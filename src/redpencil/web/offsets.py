"""Places in a text as Python counts them, in characters, and as JavaScript does, in UTF-16 code units.

The database and the exports count characters. Over HTTP, places are in code units, so that a page can use them as they
are: an emoji outside the Basic Multilingual Plane counts two there.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate

from redpencil.alignment.words import Block

Convert = Callable[[int], int]


def to_units(text: str) -> Convert:
    """Turns a place counted in characters into one counted in code units."""
    if _is_narrow(text):
        return lambda place: place
    return _unit_places(text).__getitem__


def to_characters(text: str) -> Convert:
    """Turns a place counted in code units into one counted in characters; past the end is the end.

    A place inside a surrogate pair is taken as the end of its character.
    """
    if _is_narrow(text):
        return lambda place: min(place, len(text))
    places = _unit_places(text)
    return lambda place: min(bisect_left(places, place), len(text))


def blocks_in_units(blocks: Iterable[Block], original: str, edited: str) -> list[Block]:
    """The blocks with places in code units."""
    first, second = to_units(original), to_units(edited)
    return [
        Block(
            block.kind,
            (first(block.original[0]), first(block.original[1])),
            (second(block.edited[0]), second(block.edited[1])),
        )
        for block in blocks
    ]


def _is_narrow(text: str) -> bool:
    return text.isascii() or max(text) <= "\uffff"


def _unit_places(text: str) -> list[int]:
    return list(accumulate((2 if char > "\uffff" else 1 for char in text), initial=0))
