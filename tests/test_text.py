"""Halves of surrogate pairs and NUL: found, named, escaped or replaced."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.text import (
    check_text,
    escape_half_pairs,
    finite,
    has_half_pair,
    json_line,
    parse_json,
    prompt_key,
    unstorable,
    valid_text,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))


@given(ANY_TEXT)
def test_a_half_is_what_utf8_cannot_hold(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert has_half_pair(text)
    else:
        assert not has_half_pair(text)
        assert escape_half_pairs(text) == valid_text(text) == text


@given(ANY_TEXT)
def test_any_text_becomes_valid(text: str) -> None:
    valid_text(text).encode()
    escape_half_pairs(text).encode()
    # Inside JSON the escape means the same half again.
    assert json.loads(escape_half_pairs(json.dumps(text, ensure_ascii=False))) == text


def test_a_half_is_escaped_or_replaced() -> None:
    text = "a\ud83d b\ude00 \U0001f600"
    assert escape_half_pairs(text) == "a\\ud83d b\\ude00 \U0001f600"
    assert valid_text(text) == "a\ufffd b\ufffd \U0001f600"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("plain\ttext\n🖍️\x07\uffff", None),
        ("a\0", "a NUL character at character 1"),
        ("\udc00", "half of a surrogate pair, which is not a character, at character 0"),
    ],
)
def test_text_that_cannot_be_stored_is_named(text: str, problem: str | None) -> None:
    assert unstorable(text) == problem


def test_lines_keep_their_characters() -> None:
    assert json_line({"a": "é😀\n"}) == '{"a": "é😀\\n"}\n'.encode()


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"id": "7", "text": "a\ud83d"}, "text"),
        ({"id": "7", "meta": {"deep": ["\udc00"]}}, "meta"),
        ({"id": "7", "k\ud83d": 1}, "k\\ud83d"),
        ({"id": "7", "meta": {"\ud83d": 1}}, "meta"),
    ],
)
def test_half_a_pair_is_refused_with_its_place(row: dict[str, Any], field: str) -> None:
    with pytest.raises(RedpencilError, match=r"half of a surrogate pair.* with the id '7'") as caught:
        json_line(row)
    assert caught.value.field == field
    str(caught.value).encode()


def test_a_whole_pair_is_not_refused() -> None:
    check_text({"id": "7", "text": "whole 😀"})


def test_an_id_with_half_a_pair_can_be_printed() -> None:
    with pytest.raises(RedpencilError) as caught:
        json_line({"id": "\ud83d"})
    assert "\\ud83d" in str(caught.value)
    str(caught.value).encode()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@given(st.dictionaries(st.text("abc"), values))
def test_a_line_is_json_whatever_numbers_it_holds(row: dict[str, Any]) -> None:
    assert json.loads(json_line(row), parse_constant=no_constant) == finite(row)


def test_numbers_that_json_has_not_are_null_however_deep() -> None:
    row = {"meta": {"score": float("nan"), "all": [1.5, float("inf"), (float("-inf"), 2)]}}
    assert json_line(row) == b'{"meta": {"score": null, "all": [1.5, null, [null, 2]]}}\n'


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "c": 2, "a": 3}}]', b'{"\\u0061": 1, "a": 2}', '{"": 1, "": 2}']
)
def test_a_key_that_an_object_has_twice_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="is in an object twice"):
        parse_json(text)


@given(values)
def test_other_json_is_read_as_it_is(content: Any) -> None:
    text = json.dumps(content)
    assert json.dumps(parse_json(text)) == text


def test_prompts_that_differ_in_case_and_white_space_are_one() -> None:
    assert prompt_key("  Who is\n\tADA ? ") == prompt_key("who is ada ?") != prompt_key("who is ada?")
    assert prompt_key("STRASSE") == prompt_key("straße")
