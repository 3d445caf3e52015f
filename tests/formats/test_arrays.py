"""One JSON array, read an element at a time."""

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats import arrays
from redpencil.formats.arrays import array_rows

PATH = Path("data.json")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['"', "\\", "\\u00", "😀"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def rows_of(content: bytes) -> list[Any]:
    return list(array_rows(io.BytesIO(content), PATH))


@given(
    st.lists(st.dictionaries(texts, values, max_size=3), max_size=4),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_arrays_that_python_writes_are_read_back(
    rows: list[dict[str, Any]], chunk: int, ascii_only: bool, indent: int | None
) -> None:
    content = json.dumps(rows, ensure_ascii=ascii_only, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        # Pieces that end anywhere: within a character, an escape, a number or a word.
        patch.setattr(arrays, "_CHUNK", chunk)
        found = rows_of(content)
    assert [row.values for row in found] == rows
    assert [(row.place.row, row.place.line) for row in found] == [(number, None) for number in range(1, len(rows) + 1)]


def test_what_pythons_writers_leave_behind() -> None:
    (row,) = rows_of(b'\xef\xbb\xbf [{"a": NaN, "b": 123456789012345678901234567890, "c": "\\ud83d"}]\n')
    assert math.isnan(row.values["a"])
    assert (row.values["b"], row.values["c"]) == (123456789012345678901234567890, "\ud83d")


def test_what_is_no_object_is_named_by_its_row() -> None:
    good, bad, last = rows_of(b'[{"a": 1}, 12, {"a": 2}]')
    assert (good.values, last.values, bad.raw) == ({"a": 1}, {"a": 2}, 12)
    assert str(bad.error).startswith("data.json: row 2: expected a JSON object, found int")


def test_a_number_at_the_end_of_a_piece_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", 3)
    assert [row.raw for row in rows_of(b"[12345, 6789]")] == [12345, 6789]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[", "the array ends early, at the beginning"),
        (b'[{"a": 1}', "the array ends early, after row 1"),
        (b'[{"a": 1},', "the array ends early, after row 1"),
        (b'[{"a": "x', "the array ends early, at the beginning"),
        (b'[{"a": 1},,]', "not valid JSON .*, after row 1"),
        (b'[{"a": 1} {"a": 2}]', "expected a comma or ] in the array, after row 1"),
        (b'[{"a": 1}] {}', "more text after the array, after row 1"),
        (b'[{"a": 1}, {"a": "\xff"}]', "not valid UTF-8"),
        (b'[{"a": ' + b"1" * 5000 + b"}]", "cannot be read"),
        (b'[{"a": ' + b"[" * 100_000, "cannot be read|ends early|not valid"),
    ],
)
def test_a_broken_array_says_where(content: bytes, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        rows_of(content)
    assert caught.value.file == "data.json"


def test_a_mistake_is_found_without_reading_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", 1000)
    stream = io.BytesIO(b'[{"a": oops}' + b" " * 100_000 + b"]")
    with pytest.raises(RedpencilError, match="not valid JSON"):
        list(array_rows(stream, PATH))
    assert stream.tell() <= 3000


def test_a_key_that_stands_twice_is_refused_with_all_of_the_row() -> None:
    twice = '{"a": 1, "a": 2}'
    good, bad, last = rows_of(f'[{{"a": 1}}, {twice}, {{"a": 3}}]'.encode())
    assert (good.values, last.values) == ({"a": 1}, {"a": 3})
    assert (bad.error.field, bad.raw) == ("a", twice)
