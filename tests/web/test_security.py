"""Bodies that take too long, and pages that hide where they come from."""

import asyncio
from collections.abc import Awaitable, Callable

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
from redpencil.web.security import limited


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
