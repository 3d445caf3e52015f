"""What a source is told by, and that it streams."""

import csv
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.places import Place
from redpencil.formats.sources import open_source

ROWS, TEXT = 3_000, "0123456789" * 1_000


def test_a_file_is_told_by_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.json", "a.jsonl", "a.txt", "a"):
        for content in (b'[{"a": 1}]', b'{"a": 1}\n', b' \xef\xbb\xbf\n{"a": 1}'[1:], b'\n [\n{"a": 1}\n]'):
            for packed in (content, gzip.compress(content)):
                (tmp_path / name).write_bytes(packed)
                with open_source(str(tmp_path / name)) as source:
                    assert ([row.values for row in source.rows], source.name) == ([{"a": 1}], "a")


def test_what_is_not_there_or_no_rows_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(RedpencilError, match="no such file or folder") as caught,
        open_source(str(tmp_path / "none.json")),
    ):
        pass
    assert "hf://OWNER/NAME" in str(caught.value.way_out)
    (tmp_path / "a.jsonl").write_text("{}\n")
    for options in ({"split": "train"}, {"config": "edit"}):
        with (
            pytest.raises(RedpencilError, match="no splits or configurations"),
            open_source(str(tmp_path / "a.jsonl"), **options),
        ):
            pass
    (tmp_path / "empty").write_bytes(b"")
    with open_source(str(tmp_path / "empty")) as source:
        assert list(source.rows) == []


def test_a_place_without_lines_names_the_row() -> None:
    assert str(Place("f", 17, 20).error("bad", field="a")) == "f:20 [a]: bad"
    assert str(Place("f", 17).error("bad", field="a")) == "f [a]: row 17: bad"
    located = Place("f", 17).locate(RedpencilError("bad", field="a", way_out="mend"))
    assert str(located) == "f [a]: row 17: bad\n  way out: mend"
    assert Place("f", 17).locate(located) is located


def test_the_position_goes_up_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"a": "{TEXT}"}}\n' * 100)
    with open_source(str(tmp_path / "a.jsonl")) as source:
        seen = [source.position() for _ in source.rows]
        assert seen == sorted(seen)
        assert source.position() == (1001, 1001)


def test_an_open_file_is_closed_and_the_reader_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 100_000)
    before = csv.field_size_limit()
    with open_source(str(tmp_path / "a.csv")) as source:
        assert next(source.rows).values == {"a": "1"}
    assert (list(source.rows), csv.field_size_limit()) == ([], before)


def write_jsonl(path: Path) -> None:
    with path.open("w") as out:
        out.writelines(json.dumps({"a": TEXT, "n": number}) + "\n" for number in range(ROWS))


def write_packed(path: Path) -> None:
    with gzip.open(path, "wt", compresslevel=1) as out:
        out.writelines(json.dumps({"a": TEXT, "n": number}) + "\n" for number in range(ROWS))


def write_array(path: Path) -> None:
    with path.open("w") as out:
        for number in range(ROWS):
            out.write(("[" if number == 0 else ",") + json.dumps({"a": TEXT, "n": number}))
        out.write("]")


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["a", "n"])
        writer.writerows([TEXT, number] for number in range(ROWS))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.jsonl", write_jsonl), ("a.jsonl.gz", write_packed), ("a.json", write_array), ("a.csv", write_csv)],
)
def test_thirty_megabytes_take_few_of_memory(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    tracemalloc.start()
    try:
        with open_source(str(tmp_path / name)) as source:
            count = sum(1 for _ in source.rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == ROWS
    assert peak < 8_000_000


def test_a_large_parquet_file_takes_little_memory(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `data` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    # Rows differ, so that nothing compresses; one row group holds them all.
    table = pyarrow.table({"a": [f"{number:05d}" * 2_000 for number in range(ROWS)]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    del table
    assert (tmp_path / "a.parquet").stat().st_size > 29_000_000
    before = pyarrow.total_allocated_bytes()
    most = 0
    count = 0
    with open_source(str(tmp_path / "a.parquet")) as source:
        for _ in source.rows:
            count += 1
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert count == ROWS
    assert most < 16_000_000  # pages and a batch; the same for a file four times as large


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for given in (str(tmp_path / "pipe"), "/dev/full"):
        with pytest.raises(RedpencilError, match="no plain file"), open_source(given):
            pass
