"""Marks around the response in an answer: control tokens as text, tagged blocks, code fences, quotation marks.

A mark that the original has too is text. Of the others only those count that stand where a mark stands: at an end of
the answer, or around a block. Which block is the response is decided by what it keeps of the original.
"""

import ast
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Final

from redpencil.editing import vocabulary as say
from redpencil.editing.relation import Source, count_words

_MARK: Final = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,60}[|\uff5c]>|<</?[A-Z]+>>|</?[^\W\d][\w:.\u2581-]{0,40}(?:\s[^<>\n]{0,60})?/?>"
    r"|\[/?[^\W\d][\w ]{1,30}\](?![(:\[])|[\u25c1\u25c0]/?\w+[\u25b7\u25b6]"
)
_PIPES: Final = re.compile(r"<[|\uff5c][^<>|\uff5c\n]{1,60}[|\uff5c]>")
_CONTROL: Final = re.compile(r"inst|sys|start|begin|eos|bos|eot|end|pad|sep|cls|unk|stop|done|turn|text|mask")
_VOID: Final = frozenset(("br", "hr", "img", "input", "meta", "link", "p", "li"))
"""HTML that needs no closing tag."""
_HEADER: Final = re.compile(rf"({_PIPES.pattern})\s*\w+\s*\Z")
"""The name of a speaker behind a control token, at the end of an answer: the beginning of an empty turn."""
_SPEAKER: Final = re.compile(
    r"\s*(?:assistant|model|user|human|system|bot|final|analysis|commentary)[ \t]*(?:\n|:|$)", re.IGNORECASE
)
_OTHERS: Final = re.compile(r"\b(?:user|human|system)\b", re.IGNORECASE)
_HARMONY: Final = re.compile(r"analysis.*assistant(?:final|commentary)", re.DOTALL)
"""Channels of gpt-oss, whose marks were lost when the tokens were decoded."""
_BLOCK_SCALAR: Final = re.compile(r"\A[|>][-+]?[ \t]*\n\s*")
_RULES: Final = re.compile(r"([-*_=#+])\1{2,}[ \t]*\n(.*)\n\s*\1{3,}\s*|(.*\S)\s*\n\s*\n([-*_=#+])\4{2,}\s*", re.DOTALL)
"""A text between two lines of marks alone, or before one."""
_FENCED: Final = re.compile(r"^(`{3,}|~{3,})[^\n`]*\n(.*?)\n?^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_FENCE_LINE: Final = re.compile(r"\A\s*(?:`{3,}|~{3,})[^\n`]*\n")
_INLINE_FENCE: Final = re.compile(r"(`{3,}|~{3,})([^`~\n]+)\1")
_QUOTES: Final = (
    ('"""', '"""'),
    ("'''", "'''"),
    ('"', '"'),
    ("\u201c", "\u201d"),
    ("\u201e", "\u201c"),
    ("\u201e", "\u201d"),
    ("\u00ab", "\u00bb"),
    ("\u300c", "\u300d"),
    ("\u300e", "\u300f"),
    ("\u2018", "\u2019"),
    ("'", "'"),
    ("`", "`"),
    ("**", "**"),
    ("*", "*"),
    ("__", "__"),
    ("_", "_"),
    ("(", ")"),
    ("[", "]"),
    ("{{", "}}"),
    ("\\boxed{", "}"),
    ("\\text{", "}"),
)
_MOST, _MUCH = 0.75, 0.25


class UnfinishedThoughtError(Exception):
    """An answer that is all thought: the model never came to the response."""


def without_wrapping(text: str, source: Source) -> str:
    """Take off the marks around the response.

    Raises:
        UnfinishedThoughtError: if the answer ends inside a thought.
    """
    text = _without_separators(text, source)
    text = _without_blocks(text, source)
    text = without_marks_at_the_ends(text.strip(), source)
    text = _without_fence(text.strip(), source)
    text = _without_object(text.strip(), source)
    if not source.original.lstrip().startswith(">") and all(line.startswith(">") for line in text.splitlines()):
        text = re.sub(r"^> ?", "", text, flags=re.MULTILINE)
    text = _without_quotes(_BLOCK_SCALAR.sub("", text), source)
    ruled = _RULES.fullmatch(text)
    return text if not ruled or _RULES.fullmatch(source.original.strip()) else (ruled[2] or ruled[3]).strip()


def _names(text: str) -> set[str]:
    return {_name(mark[0]) for mark in _MARK.finditer(text)}


def _name(mark: str) -> str:
    return re.sub(r"[\W\u2581]", "", mark.split()[0]).casefold()


def _is_closing(mark: str) -> bool:
    return "/" in mark[:3]


def _without_separators(text: str, source: Source) -> str:
    """Of the parts between `<|...|>` take the one that keeps most of the original, and of equal ones the last.

    Raises:
        UnfinishedThoughtError: if that is a thought.
    """
    channels = _HARMONY.match(text)
    if channels and not _HARMONY.match(source.original):
        return text[channels.end() :]
    marks = list(_PIPES.finditer(text))
    if not marks or _PIPES.search(source.original) or source.kept(_PIPES.sub(" ", text)) < source.kept(text):
        return text
    ends = [*(mark.start() for mark in marks), len(text)]
    best, most, is_thought, header = "", -1.0, False, ""
    for mark, start, end in zip([None, *marks], [0, *(mark.end() for mark in marks)], ends, strict=True):
        part = text[start:end]
        header = f"{header} {mark[0] if mark else ''}"
        speaker = _SPEAKER.match(part) if mark else None
        if speaker or (mark and end < len(text) and re.fullmatch(r"\s*\w+\s*", part)):
            header += speaker[0] if speaker else part
            part = part[speaker.end() :] if speaker else ""
        if not part.strip():
            continue
        if not _OTHERS.search(header) and source.kept(part) >= most:
            best, most = part, source.kept(part)
            is_thought = bool(say.THOUGHT.search(header.casefold())) and not _is_end(header)
        header = ""
    if is_thought:
        raise UnfinishedThoughtError
    return best if most >= _MOST * source.kept(text) else text


def _is_end(mark: str) -> bool:
    return "end" in mark.casefold() or "/" in mark


def _blocks(text: str, source: Source) -> Iterator[tuple[re.Match[str], re.Match[str]]]:
    """Yield the opening and closing marks of the outermost blocks that the original has none of."""
    known = _names(source.original)
    marks = [mark for mark in _MARK.finditer(text) if _name(mark[0]) not in known]
    if _MARK.match(source.original.strip()):
        marks = [mark for mark in marks if text[: mark.start()].strip()]
    place = 0
    for number, opening in enumerate(marks):
        if opening.start() < place or _is_closing(opening[0]) or opening[0].endswith("/>"):
            continue
        same = [mark for mark in marks[number + 1 :] if _name(mark[0]) == _name(opening[0])]
        depth, closing = 1, None
        for mark in same:
            depth += -1 if _is_closing(mark[0]) else 1
            closing = mark if _is_closing(mark[0]) else closing
            if not depth:
                break
        if closing is not None:
            place = closing.end()
            yield opening, closing


def _without_blocks(text: str, source: Source) -> str:
    """Take off blocks of thought, and take a block that holds the response."""
    for opening, closing in _blocks(text, source):
        inside, before, after = text[opening.end() : closing.start()], text[: opening.start()], text[closing.end() :]
        outside = f"{before}{after}" if before.strip() else after.lstrip()
        own = not before.strip() or before.rstrip(" \t").endswith(("\n", ".", "!", "?", ":"))
        total, in_it, out_of_it = source.kept(text), source.kept(inside), source.kept(outside)
        name = _name(opening[0])
        if say.THOUGHT.search(name):
            if own:
                return _without_blocks(outside, source)
        elif say.ORIGINAL.match(name):
            if own and 2 * out_of_it >= total:
                return _without_blocks(outside, source)
        elif opening[0].startswith("<") and source.is_markup and not say.OF_TEXT.search(name):
            continue
        elif (inside.strip() or not outside.strip()) and (
            not outside.strip()
            or (in_it > out_of_it and in_it >= _MOST * total and own)
            or (own and say.OF_TEXT.search(name) and in_it >= out_of_it)
        ):
            return _without_blocks(inside, source)
        elif (
            not before.strip()
            and name not in _VOID
            and out_of_it > in_it
            and total - out_of_it <= _MUCH * count_words(inside)
        ):
            return _without_blocks(outside, source)
    return _without_opened_thought(text, source)


def _without_opened_thought(text: str, source: Source) -> str:
    """Take off a thought of which there is the end only, as the chat template opened it, or the beginning only."""
    known = _names(source.original)
    marks = [
        mark for mark in _MARK.finditer(text) if _name(mark[0]) not in known and say.THOUGHT.search(_name(mark[0]))
    ]
    if not marks:
        return text
    mark = marks[0]
    if _is_closing(mark[0]) or _is_end(mark[0]):
        after = text[mark.end() :]
        return after.lstrip() if source.kept(after) >= source.kept(text[: mark.start()]) else text
    if not text[: mark.start()].strip() or text[: mark.start()].rstrip(" \t").endswith("\n"):
        raise UnfinishedThoughtError
    return text


def without_marks_at_the_ends(text: str, source: Source) -> str:
    """Take off control tokens before and after the text, such as `</s>`, unless the original has marks there."""
    original, known = source.original.strip(), _names(source.original)
    marks = list(_MARK.finditer(original))
    begins, ends = bool(marks) and marks[0].start() == 0, bool(marks) and marks[-1].end() == len(original)
    while not ends and (mark := _mark_at(text, at_end=True)) and _name(mark[0]) not in known:
        before = text[: mark.start()]
        if not before.strip() or source.kept(before) < source.kept(text) or not _is_stray(mark[0], before, at_end=True):
            break
        text = _HEADER.sub(r"\1", before.rstrip())
    while not begins and (mark := _mark_at(text, at_end=False)) and _name(mark[0]) not in known:
        after = text[mark.end() :]
        if not after.strip() or not _is_stray(mark[0], after, at_end=False):
            break
        speaker = _SPEAKER.match(after) if _CONTROL.search(_name(mark[0])) else None
        text = (after[speaker.end() :] if speaker else after).lstrip()
    return text


def _mark_at(text: str, *, at_end: bool) -> re.Match[str] | None:
    """Return the mark with which a text begins or ends."""
    if not at_end:
        return _MARK.match(text)
    last = next(reversed(list(_MARK.finditer(text))), None)
    return last if last and last.end() == len(text) else None


def _is_stray(mark: str, rest: str, *, at_end: bool) -> bool:
    """Return whether a mark at an end of a text is a control token: one of a pair without the other.

    At the end it follows the text at once, or a sentence: `Write to <name>` ends in a text.
    """
    if mark.startswith(("<|", "<\uff5c", "<<")):
        return True
    name = _name(mark)
    others = [other[0] for other in _MARK.finditer(rest) if _name(other[0]) == name]
    if mark.startswith("["):
        return mark.isupper() and bool(_CONTROL.search(name))
    if name in _VOID or any(_is_closing(other) != _is_closing(mark) for other in others):
        return False
    if not at_end:
        return not _is_closing(mark) or bool(_CONTROL.search(name)) or name == "s"
    own_line = rest.rstrip(" \t").endswith("\n") and bool(_CONTROL.search(name))
    return (
        own_line
        or not rest[-1:].isspace()
        or rest.rstrip().endswith((".", "!", "?", "\u2026", "\u3002", '"', ")", ">"))
    )


def _without_fence(text: str, source: Source) -> str:
    """Take the inside of the one fenced block that keeps what the text keeps; the original must have no fence."""
    original = source.original.strip()
    if "```" in original or "~~~" in original:
        outer = re.fullmatch(r"(`{3,}|~{3,})[^\n`]*\n(.*)\n\1", text, re.DOTALL)
        if outer and not original.startswith(outer[1]) and source.kept(outer[2]) >= source.kept(text):
            return outer[2].strip("\n")
        return text
    whole = _INLINE_FENCE.fullmatch(text)
    if whole:
        return whole[2].strip()
    blocks = list(_FENCED.finditer(text))
    total = source.kept(text)
    for block in blocks:
        if say.THOUGHT.search(block[0].partition("\n")[0]):
            return _without_fence((text[: block.start()] + text[block.end() :]).strip(), source)
        outside = text[: block.start()] + text[block.end() :]
        if not outside.strip():
            return block[2].strip("\n")
        lost = total - source.kept(block[2])
        if total and source.kept(block[2]) >= _MOST * total and lost <= _MUCH * count_words(outside):
            others = [source.kept(other[2]) for other in blocks if other is not block]
            return text if max(others, default=0) >= _MOST * total else block[2].strip("\n")
    if not blocks and text.count("```") + text.count("~~~") == 1:
        return (
            text.removesuffix("\n```").removesuffix("\n~~~")
            if text[-3:] in ("```", "~~~")
            else _FENCE_LINE.sub("", text, 1)
        )
    return text


def _without_object(text: str, source: Source) -> str:
    """Of a JSON object around the response take the string that keeps most, of equal ones the last.

    Strings with the label of the original do not count.
    """
    start = re.search(r"^[{\[]", text, re.MULTILINE)
    if not start or source.original.lstrip().startswith(("{", "[")):
        return text
    value, end = _object(text[start.start() :])
    strings = list(_strings(value))
    best = max(reversed(strings), key=source.kept, default="")
    outside = text[: start.start()] + text[start.start() + end :]
    total = source.kept(text)
    return best.strip() if 0 < source.kept(best) >= _MOST * total and source.kept(outside) <= _MUCH * total else text


def _object(text: str) -> tuple[object, int]:
    """Read the JSON, or Python's notation of it, with which a text begins; also return where it ends."""
    with contextlib.suppress(ValueError, RecursionError):
        return json.JSONDecoder(strict=False).raw_decode(text)
    with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.literal_eval(text), len(text)
    return None, 0


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        if not say.ORIGINAL.match(str(key)):
            yield from _strings(inner)


def _without_quotes(text: str, source: Source) -> str:
    original = source.original.strip()
    for opening, closing in _QUOTES:
        inside = text[len(opening) : len(text) - len(closing)]
        quoted = len(text) >= len(opening + closing) and text.startswith(opening) and text.endswith(closing)
        nested = opening == closing == '"' and inside.count(opening) % 2 == 0 and re.match(r'[^"]*\s"', inside)
        if quoted and inside and ((opening not in inside and closing not in inside) or nested):
            kept = original.startswith(opening) or original.endswith(closing)
            return text if kept or source.kept(inside) < source.kept(text) else inside.strip()
    return text
