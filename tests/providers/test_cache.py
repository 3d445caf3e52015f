"""The journal: nothing is asked twice, nothing is lost, whatever kills the process."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from redpencil.errors import RedpencilError
from redpencil.providers.base import (
    Completion,
    Failure,
    Message,
    Request,
    Result,
    StopReason,
    Usage,
    request_key,
)
from redpencil.providers.cache import (
    Journal,
    Spent,
    ask_due,
    ask_missing,
    foreign_keys,
    open_journal,
    spent,
    unanswered,
)

KEYS = [request_key({}, [Message("user", str(number))]) for number in range(4)]
texts = st.text(st.characters(exclude_categories=("Cs",)))
completions = st.builds(
    Completion,
    texts,
    st.sampled_from(StopReason),
    st.none() | st.builds(Usage, st.integers(0, 10**9), st.integers(0, 10**9)),
)


@dataclass
class Echo:
    """Answers with the last message, or fails where it says so; remembers what it was asked."""

    name: str = "echo"
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "test"}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        for request in requests:
            text = request.messages[-1].content
            self.asked.append(text)
            yield request, Failure("broken") if text.startswith("fail") else Completion(text.upper())


def request(text: str) -> Request:
    turns = (Message("user", text),)
    return Request(request_key({}, turns), turns)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(KEYS), completions | st.builds(Failure, texts)), max_size=8))
def test_it_is_a_mapping_whose_answers_stay(steps: list[tuple[str, Result]]) -> None:
    model: dict[str, Result] = {}
    with open_journal() as journal:
        for key, result in steps:
            journal.ask(key, "m")
            journal.record(key, "m", result)
            if not isinstance(model.get(key), Completion):
                model[key] = result
        for key in KEYS:
            known = model.get(key)
            assert journal.find(key) == (known if isinstance(known, Completion) else None)
            assert isinstance(known, Completion) or journal.problem(key) == (known.problem if known else None)
        assert len(journal) == sum(isinstance(result, Completion) for result in model.values())


class Reopened(RuleBasedStateMachine):
    """A journal on disk, closed and opened between any two steps, against a dictionary."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal"
        self.answers: dict[str, Completion] = {}
        self.under_way: set[str] = set()

    @rule(target=keys, text=texts)
    def key(self, text: str) -> str:
        return request(text).key

    @rule(key=keys)
    def ask(self, key: str) -> None:
        with open_journal(self.path) as journal:
            journal.ask(key, "m")
        if key not in self.answers:
            self.under_way.add(key)

    @rule(key=keys, completion=completions)
    def answer(self, key: str, completion: Completion) -> None:
        with open_journal(self.path) as journal:
            journal.record(key, "m", completion)
        self.answers.setdefault(key, completion)
        self.under_way.discard(key)

    @rule(key=keys)
    def look(self, key: str) -> None:
        with open_journal(self.path) as journal:
            assert journal.find(key) == self.answers.get(key)
            assert journal.under_way(key) == (key in self.under_way)
            assert len(journal) == len(self.answers)

    def teardown(self) -> None:
        self.folder.cleanup()


TestReopened = Reopened.TestCase
TestReopened.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)


def test_only_what_is_missing_is_asked_and_equal_requests_once() -> None:
    echo = Echo()
    with open_journal() as journal:
        first = list(ask_missing(journal, echo, map(request, ["a", "b", "a"]), set()))
        second = list(ask_missing(journal, echo, map(request, ["b", "c", "a"]), set()))
        assert journal.find(request("c").key) == Completion("C")
    assert first == [Completion("A"), Completion("B")]
    assert second == [Completion("C")]
    assert echo.asked == ["a", "b", "c"]


def test_what_failed_is_asked_again_by_the_next_run_and_not_by_this_one() -> None:
    echo, asked = Echo(), set[str]()
    with open_journal() as journal:
        list(ask_missing(journal, echo, [request("fail")], asked))
        assert journal.problem(request("fail").key) == "broken"
        list(ask_missing(journal, echo, [request("fail")], asked))
        assert echo.asked == ["fail"]
        list(ask_missing(journal, echo, [request("fail")], set()))
    assert echo.asked == ["fail", "fail"]


def test_an_answer_of_a_batch_is_known_as_such_and_the_first_answer_decides() -> None:
    live, batch, failed = KEYS[:3]
    with open_journal() as journal:
        journal.record(live, "m", Completion("a"))
        journal.record(live, "m", Completion("b"), batch=True)
        journal.record(batch, "m", Failure("broken"))
        journal.record(batch, "m", Completion("a"), batch=True)
        journal.record(batch, "m", Completion("b"))
        journal.record(failed, "m", Failure("expired"), batch=True)
        assert [journal.of_batch(key) for key in KEYS] == [False, True, False, False]


def test_a_result_is_on_disk_before_it_is_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path) as journal:
        for _ in ask_missing(journal, Echo(), map(request, "abc"), set()):
            other = sqlite3.connect(path)
            (seen,) = other.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
            other.close()
            assert seen == len(journal)


KILLED = """
import sys, time
from pathlib import Path
from redpencil.providers.base import Completion, Message, Request, request_key
from redpencil.providers.cache import open_journal, ask_missing

class Slow:
    name, identity = "slow", {}
    def answer(self, requests):
        for request in requests:
            print(request.messages[0].content, flush=True)
            yield request, Completion("x" * 1000)

def requests():
    for number in range(100_000):
        turns = (Message("user", str(number)),)
        yield Request(request_key({}, turns), turns)

with open_journal(Path(sys.argv[1])) as journal:
    for _ in ask_missing(journal, Slow(), requests(), set()):
        pass
"""


def test_kill_9_loses_at_most_the_request_under_way(tmp_path: Path) -> None:
    path, answered = tmp_path / "journal", 0
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
        with open_journal(path) as journal:
            answered = len(journal)
            # All are answered but perhaps the last one; one more may have been noted and not printed.
            assert last <= answered <= last + 1
            assert all(journal.find(request(str(number)).key) for number in range(answered))
            assert journal.find(request(str(answered)).key) is None
            assert not journal.under_way(request(str(answered + 1)).key)


def test_two_processes_cannot_work_with_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    script = "import sys\nfrom pathlib import Path\nfrom redpencil.providers.cache import open_journal\n"
    script += "with open_journal(Path(sys.argv[1])): pass"
    with open_journal(path):
        other = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert (other.returncode, "another process is working with this journal" in other.stderr) == (1, True)
    again = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0


def test_a_lock_ends_with_its_journal_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), open_journal(tmp_path / "journal"):
        raise ValueError("mine")
    with open_journal(tmp_path / "journal") as journal:
        assert len(journal) == 0


def test_a_journal_has_one_lock_whatever_name_leads_to_it(tmp_path: Path) -> None:
    path, link, folder = tmp_path / "journal", tmp_path / "link", tmp_path / "folder"
    link.symlink_to("journal")
    folder.symlink_to(".")
    with open_journal(link) as journal:
        journal.record(KEYS[0], "m", Completion("a"))
        for name in (path, link, folder / "journal"):
            with pytest.raises(RedpencilError, match="another process is working"), open_journal(name):
                pass
    with open_journal(path) as journal:
        assert journal.find(KEYS[0]) == Completion("a")
    assert link.is_symlink()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a system without /proc")
def test_where_no_file_can_be_made_the_system_says_why() -> None:
    with pytest.raises(RedpencilError, match=r"cannot open the journal \(No such file"), open_journal(Path("/proc/j")):
        pass


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_journal_that_holds_nothing_is_removed_with_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path):
        pass
    assert left_in(tmp_path) == []

    def no_server() -> None:
        with open_journal(path) as journal:
            journal.ask(KEYS[0], "m")
            raise RedpencilError("no server")

    def interrupted() -> None:
        with open_journal(path) as journal:
            journal.ask(KEYS[0], "m")
            raise KeyboardInterrupt

    with pytest.raises(RedpencilError, match="no server"):
        no_server()
    assert left_in(tmp_path) == []
    # Whether this one was paid for nobody knows; so it is remembered, also where the next run comes to nothing.
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(RedpencilError, match="no server"):
        no_server()
    with open_journal(path) as journal:
        assert journal.under_way(KEYS[0])
        journal.record(KEYS[0], "m", Failure("broken"))
    assert left_in(tmp_path) == ["journal", "journal.lock"]


@pytest.mark.parametrize("damage", ["stop_reason = NULL", "stop_reason = 'tired'", "output_tokens = NULL"])
def test_a_damaged_row_is_no_answer(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal"
    with open_journal(path) as journal:
        journal.record(KEYS[0], "m", Completion("a", usage=Usage(1, 2)))
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE answer SET {damage}")
    connection.close()
    with pytest.raises(RedpencilError, match="is damaged") as caught, open_journal(path) as journal:
        journal.find(KEYS[0])
    assert caught.value.file == str(path)


def test_a_request_that_failed_says_so_when_it_is_asked_again() -> None:
    @dataclass
    class Notes(Echo):
        def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
            for request in requests:
                self.asked.append(f"{request.messages[-1].content} {request.failed_before}")
                yield request, Failure("broken")

    notes = Notes()
    with open_journal() as journal:
        for texts in (["a"], ["a", "b"]):
            list(ask_missing(journal, notes, map(request, texts), set()))
    assert notes.asked == ["a False", "a True", "b False"]


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.commit()
    connection.close()


def newer(path: Path) -> None:
    with open_journal(path) as journal:
        journal.ask(KEYS[0], "m")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), "cannot be used"),
        (foreign, "no journal of redpencil"),
        (newer, "a journal of version 9"),
        (lambda path: path.mkdir(), "a folder stands"),
    ],
)
def test_files_that_are_no_journals_are_refused_and_left_alone(tmp_path: Path, make: Any, problem: str) -> None:
    path = tmp_path / "journal"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(RedpencilError, match=problem) as raised, open_journal(path):
        pass
    assert raised.value.file == str(path)
    assert raised.value.hint is not None
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_journal_in_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_journal() as journal:
        assert isinstance(journal, Journal)
    assert list(tmp_path.iterdir()) == []


@dataclass
class AskingEcho:
    """Answers with what it is asked; what begins with `bad` fails."""

    name: str = "echo"
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "echo"}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        for request in requests:
            text = request.messages[0].content
            self.asked.append(text)
            yield request, Failure("down") if text.startswith("bad") else Completion(text, usage=Usage(3, len(text)))


def of(text: str) -> Request:
    turns = (Message("user", text),)
    return Request(request_key({"provider": "echo"}, turns), turns)


def answers(journal: Journal, *texts: str) -> list[tuple[Request, Completion | None]]:
    return [(of(text), journal.find(of(text).key)) for text in texts]


def test_what_failed_before_is_asked_last_and_once_a_run() -> None:
    texts = ("bad", "a", "b", "a")
    with open_journal() as journal:
        for expected in (["bad", "a", "b"], ["bad"]):
            echo = AskingEcho()
            found = list(ask_due(lambda: unanswered(answers(journal, *texts)), echo, journal, set()))
            assert (len(found), echo.asked) == (len(expected), expected)
        later, asked = AskingEcho(), set[str]()
        list(ask_due(lambda: unanswered(answers(journal, *texts, "c")), later, journal, asked))
        assert later.asked == ["c", "bad"]
        assert list(ask_due(lambda: unanswered(answers(journal, *texts, "c")), later, journal, asked)) == []


def test_nothing_more_is_sent_once_it_is_enough() -> None:
    with open_journal() as journal:
        echo = AskingEcho()
        due = [of(text) for text in "abc"]
        list(ask_due(lambda: due, echo, journal, set(), lambda: len(echo.asked) >= 2))
        assert echo.asked == ["a", "b"]


def test_tokens_are_counted_once_for_each_answer_by_how_it_came() -> None:
    with open_journal() as journal:
        list(ask_due(lambda: [of("aa"), of("b")], AskingEcho(), journal, set()))
        journal.record(of("batch").key, "echo", Completion("x", usage=Usage(10, 20)), batch=True)
        journal.record(of("free").key, "echo", Completion("x"))
        known = answers(journal, "aa", "b", "aa", "batch", "free", "missing")
        assert spent(known, journal) == Spent(live=Usage(6, 3), batch=Usage(10, 20))
        assert foreign_keys([of("b").key, of("z").key], known) == {of("z").key}
