"""What the first bytes of a file say that it is: compressed, in another encoding than UTF-8, or no text at all."""

import codecs
from pathlib import Path
from typing import Final

from redpencil.errors import RedpencilError

HEAD: Final = 512
"""The number of bytes that all of this looks at."""
PARQUET: Final = b"PAR1"
_COMPRESSIONS: Final = {
    "gzip": (b"\x1f\x8b",),
    "xz": (b"\xfd7zXZ\x00",),
    "bzip2": tuple(b"BZh%d" % level + block for level in range(1, 10) for block in (b"1AY&SY", b"\x17rE8P\x90")),
    "zstd": (b"\x28\xb5\x2f\xfd",),
}
UNPACK: Final = {"gzip": "gunzip -k", "xz": "unxz -k", "bzip2": "bunzip2 -k", "zstd": "zstd -d"}
"""The command that unpacks a file of each compression and keeps the packed one."""
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_TABLE: Final = "open it with a spreadsheet program and save the sheet as CSV in UTF-8"
_ARCHIVE: Final = "unpack it, and give the file that is in it"
_OTHERS: Final = (
    (
        0,
        PARQUET,
        "a Parquet file",
        "`redpencil import` reads it: redpencil import FILE --format redpencil --out ROWS.jsonl",
    ),
    (0, b"ARROW1", "an Arrow file", "save the table as Parquet or JSONL"),
    (0, b"PK\x03\x04", "a zip archive", _ARCHIVE),
    (0, b"PK\x05\x06", "an empty zip archive", _ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _ARCHIVE),
    (0, b"Rar!\x1a\x07", "a rar archive", _ARCHIVE),
    (257, b"ustar", "a tar archive", _ARCHIVE),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it: lz4 -d"),
    (0, b"\x1f\x9d", "compressed with compress (.Z)", "unpack it: uncompress"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word file", _TABLE),
    (0, b"SQLite format 3\x00", "an SQLite database", "write the table as JSONL or CSV"),
    (0, b"%PDF-", "a PDF file", "give a file with rows"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write the table as JSONL, CSV or Parquet"),
    (0, b"\x93NUMPY", "a NumPy array", "write the rows as JSONL"),
    (0, b"\x80\x04\x95", "a Python pickle", "write the rows as JSONL"),
    (
        0,
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS to the data",
        "fetch the data: git lfs pull",
    ),
)
_PAGES: Final = (b"<!doctype html", b"<html")


def compression_of(head: bytes) -> str | None:
    """Return gzip, xz, bzip2 or zstd if a file begins as theirs do."""
    return next((name for name, marks in _COMPRESSIONS.items() if head.startswith(marks)), None)


def encoding_of(head: bytes) -> str | None:
    """Return the encoding of a text in UTF-16 or UTF-32, by its byte order mark or zeros around its first letter."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    pattern = bytes(byte != 0 for byte in head[:4])
    for zeros, name in (
        (b"\1\0\0\0", "utf-32-le"),
        (b"\0\0\0\1", "utf-32-be"),
        (b"\1\0", "utf-16-le"),
        (b"\0\1", "utf-16-be"),
    ):
        if len(head) >= len(zeros) and pattern.startswith(zeros):
            return name
    return None


def refuse_other_files(head: bytes, path: Path) -> None:
    """Refuse a file that holds no text.

    Raises:
        RedpencilError: naming what it is, and how to get its rows.
    """
    for at, mark, what, hint in _OTHERS:
        if head[at:].startswith(mark):
            sheet = mark == b"PK\x03\x04" and (path.suffix.lower() in (".xlsx", ".xlsm", ".ods") or b"xl/" in head)
            what, hint = ("a spreadsheet, such as Excel's", _TABLE) if sheet else (what, hint)
            raise RedpencilError(f"it is {what}", file=path, hint=hint)
    if head.removeprefix(codecs.BOM_UTF8).lstrip().lower().startswith(_PAGES):
        hint = "download the file again; where that asks you to log in, you get such a page"
        raise RedpencilError("it is a web page and no data", file=path, hint=hint)


def refuse_all_but_utf8(head: bytes, path: Path) -> None:
    """Refuse a file that is no text in UTF-8, if its first bytes say so.

    Raises:
        RedpencilError: naming what it is, and how to get its rows.
    """
    compression = compression_of(head)
    if compression is not None:
        hint = f"unpack it first: {UNPACK[compression]} {path.name}"
        raise RedpencilError(f"it is compressed with {compression}", file=path, hint=hint)
    refuse_other_files(head, path)
    encoding = encoding_of(head)
    if encoding is not None:
        hint = f"convert it: iconv -f {encoding.upper()} -t UTF-8 {path.name} > utf8-{path.name}"
        raise RedpencilError(f"it is text in {encoding.upper()}, not in UTF-8", file=path, hint=hint)
