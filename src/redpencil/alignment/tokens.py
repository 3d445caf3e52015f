"""Token masks U0 and U1 from two tokenised texts (section 2.2 of the paper).

Word edits are mapped to tokens through the tokenizer's character offsets, so any fast tokenizer works and no text is
tokenised twice. The rejected side is the original, the chosen side its edit.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from operator import itemgetter
from typing import Final, Literal

from redpencil.alignment.words import Alignment, Block, Kind, Span, diff_visible

Anchor = Literal["none", "divergence"]
_SPACE: Final = frozenset(filter(str.isspace, map(chr, range(0x3001))))
"""All white space that there is."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a response, with its end-of-sequence token last where it is complete.

    `offsets` are character spans in the response's text, end excluded; that of the end-of-sequence token is
    `(len(text), len(text))`. `has_eos` says whether the last token is the end-of-sequence token.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    has_eos: bool

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.offsets):
            raise ValueError(f"{len(self.ids)} token ids with {len(self.offsets)} offsets")
        if self.has_eos and not self.ids:
            raise ValueError("has_eos without a token")

    @property
    def body(self) -> int:
        """The number of tokens before the end-of-sequence token."""
        return len(self.ids) - self.has_eos


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """U1 of each side as one flag a token (True = changed), and U0 as (rejected index, chosen index) in order.

    A token may be in neither: one that differs from its partner in white space alone, one without visible characters,
    the partner of an anchor, or an end-of-sequence token that is left out.
    """

    rejected_changed: tuple[bool, ...]
    chosen_changed: tuple[bool, ...]
    unchanged: tuple[tuple[int, int], ...]


def token_masks(
    original: str,
    edited: str,
    original_tokens: Tokens,
    edited_tokens: Tokens,
    *,
    alignment: Alignment = "lcs",
    anchor: Anchor = "none",
    eos_in_changed: bool = False,
) -> TokenMasks:
    """Mark the tokens that an edit changed.

    A pair of tokens is unchanged (U0) if both lie inside one equal block at the same place in it and have the same
    id; every other token is changed (U1) on its side. So a pure deletion leaves the edit's U1 empty and a pure
    insertion the original's, unless a token crosses the border of an edit.

    White space changes nothing: a token without other characters is never in U1. A word beside or around changed white
    space, or before that of a changed word, is compared without it: its tokens are in U0 if they have the same ids at
    the same places, else in neither set.

    Args:
        original: the text before the edit (rejected).
        edited: the text after it (chosen).
        original_tokens: tokens of `original`.
        edited_tokens: tokens of `edited`.
        alignment: `lcs` as above; `positional` compares the ids of token t and token t alone, the paper's literal
            U0 = {t | a_t^i = a_t^j}, white space included.
        anchor: `divergence` blames the original's first token after a pure insertion, the action it took instead,
            and credits the edit's first token after a pure deletion. The token's partner is then in neither set. It
            never marks a token of white space or an end-of-sequence token and has no effect under `positional`.
        eos_in_changed: False keeps the end-of-sequence tokens out of U1 (a pair if both texts have one). True marks
            the original's where text was appended and the edit's where the end was cut, each on its side only, and
            treats one that has no partner like any other token. Under `positional` True compares it like any other.

    Returns:
        The masks; their lengths are those of the two token sequences.
    """
    if alignment == "positional":
        return _positional_masks(original_tokens, edited_tokens, eos_in_changed)
    sides = (original, original_tokens), (edited, edited_tokens)
    blocks = tuple(_space_apart(diff_visible(original, edited), *sides))
    respaced = [block for block in blocks if block.kind == "space"]
    visible = (
        _visible(*sides[0], [block.original for block in respaced]),
        _visible(*sides[1], [block.edited for block in respaced]),
    )
    pairs = _unchanged_pairs(blocks, *visible)
    rejected, chosen = [True] * original_tokens.body, [True] * edited_tokens.body
    for i, j in pairs:
        rejected[i] = chosen[j] = False
    if respaced:
        _spare_respaced(rejected, original, visible[0], [(block.kind, block.original) for block in blocks])
        _spare_respaced(chosen, edited, visible[1], [(block.kind, block.edited) for block in blocks])
    if anchor == "divergence":
        pairs = _anchor(blocks, sides, pairs, rejected, chosen)
    _spare_space(rejected, *sides[0])
    _spare_space(chosen, *sides[1])
    last = next((block.kind for block in reversed(blocks) if block.kind != "space"), "equal")
    eos = _eos(last, original_tokens, edited_tokens, eos_in_changed)
    return _with_eos(rejected, chosen, pairs, eos, original_tokens, edited_tokens)


def _space_apart(blocks: Iterable[Block], original: tuple[str, Tokens], edited: tuple[str, Tokens]) -> Iterator[Block]:
    """Split changed blocks behind the white space that they begin with, where a token also holds what is before it.

    Such a token is a full stop with an empty line: the word before the change is not blamed for it.
    """
    for block in blocks:
        spans = block.original, block.edited
        sides = list(zip((original, edited), spans, strict=True))
        if block.kind in ("equal", "space") or not any(_crossed(tokens, start) for (_, tokens), (start, _) in sides):
            yield block
            continue
        leads = [len(piece) - len(piece.lstrip()) for piece in (text[start:end] for (text, _), (start, end) in sides)]
        if all(lead or start == end for lead, (start, end) in zip(leads, spans, strict=True)):
            first, second = (start + lead for lead, (start, _) in zip(leads, spans, strict=True))
            yield Block("space", (spans[0][0], first), (spans[1][0], second))
            block = Block(block.kind, (first, spans[0][1]), (second, spans[1][1]))
        yield block


def _crossed(tokens: Tokens, position: int) -> bool:
    """Return whether a token begins before a position and ends behind it."""
    index = bisect_right(tokens.offsets, position, hi=tokens.body, key=itemgetter(1))
    return index < tokens.body and tokens.offsets[index][0] < position


_Pairs = list[tuple[int, int]]
_Eos = tuple[bool, bool, bool]
"""The end-of-sequence tokens: the original's is in U1, the edit's is in U1, they are a pair in U0."""


def _positional_masks(original: Tokens, edited: Tokens, eos_in_changed: bool) -> TokenMasks:
    first = original.ids if eos_in_changed else original.ids[: original.body]
    second = edited.ids if eos_in_changed else edited.ids[: edited.body]
    pairs = [(t, t) for t, (a, b) in enumerate(zip(first, second, strict=False)) if a == b]
    rejected, chosen = [True] * len(first), [True] * len(second)
    for t, _ in pairs:
        rejected[t] = chosen[t] = False
    if eos_in_changed:
        return TokenMasks(tuple(rejected), tuple(chosen), tuple(pairs))
    return _with_eos(rejected, chosen, pairs, _eos("equal", original, edited, False), original, edited)


def _unchanged_pairs(blocks: Iterable[Block], original: Tokens, edited: Tokens) -> _Pairs:
    """Pair equal tokens at the same place in one equal block."""
    borders = _starts_and_ends(original), _starts_and_ends(edited)
    pairs: _Pairs = []
    for block in blocks:
        if block.kind != "equal":
            continue
        first, second = _inside(block.original, *borders[0]), _inside(block.edited, *borders[1])
        places = _places(original, first, block.original[0]), _places(edited, second, block.edited[0])
        ids = original.ids[first.start : first.stop], edited.ids[second.start : second.stop]
        if ids[0] == ids[1] and places[0] == places[1]:
            pairs.extend(zip(first, second, strict=True))
        else:
            pairs.extend((first[i], second[j]) for i, j in _pairs_by_place(*places, *ids))
    return pairs


def _visible(text: str, tokens: Tokens, respaced: Iterable[Span]) -> Tokens:
    """Give the tokens that overlap changed white space their spans without the white space at both ends.

    A token of white space alone keeps its span.
    """
    spans: list[Span] | None = None
    for start, end in respaced:
        first = bisect_right(tokens.offsets, start, hi=tokens.body, key=itemgetter(1))
        for index in range(first, bisect_left(tokens.offsets, end, lo=first, hi=tokens.body, key=itemgetter(0))):
            spans = spans or list(tokens.offsets)
            spans[index] = _visible_span(text, spans[index])
    return tokens if spans is None else replace(tokens, offsets=tuple(spans))


def _visible_span(text: str, span: Span) -> Span:
    piece = text[slice(*span)]
    core = piece.strip()
    start = span[0] + len(piece) - len(piece.lstrip())
    return (start, start + len(core)) if core else span


def _spare_space(flags: list[bool], text: str, tokens: Tokens) -> None:
    """Take the tokens without visible characters out of U1."""
    for index, (start, end) in list(compress(enumerate(tokens.offsets), flags)):
        if start == end or (text[end - 1] in _SPACE and text[start:end].isspace()):
            flags[index] = False


def _spare_respaced(flags: list[bool], text: str, tokens: Tokens, blocks: Sequence[tuple[Kind, Span]]) -> None:
    """Take the tokens of unchanged words beside changed white space out of U1; `blocks` are kinds and spans in `text`.

    Such words may be other tokens than on the other side, as a tokenizer splits a word by what stands before it.
    """
    regions: list[Span] = []
    for start, end in _beside_space(text, blocks):
        if regions and start < regions[-1][1]:
            start = regions.pop()[0]  # one word between changes of white space, or split by several
        regions.append((start, end))
    for start, end in regions:
        first = bisect_right(tokens.offsets, start, hi=tokens.body, key=itemgetter(1))
        for index in range(first, bisect_left(tokens.offsets, end, lo=first, hi=tokens.body, key=itemgetter(0))):
            if flags[index]:
                visible = _visible_span(text, tokens.offsets[index])
                flags[index] = not (start <= visible[0] and visible[1] <= end)


def _beside_space(text: str, blocks: Sequence[tuple[Kind, Span]]) -> Iterator[Span]:
    """The spans of unchanged text from the last white space before a block of kind `space` to the next one behind it;
    both their starts and their ends ascend.
    """
    for number, (kind, (start, end)) in enumerate(blocks):
        if kind == "space":
            if number and blocks[number - 1][0] == "equal":
                word = text[blocks[number - 1][1][0] : start].rsplit(maxsplit=1)[-1:]
                start -= len("".join(word))
            if number + 1 < len(blocks) and blocks[number + 1][0] == "equal":
                word = text[end : blocks[number + 1][1][1]].split(maxsplit=1)[:1]
                end += len("".join(word))
            yield start, end


def _starts_and_ends(tokens: Tokens) -> tuple[Sequence[int], Sequence[int]]:
    """The starts and ends of the tokens before the end-of-sequence token; both ascend."""
    starts, ends = zip(*tokens.offsets[: tokens.body], strict=True) if tokens.body else ((), ())
    return starts, ends


def _inside(span: Span, starts: Sequence[int], ends: Sequence[int]) -> range:
    """The indices of the tokens inside a span."""
    first = bisect_left(starts, span[0])
    return range(first, bisect_right(ends, span[1], lo=first))


def _places(tokens: Tokens, inside: range, origin: int) -> list[Span]:
    return [(start - origin, end - origin) for start, end in tokens.offsets[inside.start : inside.stop]]


def _pairs_by_place(
    places: Sequence[Span], other_places: Sequence[Span], ids: Sequence[int], other_ids: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Pair equal tokens at equal places.

    Several tokens may share one place, such as the bytes of a character. They are paired only if all of them agree.
    """
    partners = _by_place(other_places)
    for place, indices in _by_place(places).items():
        others = partners.get(place, [])
        if [ids[i] for i in indices] == [other_ids[j] for j in others]:
            yield from zip(indices, others, strict=True)


def _by_place(places: Iterable[Span]) -> dict[Span, list[int]]:
    indices: defaultdict[Span, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        indices[place].append(index)
    return indices


def _anchor(
    blocks: tuple[Block, ...],
    sides: tuple[tuple[str, Tokens], tuple[str, Tokens]],
    pairs: _Pairs,
    rejected: list[bool],
    chosen: list[bool],
) -> _Pairs:
    """Mark the divergence anchors on their own side; returns the remaining pairs."""
    blamed = {_next_token(*sides[0], block.original[0]) for block in blocks if block.kind == "insert"}
    credited = {_next_token(*sides[1], block.edited[0]) for block in blocks if block.kind == "delete"}
    for flags, anchors in ((rejected, blamed), (chosen, credited)):
        for index in anchors:
            if index is not None:
                flags[index] = True
    return [(i, j) for i, j in pairs if i not in blamed and j not in credited]


def _next_token(text: str, tokens: Tokens, position: int) -> int | None:
    """The first token with visible characters that ends beyond a position in the text, if any."""
    first = bisect_right(tokens.offsets, position, hi=tokens.body, key=lambda span: span[1])
    return next((index for index in range(first, tokens.body) if text[slice(*tokens.offsets[index])].strip()), None)


def _eos(last: str, original: Tokens, edited: Tokens, eos_in_changed: bool) -> _Eos:
    """The state of the end-of-sequence tokens where the last block is of kind `last`."""
    if not (original.has_eos and edited.has_eos):
        return original.has_eos and eos_in_changed, edited.has_eos and eos_in_changed, False
    appended, cut = eos_in_changed and last == "insert", eos_in_changed and last == "delete"
    return appended, cut, not (appended or cut)


def _with_eos(
    rejected: list[bool], chosen: list[bool], pairs: _Pairs, eos: _Eos, original: Tokens, edited: Tokens
) -> TokenMasks:
    """Join the masks of the tokens before the end with those of the end-of-sequence tokens."""
    return TokenMasks(
        (*rejected, eos[0]) if original.has_eos else tuple(rejected),
        (*chosen, eos[1]) if edited.has_eos else tuple(chosen),
        (*pairs, (original.body, edited.body)) if eos[2] else tuple(pairs),
    )
