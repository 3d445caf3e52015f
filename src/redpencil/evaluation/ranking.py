"""Ranking of several policies by the Bradley-Terry model (Bradley and Terry 1952) on their verdicts."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from redpencil.errors import RedpencilError

RESAMPLES: Final = 500
_PRIOR: Final = 0.5
"""Wins, and as many losses, of each policy against an imaginary average one, which amounts to one draw. It keeps the
strength of a policy that never loses finite, and barely matters with hundreds of verdicts.
"""
_STEPS: Final = 100
_EXACT: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Match:
    """One verdict: `score` is 1 if `first` is better, 0 if `second` is, .5 for a draw."""

    first: str
    second: str
    score: float
    prompt: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """A policy's place. `strength` is a log-odds: sigma(a - b) is the probability that a beats b; they add up to 0.

    `low` to `high` is the interval of the strength. `beats_average` is the share of wins against the other policies, in
    percent, if each were met equally often.
    """

    name: str
    strength: float
    low: float
    high: float
    beats_average: float
    matches: int


def rank(
    matches: Iterable[Match], *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> list[Ranked]:
    """Rank all policies, the strongest first, with bootstrap intervals over prompts.

    The verdicts of a prompt are resampled together, because they share the difficulty of the prompt.

    Raises:
        RedpencilError: if there are fewer than two policies, or two groups without any verdict between them.
    """
    played = list(matches)
    names = sorted({match.first for match in played} | {match.second for match in played})
    if len(names) < 2:
        raise RedpencilError("a ranking needs two policies or more", hint="give verdicts on several policies")
    index = {name: number for number, name in enumerate(names)}
    prompts: dict[str, list[Match]] = defaultdict(list)
    for match in played:
        prompts[match.prompt].append(match)
    wins = np.stack([_wins(group, index) for group in prompts.values()])
    _check_connected(names, wins.sum(axis=0))
    strengths = _strengths(wins.sum(axis=0))
    rng = np.random.default_rng(seed)
    resampled = []
    for _ in range(resamples):
        counts = rng.multinomial(len(wins), np.full(len(wins), 1 / len(wins)))
        resampled.append(_strengths(np.tensordot(counts, wins, axes=1)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.stack(resampled), [tail, 1 - tail], axis=0)
    ranked = [
        Ranked(
            name=name,
            strength=float(strengths[i]),
            low=float(low[i]),
            high=float(high[i]),
            beats_average=100 * _against_others(strengths, i),
            matches=sum(name in (match.first, match.second) for match in played),
        )
        for name, i in index.items()
    ]
    return sorted(ranked, key=lambda row: -row.strength)


def _wins(matches: Sequence[Match], index: Mapping[str, int]) -> Any:
    """Count how often the row's policy beat the column's, [N, N]; a draw is half a win for both."""
    wins = np.zeros((len(index), len(index)))
    for match in matches:
        first, second = index[match.first], index[match.second]
        wins[first, second] += match.score
        wins[second, first] += 1 - match.score
    return wins


def _strengths(wins: Any) -> Any:
    """Fit the strengths, [N], by maximum likelihood with Newton's method; they add up to 0."""
    games = wins + wins.T
    strengths = np.zeros(len(wins))
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))  # that the row beats the column
        alone = 1 / (1 + np.exp(-strengths))  # that it beats the imaginary policy of strength 0
        slope = (wins - games * p).sum(axis=1) + _PRIOR * (1 - 2 * alone)
        weights = games * p * (1 - p)
        curvature = np.diag(weights.sum(axis=1) + 2 * _PRIOR * alone * (1 - alone)) - weights
        step = np.clip(np.linalg.solve(curvature, slope), -1, 1)
        strengths = strengths + step
        if float(np.abs(step).max()) < _EXACT:
            break
    return strengths - strengths.mean()


def _against_others(strengths: Any, i: int) -> float:
    others = [float(strength) for j, strength in enumerate(strengths) if j != i]
    return math.fsum(1 / (1 + math.exp(other - float(strengths[i]))) for other in others) / len(others)


def _check_connected(names: Sequence[str], wins: Any) -> None:
    """Refuse policies that no chain of verdicts links."""
    from scipy.sparse.csgraph import connected_components

    _, groups = connected_components(wins, directed=False)
    apart = [name for name, group in zip(names, groups, strict=True) if group != groups[0]]
    if apart:
        raise RedpencilError(
            f"{names[0]} and {apart[0]} are not linked by any chain of verdicts, so they cannot be ranked",
            hint="judge them against each other, or against one reference",
        )
