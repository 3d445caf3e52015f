"""Values with intervals: read from results, and put into words."""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redpencil.errors import RedpencilError

NORMAL_95 = statistics.NormalDist().inv_cdf(0.975)
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval; win rates and accuracies in percent, differences in points.

    `low` and `high` are None where the spread is not known. `per_seed` has a value for each seed of a run.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    per_seed: tuple[float | None, ...] = ()

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above 0; False where there is no interval."""
        return self.low is not None and self.low > 0

    @property
    def covers_zero(self) -> bool:
        """Whether 0 lies in the interval; True where there is no interval, since nothing then excludes it."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def mapping(value: object, field: str, file: Path | None = None) -> Mapping[str, Any]:
    """`value` as a mapping; an absent one is empty.

    Raises:
        RedpencilError: naming `file` and `field`, if it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RedpencilError(
            f"expected a mapping, found {type(value).__name__}",
            file=file,
            field=field,
            way_out="write the file anew with `redpencil evaluate`",
        )
    return value


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(values: object) -> tuple[float | None, ...]:
    """A list of numbers; what is none becomes None."""
    return tuple(number(value) for value in values) if isinstance(values, list) else ()


def estimate(entry: object, field: str, *, whole: float | None = 100.0) -> Estimate | None:
    """An entry of results.json, or None where it has no value.

    The interval is `low` to `high`, or else the value -+ 1.96 standard errors. It is kept within 0 and `whole`, beyond
    which a share cannot lie; None is for what is no share.
    """
    row = mapping(entry, field)
    value = number(row.get("value"))
    if value is None:
        return None
    low, high, error = (number(row.get(key)) for key in ("low", "high", "standard_error"))
    if low is None or high is None:
        low, high = (None, None) if error is None else (value - NORMAL_95 * error, value + NORMAL_95 * error)
    if whole is not None and low is not None and high is not None:
        low, high = max(0.0, low), min(whole, high)
    count = number(row.get("n"))
    return Estimate(value, low, high, None if count is None else int(count), numbers(row.get("per_seed")))


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that there are; None if there are none."""
    present = [value for value in values if value is not None]
    return statistics.fmean(present) if present else None


def signed(value: float, digits: int = 1) -> str:
    """With its sign: a plus, or a true minus; thousands apart. What rounds to 0 has none."""
    text = f"{value:+,.{digits}f}"
    return text[1:] if not text.strip("+-0.") else text.replace("-", MINUS)


def plain(value: float | None, digits: int = 1) -> str:
    """With a true minus, thousands apart; a dash for None."""
    return DASH if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def percent(estimate: Estimate) -> str:
    """A value in percent, without the sign."""
    return plain(estimate.value)


def percent_interval(estimate: Estimate) -> str:
    """`48.5 to 56.5`; empty where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{plain(estimate.low)} to {plain(estimate.high)}"


def points(estimate: Estimate) -> str:
    """A difference in points, with its sign."""
    return signed(estimate.value)


def points_interval(estimate: Estimate) -> str:
    """`+2.1 to +11.3`; empty where there is no interval."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def duration(seconds: float | None) -> str:
    """`4.1 s`, `3 min 20 s`, `2 h 05 min`; a dash for None."""
    if seconds is None:
        return DASH
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"
