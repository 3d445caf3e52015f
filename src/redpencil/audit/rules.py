"""The words that an edit changes, and cheap rules for edits that are not minimal.

A rule sees only words, so a broken rule is a reason to look at an edit, not a verdict.
"""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from redpencil.alignment.words import FUNCTION_WORDS, Kind, Span, diff_words, kept_share, split_words
from redpencil.editing.answer import strip_preamble

TENTHS = 10


class Words:
    """A text with its words as the alignment splits them."""

    __slots__ = ("ends", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.ends = [end for _, end in split_words(text)]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        return self.text[self.ends[index - 1] if index else 0 : self.ends[index]]

    def between(self, span: Span) -> list[str]:
        """Return the words of a range of indices, without white space around them."""
        return [self[index].strip() for index in range(*span)]

    def overlapping(self, characters: Span) -> Span:
        """Return the range of words that overlap a span of characters; their leading white space does not count.

        An empty span within a word overlaps it.
        """
        start, end = characters
        first = bisect_right(self.ends, start)
        last = bisect_left(self.ends, end)
        if last < len(self.ends) and (self.ends[last] == end or self._core(last) < end):
            last += 1
        return first, max(first, last)

    def _core(self, index: int) -> int:
        """The position of a word's first visible character; the start of a word that has none."""
        word = self[index]
        return self.ends[index] - (len(word.lstrip()) or len(word))


@dataclass(frozen=True, slots=True)
class Piece:
    """A change, as ranges of words of both texts, ends excluded."""

    kind: Kind
    original: Span
    edited: Span


@dataclass(frozen=True, slots=True)
class Measures:
    """The changes of an edit. `kept` is the share of the original's words that the edit keeps."""

    original: Words
    edited: Words
    pieces: tuple[Piece, ...]
    kept: float

    @property
    def removed(self) -> int:
        """Number of words of the original that are removed."""
        return sum(end - start for piece in self.pieces for start, end in (piece.original,))

    @property
    def added(self) -> int:
        """Number of words that are added."""
        return sum(end - start for piece in self.pieces for start, end in (piece.edited,))

    @property
    def only_appends(self) -> bool:
        """True if the edit only adds words after the last one, closing punctuation aside."""
        return _extends(self.original, self.edited)

    @property
    def only_cuts_the_end(self) -> bool:
        """True if the edit only removes the last words; some must stay."""
        return _extends(self.edited, self.original)

    @property
    def added_at_the_end(self) -> int:
        """Number of words added behind the original's last word with a letter or digit."""
        core = _core_length(self.original)
        behind = [piece.edited for piece in self.pieces if piece.original[0] >= core]
        return sum(end - start for start, end in behind)


def measure(original: str, edited: str) -> Measures:
    """Align two texts and list the changed words."""
    before, after = Words(original), Words(edited)
    pieces = tuple(
        Piece(block.kind, before.overlapping(block.original), after.overlapping(block.edited))
        for block in diff_words(original, edited)
        if block.kind != "equal"
    )
    return Measures(before, after, pieces, kept_share(original, edited))


def tenths(span: Span, total: int) -> Iterator[tuple[int, int]]:
    """Yield how many words of a span are in each tenth of a text of `total` words, as (tenth from 0, words)."""
    index, end = span
    while index < end:
        tenth = index * TENTHS // total
        following = min(end, -(-(tenth + 1) * total // TENTHS))
        yield tenth, following - index
        index = following


def tenth_of(index: int, total: int) -> int:
    """Return the tenth, from 0, of the place before word `index`; behind the last word it is the last tenth."""
    return min(index * TENTHS // total, TENTHS - 1) if total else 0


def has_letters(word: str) -> bool:
    """Return whether a word has a letter or a digit."""
    return word.isalnum() or any(char.isalnum() for char in word)


def _core_length(words: Words) -> int:
    """Words up to the last one with a letter or digit."""
    length = len(words)
    while length and not has_letters(words[length - 1]):
        length -= 1
    return length


def _extends(shorter: Words, longer: Words) -> bool:
    length = _core_length(shorter)
    if not length or length >= len(longer) or longer.ends[length - 1] != shorter.ends[length - 1]:
        return False
    end = shorter.ends[length - 1]
    return longer.text.startswith(shorter.text[:end]) and has_letters(longer.text[end:])


MIN_KEPT = 0.25
"""Share of the words that an edit should keep. Human edits of QA-Feedback keep half on average, and one in ten of them
less than this; a limit of half would call every second one too large."""

RULES: Final[Mapping[str, str]] = {
    "rewritten": "keeps less than {share} of the words",
    "cosmetic": "changes only white space, letter case or punctuation",
    "reordered": "has the same words in another order",
    "put_back": "takes words out and puts most of them back close by",
    "rephrased": "says a sentence anew that keeps nearly all of its content words",
    "wrapped": "adds an announcement or quotation marks around the response",
}
"""The rules by name, with a description of an edit that breaks one; see `rule_text`."""

_PUT_BACK = 3
"""The smallest number of words that come back; fewer happen by chance."""
_NEAR = 3
"""The largest number of kept words between changes that belong together."""
_SENTENCE_WORDS = 5
"""The smallest number of content words of a sentence that can count as rephrased."""
_SAME_CONTENT = 0.75
_STEM = 5
"""The number of letters of a word that are compared, so that `founded` and `founding` are equal."""
_MARKS = (
    r"""-.,;:!?"'()\[\]{}"""
    "\u00a1\u00ab\u00bb\u00bf\u2013\u2014\u2018\u2019\u201c\u201d\u2026"
    "\u3001\u3002\u300c\u300d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
"""Marks of European and of East Asian texts: stops, commas, dashes, quotation marks and brackets."""
_PUNCTUATION = re.compile(rf"(?<!\d)[{_MARKS}]+(?!\d)|\s+")
_SENTENCE_END = re.compile("[.!?\u2026](?=\\s)|[\u3002\uff01\uff1f]|\n")


def broken_rules(edit: Measures, min_kept: float = MIN_KEPT) -> tuple[str, ...]:
    """Return the names of the rules that an edit breaks, in the order of `RULES`.

    Args:
        edit: its changes.
        min_kept: share of the original's words below which an edit is called rewritten.
    """
    cosmetic = _plain(edit.original.text) == _plain(edit.edited.text)
    broken = {
        "rewritten": edit.kept < min_kept,
        "cosmetic": cosmetic,
        "reordered": not cosmetic and _reordered(edit),
        "put_back": not cosmetic and _put_back(edit),
        "rephrased": not cosmetic and _rephrased(edit),
        "wrapped": _wrapped(edit),
    }
    return tuple(name for name in RULES if broken[name])


def rule_text(name: str, min_kept: float) -> str:
    """Describe an edit that breaks a rule, with the share below which an edit is called rewritten."""
    return RULES[name].format(share=f"{100 * min_kept:.0f} %")


def is_content(word: str) -> bool:
    """Return whether a word is a content word: it has a letter or digit and is not an English function word."""
    return has_letters(word) and word.lower() not in FUNCTION_WORDS


def _plain(text: str) -> str:
    """A text without white space, case and punctuation; signs that touch a digit stay, as in -1.5."""
    return "".join(_PUNCTUATION.sub("", text).split()).casefold()


def _bag(words: Words, spans: Iterable[Span], counts: Callable[[str], bool]) -> Counter[str]:
    """Count the words of some spans, whatever their case, for which `counts` holds."""
    return Counter(word.casefold() for span in spans for word in words.between(span) if counts(word))


def _reordered(edit: Measures) -> bool:
    removed = _bag(edit.original, (piece.original for piece in edit.pieces), has_letters)
    return bool(removed) and removed == _bag(edit.edited, (piece.edited for piece in edit.pieces), has_letters)


def _put_back(edit: Measures) -> bool:
    removed = back = 0
    for pieces in _stretches(edit.pieces):
        before = _bag(edit.original, (piece.original for piece in pieces), is_content)
        removed += before.total()
        back += (before & _bag(edit.edited, (piece.edited for piece in pieces), is_content)).total()
    return back >= _PUT_BACK and 2 * back >= removed


def _stretches(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Group changes that are close to each other."""
    stretches: list[list[Piece]] = []
    for piece in pieces:
        if stretches and piece.original[0] - stretches[-1][-1].original[1] <= _NEAR:
            stretches[-1].append(piece)
        else:
            stretches.append([piece])
    return stretches


def _rephrased(edit: Measures) -> bool:
    """Return whether a sentence has half of its words changed (not just removed) but keeps most of its content."""
    if edit.removed < _SENTENCE_WORDS:
        return False
    starts = [piece.original[0] for piece in edit.pieces]
    ends = [piece.original[1] for piece in edit.pieces]
    return any(
        _says_the_same(edit, sentence, bisect_right(ends, sentence[0]), bisect_left(starts, sentence[1]))
        for sentence in _sentences(edit.original)
    )


def _says_the_same(edit: Measures, sentence: Span, first: int, last: int) -> bool:
    """Return whether that holds for one sentence, which the changes from `first` up to `last` overlap."""
    start, end = sentence
    touched = edit.pieces[first:last]
    changed = sum(min(end, piece.original[1]) - max(start, piece.original[0]) for piece in touched)
    put_in = sum(piece.edited[1] - piece.edited[0] for piece in touched)
    if 2 * changed < end - start or 2 * put_in < changed:
        return False
    before = _stems(edit.original, sentence)
    if len(before) < _SENTENCE_WORDS:
        return False
    # A change across an edge of the sentence belongs to it as a whole.
    begin = touched[0].edited[0] if touched[0].original[0] < start else start + _shift(edit, first)
    finish = touched[-1].edited[1] if touched[-1].original[1] > end else end + _shift(edit, last)
    after = _stems(edit.edited, (begin, finish))
    return len(before & after) >= _SAME_CONTENT * max(len(before), len(after))


def _shift(edit: Measures, number: int) -> int:
    """The number of words by which the first `number` changes move the text behind them."""
    return edit.pieces[number - 1].edited[1] - edit.pieces[number - 1].original[1] if number else 0


def _stems(words: Words, span: Span) -> set[str]:
    return {word.casefold()[:_STEM] for word in words.between(span) if is_content(word)}


def _sentences(words: Words) -> Iterable[Span]:
    start = 0
    for match in _SENTENCE_END.finditer(words.text):
        _, end = words.overlapping((0, match.end()))
        if end > start:
            yield start, end
            start = end
    if start < len(words):
        yield start, len(words)


def _wrapped(edit: Measures) -> bool:
    return strip_preamble(edit.edited.text, edit.original.text).split() != edit.edited.text.split()
