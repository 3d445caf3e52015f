"""Word edits between an original text and its edit (section 2.1 of the paper).

Texts are split into words that carry their leading white space, the words are aligned by their longest common
subsequence, and edits that only function words or punctuation separate become one edit, as a person would mark it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import Indel, LCSseq

Alignment = Literal["lcs", "positional"]
Kind = Literal["equal", "replace", "delete", "insert"]
Span = tuple[int, int]

FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "it", "its", "he", "his", "she", "her", "they", "their"),
        *("and", "or", "but", "nor", "so", "also", "as", "than", "which", "who"),
        *("of", "to", "in", "on", "at", "by", "for", "from", "with", "into"),
        *("is", "are", "was", "were", "be", "been", "being", "has", "have", "had", "do", "does", "did"),
    )
)
"""English words too light to keep two edits apart."""

_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration and closing marks
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),  # small katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # half-width kana
    (0x20000, 0x3FFFF),  # supplementary Han
)
"""Code points of scripts that put no spaces between words; each character counts as a word."""

# Over the letters of _CharacterClasses: white space, then a run of letters, one ideograph or one symbol with its marks.
_WORD = re.compile(r"s*(?:w[wmz]*(?:aw[wmz]*)*|[ipa][mz]*(?:(?<=z)[ipa][mz]*)*|[mz]+)|s+")


class _CharacterClasses(dict[int, str]):
    """One letter for each code point: s space, w word, i ideograph, a apostrophe, m mark, z joiner, p anything else."""

    def __missing__(self, code: int) -> str:
        self[code] = letter = _character_class(code)
        return letter


def _character_class(code: int) -> str:
    char = chr(code)
    if char.isspace():
        return "s"
    if code in (0x200C, 0x200D):
        return "z"
    if unicodedata.category(char).startswith("M") or 0x1F3FB <= code <= 0x1F3FF:  # skin tones join like marks
        return "m"
    if any(first <= code <= last for first, last in _UNSPACED):
        return "i"
    if char in "'\u2019":
        return "a"
    return "w" if char.isalnum() or char == "_" else "p"


_CLASSES = _CharacterClasses()


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of both texts: kept, replaced, deleted or inserted. Spans are character offsets, end excluded."""

    kind: Kind
    original: Span
    edited: Span


def split_words(text: str) -> list[Span]:
    """Character spans of the words of `text`, which tile it.

    A word carries the white space before it; white space at the end of the text is a word. Punctuation marks and
    symbols are words of their own, except an apostrophe between letters. In scripts without spaces each character
    is a word. Combining marks stay with their letter, joined emoji together.
    """
    return [match.span() for match in _WORD.finditer(text.translate(_CLASSES))]


def diff_words(original: str, edited: str, alignment: Alignment = "lcs") -> tuple[Block, ...]:
    """Blocks that tile both texts, in order; equal blocks hold the same characters on both sides.

    Args:
        original: the text that was edited.
        edited: what became of it.
        alignment: `lcs` aligns words by their longest common subsequence and joins edits that belong together;
            `positional` compares word i with word i, the literal reading of U0 and U1 in section 2.2 of the paper.
    """
    spans = split_words(original), split_words(edited)
    words = [original[start:end] for start, end in spans[0]], [edited[start:end] for start, end in spans[1]]
    if alignment == "positional":
        return tuple(_blocks(_positional(*words), *spans))
    words = _spaced(*words)
    blocks = _blocks(_join(_lcs(*words), words[0]), *spans)
    return tuple(Block(*edit) for edit in _merge(piece for block in blocks for piece in _without_surplus(block)))


def kept_share(original: str, edited: str) -> float:
    """Share of the original's words that the edit keeps, from 0 to 1; 1 for an original without words."""
    words = [[text[start:end] for start, end in split_words(text)] for text in (original, edited)]
    return LCSseq.similarity(*_numbered(*_spaced(*words))) / len(words[0]) if words[0] else 1.0


_WordEdit = tuple[Kind, Span, Span]


def _spaced(original: list[str], edited: list[str]) -> tuple[list[str], list[str]]:
    """Give a text's first word the leading space it has in the other text, where it stands further on.

    So a new opener leaves the old first word equal, though a space is now before it.
    """
    return _first_spaced(original, edited), _first_spaced(edited, original)


def _first_spaced(words: list[str], others: list[str]) -> list[str]:
    if not words or not others or others[0][0].isspace() or words[0] in others or f" {words[0]}" not in others:
        return words
    return [f" {words[0]}", *words[1:]]


def _blocks(edits: Iterable[_WordEdit], original: Sequence[Span], edited: Sequence[Span]) -> Iterator[Block]:
    """Edits of words as blocks of characters."""
    for kind, a, b in edits:
        yield Block(kind, _characters(original, a), _characters(edited, b))


def _without_surplus(block: Block) -> Iterator[_WordEdit]:
    """Split off the space that `_spaced` has overlooked on one side of an equal block."""
    (a, a_end), (b, b_end) = block.original, block.edited
    surplus = (a_end - a) - (b_end - b) if block.kind == "equal" else 0
    a_core, b_core = a + max(surplus, 0), b + max(-surplus, 0)
    yield "replace", (a, a_core), (b, b_core)
    yield block.kind, (a_core, a_end), (b_core, b_end)


def _numbered(original: Sequence[str], edited: Sequence[str]) -> tuple[list[int], list[int]]:
    """Words as small numbers: rapidfuzz compares hashes, and equal hashes of strings need not mean equal strings."""
    vocabulary: dict[str, int] = {}
    first, second = ([vocabulary.setdefault(word, len(vocabulary)) for word in words] for words in (original, edited))
    return first, second


def _lcs(original: Sequence[str], edited: Sequence[str]) -> list[_WordEdit]:
    """Word edits of the longest common subsequence, with touching insertions and deletions merged."""
    edits = _merge(
        (
            "equal" if step.tag == "equal" else "replace",
            (step.src_start, step.src_end),
            (step.dest_start, step.dest_end),
        )
        for step in Indel.opcodes(*_numbered(original, edited))
    )
    return _slide_right(edits, original, edited)


def _positional(original: Sequence[str], edited: Sequence[str]) -> list[_WordEdit]:
    """Word i against word i; what is left of the longer side is deleted or inserted."""
    shared = min(len(original), len(edited))
    edits = _merge(("equal" if original[i] == edited[i] else "replace", (i, i + 1), (i, i + 1)) for i in range(shared))
    if len(original) != len(edited):
        kind: Kind = "delete" if len(original) > shared else "insert"
        edits.append((kind, (shared, len(original)), (shared, len(edited))))
    return edits


def _merge(edits: Iterable[_WordEdit]) -> list[_WordEdit]:
    """Make one of touching edits and one of touching equal blocks, drop empty ones, name each by what it does."""
    merged: list[_WordEdit] = []
    for kind, (a, a_end), (b, b_end) in edits:
        if a == a_end and b == b_end:
            continue
        if merged and (merged[-1][0] == "equal") == (kind == "equal"):
            _, (a, _), (b, _) = merged.pop()
        merged.append((_kind(kind, a_end - a, b_end - b), (a, a_end), (b, b_end)))
    return merged


def _kind(kind: Kind, original_length: int, edited_length: int) -> Kind:
    if kind == "equal":
        return "equal"
    if original_length == 0:
        return "insert"
    return "delete" if edited_length == 0 else "replace"


def _slide_right(edits: list[_WordEdit], original: Sequence[str], edited: Sequence[str]) -> list[_WordEdit]:
    """Move each pure insertion or deletion as far right as it can go without touching the next edit.

    `a b` -> `a b b` may add either b. The later one is where the texts part: up to there both are the same, so a
    token after it really is another action in the same state, and text added at the end counts as appended.
    """
    slid = list(edits)
    result: list[_WordEdit] = []
    for i, (kind, (a, a_end), (b, b_end)) in enumerate(slid):
        shift = 0
        if kind in ("insert", "delete") and i + 1 < len(slid):
            words, start, end = (edited, b, b_end) if kind == "insert" else (original, a, a_end)
            _, (c, c_end), (d, d_end) = slid[i + 1]
            room = c_end - c - (i + 2 < len(slid))
            while shift < room and words[start + shift] == words[end + shift]:
                shift += 1
            slid[i + 1] = ("equal", (c + shift, c_end), (d + shift, d_end))
        result.append(("equal", (a, a + shift), (b, b + shift)))
        result.append((kind, (a + shift, a_end + shift), (b + shift, b_end + shift)))
    return _merge(result)


def _join(edits: list[_WordEdit], original: Sequence[str]) -> list[_WordEdit]:
    """Join edits that only a light gap separates.

    Two pure insertions or two pure deletions stay apart: joined they would become a replacement, and words that
    nobody touched would count as changed on a side that lost or gained nothing.
    """
    joined = list(edits)
    for before, i, after in zip(edits, range(1, len(edits)), edits[2:], strict=False):
        kind, (a, a_end), b_span = edits[i]
        apart = before[0] == after[0] and before[0] != "replace"
        if kind == "equal" and not apart and _is_light(original[a:a_end], min(_size(before), _size(after))):
            joined[i] = ("replace", (a, a_end), b_span)
    return _merge(joined)


def _size(edit: _WordEdit) -> int:
    _, (a, a_end), (b, b_end) = edit
    return max(a_end - a, b_end - b)


def _is_light(gap: Sequence[str], neighbour: int) -> bool:
    """Whether a gap is at most a quarter of the smaller edit beside it or holds only function words and punctuation."""
    return 4 * len(gap) <= neighbour or all(_is_function_word(word) for word in gap)


def _is_function_word(word: str) -> bool:
    word = word.strip().lower()
    return word in FUNCTION_WORDS or not any(char.isalnum() for char in word)


def _characters(words: Sequence[Span], span: Span) -> Span:
    """Character span of a span of words."""
    first, end = span
    start = words[first][0] if first < len(words) else words[-1][1] if words else 0
    return start, words[end - 1][1] if end > first else start
