"""JSON over HTTP against a real server that fails on demand."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers import json_server
from redpencil.providers.json_server import JsonServer, RefusedError, key_from

SECRET = "sk-live-0123456789"


class Scripted:
    """A server whose replies are scripted: one after the other, and the last one for ever."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.seen: list[Any] = []
        self.lock = threading.Lock()

    def next(self, body: Any) -> Any:
        with self.lock:
            self.seen.append(body)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Scripted, str]]:
    """Replies are (status, body bytes or object, headers), or a number of seconds to say nothing."""
    monkeypatch.setattr(json_server, "_FIRST_PAUSE_S", 0.01)
    state = Scripted()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.seen_key = self.headers.get("Authorization")
            reply = state.next(body)
            if callable(reply):
                reply = reply(body)
            if isinstance(reply, float):
                time.sleep(reply)
                reply = (200, {}, {})
            status, content, headers = reply
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.do_POST()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def ok(content: Any) -> tuple[int, Any, dict[str, str]]:
    return 200, content, {}


@pytest.mark.parametrize(
    "failure",
    [
        (500, {"error": "x"}, {}),
        (502, b"<html>", {}),
        (503, {}, {}),
        (429, {}, {}),
        (200, b'{"a": ', {}),  # half of it
        (200, b'{"a": 1}', {"Content-Length": "100"}),
        (200, b"", {"Content-Length": "3"}),
        (200, b"\xff\xfe", {}),
        0.6,  # a time-out
    ],
    ids=str,
)
def test_a_failure_that_may_pass_is_followed_by_another_try(scripted: Any, failure: Any) -> None:
    state, url = scripted
    state.script = [failure, failure, ok({"a": 1})]
    assert JsonServer(url, timeout=0.3, patience=30).post("/x", {"b": 2}) == {"a": 1}
    assert state.seen == [{"b": 2}] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 501])
def test_a_refusal_is_final_and_has_its_status(scripted: Any, status: int) -> None:
    state, url = scripted
    state.script = [(status, {"error": {"message": "no such thing"}}, {}), ok({})]
    with pytest.raises(RefusedError, match=f"/x: HTTP {status} no such thing") as caught:
        JsonServer(url, field="compute.sampler.url").post("/x", {})
    assert (caught.value.status, caught.value.field, caught.value.file) == (status, "compute.sampler.url", url)
    assert caught.value.hint
    assert len(state.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(scripted: Any, status: int) -> None:
    state, url = scripted
    state.script = [(status, {}, {"Location": f"{url}/elsewhere"}), ok({})]
    with pytest.raises(RedpencilError, match=f"it points elsewhere .HTTP {status}., which is not followed"):
        JsonServer(url, key=SECRET).post("/x", {})
    assert len(state.seen) == 1


def test_patience_ends(scripted: Any) -> None:
    state, url = scripted
    state.script = [(503, {"error": "loading"}, {})]
    start = time.monotonic()
    with pytest.raises(RedpencilError, match="/x: HTTP 503 loading") as caught:
        JsonServer(url, patience=0.3).post("/x", {})
    assert not isinstance(caught.value, RefusedError)
    assert 0.25 < time.monotonic() - start < 5
    assert len(state.seen) > 2


def test_what_a_server_is_told_to_do_is_not_repeated_after_its_own_error(scripted: Any) -> None:
    state, url = scripted
    state.script = [(500, {"error": "shape mismatch"}, {}), ok({})]
    with pytest.raises(RedpencilError, match="HTTP 500 shape mismatch"):
        JsonServer(url).order("/load", {})
    state.script = [(503, {}, {}), (200, b"Success: it is no JSON", {})]
    JsonServer(url).order("/load", {})


def test_many_requests_are_answered_once_each_and_no_more_than_so_many_at_once(scripted: Any) -> None:
    state, url = scripted
    now, most, lock = [0], [0], threading.Lock()

    def reply(body: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return (500, {}, {}) if body["n"] % 3 == 0 and state.seen.count(body) == 1 else ok(body["n"] * 2)

    state.script = [reply]
    answers = list(JsonServer(url).each("/x", [{"n": n} for n in range(20)], 4))
    assert sorted(answers) == [(n, 2 * n) for n in range(20)]
    assert 2 <= most[0] <= 4
    assert list(JsonServer(url).each("/x", [], 4)) == []


def test_the_first_refusal_ends_all(scripted: Any) -> None:
    state, url = scripted
    state.script = [lambda body: (400, {}, {}) if body["n"] == 2 else (503, {}, {})]
    start = time.monotonic()
    with pytest.raises(RefusedError):
        list(JsonServer(url, patience=600).each("/x", [{"n": n} for n in range(4)], 4))
    assert time.monotonic() - start < 30


def test_the_key_is_sent_and_never_shown(scripted: Any) -> None:
    state, url = scripted
    state.script = [(401, {"error": f"wrong key {SECRET}"}, {})]
    server = JsonServer(url.replace("http://", f"http://user:{SECRET}@"), key=SECRET)
    assert SECRET not in repr(JsonServer(url, key=SECRET))
    with pytest.raises(RedpencilError) as caught:
        JsonServer(url, key=SECRET).post("/x", {})
    assert state.seen_key == f"Bearer {SECRET}"
    assert SECRET not in str(caught.value)
    with pytest.raises(RedpencilError) as caught:
        JsonServer(server.url, key=SECRET, patience=0).post("/x", {})
    assert SECRET not in str(caught.value)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_from(None) == ""
    monkeypatch.setenv("THE_KEY", f" {SECRET}\n")
    assert key_from("THE_KEY") == SECRET
    for wrong in ("", "  ", "schlüssel", "two\nlines"):
        monkeypatch.setenv("THE_KEY", wrong)
        with pytest.raises(RedpencilError, match="no API key in THE_KEY"):
            key_from("THE_KEY", "x.api_key_variable")


def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(RedpencilError, match="no connection") as caught:
        JsonServer("http://127.0.0.1:9", patience=0.1).post("/x", {})
    assert "server runs there" in (caught.value.hint or "")
