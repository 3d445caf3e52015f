"""Claim, draft, submit, undo, release: nothing lost, doubled or overwritten."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, update
from starlette.testclient import TestClient

from redpencil.records import Edit, Response
from redpencil.web import items, work
from redpencil.web.app import create_app
from redpencil.web.auth import add_person
from redpencil.web.database import reading, writing
from redpencil.web.errors import Forbidden, NotFound, Refused, Stale
from redpencil.web.items import import_comparisons, import_gold_items, import_responses
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.review import decide, dispute
from redpencil.web.schema import adjudication, assignment, event, item, submission
from redpencil.web.work import (
    Marks,
    OwnProgress,
    Submission,
    Task,
    ValidSubmission,
    drafts,
    own_progress,
    take_up,
    validate_submission,
)

EDITED = "The answer to it is seven"
"""Of `The answer to it is 0`: one of six words changed, ` 0` out and ` seven` in."""


Start = Callable[..., tuple[Engine, list[int]]]


def count(engine: Engine, table: Any, *where: Any) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def test_a_task_shows_the_response_and_comes_again_until_it_is_done(start: Start) -> None:
    engine, (ada, _) = start(2, lease_s=100)
    task = work.next_task(engine, ada, now=1000.0)
    assert task is not None
    assert (task.prompt, task.draft, task.version) == ("Question 0?", task.response, 0)
    assert (task.state, task.opened, task.lease_until, task.lease_left_s) == ("open", 1000.0, 1100.0, 100.0)
    again = work.next_task(engine, ada, now=1050.0)
    assert again is not None
    assert (again.assignment_id, again.lease_until, again.opened) == (task.assignment_id, 1150.0, 1000.0)


def test_drafts_renew_the_lease(start: Start) -> None:
    engine, (ada, ben) = start(1, lease_s=100)
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    saved = work.save_draft(engine, ada, task.assignment_id, "One", 0, 5.0, now=90.0)
    assert (saved.version, saved.saved_at, saved.lease_until) == (1, 90.0, 190.0)
    assert work.next_task(engine, ben, now=150.0) is None


def test_a_draft_comes_back_to_the_letter(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    text = "\tdef f():\n\t\treturn '🖍️'  \n\n<script>\u200d\u00a0'; DROP TABLE item; --\n"
    work.save_draft(engine, ada, task.assignment_id, text, 0, 1.0, now=1.0)
    assert work.task_of(engine, ada, task.assignment_id, now=2.0).draft == text
    work.save_draft(engine, ada, task.assignment_id, "", 1, 1.0, now=3.0)
    assert work.next_task(engine, ada, now=4.0).draft == ""  # type: ignore[union-attr]


def test_a_second_tab_cannot_overwrite_the_first(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.save_draft(engine, ada, task.assignment_id, "From tab one", 0, 1.0, now=1.0)
    for act in (
        lambda: work.save_draft(engine, ada, task.assignment_id, "From tab two", 0, 1.0, now=2.0),
        lambda: work.submit(engine, ada, task.assignment_id, 0, Submission("edited", "From tab two"), now=2.0),
    ):
        with pytest.raises(Stale) as caught:
            act()
        assert (caught.value.text, caught.value.version, caught.value.reason) == ("From tab one", 1, "changed")
    assert work.task_of(engine, ada, task.assignment_id, now=3.0).draft == "From tab one"
    assert count(engine, submission) == 0


def test_sending_a_draft_again_is_harmless(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    first = work.save_draft(engine, ada, task.assignment_id, "One", 0, 1.0, now=1.0)
    again = work.save_draft(engine, ada, task.assignment_id, "One", 0, 1.0, now=2.0)
    assert (again.version, again.saved_at) == (first.version, first.saved_at) == (1, 1.0)


def test_a_submission_is_measured_and_kept(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=10.0)
    assert task is not None
    tags = [{"start": 19, "end": 21, "tag": "wrong fact"}]
    given = Submission("edited", EDITED, " It is seven. ", tags, active_s=30.0)
    done = work.submit(engine, ada, task.assignment_id, 0, given, now=100.0)
    assert (done.kept, done.distance, done.edited) == (pytest.approx(5 / 6), 2 + 6, EDITED)
    assert [block.kind for block in done.blocks] == ["equal", "replace"]
    with reading(engine) as connection:
        row = connection.execute(select(submission)).one()
        assert (row.outcome, row.edited, row.reason, row.tags) == ("edited", EDITED, "It is seven.", tags)
        assert (row.seconds, row.submitted, row.undone) == (30.0, 100.0, None)
        assert connection.execute(select(item.c.done)).scalar_one() == 1
        assert [tuple(e) for e in connection.execute(select(event.c.action, event.c.person_id))] == [("submit", ada)]
    after = work.task_of(engine, ada, task.assignment_id, now=101.0)
    assert (after.state, after.draft) == ("done", EDITED)


def test_sending_a_submission_again_gives_the_same_answer_and_no_second_row(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    given = Submission("edited", EDITED)
    first = work.submit(engine, ada, task.assignment_id, 0, given, now=1.0)
    assert work.submit(engine, ada, task.assignment_id, 0, given, now=2.0) == first
    with pytest.raises(Stale) as caught:
        work.submit(engine, ada, task.assignment_id, 0, Submission("edited", "Another text"), now=3.0)
    assert (caught.value.reason, caught.value.text) == ("done", EDITED)
    with pytest.raises(Stale):
        work.save_draft(engine, ada, task.assignment_id, "Another text", 1, 1.0, now=3.0)
    assert count(engine, submission) == 1


def test_a_submit_that_its_own_last_draft_overtook_is_taken(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.save_draft(engine, ada, task.assignment_id, EDITED, 0, 1.0, now=1.0)
    assert work.submit(engine, ada, task.assignment_id, 0, Submission("edited", EDITED), now=2.0).distance == 8


def test_undo_brings_the_text_back_and_a_late_copy_of_the_submit_changes_nothing(start: Start) -> None:
    engine, (ada, ben) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    done = work.submit(engine, ada, task.assignment_id, 0, Submission("edited", EDITED), now=1.0)
    back = work.undo(engine, ada, done.submission_id, now=2.0)
    assert (back.draft, back.state, back.assignment_id) == (EDITED, "open", task.assignment_id)
    assert work.undo(engine, ada, done.submission_id, now=3.0).version == back.version
    assert work.next_task(engine, ben, now=3.0) is None
    with pytest.raises(Stale):
        work.submit(engine, ada, task.assignment_id, 0, Submission("edited", EDITED), now=4.0)
    again = work.submit(engine, ada, task.assignment_id, back.version, Submission("edited", EDITED + "!"), now=5.0)
    assert [(line.submission_id, line.undone) for line in work.history(engine, ada)] == [
        (again.submission_id, None),
        (done.submission_id, 2.0),
    ]
    with pytest.raises(Stale, match="undone already"):
        work.undo(engine, ada, done.submission_id, now=6.0)
    with reading(engine) as connection:
        assert connection.execute(select(item.c.done)).scalar_one() == 1


def test_what_a_reviewer_has_decided_cannot_be_undone(start: Start) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    done = work.submit(engine, ada, task.assignment_id, 0, Submission("edited", EDITED), now=1.0)
    with writing(engine) as connection:
        connection.execute(
            insert(adjudication).values(
                item_id=1,
                person_id=ada,
                outcome="edited",
                edited="x",
                merged_from=[],
                decided=2.0,
                version=1,
            )
        )
    with pytest.raises(Refused, match="reviewer"):
        work.undo(engine, ada, done.submission_id, now=3.0)


def test_a_skipped_item_goes_to_others_and_never_comes_back(start: Start) -> None:
    engine, (ada, ben) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    done = work.submit(engine, ada, task.assignment_id, 0, Submission("skipped"), now=1.0)
    assert work.next_task(engine, ada, now=2.0) is None
    other = work.next_task(engine, ben, now=2.0)
    assert other is not None
    with pytest.raises(Refused, match="others have taken"):
        work.undo(engine, ada, done.submission_id, now=3.0)
    work.release(engine, ben, other.assignment_id, now=4.0)
    assert work.undo(engine, ada, done.submission_id, now=5.0).state == "open"
    assert work.next_task(engine, ben, now=6.0) is None


def test_whoever_comes_back_too_late_loses_no_text(start: Start) -> None:
    engine, (ada, ben) = start(lease_s=100)
    task = work.next_task(engine, ada, now=0.0)
    other = work.next_task(engine, ben, now=100.0)
    assert task is not None
    assert other is not None
    saved = work.save_draft(engine, ada, task.assignment_id, "Mine", 0, 1.0, now=120.0)
    assert saved.lease_until < 120.0
    with pytest.raises(Stale) as caught:
        work.submit(engine, ada, task.assignment_id, 1, Submission("edited", "Mine, longer"), now=130.0)
    assert (caught.value.reason, caught.value.text) == ("taken", "Mine, longer")
    mine = work.task_of(engine, ada, task.assignment_id, now=131.0)
    assert (mine.draft, mine.version, mine.state) == ("Mine, longer", caught.value.version, "released")
    assert work.next_task(engine, ada, now=132.0) is None
    work.release(engine, ben, other.assignment_id, now=140.0)
    back = work.next_task(engine, ada, now=141.0)
    assert back is not None
    assert back.draft == "Mine, longer"
    work.submit(engine, ada, task.assignment_id, back.version, Submission("edited", "Mine, longer"), now=142.0)
    assert count(engine, submission) == 1


def test_an_expired_lease_that_nobody_took_still_counts(start: Start) -> None:
    engine, (ada, _) = start(lease_s=100)
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    assert work.save_draft(engine, ada, task.assignment_id, "Mine", 0, 1.0, now=500.0).lease_until == 600.0
    work.submit(engine, ada, task.assignment_id, 1, Submission("edited", "Mine"), now=900.0)
    assert count(engine, submission) == 1


def test_a_released_item_comes_last_and_with_its_draft(start: Start) -> None:
    engine, (ada, _) = start(2, people=2)
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.save_draft(engine, ada, task.assignment_id, "Half", 0, 1.0, now=1.0)
    work.release(engine, ada, task.assignment_id, now=2.0)
    work.release(engine, ada, task.assignment_id, now=2.0)
    with pytest.raises(Stale) as caught:
        work.save_draft(engine, ada, task.assignment_id, "From a tab left open", 1, 1.0, now=3.0)
    assert caught.value.reason == "released"
    other = work.next_task(engine, ada, now=4.0)
    assert other is not None
    assert other.prompt == "Question 1?"
    work.submit(engine, ada, other.assignment_id, 0, Submission("no_edit_needed"), now=5.0)
    back = work.next_task(engine, ada, now=6.0)
    assert back is not None
    assert (back.prompt, back.draft) == ("Question 0?", "Half")


def test_other_peoples_work_cannot_be_touched(start: Start) -> None:
    engine, (ada, ben) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    mine = task.assignment_id
    done = work.submit(engine, ada, mine, 0, Submission("edited", EDITED), now=1.0)
    for act in (
        lambda: work.task_of(engine, ben, mine, now=2.0),
        lambda: work.save_draft(engine, ben, mine, "Theirs", 1, 1.0, now=2.0),
        lambda: work.submit(engine, ben, mine, 1, Submission("edited", "Theirs"), now=2.0),
        lambda: work.release(engine, ben, mine, now=2.0),
        lambda: work.undo(engine, ben, done.submission_id, now=2.0),
    ):
        with pytest.raises(Forbidden):
            act()
    for act in (
        lambda: work.task_of(engine, ben, 999, now=2.0),
        lambda: work.save_draft(engine, ben, 999, "Theirs", 1, 1.0, now=2.0),
        lambda: work.submit(engine, ben, 999, 1, Submission("edited", "Theirs"), now=2.0),
        lambda: work.release(engine, ben, 999, now=2.0),
        lambda: work.undo(engine, ben, 999, now=2.0),
        lambda: work.next_task(engine, 999, now=2.0),
    ):
        with pytest.raises(NotFound):
            act()


def test_a_refused_submit_keeps_the_item_open_and_the_draft(start: Start) -> None:
    engine, (ada, _) = start(kept_hard=0.5)
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.save_draft(engine, ada, task.assignment_id, "Mine", 0, 1.0, now=1.0)
    with pytest.raises(Refused) as caught:
        work.submit(engine, ada, task.assignment_id, 1, Submission("edited", "Something else entirely"), now=2.0)
    assert caught.value.field == "text"
    after = work.task_of(engine, ada, task.assignment_id, now=3.0)
    assert (after.draft, after.version, after.state) == ("Mine", 1, "open")


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d of an emoji"])
def test_text_that_no_database_holds_is_refused(start: Start, text: str) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    with pytest.raises(Refused, match="cannot be stored"):
        work.save_draft(engine, ada, task.assignment_id, text, 0, 1.0, now=1.0)
    with pytest.raises(Refused, match="cannot be stored"):
        work.submit(engine, ada, task.assignment_id, 0, Submission("edited", text), now=1.0)


def test_a_response_with_windows_line_ends_keeps_them(engine: Engine, add_people: Callable[..., list[int]]) -> None:
    (ada,) = add_people(engine, "Ada")
    items.import_responses(engine, [Response("w", "Q", "one\r\ntwo\r\nthree\r\n")])
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    with pytest.raises(Refused, match="same as the response"):
        work.submit(engine, ada, task.assignment_id, 0, Submission("edited", "one\ntwo\nthree\n"), now=1.0)
    done = work.submit(engine, ada, task.assignment_id, 0, Submission("edited", "one\n2\nthree\n"), now=1.0)
    assert done.edited == "one\r\n2\r\nthree\r\n"


@pytest.mark.parametrize(
    ("told", "counted"), [(30.0, 30.0), (None, 90.0), (0.0, 90.0), (500.0, 90.0), (float("nan"), 90.0), (-5.0, 90.0)]
)
def test_seconds_of_work_are_those_of_the_page_within_reason(start: Start, told: float | None, counted: float) -> None:
    engine, (ada, _) = start()
    task = work.next_task(engine, ada, now=10.0)
    assert task is not None
    work.submit(engine, ada, task.assignment_id, 0, Submission("no_edit_needed", active_s=told), now=100.0)
    assert work.history(engine, ada)[0].seconds == counted


@pytest.fixture
def start_drafts(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> Callable[..., tuple[Engine, int, int]]:
    """A database with `count` responses, and Ada and Ben."""

    def begin(count: int = 1, **project: object) -> tuple[Engine, int, int]:
        add_responses(engine, count, lease_s=100, **project)
        ada, ben = add_people(engine, "Ada", "Ben")
        return engine, ada, ben

    return begin


DraftsStart = Callable[..., tuple[Engine, int, int]]


def draft(engine: Engine, person: int, text: str, now: float) -> work.Task:
    task = work.next_task(engine, person, now=now)
    assert task is not None
    work.save_draft(engine, person, task.assignment_id, text, task.version, 1.0, now=now)
    return task


def standings(engine: Engine, person: int, now: float) -> list[tuple[str, str, str]]:
    return [(one.prompt, one.text, one.standing) for one in drafts(engine, person, now=now)]


def test_a_draft_is_yours_then_free_then_taken_and_free_again(start_drafts: DraftsStart) -> None:
    engine, ada, ben = start_drafts()
    task = draft(engine, ada, EDITED, 0.0)
    assert standings(engine, ada, 99.0) == [("Question 0?", EDITED, "yours")]
    assert standings(engine, ada, 100.0) == [("Question 0?", EDITED, "free")]
    assert standings(engine, ben, 100.0) == []
    draft(engine, ben, "Ben's", 101.0)
    assert standings(engine, ada, 102.0) == [("Question 0?", EDITED, "taken")]
    assert work.task_of(engine, ada, task.assignment_id, now=102.0).standing == "taken"
    assert work.next_task(engine, ada, now=102.0) is None
    assert standings(engine, ada, 103.0) == [("Question 0?", EDITED, "taken")]
    assert standings(engine, ada, 201.0) == [("Question 0?", EDITED, "free")]
    assert standings(engine, ben, 201.0) == [("Question 0?", "Ben's", "free")]


def test_only_edits_that_differ_from_the_response_and_are_not_handed_in_are_listed(start_drafts: DraftsStart) -> None:
    engine, ada, _ = start_drafts(4)
    pair = [Response("c", "Which?", text) for text in ("one", "two")]
    import_comparisons(engine, pair[:1], pair[1:])
    handed_in = draft(engine, ada, EDITED, 0.0)
    work.submit(engine, ada, handed_in.assignment_id, 1, work.Submission("edited", EDITED), now=1.0)
    skipped = draft(engine, ada, "Skipped", 2.0)
    work.submit(engine, ada, skipped.assignment_id, 1, work.Submission("skipped"), now=3.0)
    untouched = draft(engine, ada, "The answer to it is 2", 4.0)
    work.release(engine, ada, untouched.assignment_id, now=5.0)
    given_back = draft(engine, ada, "Given back", 6.0)
    work.release(engine, ada, given_back.assignment_id, now=7.0)
    compared = draft(engine, ada, "", 8.0)
    assert compared.kind == "compare"
    assert standings(engine, ada, 9.0) == [("Question 3?", "Given back", "free")]


def test_the_latest_comes_first_and_there_is_a_limit(start_drafts: DraftsStart) -> None:
    engine, ada, _ = start_drafts(3)
    for n in range(3):
        task = draft(engine, ada, f"Draft {n}", float(n))
        work.release(engine, ada, task.assignment_id, now=float(n))
    assert [one.text for one in drafts(engine, ada, now=9.0)] == ["Draft 2", "Draft 1", "Draft 0"]
    assert [one.text for one in drafts(engine, ada, now=9.0, limit=1)] == ["Draft 2"]


@pytest.mark.parametrize("how", ["given back", "left"])
def test_what_is_free_is_taken_up_with_its_text(start_drafts: DraftsStart, how: str) -> None:
    engine, ada, ben = start_drafts()
    task = draft(engine, ada, EDITED, 0.0)
    if how == "given back":
        work.release(engine, ada, task.assignment_id, now=1.0)
    again = take_up(engine, ada, task.assignment_id, now=200.0)
    assert (again.draft, again.state, again.standing, again.lease_until) == (EDITED, "open", "yours", 300.0)
    assert work.next_task(engine, ben, now=299.0) is None
    done = work.submit(engine, ada, again.assignment_id, again.version, work.Submission("edited", EDITED), now=250.0)
    assert done.distance == 8


def test_what_others_have_or_what_is_handed_in_is_not_taken_up(start_drafts: DraftsStart) -> None:
    engine, ada, ben = start_drafts()
    mine = draft(engine, ada, EDITED, 0.0)
    others = draft(engine, ben, "Ben's", 100.0)
    with pytest.raises(Stale) as caught:
        take_up(engine, ada, mine.assignment_id, now=101.0)
    assert (caught.value.reason, caught.value.text) == ("taken", EDITED)
    assert work.task_of(engine, ben, others.assignment_id, now=102.0).standing == "yours"
    work.submit(engine, ben, others.assignment_id, 1, work.Submission("edited", "Ben's"), now=103.0)
    with pytest.raises(Stale) as caught:
        take_up(engine, ben, others.assignment_id, now=104.0)
    assert caught.value.reason == "done"
    assert work.task_of(engine, ben, others.assignment_id, now=104.0).standing == "done"
    with pytest.raises(Forbidden):
        take_up(engine, ben, mine.assignment_id, now=105.0)
    with pytest.raises(NotFound):
        take_up(engine, ben, 99, now=105.0)


def test_what_is_held_is_held_anew(start_drafts: DraftsStart) -> None:
    engine, ada, _ = start_drafts()
    task = draft(engine, ada, EDITED, 0.0)
    assert take_up(engine, ada, task.assignment_id, now=50.0).lease_until == 150.0


def test_an_item_with_a_known_answer_always_has_room(engine: Engine, add_people: Callable[..., list[int]]) -> None:
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0, lease_s=100))
    import_gold_items(engine, [Edit("k", "Q?", "one two", "one 2")])
    ada, ben = add_people(engine, "Ada", "Ben")
    draft(engine, ada, "1 two", 0.0)
    draft(engine, ben, "1 2", 100.0)
    assert standings(engine, ada, 101.0) == [("Q?", "1 two", "free")]


def test_a_saved_draft_says_how_much_of_the_lease_is_left(start_drafts: DraftsStart) -> None:
    engine, ada, ben = start_drafts()
    task = draft(engine, ada, "One", 0.0)
    assert work.save_draft(engine, ada, task.assignment_id, "Two", 1, 1.0, now=90.0).lease_left_s == 100.0
    others = work.next_task(engine, ben, now=190.0)
    assert others is not None
    late = work.save_draft(engine, ada, task.assignment_id, "Three", 2, 1.0, now=191.0)
    assert (late.version, late.lease_left_s, late.lease_until) == (3, 0.0, 190.0)
    work.release(engine, ben, others.assignment_id, now=192.0)
    assert work.save_draft(engine, ada, task.assignment_id, "Three", 3, 1.0, now=193.0).lease_left_s == 100.0


ORIGINAL = "The answer to it is here"
"""Six words."""


def hand_in(
    outcome: str = "edited",
    text: str | None = "The answer to it is there",
    reason: str = "",
    tags: Sequence[Mapping[str, Any]] = (),
    kind: str = "edit",
    **project: Any,
) -> ValidSubmission:
    return validate_submission(kind, ORIGINAL, ProjectConfig(**project), outcome, text, reason, tags)


def refused(field: str, **given: Any) -> str:
    with pytest.raises(Refused) as caught:
        hand_in(**given)
    assert caught.value.field == field
    return caught.value.problem


def test_an_edit_is_taken_with_its_measures() -> None:
    judged = hand_in(reason=" why \n")
    assert (judged.edited, judged.reason) == ("The answer to it is there", "why")
    assert judged.measured.kept == pytest.approx(5 / 6)
    assert judged.measured.distance == 5 + 6


@pytest.mark.parametrize("outcome", ["no_edit_needed", "skipped"])
def test_other_outcomes_leave_the_original(outcome: str) -> None:
    judged = hand_in(outcome, text="half a try")
    assert (judged.edited, judged.measured.kept, judged.measured.distance) == (None, 1.0, 0)


def test_an_edit_that_is_none_is_refused() -> None:
    assert "same as the response" in refused("outcome", text=ORIGINAL)
    assert "missing" in refused("text", text=None)


def test_a_text_that_no_database_holds_is_refused_whatever_the_outcome() -> None:
    assert "a NUL character at character 1" in refused("text", text="a\0")
    assert "surrogate" in refused("text", outcome="skipped", text="\ud800")


def test_hard_limits_hold_and_soft_ones_only_warn() -> None:
    assert hand_in(kept_soft=0.99).outcome == "edited"
    assert hand_in(kept_hard=0.83, kept_soft=0.9).outcome == "edited"
    assert "keeps 83%" in refused("text", kept_hard=0.84, kept_soft=0.9)
    assert hand_in(distance_hard=11).outcome == "edited"
    assert "changes 11 characters" in refused("text", distance_hard=10)
    assert hand_in("cannot_be_fixed", reason="nonsense", kept_hard=0.5, distance_hard=0).outcome == "cannot_be_fixed"


def test_an_empty_edit_is_an_edit_unless_a_limit_says_no() -> None:
    assert hand_in(text="").edited == ""
    refused("text", text="", kept_hard=0.1)


def test_a_reason_is_asked_for_where_the_project_says_so() -> None:
    refused("reason", outcome="cannot_be_fixed", reason=" \t")
    assert hand_in("cannot_be_fixed", reason_required_for=()).reason == ""
    refused("reason", reason_required_for=("edited",))
    refused("reason", reason="a" * 10_001)
    refused("reason", reason="a\0")


@pytest.mark.parametrize(
    ("kind", "outcome"), [("edit", "tie"), ("edit", ""), ("compare", "edited"), ("compare", "no_edit_needed")]
)
def test_an_outcome_of_the_other_kind_is_refused(kind: str, outcome: str) -> None:
    assert "is not an outcome of this item" in refused("outcome", kind=kind, outcome=outcome)


def test_tags_are_kept_without_anything_else() -> None:
    tags = [{"start": 19, "end": 24, "tag": "wrong fact", "extra": 1}, {"start": 24, "end": 24, "tag": "unclear"}]
    assert hand_in(tags=tags).tags == [
        {"start": 19, "end": 24, "tag": "wrong fact"},
        {"start": 24, "end": 24, "tag": "unclear"},
    ]


@pytest.mark.parametrize(
    "tag",
    [
        {"start": 0, "end": 25, "tag": "rude"},
        {"start": -1, "end": 2, "tag": "rude"},
        {"start": 3, "end": 2, "tag": "rude"},
        {"start": 0.5, "end": 2, "tag": "rude"},
        {"start": 0, "end": 2, "tag": "boring"},
        {},
    ],
)
def test_a_tag_that_does_not_fit_is_refused(tag: dict[str, Any]) -> None:
    refused("tags", tags=[tag])


def test_there_is_a_limit_to_tags() -> None:
    refused("tags", tags=[{"start": 0, "end": 1, "tag": "rude"}] * 1001)


def hand_in_tally(engine: Engine, person: int, outcome: str = "no_edit_needed") -> None:
    task = work.next_task(engine, person, now=1.0)
    assert task is not None
    work.submit(engine, person, task.assignment_id, task.version, Submission(outcome), now=2.0)


def test_done_and_left(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 4, editors_per_item=2)
    ada, ben = add_people(engine, "Ada", "Ben")
    assert own_progress(engine, ada) == OwnProgress(0, 4)
    hand_in_tally(engine, ada)
    hand_in_tally(engine, ada, "skipped")
    assert own_progress(engine, ada) == OwnProgress(1, 2), "a skipped item does not come again, and is not done"
    assert own_progress(engine, ben) == OwnProgress(0, 4)
    hand_in_tally(engine, ben)
    assert own_progress(engine, ben) == OwnProgress(1, 3)
    assert own_progress(engine, ada) == OwnProgress(1, 2), "the first has two editors now, Ada among them"
    (cara,) = add_people(engine, "Cara")
    assert own_progress(engine, cara) == OwnProgress(0, 3)
    hand_in_tally(engine, ben)
    with reading(engine) as connection:
        version = dispute(connection, 2).version
    decide(engine, cara, 2, version, None, "no_edit_needed", now=3.0)
    assert own_progress(engine, cara) == OwnProgress(0, 2), "what a reviewer has settled needs nobody"


def test_items_with_a_known_answer_cannot_be_told_by_it(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 3, known_answer_share=1.0)
    items.import_gold_items(engine, [Edit(f"k{n}", "Q", f"Known {n}", f"Better {n}") for n in range(3)])
    (ada,) = add_people(engine, "Ada")
    seen = [own_progress(engine, ada)]  # three known answers come first, then an ordinary item
    for _ in range(4):
        hand_in_tally(engine, ada)
        seen.append(own_progress(engine, ada))
    assert seen == [OwnProgress(n, 6 - n) for n in range(5)]


TAGS = [{"start": 4, "end": 10, "tag": "rude"}]
MARKS = Marks("cannot_be_fixed", "It says nothing", TAGS)
SMILE = "\U0001f600"


@pytest.fixture
def begun(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> tuple[Engine, int, int, Task]:
    """Ada has a task; Ben has none."""
    add_responses(engine, 1, lease_s=100)
    ada, ben = add_people(engine, "Ada", "Ben")
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    assert marks_of(task) == Marks(None, "", [])
    return engine, ada, ben, task


Begun = tuple[Engine, int, int, Task]


def marks_of(task: Task) -> Marks:
    return Marks(task.draft_outcome, task.draft_reason, task.draft_tags)


def test_marks_are_saved_with_the_text_and_change_the_version(begun: Begun) -> None:
    engine, ada, _, task = begun
    first = work.save_draft(engine, ada, task.assignment_id, task.response, 0, 1.0, MARKS, now=1.0)
    again = work.task_of(engine, ada, task.assignment_id, now=2.0)
    assert (again.version, again.draft_saved, marks_of(again)) == (1, 1.0, MARKS)
    # The answer got lost, and the page sends the same once more.
    assert work.save_draft(engine, ada, task.assignment_id, task.response, 0, 1.0, MARKS, now=3.0) == work.Saved(
        first.version, first.saved_at, 103.0, 100.0
    )
    # A draft is kept as a whole: what it lacks is gone.
    assert work.save_draft(engine, ada, task.assignment_id, task.response, 1, 1.0, now=4.0).version == 2
    assert marks_of(work.task_of(engine, ada, task.assignment_id, now=5.0)) == Marks(None, "", [])


@pytest.mark.parametrize("other", [Marks("edited"), Marks(reason="Mine"), Marks(tags=TAGS)])
def test_a_second_tab_cannot_overwrite_marks_beside_the_same_text(begun: Begun, other: Marks) -> None:
    engine, ada, _, task = begun
    work.save_draft(engine, ada, task.assignment_id, "Half", 0, 1.0, now=1.0)
    with pytest.raises(Stale) as caught:
        work.save_draft(engine, ada, task.assignment_id, "Half", 0, 1.0, other, now=2.0)
    assert (caught.value.reason, caught.value.version) == ("changed", 1)


def test_a_submission_that_is_taken_back_comes_with_its_marks(begun: Begun) -> None:
    engine, ada, _, task = begun
    sent = Submission("cannot_be_fixed", "Half a try", " It says nothing ", TAGS)
    done = work.submit(engine, ada, task.assignment_id, 0, sent, now=1.0)
    with writing(engine) as connection:  # handed in before drafts had marks
        connection.execute(update(assignment).values(draft_outcome=None, draft_reason="", draft_tags=[]))
    back = work.undo(engine, ada, done.submission_id, now=2.0)
    assert (back.draft, marks_of(back)) == ("Half a try", MARKS)


def test_whoever_lost_the_item_keeps_text_and_marks(begun: Begun) -> None:
    engine, ada, ben, task = begun
    assert work.next_task(engine, ben, now=100.0) is not None
    sent = Submission("cannot_be_fixed", None, "It says nothing", TAGS)
    with pytest.raises(Stale) as caught:
        work.submit(engine, ada, task.assignment_id, 0, sent, now=101.0)
    assert caught.value.reason == "taken"
    assert marks_of(work.task_of(engine, ada, task.assignment_id, now=102.0)) == MARKS


def test_a_reason_alone_is_a_draft_that_is_listed(begun: Begun) -> None:
    engine, ada, _, task = begun
    work.save_draft(engine, ada, task.assignment_id, task.response, 0, 1.0, now=1.0)
    assert drafts(engine, ada, now=2.0) == []
    work.save_draft(engine, ada, task.assignment_id, task.response, 1, 1.0, MARKS, now=3.0)
    assert [one.text for one in drafts(engine, ada, now=4.0)] == [task.response]


def test_a_draft_is_not_asked_what_is_asked_of_a_submission(begun: Begun) -> None:
    engine, ada, _, task = begun
    unfinished = Marks("cannot_be_fixed", "", [{"start": 0, "end": 3, "tag": "a tag that the project no longer has"}])
    work.save_draft(engine, ada, task.assignment_id, task.response, 0, 1.0, unfinished, now=1.0)
    assert marks_of(work.task_of(engine, ada, task.assignment_id, now=2.0)) == unfinished


def test_marks_that_fit_no_item_of_this_kind_are_refused(begun: Begun) -> None:
    engine, ada, ben, task = begun
    for marks, field in ((Marks("first"), "outcome"), (Marks(reason="a\0"), "reason")):
        with pytest.raises(Refused) as caught:
            work.save_draft(engine, ada, task.assignment_id, "Half", 0, 1.0, marks, now=1.0)
        assert caught.value.field == field
    import_comparisons(engine, [Response("c", "Q", "One")], [Response("c", "Q", "Two")])
    pair = work.next_task(engine, ben, now=1.0)
    assert pair is not None
    assert pair.kind == "compare"
    work.save_draft(engine, ben, pair.assignment_id, "", 0, 1.0, Marks("tie"), now=2.0)
    assert work.task_of(engine, ben, pair.assignment_id, now=3.0).draft_outcome == "tie"


def test_tags_of_a_draft_count_code_units_over_http(sqlite_engine: Engine) -> None:
    import_responses(sqlite_engine, [Response("r", "Q", f"{SMILE} one two")])
    client = TestClient(create_app(sqlite_engine), follow_redirects=False)
    client.post(f"/join/{add_person(sqlite_engine, 'Ann', 'editor')}")
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    task = client.post("/api/next").json()
    assert (task["draft_outcome"], task["draft_reason"], task["draft_tags"]) == (None, "", [])
    tags = [{"start": 2, "end": 6, "tag": "rude"}]  # " one": the emoji is units 0 and 1
    marks: dict[str, Any] = {"outcome": "edited", "reason": "why", "tags": tags}
    path = f"/api/assignments/{task['assignment_id']}"
    draft = {"text": f"{SMILE} two", "version": 0, "active_s": 1}
    assert client.put(f"{path}/draft", json=draft | marks).status_code == 200
    stored = work.task_of(sqlite_engine, 1, task["assignment_id"], now=0.0).draft_tags
    assert [f"{SMILE} one two"[tag["start"] : tag["end"]] for tag in stored] == [" one"]
    done = client.post(f"{path}/submit", json={"version": 1, "text": draft["text"]} | marks).json()
    back = client.post(f"/api/submissions/{done['submission_id']}/undo").json()
    for shown in (
        client.get(path).json(),
        client.post("/api/next").json(),
        back,
        client.post(f"{path}/take-up").json(),
    ):
        assert (shown["draft_outcome"], shown["draft_reason"], shown["draft_tags"]) == ("edited", "why", tags)
    wrong = client.put(f"{path}/draft", json=draft | {"version": 3, "outcome": "great"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "outcome")
