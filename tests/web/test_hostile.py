"""What people with bad intentions send, and what programs send by mistake: a clear refusal, nothing lost or leaked."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from itsdangerous import URLSafeSerializer
from sqlalchemy import Engine
from starlette.testclient import TestClient

from redpencil.records import Response
from redpencil.web.app import create_app
from redpencil.web.auth import add_person, cookie_name, server_secret
from redpencil.web.items import import_responses
from redpencil.web.project import LONGEST_TEXT
from redpencil.web.routes.models import LONGEST_LOOK

SignIn = Callable[[str, str], TestClient]
MEGABYTE = 1_000_000


@pytest.fixture
def sign_in(engine: Engine) -> SignIn:
    app = create_app(engine)

    def join(name: str, role: str) -> TestClient:
        client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        client.post(f"/join/{add_person(engine, name, role)}")
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        return client

    return join


def test_a_response_of_a_megabyte_goes_all_the_way_and_comes_back_byte_for_byte(
    sign_in: SignIn, engine: Engine
) -> None:
    original = "\tline \U0001f600 \u00e9 <b>&amp;</b> \\n \"'\n" * (MEGABYTE // 30)
    assert len(original.encode()) > MEGABYTE
    import_responses(engine, [Response("big", "Q", original)])
    ann, eve = sign_in("Ann", "editor"), sign_in("Eve", "reviewer")
    assert ann.get("/").status_code == 200
    task = ann.post("/api/next").json()
    assert task["response"] == original
    path = f"/api/assignments/{task['assignment_id']}"
    edited = original.replace("line", "LINE", 3)
    saved = ann.put(f"{path}/draft", json={"text": edited, "version": task["version"], "active_s": 1}).json()
    assert ann.get(path).json()["draft"] == edited
    sent = {"version": saved["version"], "text": edited, "outcome": "edited"}
    assert ann.post(f"{path}/submit", json=sent).status_code == 200
    row = json.loads(eve.get("/api/export/edits").content)
    assert (row["original"], row["edited"]) == (original, edited)
    assert ann.get("/mine").status_code == 200


def test_texts_beyond_the_limits_are_refused_and_the_draft_stays(sign_in: SignIn, engine: Engine) -> None:
    import_responses(engine, [Response("r", "Q", "some words")])
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    saved = ann.put(f"{path}/draft", json={"text": "mine", "version": task["version"], "active_s": 1}).json()
    long = {"text": "x" * (LONGEST_TEXT + 1), "version": saved["version"], "active_s": 2}
    assert ann.put(f"{path}/draft", json=long).status_code == 422
    assert ann.put(f"{path}/draft", json=long | {"text": "x" * 5 * MEGABYTE}).status_code == 413
    assert ann.get(path).json()["draft"] == "mine"
    look = "x" * (LONGEST_LOOK + 1)
    assert ann.post("/api/preview", json={"text": look}).status_code == 422
    assert ann.post("/api/diff", json={"original": look, "edited": ""}).status_code == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"text": "\xff\xfe", "version": 0}', 400),
        (b'{"text": "\xed\xa0\x80", "version": 0}', 400),  # half of a surrogate pair in UTF-8
        (b'{"text": "\\ud83d", "version": 0}', 400),
        (b'{"text": "\\u0000", "version": 0}', 422),
        (b'{"text": "a", "version": 1e400}', 422),
        (b'{"text": "a", "version": -1}', 422),
        (b'{"text": "a", "version": 99999999999999999999}', 422),
        (b'{"text": "a", "version": 0, "active_s": NaN}', 422),
        (b'{"text": "a", "version": 0, "active_s": Infinity}', 422),
        (b'{"text": ["a"], "version": 0}', 422),
        (b'{"text": {"$ne": ""}, "version": 0}', 422),
        (b'"text"', 422),
        (b"null", 422),
        (b"", 400),
        (b"[" * 100_000, 400),
        (b'{"text": "a", "version": ' + b"9" * 100_000 + b"}", 400),
        (b"text=a&version=0", 400),
    ],
)
def test_drafts_that_are_no_drafts_are_refused(sign_in: SignIn, engine: Engine, body: bytes, status: int) -> None:
    import_responses(engine, [Response("r", "Q", "some words")])
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    answer = ann.put(f"{path}/draft", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert len(answer.content) < 1000
    after = ann.get(path).json()
    assert (after["draft"], after["version"]) == (task["draft"], task["version"])


@pytest.mark.parametrize("payload", [[1, 0, "nonce", 0], [1, 0, "nonce", 10**12], ["1", 0, "n", 1], {}, [1], None, []])
def test_forged_sessions_open_nothing(sign_in: SignIn, engine: Engine, payload: object) -> None:
    sign_in("Eve", "admin")
    secret = server_secret(engine)
    for key, salt in (("guess", "session"), (secret, "another purpose"), ("", "session")):
        cookie = str(URLSafeSerializer(key or "x", salt=salt).dumps(payload))
        stranger = TestClient(create_app(engine), cookies={cookie_name(secret): cookie}, raise_server_exceptions=False)
        assert stranger.get("/api/people").status_code == 401
        assert stranger.post("/api/people", json={"name": "x"}).status_code == 401


@pytest.mark.parametrize("header", [b"\xff\xfe", b"a=b; ;;=", b"=" * 5000, b'"\\', b"redpencil_x=1; redpencil_x=2"])
def test_odd_cookies_do_no_harm(engine: Engine, header: bytes) -> None:
    client = TestClient(create_app(engine))
    assert client.get("/api/me", headers={b"Cookie": header}).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *("/join/" + "x" * 5000, "/join/%00", "/join/%ff", "/join/..%2f..%2fetc", "/join/%F0%9F%98%80", "/join/a/b"),
        *("/%2e%2e/%2e%2e/etc/passwd", "//evil.example/", "/static/../../app.py", "/api/assignments/1%20OR%201=1"),
        "/api/assignments/%D9%A1",
    ],
)
def test_odd_addresses_are_refused_calmly(sign_in: SignIn, path: str) -> None:
    client = sign_in("Eve", "admin")
    for method in ("GET", "POST", "HEAD", "OPTIONS", "TRACE"):
        answer = client.request(method, f"http://testserver{path}")
        assert answer.status_code < 500
        assert "root:" not in answer.text
        assert answer.headers.get("location", "/") in ("/", "/signed-out")


def test_a_host_that_is_made_up_gets_no_links_to_itself(engine: Engine) -> None:
    app = create_app(engine, base_url="https://edits.example.org")
    client = TestClient(app, base_url="https://edits.example.org", follow_redirects=False)
    client.post(f"/join/{add_person(engine, 'Eve', 'admin')}")
    csrf = {"X-CSRF-Token": client.get("/api/me").json()["csrf"]}
    made = client.post("/api/people", json={"name": "Ann"}, headers=csrf | {"Host": "evil.example"})
    assert made.json()["link"].startswith("https://edits.example.org/join/")


def test_uploads_with_odd_names_and_shapes_are_refused_or_harmless(sign_in: SignIn) -> None:
    eve = sign_in("Eve", "reviewer")
    row = json.dumps({"id": "1", "prompt": "Q", "response": "some words"}).encode()
    for name in ("../../../etc/cron.d/x", "/etc/passwd", "a\0b", "\u202e.jsonl", "x" * 3000, ""):
        assert eve.post("/api/import", files={"responses": (name, row)}).status_code in (200, 400, 422)
    assert eve.post("/api/import", files={"../responses": ("x", row)}).status_code == 422
    assert eve.post("/api/import", data={"responses": row.decode()}).status_code == 422
    multipart = {"Content-Type": "multipart/form-data"}
    for content, headers in (
        (b"rubbish", multipart),
        (b"rubbish", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"--x\r\n\r\n--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"\x1f\x8b\x08\x00", {"Content-Encoding": "gzip"}),
        (b"[" * 200_000, {}),
        (b'{"id": "1", "prompt": "Q", "response": "' + b"\\u0000" + b'"}', {}),
        (b'{"id": "1", "prompt": "Q", "response": "\\ud83d"}', {}),
    ):
        answer = eve.post("/api/import", content=content, headers=headers)
        assert answer.status_code in (400, 422), (content[:20], answer.text)
        assert answer.json()["error"]


def test_many_people_and_guesses_at_once_neither_crash_nor_mix_up(sign_in: SignIn, engine: Engine) -> None:
    import_responses(engine, [Response(f"r{i}", "Q", f"some words {i}") for i in range(40)])
    people = [sign_in(f"p{i}", "editor") for i in range(8)]

    def work(client: TestClient) -> list[str]:
        done = []
        while (answer := client.post("/api/next")).status_code == 200:
            task = answer.json()
            path = f"/api/assignments/{task['assignment_id']}"
            draft = {"text": f"{task['response']} more", "version": task["version"], "active_s": 1}
            saved = client.put(f"{path}/draft", json=draft).json()
            sent = {"version": saved["version"], "text": draft["text"], "outcome": "edited"}
            assert client.post(f"{path}/submit", json=sent).status_code == 200
            done.append(task["response"])
        return done

    with ThreadPoolExecutor(len(people)) as pool:
        done = [name for names in pool.map(work, people) for name in names]
    assert sorted(done) == sorted(f"some words {i}" for i in range(40))
