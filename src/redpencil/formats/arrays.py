"""Rows of one JSON array, read an element at a time, so that the file may be larger than memory.

Python's own decoder does it, since such files come from Python's: it takes the NaN that they hold, and it gives half
of a surrogate pair as what it is. The streaming parsers refuse the one and put a question mark for the other.
"""

import codecs
import json
from pathlib import Path
from typing import BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.formats.text_files import DAMAGE, Place, Rows, damaged, object_row, watching_decoder

_CHUNK: Final = 1 << 20
_BLANK: Final = " \t\n\r"


class _Text:
    """The part of a file that is not yet decoded as JSON; `at` is where to go on."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path = stream, path
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.held, self.at, self.ended, self.row = "", 0, False, 0
        self.doubtful = ""
        """The text of the last element, where a key stands twice in it."""

    def more(self, size: int | None = None) -> None:
        """Read on, and let go of what is done with."""
        try:
            raw = self.stream.read(size or _CHUNK)
            text = self.decoder.decode(raw, final=not raw)
        except DAMAGE as error:
            raise damaged(self.path, error) from None
        except UnicodeDecodeError:
            raise self.broken("not valid UTF-8", "convert the file to UTF-8") from None
        self.ended = not raw
        self.held, self.at = self.held[self.at :] + text, 0

    def next_character(self) -> str:
        """The next character that is not blank, which stays; empty at the end."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in _BLANK:
                self.at += 1
            if self.at < len(self.held) or self.ended:
                return self.held[self.at : self.at + 1]
            self.more()

    def broken(self, problem: str, hint: str = "mend the file, or write it again") -> RedpencilError:
        """The error of an array that breaks off or off its form."""
        place = f"after row {self.row}" if self.row else "at the beginning"
        return RedpencilError(f"{problem}, {place}", file=self.path, hint=hint)


def array_rows(stream: BinaryIO, path: Path) -> Rows:
    """The elements of an array, which should be objects.

    Raises:
        RedpencilError: where the text is not JSON or not UTF-8, naming the last row that was sound.
    """
    text = _Text(stream, path)
    text.next_character()
    text.at += 1
    if text.next_character() == "]":
        text.at += 1
    else:
        decoder, twice = watching_decoder()
        while True:
            row = _element(text, decoder, twice)
            text.row += 1
            yield object_row(Place(str(path), text.row), row, twice, text.doubtful)
            delimiter = text.next_character()
            text.at += 1
            if delimiter == "]":
                break
            if delimiter != ",":
                raise text.broken("the array ends early" if not delimiter else "expected a comma or ] in the array")
    if text.next_character():
        raise text.broken("there is more text after the array", "give one array, or JSONL")


def _element(text: _Text, decoder: json.JSONDecoder, twice: list[str]) -> object:
    """The next element; what cannot be decoded yet is tried again with twice as much text, until the file ends."""
    if not text.next_character():
        raise text.broken("the array ends early")
    size = _CHUNK
    while True:
        twice.clear()
        try:
            row, end = decoder.raw_decode(text.held, text.at)
        except json.JSONDecodeError as error:
            unclosed = error.msg.startswith("Unterminated string")
            if text.ended or (not unclosed and error.pos < len(text.held) - _LONGEST_WORD):
                problem = "the array ends early" if text.ended and unclosed else f"not valid JSON ({error.msg})"
                raise text.broken(problem) from None
        except (ValueError, RecursionError) as error:
            raise text.broken(f"JSON that cannot be read ({error})") from None
        else:
            # A number at the very end of what is held may go on.
            if end < len(text.held) or text.ended:
                text.doubtful = text.held[text.at : end] if twice else ""
                text.at = end
                return row
        text.more(size)
        size *= 2


_LONGEST_WORD: Final = 16
"""Longer than any literal or escape of JSON: more text does not mend an error further from the end than this."""
