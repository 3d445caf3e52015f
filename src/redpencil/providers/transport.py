"""The HTTP client below an SDK, with bounds on what one attempt may take, in time and in bytes.

An SDK's own timeout is one of silence: a body that trickles, or never ends, would keep a request for ever. Here an
attempt as a whole has `Limits.timeout_s`, and no more of a body is read than `MOST_BYTES`. The SDK stays in charge of
the retries: to it an attempt that took too long is a timeout as any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.providers.limits import Limits
from redpencil.providers.shown import one_line

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
        raise RedpencilError(f"no way to the network ({one_line(str(error))})", way_out=_ENVIRONMENT) from None
    except OSError as error:
        raise RedpencilError(f"no way to the network ({error.strerror or error})", way_out=_ENVIRONMENT) from None
    except (ValueError, httpx2.InvalidURL):  # their text may hold a proxy's password
        raise RedpencilError("no way to the network: a proxy's address is none", way_out=_ENVIRONMENT) from None


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
            "this is not the address of a server", field="--base-url", way_out="such as http://localhost:8000/v1"
        ) from None
    for name, value in sdk.default_headers.items():
        if isinstance(value, str) and not (value.isascii() and value.replace("\t", " ").isprintable()):
            raise RedpencilError(
                f"the value of the header {name} cannot be sent",
                way_out="check the variables from which the SDK takes it, such as OPENAI_ORG_ID or OPENAI_PROJECT_ID",
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
