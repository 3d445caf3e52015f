"""JSONL and CSV: each bad row is named with its line, and the rows after it are read all the same."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.lines import csv_rows, json_rows
from redpencil.formats.sources import open_source

PLACE = Path("data.csv")


def rows_of(path: Path) -> list[Any]:
    with open_source(str(path)) as source:
        return list(source.rows)


def test_jsonl_with_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": "\xe2\x80\xa8"}\r\n')
    assert [(row.values, row.place.row, row.place.line) for row in rows_of(path)] == [
        ({"a": 1}, 1, 1),
        ({"a": "\u2028"}, 2, 4),
    ]


def test_each_bad_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    bad = [b"{", b'{"a": "\xff"}', b"[1]", b"1" * 5000, b"[" * 100_000, b"null"]
    path.write_bytes(b"\n".join([b'{"a": 1}', *bad, b'{"a": 2}']))
    rows = rows_of(path)
    assert [row.values for row in rows if row.error is None] == [{"a": 1}, {"a": 2}]
    assert rows[-1].place.line == 8
    problems = [str(row.error) for row in rows[1:-1]]
    assert all(problem.startswith(f"{path}:{line}: ") for line, problem in enumerate(problems, start=2))
    for problem, expected in zip(
        problems,
        (
            "not valid JSON",
            "not valid UTF-8 at byte 7",
            "found list",
            "cannot be read",
            "nested too deeply",
            "found NoneType",
        ),
        strict=True,
    ):
        assert expected in problem
    assert rows[2].raw == '{"a": "\\xff"}'


def test_compressed_files_and_one_that_ends_early(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(50_000)))
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(whole)
    assert sum(row.values["a"] for row in rows_of(path)) == 50_000 * 49_999 // 2
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RedpencilError, match="damaged or ends early") as caught:
        rows_of(path)
    assert (caught.value.file, caught.value.line is not None) == (str(path), True)
    path.write_bytes(whole[:100])
    with pytest.raises(RedpencilError, match="damaged or ends early"):
        rows_of(path)


def test_csv_with_quotes_line_ends_and_long_fields(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    long = "x" * 1_000_000
    path.write_text(f'\ufeffq,a\n"one, ""two""\nthree",b\n\n{long},é\n', encoding="utf-8")
    rows = rows_of(path)
    assert [row.values for row in rows] == [{"q": 'one, "two"\nthree', "a": "b"}, {"q": long, "a": "é"}]
    assert [(row.place.row, row.place.line) for row in rows] == [(1, 2), (2, 5)]


def test_tsv_and_compressed_csv(tmp_path: Path) -> None:
    (tmp_path / "data.TSV").write_text("q\ta\n1,5\t2\n")
    (tmp_path / "data.csv.gz").write_bytes(gzip.compress(b"q,a\n1.5,2\n"))
    assert rows_of(tmp_path / "data.TSV")[0].values == {"q": "1,5", "a": "2"}
    assert rows_of(tmp_path / "data.csv.gz")[0].values == {"q": "1.5", "a": "2"}


def test_each_bad_row_of_a_table_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b'q,a\n1,2\n1\n1,2,3\n1,\xff\n"1"x,2\n3,4\n"5,6\n')
    rows = rows_of(path)
    assert [row.values for row in rows if row.error is None] == [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]
    found = [(row.place.line, row.error.field, row.error.problem) for row in rows if row.error is not None]
    assert [(line, field) for line, field, _ in found] == [(3, None), (4, None), (5, "a"), (6, None), (8, None)]
    for (*_, problem), expected in zip(
        found,
        ("1 fields under a header of 2", "3 fields", "not valid UTF-8", "expected after", "unexpected end"),
        strict=True,
    ):
        assert expected in problem
    assert [row.raw for row in rows][1] == "1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "no header"), (b"\n1,2\n", "no header"), (b"a,a\n1,2\n", "names a column twice"), (b"\xff,a\n", "UTF-8")],
)
def test_a_table_needs_a_header(content: bytes, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        list(csv_rows(io.BytesIO(content), PLACE, ","))
    assert caught.value.line == 1


def test_a_quote_that_is_never_closed_does_not_take_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.formats.lines.LONGEST_FIELD", 1000)
    content = b'q\n"' + b"x\n" * 5000
    row = next(csv_rows(io.BytesIO(content), PLACE, ","))
    assert row.error is not None
    assert "field larger than field limit" in row.error.problem
    assert row.error.line == 2


def test_the_limit_of_other_readers_is_left_alone() -> None:
    before = csv.field_size_limit()
    list(csv_rows(io.BytesIO(b"a\n1\n"), PLACE, ","))
    assert csv.field_size_limit() == before


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.fixed_dictionaries({"a": texts, "é b": texts}), max_size=5))
def test_tables_that_python_writes_are_read_back(rows: list[dict[str, str]]) -> None:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["a", "é b"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    found = list(csv_rows(io.BytesIO(out.getvalue().encode()), PLACE, ","))
    assert [row.values for row in found] == rows
    # A row begins on the line after the end of the one before it.
    lines = [2]
    for row in rows:
        lines.append(lines[-1] + 1 + sum(text.count("\n") for text in row.values()))
    assert [row.place.line for row in found] == lines[:-1]


@given(st.lists(st.dictionaries(texts, st.none() | st.integers() | texts, max_size=3), min_size=1, max_size=5))
def test_jsonl_that_python_writes_is_read_back(rows: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    assert [row.values for row in json_rows(io.BytesIO(content), Path("x"))] == rows
