"""Hosted models through the real SDKs, against the stub server as a process of its own."""

import asyncio
import importlib.util
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Request, Result, StopReason
from redpencil.providers.hosted import Answer, CircuitBreaker, HostedProvider, Limits, Throttle, estimated_tokens

KINDS = ("anthropic", "openai")
both = pytest.mark.parametrize("kind", KINDS)
Ask = Callable[..., Request]
MALFORMED = (
    "not-json",
    "half",
    "html",
    "empty-body",
    "a-list",
    "no-content",
    "null-content",
    "wrong-type",
    "error-object",
)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 2
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.01)
    assert set(threading.enumerate()) == before


def one(client: Any, request: Request, limits: Limits | None = None) -> Result:
    ((asked, result),) = HostedProvider(client, limits or Limits()).answer([request])
    assert asked is request
    return result


@both
def test_answers_come_through_the_sdk_as_the_body_says(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind, temperature=0.0)
    requests = [ask(f"The quick brown fox number {number} jumps.", client) for number in range(30)]
    results = dict(HostedProvider(client).answer(requests))
    assert set(results) == set(requests)
    edited = 0
    for request, result in results.items():
        assert isinstance(result, Completion)
        assert result.stop_reason is StopReason.END
        assert result.usage is not None
        assert result.usage.output_tokens == len(result.text) // 4 + 1
        edited += f"Response: {result.text}\n" not in request.messages[0].content
    assert 20 < edited <= 30
    assert one(client, requests[0]) == results[requests[0]]
    assert stub.last() == client.body(requests[0].messages)


@both
def test_the_provider_is_its_client(stub: Any, kind: str) -> None:
    client = stub.client(kind)
    provider = HostedProvider(client, Limits(concurrency=3))
    assert (provider.name, provider.identity) == ("stub-1", client.identity)


@both
def test_retry_after_is_honoured(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    began = time.monotonic()
    assert isinstance(one(client, ask("{stub:once=429} one two", client)), Completion)
    # The stub asks for 0.3 s; without being told the SDKs wait at most a twentieth of a second here.
    assert time.monotonic() - began >= 0.3


@both
@pytest.mark.parametrize("retries", [0, 3])
def test_the_first_request_of_all_has_no_fewer_retries_and_waits_before_each(
    start_stub: Any, ask: Ask, kind: str, retries: int
) -> None:
    stub = start_stub("--retry-after-s", "0.1")
    client = stub.client(kind)
    began = time.monotonic()
    failed = one(client, ask("{stub:status=429} one", client), Limits(max_retries=retries))
    assert time.monotonic() - began >= 0.1 * retries
    assert isinstance(failed, Failure)
    assert stub.stats()["429"] == 1 + retries


@both
def test_errors_that_pass_are_asked_again(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask(f"{{stub:once={status}}} one two", client) for status in (408, 409, 500, 503, 529)]
    assert [type(result) for _, result in HostedProvider(client).answer(requests)] == [Completion] * 5


@both
def test_errors_that_stay_are_failures_after_the_retries(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    before = stub.stats().get("500", 0)
    assert one(client, ask("{stub:status=500} one", client), Limits(max_retries=1)) == Failure(
        "HTTP 500: ordered to fail with 500"
    )
    assert stub.stats()["500"] - before == 2


@both
def test_broken_bodies_are_asked_for_again(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask(f"{{stub:malformed={broken}}} one two", client) for broken in MALFORMED]
    results = [result for _, result in HostedProvider(client).answer(requests)]
    assert [type(result) for result in results] == [Completion] * len(MALFORMED)


@both
def test_a_body_that_stays_broken_is_a_failure(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    before = stub.stats().get("malformed", 0)
    requests = [ask(f"{{stub:broken={broken}}} one", client) for broken in MALFORMED]
    for request, result in HostedProvider(client, Limits(max_retries=1)).answer(requests):
        assert isinstance(result, Failure)
        said = "an error in the body: overloaded" if "error-object" in request.messages[0].content else "the body of"
        assert result.problem.startswith(said)
    assert stub.stats()["malformed"] - before == 2 * len(MALFORMED)


@both
def test_errors_in_a_body_and_torn_answers_are_asked_for_again(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    kinds = ("error-408", "error-429", "error-502", "ends-error", "ends-abort", "ends-CANCELLED")
    requests = [ask(f"{{stub:malformed={broken}}} one two", client) for broken in kinds]
    assert [type(result) for _, result in HostedProvider(client).answer(requests)] == [Completion] * len(kinds)


@both
@pytest.mark.parametrize(
    ("broken", "tries", "problem"),
    [
        ("error-429", 2, "HTTP 429 in the body: Provider returned error"),
        ("error-400", 1, "HTTP 400 in the body: Provider returned error"),
        ("ends-abort", 2, "the answer has no proper end: {} is 'abort'"),
        ("ends-who-knows", 1, "the answer has no proper end: {} is 'who-knows'"),
    ],
)
def test_errors_in_a_body_and_odd_ends_are_failures_in_the_servers_words(
    stub: Any, ask: Ask, kind: str, broken: str, tries: int, problem: str
) -> None:
    client = stub.client(kind)
    before = stub.stats().get("malformed", 0)
    result = one(client, ask(f"{{stub:broken={broken}}} one", client), Limits(max_retries=1))
    assert result == Failure(problem.format("stop_reason" if kind == "anthropic" else "finish_reason"))
    assert stub.stats()["malformed"] - before == tries


@both
def test_an_error_in_a_body_that_concerns_all_requests_ends_the_run(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    with pytest.raises(RedpencilError, match="refuses the API key"):
        one(client, ask("{stub:broken=error-401} one", client))


@both
def test_a_stalled_answer_is_asked_for_again(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    began = time.monotonic()
    result = one(client, ask("{stub:stall=5} one two", client), Limits(timeout_s=0.3))
    assert isinstance(result, Completion)
    assert time.monotonic() - began < 4


@both
def test_an_answer_that_never_comes_is_a_failure_where_the_server_is_known_to_live(
    stub: Any, ask: Ask, kind: str
) -> None:
    client = stub.client(kind)
    requests = [ask("one two", client), ask("{stub:delay=5} one", client)]
    results = dict(HostedProvider(client, Limits(timeout_s=0.3, max_retries=0, concurrency=1)).answer(requests))
    assert results[requests[1]] == Failure("no answer within 0.3 s")


@both
def test_a_server_that_never_answered_ends_the_run(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    with pytest.raises(RedpencilError, match=r"no answer within 0\.2 s") as caught:
        one(client, ask("{stub:delay=5} one three", client), Limits(timeout_s=0.2))
    assert "--timeout" in str(caught.value.hint)


@both
def test_no_server_ends_the_run_soon(stub: Any, ask: Ask, kind: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"http://user:pass@127.0.0.1:{taken.getsockname()[1]}"
        client = type(stub.client(kind))("m", base_url=address)
        began = time.monotonic()
        with pytest.raises(RedpencilError, match="no connection") as caught:
            list(HostedProvider(client).answer(ask(f"word {number}", client) for number in range(100)))
    assert time.monotonic() - began < 5
    assert "--base-url" in str(caught.value.hint)
    assert "pass" not in str(caught.value)


@both
def test_a_server_that_goes_away_fails_rows_and_then_ends_the_run(start_stub: Any, ask: Ask, kind: str) -> None:
    stub = start_stub()
    client = stub.client(kind)
    answers = HostedProvider(client, Limits(concurrency=2, max_retries=0)).answer(
        ask(f"word {number}", client) for number in range(500)
    )
    results = [next(answers)[1] for _ in range(10)]
    stub.process.kill()
    stub.process.wait()
    with pytest.raises(RedpencilError, match="50 requests in a row failed, the last with: no connection"):
        results.extend(result for _, result in answers)
    failures = [result for result in results if isinstance(result, Failure)]
    assert 50 <= len(failures) <= 51  # what was asked at the same time as the 50th is yielded too
    assert all(isinstance(result, Completion) for result in results[:10])


@both
def test_a_wrong_key_names_the_variable_and_never_the_key(
    start_stub: Any, ask: Ask, kind: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = start_stub("--key", "another").client(kind)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RedpencilError, match="refuses the API key") as caught:
        one(client, ask("one", client))
    assert f"{kind.upper()}_API_KEY" in str(caught.value.hint)
    assert key not in str(caught.value) + caplog.text


@both
def test_no_log_line_and_no_failure_shows_the_key(
    stub: Any, ask: Ask, kind: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = stub.client(kind)
    caplog.set_level(logging.DEBUG)
    orders = ("once=500", "broken=html", "status=400", "delay=1", "once=429")
    requests = [ask("one two", client), *(ask(f"{{stub:{order}}} three", client) for order in orders)]
    results = list(HostedProvider(client, Limits(max_retries=1, timeout_s=0.4)).answer(requests))
    shown = [result.problem for _, result in results if isinstance(result, Failure)]
    assert len(shown) == 3
    assert caplog.text
    assert key not in "".join(shown) + caplog.text


@both
@pytest.mark.parametrize("echoed", ["sk-live-0123456789-secret", "gsk_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"])
def test_a_key_that_a_server_echoes_is_not_shown_not_even_a_part(
    stub: Any, ask: Ask, kind: str, echoed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{kind.upper()}_API_KEY", echoed)
    client = stub.client(kind)
    requests = [ask("fine", client), ask("{stub:broken=echo}", client), ask("{stub:status=400} {stub:echo}", client)]
    results = dict(HostedProvider(client, Limits(max_retries=0)).answer(requests))
    shown = [result.problem for result in results.values() if isinstance(result, Failure)]
    assert len(shown) == 2
    for problem in shown:
        assert "[key]" in problem
        assert not [start for start in range(len(echoed) - 7) if echoed[start : start + 8] in problem]


@both
def test_an_unknown_model_ends_the_run(start_stub: Any, ask: Ask, kind: str) -> None:
    client = start_stub("--model", "known").client(kind, model="unknown")
    with pytest.raises(RedpencilError, match="has no model 'unknown'") as caught:
        one(client, ask("one", client))
    assert "--model" in str(caught.value.hint)


@both
def test_a_wrong_path_ends_the_run(stub: Any, ask: Ask, kind: str) -> None:
    client = type(stub.client(kind))("m", base_url=f"{stub.address}/wrong")
    with pytest.raises(RedpencilError, match="no such path") as caught:
        one(client, ask("one", client))
    assert "--base-url" in str(caught.value.hint)


@both
@pytest.mark.parametrize(("order", "told"), [("{stub:status=402}", "payment"), ("{stub:status=403}", "access")])
def test_an_account_that_may_not_ask_ends_the_run(stub: Any, ask: Ask, kind: str, order: str, told: str) -> None:
    client = stub.client(kind)
    with pytest.raises(RedpencilError, match=told) as caught:
        one(client, ask(f"{order} one", client))
    assert f"{kind.upper()}_API_KEY" in str(caught.value.hint)


@pytest.mark.parametrize(("kind", "status"), [("openai", 429), ("anthropic", 400)])
def test_a_quota_that_is_used_up_ends_the_run(stub: Any, ask: Ask, kind: str, status: int) -> None:
    client = stub.client(kind)
    with pytest.raises(RedpencilError, match="payment"):
        one(client, ask(f"{{stub:status={status}}} {{stub:quota}} one", client), Limits(max_retries=0))


@both
def test_a_403_after_answers_is_that_rows_failure(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask("one two", client), ask("{stub:status=403} flagged", client), ask("three", client)]
    results = [result for _, result in HostedProvider(client, Limits(concurrency=1)).answer(requests)]
    assert [type(result) for result in results] == [Completion, Failure, Completion]


@both
def test_refusals_cut_and_empty_answers_have_their_stop_reasons(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    for order, stop in (("refuse", StopReason.REFUSAL), ("length", StopReason.LENGTH), ("empty", StopReason.END)):
        result = one(client, ask(f"{{stub:{order}}} one", client))
        assert isinstance(result, Completion)
        assert result.stop_reason is stop
        assert order != "empty" or result.text == ""


@both
def test_texts_that_utf_8_cannot_hold_are_made_valid(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    result = one(client, ask("{stub:surrogate} cut here \ud83d", client))
    assert isinstance(result, Completion)
    assert result.text.endswith(" \ufffd")


@both
def test_one_refused_row_is_its_failure_and_the_run_goes_on(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask("{stub:status=400} too long", client), *(ask(f"fine {number}", client) for number in range(5))]
    results = dict(HostedProvider(client).answer(requests))
    assert results[requests[0]] == Failure("HTTP 400: ordered to fail with 400")
    assert sum(isinstance(result, Completion) for result in results.values()) == 5


@both
def test_twenty_refusals_at_the_start_for_one_reason_end_the_run(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    drawn = itertools.count()
    endless = (ask(f"{{stub:status=400}} {number}", client) for number in drawn)
    results = []
    with pytest.raises(RedpencilError, match="refused the first 20 requests for one reason: HTTP 400: ordered"):
        results.extend(HostedProvider(client, Limits(concurrency=4)).answer(endless))
    assert 20 <= len(results) <= next(drawn) <= 28


@both
def test_refusals_after_an_answer_are_each_about_a_row_and_errors_of_the_server_are_not(
    stub: Any, ask: Ask, kind: str
) -> None:
    client = stub.client(kind)
    fine = ask("fine", client)
    refused = [ask(f"{{stub:status=400}} {number}", client) for number in range(60)]
    broken = [ask(f"{{stub:status=500}} {number}", client) for number in range(100)]
    limits = Limits(concurrency=1, max_retries=0)
    assert len(list(HostedProvider(client, limits).answer([fine, *refused]))) == 61
    results = []
    requests = [fine, *broken[:49], fine, *refused[:30], *broken[49:60], *refused[30:], *broken[60:]]
    with pytest.raises(RedpencilError, match="50 requests in a row failed, the last with: HTTP 500"):
        results.extend(HostedProvider(client, limits).answer(requests))
    assert len(results) == 1 + 49 + 1 + 60 + 50


@both
def test_requests_that_failed_before_do_not_end_the_run(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    orders = ("status=400", "status=500", "broken=html")
    requests = [replace(ask(f"{{stub:{orders[n % 3]}}} {n}", client), failed_before=True) for n in range(90)]
    results = list(HostedProvider(client, Limits(max_retries=0)).answer(requests))
    assert len(results) == 90


@pytest.mark.parametrize(("kind", "order"), [("anthropic", "trickle=0.02"), ("openai", "endless")])
def test_a_body_that_takes_too_long_is_a_timeout_of_each_attempt(
    start_stub: Any, ask: Ask, kind: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redpencil.providers.client.MOST_BYTES", 10**12)
    stub = start_stub()
    client = stub.client(kind)
    began = time.monotonic()
    requests = [ask("fine", client), ask(f"{{stub:{order}}} slow", client)]
    results = dict(HostedProvider(client, Limits(timeout_s=0.5, max_retries=1, concurrency=1)).answer(requests))
    assert results[requests[1]] == Failure("no answer within 0.5 s")
    assert 1 <= time.monotonic() - began < 4
    assert stub.stats()["malformed"] == 2


@both
def test_a_body_without_end_is_not_read_on(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    failed = one(client, ask("{stub:endless} one", client), Limits(max_retries=0))
    assert failed == Failure("the body of the answer is broken: it is longer than 32 MB")


@both
@pytest.mark.parametrize("retries", [0, 3])
def test_no_request_is_sent_more_often_than_allowed_whatever_goes_wrong(
    start_stub: Any, ask: Ask, kind: str, retries: int
) -> None:
    stub = start_stub()
    client = stub.client(kind)
    list(HostedProvider(client).answer([ask("fine", client)]))
    failed = one(client, ask("{stub:once=500} {stub:broken=html} one", client), Limits(max_retries=retries))
    assert isinstance(failed, Failure)
    stats = stub.stats()
    assert stats["500"] + stats.get("malformed", 0) == 1 + retries


@both
@pytest.mark.parametrize("charset", ["utf-16", "base64", "nonsense"])
def test_an_answer_is_json_whatever_encoding_the_server_names(stub: Any, ask: Ask, kind: str, charset: str) -> None:
    client = stub.client(kind)
    result = one(client, ask(f"{{stub:charset={charset}}} caf\u00e9 one two three", client))
    assert isinstance(result, Completion)
    assert "caf\u00e9" in result.text or "corrected" in result.text
    refused = one(client, ask(f"{{stub:status=400}} {{stub:charset={charset}}} one", client))
    assert refused == Failure("HTTP 400: ordered to fail with 400")


@both
@pytest.mark.parametrize("used", ["-5", "1e30"])
def test_a_count_of_tokens_that_is_none_is_not_believed(stub: Any, ask: Ask, kind: str, used: str) -> None:
    client = stub.client(kind)
    result = one(client, ask(f"{{stub:used={used}}} one two three", client))
    assert isinstance(result, Completion)
    assert result.usage is None


@both
def test_no_more_requests_are_under_way_than_allowed(start_stub: Any, ask: Ask, kind: str) -> None:
    stub = start_stub("--latency-s", "0.03")
    client = stub.client(kind)
    requests = [ask(f"word {number}", client) for number in range(40)]
    assert len(list(HostedProvider(client, Limits(concurrency=7)).answer(requests))) == 40
    assert stub.stats()["most_in_flight"] == 7


def test_requests_keep_to_their_rate_and_repeated_ones_count(stub: Any, ask: Ask) -> None:
    client = stub.client("openai")
    requests = [ask(f"word {number} {{stub:once=500}}", client) for number in range(8)]
    began = time.monotonic()
    limits = Limits(requests_per_minute=600)
    assert all(isinstance(result, Completion) for _, result in HostedProvider(client, limits).answer(requests))
    # 16 are sent: 10 at once, then 10 a second. If only the first ones counted, none would wait.
    assert time.monotonic() - began > 0.55


def test_tokens_keep_to_their_rate(stub: Any, ask: Ask) -> None:
    client = stub.client("anthropic")
    requests = [ask(f"word {number} " + "x" * 2000, client) for number in range(6)]
    began = time.monotonic()
    assert len(list(HostedProvider(client, Limits(tokens_per_minute=240_000)).answer(requests))) == 6
    # Each is more than 2 x 500 tokens: 4,000 pass at once, then 4,000 a second.
    assert time.monotonic() - began > 0.5


@both
def test_requests_are_drawn_only_when_there_is_room(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    drawn = 0

    def endless() -> Iterator[Request]:
        nonlocal drawn
        for number in itertools.count():
            drawn += 1
            yield ask(f"word {number}", client)

    answers = HostedProvider(client, Limits(concurrency=3)).answer(endless())
    assert drawn == 0
    for yielded in range(1, 20):
        next(answers)
        assert drawn <= yielded + 3 - 1
    answers.close()


@both
def test_answers_come_while_requests_are_slow_to_draw(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    list(HostedProvider(client).answer([ask("warm up", client)]))
    drawn = 0

    def slow() -> Iterator[Request]:
        nonlocal drawn
        for number in range(6):
            time.sleep(0.05)
            drawn += 1
            yield ask(f"word {number}", client)

    answers = HostedProvider(client, Limits(concurrency=10)).answer(slow())
    next(answers)
    assert drawn < 5
    assert len(list(answers)) == 5


@both
def test_closing_gives_up_what_is_under_way(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask("fine", client), *(ask(f"{{stub:delay=9}} {number}", client) for number in range(5))]
    began = time.monotonic()
    answers = HostedProvider(client).answer(requests)
    assert next(answers)[0] is requests[0]
    gone = stub.stats().get("gone", 0)
    answers.close()
    assert time.monotonic() - began < 3
    assert next(answers, None) is None
    stats = stub.stats()
    assert (stats["in_flight"], stats["gone"] - gone) == (0, 5)


@both
def test_an_error_in_the_requests_comes_out_as_it_is(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)

    def broken() -> Iterator[Request]:
        yield ask("fine", client)
        yield ask("{stub:delay=9} slow", client)
        raise KeyError("the journal")

    with pytest.raises(KeyError, match="the journal"):
        list(HostedProvider(client).answer(broken()))


@both
def test_ctrl_c_ends_the_wait_and_keeps_what_has_come(stub: Any, ask: Ask, kind: str) -> None:
    client = stub.client(kind)
    requests = [ask("fine", client), ask("{stub:delay=9} slow", client)]
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    results = []

    def asked() -> None:
        for result in HostedProvider(client).answer(requests):
            results.append(result)
            timer.start()

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            asked()
    finally:
        timer.join()
    assert time.monotonic() - began < 8
    assert [request for request, _ in results] == requests[:1]


ABANDONED = """
import sys
from redpencil.providers.base import Message, Request
from redpencil.providers.hosted import HostedProvider
from redpencil.providers.openai_client import OpenAIClient

requests = [Request(word, (Message("user", word),)) for word in ("fine", "{stub:delay=9}", "{stub:delay=8}")]
answers = HostedProvider(OpenAIClient("m", base_url=sys.argv[1])).answer(requests)
print(next(answers)[0].key)
"""


def test_a_program_can_end_in_the_middle(stub: Any) -> None:
    command = [sys.executable, "-c", ABANDONED, f"{stub.address}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


def test_inside_a_running_loop_the_hint_is_a_thread(stub: Any, ask: Ask) -> None:
    client = stub.client("openai")

    async def asked() -> None:
        one(client, ask("one", client))

    with pytest.raises(RedpencilError, match="running event loop"):
        asyncio.run(asked())


@both
def test_no_requests_are_no_answers(stub: Any, kind: str) -> None:
    assert list(HostedProvider(stub.client(kind)).answer([])) == []


@both
@pytest.mark.slow
def test_faults_of_all_kinds_lose_and_double_nothing(start_stub: Any, ask: Ask, kind: str, tmp_path: Any) -> None:
    paid = tmp_path / "paid.jsonl"
    shares = ("--too-many", "0.05", "--errors", "0.05", "--malformed", "0.05", "--slow", "0.02", "--slow-s", "0.5")
    stub = start_stub(*shares, "--retry-after-s", "0.2", "--log", str(paid))
    client = stub.client(kind)
    requests = [ask(f"The quick brown fox {number}", client) for number in range(200)]
    results = list(HostedProvider(client, Limits(concurrency=32)).answer(requests))
    assert sorted(asked.key for asked, _ in results) == sorted(request.key for request in requests)
    assert all(isinstance(result, Completion) for _, result in results)
    lines = paid.read_text().splitlines()
    assert len(lines) == len({line.split('"')[3] for line in lines}) == 200
    assert min(stub.stats()[name] for name in ("429", "500", "malformed")) > 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 1001},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"max_retries": -1},
    ],
)
def test_a_limit_without_meaning_is_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(RedpencilError) as caught:
        Limits(**wrong)
    assert caught.value.field == next(iter(wrong))


def test_the_estimate_counts_the_answer_like_the_question_up_to_its_limit() -> None:
    # 400 bytes are 100 tokens and one for the rest; the answer is as long, or as long as it may be.
    assert estimated_tokens(400, 1000) == 202
    assert estimated_tokens(400, 10) == 111


STEP_S = 1 / 64  # exact in binary, so that no rounding adds up


def _seconds(limits: Limits, tokens: Sequence[int]) -> list[float]:
    """When each request passes, all asked for at once, by a clock that goes on when all wait."""
    passed: list[float] = []

    async def all_of_them() -> None:
        throttle, loop, clock = Throttle(limits), asyncio.get_running_loop(), [0.0]
        loop.time = lambda: clock[0]  # type: ignore[method-assign]

        async def go(number: int) -> None:
            await throttle.wait(number)
            passed.append(clock[0])

        waiting = asyncio.gather(*(go(number) for number in tokens))
        while not waiting.done() and clock[0] < 100:
            before = -1
            while len(passed) != before:
                before = len(passed)
                for _ in range(20):
                    await asyncio.sleep(0)
            clock[0] += STEP_S
        waiting.cancel()

    asyncio.run(all_of_them())
    return passed


def test_requests_pass_at_their_rate_and_not_in_a_burst_of_a_whole_minute() -> None:
    # 600 a minute are 10 a second: 10 at once, and 5 more, a tenth of a second apart.
    passed = _seconds(Limits(requests_per_minute=600), [1] * 15)
    assert passed[:10] == [0] * 10
    assert passed[10:] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5], abs=2 * STEP_S)


@pytest.mark.parametrize("per_minute", [7, 13, 59, 61, 90])
def test_odd_rates_let_a_request_pass(per_minute: int) -> None:
    assert _seconds(Limits(requests_per_minute=per_minute, tokens_per_minute=per_minute), [1]) == [0]


def test_tokens_pass_at_their_rate_also_in_lumps_larger_than_a_second_has() -> None:
    # 6,000 a minute are 100 a second. 100 pass at once, the other 50 take half a second.
    assert _seconds(Limits(tokens_per_minute=6000), [150]) == pytest.approx([0.5], abs=2 * STEP_S)


def test_a_request_larger_than_a_minute_counts_as_a_minute() -> None:
    # 60 tokens a minute, one a second: a million tokens count as 60, of which one is there and 59 take 59 s.
    # Each of the 59 waits for the clock's next step.
    assert _seconds(Limits(tokens_per_minute=60), [1_000_000]) == pytest.approx([59], abs=59 * STEP_S)


def test_a_small_request_does_not_overtake_a_large_one() -> None:
    async def order() -> list[int]:
        throttle = Throttle(Limits(tokens_per_minute=6000))
        passed: list[int] = []

        async def go(tokens: int) -> None:
            await throttle.wait(tokens)
            passed.append(tokens)

        await asyncio.gather(go(100), go(60), go(1))
        return passed

    assert asyncio.run(order()) == [100, 60, 1]


both_transport = pytest.mark.parametrize("kind", ["anthropic", "openai"])


def refusal(client: Any, request: Request) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        list(HostedProvider(client).answer([request]))
    return caught.value


@both_transport
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SSL_CERT_FILE", "/nope", "No such file or directory"),
        ("HTTP_PROXY", "http://user:hunter22@host:port", "a proxy's address is not a URL"),
        ("ALL_PROXY", "gopher://user:hunter22@host:1", "a proxy's address is not a URL"),
    ],
)
def test_an_environment_that_leads_nowhere_is_the_users_to_correct(
    stub: Any, ask: Ask, kind: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    error = refusal(stub.client(kind), ask("one"))
    assert f"cannot use the network: {told}" in str(error) or f"cannot use the network ({told})" in str(error)
    assert name in str(error.hint)
    assert "hunter22" not in str(error)


@pytest.mark.skipif(importlib.util.find_spec("socksio") is not None, reason="socksio is installed, so SOCKS works")
def test_a_socks_proxy_without_its_package_is_named(stub: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://localhost:1080")
    assert "socksio" in str(refusal(stub.client("openai"), ask("one")))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("openai", "OPENAI_ORG_ID", "caf\u00e9"), ("anthropic", "ANTHROPIC_CUSTOM_HEADERS", "X-Team: caf\u00e9")],
)
def test_a_header_that_cannot_be_sent_is_named(
    stub: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "the value of the header" in str(refusal(stub.client(kind), ask("one")))


@both_transport
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/\n", "http://127.0.0.1:1/a b", "http://a\ud83d/", "http://\u0378/"]
)
def test_an_address_that_is_none_is_refused(stub: Any, ask: Ask, kind: str, url: str) -> None:
    error = refusal(type(stub.client(kind))("m", base_url=url), ask("one"))
    assert error.field == "--base-url"


@both_transport
def test_a_good_environment_is_followed(stub: Any, ask: Ask, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ((_, result),) = HostedProvider(stub.client(kind)).answer([ask("one two")])
    assert isinstance(result, Completion)


SERVER = "http://s"


def failures(
    breaker: CircuitBreaker, count: int, status: int, problem: str = "no", *, before: bool = False
) -> list[str]:
    request = Request("k", (), failed_before=before)
    seen = (breaker.record(Answer(request, Failure(f"{problem} {n}"), status), SERVER) for n in range(count))
    return [error.problem for error in seen if error is not None]


def answered(breaker: CircuitBreaker) -> None:
    assert breaker.record(Answer(Request("k", ()), Completion("a")), SERVER) is None


def test_twenty_refusals_for_one_reason_before_any_answer_end_it() -> None:
    assert failures(CircuitBreaker(), 19, 400) == []
    assert failures(CircuitBreaker(), 20, 400) == ["http://s refused the first 20 requests for one reason: no 19"]


def test_refusals_for_different_reasons_are_failures_like_others() -> None:
    breaker = CircuitBreaker()
    assert failures(breaker, 10, 400) + failures(breaker, 39, 400, "other") == []
    assert failures(breaker, 1, 400) == ["50 requests in a row failed, the last with: no 0"]


def test_after_an_answer_refusals_count_for_nothing() -> None:
    breaker = CircuitBreaker()
    answered(breaker)
    assert failures(breaker, 1000, 400) == []
    assert failures(breaker, 49, 500) + failures(breaker, 1000, 422) == []
    assert len(failures(breaker, 1, 429)) == 1


def test_an_answer_starts_the_count_anew() -> None:
    breaker = CircuitBreaker()
    for _ in range(3):
        assert failures(breaker, 49, 500) == []
        answered(breaker)


def test_what_failed_before_says_nothing_but_that_there_is_no_server() -> None:
    for status in (200, 400, 429, 500):
        assert failures(CircuitBreaker(), 1000, status, before=True) == []
    assert len(failures(CircuitBreaker(), 50, 0, before=True)) == 1
