"""The text of a file as a stream of bytes in UTF-8, whatever it is compressed with and encoded in."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, cast

from redpencil.errors import RedpencilError, naming
from redpencil.signatures import compression_of, encoding_of, refuse_other_files

_PIECE: Final = 1 << 16
_DAMAGE: Final = (EOFError, OSError, zlib.error, lzma.LZMAError)
ENCODINGS: Final = "such as cp1252, latin-1, utf-16 or shift_jis"


class StreamError(Exception):
    """A stream that cannot be read on, with what its readers say of it and a hint; they know the line."""

    def __init__(self, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.hint = hint

    def at(self, path: Path, line: int | None = None) -> RedpencilError:
        """Return the error with the place."""
        return RedpencilError(str(self), file=path, line=line, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Text:
    """A text: its bytes in UTF-8, the first of them, and what it was taken for, where that is not plain UTF-8."""

    stream: BinaryIO
    head: bytes
    compression: str | None = None
    notes: tuple[str, ...] = ()


def open_text(raw: BinaryIO, path: Path, encoding: str | None = None) -> Text:
    """Read a file as text in UTF-8. Line ends that are carriage returns alone, as on old Macs, become line feeds.

    Args:
        raw: the file, at its beginning.
        path: its name, for errors.
        encoding: its encoding; None means UTF-8, or UTF-16 or UTF-32 where the file begins as these do.

    Raises:
        RedpencilError: if it is no text, nothing here unpacks it, or there is no such encoding. Where it breaks off,
            the stream raises `StreamError`.
    """
    compression = compression_of(_first(raw))
    with naming(path):
        stream = raw if compression is None else _UNPACKERS[compression](raw)
    pieces = _pieces(stream, compression)
    head = b""
    try:
        while len(head) < _PIECE and (piece := next(pieces, b"")):
            head += piece
    except StreamError as error:
        if not head:
            raise error.at(path, 1) from None
        pieces = _raising(error)
    refuse_other_files(head, path)
    known = encoding_of(head) if encoding is None else _checked(encoding)
    decoded = known is not None and known != "utf-8"
    start = codecs.getincrementaldecoder(known or "utf-8")("ignore").decode(head)
    mac = "\r" in start.rstrip("\r") and "\n" not in start
    notes = [f"compressed with {compression}"] if compression else []
    notes += [f"text in {known.upper()}"] if decoded and known else []
    notes += ["lines that end with a carriage return"] if mac else []
    if compression is None and not decoded and not mac:
        raw.seek(0)
        return Text(raw, head)
    pieces = chain([head], pieces)
    if decoded or mac:
        pieces = _recoded(pieces, known or "utf-8", mac)
    return Text(io.BufferedReader(_Stream(pieces), _PIECE), start.encode("utf-8", "replace"), compression, tuple(notes))


def _first(raw: BinaryIO) -> bytes:
    first = raw.read(16)
    raw.seek(0)
    return first


def _raising(error: StreamError) -> Iterator[bytes]:
    yield b""
    raise error


def _checked(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding)
    except LookupError:
        found = None
    if found is None or not getattr(found, "_is_text_encoding", True):
        raise RedpencilError(f"no encoding called {encoding!r}", field="--encoding", hint=f"name one {ENCODINGS}")
    return found.name


def _zstd(raw: BinaryIO) -> IO[bytes]:
    try:
        arrow: Any = import_module("pyarrow")
    except ImportError:
        problem = "a file that is compressed with zstd needs pyarrow"
        raise RedpencilError(problem, hint="pip install 'redpencil[data]', or unpack the file: zstd -d") from None
    return cast(IO[bytes], arrow.CompressedInputStream(arrow.PythonFile(raw, mode="r"), "zstd"))


_UNPACKERS: Final[Mapping[str, Callable[[BinaryIO], IO[bytes]]]] = {
    "gzip": lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw)),
    "xz": lzma.LZMAFile,
    "bzip2": bz2.BZ2File,
    "zstd": _zstd,
}


def _pieces(stream: IO[bytes], compression: str | None) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.read(_PIECE)
        except _DAMAGE as error:
            if compression is None or getattr(error, "errno", None) is not None:
                raise
            raise StreamError(
                f"the compressed file is damaged or ends early ({compression}: {error})", "get the file again"
            ) from None
        if not piece:
            return
        yield piece


def _recoded(pieces: Iterator[bytes], encoding: str, mac: bool) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for piece in chain(pieces, [None]):
            text = decoder.decode(b"", final=True) if piece is None else decoder.decode(piece)
            yield (text.replace("\r", "\n") if mac else text).encode("utf-8")
    except UnicodeError as error:
        name = encoding.upper()
        reason = getattr(error, "reason", error)
        hint = f"convert the file to UTF-8, or name the encoding that it has with --encoding, {ENCODINGS}"
        raise StreamError(f"not valid {name} ({reason})", hint) from None


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)
