"""Leases on items, counted under a lock so that no item gets more editors than it should.

The rule for locks on PostgreSQL: a transaction locks at most one person and then one item, and reads assignments only
in later statements, which see what was committed while it waited. SQLite runs one writing transaction at a time anyway.

A transaction counts the other leases before it takes or renews one. Its time `now` may be older than theirs, by the
wait for the lock or the difference between the clocks of two servers; then more leases look alive, never fewer.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, insert, select, update

from redpencil.web.database import read_value
from redpencil.web.errors import Forbidden, NotFound
from redpencil.web.project import DECIDED, IS_GOLD, WITHDRAWN, ProjectConfig
from redpencil.web.schema import assignment, item, person

CLOCK_SLACK_S: Final = 3600.0
"""Time by which a lease may end later than `lease_s` from now: a clock that was a day ahead for a while must not block
an item for that day.
"""


def lock_person(connection: Connection, person_id: int) -> None:
    """Block other tabs of the same person until this transaction ends.

    Raises:
        NotFound: if the person does not exist.
    """
    query = select(person.c.id).where(person.c.id == person_id).with_for_update(key_share=True)
    if connection.execute(query).first() is None:
        raise NotFound(f"there is no person {person_id}")


_COLUMNS: Final = ("kind", "prompt", "context", "response", "second", "suggestion", "meta")
WITH_ITEM: Final = select(assignment, *(item.c[name] for name in _COLUMNS), IS_GOLD.label("gold")).join_from(
    assignment, item
)
"""Assignments, each with its item and whether that is a gold item."""


def locked_assignment(connection: Connection, person_id: int, assignment_id: int) -> Row[Any]:
    """Lock the item of an assignment, and read the assignment, a row of `WITH_ITEM`.

    Raises:
        NotFound, Forbidden: if it does not exist or belongs to another person.
    """
    own = select(assignment.c.item_id).where(assignment.c.id == assignment_id).scalar_subquery()
    connection.execute(select(item.c.id).where(item.c.id == own).with_for_update(key_share=True))
    return own_assignment(connection, person_id, assignment_id)


def own_assignment(connection: Connection, person_id: int, assignment_id: int) -> Row[Any]:
    """Read an assignment, a row of `WITH_ITEM`, without a lock.

    Raises:
        NotFound, Forbidden: if it does not exist or belongs to another person.
    """
    row = connection.execute(WITH_ITEM.where(assignment.c.id == assignment_id)).first()
    if row is None:
        raise NotFound(f"there is no assignment {assignment_id}")
    if row.person_id != person_id:
        raise Forbidden(f"assignment {assignment_id} belongs to another person")
    return row


def change_assignment(connection: Connection, assignment_id: int, values: Mapping[str, Any]) -> None:
    """Change columns of an assignment whose item is locked."""
    connection.execute(update(assignment).where(assignment.c.id == assignment_id).values(**values))


def lease_from(connection: Connection, row: Row[Any], config: ProjectConfig, now: float) -> float | None:
    """The end of a lease that is renewed now; None if others have taken the place, or a reviewer has settled the item.
    The others are counted even if the lease has not run out.
    """
    if row.gold or _has_room(connection, row.item_id, row.person_id, config, now):
        return now + config.lease_s
    return None


def own_open(connection: Connection, person_id: int) -> int | None:
    """The oldest open assignment of the person."""
    query = select(assignment.c.id).where(assignment.c.person_id == person_id, assignment.c.state == "open")
    return connection.execute(query.order_by(assignment.c.opened, assignment.c.id).limit(1)).scalar()


def resume(connection: Connection, person_id: int, assignment_id: int, config: ProjectConfig, now: float) -> bool:
    """Renew the lease on an open assignment, or release it, with its draft, if others have taken the place.

    One that was withdrawn is released too, unless the person has begun to write.
    """
    row = locked_assignment(connection, person_id, assignment_id)
    if row.state != "open":
        return False
    unwanted = row.draft_saved is None and connection.scalar(select(WITHDRAWN).where(item.c.id == row.item_id))
    lease_until = None if unwanted else lease_from(connection, row, config, now)
    values = {"state": "released"} if lease_until is None else {"lease_until": lease_until}
    change_assignment(connection, assignment_id, values)
    return lease_until is not None


def find_item(connection: Connection, person_id: int, config: ProjectConfig, now: float) -> int | None:
    """Find an item that the person could take, and lock it unless it is a gold item, which any number may take.

    Gold items come at random, at the share that the project sets. Of the others, those that most editors have done come
    first, so that items are finished one after the other; those that the person gave back come last.
    """
    if config.known_answer_share and _draws_gold(connection, person_id, config.known_answer_share):
        drawn: int | None = connection.scalar(_first(IS_GOLD & ~_has(person_id)))
        if drawn is not None:
            return drawn
    for touched in (~_has(person_id), _has(person_id, "released")):
        for done in reversed(range(config.editors_per_item)):
            free = (item.c.done == done) & (_live_others(person_id, config, now) < config.editors_per_item - done)
            locked = _locked(connection, _first(free & ~IS_GOLD & ~DECIDED & ~WITHDRAWN & touched))
            if locked is not None:
                return locked
    return None


def take(connection: Connection, person_id: int, item_id: int, config: ProjectConfig, now: float) -> int | None:
    """Open an assignment on a locked item; None if another person was faster."""
    gold = connection.execute(select(IS_GOLD).where(item.c.id == item_id)).scalar_one()
    if not gold and not _has_room(connection, item_id, person_id, config, now):
        return None
    own = (assignment.c.item_id == item_id) & (assignment.c.person_id == person_id)
    before: int | None = connection.scalar(select(assignment.c.id).where(own))
    lease = {"state": "open", "lease_until": now + config.lease_s}
    if before is None:
        values = lease | {"item_id": item_id, "person_id": person_id, "opened": now}
        return int(connection.execute(insert(assignment).values(values).returning(assignment.c.id)).scalar_one())
    change_assignment(connection, before, lease)
    return before


def _locked(connection: Connection, query: Select[Any]) -> int | None:
    """Lock the first item of a query, preferring items that no other transaction has locked.

    If all are locked it waits: a person who saves a draft also holds the lock for a moment, which must not look like
    the end of the work.
    """
    for skip_locked in (True, False):
        locking = query.with_for_update(key_share=True, skip_locked=skip_locked, of=item)
        locked: int | None = connection.execute(locking).scalar()
        if locked is not None:
            return locked
    return None


def _first(condition: ColumnElement[bool]) -> Select[Any]:
    return select(item.c.id).where(condition).order_by(item.c.position).limit(1)


def _has(person_id: int, state: str | None = None) -> ColumnElement[bool]:
    """Return whether the person has an assignment on the item of the outer query."""
    mine = exists().where(assignment.c.item_id == item.c.id, assignment.c.person_id == person_id)
    return (mine if state is None else mine.where(assignment.c.state == state)).correlate(item)


def _live_others(person_id: int, config: ProjectConfig, now: float) -> ColumnElement[int]:
    """The number of other people with a lease on the item of the outer query."""
    lasting = (assignment.c.lease_until > now) & (assignment.c.lease_until <= now + config.lease_s + CLOCK_SLACK_S)
    live = (assignment.c.state == "open") & lasting & (assignment.c.person_id != person_id)
    query = select(func.count()).select_from(assignment).where(assignment.c.item_id == item.c.id, live)
    return query.correlate(item).scalar_subquery()


def _has_room(connection: Connection, item_id: int, person_id: int, config: ProjectConfig, now: float) -> bool:
    """Return whether the item, which must be locked, has room for one more editor."""
    query = select(item.c.done + _live_others(person_id, config, now)).where(item.c.id == item_id, ~DECIDED)
    taken = connection.execute(query).scalar()
    return taken is not None and bool(taken < config.editors_per_item)


def _draws_gold(connection: Connection, person_id: int, share: float) -> bool:
    """Draw whether the person's next item is a gold item: repeatable, but not predictable without the secret."""
    secret = read_value(connection, "draws")
    mine = select(func.count()).select_from(assignment).where(assignment.c.person_id == person_id)
    count = connection.execute(mine).scalar_one()
    drawn = hmac.digest(str(secret).encode(), f"{person_id} {count}".encode(), hashlib.sha256)
    return int.from_bytes(drawn[:6], "big") / 2**48 < share
