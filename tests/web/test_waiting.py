"""How long a program waits for people: until each of its answers is done, decided, or skipped by all."""

from collections.abc import Callable

from sqlalchemy import Engine

from redpencil.web import dashboard, work
from redpencil.web.auth import revoke
from redpencil.web.database import reading
from redpencil.web.items import list_items
from redpencil.web.review import decide, dispute
from redpencil.web.waiting import ask_for, count_waiting, edits_of, withdraw_others
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


def offered(engine: Engine, person: int) -> str | None:
    """The response that a person is given next, and gives back."""
    task = work.next_task(engine, person, now=1.0)
    if task is None:
        return None
    work.release(engine, person, task.assignment_id, now=1.0)
    return task.response


def test_what_nothing_asks_for_any_more_is_given_to_nobody_and_what_was_handed_in_stays(start: Start) -> None:
    engine, (ada, ben) = start(4)
    ask_for(engine, "run/annotations-figa", NAMES)
    hand_in(engine, ada)
    ask_for(engine, "run/annotations-figa", ["r2"])
    with reading(engine) as connection:
        (r2, r3) = [row.external_id for row in list_items(connection).items[2:]]
        counts = dashboard.progress(connection, 3.0).items
    assert (r2, r3) == ("r2", "r3"), "r3 was put in by a person"
    assert (counts.total, counts.done, counts.waiting, counts.withdrawn) == (3, 1, 2, 1)
    assert work.own_progress(engine, ben).left == 2
    assert set(edits_of(engine, NAMES)) == {"r0"}
    hand_in(engine, ben)
    hand_in(engine, ben)
    assert offered(engine, ada) is None
    assert set(edits_of(engine, [*NAMES, "r3"])) == {"r0", "r2", "r3"}
    ask_for(engine, "run/annotations-figa", ["r1"])
    hand_in(engine, ada)
    assert set(edits_of(engine, NAMES)) == {"r0", "r1", "r2"}, "it is asked for again"


def test_what_another_stage_needs_too_is_not_withdrawn(start: Start) -> None:
    engine, (ada, _) = start(2)
    for stage in ("run/seed-1/needed", "run/seed-2/needed", "run-2/needed"):
        ask_for(engine, stage, ["r0"])
    ask_for(engine, "run/seed-1/needed", ["r1"])
    withdraw_others(engine, "run", {"run/seed-1/needed"})
    assert offered(engine, ada) is not None
    ask_for(engine, "run-2/needed", [])
    hand_in(engine, ada)
    assert set(edits_of(engine, NAMES)) == {"r1"}
    assert offered(engine, ada) is None


def test_a_person_may_finish_what_was_withdrawn_if_there_is_a_draft(start: Start) -> None:
    engine, (ada, ben) = start(2)
    ask_for(engine, "run/needed", ["r0", "r1"])
    tasks = [work.next_task(engine, person, now=1.0) for person in (ada, ben)]
    assert tasks[0] is not None
    work.save_draft(engine, ada, tasks[0].assignment_id, "Half a text", 0, 1.0, now=2.0)
    ask_for(engine, "run/needed", [])
    assert work.next_task(engine, ben, now=3.0) is None
    hand_in(engine, ada)
    assert set(edits_of(engine, NAMES)) == {"r0"}
