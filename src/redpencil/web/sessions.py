"""Who is signed in: signed cookies, the tokens that forms and scripts prove themselves with, and a limit on guessing.

A session lives in a cookie that this server signed; the database holds no session. It is over when it is too old or
when the person's `session_epoch` has moved on. The secret lies in the database, so all server processes share it.
"""

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from redpencil.web import schema
from redpencil.web.database import writing
from redpencil.web.events import record_event
from redpencil.web.people import Person, person_by_id, person_of_invite

SESSION_S = 30 * 24 * 3600
"""How long a session lasts."""
WINDOW_S = 600.0
"""The time over which attempts to join are counted."""
ADDRESS_LIMIT = 20
"""Failed attempts from one address in that time; a /64 of IPv6 is one address."""
GLOBAL_LIMIT = 1000
"""Failed attempts from anywhere in that time."""
_SECRET_KEY = "secret"


@dataclass(frozen=True, slots=True)
class Session:
    """What a session's cookie says. `nonce` tells one session of a person from another."""

    person_id: int
    epoch: int
    nonce: str
    issued: int


class TooManyAttemptsError(Exception):
    """Too many links that open nothing were tried; `wait_s` seconds later there is room again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; wait {wait_s:.0f} s")
        self.wait_s = wait_s


def server_secret(engine: Engine) -> str:
    """The secret that this project's cookies are signed with; made when it is first asked for."""
    query = select(schema.setting.c.value).where(schema.setting.c.key == _SECRET_KEY)
    with writing(engine) as connection:
        found = connection.execute(query).scalar()
        if found is None:
            _insert_once(connection, secrets.token_hex(32))
            found = connection.execute(query).scalar_one()
    return str(found)


def cookie_name(secret: str) -> str:
    """Cookies do not know ports: each project has a name of its own, so that two on one machine do not clash."""
    return f"redpencil_{hashlib.sha256(secret.encode()).hexdigest()[:8]}"


def new_session(person: Person, now: float) -> Session:
    """A session that begins now."""
    return Session(person.id, person.session_epoch, secrets.token_urlsafe(16), int(now))


def sign_session(secret: str, session: Session) -> str:
    """The value of the cookie."""
    return str(_serializer(secret).dumps([session.person_id, session.epoch, session.nonce, session.issued]))


def read_session(secret: str, cookie: str, now: float) -> Session | None:
    """The session of a cookie; None where it was forged or is too old."""
    try:
        content = _serializer(secret).loads(cookie)
    except BadData:
        return None
    session = Session(*content)
    return session if 0 <= now - session.issued + 60 < SESSION_S else None


def person_of_session(connection: Connection, session: Session) -> Person | None:
    """Who is signed in; None where the session was ended."""
    person = person_by_id(connection, session.person_id)
    valid = person is not None and person.revoked is None and person.session_epoch == session.epoch
    return person if valid else None


def csrf_token(secret: str, session: Session) -> str:
    """What a request that changes something must bring along: it is bound to the session and no other site knows it."""
    key = hashlib.sha256(b"csrf" + secret.encode()).digest()
    return hmac.new(key, f"{session.person_id}.{session.nonce}".encode(), hashlib.sha256).hexdigest()


def csrf_matches(secret: str, session: Session, given: str) -> bool:
    """Whether `given` is this session's token."""
    return hmac.compare_digest(csrf_token(secret, session).encode(), given.encode("utf-8", "replace"))


def join(engine: Engine, secret: str, token: str, address: str, now: float) -> Person | None:
    """Who the invite link belongs to; None where nobody's, which is counted.

    The attempt is written down before the link is looked at, in a transaction of its own: so many at once, on several
    server processes, are counted as well. A link that opens nothing goes into the audit log, with a mark by which
    attempts from one address can be told from others; attempts beyond the limit do not, or they would fill it.

    Raises:
        TooManyAttemptsError: before the link is looked at.
    """
    address_hash = _address_hash(secret, address)
    attempt = schema.login_attempt
    with writing(engine) as connection:
        connection.execute(delete(attempt).where(attempt.c.at < now - 10 * WINDOW_S))
        adding = insert(attempt).values(address_hash=address_hash, at=now, ok=0).returning(attempt.c.id)
        attempt_id = connection.execute(adding).scalar_one()
    with writing(engine) as connection:
        wait_s = _wait(connection, address_hash, now)
        if wait_s > 0:
            connection.execute(delete(attempt).where(attempt.c.id == attempt_id))
        else:
            person = person_of_invite(connection, token)
            if person is None:
                record_event(connection, "refused a link", at=now, detail={"address": address_hash[:12]})
            else:
                connection.execute(update(attempt).where(attempt.c.id == attempt_id).values(ok=1))
            return person
    raise TooManyAttemptsError(wait_s)


def _wait(connection: Connection, address_hash: str, now: float) -> float:
    """Seconds until there is room for another attempt; 0 where there is room now. The present one is among them."""
    attempt = schema.login_attempt
    failed = select(func.count(), func.min(attempt.c.at)).where(attempt.c.ok == 0, attempt.c.at > now - WINDOW_S)
    for query, limit in ((failed.where(attempt.c.address_hash == address_hash), ADDRESS_LIMIT), (failed, GLOBAL_LIMIT)):
        count, first = connection.execute(query).one()
        if count > limit:
            return max(float(first) + WINDOW_S - now, 1.0)
    return 0.0


def _insert_once(connection: Connection, secret: str) -> None:
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        statement = insert_postgresql(schema.setting).values(key=_SECRET_KEY, value=secret)
        connection.execute(statement.on_conflict_do_nothing())
    else:
        connection.execute(insert(schema.setting).values(key=_SECRET_KEY, value=secret))


def _serializer(secret: str) -> URLSafeSerializer:
    return URLSafeSerializer(secret, salt="session", signer_kwargs={"digest_method": hashlib.sha256})


def _address_hash(secret: str, address: str) -> str:
    """No address is stored; who knows the database without its secret cannot try them all."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        network = address
    else:
        ip = getattr(ip, "ipv4_mapped", None) or ip
        network = str(ipaddress.ip_network((int(ip), 64 if ip.version == 6 else 32), strict=False))
    return hmac.new(secret.encode(), network.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
