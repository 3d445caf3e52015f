"""For a program that waits for people: what it asks them, how much they still have to edit, and their edits."""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

from sqlalchemy import Connection, Engine, exists, insert, select, update

from redpencil.records import HAS_TEXT, Edit
from redpencil.web.database import lock_out_others, reading, writing
from redpencil.web.items import export_edits
from redpencil.web.project import DECIDED, read_project
from redpencil.web.schema import asker, assignment, item, person

_T = TypeVar("_T")
_BATCH = 500
_LOCK = 0x61_736B
"""The advisory lock of PostgreSQL for who asks."""


def ask_for(engine: Engine, name: str, ids: Sequence[str]) -> None:
    """Note that a stage of a run needs people's edits of these responses, and of no others.

    A response that it asked for before is withdrawn, unless another stage needs it: nobody is given it any more, and
    edits that were handed in stay.

    Args:
        engine: of the project.
        name: the stage's folder.
        ids: of responses in the project.
    """
    with writing(engine) as connection:
        lock_out_others(connection, _LOCK)
        known = dict(connection.execute(select(asker.c.item_id, asker.c.withdrawn).where(asker.c.name == name)).all())
        wanted = set[int]()
        for batch in _batches(ids):
            query = select(item.c.id).where(item.c.kind == "edit", item.c.external_id.in_(batch))
            wanted.update(connection.scalars(query))
        new = [{"item_id": number, "name": name} for number in sorted(wanted - known.keys())]
        if new:
            connection.execute(insert(asker), new)
        _mark(connection, name, [number for number in wanted if known.get(number) is not None], None)
        _mark(
            connection,
            name,
            [number for number in known if number not in wanted and known[number] is None],
            time.time(),
        )


def withdraw_others(engine: Engine, folder: str, names: Collection[str]) -> None:
    """Withdraw what stages in a run's folder asked for that are not among these `names`, as `ask_for` does."""
    with writing(engine) as connection:
        lock_out_others(connection, _LOCK)
        inside = asker.c.name.startswith(f"{folder}/", autoescape=True)
        asking = select(asker.c.name).distinct().where(inside, asker.c.withdrawn.is_(None))
        for name in set(connection.scalars(asking)) - set(names):
            current = (asker.c.name == name) & asker.c.withdrawn.is_(None)
            connection.execute(update(asker).where(current).values(withdrawn=time.time()))


def _mark(connection: Connection, name: str, numbers: Sequence[int], withdrawn: float | None) -> None:
    for batch in _batches(numbers):
        rows = (asker.c.name == name) & asker.c.item_id.in_(batch)
        connection.execute(update(asker).where(rows).values(withdrawn=withdrawn))


def _batches(names: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (names[start : start + _BATCH] for start in range(0, len(names), _BATCH))


def count_waiting(engine: Engine, names: Sequence[str]) -> int:
    """Count the responses of these ids that people still have to edit.

    One is done when as many people as the project says have handed something in, or a reviewer has decided; also when
    everybody who works on the project has skipped it or handed it in, since nobody is left who will be given it.
    """
    with reading(engine) as connection:
        needed = read_project(connection).editors_per_item
        has_items = exists().where(assignment.c.person_id == person.c.id)
        working = select(person.c.id).where(person.c.revoked.is_(None), has_items)
        people = set(connection.scalars(working))
        return sum(len(_unfinished(connection, batch, needed, people)) for batch in _batches(names))


def _unfinished(connection: Connection, names: Sequence[str], needed: int, people: set[int]) -> list[int]:
    open_items = select(item.c.id).where(
        item.c.kind == "edit", item.c.external_id.in_(names), item.c.done < needed, ~DECIDED
    )
    ids = list(connection.scalars(open_items))
    states = select(assignment.c.item_id, assignment.c.person_id, assignment.c.state)
    rows = connection.execute(states.where(assignment.c.item_id.in_(ids), assignment.c.state.in_(("done", "skipped"))))
    left: dict[int, set[int]] = {number: set(people) for number in ids}
    skipped = set()
    for number, who, state in rows:
        left[number].discard(who)
        if state == "skipped":
            skipped.add(number)
    return [number for number in ids if number not in skipped or left[number]]


def edits_of(engine: Engine, names: Collection[str]) -> dict[str, Edit]:
    """Read the edit of each response that has one, by id: a reviewer's decision, else the first with a text that was
    handed in, else the first without.
    """
    wanted, found = set(names), dict[str, Edit]()
    with reading(engine) as connection:
        for edit in export_edits(connection):
            before = found.get(edit.id)
            if edit.id in wanted and (before is None or (before.outcome not in HAS_TEXT and edit.outcome in HAS_TEXT)):
                found[edit.id] = edit
    return found
