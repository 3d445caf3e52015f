"""`meta` there and back, and what no edit can be learned from."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.rows import Unfit, check_text, json_line, meta_text, no_correction, read_meta
from redpencil.records import Edit, EditOutcome

texts = st.text(max_size=20)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)  # JSON has no others
plain = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(meta=st.dictionaries(texts, values, max_size=4))
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


def test_only_a_correction_is_one() -> None:
    assert no_correction(Edit("1", "p", "a", "b")) is None
    assert no_correction(Edit("1", "p", "a", "")) is None, "an empty text is a text"
    assert no_correction(Edit("1", "p", "a", "a")) == Unfit("unchanged")
    for outcome in set(EditOutcome) - {EditOutcome.EDITED}:
        assert no_correction(Edit("1", "p", "a", "b", outcome=outcome)) == Unfit(outcome.value)


def test_lines_keep_their_characters() -> None:
    assert json_line({"a": "é😀\n"}) == '{"a": "é😀\\n"}\n'.encode()


def test_half_a_character_is_refused_with_its_place() -> None:
    for row, field in (
        ({"id": "7", "text": "a\ud83d"}, "text"),
        ({"id": "7", "meta": {"deep": ["\udc00"]}}, "meta"),
        ({"id": "7", "k\ud83d": 1}, "k\\ud83d"),
    ):
        with pytest.raises(RedpencilError, match="id '7'") as caught:
            json_line(row)
        assert caught.value.field == field
        str(caught.value).encode()
    check_text({"id": "7", "text": "whole 😀"})


def test_an_id_that_is_half_a_character_can_be_printed() -> None:
    with pytest.raises(RedpencilError) as caught:
        json_line({"id": "\ud83d"})
    assert "\\ud83d" in str(caught.value)
    str(caught.value).encode()
