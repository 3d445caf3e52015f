"""Who gets which item next, and what a task shows of it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from redpencil.records import Edit, EditOutcome, Response
from redpencil.web import items, work
from redpencil.web.database import reading, writing
from redpencil.web.errors import Refused
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import assignment, setting
from redpencil.web.work import Submission

Start = Callable[..., tuple[Engine, list[int]]]


def count(engine: Engine, table: Any, *where: Any) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def test_people_get_different_items_and_the_rest_get_none(start: Start) -> None:
    engine, people = start(2, people=3)
    tasks = [work.next_task(engine, person, now=0.0) for person in people]
    assert [task and task.prompt for task in tasks] == ["Question 0?", "Question 1?", None]


def test_an_item_of_two_editors_goes_to_two_and_is_finished_first(start: Start) -> None:
    engine, people = start(2, people=3, editors_per_item=2)
    got = []
    for person in people:
        task = work.next_task(engine, person, now=0.0)
        assert task is not None
        work.submit(engine, person, task.assignment_id, 0, Submission("edited", "Short"), now=1.0)
        got.append(task.prompt)
    assert got == ["Question 0?", "Question 0?", "Question 1?"]
    assert work.next_task(engine, people[0], now=2.0).prompt == "Question 1?"  # type: ignore[union-attr]
    assert work.next_task(engine, people[1], now=2.0) is None


def test_an_item_whose_lease_ran_out_goes_to_somebody_else(start: Start) -> None:
    engine, (ada, ben) = start(1, lease_s=100)
    first = work.next_task(engine, ada, now=0.0)
    assert work.next_task(engine, ben, now=99.0) is None
    second = work.next_task(engine, ben, now=100.0)
    assert first is not None
    assert second is not None
    assert second.response == first.response


def test_known_answers_are_mixed_in_and_everybody_gets_them(start: Start) -> None:
    engine, people = start(60, people=3, known_answer_share=0.25)
    answers = [Edit(f"k{n}", "Q", f"Known {n}", "", outcome=EditOutcome.UNCHANGED) for n in range(20)]
    items.import_gold_items(engine, answers)
    with writing(engine) as connection:  # else each run draws anew
        connection.execute(setting.update().where(setting.c.key == "draws").values(value="a secret"))
    got: dict[int, list[str]] = {person: [] for person in people}
    for _ in range(20):
        for person in people:
            task = work.next_task(engine, person, now=0.0)
            assert task is not None
            work.submit(engine, person, task.assignment_id, 0, Submission("no_edit_needed"), now=1.0)
            got[person].append(task.response)
    ordinary = [name for names in got.values() for name in names if name.startswith("The answer")]
    assert len(set(ordinary)) == len(ordinary)
    known = {person: [name for name in names if name.startswith("Known")] for person, names in got.items()}
    assert all(1 <= len(names) <= 12 for names in known.values()), known
    assert all("Known 0" in names for names in known.values())
    assert len({tuple(names) for names in got.values()}) == 3


def test_known_answers_stay_out_where_none_are_asked_for(start: Start) -> None:
    engine, (ada, _) = start(0)
    items.import_gold_items(engine, [Edit("k", "Q", "Known", "", outcome=EditOutcome.UNCHANGED)])
    assert work.next_task(engine, ada, now=0.0) is None
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0))
    assert work.next_task(engine, ada, now=0.0) is not None


def test_suggestions_are_hidden_where_the_project_says_so(engine: Engine, add_people: Callable[..., list[int]]) -> None:
    (ada,) = add_people(engine, "Ada")
    items.import_responses(engine, [Response("a", "Q", "An answer")], {"a": "The answer"})
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    assert task.suggestion == "The answer"
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(suggestions=False))
    assert work.task_of(engine, ada, task.assignment_id, now=0.0).suggestion is None


def test_a_comparison_takes_a_preference_and_no_edit(engine: Engine, add_people: Callable[..., list[int]]) -> None:
    (ada,) = add_people(engine, "Ada")
    items.import_comparisons(engine, [Response("a", "Q", "One")], [Response("a", "Q", "Two")])
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    assert {task.response, task.second} == {"One", "Two"}
    assert (task.kind, task.draft) == ("compare", "")
    with pytest.raises(Refused) as caught:
        work.submit(engine, ada, task.assignment_id, 0, Submission("edited", "Two"), now=1.0)
    assert caught.value.field == "outcome"
    first = work.submit(engine, ada, task.assignment_id, 0, Submission("tie"), now=1.0)
    assert work.submit(engine, ada, task.assignment_id, 0, Submission("tie"), now=2.0) == first


def test_a_person_never_has_two_assignments_on_one_item(start: Start) -> None:
    engine, (ada, _) = start(1, editors_per_item=3)
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.submit(engine, ada, task.assignment_id, 0, Submission("no_edit_needed"), now=1.0)
    assert work.next_task(engine, ada, now=2.0) is None
    assert count(engine, assignment) == 1
