"""Rows of a table that break off at a wrong quote: what belongs to them, so that no rest is taken for a row.

A quote that is not closed, or not doubled, leaves open where its row ends. These lines belong to the torn row too:

- up to the next line with an odd number of quotes, if that closes a field rather than opens one;
- then each line that is not the sound beginning of a row: with quotes around whole fields only, and, where no field
  goes on in the next line, as many fields as the header.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Final

LONGEST_HELD: Final = 1 << 20
"""Most characters that are kept of the lines of one row."""
FARTHEST: Final = 1_000
"""Most lines that are looked at for the end of a field."""


class Lines:
    """Lines of a table, numbered, with those of the row at hand held; some can be given back."""

    def __init__(self, texts: Iterator[str]) -> None:
        self.texts = texts
        self.back: deque[str] = deque()
        self.number = 0
        self.begin()

    def begin(self) -> None:
        """Begin a row."""
        self.first = self.number + 1
        self.held: list[str] = []
        self.size = self.quotes = 0

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self.back.popleft() if self.back else next(self.texts)
        self.number += 1
        if self.size < LONGEST_HELD:
            self.held.append(line[: LONGEST_HELD - self.size])
        self.size += len(line)
        self.quotes += line.count('"')
        return line

    def ahead(self, count: int) -> list[str]:
        """The next lines, which stay."""
        self.back.extend(islice(self.texts, max(0, count - len(self.back))))
        return list(islice(self.back, count))

    def raw(self) -> str:
        """The text of the row at hand, or its beginning; bytes that are not UTF-8 by their escapes."""
        text = "".join(self.held).rstrip("\r\n")
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def extent(self) -> str:
        """Which lines the row at hand takes, where it takes more than one, and whether all of them are held."""
        count = self.number - self.first + 1
        several = f"; it takes lines {self.first} to {self.number}, {count:,} lines" if count > 1 else ""
        return several + (f"; only its first {LONGEST_HELD:,} characters are kept" if self.size > LONGEST_HELD else "")


def take_torn(lines: Lines, delimiter: str, width: int, *, endless: bool = False) -> None:
    """Take what belongs to a torn row as well.

    Args:
        lines: just behind the line that broke off.
        delimiter: of the table.
        width: fields of its header.
        endless: whether a field of it was too large, so that no line may be taken for a row before it ends.
    """
    if lines.quotes % 2:
        if endless:
            next((line for line in lines if line.count('"') % 2), None)
        else:
            ahead = lines.ahead(FARTHEST)
            end = next((at for at, line in enumerate(ahead) if line.count('"') % 2), None)
            if end is not None and not _begins_row(ahead[end], delimiter, width):
                list(islice(lines, end + 1))
    while (ahead := lines.ahead(1)) and not _begins_row(ahead[0], delimiter, width):
        next(lines)


def _begins_row(line: str, delimiter: str, width: int) -> bool:
    found = _sound(delimiter).fullmatch(line)
    if found is None:
        return False
    if found["open"] is not None:
        return True
    try:
        return len(next(csv.reader([line], delimiter=delimiter, strict=True))) == width
    except csv.Error:
        return False


@cache
def _sound(delimiter: str) -> re.Pattern[str]:
    """A line whose quotes stand around whole fields; the last of them may go on in the next line."""
    cut = re.escape(delimiter)
    field = f'(?:"(?:[^"]|"")*+"|[^"{cut}\r\n]*+)'
    return re.compile(f'(?:{field}{cut})*+(?:(?P<open>"(?:[^"]|"")*+)|{field}\r?\n?)')
