"""Word edits between an original text and its edit (section 2.1 of the paper).

Texts are split into words that carry their leading white space, the words are aligned by their longest common
subsequence, and edits that only function words or punctuation separate become one edit, as a person would mark it.
"""

import re
import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise
from typing import Literal

from rapidfuzz.distance import Indel, LCSseq, Levenshtein, Prefix

Alignment = Literal["lcs", "positional"]
Kind = Literal["equal", "replace", "delete", "insert", "space"]
Span = tuple[int, int]

FUNCTION_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "these", "those", "it", "its", "he", "his", "she", "her", "they", "their"),
        *("and", "or", "but", "nor", "so", "also", "as", "than", "which", "who"),
        *("of", "to", "in", "on", "at", "by", "for", "from", "with", "into"),
        *("is", "are", "was", "were", "be", "been", "being", "has", "have", "had", "do", "does", "did"),
    )
)
"""English words that do not keep two edits apart."""

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

_SPACE_AND_REST = re.compile(r"(\s*)(\S*)")
_NOTHING = ("", "")

_PLAIN = re.compile(
    "[\0-\u02ff\u0370-\u0482\u048a-\u052f\u2000-\u200b\u200e-\u20cf\u2100-\u2bff"
    "\U0001f000-\U0001f3fa\U0001f400-\U0001faff]*"
)
"""Texts without ideographs, marks and joiners, such as most in Latin, Greek or Cyrillic letters."""
_PLAIN_WORD = re.compile(r"\s*(?:\w+(?:['\u2019]\w+)*|\W)")
"""Finds the same words as `_WORD` in such texts, faster."""

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
_LARGEST_TABLE = 400_000_000
"""The largest number of word pairs that are aligned exactly: one bit each, so 50 megabytes."""


@dataclass(frozen=True, slots=True)
class Block:
    """A part of both texts: kept, replaced, deleted or inserted. Spans are character offsets, end excluded.

    Only `diff_visible` gives blocks of kind `space`, white space on both sides that differs; one side may be empty.
    """

    kind: Kind
    original: Span
    edited: Span


def split_words(text: str) -> list[Span]:
    """Split a text into words; returns their character spans, which tile it.

    A word carries the white space before it; white space at the end of the text is a word. Punctuation marks and
    symbols are words of their own, except an apostrophe between letters. In scripts without spaces each character
    is a word. Combining marks stay with their letter, joined emoji together.
    """
    return list(pairwise(_borders(_words(text))))


def diff_words(original: str, edited: str, alignment: Alignment = "lcs") -> tuple[Block, ...]:
    """Compare two texts; returns blocks that tile both, in order. Equal blocks hold the same characters on both sides.

    Args:
        original: the text before the edit.
        edited: the text after it.
        alignment: `lcs` aligns words by their longest common subsequence and joins edits that belong together;
            `positional` compares word i with word i, the literal reading of U0 and U1 in section 2.2 of the paper.
    """
    start = _shared_start(original, edited) if alignment == "lcs" else 0
    words = _words(original, start), _words(edited, start)
    borders = _borders(words[0]), _borders(words[1])
    if alignment == "positional":
        return tuple(_blocks(_positional(*words), *borders))
    words = _spaced(*words)
    return tuple(_blocks(_join(_slide_right(_lcs(*words), *words), words[0]), *borders))


def diff_visible(original: str, edited: str) -> tuple[Block, ...]:
    """Compare two texts as `diff_words` does, but white space apart from the words: words are kept if only white space
    beside or within them changed, and that white space is a block of kind `space`.

    A block is an insertion or a deletion if one side has nothing but white space.
    """
    start = _shared_start(original, edited)
    words = _words(original, start), _words(edited, start)
    # White space at the end is no word of its own: it goes into the last block.
    ends = _pop_space(words[0]), _pop_space(words[1])
    compared = _spaced(*words)
    hunks = _lcs(*compared)
    if _respacing_helps(hunks, *words):
        compared = words[0], _respaced(*words)
        hunks = _lcs(*compared)
    hunks = _join(_without_splits(_slide_right(hunks, *compared), *words), compared[0])
    for side, end in zip(words, ends, strict=True):
        side.append(end)
    return tuple(_visible_blocks(hunks, original, edited, *words))


def same_visible(original: str, edited: str) -> bool:
    """Return whether two texts are the same but for white space."""
    return "".join(original.split()) == "".join(edited.split())


def kept_share(original: str, edited: str) -> float:
    """Compute the share of the original's words that the edit keeps, from 0 to 1; 1 for an original without words.

    These are the words of the longest common subsequence. In texts that are too long for it, they are the words that
    `diff_words` aligns in chunks.
    """
    words = _spaced(_words(original), _words(edited))
    count = len(words[0])
    if not count:
        return 1.0
    if count * len(words[1]) <= _LARGEST_TABLE:
        return LCSseq.similarity(*_numbered(*words)) / count
    return (count - sum(end - start for start, end, _, _ in _lcs(*words))) / count


def without_spacing(text: str) -> str:
    """Return the words of a text with one space between them: two texts are then equal if their words are."""
    return " ".join(word for word in map(str.strip, _words(text)) if word)


def word_distance(original: str, edited: str, *, spacing: bool = False) -> int:
    """Count the words that an editor changes at least, Levenshtein's distance.

    To replace a word is one change, as it is to insert or to delete one. So m words that become n others count
    max(m, n). This is the numerator of HTER (Snover et al., 2006), without its shifts.

    Args:
        original: the text before the edit.
        edited: the text after it.
        spacing: whether a word is another one if the white space before it is, but for that at the ends of the texts.
    """
    if spacing:
        words = _spaced(_words(original.strip()), _words(edited.strip()))
    else:
        words = without_spacing(original).split(), without_spacing(edited).split()
    return Levenshtein.distance(*_numbered(*words))


_Hunk = tuple[int, int, int, int]
"""Words that an edit removes and adds: start and end in the original, start and end in the edit."""


def changed_runs(original: Sequence[str], edited: Sequence[str]) -> list[_Hunk]:
    """Return the runs of words that the longest common subsequence leaves out, as starts and ends in both lists."""
    return _lcs(original, edited)


def _words(text: str, start: int = 0) -> list[str]:
    """The words of a text; its first `start` characters, which must end with a word, count as one."""
    beginning = [text[:start]] if start else []
    if text.isascii() or _PLAIN.fullmatch(text):
        return beginning + _PLAIN_WORD.findall(text, start)
    lengths = map(len, _WORD.findall(text.translate(_CLASSES), start))
    return beginning + [text[a:b] for a, b in pairwise(accumulate(lengths, initial=start))]


def _shared_start(original: str, edited: str) -> int:
    """Length of a beginning that both texts share and that ends before the white space of a word in both."""
    words = original[: Prefix.similarity(original, edited)].rsplit(maxsplit=1)
    return len(words[0]) if len(words) == 2 else 0


def _borders(words: Iterable[str]) -> list[int]:
    """The start of each word in its text, and the end of the last one."""
    return list(accumulate(map(len, words), initial=0))


def _spaced(original: list[str], edited: list[str]) -> tuple[list[str], list[str]]:
    """Give a text's first word the leading space it has in the other text, where it comes later.

    So a new opener leaves the old first word equal, though it now has a space before it.
    """
    return _first_spaced(original, edited), _first_spaced(edited, original)


def _first_spaced(words: list[str], others: list[str]) -> list[str]:
    if not words or not others or others[0][0].isspace() or words[0] in others or f" {words[0]}" not in others:
        return words
    return [f" {words[0]}", *words[1:]]


def _blocks(hunks: Iterable[_Hunk], original: Sequence[int], edited: Sequence[int]) -> Iterator[Block]:
    """Turn hunks of words, and the equal words between them, into blocks of characters, by the borders of the words.

    A space that `_spaced` ignored makes the text after a hunk longer on one side; it is added to the hunk.
    """
    ends = len(original) - 1, len(edited) - 1
    for hunk, following in pairwise(((0, 0, 0, 0), *hunks, (ends[0], ends[0], ends[1], ends[1]))):
        a, a_end, b, b_end = original[hunk[0]], original[hunk[1]], edited[hunk[2]], edited[hunk[3]]
        a_next, b_next = original[following[0]], edited[following[2]]
        surplus = (a_next - a_end) - (b_next - b_end)
        a_end, b_end = a_end + max(surplus, 0), b_end + max(-surplus, 0)
        if a < a_end or b < b_end:
            yield Block("insert" if a == a_end else "delete" if b == b_end else "replace", (a, a_end), (b, b_end))
        if a_end < a_next:
            yield Block("equal", (a_end, a_next), (b_end, b_next))


def _pop_space(words: list[str]) -> str:
    """Take the white space at the end of a text out of its words, and return it."""
    return words.pop() if words and words[-1].isspace() else ""


def _respacing_helps(hunks: Iterable[_Hunk], original: Sequence[str], edited: Sequence[str]) -> bool:
    """Return whether a word that is removed is added elsewhere with other white space before it."""
    removed: set[str] = set()
    added: set[str] = set()
    for a, a_end, b, b_end in hunks:
        removed.update(original[a:a_end])
        added.update(edited[b:b_end])
    cores = set(map(str.strip, removed - added))
    return not cores.isdisjoint(map(str.strip, added - removed))


def _without_splits(hunks: Iterable[_Hunk], original: Sequence[str], edited: Sequence[str]) -> Iterator[_Hunk]:
    """Take words that are only split or joined by white space off both ends of each hunk."""
    for a, a_end, b, b_end in hunks:
        if a < a_end and b < b_end:
            words, others = ([*map(str.strip, side)] for side in (original[a:a_end], edited[b:b_end]))
            if words[0][0] == others[0][0]:
                shared = _shared_words(words, others)
                a, b, words, others = a + shared[0], b + shared[1], words[shared[0] :], others[shared[1] :]
            if words and others and words[-1][-1] == others[-1][-1]:
                shared = _shared_words(*([word[::-1] for word in reversed(side)] for side in (words, others)))
                a_end, b_end = a_end - shared[0], b_end - shared[1]
        if a < a_end or b < b_end:
            yield a, a_end, b, b_end


def _shared_words(words: Sequence[str], others: Sequence[str]) -> tuple[int, int]:
    """The number of first words of each side that together have the same characters."""
    prefix = Prefix.similarity("".join(words), "".join(others))
    ends, other_ends = (list(accumulate(map(len, side))) for side in (words, others))
    shared = max((end for end in {*ends} & {*other_ends} if end <= prefix), default=0)
    return bisect_right(ends, shared), bisect_right(other_ends, shared)


def _respaced(original: Sequence[str], edited: Sequence[str]) -> list[str]:
    """Give the edited words that the original has too, in order, the white space that they have there."""
    respaced = list(edited)
    cores = [word.strip() for word in original], [word.strip() for word in edited]
    ends = len(original), len(edited)
    for before, after in pairwise(((0, 0, 0, 0), *_lcs(*cores), (ends[0], ends[0], ends[1], ends[1]))):
        respaced[before[3] : after[2]] = original[before[1] : after[0]]
    return respaced


def _visible_blocks(
    hunks: Iterable[_Hunk], original: str, edited: str, words: Sequence[str], others: Sequence[str]
) -> Iterator[Block]:
    """Turn hunks and the words between them, equal but for white space, into blocks of characters."""
    borders = _borders(words), _borders(others)
    ends = len(words), len(others)
    for hunk, following in pairwise(((0, 0, 0, 0), *hunks, (ends[0], ends[0], ends[1], ends[1]))):
        first, second = (borders[0][hunk[0]], borders[0][hunk[1]]), (borders[1][hunk[2]], borders[1][hunk[3]])
        if hunk[0] < hunk[1] or hunk[2] < hunk[3]:
            yield Block(
                "insert" if hunk[0] == hunk[1] else "delete" if hunk[2] == hunk[3] else "replace", first, second
            )
        a, b, a_end, b_end = first[1], second[1], borders[0][following[0]], borders[1][following[2]]
        if original[a:a_end] == edited[b:b_end]:
            if a < a_end:
                yield Block("equal", (a, a_end), (b, b_end))
        else:
            yield from _respaced_blocks(original[a:a_end], edited[b:b_end], a, b)


def _respaced_blocks(original: str, edited: str, a: int, b: int) -> Iterator[Block]:
    """Turn texts that are the same but for white space, which begin at `a` and `b`, into blocks."""
    sides = [iter(_SPACE_AND_REST.findall(text)) for text in (original, edited)]
    (space, rest), (other_space, other_rest) = (next(side) for side in sides)
    length = 0
    while space or rest or other_space or other_rest:
        if space == other_space:
            length += len(space)
        else:
            if length:
                yield Block("equal", (a, a + length), (b, b + length))
            a, b, length = a + length, b + length, 0
            yield Block("space", (a, a + len(space)), (b, b + len(other_space)))
            a, b = a + len(space), b + len(other_space)
        shared = min(len(rest), len(other_rest))
        length += shared
        space, rest = ("", rest[shared:]) if shared < len(rest) else next(sides[0], _NOTHING)
        other_space, other_rest = ("", other_rest[shared:]) if shared < len(other_rest) else next(sides[1], _NOTHING)
    if length:
        yield Block("equal", (a, a + length), (b, b + length))


def _numbered(original: Iterable[Hashable], edited: Iterable[Hashable]) -> tuple[list[int], list[int]]:
    """Number items from 0, so that equal ones have equal numbers."""
    number = defaultdict[Hashable, int](count().__next__).__getitem__
    return list(map(number, original)), list(map(number, edited))


def _lcs(original: Sequence[str], edited: Sequence[str]) -> list[_Hunk]:
    """Words outside of the longest common subsequence, with adjacent insertions and deletions in one hunk.

    The table has a bit for each pair of words. Texts for which that is too large are cut into chunks that depend only
    on the words, so that they are the same in both texts around an edit; words are aligned where the chunks differ.
    """
    if len(original) * len(edited) <= _LARGEST_TABLE:
        return _hunks(original, edited)
    first, second = _numbered(original, edited)
    size = 8
    while len(first) * len(second) > size**2 * _LARGEST_TABLE:
        size *= 2
    a_cuts, b_cuts = _cuts(first, size), _cuts(second, size)
    hunks = []
    for chunks in _hunks(_pieces(first, a_cuts), _pieces(second, b_cuts)):
        a, a_end, b, b_end = a_cuts[chunks[0]], a_cuts[chunks[1]], b_cuts[chunks[2]], b_cuts[chunks[3]]
        small = (a_end - a) * (b_end - b) <= _LARGEST_TABLE
        inside = _hunks(first[a:a_end], second[b:b_end]) if small else [(0, a_end - a, 0, b_end - b)]
        hunks += [(a + start, a + end, b + b_start, b + b_stop) for start, end, b_start, b_stop in inside]
    return hunks


def _hunks(first: Sequence[Hashable], second: Sequence[Hashable]) -> list[_Hunk]:
    """The items between matching items of two sequences.

    rapidfuzz compares hashes. If different items have the same hash, they are numbered, which is exact and slower.
    """
    hunks = []
    a = b = 0
    for match in Indel.editops(first, second).as_matching_blocks():
        if a < match.a or b < match.b:
            hunks.append((a, match.a, b, match.b))
        a, b = match.a + match.size, match.b + match.size
        if first[match.a : a] != second[match.b : b]:
            return _hunks(*_numbered(first, second))
    return hunks


def _cuts(words: Sequence[int], size: int) -> list[int]:
    """Borders of chunks of about `size` words; three words decide whether there is a cut before them."""
    runs = zip(words[1:], words[2:], words[3:], strict=False)
    return [0, *(i for i, run in enumerate(runs, start=1) if hash(run) % size == 0), len(words)]


def _pieces(words: Sequence[int], cuts: Iterable[int]) -> list[tuple[int, ...]]:
    return [tuple(words[start:end]) for start, end in pairwise(cuts)]


def _positional(original: Sequence[str], edited: Sequence[str]) -> list[_Hunk]:
    """Compare word i with word i; the rest of the longer side is deleted or inserted."""
    hunks: list[_Hunk] = []
    for i, (word, other) in enumerate(zip(original, edited, strict=False)):
        if word != other:
            start = hunks.pop()[0] if hunks and hunks[-1][1] == i else i
            hunks.append((start, i + 1, start, i + 1))
    if len(original) != len(edited):
        shared = min(len(original), len(edited))
        hunks.append((shared, len(original), shared, len(edited)))
    return hunks


def _slide_right(hunks: list[_Hunk], original: Sequence[str], edited: Sequence[str]) -> list[_Hunk]:
    """Move each pure insertion or deletion as far right as it can go without touching the next edit.

    `a b` -> `a b b` may add either b. The texts diverge at the later one: they are equal up to there, so a token after
    it is a different action in the same state, and text added at the end counts as appended.
    """
    slid = []
    limits = [(a - 1, b - 1) for a, _, b, _ in hunks[1:]] + [(len(original), len(edited))]
    for (a, a_end, b, b_end), (a_limit, b_limit) in zip(hunks, limits, strict=False):
        shift = 0
        if a == a_end:
            while b_end + shift < b_limit and edited[b + shift] == edited[b_end + shift]:
                shift += 1
        elif b == b_end:
            while a_end + shift < a_limit and original[a + shift] == original[a_end + shift]:
                shift += 1
        slid.append((a + shift, a_end + shift, b + shift, b_end + shift))
    return slid


def _join(hunks: Iterable[_Hunk], original: Sequence[str]) -> list[_Hunk]:
    """Join hunks that only a light gap separates.

    Two pure insertions or two pure deletions stay separate: joined they would become a replacement, and unchanged
    words would count as changed on a side that lost or gained nothing.
    """
    joined: list[_Hunk] = []
    before: _Hunk | None = None
    for hunk in hunks:
        a, a_end, b, b_end = hunk
        if before is not None and _belong_together(before, hunk, original[before[1] : a]):
            a, _, b, _ = joined.pop()
        joined.append((a, a_end, b, b_end))
        before = hunk
    return joined


def _belong_together(before: _Hunk, after: _Hunk, gap: Sequence[str]) -> bool:
    insertions = before[0] == before[1] and after[0] == after[1]
    deletions = before[2] == before[3] and after[2] == after[3]
    return not (insertions or deletions) and _is_light(gap, min(_size(before), _size(after)))


def _size(hunk: _Hunk) -> int:
    return max(hunk[1] - hunk[0], hunk[3] - hunk[2])


def _is_light(gap: Sequence[str], neighbour: int) -> bool:
    """Return whether a gap is at most a quarter of the smaller adjacent edit, or has only function words and marks."""
    return 4 * len(gap) <= neighbour or all(map(_is_function_word, gap))


def _is_function_word(word: str) -> bool:
    word = word.strip().lower()
    return word in FUNCTION_WORDS or not any(map(str.isalnum, word))
