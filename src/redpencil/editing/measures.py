"""What one edit did, counted in words: the figures that an audit adds up."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from redpencil.alignment.words import Kind, Span, diff_words, kept_share, split_words

TENTHS = 10


class Words:
    """A text with its words, which are those of the alignment."""

    __slots__ = ("ends", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.ends = [end for _, end in split_words(text)]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        return self.text[self.ends[index - 1] if index else 0 : self.ends[index]]

    def between(self, span: Span) -> list[str]:
        """The words from one index up to another, without white space around them."""
        return [self[index].strip() for index in range(*span)]

    def overlapping(self, characters: Span) -> Span:
        """Indices of the words that share a character with a span; their leading white space does not count.

        An empty span within a word touches it.
        """
        start, end = characters
        first = bisect_right(self.ends, start)
        last = bisect_left(self.ends, end)
        if last < len(self.ends) and (self.ends[last] == end or self._core(last) < end):
            last += 1
        return first, max(first, last)

    def _core(self, index: int) -> int:
        """Where a word's first visible character stands; the start of a word that has none."""
        word = self[index]
        return self.ends[index] - (len(word.lstrip()) or len(word))


@dataclass(frozen=True, slots=True)
class Piece:
    """A changed stretch, as indices of words of both texts, ends excluded."""

    kind: Kind
    original: Span
    edited: Span


@dataclass(frozen=True, slots=True)
class Measures:
    """An edit taken apart. `kept` is the share of the original's words that the edit keeps."""

    original: Words
    edited: Words
    pieces: tuple[Piece, ...]
    kept: float

    @property
    def removed(self) -> int:
        """Words of the original that are gone."""
        return sum(end - start for piece in self.pieces for start, end in (piece.original,))

    @property
    def added(self) -> int:
        """Words that the original does not have."""
        return sum(end - start for piece in self.pieces for start, end in (piece.edited,))

    @property
    def only_appends(self) -> bool:
        """Whether all that was done is to add words after the last one, closing punctuation aside."""
        return _extends(self.original, self.edited)

    @property
    def only_cuts_the_end(self) -> bool:
        """Whether all that was done is to take the last words away; some must stay."""
        return _extends(self.edited, self.original)

    @property
    def added_at_the_end(self) -> int:
        """Words put in behind the original's last word, where only punctuation or nothing is left."""
        core = _core_length(self.original)
        behind = [piece.edited for piece in self.pieces if piece.original[0] >= core]
        return sum(end - start for start, end in behind)


def measure(original: str, edited: str) -> Measures:
    """Align two texts and say in words what changed."""
    before, after = Words(original), Words(edited)
    pieces = tuple(
        Piece(block.kind, before.overlapping(block.original), after.overlapping(block.edited))
        for block in diff_words(original, edited)
        if block.kind != "equal"
    )
    return Measures(before, after, pieces, kept_share(original, edited))


def tenths(span: Span, total: int) -> Iterator[tuple[int, int]]:
    """How many of the words of a span lie in each tenth of a text of `total` words: (tenth from 0, words)."""
    index, end = span
    while index < end:
        tenth = index * TENTHS // total
        following = min(end, -(-(tenth + 1) * total // TENTHS))
        yield tenth, following - index
        index = following


def tenth_of(index: int, total: int) -> int:
    """The tenth, from 0, in which something before word `index` stands; behind the last word it is the last."""
    return min(index * TENTHS // total, TENTHS - 1) if total else 0


def has_letters(word: str) -> bool:
    """Whether a word has a letter or a digit."""
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
