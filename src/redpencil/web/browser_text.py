"""Texts: check that they can be stored, measure an edit, restore line ends, count UTF-16 units, render Markdown."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from redpencil.alignment.words import Block, diff_words, kept_share

_LINE_END: Final = re.compile("\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Measured:
    """The size of an edit: share of words kept, characters struck out and written in, and the diff itself."""

    kept: float
    distance: int
    blocks: tuple[Block, ...]


def measure(original: str, edited: str) -> Measured:
    """Measure an edit in the numbers that a project's limits use."""
    blocks = diff_words(original, edited)
    changed = (block for block in blocks if block.kind != "equal")
    distance = sum(b.original[1] - b.original[0] + b.edited[1] - b.edited[0] for b in changed)
    return Measured(kept_share(original, edited), distance, blocks)


def restore_line_ends(original: str, edited: str) -> str:
    """Restore the line ends of the original in a text that came from a page, where every line end is a newline.

    Kept lines get their own line ends again, new lines the first line end of the original.
    """
    ends = list(_LINE_END.finditer(original))
    if "\r" in edited or all(end[0] == "\n" for end in ends):
        return edited
    before = accumulate((len(end[0]) - 1 for end in ends[:-1]), initial=0)  # what the text before each end loses
    shrinks = {end.start() - lost: len(end[0]) - 1 for end, lost in zip(ends, before, strict=True)}
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


Convert = Callable[[int], int]


def to_units(text: str) -> Convert:
    """Make a function from offsets in characters to offsets in UTF-16 code units."""
    if _is_narrow(text):
        return lambda place: place
    return _unit_places(text).__getitem__


def to_characters(text: str) -> Convert:
    """Make a function from offsets in UTF-16 code units to offsets in characters.

    An offset past the end becomes the end, one inside a surrogate pair the end of its character.
    """
    if _is_narrow(text):
        return lambda place: min(place, len(text))
    places = _unit_places(text)
    return lambda place: min(bisect_left(places, place), len(text))


def blocks_in_units(blocks: Iterable[Block], original: str, edited: str) -> list[Block]:
    """Convert the offsets of blocks to UTF-16 code units."""
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


def render_markdown(text: str) -> str:
    """Render Markdown as HTML. HTML inside it is shown as text, and nothing in it loads or runs."""
    return str(_renderer().render(text))


@cache
def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
    renderer.core.ruler.push("make_safe", _make_safe)
    return renderer


def _make_safe(state: Any) -> None:
    """Adapt links, and the alignment of columns, which the content security policy allows only as a class."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = _with_addresses(token.children)
        style = str(token.attrs.pop("style", ""))
        if style:
            token.attrSet("class", style.replace("text-align:", "align-"))


def _with_addresses(tokens: Sequence[Token]) -> list[Token]:
    """Let links open in a new tab without a referrer, and append their address to their text."""
    visible: list[Token] = []
    address, text = "", ""
    for token in tokens:
        if token.type == "link_open":
            address, text = str(token.attrGet("href") or ""), ""
            token.attrSet("rel", "noopener noreferrer nofollow")
            token.attrSet("target", "_blank")
        text += token.content
        visible.append(token)
        if token.type == "link_close" and text != address:
            visible.append(Token("text", "", 0, content=f" ({address})"))
    return visible
