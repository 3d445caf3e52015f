"""Security headers of answers, and limits on the origin, size and duration of requests."""

import asyncio
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_S = 60.0
"""Seconds that a body may take, plus those that its received part takes at the rate `SLOWEST`."""
SLOWEST = 10_000
"""Bytes per second."""
BODY_LIMIT = 4 * 1024 * 1024
UPLOAD_LIMIT = 64 * 1024 * 1024

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""The headers of every answer."""


HSTS: Final = "max-age=31536000"
"""Behind TLS: for a year the browser opens this address by https only, so that nobody on the way can read along."""


def headers_for(scope: Scope, base_url: str | None) -> dict[str, str]:
    """The headers of an answer."""
    secure = is_https(Request(scope), base_url)
    return {**HEADERS, **({"Strict-Transport-Security": HSTS} if secure else {})}


class SecurityHeaders:
    """Middleware that adds `headers_for` to every answer, and lets browsers and proxies store only static files."""

    def __init__(self, app: ASGIApp, base_url: str | None = None) -> None:
        self.app, self.base_url = app, base_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in headers_for(scope, self.base_url).items():
                    headers[name] = value
                static = str(scope.get("path", "")).startswith("/static/")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)


def limited(request: Request, limit: int) -> Request:
    """Wrap a request so that reading its body fails once it is longer than `limit` bytes (413) or too slow (408).

    Raises:
        HTTPException: at once, if the header of the request announces a longer body.
    """
    if _announced_length(request.headers) > limit:
        raise _too_large(limit)
    seen, began = 0, time.monotonic()

    async def receive() -> Message:
        nonlocal seen
        left = began + BODY_S + seen / SLOWEST - time.monotonic()
        try:
            message = await asyncio.wait_for(request.receive(), max(left, 0))
        except TimeoutError:
            raise HTTPException(408, "The request took too long to arrive.", headers={"Connection": "close"}) from None
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return Request(request.scope, receive)


class Allowance:
    """What a person may have the server compute: one text at a time, and `seconds` of work in `window` seconds.

    It is counted in each server process, and keeps one person from slowing the service down for all others.
    """

    def __init__(self, seconds: float = 10.0, window: float = 60.0) -> None:
        self.seconds, self.window = seconds, window
        self._lock = threading.Lock()
        self._busy: set[int] = set()
        self._spent: dict[int, deque[tuple[float, float]]] = defaultdict(deque)

    @contextmanager
    def of(self, person_id: int) -> Iterator[None]:
        """Let a person's work run, and count its time.

        Raises:
            HTTPException: with status 429, if the person has work running, or has used up the allowance.
        """
        began = time.monotonic()
        with self._lock:
            spent = self._spent[person_id]
            while spent and spent[0][0] < began - self.window:
                spent.popleft()
            over = sum(seconds for _, seconds in spent) >= self.seconds
            if over or person_id in self._busy:
                wait = math.ceil(spent[0][0] + self.window - began) if over else 1
                problem = "You have asked for many previews; this one comes later."
                raise HTTPException(429, problem, headers={"Retry-After": str(wait)})
            self._busy.add(person_id)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(person_id)
                self._spent[person_id].append((began, time.monotonic() - began))


def comes_from_here(request: Request, base_url: str | None) -> bool:
    """Return whether a request was made by a page of this server, or by a program that is not a browser.

    Browsers name the page that a request comes from, and other sites cannot make them lie.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    here = {request.headers.get("host", "").lower()}
    if base_url is not None:
        here.add(urlsplit(base_url).netloc.lower())
    # The origin `null` of a page that hides its address has no host.
    return urlsplit(origin).netloc.lower() in here - {""}


def is_https(request: Request, base_url: str | None) -> bool:
    """Return whether the browser uses https, to this process or to the proxy in front."""
    return request.url.scheme == "https" or (base_url is not None and base_url.lower().startswith("https:"))


def address_of(request: Request) -> str:
    """The address of the client."""
    return request.client.host if request.client is not None else ""


def _announced_length(headers: Headers) -> int:
    try:
        return int(headers.get("content-length", "0"))
    except ValueError:
        return 0


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"The request is larger than {limit // (1024 * 1024)} MB.")
