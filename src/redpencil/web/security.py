"""Security headers of answers, and limits on the origin, size and duration of requests."""

import asyncio
import time
from collections.abc import Mapping
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


class SecurityHeaders:
    """Middleware that adds `HEADERS` to every answer, and lets browsers and proxies store only static files."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
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
