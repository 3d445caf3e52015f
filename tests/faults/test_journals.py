"""Damage to a response cache: no answer becomes another one, and none is paid for twice without a word."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SERVER = Path(__file__).parents[2] / "benchmarks" / "stub_llm_server.py"
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
RESPONSES = 40
RUN = "from redpencil.cli.main import main; main()"


@dataclass(frozen=True)
class Paid:
    """A command whose answers were paid for: its files, and the server that counts what is asked."""

    folder: Path
    address: str
    asked: int
    edits: bytes

    def again(self) -> tuple[int, str, int]:
        """Run it once more: its exit code, what it said on one line, and how many requests it has sent."""
        done = edit(self.folder, self.address)
        return done.returncode, " ".join(done.stderr.split()), count(self.address) - self.asked


def count(address: str) -> int:
    with urllib.request.urlopen(f"{address}/stats", timeout=10) as reply:
        return int(json.load(reply).get("paid", 0))


ENVIRONMENT = {**os.environ, "OPENAI_API_KEY": "none", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}


def command(address: str, *more: str) -> list[str]:
    provider = ("--provider", "openai", "--model", "stub-1", "--base-url", f"{address}/v1")
    return [sys.executable, "-c", RUN, "edit", "--responses", "r.jsonl", "--out", "e.jsonl", *provider, *more]


def edit(folder: Path, address: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(address), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(SERVER), "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        process.terminate()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, server: str) -> Path:
    """The files of a command whose answers were paid for."""
    folder = tmp_path_factory.mktemp("paid")
    words = "the cat {} sat on a mat and looked at the sea, which was very blue. " * 12
    rows = (
        {"id": str(n), "prompt": f"question {n}", "response": words.replace("{}", str(n))} for n in range(RESPONSES)
    )
    (folder / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = edit(folder, server)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def paid(first: Path, tmp_path: Path, server: str) -> Paid:
    """A copy of them."""
    shutil.copytree(first, tmp_path, dirs_exist_ok=True)
    return Paid(tmp_path, server, count(server), (tmp_path / "e.jsonl").read_bytes())


def zeros(content: bytearray, place: float) -> None:
    start = int(place * len(content)) // 4096 * 4096
    content[start : start + 4096] = bytes(4096)


def flipped_bit(content: bytearray, place: float) -> None:
    content[int(place * len(content))] ^= 4


def cut_off(content: bytearray, place: float) -> None:
    del content[int(place * len(content)) :]


@pytest.mark.parametrize("damage", [zeros, flipped_bit, cut_off])
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_damaged_cache(paid: Paid, damage: Callable[[bytearray, float], None], number: int) -> None:
    cache = paid.folder / "e.jsonl.cache"
    content = bytearray(cache.read_bytes())
    damage(content, random.Random(f"{damage.__name__} {number}").random())
    cache.write_bytes(content)
    code, said, asked = paid.again()
    if code == 0:  # it hit what no answer needs
        assert asked == 0, said
    else:
        assert (code, asked) == (1, 0), said
        assert "response cache" in said
        assert "hint: " in said
        assert "Traceback" not in said
        assert "pay" in said
        kept = re.findall(rf"(\d+) of {RESPONSES} answers could be read and are kept", said)
        code, said, asked = paid.again()
        if kept:  # whoever reads that and goes on pays for what is lost, and for no more
            assert (code, asked) == (0, RESPONSES - int(kept[0])), said
        else:  # nothing can be read, and the cache is refused until somebody decides
            assert (code, asked) == (1, 0), said
    assert (paid.folder / "e.jsonl").read_bytes() == paid.edits


@pytest.fixture(scope="module")
def killed(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a command that was killed after some answers; all of them are in SQLite's log."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copy(first / "r.jsonl", folder)
    stub = [sys.executable, str(SERVER), "--port", "0", "--latency-s", "0.1"]
    with subprocess.Popen(stub, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        lock = folder / "e.jsonl.cache.lock"
        with subprocess.Popen(command(address, "--concurrency", "1"), cwd=folder, env=ENVIRONMENT) as process:
            while process.poll() is None and (not lock.exists() or int(lock.read_text() or 0) < 12):
                time.sleep(0.02)
            process.kill()
        server.terminate()
    assert process.returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("damage", ["deleted", "emptied", "half", "its head", "its middle", "a bit"])
def test_a_damaged_log_of_a_command_that_was_killed(killed: Path, tmp_path: Path, server: str, damage: str) -> None:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    log = tmp_path / "e.jsonl.cache-wal"
    content = bytearray(log.read_bytes())
    assert len(content) > 40_000
    if damage == "its head":
        content[:32] = bytes(32)
    elif damage == "its middle":
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    elif damage == "a bit":
        content[len(content) // 3] ^= 4
    else:
        del content[len(content) // 2 if damage == "half" else 0 :]
    log.write_bytes(content)
    if damage == "deleted":
        log.unlink()
    (tmp_path / "e.jsonl.cache-shm").unlink()
    asked = count(server)
    done = edit(tmp_path, server)
    said = " ".join(done.stderr.split())
    assert (done.returncode, count(server)) == (1, asked), said
    assert re.search(r"has lost \d+ of its \d+ answers|\d+ of \d+ answers could be read and are kept", said), said
    assert "pay for the others" in said


@pytest.mark.parametrize("lost", ["deleted", "emptied", "an older copy"])
def test_answers_that_are_lost(paid: Paid, lost: str) -> None:
    cache = paid.folder / "e.jsonl.cache"
    before = cache.read_bytes()
    if lost == "deleted":
        cache.unlink()
    elif lost == "emptied":
        cache.write_bytes(b"")
    else:
        with (paid.folder / "r.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(json.dumps({"id": "new", "prompt": "q", "response": "one more of them"}) + "\n")
        assert paid.again()[0] == 0
        cache.write_bytes(before)
    asked_before = count(paid.address)
    for _ in range(2):
        code, said, _ = paid.again()
        assert code == 1, said
        assert f"of its {RESPONSES + (lost == 'an older copy')} answers" in said
        assert count(paid.address) == asked_before
    (paid.folder / "e.jsonl.cache.lock").unlink()  # as the hint says
    code, said, _ = paid.again()
    assert code == 0, said
    assert count(paid.address) - asked_before == (1 if lost == "an older copy" else RESPONSES)


def test_another_server_has_its_own_answers(paid: Paid, server: str) -> None:
    port = server.rsplit(":", 1)[1]
    other = Paid(paid.folder, f"http://localhost:{port}", paid.asked, paid.edits)
    code, said, asked = other.again()
    assert (code, asked) == (0, RESPONSES), said
    assert paid.again()[2] == RESPONSES  # and the first one's are still there
