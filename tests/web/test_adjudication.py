"""Merging edits place by place, and decisions that nobody overwrites unseen."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from redpencil.records import Edit, EditOutcome
from redpencil.web import items, work
from redpencil.web.adjudication import decide, dispute, disputes, next_dispute, settled_disputes
from redpencil.web.database import reading, writing
from redpencil.web.errors import NotFound, Refused, Stale
from redpencil.web.events import list_events
from redpencil.web.merging import Hunk, Place, hunks_of, merge, places_between
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import adjudication, item, submission

WORDS = st.lists(st.sampled_from(["one ", "two ", "\n", "three", ", ", "é", "\U0001f600"]), max_size=12).map("".join)


def chosen_text(places: tuple[Place, ...], after: str, wanted: Callable[[Place], int]) -> str:
    return "".join(place.before + place.alternatives[wanted(place)].text for place in places) + after


@given(WORDS, WORDS)
def test_all_hunks_give_the_edit_and_none_the_original(original: str, edited: str) -> None:
    hunks = hunks_of(original, edited)
    assert merge(original, hunks) == edited
    assert merge(original, reversed(hunks)) == edited
    assert merge(original, []) == original


@given(WORDS, st.dictionaries(st.integers(1, 3), WORDS, min_size=1))
def test_taking_all_of_one_editor_gives_that_editor_s_text(original: str, edits: dict[int, str]) -> None:
    places, after = places_between(original, edits)
    for editor, edited in edits.items():

        def of_editor(place: Place, editor: int = editor) -> int:
            return next(i for i, alternative in enumerate(place.alternatives) if editor in alternative.editors)

        assert chosen_text(places, after, of_editor) == edited
    assert chosen_text(places, after, lambda _: 0) == original
    for place in places:
        assert [alternative.original for alternative in place.alternatives] == [True] + [False] * (
            len(place.alternatives) - 1
        )
        assert sorted(editor for each in place.alternatives for editor in each.editors) == sorted(edits)
        assert len({alternative.text for alternative in place.alternatives}) == len(place.alternatives)


@given(WORDS, st.dictionaries(st.integers(1, 3), WORDS, min_size=1), st.data())
def test_any_choice_is_the_merge_of_its_hunks(original: str, edits: dict[int, str], data: st.DataObject) -> None:
    places, after = places_between(original, edits)
    picks = {place.start: data.draw(st.integers(0, len(place.alternatives) - 1)) for place in places}
    hunks = [Hunk(place.start, place.end, place.alternatives[picks[place.start]].text) for place in places]
    assert chosen_text(places, after, lambda place: picks[place.start]) == merge(original, hunks)


def test_overlapping_hunks_are_alternatives_and_others_are_not() -> None:
    original = "The red fox ran home today."
    places, after = places_between(
        original, {1: "The brown fox ran home now.", 2: "The brown fox walked home now.", 3: original}
    )
    assert [(place.before, [each.text for each in place.alternatives]) for place in places] == [
        ("The", [" red", " brown"]),
        (" fox", [" ran", " walked"]),
        (" home", [" today", " now"]),
    ]
    assert after == "."
    assert [each.editors for each in places[0].alternatives] == [(3,), (1, 2)]


def test_neighbouring_words_are_places_of_their_own() -> None:
    original = "one two three four five six seven"
    places, _ = places_between(
        original, {1: original.replace("three", "3"), 2: original.replace("four", "4").replace("six", "6")}
    )
    assert [original[place.start : place.end] for place in places] == [" three", " four", " six"]


def test_an_insertion_belongs_to_what_it_touches() -> None:
    places, _ = places_between("one two three", {1: "one very two three", 2: "one 2 three", 3: "one two three"})
    assert [[each.text for each in place.alternatives] for place in places] == [[" two", " very two", " 2"]]


def test_hunks_that_overlap_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="overlap"):
        merge("one two", [Hunk(0, 3, "1"), Hunk(2, 7, "2")])
    with pytest.raises(ValueError, match="outside"):
        merge("one", [Hunk(2, 9, "2")])


@pytest.fixture
def judge(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> Callable[[Mapping[str, str | None]], list[int]]:
    """Three responses, "The answer to it is 0" and so on; `judge({"Ada": "text", "Ben": None})` hands in edits of the
    next one, None for no edit needed, "" for a response that cannot be fixed. It gives the ids of the submissions.
    """
    add_responses(engine, 3, editors_per_item=3)
    people: dict[str, int] = {}

    def hand_in(texts: Mapping[str, str | None]) -> list[int]:
        ids = []
        for name, text in texts.items():
            if name not in people:
                people.update({name: add_people(engine, name)[0]})
            task = work.next_task(engine, people[name], now=100.0)
            assert task is not None
            outcome = "no_edit_needed" if text is None else "edited" if text else "cannot_be_fixed"
            sent = work.Submission(outcome, text, "why" if outcome == "cannot_be_fixed" else "", active_s=5.0)
            ids.append(
                work.submit(engine, people[name], task.assignment_id, task.version, sent, now=200.0).submission_id
            )
        return ids

    return hand_in


@pytest.fixture
def reviewer(engine: Engine, add_people: Callable[..., list[int]]) -> int:
    return add_people(engine, "Rita", role="reviewer")[0]


Judge = Callable[[Mapping[str, str | None]], list[int]]


def test_what_differs_is_a_dispute_and_what_is_the_same_is_none(engine: Engine, judge: Judge) -> None:
    judge({"Ada": "The answer to it is 1", "Ben": None})
    judge({"Ada": "It is 1", "Ben": "It is 1"})
    judge({"Ada": "", "Ben": None})
    with reading(engine) as connection:
        found = disputes(connection)
        assert [each.external_id for each in found] == ["r0", "r2"]
        assert found[0].outcomes == ("edited", "no_edit_needed")
        assert found[0].prompt == "Question 0?"
        assert next_dispute(connection) == found[0].item_id
        assert next_dispute(connection, found[0].item_id) == found[1].item_id
        assert next_dispute(connection, found[1].item_id) == found[0].item_id
        shown = dispute(connection, found[0].item_id)
    assert [voice.editor for voice in shown.voices] == [1, 2]
    assert [[each.text for each in place.alternatives] for place in shown.places] == [[" 0", " 1"]]
    assert (shown.version, shown.decision, shown.next_item_id) == (2, None, found[1].item_id)


def test_skipped_and_undone_work_is_no_dispute(engine: Engine, judge: Judge) -> None:
    first, _ = judge({"Ada": "It is 0", "Ben": None})
    work.undo(engine, 1, first, now=300.0)
    with reading(engine) as connection:
        assert disputes(connection) == []


def test_known_answers_need_no_reviewer(engine: Engine, judge: Judge) -> None:
    items.import_known_answers(
        engine, [Edit("r0", "Question 0?", "The answer to it is 0", "", outcome=EditOutcome.UNCHANGED)]
    )
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=3, known_answer_share=1.0))
    judge({"Ada": "It is 0", "Ben": None})
    with reading(engine) as connection:
        judged = connection.execute(select(item.c.external_id).join_from(submission, item)).scalars()
        assert list(judged) == ["r0", "r0"]
        assert disputes(connection) == []


def test_a_decision_settles_and_is_exported(engine: Engine, judge: Judge, reviewer: int) -> None:
    ids = judge({"Ada": "The answer is 0", "Ben": None})
    with reading(engine) as connection:
        shown = dispute(connection, disputes(connection)[0].item_id)
    decided = decide(
        engine, reviewer, shown.item_id, shown.version, "The answer is 0!", "edited", "better", ids[:1], now=400.0
    )
    assert decided.next_item_id is None
    with reading(engine) as connection:
        assert disputes(connection) == []
        assert [each.decided for each in settled_disputes(connection)] == [400.0]
        again = dispute(connection, shown.item_id)
        assert (again.version, again.version) == (shown.version + 1, decided.version)
        assert again.decision is not None
        assert again.decision.edited == "The answer is 0!"
        exported = list(items.export_edits(connection))
        event = list_events(connection)[0]
    assert [edit.edited for edit in exported if edit.id == "r0"] == ["The answer is 0!"]
    assert (event.action, event.person_id, event.item_id) == ("decided", reviewer, shown.item_id)
    decide(engine, reviewer, shown.item_id, decided.version, None, "no_edit_needed", now=500.0)
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(adjudication)) == 1
        assert dispute(connection, shown.item_id).version == decided.version + 1


def test_a_stale_decision_is_refused_and_the_other_one_shown(engine: Engine, judge: Judge, reviewer: int) -> None:
    judge({"Ada": "The answer is 0", "Ben": None})
    with reading(engine) as connection:
        shown = dispute(connection, disputes(connection)[0].item_id)
    decide(engine, reviewer, shown.item_id, shown.version, "It is 0", "edited", now=400.0)
    with pytest.raises(Stale) as error:
        decide(engine, reviewer, shown.item_id, shown.version, "No: 0", "edited", now=401.0)
    assert (error.value.text, error.value.version) == ("It is 0", shown.version + 1)


def test_a_submission_that_came_meanwhile_makes_a_decision_stale(engine: Engine, judge: Judge, reviewer: int) -> None:
    judge({"Ada": "The answer is 0", "Ben": None})
    with reading(engine) as connection:
        shown = dispute(connection, disputes(connection)[0].item_id)
    judge({"Cid": "0"})
    with pytest.raises(Stale):
        decide(engine, reviewer, shown.item_id, shown.version, "It is 0", "edited", now=400.0)


def test_the_version_grows_with_all_that_happens(engine: Engine, judge: Judge, reviewer: int) -> None:
    def version() -> int:
        with reading(engine) as connection:
            return dispute(connection, 1).version

    seen = []
    first, _ = judge({"Ada": "The answer is 0", "Ben": None})
    seen.append(version())
    with reading(engine) as connection:
        ada = connection.execute(select(submission.c.person_id).where(submission.c.id == first)).scalar_one()
    task = work.undo(engine, ada, first, now=300.0)
    seen.append(version())
    sent = work.Submission("edited", "It is 0", active_s=1.0)
    work.submit(engine, ada, task.assignment_id, task.version, sent, now=310.0)
    seen.append(version())
    decide(engine, reviewer, 1, seen[-1], "It is 0", "edited", now=400.0)
    seen.append(version())
    decide(engine, reviewer, 1, seen[-1], "0", "edited", now=500.0)
    seen.append(version())
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("text", "outcome", "merged_from", "field"),
    [
        (None, "edited", [], "text"),
        (" ", "edited", [], "text"),
        ("The answer to it is 0", "edited", [], "text"),
        ("x", "skipped", [], "outcome"),
        ("x", "first", [], "outcome"),
        ("x", "edited", [99], "merged_from"),
    ],
)
def test_what_is_no_decision_is_refused(
    engine: Engine, judge: Judge, reviewer: int, text: str | None, outcome: str, merged_from: list[int], field: str
) -> None:
    judge({"Ada": "The answer is 0", "Ben": None})
    with reading(engine) as connection:
        shown = dispute(connection, disputes(connection)[0].item_id)
    with pytest.raises(Refused) as error:
        decide(engine, reviewer, shown.item_id, shown.version, text, outcome, "", merged_from, now=400.0)
    assert error.value.field == field
    with reading(engine) as connection:
        assert len(disputes(connection)) == 1


def test_what_nobody_judged_cannot_be_decided(engine: Engine, judge: Judge, reviewer: int) -> None:
    with reading(engine) as connection, pytest.raises(NotFound):
        dispute(connection, 1)
    for item_id in (1, 99):
        with pytest.raises(NotFound):
            decide(engine, reviewer, item_id, 0, None, "no_edit_needed", now=1.0)
    assert judge is not None
