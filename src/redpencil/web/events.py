"""The audit log: who did what and when. Rows are added and never changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from redpencil.web import schema

MOST_EVENTS = 500
"""Of one page of the log."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the log. `person` is the name of who did it; None where nobody was signed in."""

    id: int
    at: float
    person_id: int | None
    person: str | None
    action: str
    item_id: int | None
    detail: Mapping[str, Any]


def record_event(
    connection: Connection,
    action: str,
    *,
    at: float,
    person_id: int | None = None,
    item_id: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a line to the log, in the transaction of what it tells of."""
    connection.execute(
        insert(schema.event).values(
            at=at, action=action, person_id=person_id, item_id=item_id, detail=dict(detail or {})
        )
    )


def list_events(connection: Connection, *, before: int | None = None, limit: int = 100) -> list[Event]:
    """The newest lines first; `before` is the id of the oldest line already seen."""
    query = (
        select(schema.event, schema.person.c.name)
        .join(schema.person, schema.person.c.id == schema.event.c.person_id, isouter=True)
        .order_by(schema.event.c.id.desc())
        .limit(min(limit, MOST_EVENTS))
    )
    if before is not None:
        query = query.where(schema.event.c.id < before)
    return [
        Event(row.id, row.at, row.person_id, row.name, row.action, row.item_id, row.detail)
        for row in connection.execute(query)
    ]
