"""Headers, errors and limits that hold for everything the application answers."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from redpencil.web import app as app_module
from redpencil.web import database as database_module
from redpencil.web.app import create_app
from redpencil.web.people import add_person
from redpencil.web.security import BODY_LIMIT, HEADERS, UPLOAD_LIMIT


def signed_in(engine: Engine, role: str = "admin") -> TestClient:
    client = TestClient(create_app(engine), raise_server_exceptions=False)
    client.post(f"/join/{add_person(engine, 'Eve', role)}", follow_redirects=False)
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    return client


def test_every_answer_has_the_headers(sqlite_engine: Engine) -> None:
    client = signed_in(sqlite_engine)
    answers = [
        client.get("/healthz"),
        client.get("/"),
        client.get("/nowhere"),
        client.get("/api/me"),
        client.get("/api/nowhere"),
        client.put("/api/me"),
        client.get("/static/nothing.js"),
        client.get("/static/app.css"),
        client.get("/signed-out", follow_redirects=False),
        client.get("/join/x"),
        client.post("/join/x"),
        client.post("/api/diff", content=b"x" * (BODY_LIMIT + 1)),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 200, 404, 405, 404, 200, 303, 200, 403, 413]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == ("no-cache" if "/static/" in str(answer.url) else "no-store")
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_errors_are_json_in_the_api_and_pages_elsewhere(sqlite_engine: Engine) -> None:
    client = signed_in(sqlite_engine)
    assert client.get("/api/nowhere").json() == {"error": "There is nothing here.", "field": None, "way_out": None}
    assert client.delete("/api/me").json()["error"] == "This address does not take that method."
    page = client.get("/nowhere")
    assert page.headers["content-type"].startswith("text/html")
    assert "There is nothing here." in page.text


@pytest.mark.parametrize("path", ["/api/history", "/mine"])
def test_our_mistakes_tell_nobody_what_we_did(
    sqlite_engine: Engine, path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = signed_in(sqlite_engine)

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("redpencil.web.work.history", break_down)
    answer = client.get(path)
    assert answer.status_code == 500
    assert "swordfish" not in answer.text
    assert "Traceback" not in answer.text
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    number = next(word for word in caplog.text.split() if len(word) == 8 and set(word) <= set("0123456789abcdef"))
    assert number in answer.text
    with pytest.raises(RuntimeError):  # so the server logs the traceback
        TestClient(client.app, cookies=client.cookies).get(path)


def test_a_file_that_somebody_else_writes_to_for_too_long_asks_to_come_again(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(sqlite_engine)
    monkeypatch.setattr(database_module, "_BUSY_S", 0.1)
    other = sqlite3.connect(str(sqlite_engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client.post("/api/next")
    other.rollback()
    other.close()
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert client.post("/api/next").status_code == 204


def test_a_busy_database_asks_to_come_again(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in(sqlite_engine)

    def wait(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    monkeypatch.setattr("redpencil.web.work.history", wait)
    answer = client.get("/api/history")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "locked" not in answer.text


def test_bodies_are_limited_whether_or_not_they_say_how_long_they_are(sqlite_engine: Engine) -> None:
    client = signed_in(sqlite_engine)
    pieces = (b"x" * 100_000 for _ in range(BODY_LIMIT // 100_000 + 1))
    for content in (b"x" * (BODY_LIMIT + 1), pieces):
        answer = client.post("/api/diff", content=content)
        assert answer.status_code == 413
        assert answer.json()["error"] == "The request is larger than 4 MB."
    assert client.post("/api/diff", content=b"x" * BODY_LIMIT).status_code == 400
    assert client.post("/api/import", headers={"Content-Length": str(UPLOAD_LIMIT + 1)}).status_code == 413
    assert client.post("/sign-out", content=b"x" * 100_000).status_code == 413


def test_an_upload_over_the_limit_leaves_nothing_behind(
    sqlite_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(sqlite_engine)
    monkeypatch.setattr("redpencil.web.transfers.UPLOAD_LIMIT", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    for sent in ({"content": iter([b"x" * 600, b"x" * 600])}, {"files": {"responses": b"x" * 2000}}):
        assert client.post("/api/import", **sent).status_code == 413
    assert client.post("/api/import", content=b"x").status_code == 422
    assert client.post("/api/import", files={"other": b"x"}).status_code == 422
    assert set(tmp_path.iterdir()) == before


def test_static_files_and_nothing_else_are_served(sqlite_engine: Engine) -> None:
    client = TestClient(create_app(sqlite_engine))
    assert client.get("/static/app.css").headers["content-type"].startswith("text/css")
    for path in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "....//app.py", "%5c..%5capp.py", "/etc/passwd", "%00"):
        answer = client.get(f"/static/{path}")
        assert answer.status_code == 404, path
        assert "create_app" not in answer.text
    assert client.get("/static/").status_code == 404
    assert Path(app_module.STATIC).is_dir()


def test_a_fresh_secret_ends_all_sessions(sqlite_engine: Engine, tmp_path: Path) -> None:
    from redpencil.web.database import open_database

    client = signed_in(sqlite_engine)
    other = open_database(tmp_path / "other.db")
    add_person(other, "Sue", "admin")
    stranger = TestClient(create_app(other), cookies=client.cookies)
    assert stranger.get("/api/me").status_code == 401
    other.dispose()
