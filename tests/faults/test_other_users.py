"""Another user of the machine: what is private cannot be read or written, at whatever moment and under any umask."""

import http.client
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from redpencil.files import partial_of
from redpencil.web.auth import Role, add_person, cookie_name, list_people, new_session, server_secret, sign_session
from redpencil.web.database import open_database, reading

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can act as another user"),
]

SERVER = Path(__file__).parents[2] / "benchmarks" / "stub_llm_server.py"
NOBODY = 65534
Start = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture(name="start")
def start_and_end(start: Callable[..., "subprocess.Popen[str]"]) -> Start:
    """Starts a command, and kills it at the end if it runs still, so that a test that fails does not wait for it."""

    @contextmanager
    def begin(*arguments: str, **options: object) -> Iterator["subprocess.Popen[str]"]:
        with start(*arguments, **options) as process:
            try:
                yield process
            finally:
                process.kill()

    return begin


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that all users can enter and read, with responses in it that they may read."""
    folder = Path(tempfile.mkdtemp(prefix="redpencil-shared-"))
    folder.chmod(0o755)
    rows = ({"id": str(n), "prompt": f"q{n}", "response": f"the cat {n} sat on a mat"} for n in range(200))
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def can(what: str, path: Path) -> bool:
    """Whether the other user can read ("<") or write (">>") a file."""
    command = ["sh", "-c", f'true {what} "$0"', str(path)]
    done = subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
    return done.returncode == 0


def reached(folder: Path) -> set[str]:
    """The files below a folder that the other user can read or write."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return {path.relative_to(folder).as_posix() for path in files if can("<", path) or can(">>", path)}


def ask(port: str, method: str, path: str, cookie: str) -> tuple[int, str | None, bytes]:
    """Status, cookie and body of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)) as connection:
        connection.request(method, path, headers={"Cookie": cookie})
        answer = connection.getresponse()
        return answer.status, answer.getheader("set-cookie"), answer.read()


def line_of(process: "subprocess.Popen[str]", pattern: str) -> re.Match[str]:
    """Wait until a process prints a line."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line with {pattern}")


def test_a_service_that_runs_and_one_that_was_killed(shared: Path, start: Start) -> None:
    environment = {**os.environ, "TMPDIR": str(shared / "tmp")}
    command = ("annotate", "edits.db", "--responses", "r.jsonl", "--port", "0")
    with start(*command, cwd=shared, umask=0, env=environment) as process:
        port, token = line_of(process, r"http://127\.0\.0\.1:(\d+)/join/(\S+)").groups()
        line_of(process, "opens once")
        cookie = str(ask(port, "POST", f"/join/{token}", "")[1]).split(";")[0]
        csrf = json.loads(ask(port, "GET", "/api/me", cookie)[2])["csrf"]
        head = f"POST /api/import HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nX-CSRF-Token: {csrf}\r\n"
        with socket.create_connection(("127.0.0.1", int(port))) as upload:  # one that has not ended
            upload.sendall(f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 80_000)
            deadline = time.monotonic() + 30
            while not list(shared.glob("tmp/*/responses")):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert {"edits.db", "edits.db-wal", "edits.db-shm"} <= {path.name for path in shared.iterdir()}
            assert reached(shared) == {"r.jsonl"}
        process.kill()
    assert (shared / "edits.db-wal").exists()
    assert reached(shared) == {"r.jsonl"}


def test_an_edit_that_runs_and_one_that_was_killed(shared: Path, start: Start) -> None:
    stub = [sys.executable, str(SERVER), "--port", "0", "--latency-s", "0.2"]
    with subprocess.Popen(stub, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"
            model = ("--provider", "openai", "--model", "stub-1", "--base-url", address)
            command = ("edit", "--responses", "r.jsonl", "--out", "e.jsonl", *model, "--concurrency", "1")
            environment = {**os.environ, "OPENAI_API_KEY": "none"}
            with start(*command, cwd=shared, umask=0, env=environment) as process:
                deadline, lock = time.monotonic() + 60, shared / "e.jsonl.cache.lock"
                while not lock.exists() or int(lock.read_text() or 0) < 3:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                assert {"e.jsonl.cache", "e.jsonl.cache-wal"} <= {path.name for path in shared.iterdir()}
                assert reached(shared) == {"r.jsonl"}
                process.kill()
            assert reached(shared) == {"r.jsonl"}
            with start(*command, "--batch-out", "batch.jsonl", cwd=shared, umask=0, env=environment) as process:
                assert process.wait() == 0, process.stdout
            assert (shared / "batch.jsonl").exists()
            assert reached(shared) == {"r.jsonl"}
        finally:
            server.terminate()


def test_what_was_open_to_all_is_mended_at_the_start_and_an_old_cookie_opens_nothing(
    shared: Path, start: Start
) -> None:
    engine = open_database(shared / "edits.db")
    add_person(engine, "ada", Role.ADMIN)
    secret = server_secret(engine)
    with reading(engine) as connection:
        (admin,) = list_people(connection)
    forged = sign_session(secret, new_session(admin, time.time()))
    engine.dispose()
    out = shared / "edits.jsonl"
    for path in (shared / "edits.db", out, partial_of(out)):
        path.touch()
        path.chmod(0o666)
    assert {"edits.db", "edits.jsonl"} <= reached(shared)
    with start("annotate", "edits.db", "--export", "edits.jsonl", cwd=shared, umask=0) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        assert process.wait() == 0, said
    assert "could read" in " ".join(said.split())
    assert reached(shared) == {"r.jsonl"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    engine = open_database(shared / "edits.db")
    renewed = server_secret(engine)
    engine.dispose()
    assert renewed != secret
    with start("annotate", "edits.db", "--port", "0", cwd=shared) as process:
        port = line_of(process, r"http://127\.0\.0\.1:(\d+)/join/")[1]
        line_of(process, "opens once")
        for key in (secret, renewed):
            assert ask(port, "GET", "/api/me", f"{cookie_name(key)}={forged}")[0] == 401
        process.kill()
