"""Who may do what: the checks that every request goes through before anything else looks at it."""

import contextlib
import enum
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response

from redpencil.errors import RedpencilError
from redpencil.web import schema
from redpencil.web.database import keep, keep_first, reading, record_event, writing
from redpencil.web.schema import setting
from redpencil.web.security import comes_from_here, is_https

_KEY: Final = "address"
_ANY: Final = ("0.0.0.0", "::", "")


def checked_base_url(text: str) -> str:
    """An address that the pages work at, without a slash at its end.

    Raises:
        RedpencilError: if it is not `http` or `https`, a name and maybe a port, and nothing else.
    """
    found = text.strip().rstrip("/")
    problem = None
    try:
        parts = urlsplit(found)
        _ = parts.port
    except ValueError as error:
        problem = f"this is no address ({error})"
    else:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "an address begins with http:// or https:// and a name"
        elif parts.path or parts.query or parts.fragment:
            problem = f"the service cannot live below a path ({parts.path or found})"
        elif parts.username is not None:
            problem = "an address holds nobody's name or password"
    if problem is not None:
        hint = "give a name of its own, such as https://edits.example.org, or a port, https://example.org:8008"
        raise RedpencilError(f"{text!r}: {problem}", field="--base-url", hint=hint)
    return found


def url_of(host: str, port: int) -> str:
    """An address that a browser on this machine can open."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def listens_to_all(host: str) -> bool:
    """Whether this is no address but stands for all that a machine has, so that no link can be made of it."""
    return host in _ANY


def names_this_machine(host: str) -> bool:
    """Whether a request's `Host` can be used in links: it is an address, or a name that this machine has.

    Any other name was made up by whoever sent the request, or belongs to a proxy that `--base-url` should name.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.lower() in ("localhost", socket.gethostname().lower())
    return True


def loopback_port(url: str) -> int | None:
    """The port of an address that only this machine finds; None for all others."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    return (parts.port or {"http": 80}.get(parts.scheme, 443)) if near else None


def remember_address(connection: Connection, url: str) -> None:
    """Keep where the service was last started, for links that are made beside it."""
    keep(connection, _KEY, url)


def last_address(connection: Connection) -> str | None:
    """Where the service was last started; None where it never was."""
    found = connection.execute(select(setting.c.value).where(setting.c.key == _KEY)).scalar()
    return found if isinstance(found, str) else None


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
        raise _taken(name) from None
    return token


def renew_invite(engine: Engine, person_id: int, *, by: int | None = None, now: float | None = None) -> str:
    """A new invite link for a person; the old one opens nothing any more. It also lets a revoked person in again.

    Args:
        engine: the database.
        person_id: whose link it is.
        by: who renews it.
        now: the time.

    Raises:
        RedpencilError: if there is no such person.
    """
    token, now = new_token(), time.time() if now is None else now
    with writing(engine) as connection:
        person = _existing(connection, person_id)
        connection.execute(
            update(schema.person)
            .where(schema.person.c.id == person_id)
            .values(invite_hash=_hash(token), session_epoch=person.session_epoch + 1, revoked=None)
        )
        record_event(connection, "renewed invite", at=now, person_id=by, detail={"name": person.name})
    return token


def change_person(
    engine: Engine,
    person_id: int,
    *,
    name: str | None = None,
    role: Role | str | None = None,
    by: int | None = None,
    now: float | None = None,
) -> None:
    """Give a person another name or role; it counts from their next request on, and their link and sessions stay.

    Raises:
        RedpencilError: if there is no such person, the name cannot be or is taken, or the last admin would be none.
    """
    now = time.time() if now is None else now
    wanted = {} if name is None else {"name": _checked_name(name)}
    wanted |= {} if role is None else {"role": _checked_role(role).value}
    try:
        with writing(engine) as connection:
            admins = _locked_admins(connection)
            person = _existing(connection, person_id)
            changed = {key: value for key, value in wanted.items() if value != getattr(person, key)}
            if not changed:
                return
            if "role" in changed and admins == [person_id]:
                raise _last_admin()
            connection.execute(update(schema.person).where(schema.person.c.id == person_id).values(changed))
            detail = {"name": person.name, **{f"new_{key}": value for key, value in changed.items()}}
            record_event(connection, "changed a person", at=now, person_id=by, detail=detail)
    except IntegrityError:
        raise _taken(wanted["name"]) from None


def revoke(engine: Engine, person_id: int, *, by: int | None = None, now: float | None = None) -> None:
    """End a person's sessions and their invite link. What they did stays.

    Raises:
        RedpencilError: if there is no such person, or it is the last admin.
    """
    now = time.time() if now is None else now
    with writing(engine) as connection:
        admins = _locked_admins(connection)
        person = _existing(connection, person_id)
        if admins == [person_id]:
            raise _last_admin()
        connection.execute(
            update(schema.person)
            .where(schema.person.c.id == person_id)
            .values(invite_hash=_hash(new_token()), session_epoch=person.session_epoch + 1, revoked=now)
        )
        record_event(connection, "revoked", at=now, person_id=by, detail={"name": person.name})


def end_sessions(engine: Engine, person_id: int, *, now: float | None = None) -> None:
    """Sign a person out everywhere; their link stays as it is."""
    now = time.time() if now is None else now
    epoch = schema.person.c.session_epoch
    with writing(engine) as connection:
        connection.execute(update(schema.person).where(schema.person.c.id == person_id).values(session_epoch=epoch + 1))
        record_event(connection, "signed out", at=now, person_id=person_id)


def _locked_admins(connection: Connection) -> list[int]:
    """Who administers; two admins who revoke or demote each other at once wait for each other here."""
    admins = select(schema.person.c.id).where(
        schema.person.c.role == Role.ADMIN.value, schema.person.c.revoked.is_(None)
    )
    return list(connection.execute(admins.order_by(schema.person.c.id).with_for_update()).scalars())


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
    """The admin who was added first; a project without one gets one called `admin`, or `admin 2` where somebody else
    is called that, and so on.
    """
    for number in count(1):
        found = _first_admin(engine)
        if found is not None:
            return found
        # Taken, or another server process that starts now was faster.
        with contextlib.suppress(RedpencilError):
            add_person(engine, "admin" if number == 1 else f"admin {number}", Role.ADMIN)
    raise AssertionError


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
        raise RedpencilError(f"there is no person {person_id}", hint="look at the list of people")
    return person


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["name"], Role(row["role"]), row["session_epoch"], row["created"], row["revoked"])


def _taken(name: str) -> RedpencilError:
    return RedpencilError(f"there is already a person called {name!r}", field="name", hint="choose another name")


def _last_admin() -> RedpencilError:
    return RedpencilError(
        "this is the only admin, without whom nobody could invite people", hint="add another admin first"
    )


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise RedpencilError(
            f"a name has 1 to {LONGEST_NAME} printable characters", field="name", hint="choose another name"
        )
    return name


def _checked_role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        raise RedpencilError(
            f"there is no role {role!r}", field="role", hint=f"choose one of {', '.join(Role)}"
        ) from None


UNUSED_S: Final = 24 * 3600.0
"""After this time another start of a server ends a link that nobody has used."""
_KEY_ENTRY: Final = "entry "


def new_entry(engine: Engine, now: float) -> str:
    """The token of a link for the first admin, who is made where there is none. Of it too only the hash is kept."""
    admin = first_admin(engine)
    token = secrets.token_urlsafe(32)
    with writing(engine) as connection:
        rows = connection.execute(select(setting).where(setting.c.key.startswith(_KEY_ENTRY, autoescape=True))).all()
        old = [row.key for row in rows if row.value["made"] < now - UNUSED_S]
        connection.execute(delete(setting).where(setting.c.key.in_(old)))
        connection.execute(insert(setting).values(key=_key(token), value={"person": admin.id, "made": now}))
    return token


def person_of_entry(connection: Connection, token: str) -> Person | None:
    """Whom a link of the server's start lets in; None where it was used, or is none."""
    found = connection.execute(select(setting.c.value).where(setting.c.key == _key(token))).scalar()
    person = None if found is None else person_by_id(connection, found["person"])
    return None if person is None or person.revoked is not None else person


def use_entry(engine: Engine, token: str) -> bool:
    """Use a link up; False where somebody else was faster."""
    with writing(engine) as connection:
        return connection.execute(delete(setting).where(setting.c.key == _key(token))).rowcount == 1


def _key(token: str) -> str:
    return _KEY_ENTRY + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


SESSION_S = 30 * 24 * 3600
"""How long a session lasts."""
CLOCK_S = 24 * 3600
"""How far the clock may have been put back since a session began."""
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
            keep_first(connection, _SECRET_KEY, secrets.token_hex(32))
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
    return session if -CLOCK_S <= now - session.issued < SESSION_S else None


def person_of_session(connection: Connection, session: Session) -> Person | None:
    """Who is signed in; None where the session was ended."""
    person = person_by_id(connection, session.person_id)
    valid = person is not None and person.revoked is None and person.session_epoch == session.epoch
    return person if valid else None


def csrf_token(secret: str, session: Session) -> str:
    """What a request that changes something must bring along: it is bound to the person, and no other site knows it.

    It is the same for all sessions of a person's epoch, so that a page goes on where the person opens their link again
    in another tab.
    """
    key = hashlib.sha256(b"csrf" + secret.encode()).digest()
    return hmac.new(key, f"{session.person_id}.{session.epoch}".encode(), hashlib.sha256).hexdigest()


def csrf_matches(secret: str, session: Session, given: str) -> bool:
    """Whether `given` is the token of this session's person."""
    return hmac.compare_digest(csrf_token(secret, session).encode(), given.encode("utf-8", "replace"))


def join(engine: Engine, secret: str, token: str, address: str, now: float) -> Person | None:
    """Who the invite link belongs to, or that of the server's start; None where nobody's, which is counted.

    A link that opens something always does, whatever others behind the same address have tried: nobody guesses 256
    bits, and no limit on guessing is needed to make that hopeless. The limit keeps those who try from filling the
    database: beyond it an attempt is looked up and forgotten. Up to it an attempt is written down first, in a
    transaction of its own, and counted then: so many at once, on several server processes, are counted as well. It also
    goes into the audit log, with a mark by which attempts from one address can be told from others.

    Raises:
        TooManyAttemptsError: if the link opens nothing and the limit is reached.
    """
    address_hash = _address_hash(secret, address)
    with reading(engine) as connection:
        person, once = person_of_invite(connection, token), None
        if person is None:
            once = person_of_entry(connection, token)
        wait_s = 0.0 if person or once else _wait(connection, address_hash, now, room_for=1)
    if wait_s > 0:
        raise TooManyAttemptsError(wait_s)
    if once is not None and use_entry(engine, token):
        person = once
    attempt_id = _note(engine, address_hash, now, opened=person is not None)
    if person is not None:
        return person
    with writing(engine) as connection:
        wait_s = _wait(connection, address_hash, now)
        if wait_s > 0:
            connection.execute(delete(schema.login_attempt).where(schema.login_attempt.c.id == attempt_id))
        else:
            record_event(connection, "refused a link", at=now, detail={"address": address_hash[:12]})
    if wait_s > 0:
        raise TooManyAttemptsError(wait_s)
    return None


def _note(engine: Engine, address_hash: str, now: float, *, opened: bool) -> int:
    """Write an attempt down, and throw old ones away."""
    attempt = schema.login_attempt
    with writing(engine) as connection:
        connection.execute(delete(attempt).where(attempt.c.at < now - 10 * WINDOW_S))
        adding = insert(attempt).values(address_hash=address_hash, at=now, ok=int(opened)).returning(attempt.c.id)
        return int(connection.execute(adding).scalar_one())


def _wait(connection: Connection, address_hash: str, now: float, *, room_for: int = 0) -> float:
    """Seconds until there is room for so many more failed attempts; 0 where there is room now."""
    attempt = schema.login_attempt
    failed = select(func.count(), func.min(attempt.c.at)).where(attempt.c.ok == 0, attempt.c.at > now - WINDOW_S)
    for query, limit in ((failed.where(attempt.c.address_hash == address_hash), ADDRESS_LIMIT), (failed, GLOBAL_LIMIT)):
        count, first = connection.execute(query).one()
        if count + room_for > limit:
            return max(float(first) + WINDOW_S - now, 1.0)
    return 0.0


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


EVERYBODY = frozenset(Role)
REVIEWERS = frozenset({Role.REVIEWER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Site:
    """What the application knows of itself.

    Args:
        engine: the database.
        secret: what its cookies are signed with.
        base_url: where people find it, if not where it listens.
        address: where it was started; None where something else than `serve` did that.
    """

    engine: Engine
    secret: str
    base_url: str | None
    address: str | None = None

    def link(self, request: Request, path: str) -> str:
        """The full address of a page, to be sent to somebody.

        Raises:
            RedpencilError: if the request came by a name that is not known to be this service's.
        """
        if self.base_url is not None:
            return self.base_url + path
        if self.address is not None and not names_this_machine(request.url.hostname or ""):
            raise RedpencilError(
                f"it is not known whether links with the name {request.url.hostname!r} lead here",
                hint=f"start the server with --base-url and the address that people use, or open {self.address}",
            )
        return str(request.base_url).rstrip("/") + path


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who is signed in, and the site that they came to."""

    person: Person
    session: Session
    csrf: str
    site: Site

    @property
    def engine(self) -> Engine:
        return self.site.engine


class DeniedError(Exception):
    """A request that is not let in. `status` is 401 for nobody signed in and 403 for what they may not do."""

    def __init__(self, status: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.status, self.problem, self.hint = status, problem, hint


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    site: Site = request.app.state.site
    return site


def find_visitor(request: Request) -> Visitor | None:
    """Who is signed in; None where nobody is."""
    site = site_of(request)
    cookie = request.cookies.get(cookie_name(site.secret))
    session = None if cookie is None else read_session(site.secret, cookie, time.time())
    if session is None:
        return None
    with reading(site.engine) as connection:
        person = person_of_session(connection, session)
    return None if person is None else Visitor(person, session, csrf_token(site.secret, session), site)


def admit(request: Request, roles: frozenset[Role] = EVERYBODY) -> Visitor:
    """Who is signed in and may do this.

    Raises:
        DeniedError: if nobody is signed in, or they have none of the roles.
    """
    visitor = find_visitor(request)
    if visitor is None:
        raise DeniedError(401, "You are not signed in.", "Open your invite link again, or ask an admin for a new one.")
    if visitor.person.role not in roles:
        raise DeniedError(403, f"This is not open to the role {visitor.person.role}.", "Ask an admin.")
    return visitor


def check_origin(request: Request) -> None:
    """Refuse what another site's page asks for.

    Raises:
        DeniedError: if the browser says that the request comes from elsewhere.
    """
    base_url = site_of(request).base_url
    if not comes_from_here(request, base_url):
        raise DeniedError(
            403,
            "The request comes from another site.",
            "Use the pages of this server. Behind a proxy, start it with --base-url and the address that people use.",
        )


def check_token(request: Request, visitor: Visitor, given: str | None) -> None:
    """Refuse a request that changes something and does not bring the person's CSRF token.

    Raises:
        DeniedError: if the token is missing or another person's.
    """
    if given is None or not csrf_matches(site_of(request).secret, visitor.session, given):
        raise DeniedError(403, "The CSRF token is missing or belongs to somebody else.", "Reload the page.")


@dataclass(frozen=True, slots=True)
class Guard:
    """A dependency that lets people with one of the roles in; requests that change something need the CSRF token too.

    Raises:
        DeniedError: if the request is refused.
    """

    roles: frozenset[Role] = EVERYBODY

    def __call__(self, request: Request) -> Visitor:
        visitor = admit(request, self.roles)
        if request.method not in ("GET", "HEAD"):
            check_origin(request)
            check_token(request, visitor, request.headers.get("x-csrf-token"))
        return visitor


SignedIn = Annotated[Visitor, Depends(Guard())]
Reviewer = Annotated[Visitor, Depends(Guard(REVIEWERS))]
Admin = Annotated[Visitor, Depends(Guard(ADMINS))]


def set_session(request: Request, response: Response, session: Session) -> None:
    """Sign somebody in with this answer."""
    site = site_of(request)
    response.set_cookie(
        cookie_name(site.secret),
        sign_session(site.secret, session),
        max_age=SESSION_S,
        httponly=True,
        samesite="lax",
        secure=is_https(request, site.base_url),
    )


def end_session(request: Request, response: Response) -> None:
    """Sign them out with this answer, on all their devices: a cookie that was copied is worth nothing from now on."""
    visitor = find_visitor(request)
    if visitor is not None:
        end_sessions(site_of(request).engine, visitor.person.id)
    response.delete_cookie(cookie_name(site_of(request).secret), httponly=True, samesite="lax")
