"""A provider job: nothing is asked twice, and results come from the answers in the cache."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Request, Result, Usage, request_key
from redpencil.providers.cache import ResponseCache, open_cache
from redpencil.providers.job import Conversation, Exchange, Plan, ProviderJob, Spent


@dataclass
class Echo:
    """Answers with the last message in capitals, or fails if that begins with `fail`; remembers what it was asked."""

    name: str = "echo"
    asked: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "echo"}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        for request in requests:
            text = request.messages[-1].content
            self.asked.append(text + (" again" if request.failed_before else ""))
            usage = None if text == "free" else Usage(3, len(text))
            yield request, Failure("broken") if text.startswith("fail") else Completion(text.upper(), usage=usage)


def requests_of(row: str) -> Conversation:
    """One request about a row; after the answer YES a second one; none about an empty row."""
    if row:
        answer = yield [Message("user", row)]
        if answer is not None and answer.text == "YES":
            yield [Message("user", row), Message("assistant", answer.text), Message("user", "why?")]


def texts(row: str, exchanges: Sequence[Exchange]) -> tuple[str, list[str]]:
    answers = [one.completion.text if one.completion else one.problem or "-" for one in exchanges]
    return row, answers


Job = ProviderJob[str, tuple[str, list[str]]]


def make(rows: Iterable[str], cache: ResponseCache, echo: Echo | None = None) -> tuple[Job, Echo]:
    echo = echo or Echo()
    job = ProviderJob(rows=rows, requests_of=requests_of, result_of=texts, answer_bytes=len, provider=echo, cache=cache)
    return job, echo


def key_of(text: str) -> str:
    return request_key(Echo().identity, [Message("user", text)])


def test_only_what_is_missing_is_asked_and_equal_requests_once() -> None:
    with open_cache() as cache:
        job, echo = make(["a", "b", "a", ""], cache)
        assert [result.text for result in job.ask() if isinstance(result, Completion)] == ["A", "B"]
        later, again = make(["b", "c", "a"], cache)
        list(later.ask())
        assert (echo.asked, again.asked) == (["a", "b"], ["c"])
        assert list(later.results()) == [("b", ["B"]), ("c", ["C"]), ("a", ["A"])]


def test_a_request_that_depends_on_an_answer_is_sent_by_the_second_call() -> None:
    with open_cache() as cache:
        job, echo = make(["yes", "no"], cache)
        assert job.plan() == Plan(rows=2, to_ask=2, input_bytes=5, output_bytes=5)
        list(job.ask())
        assert echo.asked == ["yes", "no"]
        assert list(job.results()) == [("yes", ["YES", "-"]), ("no", ["NO"])]
        # Of "yes" the first request is answered; the second has "yes", "YES" and "why?", ten bytes.
        assert job.plan() == Plan(rows=2, complete=1, answered=2, to_ask=1, input_bytes=10, output_bytes=3)
        list(job.ask())
        assert echo.asked == ["yes", "no", "why?"]
        assert list(job.results()) == [("yes", ["YES", "WHY?"]), ("no", ["NO"])]
        assert job.plan() == Plan(rows=2, complete=2, answered=3)


def test_a_failure_is_asked_again_by_the_next_job_and_not_by_this_one() -> None:
    with open_cache() as cache:
        job, echo = make(["fail"], cache)
        for _ in range(2):
            list(job.ask())
        assert echo.asked == ["fail"]
        assert list(job.results()) == [("fail", ["broken"])]
        assert job.plan() == Plan(rows=1)  # nothing that this job would send
        later, again = make(["fail"], cache)
        assert later.plan() == Plan(rows=1, to_ask=1, input_bytes=4, output_bytes=4)
        list(later.ask())
        assert again.asked == ["fail again"]


def test_what_failed_before_is_asked_last() -> None:
    with open_cache() as cache:
        list(make(["fail", "a"], cache)[0].ask())
        job, echo = make(["fail", "b", "a", "fail", "c"], cache)
        list(job.ask())
        assert echo.asked == ["b", "c", "fail again"]


def test_nothing_more_is_sent_once_it_is_enough() -> None:
    with open_cache() as cache:
        job, echo = make("abcd", cache)
        list(job.ask(lambda: len(echo.asked) >= 2))
        assert echo.asked == ["a", "b"]
        assert job.plan().to_ask == 2


def test_a_result_is_on_disk_before_it_is_handed_out(tmp_path: Path) -> None:
    with open_cache(tmp_path / "cache") as cache:
        for _ in make("abc", cache)[0].ask():
            other = sqlite3.connect(tmp_path / "cache")
            (stored,) = other.execute("SELECT count(*) FROM answer WHERE text IS NOT NULL").fetchone()
            other.close()
            assert stored == len(cache) > 0


def test_a_plan_counts_rows_and_requests_and_those_that_were_interrupted() -> None:
    with open_cache() as cache:
        cache.mark_sent(key_of("a"), "echo")  # an earlier process ended here
        cache.mark_sent(key_of("x"), "echo")  # about another row
        cache.store(key_of("b"), "echo", Completion("B"))
        job, _ = make(["a", "a", "b", "b", "", "\u00e9"], cache)
        plan = job.plan()
    # Two of six rows are answered by one request; "a" and "é", of one byte and two, are to be asked.
    assert plan == Plan(
        rows=6, skipped=1, complete=2, answered=1, to_ask=2, interrupted=1, input_bytes=3, output_bytes=2
    )


def test_tokens_are_counted_once_for_each_answer_by_how_it_came() -> None:
    with open_cache() as cache:
        job, _ = make(["aa", "b", "aa", "free", "fail", "batch"], cache)
        cache.store(key_of("batch"), "echo", Completion("x", usage=Usage(10, 20)), batch=True)
        list(job.ask())
        # "aa" and "b" cost three tokens in and their lengths out; "free" was not counted.
        assert job.spent() == Spent(live=Usage(6, 3), batch=Usage(10, 20))
        [batch] = job.exchanges_of("batch")
        assert batch.batch


def test_keys_of_other_requests_are_foreign() -> None:
    with open_cache() as cache:
        job, _ = make(["a", "b"], cache)
        assert job.foreign_keys([key_of("b"), key_of("z")]) == {key_of("z")}
        assert [request.key for request in job.unanswered()] == [key_of("a"), key_of("b")]


def test_a_row_that_makes_no_request_stops_the_job() -> None:
    def broken(row: str) -> Conversation:
        if row == "b":
            raise RedpencilError("no place for the input")
        yield [Message("user", row)]

    with open_cache() as cache:
        job = ProviderJob(
            rows="ab", requests_of=broken, result_of=texts, answer_bytes=len, provider=Echo(), cache=cache
        )
        with pytest.raises(RedpencilError, match="no place for the input"):
            job.plan()
