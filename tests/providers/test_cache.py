"""The response cache: nothing is lost, whatever kills the process."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Result, StopReason, Usage, request_key
from redpencil.providers.cache import Entry, ResponseCache, open_cache

KEYS = [request_key({}, [Message("user", str(number))]) for number in range(4)]
texts = st.text(st.characters(exclude_categories=("Cs",)))
completions = st.builds(
    Completion,
    texts,
    st.sampled_from(StopReason),
    st.none() | st.builds(Usage, st.integers(0, 10**9), st.integers(0, 10**9)),
)


def key_of(text: str) -> str:
    return request_key({}, (Message("user", text),))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(KEYS), completions | st.builds(Failure, texts)), max_size=8))
def test_it_is_a_mapping_whose_answers_stay(steps: list[tuple[str, Result]]) -> None:
    model: dict[str, Result] = {}
    with open_cache() as cache:
        for key, result in steps:
            cache.mark_sent(key, "m")
            cache.store(key, "m", result)
            if not isinstance(model.get(key), Completion):
                model[key] = result
        for key in KEYS:
            known = model.get(key)
            entry = cache.get(key)
            assert entry.completion == (known if isinstance(known, Completion) else None)
            assert entry.problem == (known.problem if isinstance(known, Failure) else None)
            assert (entry == Entry()) == (known is None)
        assert len(cache) == sum(isinstance(result, Completion) for result in model.values())


class Reopened(RuleBasedStateMachine):
    """A cache on disk, closed and opened between any two steps, against a dictionary."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cache"
        self.answers: dict[str, Completion] = {}
        self.pending: set[str] = set()

    @rule(target=keys, text=texts)
    def key(self, text: str) -> str:
        return key_of(text)

    @rule(key=keys)
    def ask(self, key: str) -> None:
        with open_cache(self.path) as cache:
            cache.mark_sent(key, "m")
        if key not in self.answers:
            self.pending.add(key)

    @rule(key=keys, completion=completions)
    def answer(self, key: str, completion: Completion) -> None:
        with open_cache(self.path) as cache:
            cache.store(key, "m", completion)
        self.answers.setdefault(key, completion)
        self.pending.discard(key)

    @rule(key=keys)
    def look(self, key: str) -> None:
        with open_cache(self.path) as cache:
            assert cache.get(key).completion == self.answers.get(key)
            assert cache.get(key).pending == (key in self.pending)
            assert len(cache) == len(self.answers)

    def teardown(self) -> None:
        self.folder.cleanup()


TestReopened = Reopened.TestCase
TestReopened.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


def test_an_answer_of_a_batch_is_known_as_such_and_the_first_answer_decides() -> None:
    live, batch, failed = KEYS[:3]
    with open_cache() as cache:
        cache.store(live, "m", Completion("a"))
        cache.store(live, "m", Completion("b"), batch=True)
        cache.store(batch, "m", Failure("broken"))
        cache.store(batch, "m", Completion("a"), batch=True)
        cache.store(batch, "m", Completion("b"))
        cache.store(failed, "m", Failure("expired"), batch=True)
        assert [cache.get(key).batch for key in KEYS] == [False, True, False, False]


KILLED = """
import sys, time
from pathlib import Path
from redpencil.providers.base import Completion, Message
from redpencil.providers.cache import open_cache
from redpencil.providers.job import ProviderJob

class Slow:
    name, identity = "slow", {}
    def answer(self, requests):
        for request in requests:
            print(request.messages[0].content, flush=True)
            yield request, Completion("x" * 1000)

def requests_of(number):
    yield [Message("user", str(number))]

with open_cache(Path(sys.argv[1])) as cache:
    job = ProviderJob(
        rows=range(100_000), requests_of=requests_of, result_of=None, answer_bytes=None, provider=Slow(), cache=cache
    )
    for _ in job.ask():
        pass
"""


def test_kill_9_loses_at_most_the_request_under_way(tmp_path: Path) -> None:
    path, answered = tmp_path / "cache", 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = int(process.stdout.readline())
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGKILL)
        last = max([first, *map(int, process.stdout.read().split())])
        process.wait()
        process.stdout.close()
        # The run begins with the first number that has no answer.
        assert first == answered
        with open_cache(path) as cache:
            answered = len(cache)
            # All are answered but perhaps the last one; one more may have been noted and not printed.
            assert last <= answered <= last + 1
            assert all(cache.get(key_of(str(number))).completion for number in range(answered))
            assert cache.get(key_of(str(answered))).completion is None
            assert not cache.get(key_of(str(answered + 1))).pending


def test_two_processes_cannot_use_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    script = "import sys\nfrom pathlib import Path\nfrom redpencil.providers.cache import open_cache\n"
    script += "with open_cache(Path(sys.argv[1])): pass"
    with open_cache(path):
        other = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert (other.returncode, "another process is using this response cache" in other.stderr) == (1, True)
    again = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0


def test_a_lock_ends_with_its_cache_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), open_cache(tmp_path / "cache"):
        raise ValueError("mine")
    with open_cache(tmp_path / "cache") as cache:
        assert len(cache) == 0


def test_a_cache_has_one_lock_whatever_name_leads_to_it(tmp_path: Path) -> None:
    path, link, folder = tmp_path / "cache", tmp_path / "link", tmp_path / "folder"
    link.symlink_to("cache")
    folder.symlink_to(".")
    with open_cache(link) as cache:
        cache.store(KEYS[0], "m", Completion("a"))
        for name in (path, link, folder / "cache"):
            with pytest.raises(RedpencilError, match="another process is using"), open_cache(name):
                pass
    with open_cache(path) as cache:
        assert cache.get(KEYS[0]).completion == Completion("a")
    assert link.is_symlink()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a system without /proc")
def test_where_no_file_can_be_made_the_system_says_why() -> None:
    with (
        pytest.raises(RedpencilError, match=r"cannot open the response cache \(No such file"),
        open_cache(Path("/proc/j")),
    ):
        pass


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_cache_that_holds_nothing_is_removed_with_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with open_cache(path):
        pass
    assert left_in(tmp_path) == []

    def no_server() -> None:
        with open_cache(path) as cache:
            cache.mark_sent(KEYS[0], "m")
            raise RedpencilError("no server")

    def interrupted() -> None:
        with open_cache(path) as cache:
            cache.mark_sent(KEYS[0], "m")
            raise KeyboardInterrupt

    with pytest.raises(RedpencilError, match="no server"):
        no_server()
    assert left_in(tmp_path) == []
    # Whether this one was paid for nobody knows; so it is remembered, also where the next run comes to nothing.
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(RedpencilError, match="no server"):
        no_server()
    with open_cache(path) as cache:
        assert cache.get(KEYS[0]).pending
        cache.store(KEYS[0], "m", Failure("broken"))
    assert left_in(tmp_path) == ["cache", "cache.lock"]


@pytest.mark.parametrize(
    "damage", ["stop_reason = NULL", "stop_reason = 'tired'", "output_tokens = NULL", "text = 'b'", "text = NULL"]
)
def test_a_damaged_row_is_no_answer(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "cache"
    with open_cache(path) as cache:
        cache.store(KEYS[0], "m", Completion("a", usage=Usage(1, 2)))
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE answer SET {damage}")
    connection.close()
    with pytest.raises(RedpencilError, match="was damaged; 0 of 1 answers") as caught, open_cache(path):
        pass
    assert caught.value.file == str(path)


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    with open_cache(path) as cache:
        cache.mark_sent(KEYS[0], "m")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "cannot be used"),
        (foreign, "not a response cache"),
        (newer, "a response cache of version 9"),
        (lambda path: path.mkdir(), "cannot be a folder"),
    ],
)
def test_files_that_are_no_caches_are_refused_and_left_alone(tmp_path: Path, make: Any, problem: str) -> None:
    path = tmp_path / "cache"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(RedpencilError, match=problem) as raised, open_cache(path):
        pass
    assert raised.value.file == str(path)
    assert raised.value.hint is not None
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_cache_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_cache() as cache:
        assert isinstance(cache, ResponseCache)
    assert list(tmp_path.iterdir()) == []


def filled(path: Path, answers: int = 200) -> dict[str, Completion]:
    """Answers of a few kB, one of which is left pending, in a cache that was closed."""
    known = {key_of(str(n)): Completion(f"answer {n} " * 200, usage=Usage(n, n)) for n in range(answers)}
    with open_cache(path) as cache:
        for key, completion in known.items():
            cache.store(key, "m", completion)
        cache.mark_sent(key_of("pending"), "m")
    return known


def test_a_cache_is_private_from_its_first_byte_and_an_old_one_is_mended(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        for _ in range(2):
            with open_cache(tmp_path / "cache") as cache:
                cache.store(key_of("a"), "m", Completion("what people wrote"))
                rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
                assert rights == dict.fromkeys(["cache", "cache-wal", "cache-shm", "cache.lock"], 0o600)
            (tmp_path / "cache").chmod(0o644)
    finally:
        os.umask(before)


def test_a_damaged_cache_that_others_could_read_is_for_its_owner_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    filled(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
    path.write_bytes(content)
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    with pytest.raises(RedpencilError, match="was damaged"), open_cache(path):
        pass
    rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert {"cache", "cache.damaged", "cache.lock"} <= set(rights)
    assert set(rights.values()) == {0o600}


def test_a_file_that_is_no_cache_keeps_its_rights(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "other.db").chmod(0o644)
    with pytest.raises(RedpencilError, match="not a response cache"), open_cache(tmp_path / "other.db"):
        pass
    assert stat.S_IMODE((tmp_path / "other.db").stat().st_mode) == 0o644


@pytest.mark.parametrize("noted", [b"", b"-5", b"9" * 6000, b"\xff\x00", "²".encode()])
def test_a_damaged_number_of_answers_costs_no_answer(tmp_path: Path, noted: bytes) -> None:
    known = filled(tmp_path / "cache")
    (tmp_path / "cache.lock").write_bytes(noted)
    with open_cache(tmp_path / "cache") as cache:
        assert len(cache) == len(known)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from([1, 100, 4096, 20_000]), st.booleans())
def test_wherever_a_cache_is_damaged_no_answer_is_wrong_and_none_is_lost_in_silence(
    place: float, size: int, random: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache"
        known = filled(path)
        content = bytearray(path.read_bytes())
        start = int(place * len(content))
        noise = bytes((byte ^ 0x55) if random else 0 for byte in content[start : start + size])
        content[start : start + size] = noise
        path.write_bytes(content)
        said = []
        for _ in range(2):
            try:
                with open_cache(path) as cache:
                    found = {key: cache.get(key).completion for key in known}
            except RedpencilError as error:
                said.append(str(error))
            else:
                break
        if said == []:
            assert found == known
        elif len(said) == 1:
            assert all(completion in (None, known[key]) for key, completion in found.items())
            assert (Path(folder) / "cache.damaged").read_bytes() == content
            assert "run the command again to pay for the others" in said[0]
        else:  # nothing of it can be read
            assert path.read_bytes() == content
            assert "choose another --cache, which pays for all answers anew" in said[1]


def test_most_of_a_damaged_cache_is_salvaged_and_the_damaged_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    known = filled(path)
    content = bytearray(path.read_bytes())
    content[40 * 4096 : 41 * 4096] = bytes(4096)
    path.write_bytes(content)
    with (
        pytest.raises(RedpencilError, match=r"was damaged; (\d+) of 200 answers could be read") as caught,
        open_cache(path),
    ):
        pass
    assert (tmp_path / "cache.damaged").read_bytes() == content
    assert "run the command again to pay for the others" in str(caught.value.hint)
    with open_cache(path) as cache:
        kept = [key for key in known if cache.get(key).completion == known[key]]
        assert f" {len(kept)} of 200" in caught.value.problem
        assert 190 <= len(kept) < 200  # a page holds two of them
        assert cache.get(key_of("pending")).pending


@pytest.mark.parametrize("damage", ["deleted", "emptied", "older copy", "no wal", "zeroed wal", "cut wal", "torn wal"])
def test_answers_that_are_gone_are_not_paid_for_again_in_silence(tmp_path: Path, damage: str) -> None:
    path, wal = tmp_path / "cache", tmp_path / "cache-wal"
    filled(path, 3)
    older = path.read_bytes()
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from redpencil.providers.base import Completion\nfrom redpencil.providers.cache import open_cache\n"
        "with open_cache(Path(sys.argv[1])) as cache:\n"
        "    for n in range(20): cache.store(f'{n:064x}', 'm', Completion('x' * 5000))\n"
        "    os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    content = wal.read_bytes()
    assert len(content) > 100_000
    if damage == "deleted":
        path.unlink()
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "older copy":
        path.write_bytes(older)
        wal.unlink()
    elif damage == "no wal":
        wal.unlink()
    elif damage == "zeroed wal":
        wal.write_bytes(content[:60_000] + bytes(4096) + content[64_096:])
    elif damage == "cut wal":
        wal.write_bytes(content[: len(content) // 2])
    else:
        wal.write_bytes(content[:40] + bytes(4096) + content[4136:])
    for _ in range(2):
        with pytest.raises(RedpencilError, match=r"has lost \d+ of its 23 answers") as caught, open_cache(path):
            pass
    if damage not in ("deleted", "emptied"):
        wal.write_bytes(content)
        with open_cache(path) as cache:
            assert len(cache) == 23  # what the user brings back is whole
        return
    assert f"delete {path}.lock" in str(caught.value.hint)
    (tmp_path / "cache.lock").unlink()
    with open_cache(path) as cache:
        assert len(cache) == 0


def test_the_number_of_answers_is_not_noted_where_the_disk_is_full(tmp_path: Path) -> None:
    import resource

    def fill() -> None:
        with open_cache(tmp_path / "cache") as cache:
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
            try:
                cache.store(KEYS[0], "m", Completion("a"))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.raises(RedpencilError, match="response cache") as caught:
        fill()
    assert "make room" in str(caught.value.hint)
