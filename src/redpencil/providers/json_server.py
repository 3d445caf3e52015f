"""JSON over HTTP to a server that a user names, by the standard library alone.

No redirect is followed: it would carry token ids and the API key elsewhere. A request that failed in a way that may
pass (no connection, time-out, status 408, 429 or 5xx, half a body) is made again for a while. Messages hold neither the
API key nor what else is secret in an address.
"""

import http.client
import json
import os
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.error import HTTPError, URLError

from redpencil.errors import RedpencilError
from redpencil.providers.redact import message_of, one_line, safe_address

MOST_BYTES: Final = 1_000_000_000
"""Longest body that is read; a longer one counts as broken."""
_PART: Final = 1 << 20
_PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 529))
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 30.0


class RefusedError(RedpencilError):
    """A server's refusal, with its HTTP `status`; making the request again would not help."""

    status: int = 0


class _PassingError(Exception):
    """A failure after which the same request may succeed; its text is fit to be shown."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Follow none: the status of the redirect is the answer."""


@dataclass(frozen=True, slots=True)
class JsonServer:
    """A server that answers JSON with JSON.

    Args:
        url: its address.
        key: API key, sent as a bearer token; "" for none.
        timeout: longest wait for a whole answer, in seconds.
        patience: seconds for which a request that failed is made again.
        field: the key of a recipe, or the option, that names it, for messages.
    """

    url: str
    key: str = dataclass_field(default="", repr=False)
    timeout: float = 600
    patience: float = 600
    field: str = "url"

    @property
    def address(self) -> str:
        """The address as messages may show it."""
        return safe_address(self.url)

    def get(self, path: str) -> Any:
        """Ask for a path; as `post`."""
        return self._request("GET", path, None, threading.Event())

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, stop: threading.Event | None = None) -> Any:
        """Post a body and return what the answer holds; None where its body is empty.

        Args:
            path: below the server's address.
            body: an object; None for an empty one.
            stop: gives up where it is set.

        Raises:
            RefusedError: if the server refuses it, or points elsewhere.
            RedpencilError: if it gave no answer for as long as `patience` says.
        """
        return self._request("POST", path, json.dumps(body or {}).encode(), stop or threading.Event())

    def order(self, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Post what the server shall do, whose answer says nothing more; an error of its own (500) is final.

        Raises:
            RedpencilError: as `post`.
        """
        self._request("POST", path, json.dumps(body or {}).encode(), threading.Event(), order=True)

    def each(self, path: str, bodies: Sequence[Mapping[str, Any]], concurrency: int) -> Iterator[tuple[int, Any]]:
        """Post several bodies, `concurrency` at once; give the index and the answer of each as it comes.

        Raises:
            RedpencilError: as `post`, for the first that fails; the others are given up.
        """
        todo: SimpleQueue[int] = SimpleQueue()
        for index in range(len(bodies)):
            todo.put(index)
        done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    index = todo.get_nowait()
                except Empty:
                    return
                try:
                    done.put((index, self.post(path, bodies[index], stop=stop), None))
                except BaseException as error:  # It is raised where the answers are taken.
                    done.put((index, None, error))

        # Daemons: a command that is interrupted does not wait for answers.
        for _ in range(min(concurrency, len(bodies))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for _ in bodies:
                index, answer, error = done.get()
                if error is not None:
                    raise error
                yield index, answer
        finally:
            stop.set()

    def _request(
        self, method: str, path: str, data: bytes | None, stop: threading.Event, *, order: bool = False
    ) -> Any:
        pause, end = _FIRST_PAUSE_S, time.monotonic() + self.patience
        while True:
            try:
                body = self._once(method, path, data, _PASSING - {500} if order else _PASSING)
                return None if order else _json(body)
            except _PassingError as error:
                left = end - time.monotonic()
                if left <= 0 or stop.wait(min(pause, left)):
                    raise self._error(
                        f"{path}: {error}",
                        "look whether the server runs there, and at its log; what is finished is kept",
                    ) from None
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _once(self, method: str, path: str, data: bytes | None, passing: frozenset[int]) -> bytes:
        headers = {"Accept": "application/json"} | ({} if data is None else {"Content-Type": "application/json"})
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers, method=method)
        opener = urllib.request.build_opener(_NoRedirects)
        end = time.monotonic() + self.timeout
        try:
            with opener.open(request, timeout=self.timeout) as reply:
                return _read(reply, end)
        except HTTPError as error:
            with error:
                raise self._refusal(path, error, end, passing) from None
        except ssl.SSLError as error:
            raise self._error(one_line(str(error), self.key), "check the certificate and SSL_CERT_FILE") from None
        except URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                raise self._error(one_line(str(error.reason), self.key), "check SSL_CERT_FILE") from None
            raise _PassingError(one_line(f"no connection ({error.reason})", self.key)) from None
        except TimeoutError:
            raise _PassingError(f"no whole answer within {self.timeout:g} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(one_line(f"the connection broke ({error or type(error).__name__})", self.key)) from None

    def _refusal(self, path: str, error: HTTPError, end: float, passing: frozenset[int]) -> Exception:
        if 300 <= error.code < 400:
            problem = f"{path}: it points elsewhere (HTTP {error.code}), which is not followed"
            return self._error(problem, "name the server itself", error.code)
        try:
            text = _read(error, end).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException, _PassingError):
            text = ""
        problem = one_line(f"{path}: HTTP {error.code} {message_of(text)}".strip(), self.key)
        if error.code in passing:
            return _PassingError(problem.removeprefix(f"{path}: "))
        return self._error(problem, _HINTS.get(error.code, "look at the server's log"), error.code)

    def _error(self, problem: str, hint: str, status: int | None = None) -> RedpencilError:
        kind = RedpencilError if status is None else RefusedError
        error = kind(problem, file=self.address, field=self.field, hint=hint)
        if isinstance(error, RefusedError) and status is not None:
            error.status = status
        return error


_HINTS: Final = {
    401: "name the environment variable that holds the server's API key",
    403: "name the environment variable that holds the server's API key",
    404: "check the address, and that the server was started with what docs/engines.md names for this use",
}


def _read(reply: Any, end: float) -> bytes:
    body = bytearray()
    while part := reply.read1(_PART):
        body += part
        if time.monotonic() > end:
            raise TimeoutError
        if len(body) > MOST_BYTES:
            raise _PassingError("a body without end")
    length = reply.headers.get("Content-Length", "")
    if length.isdecimal() and len(body) < int(length):
        raise _PassingError(f"{len(body)} bytes of a body of {length}")
    return bytes(body)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        raise _PassingError("the body is not JSON, or only half of it") from None


def key_from(variable: str | None, field: str = "api_key_variable") -> str:
    """Return the API key in an environment variable; "" where none is named.

    Raises:
        RedpencilError: if the variable is not set, or holds what no header can carry.
    """
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise RedpencilError(f"no API key in {variable}", field=field, hint=f"export {variable}=...")
    return key
