"""Values of other people's files become JSON, or are refused by name."""

import datetime
import decimal
import json
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.values import meta_text, plain_row, read_meta, safe_line

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), plain_values, max_size=4))
def test_what_is_json_already_stays_as_it_is(row: dict[str, Any]) -> None:
    assert plain_row(row) == row


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (float("nan"), None),
        (float("-inf"), "-inf"),
        (datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC), "2024-05-01T12:00:00+00:00"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (datetime.time(1, 2), "01:02:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("é".encode(), "é"),
        ((1, {2}), [1, [2]]),
        (np.float32(0.5), 0.5),
        (np.array([[1, 2]]), [[1, 2]]),
        ({1: np.int64(3)}, {"1": 3}),
    ],
)
def test_what_tables_hold_becomes_json(value: object, plain: object) -> None:
    assert plain_row({"x": value}) == {"x": plain}
    json.dumps(plain_row({"x": value}), allow_nan=False)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"\xff", "bytes that are not UTF-8 text"),
        ("a\ud83d", "half of a surrogate pair"),
        ({"\udc00": 1}, "half of a surrogate pair"),
        (object(), "a object, which JSON cannot hold"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_column(value: object, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        plain_row({"fine": 1, "image": [value]})
    assert (caught.value.field, "--drop" in str(caught.value.hint)) == ("image", True)


def test_too_much_nesting_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RedpencilError, match="nested too deeply"):
        plain_row({"x": deep})


@given(st.one_of(plain_values, st.text(st.characters())))
def test_anything_can_be_listed(value: object) -> None:
    line = safe_line({"row": value})
    assert json.loads(line.encode("utf-8")) == {"row": value}


def test_what_is_no_json_can_be_listed_too() -> None:
    for value in (b"\xff", {1: object()}, {(1, 2): 3}, "\udcff"):
        assert "\n" not in safe_line({"row": value}).encode("utf-8").decode()


texts = st.text(max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
meta_values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(meta=st.dictionaries(texts, meta_values, max_size=4))
def test_meta_is_the_same_when_it_is_read_back(meta: dict[str, Any]) -> None:
    assert read_meta(meta_text(meta)) == meta
    assert read_meta(meta) == meta


def test_a_row_without_meta_has_an_empty_one() -> None:
    assert read_meta(None) == read_meta("null") == read_meta("{}") == {}


def test_what_a_record_cannot_hold_is_made_plain_or_refused() -> None:
    assert read_meta('{"a": NaN, "b": [-Infinity]}') == {"a": None, "b": ["-inf"]}
    with pytest.raises(RedpencilError, match="half of a surrogate pair") as caught:
        read_meta('{"a": {"b": "\\ud83d"}}')
    assert caught.value.field == "meta.a"


@pytest.mark.parametrize("value", ["", "{", "[1]", '"text"', 7, ["a"], "[" * 100_000])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(RedpencilError, match="expected an object") as caught:
        read_meta(value)
    assert caught.value.field == "meta"
