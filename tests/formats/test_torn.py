"""What belongs to a row that breaks off at a wrong quote, and which line is the next row."""

import io
from pathlib import Path

import pytest

from redpencil.formats import torn
from redpencil.formats.text_files import csv_rows
from redpencil.formats.torn import Lines, take_torn


def rows_of(content: str) -> list[tuple[int | None, object]]:
    """The line of each row with its values, or with the text of what is torn."""
    rows = csv_rows(io.BytesIO(content.encode()), Path("x.csv"), ",")
    return [(row.place.line, list(row.values.values()) if row.error is None else row.raw) for row in rows]


@pytest.mark.parametrize(
    "bad",
    [
        '"he said "hi"',  # the lines of a row whose inner quotes are not doubled
        '"he said "hi",x',
        '"he said "hi\nthere" to me",x',
        '"he said "hi\nthere, folks" to me",x',
        '"a "b" c\nlike, a row\nend",x',
        '"a "b" c\nlike, a row\n\n1,2\nend",x',
        '"1"x,2',
        '"1" "2" "3",x',
    ],
)
def test_no_rest_of_a_torn_row_is_taken_for_a_row(bad: str) -> None:
    lines = bad.count("\n")
    assert rows_of(f'q,a\n1,2\n{bad}\n3,4\n"5","6\n7"\n') == [
        (2, ["1", "2"]),
        (3, bad),
        (4 + lines, ["3", "4"]),
        (5 + lines, ["5", "6\n7"]),
    ]


def test_one_quote_too_few_or_too_many_does_not_take_the_rows_that_follow() -> None:
    sound = [f'"q{number}","a, ""{number}"""' for number in range(2000)]
    for bad in ('"1"x"y,2', '"abc,1\n"def","2"'):
        found = rows_of("\n".join(["q,a", bad, *sound, '"open\nfield",end']))
        assert found[0] == (2, bad)
        assert len(found) == 2 + len(sound)
        assert found[-2:] == [(len(sound) + 2 + bad.count("\n"), ["q1999", 'a, "1999"']),
                              (len(sound) + 3 + bad.count("\n"), ["open\nfield", "end"])]  # fmt: skip


def test_every_line_is_in_a_row_or_in_the_text_of_a_torn_one() -> None:
    content = 'q,a\n"x"y,2\nstray" quote,1\n1,2,3\n\n3,4\n"un,closed\nto the,end\n'
    assert rows_of(content) == [
        (2, '"x"y,2\nstray" quote,1\n1,2,3'),
        (6, ["3", "4"]),
        (7, '"un,closed\nto the,end'),
    ]


def test_only_the_beginning_of_a_long_row_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torn, "LONGEST_HELD", 10)
    lines = Lines(iter(['"' + "x" * 7 + "\n", "yyyy\n", "zzzz\n"]))
    next(lines)
    take_torn(lines, ",", 2, endless=True)
    assert lines.raw() == '"' + "x" * 7 + "\ny"
    assert lines.extent() == "; it takes lines 1 to 3, 3 lines; only its first 10 characters are kept"


def test_lines_that_were_looked_at_stay() -> None:
    lines = Lines(iter("abc"))
    assert (lines.ahead(2), next(lines), lines.ahead(5), list(lines)) == (["a", "b"], "a", ["b", "c"], ["b", "c"])
    assert lines.number == 3
