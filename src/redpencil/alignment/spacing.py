"""The white space of an edit: that of the original wherever only white space differs.

A model that copies a text writes line ends, doubled spaces, non-breaking spaces and tabs in its own way. None of that
is an edit of the words, and a mask would blame the words beside it.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from redpencil.alignment.words import changed_runs, split_words

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_TAB: Final = 4
"""Columns of a tab, where depths of indentation are compared."""
_UNTIDY: Final = re.compile(r"\s\Z|(?<=\S)[^\S\r\n]{2,}(?=\S)|[^\S\r\n](?=[\r\n])")
"""White space at the end of a text or of a line, and doubled between words of a line."""
_UNLIKE: Final = re.compile(r"\A\s+|\s+\Z|(?:[^\S\r\n]*(?:\r\n?|\n))+|(?<=\S)[^\S\r\n]+(?=\S)")
"""White space that `normalise_spacing` may write in another way: all but indentation."""


def untidy_places(text: str) -> int:
    """Count the places with white space that no reader sees: at the end of the text or of a line, or doubled.

    Indentation and empty lines are none.
    """
    return sum(1 for _ in _UNTIDY.finditer(text))


def normalise_spacing(text: str) -> str:
    """Write the white space of a text in one way, whoever wrote it.

    There is none at the ends of the text and of its lines, one space between words of a line, `\\n` for a line end and
    at most one empty line. Indentation stays.
    """
    return _UNLIKE.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    if match.start() == 0 or match.end() == len(match.string):
        return ""
    return "\n" * min(len(_LINE_END.findall(match[0])), 2) or " "


def normalise_marked(text: str, meta: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the text after `normalise_spacing`, and `meta` with the character offsets of its `spans` moved along."""
    plain = normalise_spacing(text)
    spans = meta.get("spans")
    if plain == text or not isinstance(spans, list):
        return plain, meta
    places = [0] * (len(text) + 1)
    done = written = 0
    for match in _UNLIKE.finditer(text):
        for place in range(done, match.start()):
            places[place] = written + place - done
        written += match.start() - done
        new = len(_plain(match))
        for place in range(match.start(), match.end()):
            places[place] = written + min(place - match.start(), new)
        written, done = written + new, match.end()
    for place in range(done, len(text) + 1):
        places[place] = written + place - done
    return plain, {**meta, "spans": [_moved(span, places) for span in spans]}


def _moved(span: Any, places: Sequence[int]) -> Any:
    """Move `start` and `end` of a span; what is no span of the text stays as it is."""
    if not isinstance(span, dict):
        return span
    start, end = span.get("start"), span.get("end")
    if type(start) is not int or type(end) is not int or min(start, end) < 0 or max(start, end) >= len(places):
        return span
    return {**span, "start": places[start], "end": places[end]}


def restore_spacing(original: str, edited: str) -> str:
    """Return the edited text with the original's white space.

    - White space at the ends of the text, and between two neighbouring words that both texts have, becomes that of the
      original. So texts that differ in nothing else give the original.
    - Beside changed words it does so if it has as many line ends as the original's. New text takes the original's line
      ends.
    - White space where the other text has none is an edit ("Hello ,you" and "Hello, you") and stays.
    - Indentation stays as edited where the original's would make a line deeper or less deep than the line before it,
      and the edit does not: in program code that changes the meaning.

    Words and their order are never changed.
    """
    if original == edited or original.split() == edited.split():
        return original
    if all(" ".join(text.split()) == text for text in (original, edited)):
        return edited  # single spaces are all there is
    (words, spaces), (new_words, new_spaces) = _parts(original), _parts(edited)
    if not words or not new_words:
        return edited
    restored = _restored(spaces, new_spaces, _partners(words, new_words), _line_end(original))
    _keep_depths(restored, new_spaces)
    restored[0], restored[-1] = spaces[0], spaces[-1]
    return "".join(space + word for space, word in zip(restored, [*new_words, ""], strict=True))


def respaced_note(count: int) -> str:
    """Say in how many edits white space was restored."""
    return f"{count:,} edit{'' if count == 1 else 's'} given back the original's white space"


def _parts(text: str) -> tuple[list[str], list[str]]:
    """Return the words of a text without white space, and the white space before each and at the end."""
    pieces = [text[start:end] for start, end in split_words(text)]
    words = [piece.lstrip() for piece in pieces]
    spaces = [piece[: len(piece) - len(word)] for piece, word in zip(pieces, words, strict=True)]
    if words and not words[-1]:
        return words[:-1], spaces
    return words, [*spaces, ""]


def _partners(words: Sequence[str], new_words: Sequence[str]) -> list[int | None]:
    """Return the place in the original of each edited word, None for a new one."""
    partners: list[int | None] = []
    place = 0
    for start, end, new_start, new_end in changed_runs(words, new_words):
        partners += [*range(place, start), *[None] * (new_end - new_start)]
        place = end
    return [*partners, *range(place, len(words))]


def _line_end(original: str) -> str | None:
    """Return the most frequent line end of a text, None if it has none."""
    ends = Counter(_LINE_END.findall(original)).most_common(1)
    return ends[0][0] if ends else None


def _restored(
    spaces: Sequence[str], new_spaces: Sequence[str], partners: Sequence[int | None], line_end: str | None
) -> list[str]:
    """Return the white space before each edited word, and at the end, taken from the original where it has some."""
    kept = set(partners)
    restored = list(new_spaces)
    for place, space in enumerate(new_spaces[1:-1], start=1):
        before, here = partners[place - 1], partners[place]
        if not space:
            continue
        if before is not None and here == before + 1:
            restored[place] = spaces[here] or space
            continue
        sources = [spaces[here]] if here else []
        if before is not None and before + 1 < len(spaces) - 1 and (here is not None or before + 1 not in kept):
            sources.append(spaces[before + 1])
        alike = (one for one in sources if one and _line_ends(one) == _line_ends(space))
        own = space if line_end is None else _LINE_END.sub(lambda _: line_end, space)
        restored[place] = next(alike, own)
    return restored


def _line_ends(space: str) -> int:
    return len(_LINE_END.findall(space))


def _keep_depths(restored: list[str], new_spaces: Sequence[str]) -> None:
    """Take back the restored indentation if a line would be deeper or less deep than the one before, unlike edited."""
    lines = [
        (place, _split_indent(space)[1], _split_indent(restored[place])[1])
        for place, space in enumerate(new_spaces[1:-1], start=1)
        if _line_ends(space) and _line_ends(restored[place])
    ]
    for (_, edited, mine), (_, next_edited, next_mine) in pairwise(lines):
        if _deeper(edited, next_edited) != _deeper(mine, next_mine):
            for place, indent, _ in lines:
                restored[place] = _split_indent(restored[place])[0] + indent
            return


def _split_indent(space: str) -> tuple[str, str]:
    """Split white space after its last line end."""
    end = max(space.rfind("\n"), space.rfind("\r")) + 1
    return space[:end], space[end:]


def _deeper(indent: str, following: str) -> int:
    """Return 1 if the following line is deeper, -1 if it is less deep, 0 if it is neither."""
    width, next_width = (len(one.expandtabs(_TAB)) for one in (indent, following))
    return (next_width > width) - (next_width < width)
