"""JSONL and CSV: each bad row is named with its line, and the rows after it are read all the same."""

import bz2
import csv
import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.datasets import Dialect, open_source
from redpencil.formats.text_files import Quoting, array_rows, csv_rows, json_rows

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
    path.write_bytes(b"q,a\n1,2\n1\n1,2,3\n1,\xff\n3,4\n")
    rows = rows_of(path)
    assert [row.values for row in rows if row.error is None] == [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]
    found = [(row.place.line, row.error.field, row.error.problem) for row in rows if row.error is not None]
    assert [(line, field) for line, field, _ in found] == [(3, None), (4, None), (5, "a")]
    problems = ("1 fields under a header of 2", "3 fields", "not valid UTF-8")
    for (*_, problem), expected in zip(found, problems, strict=True):
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


@pytest.mark.parametrize(
    "bad",
    [
        '"he said "hi"',  # the lines of a row whose inner quotes are not doubled
        '"he said "hi",x',
        '"he said "hi\nthere" to me",x',
        '"a "b" c\nlike, a row\n\n1,2\nend",x',
        '"1"x,2',
        '"1" "2" "3",x',
        '"never closed,x',
    ],
)
def test_a_bad_quote_stops_with_its_line_and_nothing_behind_it_is_taken_for_a_row(bad: str) -> None:
    content = f'q,a\n1,"2\n\n2"\n\n{bad}\n3,4\n5,6\n'.encode()
    rows = csv_rows(io.BytesIO(content), PLACE, ",")
    assert next(rows).values == {"q": "1", "a": "2\n\n2"}
    with pytest.raises(RedpencilError, match="the row that begins here cannot be read") as caught:
        next(rows)
    # Lines of the file are counted: those within a field, and blank ones.
    assert (caught.value.file, caught.value.line) == ("data.csv", 6)
    assert "close each quote" in str(caught.value.hint)
    assert list(rows) == []


def test_columns_of_a_spreadsheet_that_are_only_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b,,,\n1,2,,,\n3,4\n5,6,,x,\n")
    good, short, bad = rows_of(path)
    assert (good.values, short.values) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})
    assert "5 fields under a header of 2" in bad.error.problem


def test_a_bad_quote_far_from_its_row_says_how_far_was_read() -> None:
    content = b'q,a\n"open,1\n2,3\n4,5\n"6",7\n8,9\n'
    with pytest.raises(RedpencilError, match=r"expected after '\"', read up to line 5") as caught:
        list(csv_rows(io.BytesIO(content), PLACE, ","))
    assert caught.value.line == 2


def test_a_quote_that_is_never_closed_does_not_take_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redpencil.formats.text_files.LONGEST_FIELD", 1000)
    stream = io.BytesIO(b'q\n"' + b"x\n" * 5000 + b'end"\n3\n')
    with pytest.raises(RedpencilError, match="field larger than field limit") as caught:
        list(csv_rows(stream, PLACE, ","))
    assert caught.value.line == 2
    assert stream.tell() < 1100


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
    monkeypatch.setattr("redpencil.records.LONGEST_LINE", 100)
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b" " * 1000)
    with pytest.raises(RedpencilError, match="a line of more than") as caught:
        rows_of(path)
    assert caught.value.line == 2


def test_carriage_returns_as_line_ends_are_read_and_others_are_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"q,a\r1,2\r3,4\r")
    with open_source(str(tmp_path / "a.csv")) as source:
        assert [row.values for row in source.rows] == [{"q": "1", "a": "2"}, {"q": "3", "a": "4"}]
        assert source.notes == ("lines that end with a carriage return",)
    (tmp_path / "a.csv").write_bytes(b"q,a\n1,2\n1\r,2\n3,4\n")
    with pytest.raises(RedpencilError, match="a carriage return inside the line") as caught:
        rows_of(tmp_path / "a.csv")
    assert caught.value.line == 3


LITERAL = """prompt\tx\ty
p\ta b .\ta c .
p\t" He said .\t" He says .
p\tan "odd" word\tan "even" word
p\t" Bye " he said\t" Bye " he says
p\t" Whole "\t" All "
"""


def quoted(path: Path, content: str, quoting: Quoting | None = None) -> tuple[list[list[str]], str]:
    """The fields of the rows, and what the table was taken for."""
    path.write_text(content, encoding="utf-8")
    with open_source(str(path), dialect=Dialect(quoting=quoting)) as source:
        rows = list(source.rows)
        assert all(row.error is None for row in rows)
        return [list(row.values.values()) for row in rows], " ".join(source.notes)


def test_quotes_that_are_text_are_found_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    wanted = [line.split("\t") for line in LITERAL.splitlines()[1:]]
    found, told = quoted(path, LITERAL)
    assert (found, "--quoting none" in told) == (wanted, True)
    assert quoted(path, LITERAL, Quoting.NONE) == (wanted, "")
    with pytest.raises(RedpencilError, match="cannot be read") as caught:
        quoted(path, LITERAL, Quoting.STANDARD)
    assert (caught.value.line, "--quoting none" in str(caught.value.hint)) == (3, True)
    # The quotes of two rows would make one standard row of them.
    found, told = quoted(path, 'a\tb\tc\np\t" x y\tz\np\tu "\tw\n')
    assert (found, "--quoting none" in told) == ([["p", '" x y', "z"], ["p", 'u "', "w"]], True)
    for delimiter, name in ((",", "a.csv"), ("|", "a.psv"), (";", "b.csv"), ("\t", "a.tab")):
        assert quoted(tmp_path / name, LITERAL.replace("\t", delimiter))[0] == wanted
    packed = tmp_path / "a.tsv.bz2"
    packed.write_bytes(bz2.compress(LITERAL.encode("utf-16")))
    with open_source(str(packed)) as source:
        assert [list(row.values.values()) for row in source.rows] == wanted
        assert len(source.notes) == 3


def test_some_needless_quotes_in_a_column_of_a_table_with_tabs_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    found, told = quoted(path, 'q\ta\nx\t" Whole title "\ny\tno\n')
    assert (found, "--quoting none" in told) == ([["x", '" Whole title "'], ["y", "no"]], True)
    # What a program quotes for a reason, or in a whole column, is quoted.
    for content, wanted in (
        ('q\ta\nx\t"one, two"\ny\tno\n', [["x", "one, two"], ["y", "no"]]),
        ('q\ta\n"x"\t1\n"y"\t2\n', [["x", "1"], ["y", "2"]]),
        ('"q"\t"a"\n"x"\t"y"\n', [["x", "y"]]),
        ('q\ta\nx\t"say ""hi"""\ny\tno\n', [["x", 'say "hi"'], ["y", "no"]]),
        ('q\ta\nx\t"two\nlines"\ny\tno\n', [["x", "two\nlines"], ["y", "no"]]),
    ):
        assert quoted(path, content) == (wanted, "")
    assert quoted(tmp_path / "a.csv", 'q,a\nx,"y"\nz,no\n') == ([["x", "y"], ["z", "no"]], "")


def test_standard_quotes_stay_standard(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for content, wanted in (
        ('q,a\n"one, two",b\n', [["one, two", "b"]]),
        ('q,a\n"one, ""two""\nthree",b\n', [['one, "two"\nthree', "b"]]),
        ('q,a\n"x",y\n', [["x", "y"]]),
        ('q,a\n5" pipe,y\n', [['5" pipe', "y"]]),
        ("q,a\nno,quotes\n", [["no", "quotes"]]),
    ):
        assert quoted(path, content) == (wanted, "")
    assert quoted(tmp_path / "a.tsv", 'q\ta\n"x\ty"\tz\n') == ([["x\ty", "z"]], "")


def test_quotes_escaped_by_backslashes(tmp_path: Path) -> None:
    content = 'q,a\n"he said \\"hi, you\\"",b\n"\\frac{1}{2}, \\\\","x ""y"" \\"z\\""\n'
    found, told = quoted(tmp_path / "a.csv", content)
    assert found == [['he said "hi, you"', "b"], ["\\frac{1}{2}, \\\\", 'x "y" "z"']]
    assert "--quoting backslash" in told
    with pytest.raises(RedpencilError, match="cannot be read"):
        quoted(tmp_path / "one.csv", 'q\n"he said "hi" there"\n')


def test_a_table_that_fits_nothing_is_standard_with_its_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('q,a\n"x, y",z\n1,2,3\n')
    good, bad = rows_of(tmp_path / "a.csv")
    assert good.values == {"q": "x, y", "a": "z"}
    assert bad.error is not None
    assert (bad.error.line, "--quoting none" in str(bad.error.hint)) == (3, True)


def test_the_line_of_excel_that_names_the_delimiter(tmp_path: Path) -> None:
    for delimiter, first in ((";", "sep=;"), (",", '"sep=,"'), ("\t", "SEP=\t"), ("|", "sep=|")):
        content = f"{first}\r\nq{delimiter}a\r\n1{delimiter}2\r\n3\r\n"
        (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
        good, bad = rows_of(tmp_path / "a.csv")
        assert (good.values, good.place.line) == ({"q": "1", "a": "2"}, 3)
        assert bad.error.line == 4
    (tmp_path / "a.csv").write_text('sep=;\nq;a\n"x"y;1\n')
    with pytest.raises(RedpencilError) as caught:
        quoted(tmp_path / "a.csv", 'sep=;\nq;a\n"x"y;1\n', Quoting.STANDARD)
    assert caught.value.line == 3
    assert quoted(tmp_path / "a.csv", "sep=;\nq\n1\n") == ([["1"]], "")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.sampled_from(['"', "\\", "[,]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def array_of(content: bytes) -> list[Any]:
    return list(array_rows(io.BytesIO(content), Path("data.json")))


@given(st.lists(st.dictionaries(texts, values, max_size=3), max_size=4), st.booleans(), st.sampled_from([None, 2]))
def test_arrays_that_python_writes_are_read_back(
    rows: list[dict[str, Any]], ascii_only: bool, indent: int | None
) -> None:
    found = array_of(json.dumps(rows, ensure_ascii=ascii_only, indent=indent).encode())
    assert [row.values for row in found] == rows
    assert [(row.place.row, row.place.line) for row in found] == [(number, None) for number in range(1, len(rows) + 1)]


def test_what_pythons_writers_leave_behind_in_an_array() -> None:
    (row,) = array_of(b'\xef\xbb\xbf [{"a": NaN, "b": 123456789012345678901234567890, "c": "\\ud83d"}]\n')
    assert math.isnan(row.values["a"])
    assert (row.values["b"], row.values["c"]) == (123456789012345678901234567890, "\ud83d")


def test_an_element_that_is_not_an_object_is_named_by_its_row() -> None:
    good, bad, last = array_of(b'[{"a": 1}, 12, {"a": 2}]')
    assert (good.values, last.values, bad.raw) == ({"a": 1}, {"a": 2}, 12)
    assert str(bad.error).startswith("data.json: row 2: expected a JSON object, found int")


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"[", 1, "at column 2"),
        (b'[{"a": 1},\n {"a": 2}', 2, "at column 10"),
        (b'[{"a": 1},', 1, "at column 11"),
        (b'[\n\n{"a": "x', 3, "Unterminated string starting at at column 7"),
        (b'[{"a": 1},\n,]', 2, "Expecting value at column 1"),
        (b'[{"a": 1}\n {"a": 2}]', 2, "Expecting ',' delimiter at column 2"),
        (b'[{"a": 1}]\n{}', 2, "Extra data at column 1"),
        (b'[{"a": 1},\n\n{"a": "\xff"}]', 3, "not valid UTF-8"),
        (b'[{"a": ' + b"1" * 5000 + b"}]", None, "cannot be read"),
        (b'[{"a": ' + b"[" * 100_000, None, "nested too deeply"),
    ],
)
def test_a_broken_array_names_file_line_and_column(content: bytes, line: int | None, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        array_of(content)
    assert (caught.value.file, caught.value.line) == ("data.json", line)
    assert caught.value.hint


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.json.gz"
    path.write_bytes(gzip.compress(b"[" + b'{"a": 1},' * 100_000 + b'{"a": 2}]')[:400])
    with pytest.raises(RedpencilError, match="damaged or ends early") as caught:
        rows_of(path)
    assert caught.value.file == str(path)


def test_a_key_that_stands_twice_in_an_array_is_refused_with_all_of_the_row() -> None:
    twice = '{"a": 1, "b": [{"c": 1, "c": 2}]}'
    good, bad, last = array_of(f'[{{"a": 1}}, {twice} , {{"a": 3}}]'.encode())
    assert (good.values, last.values) == ({"a": 1}, {"a": 3})
    assert (bad.error.field, bad.raw, bad.place.row) == ("c", twice, 2)
