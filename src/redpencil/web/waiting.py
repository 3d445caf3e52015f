"""For a program that waits for people: how many of its items they still have to edit, and their edits."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, Engine, exists, select

from redpencil.records import HAS_TEXT, Edit
from redpencil.web.database import reading
from redpencil.web.items import export_edits
from redpencil.web.project import DECIDED, read_project
from redpencil.web.schema import assignment, item, person

_BATCH = 500


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
        batches = (names[start : start + _BATCH] for start in range(0, len(names), _BATCH))
        return sum(len(_unfinished(connection, batch, needed, people)) for batch in batches)


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
