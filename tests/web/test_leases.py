"""Many people at once: every item gets exactly as many editors as it should, on both databases."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, select

from redpencil.web import leases, work
from redpencil.web.database import open_database, reading, writing
from redpencil.web.errors import Stale
from redpencil.web.review import decide, dispute
from redpencil.web.schema import assignment, item, setting, submission
from redpencil.web.work import Submission

HAMMER = """
import random, sys, time
from redpencil.web import work
from redpencil.web.database import open_database
from redpencil.web.errors import Stale
from redpencil.web.work import Submission

engine, people = open_database(sys.argv[1]), [int(person) for person in sys.argv[2:]]
done = random.Random(people[0])
open_tasks = {}
print("ready", flush=True)
sys.stdin.readline()
waiting = set(people)
while waiting:
    person = done.choice(sorted(waiting))
    task = work.next_task(engine, person, now=time.time())
    if task is None:
        waiting.discard(person)
        continue
    version = task.version
    if done.random() < 0.5:
        version = work.save_draft(engine, person, task.assignment_id, "draft", version, 0.0, now=time.time()).version
    if done.random() < 0.1:
        work.release(engine, person, task.assignment_id, now=time.time())
        continue
    given = Submission("edited", f"by {person}")
    sent = work.submit(engine, person, task.assignment_id, version, given, now=time.time())
    if done.random() < 0.1:
        work.undo(engine, person, sent.submission_id, now=time.time())
"""


def editors_of_items(engine: Engine) -> Counter[str]:
    """How many current submissions each item has; items without any count 0."""
    with reading(engine) as connection:
        counts = Counter({name: 0 for (name,) in connection.execute(select(item.c.external_id))})
        rows = connection.execute(
            select(item.c.external_id, submission.c.person_id)
            .join_from(submission, item)
            .where(submission.c.undone.is_(None))
        ).all()
        done = dict(connection.execute(select(item.c.external_id, item.c.done)).all())
    assert len(set(rows)) == len(rows), "somebody handed an item in twice"
    counts.update(name for name, _ in rows)
    assert counts == done, "the counter of an item is wrong"
    return counts


@pytest.mark.parametrize("editors", [1, 3])
def test_processes_that_race_do_every_item_exactly_as_often_as_asked(
    place: str,
    engine: Engine,
    editors: int,
    add_people: Callable[..., list[int]],
    add_responses: Callable[..., None],
) -> None:
    add_responses(engine, 40, editors_per_item=editors)
    people = add_people(engine, *(f"Editor {n}" for n in range(9)))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, place, *map(str, people[n::3])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=300)[1] for process in processes] == [""] * 3
    assert set(editors_of_items(engine).values()) == {editors}


def test_threads_that_ask_at_once_never_share_an_item(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 5)
    people = add_people(engine, *(f"Editor {n}" for n in range(12)))
    for _ in range(6):
        barrier, got = threading.Barrier(len(people)), list[work.Task | None]()

        def ask(person: int, barrier: threading.Barrier = barrier, got: list[work.Task | None] = got) -> None:
            barrier.wait()
            got.append(work.next_task(engine, person, now=0.0))

        run_all([threading.Thread(target=ask, args=(person,)) for person in people])
        names = sorted(task.prompt for task in got if task is not None)
        assert names == [f"Question {n}?" for n in range(5)]
        with writing(engine) as connection:
            connection.execute(delete(assignment))


def test_two_tabs_of_one_person_that_ask_at_once_get_the_same_item(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 50)
    (ada,) = add_people(engine, "Ada")
    for _ in range(5):
        barrier, got = threading.Barrier(6), list[int]()

        def ask(barrier: threading.Barrier = barrier, got: list[int] = got) -> None:
            barrier.wait()
            task = work.next_task(engine, ada, now=0.0)
            assert task is not None
            got.append(task.assignment_id)

        run_all([threading.Thread(target=ask) for _ in range(6)])
        assert len(got) == 6
        assert len(set(got)) == 1
        work.submit(engine, ada, got[0], 0, Submission("no_edit_needed"), now=1.0)


def test_tabs_that_submit_at_once_hand_in_one_text_and_keep_the_others(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 1)
    (ada,) = add_people(engine, "Ada")
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    barrier, taken, stale = threading.Barrier(6), list[str](), list[str]()

    def hand_in(text: str) -> None:
        barrier.wait()
        try:
            work.submit(engine, ada, task.assignment_id, 0, Submission("edited", text), now=1.0)
            taken.append(text)
        except Stale as error:
            stale.append(error.text)

    run_all([threading.Thread(target=hand_in, args=(f"Text {n}",)) for n in range(6)])
    assert len(taken) == 1
    assert stale == taken * 5


def test_the_late_and_the_new_editor_cannot_both_have_the_place(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    """Ada's lease ran out; she submits at the very moment in which Ben asks for an item."""
    add_responses(engine, 60, lease_s=100)
    ada, ben = add_people(engine, "Ada", "Ben")
    for turn in range(30):
        now = 1000.0 * turn
        task = work.next_task(engine, ada, now=now)
        assert task is not None
        barrier = threading.Barrier(2)

        def late(task: work.Task = task, now: float = now, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            with suppress(Stale):
                work.submit(engine, ada, task.assignment_id, task.version, Submission("edited", "A"), now=now + 200)

        def new(now: float = now, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            other = work.next_task(engine, ben, now=now + 200)
            if other is not None:
                work.submit(engine, ben, other.assignment_id, other.version, Submission("edited", "B"), now=now + 201)

        run_all([threading.Thread(target=late), threading.Thread(target=new)])
    assert max(editors_of_items(engine).values()) == 1


def test_a_request_that_waited_for_its_turn_does_not_take_a_place_twice(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    """Ada's request came before her lease ran out, at 1010, and gets its turn after Ben has taken the item."""
    add_responses(engine, 1, lease_s=10)
    ada, ben = add_people(engine, "Ada", "Ben")
    hers = work.next_task(engine, ada, now=1000.0)
    his = work.next_task(engine, ben, now=1010.1)
    assert hers is not None
    assert his is not None
    saved = work.save_draft(engine, ada, hers.assignment_id, "Half", hers.version, 0.0, now=1009.8)
    assert saved.lease_until == 1010.0
    with pytest.raises(Stale) as caught:
        work.submit(engine, ada, hers.assignment_id, saved.version, Submission("edited", "Adas"), now=1009.9)
    assert (caught.value.reason, caught.value.text) == ("taken", "Adas")
    work.submit(engine, ben, his.assignment_id, his.version, Submission("edited", "Bens"), now=1011.0)
    assert editors_of_items(engine) == {"r0": 1}


def test_a_clock_that_was_a_day_ahead_keeps_nobody_from_an_item(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 1, lease_s=900)
    ada, ben = add_people(engine, "Ada", "Ben")
    hers = work.next_task(engine, ada, now=1000.0 + 86400)
    assert hers is not None
    assert work.next_task(engine, ben, now=86400.0) is None  # some minutes: clocks of two servers may differ so much
    his = work.next_task(engine, ben, now=1000.0)
    assert his is not None
    with pytest.raises(Stale):
        work.submit(engine, ada, hers.assignment_id, hers.version, Submission("edited", "Adas"), now=1001.0)


def test_an_item_that_is_settled_needs_nobody_else(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    """Two of three editors differ and a reviewer decides, while a third has begun and a fourth would be next."""
    add_responses(engine, 1, editors_per_item=4)
    ada, ben, cid, dan, rita = add_people(engine, "Ada", "Ben", "Cid", "Dan", "Rita")
    for person, text in ((ada, "Adas"), (ben, "Bens")):
        task = work.next_task(engine, person, now=0.0)
        assert task is not None
        work.submit(engine, person, task.assignment_id, task.version, Submission("edited", text), now=1.0)
    begun = work.next_task(engine, cid, now=2.0)
    assert begun is not None
    with reading(engine) as connection:
        item_id = connection.execute(select(item.c.id)).scalar_one()
        shown = dispute(connection, item_id)
    decide(engine, rita, item_id, shown.version, "Both", "edited", now=3.0)
    assert work.next_task(engine, dan, now=4.0) is None
    with pytest.raises(Stale) as caught:
        work.submit(engine, cid, begun.assignment_id, begun.version, Submission("edited", "Cids"), now=5.0)
    assert caught.value.text == "Cids"
    assert work.next_task(engine, cid, now=6.0) is None
    assert editors_of_items(engine) == {"r0": 2}


def test_draws_of_known_items_depend_on_a_secret_and_are_not_drawn_anew(
    engine: Engine,
) -> None:
    def draws(connection: Connection) -> list[bool]:
        return [leases._draws_gold(connection, person, 0.5) for person in range(1, 129)]

    with writing(engine) as connection:
        first = draws(connection)
        assert draws(connection) == first
        assert 32 <= sum(first) <= 96
        secret = connection.execute(select(setting.c.value).where(setting.c.key == "draws")).scalar_one()
        assert len(secret) == 64
        connection.execute(setting.update().where(setting.c.key == "draws").values(value="another"))
        assert draws(connection) != first


def test_an_item_that_is_locked_for_a_moment_does_not_look_like_the_end(
    postgres_url: str, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    engine = open_database(postgres_url)
    add_responses(engine, 1, editors_per_item=2)
    ada, ben = add_people(engine, "Ada", "Ben")
    work.next_task(engine, ada, now=0.0)
    got = list[work.Task | None]()
    asking = threading.Thread(target=lambda: got.append(work.next_task(engine, ben, now=1.0)))
    with writing(engine) as connection:
        connection.execute(select(item.c.id).with_for_update(key_share=True))
        asking.start()
        asking.join(timeout=0.5)
        assert asking.is_alive()
    asking.join()
    assert got[0] is not None
    engine.dispose()


def run_all(threads: list[threading.Thread]) -> None:
    failures: list[Any] = []
    before, threading.excepthook = threading.excepthook, failures.append
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert not failures, failures[0]
