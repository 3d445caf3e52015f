"""People: their roles, and the invite links that they sign in with.

An invite link holds 256 random bits, of which the database keeps the SHA-256 only. It is the person's own way in, on
each of their devices, until it is renewed or the person is revoked; both end all sessions that it opened.
"""

import enum
import hashlib
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from redpencil.errors import RedpencilError
from redpencil.web import schema
from redpencil.web.database import reading, writing
from redpencil.web.events import record_event

LONGEST_NAME = 80
LONGEST_TOKEN = 100


class Role(enum.StrEnum):
    """What a person may do; an admin may do all that a reviewer may, a reviewer all that an editor may."""

    EDITOR = "editor"
    REVIEWER = "reviewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works in the project. Sessions of an earlier `session_epoch` are over."""

    id: int
    name: str
    role: Role
    session_epoch: int
    created: float
    revoked: float | None

    @property
    def reviews(self) -> bool:
        """Whether the person sees everybody's work and settles disputes."""
        return self.role is not Role.EDITOR

    @property
    def administers(self) -> bool:
        """Whether the person invites people and changes the project."""
        return self.role is Role.ADMIN


def add_person(
    engine: Engine, name: str, role: Role | str = Role.EDITOR, *, by: int | None = None, now: float | None = None
) -> str:
    """Add a person and return the token of their invite link, which nobody can read later.

    Raises:
        RedpencilError: if the name is empty, too long, not printable or taken, or there is no such role.
    """
    name, role = _checked_name(name), _checked_role(role)
    token, now = new_token(), time.time() if now is None else now
    try:
        with writing(engine) as connection:
            values = {"name": name, "role": role.value, "invite_hash": _hash(token), "session_epoch": 0, "created": now}
            connection.execute(insert(schema.person).values(values))
            record_event(connection, "invited", at=now, person_id=by, detail={"name": name, "role": role.value})
    except IntegrityError:
        raise RedpencilError(
            f"there is already a person called {name!r}", field="name", way_out="choose another name"
        ) from None
    return token


def renew_invite(
    engine: Engine, person_id: int, *, by: int | None = None, now: float | None = None, keep_sessions: bool = False
) -> str:
    """A new invite link for a person; the old one opens nothing any more. It also lets a revoked person in again.

    Args:
        engine: the database.
        person_id: whose link it is.
        by: who renews it.
        now: the time.
        keep_sessions: leave the person signed in where they are.

    Raises:
        RedpencilError: if there is no such person.
    """
    token, now = new_token(), time.time() if now is None else now
    with writing(engine) as connection:
        person = _existing(connection, person_id)
        epoch = person.session_epoch if keep_sessions else person.session_epoch + 1
        connection.execute(
            update(schema.person)
            .where(schema.person.c.id == person_id)
            .values(invite_hash=_hash(token), session_epoch=epoch, revoked=None)
        )
        record_event(connection, "renewed invite", at=now, person_id=by, detail={"name": person.name})
    return token


def revoke(engine: Engine, person_id: int, *, by: int | None = None, now: float | None = None) -> None:
    """End a person's sessions and their invite link. What they did stays.

    Raises:
        RedpencilError: if there is no such person, or it is the last admin.
    """
    now = time.time() if now is None else now
    with writing(engine) as connection:
        admins = select(schema.person.c.id).where(
            schema.person.c.role == Role.ADMIN.value, schema.person.c.revoked.is_(None)
        )
        # The lock is for two admins who revoke each other at once.
        found = connection.execute(admins.order_by(schema.person.c.id).with_for_update()).scalars().all()
        person = _existing(connection, person_id)
        if list(found) == [person_id]:
            raise RedpencilError(
                "this is the only admin, without whom nobody could invite people", way_out="add another admin first"
            )
        connection.execute(
            update(schema.person)
            .where(schema.person.c.id == person_id)
            .values(invite_hash=_hash(new_token()), session_epoch=person.session_epoch + 1, revoked=now)
        )
        record_event(connection, "revoked", at=now, person_id=by, detail={"name": person.name})


def person_of_invite(connection: Connection, token: str) -> Person | None:
    """Who an invite link belongs to; None where nobody's."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    found = _find(connection, schema.person.c.invite_hash == _hash(token))
    return None if found is None or found.revoked is not None else found


def person_by_id(connection: Connection, person_id: int) -> Person | None:
    """A person, revoked or not; None where there is none."""
    return _find(connection, schema.person.c.id == person_id)


def person_by_name(connection: Connection, name: str) -> Person | None:
    """A person, revoked or not; None where there is none."""
    return _find(connection, schema.person.c.name == name)


def list_people(connection: Connection) -> list[Person]:
    """All people in the order in which they were added, also those revoked."""
    rows = connection.execute(select(schema.person).order_by(schema.person.c.id)).mappings()
    return [_person(row) for row in rows]


def first_admin(engine: Engine) -> Person:
    """The admin who was added first; a project without one gets one called `admin`.

    Raises:
        RedpencilError: if somebody who is no admin has that name.
    """
    found = _first_admin(engine)
    if found is not None:
        return found
    try:
        add_person(engine, "admin", Role.ADMIN)
    except RedpencilError:  # another server process that starts now may have been faster
        found = _first_admin(engine)
        if found is None:
            raise
        return found
    return first_admin(engine)


def _first_admin(engine: Engine) -> Person | None:
    with reading(engine) as connection:
        return next((one for one in list_people(connection) if one.administers and one.revoked is None), None)


def new_token() -> str:
    """256 random bits, fit for a link."""
    return secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _find(connection: Connection, condition: object) -> Person | None:
    row = connection.execute(select(schema.person).where(condition)).mappings().first()  # type: ignore[arg-type]
    return None if row is None else _person(row)


def _existing(connection: Connection, person_id: int) -> Person:
    person = person_by_id(connection, person_id)
    if person is None:
        raise RedpencilError(f"there is no person {person_id}", way_out="look at the list of people")
    return person


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["name"], Role(row["role"]), row["session_epoch"], row["created"], row["revoked"])


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise RedpencilError(
            f"a name has 1 to {LONGEST_NAME} printable characters", field="name", way_out="choose another name"
        )
    return name


def _checked_role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise RedpencilError(
            f"there is no role {role!r}", field="role", way_out=f"choose one of {', '.join(Role)}"
        ) from None
