"""Rows of text files: JSONL, CSV and TSV as a stream, one JSON array as a whole."""

import csv
import enum
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.formats.streams import StreamError
from redpencil.records import numbered_lines
from redpencil.text import escape_half_pairs, has_half_pair


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a row. `row` counts from 1; `line` is None where the source has no lines."""

    file: str
    row: int
    line: int | None = None

    def error(self, problem: str, *, field: str | None = None, hint: str | None = None) -> RedpencilError:
        """Make an error that names the place."""
        named = problem if self.line is not None else f"row {self.row}: {problem}"
        return RedpencilError(named, file=self.file, line=self.line, field=field, hint=hint)

    def locate(self, error: RedpencilError) -> RedpencilError:
        """Add the place to an error about a row's content."""
        if error.file is not None:
            return error
        return self.error(error.problem, field=error.field, hint=error.hint)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row, or the error of one that cannot be read with its raw content."""

    place: Place
    values: dict[Any, Any]
    error: RedpencilError | None = None
    raw: object = None


Rows = Generator[SourceRow, None, None]


@dataclass(frozen=True, slots=True)
class Source:
    """An open source.

    Args:
        file: its name in errors.
        rows: its rows, to be read once.
        position: how much has been read, and the total (0 if unknown), in kB or rows.
        unread: the other splits of a data set, if none was requested.
        notes: what the file was taken for, where that is not its plain form.
    """

    file: str
    rows: Rows
    position: Callable[[], tuple[int, int]]
    unread: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


LONGEST_FIELD: Final = 1 << 26
"""The largest number of characters in a CSV field, so that an unclosed quote does not read the whole file."""
JSON_OBJECT: Final = 'write one object a line, such as {"prompt": "...", "response": "..."}'
OTHER_ENCODING: Final = (
    "convert the file to UTF-8, or name its encoding, such as --encoding cp1252 for what Windows calls ANSI"
)
_EXCEL_SEPARATOR: Final = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


class Quoting(enum.StrEnum):
    """The meaning of quotation marks in a table."""

    STANDARD = "standard"
    BACKSLASH = "backslash"
    NONE = "none"


_NEEDLESS: Final = re.compile(r'"[^",;]*"')
"""A quoted field that no program quotes by itself; some quote one with commas or semicolons in any table."""
_ESCAPED_QUOTE: Final = re.compile(r'(?<!\\)((?:\\\\)*)\\"')


def _table_reader(lines: Iterable[str], delimiter: str, quoting: Quoting) -> Any:
    if quoting is Quoting.BACKSLASH:  # other backslashes, as in LaTeX, stay as they are
        lines = (_ESCAPED_QUOTE.sub(r'\1""', line) for line in lines)
    if quoting is Quoting.NONE:
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def numbered(stream: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Read lines with their numbers, without a byte order mark.

    Raises:
        RedpencilError: if the file is damaged, not in its encoding, or a line is too long.
    """
    number = 0
    try:
        for number, line in numbered_lines(stream, path):
            yield number, line
    except StreamError as error:
        raise error.at(path, number + 1) from None


def json_rows(stream: BinaryIO, path: Path) -> Rows:
    """Read the rows of JSONL as a stream; blank lines are skipped."""
    count = 0
    decoder, repeated = watching_decoder()
    for number, raw in numbered(stream, path):
        if not raw.strip():
            continue
        count += 1
        place = Place(str(path), count, number)
        repeated.clear()
        try:
            text = raw.decode("utf-8").rstrip("\r\n")  # an error there would be on a second line
            row = decoder.decode(text)
        except ValueError as error:
            yield SourceRow(place, {}, _unreadable(place, error), raw.decode("utf-8", "backslashreplace").rstrip())
        except RecursionError:
            yield SourceRow(place, {}, place.error("JSON that is nested too deeply", hint=JSON_OBJECT), "")
        else:
            yield object_row(place, row, repeated, text)


def array_rows(stream: BinaryIO, path: Path) -> Rows:
    """Read the elements of one JSON array, which should be objects. The text of the file is held in memory.

    Raises:
        RedpencilError: if the file is not JSON or not UTF-8, naming the line.
    """
    text = _whole_text(stream, path)
    decoder, repeated = watching_decoder()
    try:
        decoder.decode(text)
    except json.JSONDecodeError as error:
        problem = f"not valid JSON ({error.msg} at column {error.colno})"
        hint = "correct the file, or write it again"
        raise RedpencilError(problem, file=path, line=error.lineno, hint=hint) from None
    except ValueError as error:
        raise RedpencilError(f"JSON that cannot be read ({error})", file=path, hint="shorten the number") from None
    except RecursionError:
        raise RedpencilError("JSON that is nested too deeply", file=path, hint="give an array of flat rows") from None
    # Decoded again one by one: so a row whose keys repeat is known with its text, and only one row is held.
    at, count = _between(text, text.index("[") + 1), 0
    while text[at] != "]":
        repeated.clear()
        row, end = decoder.raw_decode(text, at)
        count += 1
        yield object_row(Place(str(path), count), row, repeated, text[at:end])
        at = _between(text, end)


def _whole_text(stream: BinaryIO, path: Path) -> str:
    try:
        content = stream.read()
        return content.decode("utf-8-sig")
    except StreamError as error:
        raise error.at(path) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RedpencilError("not valid UTF-8", file=path, line=line, hint=OTHER_ENCODING) from None


_BETWEEN: Final = re.compile(r"[\s,]*")


def _between(text: str, at: int) -> int:
    """The place behind the white space and the comma at `at`, in text that is known to be valid JSON."""
    match = _BETWEEN.match(text, at)
    assert match is not None
    return match.end()


def watching_decoder() -> tuple[json.JSONDecoder, list[str]]:
    """A decoder, and a list to which it adds each key that an object has more than once; the last value is kept."""
    repeated: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return row

    return json.JSONDecoder(object_pairs_hook=object_of), repeated


def object_row(place: Place, row: object, repeated: Sequence[str], raw: str) -> SourceRow:
    """A row that should be an object without `repeated` keys; `raw` is its text."""
    if repeated:
        name = escape_half_pairs(repeated[0])
        clash = place.error("the key occurs twice in one object", field=name, hint="give each key once")
        return SourceRow(place, {}, clash, raw)
    if isinstance(row, dict):
        return SourceRow(place, row)
    problem = f"expected a JSON object, found {type(row).__name__}"
    return SourceRow(place, {}, place.error(problem, hint=JSON_OBJECT), row)


def _unreadable(place: Place, error: ValueError) -> RedpencilError:
    if isinstance(error, UnicodeDecodeError):
        return place.error(f"not valid UTF-8 at byte {error.start} of the line", hint=OTHER_ENCODING)
    if isinstance(error, json.JSONDecodeError):
        return place.error(
            f"not valid JSON ({error.msg} at column {error.colno})",
            hint=f"{JSON_OBJECT}; or one array of objects as the whole file; the name of a table ends in .csv or .tsv",
        )
    return place.error(f"JSON that cannot be read ({error})", hint="shorten the number")


def csv_rows(stream: BinaryIO, path: Path, delimiter: str, quoting: Quoting = Quoting.STANDARD) -> Rows:
    """Read the rows of a table with a header; all values are text. A row's line is the one that it begins on.

    A first line such as `sep=;`, which Excel writes, names the delimiter. A header that the delimiter leaves in one
    piece, and a semicolon, tab, comma or vertical bar does not, is split by that.

    Raises:
        RedpencilError: if the header is missing, names a column twice or is not UTF-8; and where a quote is not closed
            or not doubled, since the rows behind it cannot be told from its field.
    """
    # Bytes that are not UTF-8 come through as halves of surrogate pairs, so that only their own row is refused.
    delimiter, skipped, lines = _table_lines(stream, path, delimiter)
    previous = csv.field_size_limit(LONGEST_FIELD)
    try:
        reader = _table_reader(lines, delimiter, quoting)
        header = _header(reader, path, 1 + skipped)
        count, begin = 0, reader.line_num + 1
        while (values := _next_row(reader, path, begin, skipped)) is not None:
            if values:
                count += 1
                yield _table_row(Place(str(path), count, begin + skipped), header, values, delimiter)
            begin = reader.line_num + 1
    finally:
        csv.field_size_limit(previous)


def _table_lines(stream: BinaryIO, path: Path, delimiter: str) -> tuple[str, int, Iterator[str]]:
    """The delimiter of a table, the number of lines before its header, and the lines from there on."""
    lines = (raw.decode("utf-8", "surrogateescape") for _, raw in numbered(stream, path))
    first = next(lines, "")
    named = _EXCEL_SEPARATOR.fullmatch(first.rstrip("\r\n"))
    if named is not None:
        return named[1], 1, lines
    return _delimiter(first, delimiter), 0, chain([first], lines)


def guess_quoting(stream_of: Callable[[], BinaryIO], path: Path, delimiter: str) -> Quoting:
    """Find out what quotation marks mean in a table, which is read once for that, or twice.

    Quotes are standard if every row then has as many fields as the header. They are text if that is so only without any
    quoting. In a table that tabs divide, which is often written without it, they are text too if the standard would put
    tabs and line ends into a field, or if some fields of a column are in quotes without need and others are not. Else
    they may be escaped by backslashes. If nothing fits, they are standard, and reading finds the bad rows.

    Raises:
        RedpencilError: if the file is damaged.
    """
    delimiter, _, lines = _table_lines(stream_of(), path, delimiter)
    widths: set[int] = set()
    needless: set[int] = set()
    unquoted: set[int] = set()

    def counted() -> Iterator[str]:
        header = True
        for line in lines:
            if line.strip("\r\n"):
                fields = line.rstrip("\r\n").split(delimiter)
                widths.add(len(fields))
                if not header and delimiter == "\t":
                    needless.update(at for at, field in enumerate(fields) if _NEEDLESS.fullmatch(field))
                    unquoted.update(at for at, field in enumerate(fields) if field and field[0] != '"')
                header = False
            yield line

    previous = csv.field_size_limit(LONGEST_FIELD)
    try:
        fits, joins = _fits(counted(), delimiter, Quoting.STANDARD)
        literal = delimiter == "\t" and (joins or needless & unquoted)
        if (not fits or literal) and len(widths) == 1 and widths != {1}:
            return Quoting.NONE
        if not fits and _fits(_table_lines(stream_of(), path, delimiter)[2], delimiter, Quoting.BACKSLASH)[0]:
            return Quoting.BACKSLASH
    finally:
        csv.field_size_limit(previous)
    return Quoting.STANDARD


def _fits(lines: Iterator[str], delimiter: str, quoting: Quoting) -> tuple[bool, bool]:
    """Read all lines; return whether all rows have as many fields as the first, and whether one has several lines."""
    reader = _table_reader(lines, delimiter, quoting)
    width, line, joins = 0, 0, False
    fits = True
    try:
        for row in reader:
            joins |= reader.line_num > line + 1
            line = reader.line_num
            width = width or len(row)
            fits &= len(row) in (0, width)
    except csv.Error:
        fits = False
        for _ in lines:
            pass
    return fits, joins


def _next_row(reader: Any, path: Path, begin: int, skipped: int) -> list[str] | None:
    """The fields of the row that begins on line `begin`: none on a blank line, None at the end of the file."""
    try:
        fields: list[str] | None = next(reader, None)
    except csv.Error as error:
        _refuse_carriage_return(error, path, begin + skipped)
        reach = f", read up to line {reader.line_num + skipped:,}" if reader.line_num > begin else ""
        raise RedpencilError(
            f"the row that begins here cannot be read ({error}{reach})",
            file=path,
            line=begin + skipped,
            hint="close each quote, and double those inside a field; if quotes are part of the texts, --quoting none",
        ) from None
    return fields


def _refuse_carriage_return(error: csv.Error, path: Path, line: int) -> None:
    if "new-line character" in str(error):
        raise RedpencilError(
            "a carriage return inside the line, such as old Macs end lines with",
            file=path,
            line=line,
            hint=r"end each line with \n or \r\n, and put quotes around fields that hold line ends",
        ) from None


def _delimiter(header: str, usual: str) -> str:
    """Find the delimiter of a table in the first line of its header."""
    for delimiter in (usual, ";", "\t", ",", "|"):
        try:
            names = next(csv.reader([header], delimiter=delimiter, strict=True), [])
        except csv.Error:  # a quoted name continues on the next line
            return usual
        if len(names) > 1:
            return delimiter
    return usual


def _header(reader: Any, path: Path, line: int) -> list[str]:
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        _refuse_carriage_return(error, path, line)
        raise RedpencilError(
            f"no header ({error})", file=path, line=line, hint="begin with the columns' names"
        ) from None
    if header[-2:] == ["", ""]:  # a spreadsheet writes columns that are only empty
        del header[len("\0".join(header).rstrip("\0").split("\0")) :]
    named = "begin the file with a line of column names, each once"
    if not any(header):
        raise RedpencilError("no header", file=path, line=line, hint=named)
    repeated = next((name for at, name in enumerate(header) if name in header[:at]), None)
    if repeated is not None:
        raise RedpencilError("the header names a column twice", file=path, line=line, field=repeated, hint=named)
    if any(map(has_half_pair, header)):
        raise RedpencilError("the header is not valid UTF-8", file=path, line=line, hint=OTHER_ENCODING)
    return header


def _table_row(place: Place, header: list[str], values: list[str], delimiter: str) -> SourceRow:
    if not any(values[len(header) :]):
        del values[len(header) :]
    if len(values) != len(header):
        raw = io.StringIO()
        csv.writer(raw, delimiter=delimiter, lineterminator="").writerow(values)
        problem = f"{len(values)} fields under a header of {len(header)}"
        error = place.error(
            problem,
            hint="quote fields that hold delimiters or line ends; if quotes are part of the texts, give --quoting none",
        )
        return SourceRow(place, {}, error, raw.getvalue())
    row = dict(zip(header, values, strict=True))
    for column, value in row.items():
        if has_half_pair(value):
            error = place.error("not valid UTF-8", field=column, hint=OTHER_ENCODING)
            return SourceRow(place, {}, error, row)
    return SourceRow(place, row)
