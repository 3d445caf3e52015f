"""Limits and the throttle."""

import asyncio
from collections.abc import Sequence

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.limits import Limits, Throttle, estimated_tokens


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
