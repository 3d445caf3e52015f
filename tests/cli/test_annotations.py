"""What `annotate` writes and says without serving."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from redpencil.cli.annotations import look_at, say_reach, tell, write_results
from redpencil.records import Edit, Response, read_jsonl
from redpencil.web import work
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, writing
from redpencil.web.items import import_gold_items, import_responses
from redpencil.web.project import ProjectConfig, write_project


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Ana has edited one response of two and skipped the other, and has done one with a known answer."""
    opened = open_database(tmp_path / "edits.db")
    import_responses(opened, [Response("1", "Q", "one two three four"), Response("2", "Q", "five")])
    add_person(opened, "ana")
    for outcome, text in (("edited", "one two three 4"), ("skipped", None)):
        _hand_in(opened, outcome, text)
    import_gold_items(opened, [Edit("k", "Q", "six", "6")])
    with writing(opened) as connection:
        write_project(connection, ProjectConfig(title="Numbers", known_answer_share=1.0))
    _hand_in(opened, "edited", "6")
    yield opened
    opened.dispose()


def _hand_in(engine: Engine, outcome: str, text: str | None) -> None:
    task = work.next_task(engine, 1, now=time.time())
    assert task is not None
    sent = work.Submission(outcome, text, active_s=0.0)
    work.submit(engine, 1, task.assignment_id, task.version, sent, now=task.opened + 12)


def test_nothing_is_written_unasked(engine: Engine) -> None:
    assert write_results(engine, None, None) == {}


def test_what_is_left_out_is_counted(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "edits.jsonl"
    done = write_results(engine, out, None)
    assert done == {"edits": 1, "left_out": {"skipped": 1, "known_answers": 1}}
    assert [edit.edited for edit in read_jsonl(out, Edit)] == ["one two three 4"]
    told = capsys.readouterr().err
    assert "1 edits in" in told
    assert "not in it: 1 skipped, 1 on items with a known answer" in told


def test_how_far_the_work_is(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    tell(*look_at(engine))
    # Ana kept three words of four, and none of one: 3/8 in the mean.
    assert capsys.readouterr().out.splitlines() == [
        "Numbers: 1 of 2 items done, 0 begun, 1 waiting; each is for 1 person",
        "  ana: 2 done, 1 skipped, 12 s an item in the median, 38% of the words kept",
        "Krippendorff's alpha: not yet, as no two people have done the same items",
    ]


def test_links_that_nobody_else_can_open_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    say_reach([])
    say_reach(["https://edits.example.org/join/x"])
    assert capsys.readouterr().err == ""
    say_reach(["http://127.0.0.1:8008/join/x", "http://127.0.0.1:8008/join/y"])
    told = "These links work on this machine only, at port 8008; for others give --host and --base-url.\n"
    assert capsys.readouterr().err == told
