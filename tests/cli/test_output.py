"""What is printed, and where it may be written."""

import json
import math
import os
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.table import Table
from rich.text import Text

from redpencil.cli.output import (
    check_out_file,
    console,
    naming,
    print_error,
    print_json,
    print_json_line,
    say,
    say_skipped,
    visible,
)
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
    with pytest.raises(RedpencilError, match=r"^a\.jsonl \[id\]: twice\n  hint: once$"), naming(Path("a.jsonl")):
        raise RedpencilError("twice", field="id", hint="once")
    with pytest.raises(RedpencilError, match=r"^b\.jsonl: twice$"), naming(Path("a.jsonl")):
        raise RedpencilError("twice", file="b.jsonl")


def test_no_input_is_overwritten_by_the_rows_that_are_being_written(tmp_path: Path) -> None:
    given = tmp_path / "out.jsonl.partial"
    given.write_text("kept")
    with pytest.raises(RedpencilError, match="would be overwritten"):
        check_out_file(tmp_path / "out.jsonl", given)
    check_out_file(tmp_path / "out.jsonl")
    assert given.read_text() == "kept"


def test_an_input_through_a_folder_that_is_not_there_yet_is_still_an_input(tmp_path: Path) -> None:
    given = tmp_path / "in.jsonl"
    given.write_text("kept")
    with pytest.raises(RedpencilError, match="would be overwritten"):
        check_out_file(tmp_path / "new" / ".." / "in.jsonl", given)
    assert given.read_text() == "kept"


def test_two_outputs_cannot_be_one_file_though_neither_is_there(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="would be overwritten"):
        check_out_file(tmp_path / "out", tmp_path / "out")


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


def test_no_control_character_of_data_reaches_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = "a\x1b]52;c;AAAA\x07\x9b31m\x7f\tb\nc"
    table = Table.grid()
    table.add_row(Text(hostile))
    say(hostile)
    print_error(RedpencilError(hostile, file=hostile))
    console.print(hostile, style="bold")
    console.print(Text(hostile), style="bold")
    console.print(table, soft_wrap=False)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not set(text) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}
        assert "\N{SYMBOL FOR ESCAPE}]52" in text
        assert "\nc" in text
    assert visible("a\tb\né\x00") == "a\tb\né\N{SYMBOL FOR NULL}"


def test_our_own_colours_stay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "_color_system", ColorSystem.STANDARD)
    console.print(Text("a\x1b[0mb", "red"))
    assert capsys.readouterr().out == "\x1b[31ma\N{SYMBOL FOR ESCAPE}[0mb\x1b[0m\n"


def test_json_has_no_control_character_either(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (print_json, print_json_line):
        show({"a": "\x9b\x1bé\x7f"})
        text = capsys.readouterr().out
        assert json.loads(text) == {"a": "\x9b\x1bé\x7f"}
        assert not set(text) & {"\x9b", "\x1b", "\x7f"}
