"""Compare two programs by the processor time of each, taken in turns so that a busy machine slows both."""

import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"


def ratios(ours: Callable[[int], float], theirs: Callable[[int], float], pairs: int) -> dict[str, Any]:
    """Measure both in turns, the one that comes first changing, and return how many times as long the other one takes.

    Args:
        ours: does the work of a number, and returns its seconds.
        theirs: the same work, by the other program.
        pairs: how often; before that, both do the work 0 once to warm up.

    Returns:
        `ratio`, the median over the pairs, with the `low`est and the `high`est one, and the median seconds of each.
    """
    seconds: list[tuple[float, float]] = []
    for number in range(pairs + 1):
        if number % 2:
            other = theirs(number)
            seconds.append((ours(number), other))
        else:
            own = ours(number)
            seconds.append((own, theirs(number)))
        print(f"  {number}: {seconds[-1][0]:.2f} s, the other {seconds[-1][1]:.2f} s", flush=True)
    return summary(seconds[1:])


def summary(seconds: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Sum up pairs of our seconds and the others', as `ratios` returns them."""
    found = sorted(other / own for own, other in seconds)
    own, other = (statistics.median(each) for each in zip(*seconds, strict=True))
    figures = {"ratio": statistics.median(found), "low": found[0], "high": found[-1]}
    figures |= {"seconds": own, "other_seconds": other}
    return {name: round(value, 3) for name, value in figures.items()} | {"pairs": len(seconds)}


def write(name: str, results: Mapping[str, Any], *packages: str) -> Path:
    """Write results, with the versions of packages and the processor, into `benchmarks/results/<name>.json`."""
    RESULTS.mkdir(exist_ok=True)
    about = {"versions": {package: version(package) for package in packages}, "machine": platform.machine()}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**results, **about}, indent=2) + "\n", encoding="utf-8")
    return path
