"""How fast and how patiently a hosted model is asked."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from redpencil.errors import RedpencilError

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
                raise RedpencilError(f"a limit of {value} has no meaning", field=name, way_out=f"give {wanted}")


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
        raise RedpencilError("limits per minute need the package aiolimiter", way_out=MISSING_SDK) from None
    return AsyncLimiter(max(1.0, per_minute / 60), max(1.0, 60 / per_minute))
