"""The server as a process: how it starts, what it says, and that it survives being killed."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from redpencil.errors import RedpencilError
from redpencil.records import Response
from redpencil.web.auth import add_person, last_address
from redpencil.web.database import open_database, reading
from redpencil.web.items import import_responses
from redpencil.web.schema import assignment, event, item, submission
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
def test_a_start_ends_nobodys_link(tmp_path: Path, start: Start) -> None:
    database = tmp_path / "edits.db"
    engine = open_database(database)
    boss = add_person(engine, "boss", "admin")
    engine.dispose()
    server, link = start(database)
    with joined(link) as client:
        assert client.get("/api/me").json()["name"] == "boss"
    url = link.split("/join/")[0]
    assert httpx2.post(link).status_code == 403  # it opened once
    server.terminate()
    server.wait(timeout=30)
    start(database, port=int(url.rsplit(":", 1)[1]))
    with joined(f"{url}/join/{boss}") as client:
        assert client.get("/api/me").json()["name"] == "boss"


def test_what_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda _, sockets: sockets[0].close())
    said: list[str] = []
    for host, base_url in (("127.0.0.1", None), ("0.0.0.0", None), ("0.0.0.0", "https://edits.example.org/")):
        serve(tmp_path / "edits.db", host=host, port=0, base_url=base_url, say=said.append)
    assert ["warning" in line for line in said] == [False] * 6 + [True] + [False] * 3
    assert "--base-url" in said[6]
    assert "within 60 minutes" in said[2]
    assert said[7].startswith("https://edits.example.org/join/")
    engine = open_database(tmp_path / "edits.db")
    with reading(engine) as connection:
        assert last_address(connection) == "https://edits.example.org"
    engine.dispose()
    with pytest.raises(RedpencilError, match="cannot live below a path"):
        serve(tmp_path / "edits.db", base_url="https://example.org/edits")


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


class Editor:
    """Somebody with a task in hand who sends it in, and notes what is answered."""

    def __init__(self, url: str, token: str) -> None:
        self.client = httpx2.Client(base_url=url, timeout=30)
        assert self.client.post(f"/join/{token}").status_code == 303
        self.client.headers["X-CSRF-Token"] = self.client.get("/api/me").json()["csrf"]
        self.path, self.sent = "", {}
        self.answers: list[dict[str, object]] = []

    def take(self) -> None:
        task = self.client.post("/api/next").json()
        self.path = f"/api/assignments/{task['assignment_id']}/submit"
        self.sent = {"version": task["version"], "text": f"{task['response']} {self.path}", "outcome": "edited"}
        self.answers = []

    def hand_in(self) -> bool:
        """Whether an answer arrived."""
        try:
            answer = self.client.post(self.path, json=self.sent)
        except httpx2.TransportError:
            return False
        assert answer.status_code == 200, answer.text
        self.answers.append(answer.json())
        return True


@pytest.mark.slow
def test_a_server_killed_amid_submits_loses_none_that_it_answered_and_doubles_none(place: str, start: Start) -> None:
    crowd, kill_after = 16, (1, 5, 11)
    engine = open_database(place)
    import_responses(engine, [Response(f"r{i}", "Q", "some words") for i in range(crowd * len(kill_after))])
    tokens = [add_person(engine, f"editor {number}") for number in range(crowd)]
    server, link = start(place)
    url = link.split("/join/")[0]
    editors = [Editor(url, token) for token in tokens]
    interrupted, expected = 0, {}
    with ThreadPoolExecutor(crowd) as pool:
        for answered_before in kill_after:
            list(pool.map(Editor.take, editors))
            interrupted += _hand_in_and_kill(pool, editors, server, answered_before)
            server, _ = start(place, port=int(url.rsplit(":", 1)[1]))
            for _ in range(2):  # what got no answer is sent again, and what got one too
                assert all(pool.map(Editor.hand_in, editors))
            for editor in editors:
                assert all(answer == editor.answers[0] for answer in editor.answers)
                expected[editor.answers[0]["submission_id"]] = editor.sent["text"]
    for editor in editors:
        editor.client.close()
    assert interrupted > 0
    assert len(expected) == crowd * len(kill_after)
    with reading(engine) as connection:
        rows = connection.execute(select(submission.c.id, submission.c.edited, submission.c.undone)).all()
        assert sorted(rows) == sorted((number, text, None) for number, text in expected.items())
        assert set(connection.scalars(select(item.c.done))) == {1}
        assert set(connection.scalars(select(assignment.c.state))) == {"done"}
        assert connection.scalar(select(func.count()).where(event.c.action == "submit")) == len(expected)
    engine.dispose()


def _hand_in_and_kill(
    pool: ThreadPoolExecutor, editors: list[Editor], server: "subprocess.Popen[str]", answered_before: int
) -> int:
    """All hand in at once, and the server is killed with the answer of so many; gives how many got none."""
    answers = itertools.count(1)
    together = threading.Barrier(len(editors))

    def hand_in(editor: Editor) -> bool:
        together.wait()
        answered = editor.hand_in()
        if answered and next(answers) == answered_before:
            os.kill(server.pid, signal.SIGKILL)
        return answered

    done = list(pool.map(hand_in, editors))
    server.wait()
    return done.count(False)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_process_that_started_it(tmp_path: Path, start: Start, how: signal.Signals) -> None:
    server, link = start(tmp_path / "edits.db", workers=2)
    port = int(link.split("/join/")[0].rsplit(":", 1)[1])
    workers = children_of(server.pid)
    assert len(workers) >= 2
    server.send_signal(how)
    assert server.wait(timeout=30) == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    deadline = time.monotonic() + 30
    while alive := [pid for pid in workers if state_of(pid) not in (None, "Z")]:
        assert time.monotonic() < deadline, f"{alive} are left of {workers}"
        time.sleep(0.05)
    bind("127.0.0.1", port).close()


def children_of(parent: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := _stat(pid)) and int(fields[1]) == parent]


def state_of(pid: int) -> str | None:
    """Z for one that is dead and whose parent has not noticed."""
    fields = _stat(pid)
    return fields[0] if fields else None


def _stat(pid: int) -> list[str]:
    """State, parent and so on of a process; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return []


@pytest.mark.slow
def test_a_request_that_is_too_large_is_answered_by_the_real_server(tmp_path: Path, start: Start) -> None:
    _, link = start(tmp_path / "edits.db")
    with joined(link) as client:
        assert client.post("/api/diff", content=b"x" * (5 * 1024 * 1024)).status_code == 413
        assert client.get("/api/me").status_code == 200


@pytest.mark.slow
def test_a_request_that_is_cut_off_in_its_body_is_one_line_of_the_log(tmp_path: Path) -> None:
    database, log = tmp_path / "edits.db", tmp_path / "log"
    engine = open_database(database)
    import_responses(engine, [Response("r0", "Q", "some words")])
    engine.dispose()
    with log.open("wb") as out:
        command = [sys.executable, "-c", SCRIPT, str(database), "1", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, text=True)
    try:
        assert server.stdout is not None
        link = server.stdout.readline().split()[0]
        _wait_until_it_answers(link.split("/join/")[0])
        with joined(link) as client:
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
            csrf = client.headers["X-CSRF-Token"]
            address = ("127.0.0.1", int(link.split("/join/")[0].rsplit(":", 1)[1]))
            for method, path in (
                ("POST", "/api/diff"),
                ("PUT", "/api/assignments/1/draft"),
                ("POST", "/api/import"),
                ("POST", "/sign-out"),
            ):
                head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nX-CSRF-Token: {csrf}\r\n"
                head += "Content-Type: multipart/form-data; boundary=x\r\n"
                with socket.create_connection(address) as sent:
                    sent.sendall(f"{head}Content-Length: 1000\r\n\r\n--".encode())
                    time.sleep(0.3)
            deadline = time.monotonic() + 20
            while log.read_text().count("\n") < 4 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert client.get("/api/me").status_code == 200
    finally:
        server.terminate()
        server.wait(timeout=30)
        server.stdout.close()
    lines = log.read_text().splitlines()
    assert len(lines) == 4, lines
    assert all("a request was cut off: " in line for line in lines), lines


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
    heavy = ("torch", "transformers", "numpy", "pandas", "pyarrow", "scipy", "alembic")
    script = f"import sys, redpencil.web.server; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
