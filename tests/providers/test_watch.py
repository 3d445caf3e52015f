"""When a run is given up."""

from redpencil.providers.base import Completion, Failure, Request
from redpencil.providers.watch import Answer, Watch

SERVER = "http://s"


def failures(watch: Watch, count: int, status: int, problem: str = "no", *, before: bool = False) -> list[str]:
    request = Request("k", (), failed_before=before)
    seen = (watch.see(Answer(request, Failure(f"{problem} {n}"), status), SERVER) for n in range(count))
    return [error.problem for error in seen if error is not None]


def answered(watch: Watch) -> None:
    assert watch.see(Answer(Request("k", ()), Completion("a")), SERVER) is None


def test_twenty_refusals_for_one_reason_before_any_answer_end_it() -> None:
    assert failures(Watch(), 19, 400) == []
    assert failures(Watch(), 20, 400) == ["http://s refused the first 20 requests for one reason: no 19"]


def test_refusals_for_different_reasons_are_failures_like_others() -> None:
    watch = Watch()
    assert failures(watch, 10, 400) + failures(watch, 39, 400, "other") == []
    assert failures(watch, 1, 400) == ["50 requests in a row failed, the last with: no 0"]


def test_after_an_answer_refusals_count_for_nothing() -> None:
    watch = Watch()
    answered(watch)
    assert failures(watch, 1000, 400) == []
    assert failures(watch, 49, 500) + failures(watch, 1000, 422) == []
    assert len(failures(watch, 1, 429)) == 1


def test_an_answer_starts_the_count_anew() -> None:
    watch = Watch()
    for _ in range(3):
        assert failures(watch, 49, 500) == []
        answered(watch)


def test_what_failed_before_says_nothing_but_that_there_is_no_server() -> None:
    for status in (200, 400, 429, 500):
        assert failures(Watch(), 1000, status, before=True) == []
    assert len(failures(Watch(), 50, 0, before=True)) == 1
