"""Addresses, people, links and sessions, and the checks that every request passes first."""

import contextlib
import enum
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import Depends
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response

from redpencil.errors import RedpencilError
from redpencil.web import schema
from redpencil.web.database import SECRET_KEY, read_value, reading, record_event, store_value, store_value_once, writing
from redpencil.web.schema import setting
from redpencil.web.security import comes_from_here, is_https

_ADDRESS: Final = "address"
_ANY: Final = ("0.0.0.0", "::", "")


def checked_base_url(text: str) -> str:
    """Check an address for the pages, and strip its trailing slash.

    Raises:
        RedpencilError: if it is not made of `http` or `https`, a name and at most a port.
    """
    url = text.strip().rstrip("/")
    problem = None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        problem = f"this is not an address ({error})"
    else:
        if parts.scheme not in ("http", "https") or not parts.hostname:
            problem = "an address begins with http:// or https:// and a name"
        elif parts.path or parts.query or parts.fragment:
            problem = f"the service cannot live below a path ({parts.path or url})"
        elif parts.username is not None:
            problem = "an address must not contain a user name or password"
    if problem is not None:
        hint = "give a name of its own, such as https://edits.example.org, or a port, https://example.org:8008"
        raise RedpencilError(f"{text!r}: {problem}", field="--base-url", hint=hint)
    return url


def url_of(host: str, port: int) -> str:
    """Build the address that a browser on this machine can open."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def listens_to_all(host: str) -> bool:
    """Return whether a host means all addresses of the machine, so that it cannot be part of a link."""
    return host in _ANY


def names_this_machine(host: str) -> bool:
    """Return whether a request's `Host` can be used in links: it is an address or a name of this machine.

    Any other name was invented by the sender, or belongs to a proxy that `--base-url` should name.
    """
    return _ip_of(host) is not None or host.lower() in ("localhost", socket.gethostname().lower())


def loopback_port(url: str) -> int | None:
    """The port of an address that only this machine can reach; None for other addresses."""
    parts = urlsplit(url)
    ip = _ip_of(parts.hostname or "")
    is_local = parts.hostname == "localhost" if ip is None else ip.is_loopback
    return (parts.port or {"http": 80}.get(parts.scheme, 443)) if is_local else None


def _ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def remember_address(connection: Connection, url: str) -> None:
    """Store the address of the service, for links that other commands make."""
    store_value(connection, _ADDRESS, url)


def last_address(connection: Connection) -> str | None:
    """The address at which the service was last started; None if it never was."""
    url = read_value(connection, _ADDRESS)
    return url if isinstance(url, str) else None


LONGEST_NAME = 80
LONGEST_TOKEN = 100


class Role(enum.StrEnum):
    """The rights of a person: reviewers have those of editors too, admins those of reviewers."""

    EDITOR = "editor"
    REVIEWER = "reviewer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who works in the project. Sessions of an earlier `session_epoch` have ended."""

    id: int
    name: str
    role: Role
    session_epoch: int
    created: float
    revoked: float | None

    @property
    def administers(self) -> bool:
        """Return whether the person invites people and changes the settings."""
        return self.role is Role.ADMIN


def add_person(
    engine: Engine, name: str, role: Role | str = Role.EDITOR, *, by: int | None = None, now: float | None = None
) -> str:
    """Add a person and return the token of their invite link, which cannot be read later.

    Raises:
        RedpencilError: if the name is empty, too long, not printable or taken, or the role does not exist.
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
    """Make a new invite link for a person and end the old one. A revoked person can sign in with it again.

    Raises:
        RedpencilError: if the person does not exist.
    """
    token, now = new_token(), time.time() if now is None else now
    with writing(engine) as connection:
        person = _replace_link(connection, person_id, token, revoked=None)
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
    """Change a person's name or role from their next request on; their link and sessions stay.

    Raises:
        RedpencilError: if the person does not exist, the name is not allowed or taken, or no admin would be left.
    """
    now = time.time() if now is None else now
    changes = {} if name is None else {"name": _checked_name(name)}
    changes |= {} if role is None else {"role": _checked_role(role).value}
    try:
        with writing(engine) as connection:
            admins = _locked_admins(connection)
            person = _existing(connection, person_id)
            changed = {key: value for key, value in changes.items() if value != getattr(person, key)}
            if not changed:
                return
            if "role" in changed and admins == [person_id]:
                raise _last_admin()
            connection.execute(update(schema.person).where(schema.person.c.id == person_id).values(changed))
            detail = {"name": person.name, **{f"new_{key}": value for key, value in changed.items()}}
            record_event(connection, "changed a person", at=now, person_id=by, detail=detail)
    except IntegrityError:
        raise _taken(changes["name"]) from None


def revoke(engine: Engine, person_id: int, *, by: int | None = None, now: float | None = None) -> None:
    """End a person's sessions and invite link. Their work stays.

    Raises:
        RedpencilError: if the person does not exist or is the last admin.
    """
    now = time.time() if now is None else now
    with writing(engine) as connection:
        if _locked_admins(connection) == [person_id]:
            raise _last_admin()
        person = _replace_link(connection, person_id, new_token(), revoked=now)
        record_event(connection, "revoked", at=now, person_id=by, detail={"name": person.name})


def _replace_link(connection: Connection, person_id: int, token: str, *, revoked: float | None) -> Person:
    """Replace a person's invite link and end their sessions; return the person."""
    person = _existing(connection, person_id)
    values = {"invite_hash": _hash(token), "session_epoch": person.session_epoch + 1, "revoked": revoked}
    connection.execute(update(schema.person).where(schema.person.c.id == person_id).values(values))
    return person


def end_sessions(engine: Engine, person_id: int, *, now: float | None = None) -> None:
    """Sign a person out on all their devices; their link stays valid."""
    now = time.time() if now is None else now
    epoch = schema.person.c.session_epoch
    with writing(engine) as connection:
        connection.execute(update(schema.person).where(schema.person.c.id == person_id).values(session_epoch=epoch + 1))
        record_event(connection, "signed out", at=now, person_id=person_id)


def _locked_admins(connection: Connection) -> list[int]:
    """Ids of the admins, locked: two admins who revoke or demote each other at the same time wait for each other."""
    is_admin = (schema.person.c.role == Role.ADMIN.value) & schema.person.c.revoked.is_(None)
    admins = select(schema.person.c.id).where(is_admin).order_by(schema.person.c.id)
    return list(connection.scalars(admins.with_for_update()))


def person_of_invite(connection: Connection, token: str) -> Person | None:
    """The person that an invite link belongs to; None if there is none."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    person = _find(connection, schema.person.c.invite_hash == _hash(token))
    return None if person is None or person.revoked is not None else person


def person_by_id(connection: Connection, person_id: int) -> Person | None:
    """Look up a person, revoked or not."""
    return _find(connection, schema.person.c.id == person_id)


def person_by_name(connection: Connection, name: str) -> Person | None:
    """Look up a person, revoked or not."""
    return _find(connection, schema.person.c.name == name)


def list_people(connection: Connection) -> list[Person]:
    """List all people in the order in which they were added, revoked ones included."""
    rows = connection.execute(select(schema.person).order_by(schema.person.c.id)).mappings()
    return [_person(row) for row in rows]


def first_admin(engine: Engine) -> Person:
    """The admin who was added first. A project without an admin gets one called `admin`, or `admin 2` if that name is
    taken, and so on.
    """
    for number in count(1):
        with reading(engine) as connection:
            admins = [person for person in list_people(connection) if person.administers and person.revoked is None]
        if admins:
            return admins[0]
        # The name is taken, or a server process that starts at the same time was faster.
        with contextlib.suppress(RedpencilError):
            add_person(engine, "admin" if number == 1 else f"admin {number}", Role.ADMIN)
    raise AssertionError


def new_token() -> str:
    """256 random bits in characters that fit into a link."""
    return secrets.token_urlsafe(32)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _find(connection: Connection, condition: object) -> Person | None:
    row = connection.execute(select(schema.person).where(condition)).mappings().first()  # type: ignore[arg-type]
    return None if row is None else _person(row)


def _existing(connection: Connection, person_id: int) -> Person:
    person = person_by_id(connection, person_id)
    if person is None:
        raise RedpencilError(f"there is no person {person_id}", hint="see the list of people")
    return person


def _person(row: RowMapping) -> Person:
    return Person(row["id"], row["name"], Role(row["role"]), row["session_epoch"], row["created"], row["revoked"])


def _taken(name: str) -> RedpencilError:
    return RedpencilError(f"there is already a person called {name!r}", field="name", hint="choose another name")


def _last_admin() -> RedpencilError:
    return RedpencilError(
        "this is the only admin; without one, no more people could be invited", hint="add another admin first"
    )


_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and signs that nobody sees."""


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or not _BLANK.isdisjoint(name):
        problem = f"a name has 1 to {LONGEST_NAME} printable characters"
        raise RedpencilError(problem, field="name", hint="choose another name")
    return name


def _checked_role(role: str) -> Role:
    try:
        return Role(role)
    except ValueError:
        hint = f"choose one of {', '.join(Role)}"
        raise RedpencilError(f"there is no role {role!r}", field="role", hint=hint) from None


OWNER_LINK_S: Final = 3600.0
"""Time after which an unused owner link opens nothing, so that an old log or terminal gives nobody the project."""
_OWNER_LINK: Final = "entry "
"""Prefix of the keys of owner links in the table of settings."""


def new_owner_link(engine: Engine, now: float) -> str:
    """Make a link that signs the person who started the server in, as the first admin, and return its token.

    It opens once, within `OWNER_LINK_S`. An admin is added if there is none. Only a hash of the token is stored.
    """
    admin = first_admin(engine)
    token = new_token()
    with writing(engine) as connection:
        rows = connection.execute(select(setting).where(setting.c.key.startswith(_OWNER_LINK, autoescape=True))).all()
        old = [row.key for row in rows if not _opens_still(row.value, now)]
        connection.execute(delete(setting).where(setting.c.key.in_(old)))
        store_value(connection, _OWNER_LINK + _hash(token), {"person": admin.id, "made": now})
    return token


def _opens_still(link: Mapping[str, Any], now: float) -> bool:
    return bool(abs(now - link["made"]) < OWNER_LINK_S)  # in both directions, since a clock may be set back


def person_of_owner_link(connection: Connection, token: str, now: float) -> Person | None:
    """The person that an owner link signs in; None if the link was used, has expired or does not exist."""
    value = read_value(connection, _OWNER_LINK + _hash(token))
    person = None if value is None or not _opens_still(value, now) else person_by_id(connection, value["person"])
    return None if person is None or person.revoked is not None else person


def use_owner_link(engine: Engine, token: str) -> bool:
    """Delete an owner link; False if another request was faster."""
    with writing(engine) as connection:
        return connection.execute(delete(setting).where(setting.c.key == _OWNER_LINK + _hash(token))).rowcount == 1


SESSION_S = 30 * 24 * 3600
"""Duration of a session."""
CLOCK_S = 24 * 3600
"""The most that the clock may have been set back since a session began."""
WINDOW_S = 600.0
"""Period over which attempts to join are counted."""
ADDRESS_LIMIT = 20
"""Failed attempts from one address in that period; a /64 of IPv6 is one address."""
GLOBAL_LIMIT = 1000
"""Failed attempts from all addresses in that period."""


@dataclass(frozen=True, slots=True)
class Session:
    """The content of a session's cookie. `nonce` distinguishes the sessions of a person."""

    person_id: int
    epoch: int
    nonce: str
    issued: int


class TooManyAttemptsError(Exception):
    """Too many links that do not exist were tried; the limit has room again in `wait_s` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; wait {wait_s:.0f} s")
        self.wait_s = wait_s


def server_secret(engine: Engine) -> str:
    """The secret that signs this project's cookies; made on the first call."""
    with writing(engine) as connection:
        store_value_once(connection, SECRET_KEY, secrets.token_hex(32))
        return str(read_value(connection, SECRET_KEY))


def cookie_name(secret: str, *, https: bool = False) -> str:
    """The name of a project's cookie. Cookies ignore ports, so two projects on one machine need different names.

    Behind TLS the name begins with `__Host-`: a browser takes such a cookie only from this very host, by https, so that
    neither a neighbour below the same domain nor somebody on the way can plant one.
    """
    return f"{'__Host-' if https else ''}redpencil_{hashlib.sha256(secret.encode()).hexdigest()[:8]}"


def new_session(person: Person, now: float) -> Session:
    """Begin a session."""
    return Session(person.id, person.session_epoch, secrets.token_urlsafe(16), int(now))


def sign_session(secret: str, session: Session) -> str:
    """Write a session as the value of its cookie."""
    return str(_serializer(secret).dumps([session.person_id, session.epoch, session.nonce, session.issued]))


def read_session(secret: str, cookie: str, now: float) -> Session | None:
    """Read the session from a cookie; None if it was forged or is too old."""
    try:
        content = _serializer(secret).loads(cookie)
    except BadData:
        return None
    session = Session(*content)
    return session if -CLOCK_S <= now - session.issued < SESSION_S else None


def person_of_session(connection: Connection, session: Session) -> Person | None:
    """The person of a session; None if the session has ended."""
    person = person_by_id(connection, session.person_id)
    valid = person is not None and person.revoked is None and person.session_epoch == session.epoch
    return person if valid else None


def csrf_token(secret: str, session: Session) -> str:
    """The token that a request needs in order to change something; other sites do not know it.

    It is the same for all sessions of a person's epoch, so that a page still works after the person has opened their
    link again in another tab.
    """
    key = hashlib.sha256(b"csrf" + secret.encode()).digest()
    return hmac.new(key, f"{session.person_id}.{session.epoch}".encode(), hashlib.sha256).hexdigest()


def csrf_matches(secret: str, session: Session, token: str) -> bool:
    """Return whether a token is that of the session's person."""
    return hmac.compare_digest(csrf_token(secret, session).encode(), token.encode("utf-8", "replace"))


def join(engine: Engine, secret: str, token: str, address: str, now: float) -> Person | None:
    """Find the person that an invite link or owner link signs in; None if the link does not exist, which is counted.

    A valid link always works, however many failed attempts came from the same address: 256 bits cannot be guessed, so
    no limit is needed against that. The limit keeps failed attempts from filling the database: beyond it an attempt is
    not stored. Below it an attempt is stored first, in a transaction of its own, and then counted, so that simultaneous
    attempts on several server processes are counted too. The audit log gets a line with a mark of the address.

    Raises:
        TooManyAttemptsError: if the link does not exist and the limit is reached.
    """
    address_hash = _address_hash(secret, address)
    with reading(engine) as connection:
        person, owner = person_of_invite(connection, token), None
        if person is None:
            owner = person_of_owner_link(connection, token, now)
        wait_s = 0.0 if person or owner else _wait(connection, address_hash, now, room_for=1)
    if wait_s > 0:
        raise TooManyAttemptsError(wait_s)
    if owner is not None and use_owner_link(engine, token):
        person = owner
    attempt_id = _record_attempt(engine, address_hash, now, opened=person is not None)
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


def _record_attempt(engine: Engine, address_hash: str, now: float, *, opened: bool) -> int:
    """Store an attempt, and delete old ones."""
    attempt = schema.login_attempt
    with writing(engine) as connection:
        connection.execute(delete(attempt).where(attempt.c.at < now - 10 * WINDOW_S))
        adding = insert(attempt).values(address_hash=address_hash, at=now, ok=int(opened)).returning(attempt.c.id)
        return int(connection.execute(adding).scalar_one())


def _wait(connection: Connection, address_hash: str, now: float, *, room_for: int = 0) -> float:
    """Seconds until `room_for` more failed attempts fit under the limits."""
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
    """A keyed hash of an address, since no address is stored; without the secret it cannot be inverted by trial."""
    ip, network = _ip_of(address), address
    if ip is not None:
        ip = getattr(ip, "ipv4_mapped", None) or ip
        network = str(ipaddress.ip_network((int(ip), 64 if ip.version == 6 else 32), strict=False))
    return hmac.new(secret.encode(), network.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


EVERYBODY = frozenset(Role)
REVIEWERS = frozenset({Role.REVIEWER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


@dataclass(frozen=True, slots=True)
class Site:
    """The database and the addresses of an application.

    Args:
        engine: the database.
        secret: signs the cookies.
        base_url: the address that people use, if it differs from the one that the server listens on.
        address: the address at which `serve` started it; None if it was started otherwise.
    """

    engine: Engine
    secret: str
    base_url: str | None
    address: str | None = None

    def link(self, request: Request, path: str) -> str:
        """The full address of a page, for a person who is to receive it.

        Raises:
            RedpencilError: if the request named a host that is not known to be this service.
        """
        if self.base_url is not None:
            return self.base_url + path
        if self.address is not None and not names_this_machine(request.url.hostname or ""):
            raise RedpencilError(
                f"it is not known whether the name {request.url.hostname!r} belongs to this server",
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
    """A refused request. `status` is 401 if the visitor is not signed in, and 403 if their role does not allow it."""

    def __init__(self, status: int, problem: str, hint: str) -> None:
        super().__init__(problem)
        self.status, self.problem, self.hint = status, problem, hint


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    site: Site = request.app.state.site
    return site


def cookie_of(request: Request) -> str:
    """The name of the cookie that holds the session, for the way in which a request came."""
    site = site_of(request)
    return cookie_name(site.secret, https=is_https(request, site.base_url))


def find_visitor(request: Request) -> Visitor | None:
    """The person who is signed in; None if there is none."""
    site = site_of(request)
    cookie = request.cookies.get(cookie_of(request))
    session = None if cookie is None else read_session(site.secret, cookie, time.time())
    if session is None:
        return None
    with reading(site.engine) as connection:
        person = person_of_session(connection, session)
    return None if person is None else Visitor(person, session, csrf_token(site.secret, session), site)


def admit(request: Request, roles: frozenset[Role] = EVERYBODY) -> Visitor:
    """Let a person with one of the roles in.

    Raises:
        DeniedError: if the visitor is not signed in or has none of the roles.
    """
    visitor = find_visitor(request)
    if visitor is None:
        raise DeniedError(401, "You are not signed in.", "Open your invite link again, or ask an admin for a new one.")
    if visitor.person.role not in roles:
        raise DeniedError(403, f"This is not open to the role {visitor.person.role}.", "Ask an admin.")
    return visitor


def check_origin(request: Request) -> None:
    """Refuse requests from pages of other sites.

    Raises:
        DeniedError: if the browser says that the request comes from another site.
    """
    base_url = site_of(request).base_url
    if not comes_from_here(request, base_url):
        raise DeniedError(
            403,
            "The request comes from another site.",
            "Use the pages of this server. Behind a proxy, start it with --base-url and the address that people use.",
        )


def check_token(request: Request, visitor: Visitor, token: str | None) -> None:
    """Refuse a request that should change something but lacks the person's CSRF token.

    Raises:
        DeniedError: if the token is missing or belongs to another person.
    """
    if token is None or not csrf_matches(site_of(request).secret, visitor.session, token):
        raise DeniedError(403, "The CSRF token is missing or belongs to another person.", "Reload the page.")


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
    """Sign a person in with this answer."""
    site = site_of(request)
    response.set_cookie(
        cookie_of(request),
        sign_session(site.secret, session),
        max_age=SESSION_S,
        httponly=True,
        samesite="lax",
        secure=is_https(request, site.base_url),
    )


def end_session(request: Request, response: Response) -> None:
    """Sign the person out with this answer, on all their devices, so that copies of the cookie end too."""
    visitor = find_visitor(request)
    if visitor is not None:
        end_sessions(site_of(request).engine, visitor.person.id)
    secure = is_https(request, site_of(request).base_url)  # without it browsers ignore a cookie named `__Host-`
    response.delete_cookie(cookie_of(request), httponly=True, samesite="lax", secure=secure)
