"""Many people at once: every item gets exactly as many editors as it should, on both databases."""

import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, select

from redpencil.web import work
from redpencil.web.database import open_database, reading, writing
from redpencil.web.errors import Refused, Stale
from redpencil.web.schema import assignment, event, item, submission
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
        names = sorted(task.external_id for task in got if task is not None)
        assert names == ["r0", "r1", "r2", "r3", "r4"]
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


PEOPLE, ITEMS, EDITORS, LEASE = 4, 3, 2, 100.0


class Office(RuleBasedStateMachine):
    """People at work beside a model: who holds or has done what, and every text that was said to be safe."""

    engine: Engine
    people: list[int]

    def __init__(self) -> None:
        super().__init__()
        with writing(self.engine) as connection:
            for table in (event, submission, assignment):
                connection.execute(delete(table))
            connection.execute(item.update().values(done=0))
        self.now = 0.0
        self.state: dict[tuple[int, int], str] = {}
        self.lease: dict[tuple[int, int], float] = {}
        self.text: dict[tuple[int, int], str] = {}
        self.version: dict[tuple[int, int], int] = {}
        self.ids: dict[tuple[int, int], int] = {}
        self.sent: dict[tuple[int, int], int] = {}

    def others(self, person: int, at: int) -> int:
        keys = [key for key in self.state if key[1] == at and key[0] != person]
        live = [key for key in keys if self.state[key] == "open" and self.lease[key] > self.now]
        return len(live) + sum(self.state[key] == "done" for key in keys)

    def holds(self, key: tuple[int, int]) -> bool:
        live = self.state[key] == "open" and self.lease[key] > self.now
        return live or self.others(*key) < EDITORS

    @rule(seconds=st.sampled_from([1.0, 60.0, 101.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(who=st.integers(0, PEOPLE - 1))
    def ask(self, who: int) -> None:
        person = self.people[who]
        task = work.next_task(self.engine, person, now=self.now)
        for key in [key for key in self.state if key[0] == person and self.state[key] == "open"]:
            if not self.holds(key):
                self.state[key] = "released"
        if task is None:
            free = [at for at in self.items() if self.others(person, at) < EDITORS]
            assert not [at for at in free if self.state.get((person, at)) in (None, "open", "released")]
            return
        key = (person, task.item_id)
        mine = [k for k in self.state if k[0] == person and self.state[k] == "open"]
        assert not mine or key in mine, "a new item while there is an open one"
        assert self.state.get(key) in (None, "open", "released")
        assert self.others(*key) < EDITORS
        assert task.draft == self.text.get(key, task.response)
        assert task.version == self.version.get(key, 0)
        self.state[key], self.lease[key] = "open", self.now + LEASE
        self.ids[key], self.version[key] = task.assignment_id, task.version

    def items(self) -> list[int]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(item.c.id)).scalars())

    def pick(self, pick: random.Random) -> tuple[int, int] | None:
        return pick.choice(sorted(self.state)) if self.state else None

    @rule(pick=st.randoms(use_true_random=False), stale=st.booleans())
    def save(self, pick: random.Random, stale: bool) -> None:
        key = self.pick(pick)
        if key is None:
            return
        text = f"draft {pick.randrange(10**6)}"
        version = self.version[key] - stale
        if stale or self.state[key] in ("done", "skipped"):
            with pytest.raises(Stale) as caught:
                work.save_draft(self.engine, key[0], self.ids[key], text, version, 1.0, now=self.now)
            assert caught.value.version == self.version[key]
            return
        holds = self.holds(key)
        saved = work.save_draft(self.engine, key[0], self.ids[key], text, version, 1.0, now=self.now)
        self.text[key], self.version[key] = text, saved.version
        assert (saved.lease_until > self.now) == holds
        if holds:
            self.state[key], self.lease[key] = "open", saved.lease_until

    @rule(pick=st.randoms(use_true_random=False), skip=st.booleans())
    def submit(self, pick: random.Random, skip: bool) -> None:
        key = self.pick(pick)
        if key is None:
            return
        text = f"text {pick.randrange(10**6)}"
        given = Submission("skipped" if skip else "edited", text)
        if self.state[key] in ("done", "skipped"):
            with pytest.raises(Stale):
                work.submit(self.engine, key[0], self.ids[key], self.version[key], given, now=self.now)
            return
        self.text[key] = text
        if self.holds(key):
            sent = work.submit(self.engine, key[0], self.ids[key], self.version[key], given, now=self.now)
            assert work.submit(self.engine, key[0], self.ids[key], self.version[key], given, now=self.now) == sent
            self.sent[key] = sent.submission_id
            self.state[key] = "skipped" if skip else "done"
        else:
            with pytest.raises(Stale):
                work.submit(self.engine, key[0], self.ids[key], self.version[key], given, now=self.now)
            self.state[key] = "released"
        self.version[key] += 1

    @rule(pick=st.randoms(use_true_random=False))
    def undo(self, pick: random.Random) -> None:
        keys = sorted(key for key in self.sent if self.state[key] in ("done", "skipped"))
        if not keys:
            return
        key = pick.choice(keys)
        if self.state[key] == "skipped" and self.others(*key) >= EDITORS:
            with pytest.raises(Refused):
                work.undo(self.engine, key[0], self.sent[key], now=self.now)
            return
        task = work.undo(self.engine, key[0], self.sent[key], now=self.now)
        self.state[key], self.lease[key], self.version[key] = "open", self.now + LEASE, task.version
        assert task.draft == self.text[key]

    @rule(pick=st.randoms(use_true_random=False))
    def release(self, pick: random.Random) -> None:
        keys = sorted(key for key in self.state if self.state[key] in ("open", "released"))
        if not keys:
            return
        key = pick.choice(keys)
        work.release(self.engine, key[0], self.ids[key], now=self.now)
        if self.state[key] == "open":
            self.state[key] = "released"
            self.version[key] += 1

    @invariant()
    def the_database_agrees(self) -> None:
        with reading(self.engine) as connection:
            rows = connection.execute(select(assignment)).all()
            done = {row.id: row.done for row in connection.execute(select(item.c.id, item.c.done))}
            current = connection.execute(
                select(submission.c.person_id, submission.c.item_id).where(submission.c.undone.is_(None))
            ).all()
        found = {(row.person_id, row.item_id): (row.state, row.version) for row in rows}
        assert found == {key: (state, self.version[key]) for key, state in self.state.items()}
        drafts = {(row.person_id, row.item_id): row.draft for row in rows if row.draft_saved is not None}
        assert drafts == self.text
        handed_in = {key for key, state in self.state.items() if state in ("done", "skipped")}
        assert sorted(tuple(row) for row in current) == sorted(handed_in)
        for at, count in done.items():
            assert count == sum(state == "done" for key, state in self.state.items() if key[1] == at)
            assert count <= EDITORS


@pytest.mark.slow
def test_people_at_work_agree_with_a_model(
    engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, ITEMS, editors_per_item=EDITORS, lease_s=LEASE)
    office = type("OfficeHere", (Office,), {"engine": engine, "people": add_people(engine, "A", "B", "C", "D")})
    run_state_machine_as_test(office, settings=settings(max_examples=40, stateful_step_count=40))  # type: ignore[no-untyped-call]
