"""What an editor says before and after the response: announcements, reasoning, remarks on the edit.

A stretch at the beginning or the end that keeps next to nothing of the original, where the rest keeps all that the
whole keeps, is either said about the response or added to it. It is a remark if its words talk about a response and its
change, or if its script is another one; an addition if it is about what prompt and original are about. What is neither
is left, and the text is uncertain. A stretch that may replace what the edit drops at that end is never taken off.
"""

import enum
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

from redpencil.alignment.words import changed_runs, split_words
from redpencil.editing import vocabulary as say
from redpencil.editing.relation import CODE, Source, count_words, plain, terms, vocabulary

_FOREIGN: Final = 0.25
"""Largest share of its words that a stretch may keep of the original on its own."""
_GLANCE: Final = 500
"""Characters of a text that show how it begins or ends."""
_MUCH: Final = 0.6
"""Share of what a text keeps that each of two copies keeps."""
_ENOUGH: Final = 8
"""Words of an original of which two copies can be told."""
_ENDS: Final = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"'\u201d\u2019\u00bb)\]*_]*+(?=\s)|[\u3002\uff01\uff1f]++[\u201d\u300d\u300f\uff09)*]*|\n"
    r"|(?<=\s)(?=[(\[\uff08][^()\[\]\uff08\uff09]{1,400}[)\]\uff09]\s*\Z)"
)
_LABEL_ENDS: Final = re.compile(_ENDS.pattern + r"|:\**(?=\s)|\uff1a\**|\s(?:[-\u2013\u2014\u2192]|->|=>)(?=\s)")
_RULE: Final = re.compile(r"\s*(?:[-*_=\u2014]\s?){3,}\s*(?:\n|\Z)")
_BULLET: Final = re.compile(r"\s*(?:[-*+\u2022]|\d+[.)])\s")
_LABEL_OF_CHANGES: Final = re.compile(r"\W*([^:\uff1a]{1,60})[:\uff1a]")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d")
_SPACE: Final = re.compile(r"\s*")
_ARROW: Final = re.compile(r"->|\u2192|\u21d2|=>")
_APART: Final = re.compile(r"\s*(?:[(\[\uff08].*[)\]\uff09]|[*_]+[^*_]+[*_]+)\s*", re.DOTALL)
_HEADING: Final = re.compile(r"\s*[*_#]+[^*_#.!?:]{1,60}[*_]*\s*")
_PLACEHOLDER: Final = re.compile(r"\s*[\[({<](?:[A-Z][\w']*\s?){1,4}[\])}>]\s*")
_ANY_LABEL: Final = re.compile(r"\W*\w+(?:\s\w+)?\s*[:\uff1a]")
_STAND_IN: Final = re.compile(r"\n\s*(?:#|//|/\*|--|<!--|\[|\()[^\n]*\Z")
_LEFT_OUT: Final = re.compile(r"^\W*(?:\.{3}|\u2026).{0,60}$", re.MULTILINE)
"""A line that stands for what the editor has not written out again."""
_SEVERAL: Final = 3


class Kind(enum.Enum):
    """What a piece of an answer is."""

    REMARK = enum.auto()
    CONTENT = enum.auto()
    UNSURE = enum.auto()
    RULE = enum.auto()


@dataclass(frozen=True, slots=True)
class Prose:
    """The response in a text, and whether something beside it may be a remark."""

    text: str
    doubt: bool = False


def without_remarks(text: str, source: Source) -> Prose:
    """Take off what is said before and after the response."""
    text, doubt = _without_quotation(text, source)
    start, doubt_before = _before(text, source)
    end, doubt_after = _after(text[start:], source)
    window = text[start : start + end].strip()
    doubt |= doubt_before or doubt_after or _leaves_out(window, source, text[start + end :])
    return Prose(window, doubt)


def is_remark(text: str, source: Source) -> bool:
    """Return whether a text is about the response rather than one itself, such as "The answer is 4."."""
    if say.ANSWER_IS.match(plain(text)) and not say.CHANGE.search(plain(text)):
        return False
    if source.words >= _ENOUGH and count_words(text) < source.words:
        return _score(plain(text), source, "", same_line=False, leading=False)[0] > 1
    return _kind(text, source, "", same_line=False) is Kind.REMARK


def _without_quotation(text: str, source: Source) -> tuple[str, bool]:
    """Of two copies of the original take the one that is not labelled so; without such a label it is doubtful."""
    total = source.kept(text)
    cuts = [match.end() for match in re.finditer(r"\n", text)]
    first = say.ORIGINAL.match(plain(text[:_GLANCE])) and not say.ORIGINAL.match(plain(source.original[:_GLANCE]))
    if first:
        labels = (cut for cut in cuts if is_remark(_pieces(text[cut:], _LABEL_ENDS)[0], source))
        if label := next(labels, 0):
            return text[label:], False
    if 2 * total < source.words or source.words < _ENOUGH or count_words(text) < 1.2 * total:
        return text, False
    # The first half keeps more with every line, the second less.
    near = bisect_left(cuts, 0, key=lambda cut: round(source.kept(text[:cut]) - source.kept(text[cut:])))
    halves = [(min(source.kept(text[:cut]), source.kept(text[cut:])), cut) for cut in cuts[max(near - 1, 0) : near + 1]]
    least, cut = max(halves, default=(0.0, 0))
    if least < _MUCH * total:
        return text, False
    if first:
        label_of_edit = _ANY_LABEL.match(text, cut)
        return text[label_of_edit.end() if label_of_edit else cut :], False
    labelled = any(
        say.ORIGINAL.match(plain(half)) for half in (text[cut : cut + _GLANCE], text[:cut].rstrip().rpartition("\n")[2])
    )
    return (text[:cut].rstrip(), False) if labelled else (text, True)


def _leaves_out(text: str, source: Source, said: str) -> bool:
    """Return whether a part of the original may be left out for brevity: for dots, or for what was `said` behind."""
    left_out = bool(say.REST.search(plain(said)))
    dots = _LEFT_OUT.search(text) and not _LEFT_OUT.search(source.original)
    if dots and source.words - source.kept(text) >= _SEVERAL:
        return True
    stand_in = _STAND_IN.search(text)
    if stand_in and not _STAND_IN.search(source.original):
        text, left_out = text[: stand_in.start()], True
    lost = source.words - max(source.kept(text), count_words(text))
    return left_out and lost >= max(_SEVERAL, source.words / 4)


def _before(text: str, source: Source) -> tuple[int, bool]:
    """Return where the response begins, and whether a piece after that may be no part of it."""
    if _is_own(text, source, at_end=False):
        return 0, False
    pieces = _joined_thoughts(_pieces(text, _LABEL_ENDS))
    starts = list(accumulate(map(len, pieces), initial=0))
    stretch = _Stretch.of(pieces, source.kept_outside(pieces, at_end=False))
    window = text[starts[stretch.size] :]
    if _talks(source.original[:_GLANCE]) and _fits(text[: starts[stretch.size]], window, source, at_end=False):
        return 0, False
    kinds = [
        _kind(piece, source, window, same_line=not _ends_line(piece), leading=True) if light else Kind.CONTENT
        for piece, light in zip(pieces, stretch.light, strict=False)
    ]
    first = max((number for number, kind in enumerate(kinds, start=1) if kind is Kind.REMARK), default=0)
    before = next((place for place in range(first - 1) if kinds[place] is not Kind.REMARK), first)
    if before < first and not source.kept(window) and not any(map(_ends_line, pieces[before:first])):
        return 0, True  # nothing tells that the response begins only here
    announced = first > 0 and _announces(pieces[first - 1])
    while 0 < first < stretch.size and kinds[first] is Kind.RULE and not _RULE.match(source.original):
        first += 1
    torn = 0 < first < stretch.size and not _ends_line(pieces[first - 1])
    if torn and source.is_code:  # "# Fixed: begin with the first"
        return 0, True
    if (announced and not torn) or Kind.UNSURE not in kinds[first:]:
        return starts[first], False
    rest = text[starts[first] : starts[stretch.size]]
    replaces = not any(map(_announces, pieces[first : stretch.size])) and _fits(rest, window, source, at_end=False)
    return starts[first], not replaces


def _after(text: str, source: Source) -> tuple[int, bool]:
    """Return where the response ends, and whether a piece before that may be no part of it."""
    pieces = _pieces(text, _ENDS)
    if _is_own(text, source, at_end=True):
        return len(text), False
    ends = list(accumulate(map(len, pieces), initial=0))[::-1]
    stretch = _Stretch.of(pieces[::-1], source.kept_outside(pieces, at_end=True))
    first = len(pieces) - stretch.size
    starts = ends[::-1][first:]
    window, dropped = text[: starts[0]], text[starts[0] :]
    if not dropped:
        return len(text), _ends_in_a_remark(text, window, source)
    if _talks(source.original[-_GLANCE:]) and _fits(dropped, window, source, at_end=True):
        return len(text), False
    kinds: list[Kind] = []
    # a remark that shares words with what the edit dropped
    suspect = _ends_in_a_remark(text, window, source)
    for piece, start, light in zip(pieces[first:], starts, stretch.light[::-1], strict=False):
        same_line = kinds[-1:] in ([], [Kind.CONTENT]) and _goes_on(text[:start], piece, source.original)
        kind = Kind.CONTENT if _begins_like(piece, source) else _kind(piece, source, window, same_line=same_line)
        suspect |= kind is Kind.REMARK and not light
        kind = kind if light else Kind.CONTENT
        kinds.append(Kind.UNSURE if kind is Kind.CONTENT and Kind.RULE in kinds else kind)
    last = kinds.index(Kind.REMARK) if Kind.REMARK in kinds else len(kinds)
    beside = {Kind.UNSURE} if _RULE.fullmatch(source.original.strip().rpartition("\n")[2]) else {Kind.UNSURE, Kind.RULE}
    while 0 < last < len(kinds) and stretch.free[::-1][last - 1]:
        if kinds[last - 1] not in beside and not _announces(pieces[first + last - 1]):
            break
        last -= 1
    unsure = Kind.UNSURE in kinds[:last]
    if unsure:
        window = text[: starts[kinds.index(Kind.UNSURE)]].rstrip()
        unsure = not _fits(text[len(window) : starts[last]], window, source, at_end=True)
    return starts[last], unsure or (suspect and last == len(kinds))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The pieces at one end of a text that together keep next to nothing which the rest does not keep.

    Args:
        size: their number, never all pieces.
        light: for each whether it alone keeps next to nothing.
        free: for each whether it keeps nothing at all.
    """

    size: int
    light: list[bool]
    free: list[bool]

    @classmethod
    def of(cls, pieces: Sequence[str], kept: Iterable[float]) -> "_Stretch":
        """Measure pieces from one end of a text inwards; `kept` is what the text keeps without the first n of them."""
        losses: list[float] = []
        light: list[bool] = []
        size, lost, passed = 0, 0.0, 0
        for piece, (before, after) in zip(pieces[:-1], pairwise(kept), strict=False):
            loss, number = max(before - after, 0), count_words(piece)
            if loss > max(1, _FOREIGN * number):
                break
            losses.append(loss)
            light.append(loss <= _FOREIGN * number)
            lost, passed = lost + loss, passed + number
            if lost <= _FOREIGN * passed:
                size = len(losses)
        return cls(size, light[:size], [not loss for loss in losses[:size]])


def _ends_in_a_remark(text: str, window: str, source: Source) -> bool:
    """Return whether a last paragraph, one more than the original has, talks about the response though it quotes it."""
    before, _, last = text.rstrip().rpartition("\n\n")
    one_more = text.strip().count("\n\n") > source.original.strip().count("\n\n")
    if not before.strip() or not one_more or len(window) <= len(before) or _begins_like(last, source):
        return False
    return _score(plain(last), source, before, same_line=False, leading=False)[0] > 1


def _is_own(text: str, source: Source, *, at_end: bool) -> bool:
    """Return whether a text begins, or ends, with the sentence with which the original does."""
    pieces = [_pieces(one.strip(), _ENDS) or [""] for one in (text, source.original)]
    piece, own = (plain(some[-1 if at_end else 0]) for some in pieces)
    return piece == own and count_words(own) > 1


def _begins_like(piece: str, source: Source) -> bool:
    """Return whether a piece begins as one of the original's does: with its label, or its first words."""
    mine = _beginning(piece)
    return (len(mine) == _SEVERAL or bool(_ANY_LABEL.match(piece))) and mine in _beginnings(source.original)


@lru_cache(maxsize=64)
def _beginnings(original: str) -> frozenset[tuple[str, ...]]:
    return frozenset(map(_beginning, _pieces(original, _ENDS)))


def _beginning(text: str) -> tuple[str, ...]:
    label = _ANY_LABEL.match(plain(text))
    return (label[0],) if label else tuple(text[a:b].strip().casefold() for a, b in split_words(text)[:_SEVERAL])


def _goes_on(before: str, piece: str, original: str) -> bool:
    """Return whether a piece goes on in its paragraph, or in the list or the lines that the original has."""
    breaks = before[len(before.rstrip()) :].count("\n")
    lines = breaks == 1 and ("\n" in original.strip() or "\n" in before.strip())
    return not breaks or lines or bool(_BULLET.match(piece) and _BULLET.search(original))


def _pieces(text: str, ends: re.Pattern[str]) -> list[str]:
    """Cut a text into sentences and lines, with the white space after each."""
    places = sorted({_SPACE.match(text, match.end()).end() for match in ends.finditer(text)})  # type: ignore[union-attr]
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True) if start < end]


def _ends_line(piece: str) -> bool:
    return "\n" in piece[len(piece.rstrip()) :]


def _joined_thoughts(pieces: Sequence[str]) -> list[str]:
    """Join what stands in one line behind the label of a thought ("Thought: ...")."""
    joined: list[str] = []
    for piece in pieces:
        if joined and _is_thought(joined[-1]) and not _ends_line(joined[-1]) and not _announces(piece):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def _is_thought(piece: str) -> bool:
    label = re.match(r"\W*(\w+(?:\s\w+)?)\W*[:\uff1a]", plain(piece))
    return bool(label) and say.THOUGHT.match(label[1] if label else "") is not None


def _announces(piece: str) -> bool:
    """Return whether the response may begin behind a piece: a label, or a heading."""
    bare = piece.strip().strip("*_# ")
    return not _is_thought(piece) and (bare.endswith((":", "\uff1a")) or piece.strip().startswith(("*", "_", "#")))


def _fits(stretch: str, window: str, source: Source, *, at_end: bool) -> bool:
    """Return whether a stretch may replace what a `window` of the text lacks of the original's end, or beginning."""
    lines = "\n" in (stretch.rstrip() if at_end else stretch.lstrip())
    missing = _missing(source, window, at_end=at_end)
    return 0 < count_words(stretch) <= 2 * missing and (not lines or "\n" in source.original.strip())


def _missing(source: Source, window: str, *, at_end: bool) -> int:
    """Return how many words of the original's beginning, or end, are missing in a window of the text."""
    old, new = ([part[a:b].strip() for a, b in split_words(part)] for part in (plain(source.original), plain(window)))
    runs = changed_runs(old, new)
    if not runs:
        return 0
    start, end, new_start, new_end = runs[-1 if at_end else 0]
    if (end == len(old)) if at_end else (start == 0):
        return max(end - start - (new_end - new_start), 0)
    return 0


def _talks(text: str) -> bool:
    """Return whether some words of a text talk about a response or its change."""
    return any(pattern.search(plain(text)) for pattern in (say.RESPONSE, say.CHANGE, say.LABEL))


def _kind(piece: str, source: Source, window: str, *, same_line: bool, leading: bool = False) -> Kind:
    """Tell what a piece is, that stands before or after the `window` of the text which keeps the original's words."""
    if not any(map(str.isalnum, piece)):
        return Kind.RULE if _RULE.fullmatch(piece) else Kind.CONTENT
    text = plain(piece)
    named = any(pattern.search(text) for pattern in (say.RESPONSE, say.TEXT, say.CHANGE))
    placeholder = not leading and not named and _PLACEHOLDER.fullmatch(piece)
    written = placeholder or piece.startswith("```") or (not leading and text.endswith(","))
    if written or (source.is_markup and not re.sub("<[^<>]*>", "", piece).strip()):
        return Kind.CONTENT
    strict, loose = _score(text, source, window, same_line=same_line, leading=leading)
    if leading and say.ASSENT.match(text) and not say.ASSENT.match(plain(source.original[:_GLANCE])):
        if say.ASSENT.fullmatch(text):
            return Kind.REMARK
        strict, loose = strict + 1, loose + 2
    if _announces(piece) and (leading or say.CHANGE.search(text)):
        strict, loose = strict + 1, loose + 1
    about = terms(_without_lists(text)) & (source.terms | terms(window))
    if leading and _is_thought(piece):
        return Kind.REMARK
    inside = same_line and not leading
    own_voice = not _APART.fullmatch(text) and say.SELF.search(text) and say.SELF.search(plain(source.original))
    if inside and not own_voice and strict >= _SEVERAL and _is_on_the_edit(text, source, window):
        return Kind.REMARK
    if not inside and (
        strict >= _SEVERAL
        or (strict == 2 and not about and (leading or not _announces(piece) or say.LABEL.match(text)))
    ):
        return Kind.REMARK
    if loose > 1 or strict > 1:
        return Kind.UNSURE
    code = source.is_code and (CODE.search(text) or (leading and not text.endswith((".", "!", "?", ":"))))
    if same_line or code or (not loose and vocabulary(text) <= source.vocabulary):
        return Kind.CONTENT
    if not leading and not loose and (_is_prose(text, source, window) or text.endswith(":") or CODE.search(text)):
        return Kind.CONTENT
    return Kind.CONTENT if about and (not leading or _announces(piece)) else Kind.UNSURE


def _new(pattern: re.Pattern[str], text: str, source: Source) -> bool:
    """Return whether a text has words of a list, outside of quotations, that prompt and original have not."""
    return any(not source.knows(word) for word in pattern.findall(_QUOTED.sub(" ", text)))


def _score(text: str, source: Source, window: str, *, same_line: bool, leading: bool) -> tuple[int, int]:
    """Count the signs of a remark: without and with those that prompt and original have themselves."""
    strict = loose = 0
    new: set[re.Pattern[str]] = set()
    for pattern, weight in (
        (say.RESPONSE, 1 if same_line and not leading else 2),
        (say.TEXT, 1),
        (say.CHANGE, 1),
        (say.SELF, 1),
    ):
        own_voice = same_line and pattern is say.SELF and source.speaks_of_self
        if _new(pattern, text, source) and not own_voice:
            new.add(pattern)
            strict += weight
        if pattern in new or (pattern.search(_QUOTED.sub(" ", text)) and not own_voice):
            loose += weight
    if not same_line and {say.SELF, say.CHANGE} <= new:  # "I changed the name", where nobody has said "I"
        strict += 1
    label = _LABEL_OF_CHANGES.match(text)
    signs = (
        bool(say.LABEL.match(text) or (label and say.CHANGE.search(label[1])))
        + bool(_ARROW.search(text))
        + bool(_APART.fullmatch(text) and not (leading and (same_line or _HEADING.fullmatch(text))))
    )
    signs += 3 * bool(say.ROLE.match(text) and not say.ROLE.search(source.known))
    signs += 2 * source.is_foreign_script(text) + bool(say.NO_CHANGE.search(text))
    signs += bool(say.CHANGE.match(re.sub(r"^\W+", "", text)))
    strict, loose = strict + signs, loose + signs
    gone = terms(source.original) - terms(window)
    if (loose > 1 or not same_line) and window and gone & terms(text):
        strict, loose = strict + 1, loose + 1 + bool(not leading and _ANY_LABEL.match(text))
    closes = bool(say.CLOSING.match(text))
    return strict, loose + 2 * (_is_foreign(text, source, window) or closes)


def _is_prose(text: str, source: Source, window: str) -> bool:
    """Return whether a text tells something of its own in the language of the original."""
    found = list(filter(str.isalpha, terms(text)))
    own = len(found) >= _SEVERAL and not say.POINTER.match(text)
    return own and bool(vocabulary(text) & say.SMALL) and not _is_foreign(text, source, window)


def _is_foreign(text: str, source: Source, window: str) -> bool:
    """Return whether a text shares no small word with a longer original: it may be of another language."""
    words, known = vocabulary(text), vocabulary(window) | source.vocabulary
    if len(known & say.SMALL) > 1:
        known |= say.SMALL
    return len(words - known) >= 5 and len(known) >= 30 and all(map(terms, words & known))


def _is_on_the_edit(text: str, source: Source, window: str) -> bool:
    """Return whether a sentence in the response's own paragraph says something of the edit, not of the subject."""
    begins = " ".join(text.split()[:_SEVERAL])
    gone = (terms(source.original) - terms(window)) & terms(text)
    return bool(gone or _APART.fullmatch(text)) or any(
        _new(pattern, part, source) for pattern, part in ((say.SELF, text), (say.RESPONSE, begins))
    )


def _without_lists(text: str) -> str:
    for pattern in (say.RESPONSE, say.TEXT, say.CHANGE, say.SELF):
        text = pattern.sub(" ", text)
    return text
