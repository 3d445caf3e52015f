"""Who works on what: leases on items, counted under a lock so that no item gets more editors than it should.

The rule for locks on PostgreSQL: a transaction locks at most one person and then one item, and reads assignments only
in later statements, which see what was committed while it waited. SQLite runs one writing transaction at a time anyway.

Whoever takes a place or keeps one counts the others first. Their own time `now` may be older than what they find, by
what they waited for the lock or what the clocks of two servers differ by; then more leases look alive, never fewer.
"""

import hashlib
import hmac
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, insert, select, update

from redpencil.web.errors import Forbidden, NotFound
from redpencil.web.project import DECIDED, ProjectConfig
from redpencil.web.schema import assignment, item, person, setting

CLOCK_SLACK_S: Final = 3600.0
"""How much further than a lease lasts one may reach into the future: a clock that was a day ahead for a while must not
keep an item from everybody for that day.
"""


def lock_person(connection: Connection, person_id: int) -> None:
    """Hold off other tabs of the same person until this transaction ends.

    Raises:
        NotFound: if there is no such person.
    """
    query = select(person.c.id).where(person.c.id == person_id).with_for_update(key_share=True)
    if connection.execute(query).first() is None:
        raise NotFound(f"there is no person {person_id}")


def locked_assignment(connection: Connection, person_id: int, assignment_id: int) -> Row[Any]:
    """The assignment and what else rules what may be done with it, after its item is locked.

    Raises:
        NotFound, Forbidden: if it does not exist or is somebody else's.
    """
    own = select(assignment.c.item_id).where(assignment.c.id == assignment_id).scalar_subquery()
    connection.execute(select(item.c.id).where(item.c.id == own).with_for_update(key_share=True))
    known = item.c.known_answer.is_not(None).label("known")
    query = select(assignment, item.c.kind, known).join_from(assignment, item)
    return _owned(connection.execute(query.where(assignment.c.id == assignment_id)).first(), person_id, assignment_id)


def whole_assignment(connection: Connection, person_id: int, assignment_id: int) -> Row[Any]:
    """The assignment with its item, unlocked.

    Raises:
        NotFound, Forbidden: if it does not exist or is somebody else's.
    """
    columns = ("kind", "prompt", "context", "response", "second", "suggestion", "meta")
    query = select(assignment, *(item.c[name] for name in columns)).join_from(assignment, item)
    return _owned(connection.execute(query.where(assignment.c.id == assignment_id)).first(), person_id, assignment_id)


def lease_from(connection: Connection, row: Row[Any], config: ProjectConfig, now: float) -> float | None:
    """Until when the lease lasts if it is renewed now; None where others have taken the place meanwhile, or a reviewer
    has settled the item. A lease that has not run out is no reason to leave the others uncounted.
    """
    if row.known or _has_room(connection, row.item_id, row.person_id, config, now):
        return now + config.lease_s
    return None


def own_open(connection: Connection, person_id: int) -> int | None:
    """The assignment that the person has had open for longest."""
    query = select(assignment.c.id).where(assignment.c.person_id == person_id, assignment.c.state == "open")
    return connection.execute(query.order_by(assignment.c.opened, assignment.c.id).limit(1)).scalar()


def resume(connection: Connection, person_id: int, assignment_id: int, config: ProjectConfig, now: float) -> bool:
    """Renew the lease on an open assignment; where others have taken the place it is released, and keeps its draft."""
    row = locked_assignment(connection, person_id, assignment_id)
    if row.state != "open":
        return False
    lease_until = lease_from(connection, row, config, now)
    values = {"state": "released"} if lease_until is None else {"lease_until": lease_until}
    connection.execute(update(assignment).where(assignment.c.id == assignment_id).values(**values))
    return lease_until is not None


def find_item(connection: Connection, person_id: int, config: ProjectConfig, now: float) -> int | None:
    """An item that the person could take, locked if only so many may take it.

    Known-answer items come at random, at the share that the project asks for. Of the others those come first that
    most editors have done, so that items are finished one after the other; last those that the person gave back.
    """
    if config.known_answer_share and _draws_known(connection, person_id, config.known_answer_share):
        known = item.c.known_answer.is_not(None) & ~_has(person_id)
        drawn: int | None = connection.execute(_first(known)).scalar()
        if drawn is not None:
            return drawn
    for touched in (~_has(person_id), _has(person_id, "released")):
        for done in reversed(range(config.editors_per_item)):
            free = (item.c.done == done) & (_live_others(person_id, config, now) < config.editors_per_item - done)
            query = _first(free & item.c.known_answer.is_(None) & ~DECIDED & touched)
            found = _locked(connection, query)
            if found is not None:
                return found
    return None


def take(connection: Connection, person_id: int, item_id: int, config: ProjectConfig, now: float) -> int | None:
    """Open an assignment on a locked item; None where somebody was faster."""
    known = connection.execute(select(item.c.known_answer.is_not(None)).where(item.c.id == item_id)).scalar_one()
    if not known and not _has_room(connection, item_id, person_id, config, now):
        return None
    before = connection.execute(
        select(assignment.c.id, assignment.c.state).where(
            assignment.c.item_id == item_id, assignment.c.person_id == person_id
        )
    ).first()
    lease = {"state": "open", "lease_until": now + config.lease_s}
    if before is None:
        values = lease | {"item_id": item_id, "person_id": person_id, "opened": now}
        return int(connection.execute(insert(assignment).values(values).returning(assignment.c.id)).scalar_one())
    connection.execute(update(assignment).where(assignment.c.id == before.id).values(**lease))
    return int(before.id)


def _owned(row: Row[Any] | None, person_id: int, assignment_id: int) -> Row[Any]:
    if row is None:
        raise NotFound(f"there is no assignment {assignment_id}")
    if row.person_id != person_id:
        raise Forbidden(f"assignment {assignment_id} is somebody else's")
    return row


def _locked(connection: Connection, query: Select[Any]) -> int | None:
    """The item that a query finds, passing over those that others are just taking.

    Where nothing else is left it waits for them: somebody who saves a draft holds the lock for a moment too, which must
    not look like the end of the work.
    """
    for skip_locked in (True, False):
        locking = query.with_for_update(key_share=True, skip_locked=skip_locked, of=item)
        found: int | None = connection.execute(locking).scalar()
        if found is not None:
            return found
    return None


def _first(condition: ColumnElement[bool]) -> Select[Any]:
    return select(item.c.id).where(condition).order_by(item.c.position).limit(1)


def _has(person_id: int, state: str | None = None) -> ColumnElement[bool]:
    """Whether the person has an assignment on the item of the outer query."""
    mine = exists().where(assignment.c.item_id == item.c.id, assignment.c.person_id == person_id)
    return (mine if state is None else mine.where(assignment.c.state == state)).correlate(item)


def _live_others(person_id: int, config: ProjectConfig, now: float) -> ColumnElement[int]:
    """How many other people hold a lease on the item of the outer query."""
    lasting = (assignment.c.lease_until > now) & (assignment.c.lease_until <= now + config.lease_s + CLOCK_SLACK_S)
    live = (assignment.c.state == "open") & lasting & (assignment.c.person_id != person_id)
    query = select(func.count()).select_from(assignment).where(assignment.c.item_id == item.c.id, live)
    return query.correlate(item).scalar_subquery()


def _has_room(connection: Connection, item_id: int, person_id: int, config: ProjectConfig, now: float) -> bool:
    """Whether one more editor fits; the item must be locked."""
    query = select(item.c.done + _live_others(person_id, config, now)).where(item.c.id == item_id, ~DECIDED)
    taken = connection.execute(query).scalar()
    return taken is not None and bool(taken < config.editors_per_item)


def _draws_known(connection: Connection, person_id: int, share: float) -> bool:
    """A draw for the person's next item that comes out the same when it is repeated, and that nobody can foretell."""
    secret = connection.execute(select(setting.c.value).where(setting.c.key == "draws")).scalar_one()
    mine = select(func.count()).select_from(assignment).where(assignment.c.person_id == person_id)
    count = connection.execute(mine).scalar_one()
    drawn = hmac.digest(str(secret).encode(), f"{person_id} {count}".encode(), hashlib.sha256)
    return int.from_bytes(drawn[:6], "big") / 2**48 < share
