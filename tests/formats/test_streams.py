"""Text of any compression and encoding comes as UTF-8, as a stream; what breaks off is named."""

import bz2
import gzip
import lzma
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from redpencil.errors import RedpencilError
from redpencil.formats.datasets import Dialect, open_source

ROWS = [{"a": "é 日本 😀", "b": f"{n} \u2028\x0b"} for n in range(3)]
JSONL = "".join(f'{{"a": "{row["a"]}", "b": "{row["b"]}"}}\n' for row in ROWS).replace("\x0b", "\\u000b")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": lambda content: bytes(pyarrow.compress(content, codec="zstd", asbytes=True)),
}


def read(path: Path, content: bytes, encoding: str | None = None) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    path.write_bytes(content)
    with open_source(str(path), dialect=Dialect(encoding)) as source:
        rows = list(source.rows)
    for row in rows:
        if row.error is not None:
            raise row.error
    return [row.values for row in rows], source.notes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.json"])
def test_encodings_that_files_show(tmp_path: Path, encoding: str, name: str) -> None:
    content = JSONL
    wanted = ROWS
    if name == "a.json":
        content = "[" + JSONL.strip("\n").replace("}\n{", "},\n{") + "]"
    if name == "a.csv":
        content = "a,b\r\n" + "".join(f'"{row["a"]}",x\r\n' for row in ROWS)
        wanted = [{"a": row["a"], "b": "x"} for row in ROWS]
    rows, notes = read(tmp_path / name, content.encode(encoding))
    assert rows == wanted
    assert notes == (f"text in {encoding.upper()}",)


@pytest.mark.parametrize("name", PACK)
def test_compressions(tmp_path: Path, name: str) -> None:
    for suffix in (".jsonl", f".jsonl.{name}", ""):  # told by what it holds
        rows, notes = read(tmp_path / f"a{suffix}", PACK[name](JSONL.encode()))
        assert (rows, notes) == (ROWS, (f"compressed with {name}",))
    both = read(tmp_path / "a", PACK[name](JSONL.encode("utf-16")))
    assert both == (ROWS, (f"compressed with {name}", "text in UTF-16"))
    endings = {"gzip": "gz", "xz": "xz", "bzip2": "bz2", "zstd": "zst"}
    rows, _ = read(tmp_path / f"a.csv.{endings[name]}", PACK[name](b"a,b\n1,2\n"))
    assert rows == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("name", PACK)
def test_a_compressed_file_that_ends_early_or_is_damaged(tmp_path: Path, name: str) -> None:
    lines = "".join(f'{{"a": "{n * 7919 % 10007}"}}\n' for n in range(50_000)).encode()
    packed = PACK[name](lines)
    for cut in (len(packed) // 2, len(packed) - 3, 12):
        with pytest.raises(RedpencilError, match=f"damaged or ends early \\({name}") as caught:
            read(tmp_path / "a.jsonl", packed[:cut])
        assert caught.value.line is not None
    middle = bytearray(packed)
    middle[len(packed) // 2 : len(packed) // 2 + 40] = bytes(40)
    with pytest.raises(RedpencilError, match=f"damaged or ends early \\({name}"):
        read(tmp_path / "a.csv", bytes(middle))


def test_an_encoding_that_only_the_user_knows(tmp_path: Path) -> None:
    content = "a,b\nÄpfel € „gut“,x\n".encode("cp1252")
    path = tmp_path / "a.csv"
    with pytest.raises(RedpencilError, match="not valid UTF-8") as caught:
        read(path, content)
    assert "--encoding cp1252" in str(caught.value.hint)
    rows, notes = read(path, content, "cp1252")
    assert (rows, notes) == ([{"a": "Äpfel € „gut“", "b": "x"}], ("text in CP1252",))
    assert read(path, "a\n日本\n".encode("shift_jis"), "shift_jis")[0] == [{"a": "日本"}]
    assert read(path, content.replace(b"\x84", b"\x81"), "latin-1")[0][0]["a"].startswith("Äpfel")
    with pytest.raises(RedpencilError, match="not valid CP1252") as caught:
        read(path, content.replace(b"\x84", b"\x81"), "cp1252")
    assert caught.value.line == 1
    for wrong in ("klingon", "base64"):
        with pytest.raises(RedpencilError, match="no encoding called") as caught:
            read(path, content, wrong)
        assert caught.value.field == "--encoding"
    assert read(path, b"a\n1\n", "UTF8") == ([{"a": "1"}], ())


def test_text_that_ends_in_the_middle_of_a_character(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="not valid UTF-16") as caught:
        read(tmp_path / "a.jsonl", JSONL.encode("utf-16")[:-1])
    assert "UTF-8" in str(caught.value.hint)


def test_no_text_and_options_of_text_for_something_else(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="a tar archive"):
        read(tmp_path / "a.jsonl", gzip.compress(b"a" + bytes(256) + b"ustar\x0000"))
    with pytest.raises(RedpencilError, match="a spreadsheet"):
        read(tmp_path / "a.xlsx", b"PK\x03\x04rest")
    parquet.write_table(pyarrow.table({"a": ["1"]}), tmp_path / "a.parquet")
    for path in (tmp_path / "a.parquet", tmp_path):
        with (
            pytest.raises(RedpencilError, match="no text file") as caught,
            open_source(str(path), dialect=Dialect("cp1252")),
        ):
            pass
        assert caught.value.field == "--encoding"


def test_zstd_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACK["zstd"](b"{}")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RedpencilError, match="needs pyarrow") as caught:
        read(tmp_path / "a.zst", packed)
    assert (caught.value.file, "redpencil[data]" in str(caught.value.hint)) == (str(tmp_path / "a.zst"), True)


def test_lines_of_old_macs(tmp_path: Path) -> None:
    rows, notes = read(tmp_path / "a.jsonl", JSONL.replace("\n", "\r").encode("utf-16"))
    assert (rows, notes) == (ROWS, ("text in UTF-16", "lines that end with a carriage return"))


def test_memory_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.xz"
    path.write_bytes(lzma.compress(('{"a": "' + "x" * 10_000 + '"}\n').encode("utf-16-le") * 2_000, preset=0))
    tracemalloc.start()
    try:
        with open_source(str(path)) as source:
            assert sum(len(row.values["a"]) for row in source.rows) == 20_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_what_excel_calls_unicode_text_is_a_table(tmp_path: Path) -> None:
    assert read(tmp_path / "a.txt", "a\tb\n1\t2\n".encode("utf-16")) == ([{"a": "1", "b": "2"}], ("text in UTF-16",))
    assert read(tmp_path / "b.txt", b'{"a": "1\\t2"}\n') == ([{"a": "1\t2"}], ())
    with pytest.raises(RedpencilError, match="not valid JSON"):
        read(tmp_path / "c.txt", b"One sentence, and no table.\n")
