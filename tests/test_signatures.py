"""Files are named for what their first bytes say."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from redpencil.errors import RedpencilError
from redpencil.records import Response, read_jsonl
from redpencil.signatures import compression_of, encoding_of

LINE = '{"id": "1", "prompt": "é", "response": "b"}\n'


def zipped(name: str = "data.jsonl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, LINE)
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("data.jsonl"), io.BytesIO())
    return out.getvalue()


def table() -> bytes:
    out = io.BytesIO()
    parquet.write_table(pyarrow.table({"prompt": ["p"]}), out)
    return out.getvalue()


FILES = {
    "compressed with gzip": gzip.compress(LINE.encode()),
    "compressed with xz": lzma.compress(LINE.encode()),
    "compressed with bzip2": bz2.compress(LINE.encode()),
    "compressed with zstd": bytes(pyarrow.compress(LINE.encode(), codec="zstd", asbytes=True)),
    "UTF-16, not": LINE.encode("utf-16"),
    "UTF-16-LE": LINE.encode("utf-16-le"),
    "UTF-16-BE": LINE.encode("utf-16-be"),
    "UTF-32, not": LINE.encode("utf-32"),
    "UTF-32-BE": LINE.encode("utf-32-be"),
    "a zip archive": zipped(),
    "a spreadsheet": zipped("xl/workbook.xml"),
    "a tar archive": tarred(),
    "a Parquet file": table(),
    "an SQLite": b"SQLite format 3\x00" + bytes(100),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "a web page": b"\n<!DOCTYPE html>\n<html><body>log in</body></html>",
}


@pytest.mark.parametrize("name", FILES)
def test_rows_are_not_looked_for_in_other_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(FILES[name])
    with pytest.raises(RedpencilError, match=name) as caught:
        next(read_jsonl(path, Response))
    assert caught.value.file == str(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "line", [LINE, "\ufeff" + LINE, "\n\n" + LINE, '{"a": "\\u0000"}\n', "BZh and other text\n", ""]
)
def test_text_is_not_taken_for_anything_else(line: str) -> None:
    head = line.encode()
    assert (compression_of(head), encoding_of(head)) == (None, None)
