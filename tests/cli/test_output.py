"""What is printed, and where it may be written."""

import json
import math
import os
from pathlib import Path

import pytest

from redpencil.cli.output import check_out_file, naming, print_json, say_skipped
from redpencil.errors import RedpencilError


def test_json_is_valid_whatever_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": math.nan, "b": [math.inf, 1.5], "c": {"d": (-math.inf, "é")}, 4: True})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5], "c": {"d": [None, "é"]}, "4": True}


def test_only_what_was_skipped_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    say_skipped({"tie": 0})
    assert capsys.readouterr().err == ""
    say_skipped({"tie": 2, "empty response": 1, "x": 0})
    assert capsys.readouterr().err == "skipped: 2 tie, 1 empty response\n"


def test_a_place_that_can_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    check_out_file(out, tmp_path / "missing", None)
    assert list((tmp_path / "new").iterdir()) == []
    out.write_text("kept")
    check_out_file(out)
    assert out.read_text() == "kept"


def test_an_input_under_another_name_is_still_an_input(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(RedpencilError, match="it is also an input"):
        check_out_file(tmp_path / "link", tmp_path / "in")


def test_a_file_is_named_only_where_none_is() -> None:
    with pytest.raises(RedpencilError, match=r"^a\.jsonl \[id\]: twice\n  way out: once$"), naming(Path("a.jsonl")):
        raise RedpencilError("twice", field="id", way_out="once")
    with pytest.raises(RedpencilError, match=r"^b\.jsonl: twice$"), naming(Path("a.jsonl")):
        raise RedpencilError("twice", file="b.jsonl")


def test_no_input_is_overwritten_by_the_rows_that_are_being_written(tmp_path: Path) -> None:
    given = tmp_path / "out.jsonl.partial"
    given.write_text("kept")
    with pytest.raises(RedpencilError, match="would be overwritten"):
        check_out_file(tmp_path / "out.jsonl", given)
    check_out_file(tmp_path / "out.jsonl")
    assert given.read_text() == "kept"


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RedpencilError, match="no plain file"):
        check_out_file(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_to_itself_is_no_trap(tmp_path: Path) -> None:
    loop, given = tmp_path / "loop", tmp_path / "given"
    loop.symlink_to(loop)
    given.write_text("")
    check_out_file(loop, given)
