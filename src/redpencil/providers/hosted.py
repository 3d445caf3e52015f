"""A hosted model as a provider: many requests under way at once, and what becomes of each.

The SDKs repeat what met a 429, a 5xx, a timeout or a broken connection, and wait as long as `Retry-After` says. What
they let through is settled here: an answer, a broken body to ask for again, a row's failure, or the end of the run.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Request, Result
from redpencil.providers.limits import Limits, Throttle, estimated_tokens
from redpencil.providers.shown import message_of, one_line

_REFUSED_AT_FIRST: Final = 20
_FAILED_IN_A_ROW: Final = 50
_SLOW_DRAW_S: Final = 0.001
_PASSING: Final = (408, 409, 429)
"""Statuses below 500 that the SDKs repeat."""


Hook = Callable[[Any], Awaitable[None]]
"""What an SDK's HTTP client awaits before a request goes out; it gets the request."""


class MalformedAnswerError(Exception):
    """A body with status 200 that holds no answer. Its text says in a few words what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open client of an SDK, the SDK's module with its exceptions, and the key that must not be shown."""

    sdk: Any
    module: Any
    key: str


class Client(Protocol):
    """One kind of API: how a request is put, how an answer is read, and whom it goes to."""

    @property
    def model(self) -> str:
        """The model's name as the server knows it."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of an answer."""

    @property
    def name(self) -> str:
        """Who answers."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides an answer besides the messages, see `Provider`."""

    @property
    def path(self) -> str:
        """Where requests are posted, behind the server's address."""

    @property
    def key_variable(self) -> str:
        """The environment variable with the API key."""

    @property
    def server(self) -> str:
        """The server's address, as it may be shown."""

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """What is posted, as JSON; the same in a batch file."""

    def completion(self, body: object) -> Completion:
        """The answer in a body that came with status 200.

        Raises:
            MalformedAnswerError: if there is none.
        """

    def connect(self, limits: Limits, throttle: Hook | None) -> Connection:
        """Open a client of the SDK; `throttle` is awaited before each request goes out, repeated ones too.

        Raises:
            RedpencilError: if the SDK is not installed or there is no API key.
        """


@dataclass(frozen=True, slots=True)
class HostedProvider:
    """Answers by a hosted model."""

    client: Client
    limits: Limits = field(default_factory=Limits)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.client.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """The client's; how fast it is asked decides nothing."""
        return self.client.identity

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        """Answer requests, at most `limits.concurrency` at once, and yield what comes as it comes.

        Nothing moves while the caller works on a result, so the caller should be quick. What is under way when the
        generator is closed is given up.

        Raises:
            RedpencilError: where no request can succeed, or so many fail that the rest would only waste money. All
                answers that have come are yielded before.
        """
        _refuse_running_loop()
        runner, desk = asyncio.Runner(), _Desk(self.client, self.limits)
        try:
            runner.run(desk.open())
            yield from _drive(runner, desk, iter(requests))
        finally:
            if not sys.is_finalizing():  # closing starts a thread, and a program that is at its end would wait for it
                try:
                    runner.run(desk.close())
                finally:
                    runner.close()


def _refuse_running_loop() -> None:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise RedpencilError(
            "hosted models cannot be asked from inside a running event loop, such as a notebook's",
            way_out="call it in a thread of its own, for example with asyncio.to_thread",
        )


def _drive(runner: asyncio.Runner, desk: "_Desk", source: Iterator[Request]) -> Iterator[tuple[Request, Result]]:
    """Draw requests while there is room, run the loop until something has come, and hand it on."""
    drawn_all = False
    while desk.tasks or not drawn_all:
        patience: float | None = None
        if not drawn_all and len(desk.tasks) < desk.limits.concurrency:
            began = time.monotonic()
            request = next(source, None)
            drawn_all = request is None
            if request is not None:
                desk.tasks.add(runner.get_loop().create_task(desk.serve(request)))
            patience = time.monotonic() - began
            if drawn_all or patience < _SLOW_DRAW_S:
                continue
        # What is under way gets as much time as a slow draw took; with no room left, all the time it needs.
        try:
            runner.run(desk.wait(patience))
        except BaseException:
            yield from desk.collect()
            raise
        yield from desk.collect()


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of a request. `refused` says that the server refused this very request, and why."""

    request: Request
    result: Result
    refused: bool = False


@dataclass(slots=True)
class _Desk:
    """The requests under way, and what has come of others."""

    client: Client
    limits: Limits
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    finished: deque[_Answer] = field(default_factory=deque)
    trouble: BaseException | None = None
    reached: bool = False
    watch: "_Watch" = field(default_factory=lambda: _Watch())
    news: asyncio.Event = field(default_factory=asyncio.Event)
    connection: Connection | None = None

    async def open(self) -> None:
        limited = (self.limits.requests_per_minute, self.limits.tokens_per_minute) != (None, None)
        hook = _hook(Throttle(self.limits), self.client.max_tokens) if limited else None
        self.connection = self.client.connect(self.limits, hook)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.connection is not None:
            await self.connection.sdk.close()

    async def wait(self, patience: float | None) -> None:
        """Let the requests go on until one is finished, or for so many seconds."""
        if not self.finished and self.trouble is None:
            self.news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.news.wait()

    def collect(self) -> Iterator[tuple[Request, Result]]:
        """All that has come; then the error that ends the run, if there is one."""
        while self.finished:
            answer = self.finished.popleft()
            hopeless = self.watch.see(answer, self.client)
            self.trouble = self.trouble or hopeless
            yield answer.request, answer.result
        if self.trouble is not None:
            raise self.trouble

    async def serve(self, request: Request) -> None:
        try:
            self.finished.append(await self._ask(request))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a task would keep to itself what a signal's handler raised in it
            self.trouble = self.trouble or error
        finally:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.discard(task)
            self.news.set()

    async def _ask(self, request: Request) -> _Answer:
        """Ask until there is an answer; a body that holds none is asked for again."""
        assert self.connection is not None
        body = self.client.body(request.messages)
        problem = ""
        for attempt in range(self.limits.max_retries + 1):
            if attempt:
                await asyncio.sleep(min(0.25 * 2**attempt, 8))
            try:
                text = await self._post(self.connection, body)
                return _Answer(request, self.client.completion(_parsed(text)))
            except MalformedAnswerError as error:
                problem = f"the body of the answer is broken: {error}"
            except self.connection.module.APIStatusError as error:
                return self._refused(request, error)
            except self.connection.module.APIConnectionError as error:
                return _Answer(request, Failure(self._unreachable(error)))
        return _Answer(request, Failure(one_line(problem, self.connection.key)))

    async def _post(self, connection: Connection, body: dict[str, Any]) -> str:
        """Post with the SDK's retries; until a server was heard of one at first, to tell soon if none is there."""
        left = self.limits.max_retries
        while True:
            first = not self.reached
            retries = min(1, left) if first else left
            left = max(left - retries - 1, 0)
            try:
                text = await connection.sdk.post(
                    self.client.path, cast_to=str, body=body, options={"max_retries": retries}
                )
            except connection.module.APIStatusError as error:
                self.reached = True
                if not first or not left or not (error.status_code in _PASSING or error.status_code >= 500):
                    raise
            except connection.module.APIConnectionError as error:
                if not first:
                    raise
                if not self.reached:
                    raise RedpencilError(
                        f"{self.client.server}: {self._unreachable(error)}",
                        way_out="check the network and --base-url, and that the server is running; a server that is "
                        "slow to start needs a longer --timeout",
                    ) from None
            else:
                self.reached = True
                return str(text)

    def _unreachable(self, error: Exception) -> str:
        assert self.connection is not None
        if isinstance(error, self.connection.module.APITimeoutError):
            return f"no answer within {self.limits.timeout_s:g} s"
        cause = error.__cause__ or error
        return one_line(f"no connection ({type(cause).__name__}: {cause})", self.connection.key)

    def _refused(self, request: Request, error: Any) -> _Answer:
        """A refusal of this request, or of all.

        Raises:
            RedpencilError: if no request can succeed.
        """
        assert self.connection is not None
        status, client = error.status_code, self.client
        problem = one_line(f"HTTP {status}: {message_of(error.response.text)}", self.connection.key)
        account = f"add credit to the account that {client.key_variable} belongs to"
        ends = {
            401: (f"{client.server} refuses the API key", f"set {client.key_variable} to a valid key"),
            402: (f"{client.server} asks for payment ({problem})", account),
            404: (
                f"{client.server} has no model {client.model!r}, or no such API ({problem})",
                "check --model and --base-url",
            ),
        }
        if not self.watch.succeeded:
            ends[403] = (
                f"{client.server} refuses access ({problem})",
                f"check {client.key_variable}, --model and --base-url",
            )
        if status == 429 and "insufficient_quota" in error.response.text:
            ends[429] = ends[402]
        if status in ends:
            what, way_out = ends[status]
            raise RedpencilError(what, way_out=way_out)
        return _Answer(request, Failure(problem), refused=400 <= status < 500 and status not in _PASSING)


@dataclass(slots=True)
class _Watch:
    """Tells when a run only wastes time and money."""

    succeeded: bool = False
    in_a_row: int = 0
    refusals: int = 0
    reason: str = ""

    def see(self, answer: _Answer, client: Client) -> RedpencilError | None:
        """The error that ends the run, if this answer was one failure too many."""
        if isinstance(answer.result, Completion):
            self.succeeded, self.in_a_row = True, 0
            return None
        problem = answer.result.problem
        reason = re.sub(r"\d+", "0", problem)  # "199 tokens are too many" and "205 tokens are too many" are one reason
        self.in_a_row += 1
        alike = answer.refused and not self.succeeded and reason == (self.reason or reason)
        self.reason, self.refusals = reason, self.refusals + 1 if alike else 0
        if self.refusals == self.in_a_row == _REFUSED_AT_FIRST:
            what = f"{client.server} refused the first {_REFUSED_AT_FIRST} requests for one reason: {problem}"
            return RedpencilError(what, way_out="check --model, the template and the parameters that go with them")
        if self.in_a_row == _FAILED_IN_A_ROW:
            what = f"{_FAILED_IN_A_ROW} requests in a row failed, the last with: {problem}"
            return RedpencilError(what, way_out=f"when {client.server} is well again, the same command goes on")
        return None


def _hook(throttle: Throttle, max_tokens: int) -> Hook:
    async def wait(request: Any) -> None:
        await throttle.wait(estimated_tokens(len(request.content), max_tokens))

    return wait


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedAnswerError(f"no JSON but {text[:40]!r}" if text.strip() else "it is empty") from None
