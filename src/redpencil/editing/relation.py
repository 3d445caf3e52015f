"""How a text relates to the original response: what it keeps of it, and whether it is about the same."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

from redpencil.alignment.words import kept_share, split_words
from redpencil.editing.vocabulary import COMMON, SELF

_KEEPS_LITTLE: Final = 0.3
_UNRELATED: Final = 0.1
_KEEPS_NOTHING: Final = 0.1
_FEW_WORDS, _MANY_WORDS = 8, 20
"""A response of fewer words may be changed wholly; one of more has to keep something.

On 4,119 real human edits (QA-Feedback, JFLEG) with 8 words and more, none that keeps less than .3 of the words shares
less than .1 of its terms with prompt and original, as a text about something else does in 9 of 10 cases.
"""
CODE: Final = re.compile(r"[={};]|\w\(")


@dataclass(frozen=True)
class Source:
    """A response that was to be edited, and the prompt that it answers, which may be unknown."""

    original: str
    prompt: str = ""
    _counts: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def known(self) -> str:
        """Prompt and original, in lower case."""
        return plain(f"{self.prompt}\n{self.original}")

    @cached_property
    def words(self) -> int:
        """Number of the original's words; of its marks, if it has no words."""
        return len(split_words(self._bare))

    @cached_property
    def _has_words(self) -> bool:
        return bool(_without_marks(self.original))

    def _without_marks(self, text: str) -> str:
        return _without_marks(text) if self._has_words else plain(text)

    @cached_property
    def _bare(self) -> str:
        return self._without_marks(self.original)

    @cached_property
    def terms(self) -> frozenset[str]:
        """Terms of prompt and original."""
        return terms(self.known)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """All words of prompt and original."""
        return vocabulary(self.known)

    @cached_property
    def scripts(self) -> frozenset[str]:
        """Scripts in which prompt and original are written."""
        return frozenset(map(_script, filter(str.isalpha, self.known)))

    @cached_property
    def is_markup(self) -> bool:
        """Whether the original has closing tags, so that an edit may put others around something."""
        return "</" in self.original

    @cached_property
    def is_code(self) -> bool:
        """Whether most lines look like program code."""
        lines = [line for line in self.original.splitlines() if line.strip()]
        return 2 * sum(bool(CODE.search(line)) for line in lines) >= len(lines)

    @cached_property
    def speaks_of_self(self) -> bool:
        """Whether the original has words such as "I"."""
        return SELF.search(plain(self.original)) is not None

    def kept(self, text: str) -> float:
        """Return the number of the original's words that a text keeps, whatever their case, marks and white space.

        A full stop or a bracket is in any text.
        """
        if text not in self._counts:
            self._counts[text] = self.words * kept_share(self._bare, self._without_marks(text)) if self.words else 0
        return self._counts[text]

    def kept_outside(self, pieces: Sequence[str], *, at_end: bool) -> list[int]:
        """Return what a text keeps, as `kept` counts it, without its first 0, 1, 2 ... pieces, or its last ones.

        One pass over the text: the bits of `unmatched` are the original's words that the longest common subsequence so
        far has not used (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).
        """
        step = 1 if at_end else -1
        places: defaultdict[str, int] = defaultdict(int)
        for place, word in enumerate(self._bare_words(self.original)[::step]):
            places[word] |= 1 << place
        everything = unmatched = (1 << self.words) - 1
        kept = [0]
        for piece in pieces[::step]:
            for word in self._bare_words(piece)[::step]:
                matches = unmatched & places.get(word, 0)
                unmatched = ((unmatched + matches) | (unmatched - matches)) & everything
            kept.append(self.words - unmatched.bit_count())
        return kept[::-1]

    def _bare_words(self, text: str) -> list[str]:
        text = self._without_marks(text)
        return [text[start:end].strip() for start, end in split_words(text)]

    def knows(self, word: str) -> bool:
        """Return whether prompt or original have a word, or one that begins like it."""
        return word[:5] in self._beginnings if word.isascii() or word[0] < "\u0e00" else word in self.known

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        return frozenset(word[:5] for word in self.vocabulary)

    def is_same(self, text: str) -> bool:
        """Return whether a text differs from the original in white space alone."""
        return text.split() == self.original.split()

    def is_no_edit(self, text: str) -> bool:
        """Return whether a text keeps too little of the original, and is about something else."""
        share = self.kept(text) / self.words if self.words else 1.0
        found, words = terms(text), _without_marks(text).split()
        shared = len(found & self.terms) / len(found) if found else 0.0
        if self.words < _FEW_WORDS:
            longer = len(words) > self.words + 5
            return not shared and len(found) >= 3 and share < _KEEPS_LITTLE and longer
        known = sum(word in self.vocabulary for word in words)  # hardly one in a translation
        unrelated = shared < _UNRELATED or (known < _UNRELATED * len(words) and len(words) >= _FEW_WORDS)
        return (share < _KEEPS_LITTLE and unrelated) or (share < _KEEPS_NOTHING and self.words >= _MANY_WORDS)

    def is_foreign_script(self, text: str) -> bool:
        """Return whether most letters of a text are of a script that neither prompt nor original has."""
        letters = list(filter(str.isalpha, text))
        return 2 * sum(_script(letter) not in self.scripts for letter in letters) > len(letters) > 1


def plain(text: str) -> str:
    """Write a text in lower case, with straight apostrophes and single spaces."""
    return " ".join(text.casefold().replace("\u2019", "'").split())


def _without_marks(text: str) -> str:
    """Write the words of a text in lower case, without punctuation marks and symbols."""
    text = plain(text)
    words = (text[start:end].strip() for start, end in split_words(text))
    return " ".join(word for word in words if any(map(str.isalnum, word)))


def count_words(text: str) -> int:
    """Count the words of a text, without punctuation marks and symbols."""
    return len(_without_marks(text).split())


@lru_cache(maxsize=256)
def vocabulary(text: str) -> frozenset[str]:
    """Return the words of a text in lower case, without punctuation marks."""
    words = (text[start:end].strip().casefold() for start, end in split_words(text))
    return frozenset(word for word in words if any(map(str.isalnum, word)))


@lru_cache(maxsize=256)
def terms(text: str) -> frozenset[str]:
    """Return what a text is about: beginnings of its longer words, numbers, and pairs of ideographs."""
    found: set[str] = set()
    before = ""
    for start, end in split_words(text):
        word = text[start:end].strip().casefold()
        if len(word) == 1 and word.isalpha() and word >= "\u0e00":
            found.update({before + word} if before else ())
            before = word
            continue
        before = ""
        if word.isdigit() or (len(word) >= 4 and word[0].isalnum() and word not in COMMON):
            found.add(word[:5])
    return frozenset(found)


def _script(letter: str) -> str:
    """Name the script of a letter, such as LATIN; kana and Han count as one."""
    name = unicodedata.name(letter, "?").split(maxsplit=1)[0].split("-")[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA") else name
