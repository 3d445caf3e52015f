"""The server as a process: how it starts, what it says, and that it survives being killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from redpencil.errors import RedpencilError
from redpencil.records import Response
from redpencil.web.database import open_database
from redpencil.web.items import import_responses
from redpencil.web.server import bind, serve

SCRIPT = """
import sys
from redpencil.web.server import serve
place, workers, port = sys.argv[1:]
serve(place, port=int(port), workers=int(workers), say=lambda line: print(line, flush=True))
"""
Start = Callable[..., tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server process and gives it with the admin's invite link."""
    started: list[subprocess.Popen[str]] = []

    def run(place: object, *, workers: int = 1, port: int = 0) -> tuple[subprocess.Popen[str], str]:
        server = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(place), str(workers), str(port)], stdout=subprocess.PIPE, text=True
        )
        started.append(server)
        assert server.stdout is not None
        link = server.stdout.readline().split()[0]
        _wait_until_it_answers(link.split("/join/")[0])
        return server, link

    yield run
    for server in started:
        if server.poll() is None:
            server.terminate()
        server.wait(timeout=30)
        assert server.stdout is not None
        server.stdout.close()


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
            return
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)


@contextmanager
def joined(link: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=link.split("/join/")[0], timeout=30) as client:
        assert client.post(link).status_code == 303
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        yield client


@pytest.mark.slow
def test_drafts_and_sessions_outlive_a_server_that_is_killed(tmp_path: Path, start: Start) -> None:
    database = tmp_path / "edits.db"
    engine = open_database(database)
    import_responses(engine, [Response("r0", "Q", "some words")])
    engine.dispose()
    server, link = start(database)
    port = int(link.split("/join/")[0].rsplit(":", 1)[1])
    with joined(link) as client:
        task = client.post("/api/next").json()
        path = f"/api/assignments/{task['assignment_id']}"
        saved = client.put(f"{path}/draft", json={"text": "my words", "version": task["version"], "active_s": 1})
        assert saved.status_code == 200
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        _, new_link = start(database, port=port)
        assert new_link != link
        assert client.get(path).json()["draft"] == "my words"  # with the session that it had
        assert client.post(link).status_code == 403
        sent = {"version": saved.json()["version"], "text": "my words", "outcome": "edited"}
        assert client.post(f"{path}/submit", json=sent).status_code == 200


@pytest.mark.slow
def test_several_processes_share_sessions_and_work(postgres_url: str, start: Start) -> None:
    engine = open_database(postgres_url)
    import_responses(engine, [Response(f"r{i}", "Q", f"some words {i}") for i in range(20)])
    engine.dispose()
    server, link = start(postgres_url, workers=2)
    with joined(link) as client:
        for _ in range(20):
            task = client.post("/api/next", headers={"Connection": "close"}).json()
            sent = {"version": task["version"], "outcome": "no_edit_needed"}
            assert client.post(f"/api/assignments/{task['assignment_id']}/submit", json=sent).status_code == 200
        assert client.post("/api/next").status_code == 204
        assert len(client.get("/api/export/edits").text.splitlines()) == 20
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=30) == 0


@pytest.mark.slow
def test_a_request_that_is_too_large_is_answered_by_the_real_server(tmp_path: Path, start: Start) -> None:
    _, link = start(tmp_path / "edits.db")
    with joined(link) as client:
        assert client.post("/api/diff", content=b"x" * (5 * 1024 * 1024)).status_code == 413
        assert client.get("/api/me").status_code == 200


def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RedpencilError, match=f"cannot listen on 127.0.0.1, port {port}"):
            serve(tmp_path / "edits.db", port=port)
    for host, number in (("192.0.2.1", 0), ("no such host.invalid", 0), ("127.0.0.1", 99999)):
        with pytest.raises(RedpencilError, match="cannot listen on"):
            bind(host, number)


@pytest.mark.slow
def test_an_answer_waits_for_nothing(tmp_path: Path, start: Start) -> None:
    _, link = start(tmp_path / "edits.db")
    with joined(link) as client:
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert client.post("/api/diff", json={"original": "a", "edited": "b"}).status_code == 200
            took.append(time.monotonic() - began)
    assert min(took) < 0.035


def test_it_starts_without_what_is_slow_to_load() -> None:
    heavy = ("torch", "transformers", "numpy", "pandas", "pyarrow", "scipy", "alembic", "matplotlib")
    script = f"import sys, redpencil.web.server; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
