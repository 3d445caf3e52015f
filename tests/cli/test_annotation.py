"""What `annotate` does with a database: files go in, results come out; its own tests say what it prints."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from redpencil.cli.annotation import Inputs, print_status, read_status, say_reach, write_results
from redpencil.errors import RedpencilError
from redpencil.records import Edit, Response, read_jsonl
from redpencil.web import work
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, reading, writing
from redpencil.web.items import import_gold_items, import_responses
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import item


def test_files_are_looked_at_before_there_is_a_database(tmp_path: Path) -> None:
    edits = tmp_path / "e.jsonl"
    edits.write_text('{"id": "1", "prompt": "p", "original": "a", "edited": "b"}\n')
    with pytest.raises(RedpencilError, match="suggestions belong to responses"):
        Inputs(None, edits, None, None, None).check()
    with pytest.raises(RedpencilError, match="no such file"):
        Inputs(tmp_path / "none.jsonl", None, None, None, None).check()
    with pytest.raises(RedpencilError) as caught:
        Inputs(edits, None, None, None, None).check()
    assert caught.value.field == "response"
    Inputs(None, edits, edits, None, None).check()


def test_known_answers_come_first_and_suggestions_go_to_both(tmp_path: Path) -> None:
    """A response that is also a known answer is one item, with the answer."""
    rows = [{"id": str(n), "prompt": "p", "response": f"text {n}"} for n in range(2)]
    edits = [{"id": row["id"], "prompt": "p", "original": row["response"], "edited": "better"} for row in rows]
    files = {"r": rows, "s": edits, "k": edits[:1]}
    for name, content in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    responses, suggestions, known = (tmp_path / f"{name}.jsonl" for name in "rsk")
    inputs = Inputs(responses, suggestions, known, None, None)
    assert inputs.files() == [responses, suggestions, known]
    engine = open_database(tmp_path / "edits.db")
    done = inputs.bring_in(engine)
    assert (done["known"]["added"], done["responses"]["added"], done["responses"]["known"]) == (1, 1, 1)
    assert done["suggestions"] == {"used": 2, "unused": 0}
    with reading(engine) as connection:
        found = connection.execute(select(item.c.external_id, item.c.suggestion, item.c.known_answer)).all()
    assert sorted((row.external_id, row.suggestion, row.known_answer is None) for row in found) == [
        ("0", "better", False),
        ("1", "better", True),
    ]
    engine.dispose()


def test_files_that_do_not_pair_are_told_apart(tmp_path: Path) -> None:
    sides = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    for path, count in zip(sides, (1, 3), strict=True):
        rows = [{"id": str(n), "prompt": "p", "response": "r"} for n in range(count)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = open_database(tmp_path / "edits.db")
    with pytest.raises(RedpencilError) as caught:
        Inputs(None, None, None, sides, None).bring_in(engine)
    engine.dispose()
    told = caught.value
    assert told.file == str(sides[1])
    assert told.problem == f"no response of {sides[0]} has the id '1' or its prompt (2 of 3 missing)"
    assert told.hint == "let both files answer the same prompts"


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
    print_status(*read_status(engine))
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
