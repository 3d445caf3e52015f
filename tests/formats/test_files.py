"""Files appear whole or not at all, whatever goes wrong on the way."""

import errno
from pathlib import Path

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.files import check_text, json_line, whole_file


def test_the_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "rows.jsonl"
    with whole_file(path) as out:
        out.write(b"one\n")
        assert not path.exists()
    assert path.read_bytes() == b"one\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(errno.ENOSPC, "no space left")])
def test_an_error_leaves_what_stood_there(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"old")
    with pytest.raises(BaseException), whole_file(path) as out:  # noqa: B017, PT011, PT012
        out.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, problem in ((tmp_path, "a folder stands"), (tmp_path / "file" / "rows", "cannot write it")):
        with pytest.raises(RedpencilError, match=problem) as caught, whole_file(path):
            pass
        assert caught.value.way_out


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
