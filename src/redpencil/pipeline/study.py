"""Several seeds of one recipe: means over seeds with Student's t intervals, and medians where they are asked for."""

import statistics
from collections.abc import Sequence
from functools import reduce
from typing import Any

from redpencil.evaluation.statistics import mean_interval

Results = dict[str, Any]


def summarise(runs: Sequence[Results]) -> dict[str, Any]:
    """Summary of the single-seed results of one recipe; the seed is the unit of every interval."""
    first = runs[0]
    arms, models = first["win_rate"], first["localisation"]
    summary: dict[str, Any] = {
        "win_rate": {arm: _interval(runs, "win_rate", arm, "value") for arm in arms},
        "win_rate_difference": {
            pair: _interval(runs, "win_rate_difference", pair, "value") for pair in first["win_rate_difference"]
        },
        "mean_length": {arm: _interval(runs, "win_rate", arm, "mean_length") for arm in arms},
        "reward_accuracy": {
            trained: {tested: _interval(runs, "reward_accuracy", trained, tested, "value") for tested in row}
            for trained, row in first["reward_accuracy"].items()
        },
        "localisation": {
            model: {name: _interval(runs, "localisation", model, name) for name in row} for model, row in models.items()
        },
    }
    for name in (key for key in first if key.startswith("efficiency")):
        summary[name] = _ratios([run[name] for run in runs])
    return summary


def _interval(runs: Sequence[Results], *path: str) -> dict[str, Any] | None:
    """Mean and interval of the number at `path`; None where a seed has no such number."""
    values: list[Any] = [reduce(lambda place, key: place[key], path, run) for run in runs]
    if any(value is None for value in values):
        return None
    mean, low, high = mean_interval(values)
    return {"value": mean, "low": low, "high": high, "per_seed": values}


def _ratios(rows: Sequence[Results]) -> dict[str, Any]:
    """A seed in which the token arm never got there counts as slower than any that did."""
    ratios = [row["ratio"] for row in rows]
    median = statistics.median(float("inf") if ratio is None else ratio for ratio in ratios)
    return {
        "ratio_median": None if median == float("inf") else median,
        "ratios": ratios,
        "token_steps": [row["token_step"] for row in rows],
        "sequence_steps": [row["sequence_step"] for row in rows],
    }
