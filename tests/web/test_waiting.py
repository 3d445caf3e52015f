"""How long a program waits for people: until each of its answers is done, decided, or skipped by all."""

from collections.abc import Callable

from sqlalchemy import Engine

from redpencil.web import work
from redpencil.web.auth import revoke
from redpencil.web.database import reading
from redpencil.web.items import list_items
from redpencil.web.review import decide, dispute
from redpencil.web.waiting import count_waiting, edits_of
from redpencil.web.work import Submission

Start = Callable[..., tuple[Engine, list[int]]]
NAMES = ["r0", "r1", "r2"]


def hand_in(engine: Engine, person: int, outcome: str = "edited", text: str = "Another text") -> None:
    task = work.next_task(engine, person, now=1.0)
    assert task is not None
    done = Submission(outcome, text if outcome == "edited" else None)
    work.submit(engine, person, task.assignment_id, task.version, done, now=2.0)


def test_each_answer_counts_that_is_asked_for_and_no_other(start: Start) -> None:
    engine, (ada, _) = start(3)
    assert count_waiting(engine, NAMES) == 3
    assert count_waiting(engine, ["r1", "r2"]) == 2
    assert count_waiting(engine, ["nobody has this"]) == 0
    hand_in(engine, ada)
    assert (count_waiting(engine, NAMES), count_waiting(engine, ["r0"])) == (2, 0)
    assert {name: edit.edited for name, edit in edits_of(engine, NAMES).items()} == {"r0": "Another text"}
    assert edits_of(engine, ["r1"]) == {}


def test_more_names_than_one_query_takes(start: Start) -> None:
    engine, (ada, _) = start(1_201)
    hand_in(engine, ada)
    assert count_waiting(engine, [f"r{n}" for n in range(1_201)]) == 1_200


def test_an_undone_edit_is_waited_for_again(start: Start) -> None:
    engine, (ada, _) = start(1)
    task = work.next_task(engine, ada, now=1.0)
    assert task is not None
    done = work.submit(engine, ada, task.assignment_id, task.version, Submission("no_edit_needed"), now=2.0)
    assert count_waiting(engine, ["r0"]) == 0
    work.undo(engine, ada, done.submission_id, now=3.0)
    assert count_waiting(engine, ["r0"]) == 1


def test_an_answer_that_is_skipped_waits_for_those_who_work_here(start: Start) -> None:
    engine, (ada, ben) = start(3)
    hand_in(engine, ada)
    hand_in(engine, ben)
    hand_in(engine, ada, "skipped")
    assert count_waiting(engine, NAMES) == 1
    revoke(engine, ben)
    assert count_waiting(engine, NAMES) == 0, "nobody is left who could edit it"


def test_what_a_reviewer_decides_is_done_and_counts(start: Start, add_people: Callable[..., list[int]]) -> None:
    engine, (ada, ben) = start(1, editors_per_item=3)
    hand_in(engine, ada, text="One text")
    hand_in(engine, ben, text="Two texts")
    assert count_waiting(engine, ["r0"]) == 1
    (rita,) = add_people(engine, "Rita", role="reviewer")
    with reading(engine) as connection:
        (item,) = list_items(connection).items
        seen = dispute(connection, item.item_id)
    decide(engine, rita, item.item_id, seen.version, "Her text", "edited", now=5.0)
    assert count_waiting(engine, ["r0"]) == 0
    assert edits_of(engine, ["r0"])["r0"].edited == "Her text"
