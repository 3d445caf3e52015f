"""A hosted model as a provider: a pool of concurrent requests, and the handling of their errors.

The SDKs retry after a 429, a 5xx, a timeout or a broken connection, and wait as long as `Retry-After` says. The rest is
handled here: an answer, a malformed body to ask for again, the failure of a row, or the end of the run.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Request, Result
from redpencil.providers.client import (
    MISSING_SDK,
    MOST_BYTES,
    Client,
    Connection,
    Hook,
    MalformedAnswerError,
    ReportedError,
    problem_of,
)
from redpencil.providers.redact import message_of, one_line, reason_of, without_key
from redpencil.providers.stops import UnknownEndError

BYTES_PER_TOKEN: Final = 4
"""Rough average for English text."""
MAX_CONCURRENCY: Final = 1000
"""Most connections that the SDKs open to one server."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the requests of a run.

    Args:
        concurrency: most requests in progress at once.
        requests_per_minute: most requests sent in a minute, retries included; None for no limit.
        tokens_per_minute: most tokens of requests and answers in a minute, by estimate; None for no limit.
        timeout_s: longest wait for an answer, in seconds.
        max_retries: further tries after an error that may be temporary.
    """

    concurrency: int = 16
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float = 120.0
    max_retries: int = 5

    def __post_init__(self) -> None:
        for name, value, fits, allowed in (
            ("concurrency", self.concurrency, 1 <= self.concurrency <= MAX_CONCURRENCY, f"1 to {MAX_CONCURRENCY}"),
            ("requests_per_minute", self.requests_per_minute, _is_rate(self.requests_per_minute), "1 or more"),
            ("tokens_per_minute", self.tokens_per_minute, _is_rate(self.tokens_per_minute), "1 or more"),
            ("timeout_s", self.timeout_s, 0 < self.timeout_s < float("inf"), "more than 0 seconds"),
            ("max_retries", self.max_retries, self.max_retries >= 0, "0 or more"),
        ):
            if not fits:
                raise RedpencilError(f"{value} is out of range", field=name, hint=f"give {allowed}")


def _is_rate(per_minute: int | None) -> bool:
    return per_minute is None or per_minute > 0


def estimated_tokens(input_bytes: int, max_tokens: int) -> int:
    """Estimate the tokens of a request and its answer: the answer is taken to be as long as the request, or shorter."""
    asked = input_bytes // BYTES_PER_TOKEN + 1
    return asked + min(asked, max_tokens)


class Throttle:
    """Delays requests to the rate of `limits`, first come, first served.

    The budget of a minute is spread over its seconds: two minutes' budgets back to back would be twice the rate that a
    provider allows. A request that is larger than a minute's budget waits for a whole minute's.

    Raises:
        RedpencilError: if the package aiolimiter is missing.
    """

    def __init__(self, limits: Limits) -> None:
        self._requests = _limiter(limits.requests_per_minute)
        self._tokens = _limiter(limits.tokens_per_minute)
        self._tokens_of_a_minute = limits.tokens_per_minute or 0
        self._turn = asyncio.Lock()

    async def wait(self, tokens: int) -> None:
        """Wait until a request with this number of tokens may be sent."""
        async with self._turn:
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                left: float = min(tokens, self._tokens_of_a_minute)
                while left > 0:
                    part = min(left, self._tokens.max_rate)
                    await self._tokens.acquire(part)
                    left -= part


def _limiter(per_minute: int | None) -> Any:
    if per_minute is None:
        return None
    try:
        from aiolimiter import AsyncLimiter
    except ImportError:
        raise RedpencilError("limits per minute need the package aiolimiter", hint=MISSING_SDK) from None
    return AsyncLimiter(max(1.0, per_minute / 60), max(1.0, 60 / per_minute))


_REFUSED_AT_FIRST: Final = 20
_FAILED_IN_A_ROW: Final = 50
PASSING: Final = (408, 409, 429)
"""Statuses below 500 after which the SDKs retry."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request, and the HTTP status of the last reply; 0 if there was none."""

    request: Request
    result: Result
    status: int = 200

    @property
    def refused(self) -> bool:
        """True if the server refuses this request for its content."""
        return 400 <= self.status < 500 and self.status not in PASSING


@dataclass(slots=True)
class CircuitBreaker:
    """Ends a run in which so many requests fail that the rest would only waste money.

    A refusal after an answer is about one row, and so is any failure that a row has had in an earlier run; these do
    not count.
    """

    succeeded: bool = False
    in_a_row: int = 0
    refusals: int = 0
    reason: str = ""

    def record(self, answer: Answer, server: str) -> RedpencilError | None:
        """Count an answer. Returns the error that ends the run, if this was one failure too many."""
        if isinstance(answer.result, Completion):
            self.succeeded, self.in_a_row = True, 0
            return None
        if (answer.refused and self.succeeded) or (answer.status and answer.request.failed_before):
            return None
        problem = answer.result.problem
        self.in_a_row += 1
        alike = answer.refused and not self.succeeded and reason_of(problem) == (self.reason or reason_of(problem))
        self.reason, self.refusals = reason_of(problem), self.refusals + 1 if alike else 0
        if self.refusals == self.in_a_row == _REFUSED_AT_FIRST:
            what = f"{server} refused the first {_REFUSED_AT_FIRST} requests for one reason: {problem}"
            return RedpencilError(what, hint="check --model, the template and the parameters that go with them")
        if self.in_a_row == _FAILED_IN_A_ROW:
            what = f"{_FAILED_IN_A_ROW} requests in a row failed, the last with: {problem}"
            return RedpencilError(what, hint=f"run the same command again when {server} works again")
        return None


_SLOW_DRAW_S: Final = 0.001
"""A request that takes longer to draw leaves the loop time for those in progress."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60
_BROKEN_PAUSE_S, _LONGEST_BROKEN_PAUSE_S = 0.5, 8
_NO_STATUS: Final = 500
"""The status of an error in a body that names none."""
_NO_MONEY: Final = ("insufficient_quota", "credit balance is too low")
"""Texts with which OpenAI and Anthropic report an empty account under another status than 402."""


@dataclass(frozen=True, slots=True)
class HostedProvider:
    """Answers by a hosted model."""

    client: Client
    limits: Limits = field(default_factory=Limits)

    @property
    def name(self) -> str:
        return self.client.name

    @property
    def identity(self) -> Mapping[str, Any]:
        return self.client.identity

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer requests, at most `limits.concurrency` at once, and yield the results as they come.

        The event loop runs only between results, so the caller should be quick. Requests that are in progress when the
        generator is closed are cancelled.

        Raises:
            RedpencilError: if no request can succeed, or so many fail that the rest would only waste money. All
                answers that have come are yielded before.
        """
        _refuse_running_loop()
        runner, pool = asyncio.Runner(), _RequestPool(self.client, self.limits)
        try:
            runner.run(pool.open())
            yield from _drive(runner, pool, iter(requests))
        finally:
            if not sys.is_finalizing():  # closing starts a thread, which would block the end of the program
                try:
                    runner.run(pool.close())
                finally:
                    runner.close()


def _refuse_running_loop() -> None:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise RedpencilError(
            "hosted models cannot be used inside a running event loop, such as a notebook's",
            hint="call it in another thread, for example with asyncio.to_thread",
        )


def _drive(runner: asyncio.Runner, pool: "_RequestPool", source: Iterator[Request]) -> Iterator[tuple[Request, Result]]:
    """Draw requests while there is room, run the loop until a result comes, and yield it."""
    drawn_all = False
    while pool.tasks or not drawn_all:
        patience: float | None = None
        if not drawn_all and len(pool.tasks) < pool.limits.concurrency:
            began = time.monotonic()
            request = next(source, None)
            drawn_all = request is None
            if request is not None:
                pool.tasks.add(runner.get_loop().create_task(pool.serve(request)))
            patience = time.monotonic() - began
            if drawn_all or patience < _SLOW_DRAW_S:
                continue
        # Requests in progress get as much time as a slow draw took; if there is no room, all the time they need.
        try:
            runner.run(pool.wait(patience))
        except BaseException:
            yield from pool.collect()
            raise
        yield from pool.collect()


@dataclass(slots=True)
class _RequestPool:
    """The requests in progress, and the answers that were not yielded yet."""

    client: Client
    limits: Limits
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    finished: deque[Answer] = field(default_factory=deque)
    error: BaseException | None = None
    reached: bool = False
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None

    async def open(self) -> None:
        limited = (self.limits.requests_per_minute, self.limits.tokens_per_minute) != (None, None)
        hook = _hook(Throttle(self.limits), self.client.max_tokens) if limited else None
        self.connection = self.client.connect(self.limits.timeout_s, hook)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.connection is not None:
            await self.connection.sdk.close()

    async def wait(self, patience: float | None) -> None:
        """Run the requests until one is finished, or for `patience` seconds."""
        if not self.finished and self.error is None:
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.changed.wait()

    def collect(self) -> Iterator[tuple[Request, Result]]:
        """Yield the answers that have come; then raise the error that ends the run, if there is one."""
        while self.finished:
            answer = self.finished.popleft()
            hopeless = self.breaker.record(answer, self.client.server)
            self.error = self.error or hopeless
            yield answer.request, answer.result
        if self.error is not None:
            raise self.error

    async def serve(self, request: Request) -> None:
        try:
            self.finished.append(await self._ask(request))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a task would swallow the exception of a signal's handler
            self.error = self.error or error
        finally:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.discard(task)
            self.changed.set()

    async def _ask(self, request: Request) -> Answer:
        """Ask until there is an answer or no try is left.

        A malformed body is a reason to ask again, and so is an error in the body if its HTTP status would be one, or an
        answer that the server could not finish.
        """
        assert self.connection is not None
        body, key = self.client.body(request.messages), self.connection.key
        left = self.limits.max_retries
        for broken in itertools.count(1):
            try:
                content, left = await self._post(self.connection, body, left)
                return Answer(request, self.client.completion(_parsed(content, key)))
            except (MalformedAnswerError, UnknownEndError) as error:
                answer = Answer(request, Failure(problem_of(error, key)))
                if isinstance(error, UnknownEndError) and not error.again:
                    return answer
            except ReportedError as error:
                status = error.status or _NO_STATUS
                if not left or not _may_pass(status):
                    return self._refused(request, status, error.text, problem_of(error, key))
            except self.connection.module.APIStatusError as error:
                text = error.response.text
                problem = one_line(f"HTTP {error.status_code}: {message_of(text)}", key)
                return self._refused(request, error.status_code, text, problem)
            except self.connection.module.APIConnectionError as error:
                return Answer(request, Failure(self._unreachable(error)), status=0)
            if not left:
                break
            left -= 1
            await asyncio.sleep(min(_BROKEN_PAUSE_S * 2 ** (broken - 1), _LONGEST_BROKEN_PAUSE_S))
        return answer

    async def _post(self, connection: Connection, body: dict[str, Any], left: int) -> tuple[bytes, int]:
        """Post with at most `left` retries by the SDK; returns the body and the number of retries that are left.

        Until the server has replied once, the first post has one retry only, to fail soon if there is no server.
        """
        import httpx2

        while True:
            first = not self.reached
            retries = min(1, left) if first else left
            try:
                response = await connection.sdk.post(
                    self.client.path, cast_to=httpx2.Response, body=body, options={"max_retries": retries}
                )
            except connection.module.APIStatusError as error:
                self.reached = True
                left -= retries
                if not first or not left or not _may_pass(error.status_code):
                    raise
                await asyncio.sleep(_pause(error.response.headers))
            except connection.module.APIConnectionError as error:
                left -= retries
                if not first or (self.reached and not left):
                    raise
                if not self.reached:
                    raise RedpencilError(
                        f"{self.client.server}: {self._unreachable(error)}",
                        hint="check the network and --base-url, and that the server is running; for a server that "
                        "is slow to start give a longer --timeout",
                    ) from None
            else:
                self.reached = True
                return response.content, left - int(response.request.headers["x-stainless-retry-count"])
            left -= 1

    def _unreachable(self, error: Exception) -> str:
        assert self.connection is not None
        if isinstance(error, self.connection.module.APITimeoutError):
            return f"no answer within {self.limits.timeout_s:g} s"
        cause = error.__cause__ or error
        return one_line(f"no connection ({type(cause).__name__}: {cause})", self.connection.key)

    def _refused(self, request: Request, status: int, text: str, problem: str) -> Answer:
        """Handle a refusal of this request, or of all; `text` is the server's.

        Raises:
            RedpencilError: if no request can succeed.
        """
        client = self.client
        account = f"add credit to the account that {client.key_variable} belongs to"
        ends = {
            401: (f"{client.server} refuses the API key", f"set {client.key_variable} to a valid key"),
            402: (f"{client.server} asks for payment ({problem})", account),
            404: (
                f"{client.server} has no model {client.model!r}, or no such API ({problem})",
                "check --model and --base-url",
            ),
        }
        if not self.breaker.succeeded:
            ends[403] = (
                f"{client.server} refuses access ({problem})",
                f"check {client.key_variable}, --model and --base-url",
            )
        if status in (400, 429) and any(words in text for words in _NO_MONEY):
            ends[status] = ends[402]
        if status in ends:
            what, hint = ends[status]
            raise RedpencilError(what, hint=hint)
        return Answer(request, Failure(problem), status)


def _may_pass(status: int) -> bool:
    """Return whether a request that got this status may succeed another time."""
    return status in PASSING or status >= 500


def _hook(throttle: Throttle, max_tokens: int) -> Hook:
    async def wait(request: Any) -> None:
        await throttle.wait(estimated_tokens(len(request.content), max_tokens))

    return wait


def _pause(headers: Mapping[str, str]) -> float:
    """Return the seconds until the next try: the server's `Retry-After` if that is a minute or less, as the SDKs do."""
    with contextlib.suppress(ValueError):
        seconds = float(headers.get("retry-after", ""))
        if 0 < seconds <= _LONGEST_PAUSE_S:
            return seconds
    return _PAUSE_S


def _parsed(content: bytes, key: str) -> object:
    if len(content) > MOST_BYTES:
        raise MalformedAnswerError(f"it is longer than {MOST_BYTES // 1_000_000} MB")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        text = without_key(content[:10_000].decode(errors="replace").strip(), key)
        raise MalformedAnswerError(f"not JSON but {text[:40]!r}" if text else "it is empty") from None
