"""Lines of JSON, and characters that no file can hold."""

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.files import check_text, json_line


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
