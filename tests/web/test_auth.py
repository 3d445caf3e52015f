"""What may be the address of a service, and what is known of it."""

import contextlib
import itertools
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer
from sqlalchemy import Connection, Engine, event, select

from redpencil.errors import RedpencilError
from redpencil.web import auth, schema
from redpencil.web.auth import (
    ADDRESS_LIMIT,
    CLOCK_S,
    GLOBAL_LIMIT,
    SESSION_S,
    WINDOW_S,
    Person,
    Role,
    Session,
    TooManyAttemptsError,
    add_person,
    change_person,
    checked_base_url,
    cookie_name,
    csrf_matches,
    csrf_token,
    end_sessions,
    first_admin,
    join,
    last_address,
    list_people,
    listens_to_all,
    loopback_port,
    names_this_machine,
    new_owner_link,
    new_session,
    person_by_id,
    person_by_name,
    person_of_invite,
    person_of_owner_link,
    person_of_session,
    read_session,
    remember_address,
    renew_invite,
    revoke,
    server_secret,
    sign_session,
    url_of,
)
from redpencil.web.database import list_events, open_database, reading, writing
from redpencil.web.schema import setting


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://edits.example.org", "https://edits.example.org"),
        ("http://edits.example.org:8008/", "http://edits.example.org:8008"),
        (" http://[::1]:8008 ", "http://[::1]:8008"),
    ],
)
def test_an_address_is_a_scheme_and_a_name(given: str, found: str) -> None:
    assert checked_base_url(given) == found


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("https://example.org/edits", "cannot live below a path"),
        ("https://example.org/?a=b", "cannot live below a path"),
        ("edits.example.org", "begins with http"),
        ("edits.example.org:8008", "begins with http"),
        ("ftp://example.org", "begins with http"),
        ("https://", "begins with http"),
        ("https://example.org:port", "not an address"),
        ("https://[::1", "not an address"),
        ("https://me:secret@example.org", "name or password"),
    ],
)
def test_anything_else_is_refused_with_a_hint(given: str, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem) as caught:
        checked_base_url(given)
    assert "https://edits.example.org" in str(caught.value.hint)


def test_addresses_that_a_browser_here_can_open() -> None:
    assert [url_of(host, 80) for host in ("0.0.0.0", "::", "::1", "10.0.0.1")] == [
        *("http://127.0.0.1:80", "http://[::1]:80", "http://[::1]:80", "http://10.0.0.1:80")
    ]
    assert [listens_to_all(host) for host in ("0.0.0.0", "::", "127.0.0.1", "10.0.0.1")] == [True, True, False, False]


def test_names_of_this_machine() -> None:
    for host in ("127.0.0.1", "192.0.2.7", "::1", "localhost", "LOCALHOST", socket.gethostname()):
        assert names_this_machine(host)
    for host in ("evil.example", "", "localhost.evil.example"):
        assert not names_this_machine(host)


def test_the_last_address_is_kept(engine: Engine) -> None:
    with reading(engine) as connection:
        assert last_address(connection) is None
    for url in ("http://127.0.0.1:8008", "https://edits.example.org"):
        with writing(engine) as connection:
            remember_address(connection, url)
        with reading(engine) as connection:
            assert last_address(connection) == url


def test_addresses_that_only_this_machine_finds_have_their_port_told() -> None:
    near = ("http://127.0.0.1:8008", "http://[::1]:9/join/x", "http://localhost:80")
    assert [loopback_port(url) for url in near] == [8008, 9, 80]
    assert [loopback_port(url) for url in ("http://192.0.2.7:9000", "https://edits.example.org")] == [None, None]


_addresses = itertools.count()


def opens_for(engine: Engine, token: str) -> str | None:
    person = join(engine, "secret", token, f"address {next(_addresses)}", 1000.0)
    return None if person is None else person.name


def test_it_opens_once_for_the_first_admin_and_the_database_does_not_hold_it(engine: Engine) -> None:
    token = new_owner_link(engine, 1000.0)
    with reading(engine) as connection:
        assert token not in str(connection.execute(select(setting)).all())
    assert [opens_for(engine, token) for _ in range(3)] == ["admin", None, None]


def test_links_of_people_stay_as_they_are_however_often_it_is_started(engine: Engine) -> None:
    boss = add_person(engine, "boss", Role.ADMIN)
    tokens = [new_owner_link(engine, 1000.0 + n) for n in range(3)]
    assert opens_for(engine, boss) == "boss"
    assert [opens_for(engine, token) for token in tokens] == ["boss"] * 3  # several servers of one database
    with reading(engine) as connection:
        person = person_of_invite(connection, boss)
    assert person is not None
    assert person.session_epoch == 0


@pytest.mark.parametrize("late", [1.0, -1.0])
def test_a_link_from_an_old_log_opens_nothing_though_nobody_used_it(engine: Engine, late: float) -> None:
    early, now = new_owner_link(engine, 1000.0 - late * (auth.OWNER_LINK_S - 1)), 1000.0
    expired = new_owner_link(engine, now - late * auth.OWNER_LINK_S)
    assert join(engine, "secret", expired, "here", now) is None
    assert join(engine, "secret", early, "here", now) is not None


def test_a_start_deletes_links_that_have_expired(engine: Engine) -> None:
    new_owner_link(engine, 1000.0)
    new_owner_link(engine, 1000.0 + auth.OWNER_LINK_S)
    with reading(engine) as connection:
        keys = connection.scalars(select(setting.c.key)).all()
    assert len([key for key in keys if key.startswith("entry ")]) == 1


def test_whoever_was_revoked_does_not_come_in_by_it(engine: Engine) -> None:
    add_person(engine, "boss", Role.ADMIN)
    token = new_owner_link(engine, 1000.0)
    add_person(engine, "other", Role.ADMIN)
    revoke(engine, 1)
    with reading(engine) as connection:
        assert person_of_owner_link(connection, token, 1000.0) is None
    assert opens_for(engine, token) is None


def test_two_who_open_it_at_once_are_not_both_let_in(engine: Engine) -> None:
    token = new_owner_link(engine, 1000.0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: opens_for(engine, token), range(8)))
    assert sorted(map(str, found)) == ["None"] * 7 + ["admin"]


def named(engine: Engine, token: str) -> str | None:
    with reading(engine) as connection:
        person = person_of_invite(connection, token)
    return None if person is None else person.name


def test_an_invite_opens_the_door_to_one_person_and_the_database_does_not_hold_it(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    engine = sqlite_engine
    token = add_person(engine, "Ann", "editor", now=5.0)
    add_person(engine, "Bob", Role.REVIEWER)
    with reading(engine) as connection:
        person = person_of_invite(connection, token)
    assert person is not None
    assert (person.name, person.role, person.created, person.revoked) == ("Ann", Role.EDITOR, 5.0, None)
    engine.dispose()
    files = b"".join(path.read_bytes() for path in tmp_path.glob("edits.db*"))
    assert b"Ann" in files
    assert token.encode() not in files
    assert len(token) >= 43  # 256 bits in base 64


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "\ud800", "x" * 1_000_000, "' OR 1=1 --"])
def test_any_other_token_opens_nothing(engine: Engine, token: str) -> None:
    add_person(engine, "Ann")
    assert named(engine, token) is None


def test_renewing_ends_the_old_link_and_its_sessions(engine: Engine) -> None:
    old = add_person(engine, "Ann")
    with reading(engine) as connection:
        before = person_by_name(connection, "Ann")
    assert before is not None
    new = renew_invite(engine, before.id)
    assert named(engine, old) is None
    assert named(engine, new) == "Ann"
    with reading(engine) as connection:
        after = person_by_id(connection, before.id)
    assert after is not None
    assert after.session_epoch == before.session_epoch + 1


def test_revoking_closes_the_door_and_renewing_opens_it_again(engine: Engine) -> None:
    token = add_person(engine, "Ann")
    with reading(engine) as connection:
        ann = person_by_name(connection, "Ann")
    assert ann is not None
    revoke(engine, ann.id, now=7.0)
    assert named(engine, token) is None
    with reading(engine) as connection:
        revoked = person_by_id(connection, ann.id)
    assert revoked is not None
    assert (revoked.revoked, revoked.session_epoch) == (7.0, 1)
    assert named(engine, renew_invite(engine, ann.id)) == "Ann"


def test_the_last_admin_stays(engine: Engine) -> None:
    admin = first_admin(engine)
    with pytest.raises(RedpencilError, match="the only admin"):
        revoke(engine, admin.id)
    add_person(engine, "Eve", Role.ADMIN)
    revoke(engine, admin.id)
    assert first_admin(engine).name == "Eve"


@pytest.fixture
def slow_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time for somebody else between a look at the admins and what is done then."""
    existing = auth._existing

    def late(connection: Connection, person_id: int) -> Person:
        time.sleep(0.3)
        return existing(connection, person_id)

    monkeypatch.setattr(auth, "_existing", late)


@pytest.mark.usefixtures("slow_checks")
def test_two_admins_who_revoke_each_other_at_once_do_not_both_go(engine: Engine) -> None:
    for name in ("Ann", "Bob"):
        add_person(engine, name, Role.ADMIN)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda person_id: _try_to_revoke(engine, person_id), (1, 2)))
    assert sorted(outcomes) == [False, True]


def _try_to_revoke(engine: Engine, person_id: int) -> bool:
    try:
        revoke(engine, person_id)
    except RedpencilError:
        return False
    return True


def test_the_first_admin_is_made_once(engine: Engine) -> None:
    assert first_admin(engine).id == first_admin(engine).id
    with reading(engine) as connection:
        assert [(person.name, person.role) for person in list_people(connection)] == [("admin", Role.ADMIN)]


def test_servers_that_start_at_once_make_one_admin(engine: Engine) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len({person.id for person in pool.map(lambda _: first_admin(engine), range(6))}) == 1


def test_somebody_else_who_is_called_admin_is_not_made_one(engine: Engine) -> None:
    add_person(engine, "admin", Role.EDITOR)
    add_person(engine, "admin 2", Role.REVIEWER)
    assert first_admin(engine).name == "admin 3"
    with reading(engine) as connection:
        assert [person.role for person in list_people(connection)] == [Role.EDITOR, Role.REVIEWER, Role.ADMIN]


def test_a_person_gets_another_name_or_role_and_keeps_link_and_sessions(engine: Engine) -> None:
    token = add_person(engine, "Ann", now=1.0)
    add_person(engine, "Bob", Role.ADMIN, now=1.0)
    change_person(engine, 1, role="reviewer", by=2, now=2.0)
    change_person(engine, 1, name=" Anna ", by=2, now=3.0)
    change_person(engine, 1, name="Anna", role=Role.REVIEWER, now=4.0)  # nothing new, which is nothing to tell
    with reading(engine) as connection:
        person = person_of_invite(connection, token)
        events = list_events(connection)
    assert person is not None
    assert (person.name, person.role, person.session_epoch) == ("Anna", Role.REVIEWER, 0)
    assert [(event.person, event.action, event.detail) for event in events[:2]] == [
        ("Bob", "changed a person", {"name": "Ann", "new_name": "Anna"}),
        ("Bob", "changed a person", {"name": "Ann", "new_role": "reviewer"}),
    ]
    assert len(events) == 4
    for wrong, problem in (
        ({"name": "Bob"}, "already a person"),
        ({"name": ""}, "a name has"),
        ({"role": "x"}, "role"),
    ):
        with pytest.raises(RedpencilError, match=problem):
            change_person(engine, 1, **wrong)
    with pytest.raises(RedpencilError, match="no person 9"):
        change_person(engine, 9, name="Eve")


@pytest.mark.usefixtures("slow_checks")
def test_the_last_admin_stays_one(engine: Engine) -> None:
    for name in ("Ann", "Bob"):
        add_person(engine, name, Role.ADMIN)

    def demote(person_id: int) -> bool:
        try:
            change_person(engine, person_id, role="editor")
        except RedpencilError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(demote, (1, 2))) == [False, True]
    with reading(engine) as connection:
        (admin,) = (person for person in list_people(connection) if person.administers)
    change_person(engine, admin.id, name="Eve")  # another name is no loss


def test_signing_out_ends_all_sessions_and_no_link(engine: Engine) -> None:
    token = add_person(engine, "Ann")
    end_sessions(engine, 1, now=5.0)
    with reading(engine) as connection:
        person = person_of_invite(connection, token)
        (event, _) = list_events(connection)
    assert person is not None
    assert person.session_epoch == 1
    assert (event.action, event.person, event.at) == ("signed out", "Ann", 5.0)


@pytest.mark.parametrize("name", ["", "  ", "x" * 81, "a\nb", "a\0b", "\u202ebob", "\ud800", "\u3164", "a\u2800"])
def test_a_name_is_something_that_can_be_read(engine: Engine, name: str) -> None:
    with pytest.raises(RedpencilError, match="1 to 80 printable characters"):
        add_person(engine, name)


def test_names_are_taken_once_and_roles_are_known(engine: Engine) -> None:
    add_person(engine, " Ann ")
    with pytest.raises(RedpencilError, match="already a person called 'Ann'"):
        add_person(engine, "Ann")
    with pytest.raises(RedpencilError, match="no role 'king'"):
        add_person(engine, "Bob", "king")
    for change in (revoke, renew_invite):
        with pytest.raises(RedpencilError, match="no person 9"):
            change(engine, 9)


def test_what_is_done_to_people_is_in_the_log(engine: Engine) -> None:
    add_person(engine, "Ann", Role.ADMIN, now=1.0)
    add_person(engine, "Bob", by=1, now=2.0)
    renew_invite(engine, 2, by=1, now=3.0)
    revoke(engine, 2, by=1, now=4.0)
    with reading(engine) as connection:
        events = list_events(connection)
        hashes = connection.execute(select(schema.person.c.invite_hash)).scalars().all()
    assert [(event.at, event.person, event.action, event.detail["name"]) for event in events] == [
        (4.0, "Ann", "revoked", "Bob"),
        (3.0, "Ann", "renewed invite", "Bob"),
        (2.0, "Ann", "invited", "Bob"),
        (1.0, None, "invited", "Ann"),
    ]
    assert len(set(hashes)) == 2


ANN = Person(7, "Ann", Role.EDITOR, 3, 0.0, None)


def test_a_session_comes_back_as_it_was_signed() -> None:
    session = new_session(ANN, 1000.9)
    assert session == Session(7, 3, session.nonce, 1000)
    assert read_session("secret", sign_session("secret", session), 1001.0) == session
    assert new_session(ANN, 1000.0).nonce != session.nonce


@given(place=st.integers(0, 200), letter=st.sampled_from("Aa0._-"))
def test_a_cookie_with_one_other_letter_is_worth_nothing(place: int, letter: str) -> None:
    cookie = sign_session("secret", Session(7, 3, "nonce", 1000))
    place %= len(cookie)
    if cookie[place] == letter:
        return
    forged = cookie[:place] + letter + cookie[place + 1 :]
    read = read_session("secret", forged, 1001.0)
    # The last letter of 256 bits in base 64 has two bits to spare, so it may stand for the same signature.
    assert read is None or (place == len(cookie) - 1 and read == Session(7, 3, "nonce", 1000))


def test_other_secrets_other_purposes_and_old_sessions_are_refused() -> None:
    session = Session(7, 3, "nonce", 1000)
    assert read_session("other", sign_session("secret", session), 1001.0) is None
    elsewhere = URLSafeSerializer("secret", salt="other").dumps([7, 3, "nonce", 1000])
    assert read_session("secret", str(elsewhere), 1001.0) is None
    for rubbish in ("", ".", "a.b", "\x00", "eyJ.\u00e9", "." * 10_000):
        assert read_session("secret", rubbish, 1001.0) is None
    cookie = sign_session("secret", session)
    assert read_session("secret", cookie, 1000.0 + SESSION_S - 1) is not None
    assert read_session("secret", cookie, 1000.0 + SESSION_S) is None
    assert read_session("secret", cookie, 1000.0 - CLOCK_S) == session  # the clock was put back
    assert read_session("secret", cookie, 999.0 - CLOCK_S) is None


def test_the_csrf_token_belongs_to_one_person_until_their_sessions_end() -> None:
    session = Session(7, 3, "nonce", 1000)
    token = csrf_token("secret", session)
    assert csrf_matches("secret", session, token)
    assert csrf_matches("secret", Session(7, 3, "nonce2", 2000), token)  # their link opened in another tab
    for other in (Session(8, 3, "nonce", 1000), Session(7, 4, "nonce", 1000), Session(73, 0, "nonce", 1000)):
        assert not csrf_matches("secret", other, token)
    for rubbish in ("", token[:-1], token.upper(), "\u00e9", "\ud800"):
        assert not csrf_matches("secret", session, rubbish)
    assert not csrf_matches("other", session, token)


def test_the_secret_is_made_once_and_each_project_has_its_own(engine: Engine, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: server_secret(engine), range(16)))
    assert len(secrets) == 1
    other = open_database(tmp_path / "other.db")
    secret = secrets.pop()
    assert len(secret) == 64
    assert cookie_name(server_secret(other)) != cookie_name(secret)
    assert cookie_name(secret) == cookie_name(secret)
    other.dispose()


def test_a_session_ends_when_the_person_is_revoked_or_their_link_renewed(engine: Engine) -> None:
    add_person(engine, "Ann")
    add_person(engine, "Bob")
    with reading(engine) as connection:
        ann, bob = person_by_name(connection, "Ann"), person_by_name(connection, "Bob")
    assert ann is not None
    assert bob is not None
    sessions = [new_session(ann, 0.0), new_session(bob, 0.0)]

    def signed_in() -> list[str | None]:
        with reading(engine) as connection:
            found = [person_of_session(connection, session) for session in sessions]
        return [None if person is None else person.name for person in found]

    assert signed_in() == ["Ann", "Bob"]
    renew_invite(engine, bob.id)
    assert signed_in() == ["Ann", None]
    revoke(engine, ann.id)
    assert signed_in() == [None, None]
    renew_invite(engine, ann.id)
    assert signed_in() == [None, None]  # whoever comes back has to use the new link


def test_guessing_is_stopped_for_one_address_and_goes_on_for_others(engine: Engine) -> None:
    for _ in range(ADDRESS_LIMIT):
        assert join(engine, "secret", "guess", "192.0.2.1", 1000.0) is None
    with pytest.raises(TooManyAttemptsError) as caught:
        join(engine, "secret", "guess", "192.0.2.1", 1000.0)
    assert caught.value.wait_s == WINDOW_S
    assert join(engine, "secret", "guess", "192.0.2.2", 1000.0) is None
    assert join(engine, "secret", "guess", "192.0.2.1", 1000.0 + WINDOW_S) is None  # the first guesses are forgotten


def test_a_good_link_opens_whatever_others_behind_the_same_address_try(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = add_person(engine, "Ann")
    for _ in range(3 * ADDRESS_LIMIT):
        assert join(engine, "secret", token, "192.0.2.1", 1000.0) is not None
    for _ in range(ADDRESS_LIMIT):  # good links have used nothing up
        assert join(engine, "secret", "guess", "192.0.2.1", 1000.0) is None
    monkeypatch.setattr("redpencil.web.auth.GLOBAL_LIMIT", ADDRESS_LIMIT)
    for address in ("192.0.2.1", "198.51.100.1"):
        with pytest.raises(TooManyAttemptsError):
            join(engine, "secret", "guess", address, 1000.0)
        person = join(engine, "secret", token, address, 1000.0)
        assert person is not None
        assert person.name == "Ann"


def test_a_flood_of_guesses_writes_nothing_and_does_not_prolong_the_wait(engine: Engine) -> None:
    for _ in range(ADDRESS_LIMIT):
        join(engine, "secret", "guess", "192.0.2.1", 1000.0)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    for _ in range(5):
        with pytest.raises(TooManyAttemptsError):
            join(engine, "secret", "guess", "192.0.2.1", 1500.0)
    asked = [statement for statement in statements if not statement.startswith("BEGIN")]
    assert len(asked) == 5 * 3  # the link, that of the server's start, and the count
    assert all(statement.startswith("SELECT") for statement in asked)
    assert join(engine, "secret", "guess", "192.0.2.1", 1000.0 + WINDOW_S) is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("", "unix", False),
    ],
)
def test_what_counts_as_one_address(engine: Engine, first: str, second: str, same: bool) -> None:
    for _ in range(ADDRESS_LIMIT):
        join(engine, "secret", "guess", first, 1000.0)
    if same:
        with pytest.raises(TooManyAttemptsError):
            join(engine, "secret", "guess", second, 1000.0)
    else:
        assert join(engine, "secret", "guess", second, 1000.0) is None


def test_guessing_from_many_addresses_is_stopped_too(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert GLOBAL_LIMIT >= 10 * ADDRESS_LIMIT
    monkeypatch.setattr("redpencil.web.auth.GLOBAL_LIMIT", 30)
    for i in range(30):
        assert join(engine, "secret", "guess", f"192.0.2.{i}", 1000.0) is None
    with pytest.raises(TooManyAttemptsError):
        join(engine, "secret", "guess", "198.51.100.1", 1000.0)


def test_links_that_open_nothing_are_in_the_log_until_the_limit(engine: Engine) -> None:
    for n in range(ADDRESS_LIMIT + 5):
        with contextlib.suppress(TooManyAttemptsError):
            join(engine, "secret", f"wrong-{n}", "10.0.0.1", 100.0 + n)
    assert join(engine, "secret", "wrong", "10.0.0.2", 200.0) is None
    with reading(engine) as connection:
        events = list_events(connection)
    assert {event.action for event in events} == {"refused a link"}
    marks = [event.detail["address"] for event in events]
    assert marks[0] != marks[1]
    assert marks[1:] == [marks[1]] * ADDRESS_LIMIT
    assert "wrong" not in str(events)
    assert "10.0.0" not in str(events)


def test_guesses_that_come_at_once_are_counted(engine: Engine) -> None:
    def guess(_: int) -> bool:
        try:
            join(engine, "secret", "guess", "192.0.2.1", 1000.0)
        except TooManyAttemptsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        looked_at = sum(pool.map(guess, range(4 * ADDRESS_LIMIT)))
    assert looked_at <= ADDRESS_LIMIT


def test_addresses_are_not_stored_and_old_attempts_are_thrown_away(sqlite_engine: Engine, tmp_path: Path) -> None:
    engine = sqlite_engine
    join(engine, "secret", "guess", "192.0.2.77", 1000.0)
    join(engine, "secret", "guess", "192.0.2.78", 1000.0 + 20 * WINDOW_S)
    with reading(engine) as connection:
        assert len(connection.execute(select(schema.login_attempt)).all()) == 1
    engine.dispose()
    assert b"192.0.2" not in b"".join(path.read_bytes() for path in tmp_path.glob("edits.db*"))
