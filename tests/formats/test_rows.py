"""`meta` there and back, and what no edit can be learned from."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.formats.rows import Unfit, meta_text, no_correction, read_meta
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
