"""Merging edits place by place, and decisions that nobody overwrites unseen."""

import threading
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, select, update

from redpencil.records import Edit, EditOutcome, Response
from redpencil.web import items, work
from redpencil.web.database import list_events, open_database, reading, writing
from redpencil.web.errors import NotFound, Refused, Stale
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.review import (
    Hunk,
    Place,
    _letter,
    count_disputes,
    decide,
    dispute,
    disputes,
    hunks_of,
    merge,
    next_dispute,
    places_between,
    settled_disputes,
)
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


@given(WORDS, st.dictionaries(st.sampled_from("ABC"), WORDS, min_size=1))
def test_taking_all_of_one_editor_gives_that_editor_s_text(original: str, edits: dict[str, str]) -> None:
    places, after = places_between(original, edits)
    for editor, edited in edits.items():

        def of_editor(place: Place, editor: str = editor) -> int:
            return next(i for i, alternative in enumerate(place.alternatives) if editor in alternative.editors)

        assert chosen_text(places, after, of_editor) == edited
    assert chosen_text(places, after, lambda _: 0) == original
    for place in places:
        assert [alternative.original for alternative in place.alternatives] == [True] + [False] * (
            len(place.alternatives) - 1
        )
        assert sorted(editor for each in place.alternatives for editor in each.editors) == sorted(edits)
        assert len({alternative.text for alternative in place.alternatives}) == len(place.alternatives)


@given(WORDS, st.dictionaries(st.sampled_from("ABC"), WORDS, min_size=1), st.data())
def test_any_choice_is_the_merge_of_its_hunks(original: str, edits: dict[str, str], data: st.DataObject) -> None:
    places, after = places_between(original, edits)
    picks = {place.start: data.draw(st.integers(0, len(place.alternatives) - 1)) for place in places}
    hunks = [Hunk(place.start, place.end, place.alternatives[picks[place.start]].text) for place in places]
    assert chosen_text(places, after, lambda place: picks[place.start]) == merge(original, hunks)


def test_overlapping_hunks_are_alternatives_and_others_are_not() -> None:
    original = "The red fox ran home today."
    places, after = places_between(
        original, {"A": "The brown fox ran home now.", "B": "The brown fox walked home now.", "C": original}
    )
    assert [(place.before, [each.text for each in place.alternatives]) for place in places] == [
        ("The", [" red", " brown"]),
        (" fox", [" ran", " walked"]),
        (" home", [" today", " now"]),
    ]
    assert after == "."
    assert [each.editors for each in places[0].alternatives] == [("C",), ("A", "B")]


def test_neighbouring_words_are_places_of_their_own() -> None:
    original = "one two three four five six seven"
    places, _ = places_between(
        original, {"A": original.replace("three", "3"), "B": original.replace("four", "4").replace("six", "6")}
    )
    assert [original[place.start : place.end] for place in places] == [" three", " four", " six"]


def test_an_insertion_belongs_to_what_it_touches() -> None:
    places, _ = places_between("one two three", {"A": "one very two three", "B": "one 2 three", "C": "one two three"})
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
    """Four responses, "The answer to it is 0" and so on; `judge({"Ada": "text", "Ben": None})` hands in edits of the
    next one, None for no edit needed, "" for a response that cannot be fixed. It gives the ids of the submissions.
    """
    add_responses(engine, 4, editors_per_item=3)
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
    for _ in range(2):
        judge({"Ada": "", "Ben": None})
    with reading(engine) as connection:
        found = disputes(connection)
        assert [each.external_id for each in found] == ["r0", "r2", "r3"]
        assert found[0].outcomes == ("edited", "no_edit_needed")
        assert found[0].prompt == "Question 0?"
        assert next_dispute(connection) == found[0].item_id
        after = [next_dispute(connection, each.item_id) for each in found]
        assert after == [found[1].item_id, found[2].item_id, found[0].item_id]
        shown = dispute(connection, found[0].item_id)
        assert [each.item_id for each in disputes(connection, limit=1)] == [found[0].item_id]
        assert [each.item_id for each in disputes(connection, limit=1, offset=1)] == [found[1].item_id]
        assert [count_disputes(connection, settled=settled) for settled in (False, True)] == [3, 0]
    assert [voice.editor for voice in shown.voices] == ["A", "B"]
    assert [[each.text for each in place.alternatives] for place in shown.places] == [[" 0", " 1"]]
    assert (shown.version, shown.decision, shown.next_item_id) == (2, None, found[1].item_id)


def test_a_reviewer_does_not_learn_whose_edit_is_whose(engine: Engine, judge: Judge, reviewer: int) -> None:
    letters = []
    for number in range(3):
        by_name = dict(
            zip(("Ada", "Ben", "Cid"), judge({"Ada": f"It is {number}", "Ben": None, "Cid": "0"}), strict=True)
        )
        with reading(engine) as connection:
            shown = dispute(connection, number + 1, names=True)  # not even an admin, before it is decided
        assert [voice.editor for voice in shown.voices] == ["A", "B", "C"]
        assert {voice.name for voice in shown.voices} == {None}
        of_submission = {voice.submission_id: voice.editor for voice in shown.voices}
        letters.append({name: of_submission[submitted] for name, submitted in by_name.items()})
    # The fastest of them is not the same letter each time.
    assert len({each["Ada"] for each in letters}) > 1
    decide(engine, reviewer, shown.item_id, shown.version, "It is 0", "edited", now=400.0)
    with reading(engine) as connection:
        told = dispute(connection, shown.item_id, names=True)
        assert {voice.name: voice.editor for voice in told.voices} == letters[2]
        assert {voice.name for voice in dispute(connection, shown.item_id).voices} == {None}


def test_letters_do_not_end_with_the_alphabet() -> None:
    assert [_letter(n) for n in (0, 25, 26, 51, 52, 99)] == ["A", "Z", "AA", "AZ", "BA", "CV"]


def test_skipped_and_undone_work_is_no_dispute(engine: Engine, judge: Judge) -> None:
    first, _ = judge({"Ada": "It is 0", "Ben": None})
    work.undo(engine, 1, first, now=300.0)
    with reading(engine) as connection:
        assert disputes(connection) == []


def test_known_answers_need_no_reviewer(engine: Engine, judge: Judge) -> None:
    items.import_gold_items(
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
        logged = list_events(connection)[0]
    assert [edit.edited for edit in exported if edit.id == "r0"] == ["The answer is 0!"]
    assert (logged.action, logged.person_id, logged.item_id) == ("decided", reviewer, shown.item_id)
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
        ("The answer to it is 0", "edited", [], "outcome"),
        (None, "cannot_be_fixed", [], "reason"),
        ("x", "skipped", [], "outcome"),
        ("x", "first", [], "outcome"),
        ("x", "edited", [99], "merged_from"),
        ("x\0", "edited", [], "text"),
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


def test_a_decision_is_checked_as_an_edit_is_but_for_the_limits(
    engine: Engine, add_people: Callable[..., list[int]], reviewer: int
) -> None:
    (ada,) = add_people(engine, "Ada")
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(kept_hard=0.5, distance_hard=5))
    items.import_responses(engine, [Response("r", "Q", "one two\r\nthree four\r\nfive")])
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.submit(engine, ada, task.assignment_id, 0, work.Submission("no_edit_needed"), now=1.0)
    # As a page sends it, with newlines; one of five words is kept, where the project asks editors for half.
    decided = decide(engine, reviewer, 1, 1, "one 2\n3 4\n5", "edited", " why \n", now=2.0)
    with reading(engine) as connection:
        shown = dispute(connection, 1).decision
        (exported,) = items.export_edits(connection)
    assert shown is not None
    assert (shown.edited, shown.reason) == ("one 2\r\n3 4\r\n5", "why")
    assert exported.edited == "one 2\r\n3 4\r\n5"
    with pytest.raises(Refused, match="the same as the response"):  # with its line ends back it is the original
        decide(engine, reviewer, 1, decided.version, "one two\nthree four\nfive", "edited", now=3.0)


def test_a_dispute_never_has_the_version_of_a_text_that_it_does_not_show(
    postgres_url: str, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    """Cid hands in before the first, second ... statement with which a reviewer's page is read."""
    engine, other = open_database(postgres_url), open_database(postgres_url)
    add_responses(engine, 12, editors_per_item=3)
    ada, ben, cid = add_people(engine, "Ada", "Ben", "Cid")

    def hand_in(person: int, text: str) -> None:
        task = work.next_task(other, person, now=0.0)
        assert task is not None
        work.submit(other, person, task.assignment_id, task.version, work.Submission("edited", text), now=1.0)

    late = 0
    for number in range(12):
        hand_in(ada, "Adas")
        hand_in(ben, "Bens")
        statements = []

        def count(*_: object, statements: list[int] = statements, number: int = number) -> None:
            statements.append(1)
            if len(statements) == number + 1:
                hand_in(cid, "Cids")

        event.listen(engine, "before_cursor_execute", count)
        with reading(engine) as connection:
            shown = dispute(connection, number + 1)
        event.remove(engine, "before_cursor_execute", count)
        with reading(engine) as connection:
            now = dispute(connection, number + 1)
        assert len(shown.voices) == len(now.voices) or shown.version < now.version
        late += shown.version < now.version
        if len(statements) <= number:  # it was read before Cid's turn came
            hand_in(cid, "Cids")
    assert late >= 2
    for opened in (engine, other):
        opened.dispose()


def test_two_reviewers_at_once_decide_one_after_the_other(
    postgres_url: str, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    engine = open_database(postgres_url)
    add_responses(engine, 1)
    ada, rita = add_people(engine, "Ada", "Rita")
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.submit(engine, ada, task.assignment_id, 0, work.Submission("edited", "Adas"), now=1.0)
    first = decide(engine, rita, 1, 1, "Ritas", "edited", now=2.0)
    refused: list[Stale] = []

    def second() -> None:
        try:
            decide(engine, rita, 1, first.version, "Second", "edited", now=4.0)
        except Stale as error:
            refused.append(error)

    deciding = threading.Thread(target=second)
    with writing(engine) as connection:  # another reviewer, in the middle of it
        connection.execute(select(item.c.id).with_for_update())
        deciding.start()
        deciding.join(timeout=0.5)
        assert deciding.is_alive()
        connection.execute(update(adjudication).values(edited="First", version=2))
    deciding.join()
    assert [(error.text, error.version) for error in refused] == [("First", first.version + 1)]
    engine.dispose()
