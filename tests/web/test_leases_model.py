"""People at work, in any order, beside a model of who holds what, on both databases."""

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Engine, delete, select

from redpencil.web import work
from redpencil.web.database import reading, writing
from redpencil.web.errors import Refused, Stale
from redpencil.web.schema import assignment, event, item, submission
from redpencil.web.work import Submission, Task

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
        return self.others(*key) < EDITORS

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
        key = (person, self.item_of(task))
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

    def item_of(self, task: Task) -> int:
        with reading(self.engine) as connection:
            here = assignment.c.id == task.assignment_id
            return connection.execute(select(assignment.c.item_id).where(here)).scalar_one()

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
