"""Headers, errors and limits that hold for everything the application answers."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from starlette.testclient import TestClient

from redpencil.web import app as app_module
from redpencil.web import database as database_module
from redpencil.web.app import create_app
from redpencil.web.auth import add_person, list_people, revoke
from redpencil.web.database import reading, writing
from redpencil.web.schema import item
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
    assert client.get("/api/nowhere").json() == {"error": "There is nothing here.", "field": None, "hint": None}
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
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY

    def wait(*_: object, **__: object) -> None:
        raise OperationalError("SELECT", {}, locked)

    monkeypatch.setattr("redpencil.web.work.history", wait)
    answer = client.get("/api/history")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert "locked" not in answer.text


def test_a_table_that_is_gone_is_our_mistake_and_in_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    client = signed_in(engine)
    with writing(engine) as connection:
        connection.execute(text("DROP TABLE submission"))
    answer = client.get("/api/history")
    assert (answer.status_code, "Retry-After" in answer.headers) == (500, False)
    assert "submission" not in answer.text
    assert "error" in caplog.text
    with pytest.raises(DBAPIError):  # so the server logs the traceback
        TestClient(client.app, cookies=client.cookies).get("/api/history")


def test_a_full_disk_is_named(sqlite_engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    client = signed_in(sqlite_engine)
    event.listen(sqlite_engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1"))
    answer = client.post("/api/import", content=b'{"id": "1", "prompt": "p", "response": "%s"}' % (b"x " * 99_999))
    assert (answer.status_code, "Retry-After" in answer.headers) == (500, False)
    assert answer.json()["error"] == "the disk of the server is full"
    assert "nothing was changed" in answer.json()["hint"]
    assert "disk of the server is full" in caplog.text


def test_a_file_that_was_deleted_is_told_and_nothing_called_saved(sqlite_engine: Engine) -> None:
    client = signed_in(sqlite_engine)
    assert client.get("/healthz").json() == {"status": "ok"}
    Path(str(sqlite_engine.url.database)).unlink()
    for answer in (client.post("/api/people", json={"name": "Ben"}), client.get("/healthz"), client.post("/join/x")):
        assert answer.status_code == 500
        assert "is not where it was" in answer.text


@pytest.mark.parametrize("digits", [10, 11, 5000])
def test_a_number_that_is_too_long_leads_nowhere(sqlite_engine: Engine, digits: int) -> None:
    client, stranger = signed_in(sqlite_engine), TestClient(create_app(sqlite_engine), raise_server_exceptions=False)
    for path in ("/api/assignments/{}", "/api/disputes/{}", "/disputes/{}"):
        assert client.get(path.format("9" * digits)).status_code == 404
        answer = stranger.get(path.format("9" * digits), follow_redirects=False)
        assert answer.status_code == (401 if "/api/" in path else 303)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/api/people", (b'{"name": "Mallory", ', b'"role": "admin"}')),
        ("/api/import", (b'{"id": "1", "prompt": "p", ', b'"response": "r"}')),
    ],
)
def test_whoever_is_revoked_while_they_send_does_nothing_more(
    engine: Engine, path: str, sent: tuple[bytes, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = signed_in(engine)
    add_person(engine, "Ann", "admin")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())

    def slowly() -> Iterator[bytes]:
        yield sent[0]
        revoke(engine, 1)
        yield sent[1]

    assert client.post(path, content=slowly()).status_code == 401
    assert set(tmp_path.iterdir()) == before
    with reading(engine) as connection:
        assert connection.execute(select(item)).all() == []
        assert [person.name for person in list_people(connection)] == ["Eve", "Ann"]


def test_signing_out_ends_a_cookie_that_was_copied(sqlite_engine: Engine) -> None:
    client = signed_in(sqlite_engine)
    copied = TestClient(client.app, cookies=dict(client.cookies))
    assert copied.get("/api/me").status_code == 200
    assert client.post("/sign-out", follow_redirects=False).status_code == 303
    assert copied.get("/api/me").status_code == 401


def test_a_page_goes_on_where_the_person_opens_their_link_again(sqlite_engine: Engine) -> None:
    client = TestClient(create_app(sqlite_engine))
    token = add_person(sqlite_engine, "Ann")
    client.post(f"/join/{token}", follow_redirects=False)
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    client.post(f"/join/{token}", follow_redirects=False)
    assert client.post("/api/next").status_code == 204


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
    monkeypatch.setattr("redpencil.web.routes.transfers.UPLOAD_LIMIT", 1000)
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
