"""A hosted model as a provider: many requests under way at once, and what becomes of each.

The SDKs repeat what met a 429, a 5xx, a timeout or a broken connection, and wait as long as `Retry-After` says. What
they let through is settled here: an answer, a broken body to ask for again, a row's failure, or the end of the run.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Request, Result
from redpencil.providers.redact import message_of, one_line, reason_of, without_key

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


BYTES_PER_TOKEN: Final = 4
"""Of English text, roughly."""

MISSING_SDK: Final = "pip install 'redpencil[llm]'"
MAX_CONCURRENCY: Final = 1000
"""Connections that the SDKs open to one server, at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for a run of requests.

    Args:
        concurrency: most requests under way at once.
        requests_per_minute: most requests sent in a minute, repeated ones counted; None for no limit.
        tokens_per_minute: the same for tokens of input and output together, by estimate.
        timeout_s: longest wait for an answer, in seconds.
        max_retries: further tries after an error that may pass by itself.
    """

    concurrency: int = 16
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout_s: float = 120.0
    max_retries: int = 5

    def __post_init__(self) -> None:
        for name, value, fits, wanted in (
            ("concurrency", self.concurrency, 1 <= self.concurrency <= MAX_CONCURRENCY, f"1 to {MAX_CONCURRENCY}"),
            ("requests_per_minute", self.requests_per_minute, _is_rate(self.requests_per_minute), "1 or more"),
            ("tokens_per_minute", self.tokens_per_minute, _is_rate(self.tokens_per_minute), "1 or more"),
            ("timeout_s", self.timeout_s, 0 < self.timeout_s < float("inf"), "more than 0 seconds"),
            ("max_retries", self.max_retries, self.max_retries >= 0, "0 or more"),
        ):
            if not fits:
                raise RedpencilError(f"a limit of {value} has no meaning", field=name, hint=f"give {wanted}")


def _is_rate(per_minute: int | None) -> bool:
    return per_minute is None or per_minute > 0


def estimated_tokens(input_bytes: int, max_tokens: int) -> int:
    """Tokens of a request and its answer together: an edit is about as long as what is edited, or shorter."""
    asked = input_bytes // BYTES_PER_TOKEN + 1
    return asked + min(asked, max_tokens)


class Throttle:
    """Lets requests pass at the rate of `limits`, in the order in which they come.

    The budget of a minute is handed out second by second: all of it at once, and then the next minute's, would be
    twice what a provider allows. A request that is larger than a minute's budget waits for a whole minute's.

    Raises:
        RedpencilError: if the library for it is missing.
    """

    def __init__(self, limits: Limits) -> None:
        self._requests = _limiter(limits.requests_per_minute)
        self._tokens = _limiter(limits.tokens_per_minute)
        self._tokens_of_a_minute = limits.tokens_per_minute or 0
        self._first_come = asyncio.Lock()

    async def wait(self, tokens: int) -> None:
        """Wait until a request of so many tokens may be sent."""
        async with self._first_come:
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                left: float = min(tokens, self._tokens_of_a_minute)
                while left > 0:
                    part = min(left, self._tokens.max_rate)
                    await self._tokens.acquire(part)
                    left -= part


def _limiter(per_minute: int | None) -> "AsyncLimiter | None":
    if per_minute is None:
        return None
    try:
        from aiolimiter import AsyncLimiter
    except ImportError:
        raise RedpencilError("limits per minute need the package aiolimiter", hint=MISSING_SDK) from None
    return AsyncLimiter(max(1.0, per_minute / 60), max(1.0, 60 / per_minute))


MOST_BYTES: Final = 32_000_000
"""Of a body; what is longer is cut, and no answer."""

Hook = Callable[[Any], Awaitable[None]]
"""What is awaited before a request goes out, repeated ones too; it gets the request."""

_ENVIRONMENT: Final = "check the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"


def http_client(sdk_module: Any, limits: Limits, throttle: Hook | None) -> Any:
    """An HTTP client for an SDK, with the SDK's own defaults.

    Raises:
        RedpencilError: if what the environment says about proxies or certificates cannot be followed.
    """
    import httpx2

    class Bounded(sdk_module.DefaultAsyncHttpxClient):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            del stream
            if throttle is not None:
                await throttle(request)
            try:
                async with asyncio.timeout(limits.timeout_s):
                    response = await super().send(request, stream=True, **options)
                    return await _read(response)
            except TimeoutError as error:
                raise httpx2.ReadTimeout("the whole answer took too long", request=request) from error

    try:
        return Bounded()
    except ImportError as error:
        raise RedpencilError(f"no way to the network ({one_line(str(error))})", hint=_ENVIRONMENT) from None
    except OSError as error:
        raise RedpencilError(f"no way to the network ({error.strerror or error})", hint=_ENVIRONMENT) from None
    except (ValueError, httpx2.InvalidURL):  # their text may hold a proxy's password
        raise RedpencilError("no way to the network: a proxy's address is none", hint=_ENVIRONMENT) from None


def checked_sdk(make: Callable[[], Any]) -> Any:
    """A client of an SDK, whose headers can be sent.

    Raises:
        RedpencilError: if it takes an address or a header from its arguments or the environment that HTTP cannot carry.
    """
    import httpx2

    try:
        sdk = make()
    except (ValueError, httpx2.InvalidURL):
        raise RedpencilError(
            "this is not the address of a server", field="--base-url", hint="such as http://localhost:8000/v1"
        ) from None
    for name, value in sdk.default_headers.items():
        if isinstance(value, str) and not (value.isascii() and value.replace("\t", " ").isprintable()):
            raise RedpencilError(
                f"the value of the header {name} cannot be sent",
                hint="check the variables from which the SDK takes it, such as OPENAI_ORG_ID or OPENAI_PROJECT_ID",
            )
    return sdk


async def _read(response: Any) -> Any:
    """The response with its body, which is UTF-8 as all JSON is, whatever the server calls it."""
    import httpx2

    body = bytearray()
    try:
        async for part in response.aiter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                break
    finally:
        await response.aclose()
    about_the_body = ("content-type", "content-encoding", "content-length", "transfer-encoding")
    headers = [pair for pair in response.headers.multi_items() if pair[0] not in about_the_body]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


_REFUSED_AT_FIRST: Final = 20
_FAILED_IN_A_ROW: Final = 50
PASSING: Final = (408, 409, 429)
"""Statuses below 500 that the SDKs repeat."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request, and the HTTP status of the last reply to it; 0 where there was none."""

    request: Request
    result: Result
    status: int = 200

    @property
    def refused(self) -> bool:
        """Whether the server refuses this very request."""
        return 400 <= self.status < 500 and self.status not in PASSING


@dataclass(slots=True)
class Watch:
    """Counts failures. A refusal after an answer is about one row; so is any failure that a row has had before."""

    succeeded: bool = False
    in_a_row: int = 0
    refusals: int = 0
    reason: str = ""

    def see(self, answer: Answer, server: str) -> RedpencilError | None:
        """The error that ends the run, if this answer was one failure too many."""
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
            return RedpencilError(what, hint=f"when {server} is well again, the same command goes on")
        return None


_SLOW_DRAW_S: Final = 0.001
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60
_BROKEN_PAUSE_S, _LONGEST_BROKEN_PAUSE_S = 0.5, 8
_NO_MONEY: Final = ("insufficient_quota", "credit balance is too low")
"""How OpenAI and Anthropic say with a status for something else that an account is empty."""


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
    def address_variable(self) -> str:
        """The environment variable that may name another server."""

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
            hint="call it in a thread of its own, for example with asyncio.to_thread",
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


@dataclass(slots=True)
class _Desk:
    """The requests under way, and what has come of others."""

    client: Client
    limits: Limits
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    finished: deque[Answer] = field(default_factory=deque)
    trouble: BaseException | None = None
    reached: bool = False
    watch: Watch = field(default_factory=Watch)
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
            hopeless = self.watch.see(answer, self.client.server)
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

    async def _ask(self, request: Request) -> Answer:
        """Ask until there is an answer or no try is left; a body that holds no answer is asked for again."""
        assert self.connection is not None
        body, key = self.client.body(request.messages), self.connection.key
        left = self.limits.max_retries
        for broken in itertools.count(1):
            try:
                content, left = await self._post(self.connection, body, left)
                return Answer(request, self.client.completion(_parsed(content, key)))
            except MalformedAnswerError as error:
                problem = one_line(f"the body of the answer is broken: {error}", key)
            except self.connection.module.APIStatusError as error:
                return self._refused(request, error)
            except self.connection.module.APIConnectionError as error:
                return Answer(request, Failure(self._unreachable(error)), status=0)
            if not left:
                break
            left -= 1
            await asyncio.sleep(min(_BROKEN_PAUSE_S * 2 ** (broken - 1), _LONGEST_BROKEN_PAUSE_S))
        return Answer(request, Failure(problem))

    async def _post(self, connection: Connection, body: dict[str, Any], left: int) -> tuple[bytes, int]:
        """Post with the SDK's retries, `left` at most; what comes back, and how many retries are left then.

        Until a server was heard of, one retry is made at first, to tell soon if none is there.
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
                if not first or not left or not (error.status_code in PASSING or error.status_code >= 500):
                    raise
                await asyncio.sleep(_pause(error.response.headers))
            except connection.module.APIConnectionError as error:
                left -= retries
                if not first or (self.reached and not left):
                    raise
                if not self.reached:
                    raise RedpencilError(
                        f"{self.client.server}: {self._unreachable(error)}",
                        hint="check the network and --base-url, and that the server is running; a server that is "
                        "slow to start needs a longer --timeout",
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

    def _refused(self, request: Request, error: Any) -> Answer:
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
        if status in (400, 429) and any(told in error.response.text for told in _NO_MONEY):
            ends[status] = ends[402]
        if status in ends:
            what, hint = ends[status]
            raise RedpencilError(what, hint=hint)
        return Answer(request, Failure(problem), status)


def _hook(throttle: Throttle, max_tokens: int) -> Hook:
    async def wait(request: Any) -> None:
        await throttle.wait(estimated_tokens(len(request.content), max_tokens))

    return wait


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds until the next try: what the server says, if that is a minute or less, as with the SDKs."""
    with contextlib.suppress(ValueError):
        told = float(headers.get("retry-after", ""))
        if 0 < told <= _LONGEST_PAUSE_S:
            return told
    return _PAUSE_S


def _parsed(content: bytes, key: str) -> object:
    if len(content) > MOST_BYTES:
        raise MalformedAnswerError(f"it is longer than {MOST_BYTES // 1_000_000} MB")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        text = without_key(content[:10_000].decode(errors="replace").strip(), key)
        raise MalformedAnswerError(f"no JSON but {text[:40]!r}" if text else "it is empty") from None
