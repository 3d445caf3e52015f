"""Bodies that take too long, and pages that hide where they come from."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message

from redpencil.errors import RedpencilError
from redpencil.web import security
from redpencil.web.app import create_app
from redpencil.web.auth import add_person
from redpencil.web.security import Allowance, limited


def arriving(pieces: int, pause_s: float) -> Callable[[], Awaitable[Message]]:
    """A body of so many pieces of ten bytes, one after each pause."""
    left = iter(range(pieces))

    async def receive() -> Message:
        await asyncio.sleep(pause_s)
        number = next(left)
        return {"type": "http.request", "body": b"x" * 10, "more_body": number < pieces - 1}

    return receive


def read(pieces: int, pause_s: float) -> bytes:
    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    return asyncio.run(limited(Request(scope, arriving(pieces, pause_s)), 1000).body())


def test_a_body_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "BODY_S", 0.2)
    assert len(read(3, 0.01)) == 30
    with pytest.raises(HTTPException) as caught:
        read(1, 30)
    assert (caught.value.status_code, caught.value.headers) == (408, {"Connection": "close"})
    with pytest.raises(HTTPException):
        read(100, 0.05)  # always something, but not enough
    monkeypatch.setattr(security, "SLOWEST", 100)  # each piece gives a tenth of a second
    assert len(read(20, 0.03)) == 200


def test_a_page_that_hides_where_it_comes_from_is_refused(sqlite_engine: Engine) -> None:
    token = add_person(sqlite_engine, "Eve")
    for base_url in (None, "https://edits.example.org"):
        client = TestClient(create_app(sqlite_engine, base_url=base_url))
        for headers in ({"Origin": "null"}, {"Origin": "null", "Host": ""}, {"Origin": "https://evil.example"}):
            assert client.post(f"/join/{token}", headers=headers, follow_redirects=False).status_code == 403
    with pytest.raises(RedpencilError, match="begins with http"):
        create_app(sqlite_engine, base_url="edits.example.org")


@pytest.mark.parametrize(
    ("base_url", "url", "secure"),
    [
        ("https://edits.example.org", "http://edits.example.org", True),
        (None, "https://testserver", True),
        (None, "http://testserver", False),
        ("http://edits.example.org", "http://edits.example.org", False),
    ],
)
def test_behind_tls_the_browser_comes_back_by_https_only_with_a_cookie_of_this_host(
    sqlite_engine: Engine, base_url: str | None, url: str, secure: bool
) -> None:
    client = TestClient(create_app(sqlite_engine, base_url=base_url), base_url=url, follow_redirects=False)
    for path in ("/healthz", "/static/app.css", "/nowhere", "/api/me"):
        assert (client.get(path).headers.get("strict-transport-security") == security.HSTS) == secure
    answer = client.post(f"/join/{add_person(sqlite_engine, 'Ann')}")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-redpencil_") == secure
    assert ("Secure" in cookie) == secure
    assert "Path=/;" in cookie
    assert "Domain" not in cookie
    name, value = cookie.split(";")[0].split("=", 1)
    fresh = TestClient(client.app, base_url=url, follow_redirects=False)
    assert fresh.get("/api/me", headers={"Cookie": f"{name}={value}"}).status_code == 200
    if secure:  # what a neighbour of the same domain could plant
        planted = name.removeprefix("__Host-")
        assert fresh.get("/api/me", headers={"Cookie": f"{planted}={value}"}).status_code == 401
    csrf = fresh.get("/api/me", headers={"Cookie": f"{name}={value}"}).json()["csrf"]
    left = fresh.post("/sign-out", data={"csrf": csrf}, headers={"Cookie": f"{name}={value}"}).headers["set-cookie"]
    assert left.startswith(f'{name}="";')
    assert ("Secure" in left) == secure


@pytest.mark.parametrize("path", ["/mine/", "/static", "/api/people/", "/join/x/", "/healthz/"])
def test_no_answer_leads_to_another_host_or_out_of_tls(sqlite_engine: Engine, path: str) -> None:
    app = create_app(sqlite_engine, base_url="https://edits.example.org")
    client = TestClient(app, base_url="http://edits.example.org", follow_redirects=False)
    for host in ("edits.example.org", "evil.example"):
        for method in ("GET", "POST"):
            answer = client.request(method, path, headers={"Host": host})
            assert answer.status_code == 404
            assert "location" not in answer.headers
            assert "content-security-policy" in answer.headers


def test_a_bug_keeps_the_headers(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(sqlite_engine, base_url="https://edits.example.org")
    client = TestClient(app, raise_server_exceptions=False)
    monkeypatch.setattr("redpencil.web.app.check_file", lambda _: 1 / 0)
    answer = client.get("/healthz")
    assert answer.status_code == 500
    assert answer.headers["strict-transport-security"] == security.HSTS
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_person_gets_one_preview_at_a_time_and_others_get_theirs() -> None:
    allowance = Allowance()
    with allowance.of(1):
        with allowance.of(2):
            pass
        with pytest.raises(HTTPException) as caught, allowance.of(1):
            pass
    assert (caught.value.status_code, caught.value.headers) == (429, {"Retry-After": "1"})
    with allowance.of(1):
        pass


def test_work_beyond_the_allowance_waits_until_the_window_has_passed() -> None:
    allowance = Allowance(seconds=0.05, window=0.5)

    def work() -> None:
        with allowance.of(1):
            time.sleep(0.03)

    work()
    work()
    with pytest.raises(HTTPException) as caught:
        work()
    assert caught.value.status_code == 429
    time.sleep(0.5)
    work()


def test_many_previews_at_once_are_refused_and_the_page_says_so(sqlite_engine: Engine) -> None:
    app = create_app(sqlite_engine)
    token, clients = add_person(sqlite_engine, "Ann"), []
    for _ in range(2):  # in two browsers
        client = TestClient(app)
        client.post(f"/join/{token}")
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        clients.append(client)
    text = "*a* [b](c) " * 15_000
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: clients[n % 2].post("/api/preview", json={"text": text}), range(6)))
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert any(answer.status_code == 200 for answer in answers)
    assert refused[0].headers["retry-after"] == "1"
    assert "this one comes later" in refused[0].json()["error"]
    assert clients[0].post("/api/diff", json={"original": "a", "edited": "b"}).status_code == 200
