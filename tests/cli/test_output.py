"""What is printed, where it may be written, and progress: lines in a log, bars in a terminal."""

import io
import json
import math
import os
import re
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.console import Console
from rich.table import Table
from rich.text import Text

from redpencil.cli import output
from redpencil.cli.output import (
    Bars,
    PaceColumn,
    board_for,
    check_out_file,
    console,
    print_error,
    print_json,
    print_table,
    say,
    say_skipped,
    short_names,
    visible,
    watched,
    working,
)
from redpencil.cli.run import listener_of
from redpencil.errors import RedpencilError
from redpencil.files import partial_of
from redpencil.pipeline.execute import Event
from redpencil.records import Prompt, write_jsonl


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


def test_no_input_is_overwritten_by_the_rows_that_are_being_written(tmp_path: Path) -> None:
    given = partial_of(tmp_path / "out.jsonl")
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
    check_out_file(tmp_path / "pipe")
    check_out_file(Path("/dev/null"))
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_link_to_itself_is_not_a_trap(tmp_path: Path) -> None:
    loop, given = tmp_path / "loop", tmp_path / "given"
    loop.symlink_to(loop)
    given.write_text("")
    with pytest.raises(RedpencilError, match="leads in a circle"):
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
    for indent in (2, None):
        print_json({"a": "\x9b\x1bé\x7f"}, indent=indent)
        text = capsys.readouterr().out
        assert json.loads(text) == {"a": "\x9b\x1bé\x7f"}
        assert not set(text) & {"\x9b", "\x1b", "\x7f"}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    monkeypatch.setattr(output, "log", Console(file=written, highlight=False, markup=False, width=100))
    return written


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, highlight=False, markup=False, width=120)
    monkeypatch.setattr(output, "log", console)
    return written


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


EVENTS = (
    Event("sft", "started"),
    Event("sft", "progress", 3, 10, "loss 0.500"),
    Event("sft", "done"),
    Event("align", "already complete"),
    Event("judge", "started"),
    Event("judge", "failed", note="out of memory\nmore"),
)


def test_a_log_has_no_bars(log: io.StringIO) -> None:
    with board_for(3) as board:
        for event in EVENTS:
            listener_of(board)(event)
    assert log.getvalue().splitlines() == [
        "[0/3] sft: started",
        "[1/3] sft: done in 0.0 s",
        "[2/3] align: already complete",
        "[2/3] judge: started",
        "[3/3] judge: failed (out of memory)",
    ]


def test_a_terminal_has_bars_with_steps_and_notes_and_keeps_what_has_ended(terminal: io.StringIO) -> None:
    with board_for(3) as board:
        assert isinstance(board, Bars)
        for event in EVENTS[:2]:
            listener_of(board)(event)
        board.progress.refresh()
        shown = plain(terminal.getvalue())
        assert "all stages" in shown
        assert "3/10" in shown
        assert "loss 0.500" in shown
        for event in EVENTS[2:]:
            listener_of(board)(event)
        assert not board.running
        assert board.progress.tasks[0].completed == 3
    kept = plain(terminal.getvalue())
    assert "sft: done in 0.0 s" in kept
    assert "judge: failed (out of memory)" in kept


def test_what_comes_late_from_a_worker_does_not_bring_a_bar_back(terminal: io.StringIO) -> None:
    with board_for(1) as board:
        assert isinstance(board, Bars)
        board.end("align", "done")
        board.start("align")
        board.advance("align", 1, 2, "")
        assert not board.running
    assert plain(terminal.getvalue()).count("align") == 1


def test_a_stage_of_several_parts_starts_anew_with_each(terminal: io.StringIO) -> None:
    with board_for(2) as board:
        assert isinstance(board, Bars)
        board.start("reference")
        starts = []
        for done, total in ((60, 60), (64, 300), (300, 300), (64, 300)):
            board.advance("reference", done, total, "")
            task = board.running["reference"]
            assert (task.completed, task.total) == (done, total)
            starts.append(task.start_time)
        assert starts[0] < starts[1] == starts[2] < starts[3]
    assert terminal.getvalue()


@pytest.mark.parametrize(
    ("completed", "elapsed", "said"),
    [
        (30, 10.0, "3.0/s, 0:00:10 left"),  # 30 more at 3 a second
        (6, 60.0, "10.0 s each, 0:09:00 left"),  # 54 more at 10 s each
        (0, 5.0, ""),
    ],
)
def test_rate_and_time_left_by_hand(
    terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch, completed: int, elapsed: float, said: str
) -> None:
    with board_for(1) as board:
        assert isinstance(board, Bars)
        board.start("ppo")
        board.advance("ppo", completed, 60, "")
        task = board.running["ppo"]
        monkeypatch.setattr(type(task), "elapsed", elapsed)
        assert PaceColumn().render(task).plain == said
    assert terminal.getvalue()


def test_all_stages_together_have_no_pace(terminal: io.StringIO) -> None:
    with board_for(5) as board:
        assert isinstance(board, Bars)
        board.end("world", "done")
        assert PaceColumn().render(board.progress.tasks[0]).plain == ""
    assert terminal.getvalue()


def test_warnings_stand_in_a_log(log: io.StringIO) -> None:
    with board_for(2) as board:
        listen = listener_of(board)
        for event in (
            Event("ppo", "started"),
            Event("ppo", "warning", note="kl at step 3: too far"),
            Event("ppo", "done"),
        ):
            listen(event)
    assert "ppo: warning: kl at step 3: too far\n" in log.getvalue()
    assert "[1/2] ppo: done" in log.getvalue()


def test_warnings_stand_above_the_bars(terminal: io.StringIO) -> None:
    with board_for(2) as board:
        listen = listener_of(board)
        for event in (Event("ppo", "started"), Event("ppo", "warning", note="kl at step 3: too far")):
            listen(event)
    assert "ppo: warning: kl at step 3: too far" in plain(terminal.getvalue())


def test_work_of_one_command(log: io.StringIO) -> None:
    with working("edit") as report:
        report(1, 2, "edited")
    assert log.getvalue() == "edit: started\nedit: done in 0.0 s\n"


def test_rows_of_a_file_come_in_order_with_a_step_every_hundred(tmp_path: Path) -> None:
    prompts = [Prompt(id=str(number), prompt="Name a fruit.") for number in range(250)]
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    steps: list[tuple[int, int]] = []
    rows = watched(tmp_path / "prompts.jsonl", Prompt, lambda done, total, _: steps.append((done, total)))
    assert list(rows) == prompts
    assert steps == [(100, 250), (200, 250)]


def test_a_log_gets_a_line_every_half_minute_with_rate_note_and_time_left(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with working("edit") as report:
        for now[0], done in ((10.0, 1), (29.0, 20), (40.0, 61), (50.0, 70), (71.0, 122)):
            report(done, 244, "2 failed, $0.10")
    # 61 in the 30 s since the first came: 2.0/s, and 183 more take 90 s. 122 in 61 s: as many again.
    assert log.getvalue().splitlines()[1:-1] == [
        "edit: 61/244, 2.0/s, 0:01:30 left, 2 failed, $0.10",
        "edit: 122/244, 2.0/s, 0:01:01 left, 2 failed, $0.10",
    ]


def test_the_pace_in_a_log_starts_anew_with_each_part(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with working("edit") as report:
        for now[0], done, total in ((1.0, 1, 1000), (2.0, 1000, 1000), (100.0, 1, 10), (140.0, 4, 10)):
            report(done, total, "")
    # The second part: 4 in 40 s, so 6 more take a minute.
    assert log.getvalue().splitlines()[1:-1] == ["edit: 1/10", "edit: 4/10, 10.0 s each, 0:01:00 left"]


def test_a_bar_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (60, 80, 100):
        console = Console(file=io.StringIO(), force_terminal=True, highlight=False, markup=False, width=width)
        monkeypatch.setattr(output, "log", console)
        with board_for(1) as board:
            assert isinstance(board, Bars)
            board.start("second edits")
            board.progress.tasks[0].start_time = board.progress.get_time() - 3600
            board.advance("second edits", 12_345, 100_000, "1234 failed, $12.34")
            shown = Console(file=io.StringIO(), width=width)
            shown.print(board.progress.get_renderable())
        assert isinstance(shown.file, io.StringIO)
        (line,) = shown.file.getvalue().splitlines()
        assert "12345/1" in line


def test_stems_folders_of_checkpoints_and_full_paths_where_these_clash(tmp_path: Path) -> None:
    paths = [Path("a/token.jsonl"), Path("reward-x/checkpoint"), Path("b/pairs.jsonl"), Path("c/pairs.json")]
    assert short_names(paths) == ["token", "reward-x", "b/pairs.jsonl", "c/pairs.json"]
    assert short_names([Path("a/x/checkpoint"), Path("b/x/checkpoint")]) == ["a/x/checkpoint", "b/x/checkpoint"]
    with pytest.raises(RedpencilError, match="named twice") as caught:
        short_names([Path("x"), Path("b/x"), Path("x")])
    assert caught.value.file == "x"
    (tmp_path / "model-1.5").mkdir()
    assert short_names([tmp_path / "model-1.5"]) == ["model-1.5"]


def test_a_table_has_a_caption_columns_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("policy", "win rate"), [("a", "62.5"), ("longer name", Text("7"))], caption="Rates", notes=["of 8"])
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "Rates", "policy       win rate", "a                62.5", "longer name         7", "of 8"
    ]  # fmt: skip
