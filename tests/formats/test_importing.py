"""A whole import: the file, its side file, and what is left where it fails."""

import json
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.base import Kind
from redpencil.formats.datasets import open_source
from redpencil.formats.importing import Imported, import_rows
from redpencil.formats.reading import Wanted
from redpencil.formats.registry import FORMATS
from redpencil.records import Response, read_jsonl

GOOD = {"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1}
TIE = {**GOOD, "preference": 0}
BAD = {**GOOD, "preference": "x"}


def run(folder: Path, *rows: Any, skip: bool = False, **options: Any) -> Imported:
    path = folder / "pairs.jsonl"
    path.write_bytes(b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows))
    wanted = Wanted(FORMATS["alpaca-farm"], Kind.RESPONSES, on_error_skip=skip)
    with open_source(str(path)) as source:
        return import_rows(source, wanted, folder / "out.jsonl", **options)


def side(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl.skipped.jsonl").read_text("utf-8").splitlines()]


def test_what_gives_no_record_is_counted_and_listed(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD, TIE, BAD, b'{"instruction": "\xff"}\n', [1], GOOD, skip=True)
    (reason,) = done.nothing
    assert (done.rows, done.records, done.nothing[reason], done.bad) == (6, 2, 1, 3)
    assert [row.id for row in read_jsonl(tmp_path / "out.jsonl", Response)] == ["pairs-1", "pairs-6"]
    listed = side(tmp_path)
    assert [(row["line"], row["row_number"], row["field"]) for row in listed] == [
        (2, 2, None),
        (3, 3, "preference"),
        (4, 4, None),
        (5, 5, None),
    ]
    assert {row["file"] for row in listed} == {str(tmp_path / "pairs.jsonl")}
    assert [row["row"] for row in listed] == [TIE, BAD, '{"instruction": "\\xff"}', [1]]
    assert (listed[0]["problem"], "a number" in listed[1]["problem"]) == (reason, True)
    assert done.skipped_file == tmp_path / "out.jsonl.skipped.jsonl"


def test_the_first_mistake_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(RedpencilError) as caught:
        run(tmp_path, GOOD, TIE, BAD)
    assert (caught.value.line, caught.value.field) == (3, "preference")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "pairs.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_an_old_side_file_goes_where_nothing_is_skipped(tmp_path: Path) -> None:
    run(tmp_path, GOOD, TIE)
    assert len(side(tmp_path)) == 1
    assert run(tmp_path, GOOD).skipped_file is None
    assert not (tmp_path / "out.jsonl.skipped.jsonl").exists()


def test_no_record_at_all_is_a_mistake_that_the_side_file_explains(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no row gives a record \(1 bad rows, 1 ties"):
        run(tmp_path, TIE, BAD, skip=True)
    assert len(side(tmp_path)) == 2
    assert not (tmp_path / "out.jsonl").exists()


def test_a_limit_leaves_the_rest_unread(tmp_path: Path) -> None:
    done = run(tmp_path, GOOD, TIE, GOOD, BAD, limit=2)
    assert (done.rows, done.records) == (3, 2)


def test_a_response_of_a_megabyte_and_rows_of_all_languages(tmp_path: Path) -> None:
    long = "long text 😀 " * 100_000
    run(tmp_path, {**GOOD, "output_2": long}, {**GOOD, "output_2": "日本語 e\u0301 \u2028"})
    found = list(read_jsonl(tmp_path / "out.jsonl", Response))
    assert [row.response for row in found] == [long, "日本語 e\u0301 \u2028"]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    run(tmp_path, *[GOOD] * 200, progress=lambda *step: told.append(step))
    assert [note for *_, note in told] == ["64 responses", "128 responses", "192 responses"]
    assert all(0 <= done <= total for done, total, _ in told)
