"""Cross-validation: the held-out items of the runs of all folds, pooled over folds and repetitions."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from redpencil.evaluation.reward_eval import Scores, TestSet, fault_rows
from redpencil.evaluation.statistics import ratio_interval
from redpencil.intervals import points_of
from redpencil.results import Counted, Items, Pooled, PooledResults, parse_results
from redpencil.text import read_json

ITEMS = "items.json"
"""The file of the last stage of a fold's run that holds what each of its held-out items adds to the measures."""


def count_items(
    tests: Mapping[str, TestSet],
    rules: Mapping[str, Mapping[str, Sequence[float]]],
    scored: Mapping[str, Mapping[str, tuple[TestSet, Scores]]],
) -> Items:
    """Count what each held-out item adds to accuracies and to localisation within a response.

    Args:
        tests: the test sets by name, in the policy's tokens.
        rules: for each of them the margins of its pairs by the rules that read nothing.
        scored: by model and name the test set in the model's tokens, and its scores.
    """
    accuracy: dict[str, dict[str, Counted]] = {}
    within: dict[str, dict[str, Counted]] = {}
    for name, test in tests.items():
        for rule, margins in rules[name].items():
            accuracy.setdefault(rule, {})[name] = _ranked(test, margins)
    for model, of_model in scored.items():
        for name, (test, scores) in of_model.items():
            accuracy.setdefault(model, {})[name] = _ranked(test, scores.margins.tolist())
            if test.kind == "edits" and scores.rejected_tokens is not None:
                within[model] = _localised(test, scores)
    return Items(accuracy=accuracy, within=within)


def _ranked(test: TestSet, margins: Sequence[float]) -> Counted:
    prompts = tuple(map(str, test.clusters))
    return Counted(prompts=prompts, won=tuple(points_of(margins)), of=(1,) * len(prompts))


def _localised(test: TestSet, scores: Scores) -> dict[str, Counted]:
    faults, types = fault_rows(test, scores.rejected_tokens or ())
    found = {}
    for name, rows in {**faults, **types}.items():
        counts, prompts = rows.count(), tuple(map(str, rows.filled))
        for key, won in ((name, counts.won), (f"{name}_later", counts.later)):
            found[key] = Counted(prompts=prompts, won=tuple(won.tolist()), of=tuple(counts.pairs.tolist()))
    return found


def pool_folds(roots: Mapping[int, Path], folds: int) -> PooledResults | None:
    """Pool the items of the repetitions that have all their folds; None without any.

    A prompt is held out once in each repetition, and its items together are one cluster of every interval.

    Args:
        roots: the folder of each seed's run.
        folds: K, so that the seeds from r K to r K + K - 1 are repetition r.
    """
    repetitions = [
        [_read(roots[r * folds + k]) for k in range(folds)]
        for r in sorted({seed // folds for seed in roots})
        if all(r * folds + k in roots for k in range(folds))
    ]
    if not repetitions:
        return None
    return PooledResults(
        folds=folds,
        repetitions=len(repetitions),
        accuracy=_pooled([[one.accuracy for one in of_folds] for of_folds in repetitions], 100),
        within=_pooled([[one.within for one in of_folds] for of_folds in repetitions], 1),
    )


def _read(root: Path) -> Items:
    file = root / "evaluate" / ITEMS
    return parse_results(read_json(file), Items, file)


def _pooled(
    repetitions: Sequence[Sequence[Mapping[str, Mapping[str, Counted]]]], unit: float
) -> dict[str, dict[str, Pooled]]:
    """Pool the tables of each fold of each repetition, by the names of their rows and columns."""
    tables = [table for of_folds in repetitions for table in of_folds]
    found: dict[str, dict[str, Pooled]] = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        for column in dict.fromkeys(column for table in tables for column in table.get(name, {})):
            # A fold may lack a type of error, or a rule of white space, which then tells no pair of it apart.
            cells = [[t[name][column] for t in of_folds if column in t.get(name, {})] for of_folds in repetitions]
            measured = _pool([cell for cell in cells if sum(map(sum, (one.of for one in cell)))], unit)
            if measured is not None:
                found.setdefault(name, {})[column] = measured
    return found


def _pool(repetitions: Sequence[Sequence[Counted]], unit: float) -> Pooled | None:
    if not repetitions:
        return None
    every = [one for of_folds in repetitions for one in of_folds]
    won, of = (np.array([x for one in every for x in getattr(one, key)], dtype=float) for key in ("won", "of"))
    prompts = [prompt for one in every for prompt in one.prompts]
    low, high = ratio_interval(won, of, clusters=prompts)
    values = tuple(unit * _total(of_folds, "won") / _total(of_folds, "of") for of_folds in repetitions)
    return Pooled(
        value=unit * float(won.sum() / of.sum()),
        low=unit * low,
        high=unit * high,
        n=len(prompts),
        prompts=len(set(prompts)),
        repetitions=values,
        spread=statistics.stdev(values) if len(values) > 1 else None,
    )


def _total(rows: Iterable[Counted], key: str) -> float:
    return sum(sum(getattr(row, key)) for row in rows)
