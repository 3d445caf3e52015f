"""What the tables themselves refuse, whatever the code does."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from redpencil.web import work
from redpencil.web.database import writing
from redpencil.web.schema import assignment, item, person, submission
from redpencil.web.work import Submission


@pytest.fixture
def done(engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]) -> Engine:
    """One item, handed in by Ada."""
    add_responses(engine, 1)
    (ada,) = add_people(engine, "Ada")
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    work.submit(engine, ada, task.assignment_id, 0, Submission("no_edit_needed"), now=1.0)
    return engine


def copy_row(engine: Engine, table: Table, **changes: Any) -> None:
    with writing(engine) as connection:
        row = dict(connection.execute(select(table)).mappings().one())
        connection.execute(insert(table).values({**row, "id": 99, **changes}))


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        (submission, {}),
        (assignment, {}),
        (item, {}),
        (person, {}),
        (submission, {"undone": 5.0, "outcome": "maybe"}),
        (submission, {"undone": 5.0, "person_id": 98}),
        (item, {"external_id": "other", "kind": "draw"}),
        (person, {"name": "Ben", "role": "king"}),
    ],
)
def test_rows_that_contradict_others_are_refused(done: Engine, table: Table, changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        copy_row(done, table, **changes)


def test_a_submission_that_was_undone_makes_room_for_another(done: Engine) -> None:
    with writing(done) as connection:
        connection.execute(update(submission).values(undone=5.0))
    copy_row(done, submission, undone=None)


def test_a_state_that_is_none_is_refused(done: Engine) -> None:
    with pytest.raises(IntegrityError), writing(done) as connection:
        connection.execute(update(assignment).values(state="lost"))
