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
from redpencil.formats.datasets import open_source
from redpencil.formats.text_files import csv_rows, json_rows

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
    monkeypatch.setattr("redpencil.formats.text_files.LONGEST_FIELD", 1000)
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


def test_the_column_of_an_error_in_json_is_that_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "half", "chosen": \n')
    (row,) = rows_of(path)
    assert "(Expecting value at column 30)" in str(row.error)  # the line's 29 characters, and then nothing


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_header_tells_the_delimiter(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    path.write_text(f'question{delimiter}answer\n"a, b; c\td"{delimiter}e\n')
    assert [row.values for row in rows_of(path)] == [{"question": "a, b; c\td", "answer": "e"}]


def test_a_delimiter_within_a_quoted_name_is_none(tmp_path: Path) -> None:
    for header, column in (('"a;b"', "a;b"), ('"a;\nb"', "a;\nb"), ("a", "a")):
        (tmp_path / "a.csv").write_text(f"{header}\n1\n")
        assert [row.values for row in rows_of(tmp_path / "a.csv")] == [{column: "1"}]


def test_a_key_that_stands_twice_is_refused_with_all_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    twice = '{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}'
    path.write_text(f'{{"a": 1}}\n{twice}\n{{"a": 2, "b": {{"a": 3}}}}\n')
    first, bad, last = rows_of(path)
    assert (first.values, last.values) == ({"a": 1}, {"a": 2, "b": {"a": 3}})
    assert (bad.error.line, bad.error.field, bad.raw) == (2, "c", twice)


def test_a_line_without_end_does_not_take_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.formats.text_files.LONGEST_LINE", 100)
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b" " * 1000)
    with pytest.raises(RedpencilError, match="a line of more than") as caught:
        rows_of(path)
    assert caught.value.line == 2


def test_carriage_returns_as_line_ends_are_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"q,a\r1,2\r3,4\r")
    with pytest.raises(RedpencilError, match="a carriage return inside the line, such as old Macs") as caught:
        rows_of(tmp_path / "a.csv")
    assert caught.value.line == 1
    (tmp_path / "a.csv").write_bytes(b"q,a\n1\r,2\n3,4\n")
    bad, good = rows_of(tmp_path / "a.csv")
    assert (good.values, bad.raw) == ({"q": "3", "a": "4"}, "1\r,2")
    assert "a carriage return inside the line" in bad.error.problem


def test_what_a_torn_row_takes_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    rest = "".join(f"q{number},a{number}\n" for number in range(1000))
    path.write_bytes(b'q,a\n1,2\n"never closed \xff,2\n' + rest.encode())
    good, torn = rows_of(path)
    assert good.values == {"q": "1", "a": "2"}
    assert torn.raw == '"never closed \\xff,2\n' + rest.rstrip("\n")
    assert "unexpected end of data); it takes lines 3 to 1003, 1,001 lines" in torn.error.problem
    assert torn.error.line == 3


def test_the_rest_of_a_field_that_is_too_large_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.formats.text_files.LONGEST_FIELD", 1000)
    content = b'q,a\n"' + b"x,y\n" * 5000 + b'end",1\n3,4\n'
    torn, good = csv_rows(io.BytesIO(content), PLACE, ",")
    assert torn.error is not None
    assert "lines 2 to 5002, 5,001 lines" in torn.error.problem
    assert (good.values, good.place.line) == ({"q": "3", "a": "4"}, 5003)
