"""The client of a hosted model: the form of its requests, answers and batch files, and the SDK that posts them."""

import asyncio
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar, Final

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Result
from redpencil.providers.redact import message_of, one_line, safe_address
from redpencil.providers.stops import UnknownEndError, error_in

MISSING_SDK: Final = "pip install 'redpencil[llm]'"
MOST_BYTES: Final = 32_000_000
"""Longest body that is read; a longer one is cut and counts as malformed."""
_ENVIRONMENT: Final = "check the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR"

Hook = Callable[[Any], Awaitable[None]]
"""Receives a request and is awaited before it is sent, also before each retry."""


class MalformedAnswerError(Exception):
    """A body with status 200 that holds no answer. Its text says in a few words what is wrong with it."""


class ReportedError(Exception):
    """An error in a body with status 200. `status`: the HTTP status that it names; `text`: all of it, as JSON."""

    def __init__(self, status: int | None, error: object) -> None:
        self.status, self.text = status, json.dumps(error)
        super().__init__(message_of(self.text))


@dataclass(frozen=True, slots=True)
class Connection:
    """An open client of an SDK, the SDK's module with its exceptions, and the API key, which must not be shown."""

    sdk: Any
    module: Any
    key: str


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """The frame of a provider's batch files, and their limits. `most_bytes` and the parts of the frame are in bytes."""

    most_requests: int
    most_bytes: int
    before: bytes = b""
    between: bytes = b""
    after: bytes = b""


@dataclass(frozen=True, slots=True)
class Client(ABC):
    """A hosted model behind one kind of HTTP API.

    Args:
        model: its name.
        max_tokens: most tokens of an answer, thinking included.
        temperature: None leaves it to the model; newer models refuse any other.
        base_url: another server; None for the one in `address_variable`, or else the provider's own.
        extra: further parameters of the API.
        schema: JSON schema that answers have to fit, if the server supports that.
    """

    model: str
    max_tokens: int = 4096
    temperature: float | None = None
    base_url: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    provider: ClassVar[str]
    """Name of the API; also that of the SDK's package."""
    label: ClassVar[str]
    """Description of the models for messages."""
    sdk_class: ClassVar[str]
    path: ClassVar[str]
    """Path of the endpoint, relative to the server's address."""
    key_variable: ClassVar[str]
    """Environment variable with the API key."""
    key_hint: ClassVar[str]
    """Alternative to setting an API key, for messages."""
    placeholder_key: ClassVar[str] = ""
    """Key that is sent to other servers where the user gives none; empty if one is needed anyway."""
    address_variable: ClassVar[str]
    """Environment variable that may name another server."""
    default_address: ClassVar[str]
    batch_format: ClassVar[BatchFormat]

    @property
    def name(self) -> str:
        return self.model

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides an answer besides the messages: provider, server, model and parameters.

        Raises:
            RedpencilError: as `server`.
        """
        parameters: dict[str, Any] = {"server": self.server}
        if self.extra:
            parameters["extra"] = dict(self.extra)
        if self.schema is not None:
            parameters["schema"] = dict(self.schema)
        if self.temperature is not None:
            parameters["temperature"] = self.temperature
        return {"provider": self.provider, "model": self.model, "max_tokens": self.max_tokens, **parameters}

    @property
    def server(self) -> str:
        """The server's address, without user and password.

        Raises:
            RedpencilError: if it is not the address of a server.
        """
        return safe_address(self._other_server or self.default_address)

    @property
    def _other_server(self) -> str | None:
        return self.base_url or os.environ.get(self.address_variable) or None

    @abstractmethod
    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """Make the JSON that is posted; the same goes into a batch file."""

    def completion(self, body: object) -> Completion:
        """Read the answer from a body with status 200.

        Raises:
            ReportedError: if it reports an error, also beside an answer.
            UnknownEndError: if the answer ended in no way that makes it one.
            MalformedAnswerError: if there is none.
        """
        error = error_in(body)
        if error is not None:
            raise ReportedError(*error)
        return self._completion(body)

    @abstractmethod
    def _completion(self, body: object) -> Completion:
        """Read the answer from a body that reports no error; raises as `completion`."""

    @abstractmethod
    def batch_row(self, key: str, messages: Sequence[Message]) -> dict[str, Any]:
        """Make the entry of a request in a batch file; `key` is its `custom_id`."""

    @abstractmethod
    def batch_result(self, row: Mapping[str, Any]) -> Result | None:
        """Read the result in a line of a results file; None if it is not one of this provider's."""

    def result(self, body: object) -> Result:
        """Read the answer from a body of a batch; one without an answer is a failure."""
        try:
            return self.completion(body)
        except (MalformedAnswerError, ReportedError, UnknownEndError) as error:
            return Failure(problem_of(error))

    def connect(self, timeout_s: float, throttle: Hook | None) -> Connection:
        """Open a client of the SDK.

        Args:
            timeout_s: longest wait for a whole answer, in seconds.
            throttle: awaited before each request is sent, also before each retry.

        Raises:
            RedpencilError: if the SDK is not installed, there is no API key, or the address is wrong.
        """
        try:
            module = import_module(self.provider)
        except ImportError:
            raise RedpencilError(f"{self.label} need the package {self.provider}", hint=MISSING_SDK) from None
        other = self._other_server
        address = other or self.default_address
        safe_address(address)
        placeholder = self.placeholder_key if other is not None else ""
        key = os.environ.get(self.key_variable, "").strip() or placeholder
        if not key or not key.isprintable() or not key.isascii():
            raise RedpencilError(
                f"no API key in {self.key_variable}", hint=f"export {self.key_variable}=..., {self.key_hint}"
            )
        http = _http_client(module, timeout_s, throttle)
        sdk = _checked_sdk(
            lambda: getattr(module, self.sdk_class)(api_key=key, base_url=address, timeout=timeout_s, http_client=http)
        )
        return Connection(sdk, module, "" if key == placeholder else key)


def problem_of(error: MalformedAnswerError | ReportedError | UnknownEndError, key: str = "") -> str:
    """Say why a body with status 200 holds no answer, without secrets."""
    if isinstance(error, ReportedError):
        what = "an error" if error.status is None else f"HTTP {error.status}"
        return one_line(f"{what} in the body: {error}", key)
    broken = "the body of the answer is broken: " if isinstance(error, MalformedAnswerError) else ""
    return one_line(f"{broken}{error}", key)


def _http_client(sdk_module: Any, timeout_s: float, throttle: Hook | None) -> Any:
    """Make an HTTP client for an SDK, with the SDK's own defaults.

    Raises:
        RedpencilError: if proxies or certificates of the environment cannot be used.
    """
    import httpx2

    class Bounded(sdk_module.DefaultAsyncHttpxClient):  # type: ignore[misc]
        async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
            del stream
            if throttle is not None:
                await throttle(request)
            try:
                async with asyncio.timeout(timeout_s):
                    response = await super().send(request, stream=True, **options)
                    return await _read(response)
            except TimeoutError as error:
                raise httpx2.ReadTimeout("the whole answer took too long", request=request) from error

    try:
        return Bounded()
    except ImportError as error:
        raise RedpencilError(f"cannot use the network ({one_line(str(error))})", hint=_ENVIRONMENT) from None
    except OSError as error:
        raise RedpencilError(f"cannot use the network ({error.strerror or error})", hint=_ENVIRONMENT) from None
    except (ValueError, httpx2.InvalidURL):  # their text may hold a proxy's password
        raise RedpencilError("cannot use the network: a proxy's address is not a URL", hint=_ENVIRONMENT) from None


def _checked_sdk(make: Callable[[], Any]) -> Any:
    """Make a client of an SDK and check that its headers can be sent.

    Raises:
        RedpencilError: if HTTP cannot carry an address or a header from its arguments or the environment.
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
    """Read a response's body as UTF-8, as all JSON is, whatever encoding the server declares."""
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
