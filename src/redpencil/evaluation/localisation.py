"""Localisation: does a reward model point at the tokens at fault? ROC, precision and recall, and the drift of others.

The areas are counts of ranks, so that one function serves for all tokens and within groups; scikit-learn, the oracle
of the tests, has no variant within groups.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import ratio_interval
from redpencil.records import Pair

Numbers = Sequence[float] | npt.NDArray[Any]
Labels = Sequence[bool] | npt.NDArray[Any]
Groups = Sequence[Hashable] | npt.NDArray[Any]
Weakness = Literal["points_wrong", "place"]
FAULTS: Final[Mapping[str, str]] = {
    "edited": "the tokens that were edited away",
    "error_spans": "the tokens that people marked as errors",
    "agreed": "the tokens that at least two people changed",
}
"""What is localised, in words, by the fields of `RewardEval`."""
CHANCE: Final = 0.5
"""The AUROC of guessing."""


def fault_name(kind: str) -> str:
    """Name what is localised, one of `FAULTS` or a type of error, in words."""
    return FAULTS.get(kind, f"errors of the type {kind}")


def by_place(later: float) -> float:
    """Return the better of the two rules that look at the place alone, of which one blames `later` tokens."""
    return max(later, 1 - later)


def weakness(kind: str, low: float | None, high: float | None, later: float | None) -> Weakness | None:
    """Say what speaks against an AUROC within a response, of `FAULTS` or a type of error, by its interval.

    Its whole interval lies below chance, so that low scores are at the faults; or not all of it above what the place
    alone gives, which is not asked of the few tokens of a type of error.
    """
    if low is None or high is None:
        return None
    if high < CHANCE:
        return "points_wrong"
    return "place" if kind in FAULTS and later is not None and low <= by_place(later) else None


@dataclass(frozen=True, slots=True)
class Localisation:
    """Measures of how well scores find the tokens at fault; None if one of the two classes is missing.

    Args:
        auroc: over all tokens of all responses.
        within_auroc: over pairs of tokens of one response; `low` to `high` is its 95 % bootstrap interval over
            responses, or over prompts with all their responses.
        later: the same of the rule that a later token of a response is at fault, which looks at no word; that of the
            earlier token is 1 minus this.
        later_low: low end of its interval.
        later_high: high end of its interval.
        average_precision: over all tokens; by chance it is the base rate.
        base_rate: share of the tokens that are at fault, `positives` of `tokens`.
        responses: number of responses.
    """

    auroc: float | None
    within_auroc: float | None
    low: float | None
    high: float | None
    later: float | None
    later_low: float | None
    later_high: float | None
    average_precision: float | None
    base_rate: float | None
    tokens: int
    positives: int
    responses: int


@dataclass(frozen=True, slots=True)
class Within:
    """Pairs of a token at fault and another of the same response, for each of R responses.

    Args:
        pairs: [R], their number.
        won: [R], those in which the token at fault has the higher score; a tie counts one half.
        later: [R], those in which it is the later one.
    """

    pairs: npt.NDArray[np.int64]
    won: npt.NDArray[np.float64]
    later: npt.NDArray[np.float64]


def count_within(scores: Numbers, labels: Labels, responses: npt.NDArray[Any]) -> Within:
    """Count the pairs within each response; arguments and errors as those of `localise`."""
    score, label = _arrays(scores, labels)
    numbers = _numbered(responses, len(score))
    won, pairs = _won_by_group(score, label, numbers)
    later, _ = _won_by_group(np.arange(len(score), dtype=np.float64), label, numbers)
    return Within(pairs, won, later)


def localise(
    scores: Numbers, labels: Labels, responses: npt.NDArray[Any], prompts: Sequence[Hashable] | None = None
) -> Localisation:
    """Compute all measures of localisation.

    Args:
        scores: [N], one a token, higher for tokens that seem at fault (so minus the reward).
        labels: [N], True for tokens at fault.
        responses: [N], the number of the token's response, in ascending order; tokens are in the order of the text.
        prompts: [R], the prompt of each of the R responses, if several may share one.

    Raises:
        RedpencilError: if their numbers differ.
    """
    score, label = _arrays(scores, labels)
    within = count_within(score, label, responses)
    low, high = _interval(within.won, within.pairs, prompts)
    later_low, later_high = _interval(within.later, within.pairs, prompts)
    positives = int(label.sum())
    return Localisation(
        auroc=auroc(score, label),
        within_auroc=_share(within.won, within.pairs),
        low=low,
        high=high,
        later=_share(within.later, within.pairs),
        later_low=later_low,
        later_high=later_high,
        average_precision=average_precision(score, label),
        base_rate=positives / len(label) if len(label) else None,
        tokens=len(label),
        positives=positives,
        responses=len(within.pairs),
    )


def _interval(
    won: npt.NDArray[Any], pairs: npt.NDArray[Any], prompts: Sequence[Hashable] | None
) -> tuple[float | None, float | None]:
    low, high = ratio_interval(won, pairs, clusters=prompts)
    return (None, None) if np.isnan(low) else (low, high)


def auroc(scores: Numbers, labels: Labels, groups: Groups | None = None) -> float | None:
    """Compute the probability that a random positive scores higher than a random negative; equal scores count one half.

    With groups it is that of a pair within one group: the mean of the groups' values, weighted by their pairs. So a
    wrong value is compared with right values in the same slot. Compared with all clean tokens, a model is judged by its
    rewards for the slot and not by those for the mistake.

    Args:
        scores: [N], one a token, higher for tokens that seem at fault (so minus the reward).
        labels: [N], True for tokens at fault.
        groups: [N], the key of the token's group.

    Returns:
        From 0 to 1, .5 by chance; None if one of the two classes is missing, in all tokens or in each group.

    Raises:
        RedpencilError: if their numbers differ.
    """
    score, label = _arrays(scores, labels)
    numbers = np.zeros(len(score), dtype=np.int64) if groups is None else _numbered(groups, len(score))
    return _share(*_won_by_group(score, label, numbers))


def _share(won: npt.NDArray[np.float64], pairs: npt.NDArray[np.int64]) -> float | None:
    return float(won.sum() / pairs.sum()) if pairs.sum() else None


def average_precision(scores: Numbers, labels: Labels) -> float | None:
    """Sum the precision at each score, weighted by the recall that it adds: sum of (R_n - R_{n-1}) P_n.

    Tokens with equal scores enter together, so their order does not matter. This is scikit-learn's definition, without
    interpolation.

    Args:
        scores: [N], one a token, higher for tokens that seem at fault.
        labels: [N], True for tokens at fault.

    Returns:
        From 0 to 1, by chance about the share of positives; None without a positive.

    Raises:
        RedpencilError: if the numbers of scores and labels differ.
    """
    score, label = _arrays(scores, labels)
    if not label.any():
        return None
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(label[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / (last + 1)))


def _arrays(scores: Numbers, labels: Labels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    if len(scores) != len(labels):
        raise RedpencilError(f"{len(scores)} scores but {len(labels)} labels", hint="give one label for each score")
    return np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)


def _numbered(groups: Groups, scores: int) -> npt.NDArray[np.int64]:
    """Number the groups from 0."""
    if len(groups) != scores:
        raise RedpencilError(f"{scores} scores but {len(groups)} groups", hint="give one group for each score")
    if isinstance(groups, np.ndarray):
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _won_by_group(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Count, in each group, the pairs of a positive and a negative in the right order (ties one half), and all pairs.

    This is Mann and Whitney's count, from the ranks of the positives within their group.
    """
    from scipy.stats import rankdata

    sizes = np.bincount(groups)
    positives = np.bincount(groups[labels], minlength=len(sizes))
    # Ranks of all tokens, group after group; equal scores of a group share their mean rank.
    ranks = rankdata(groups * (len(scores) + 1) + rankdata(scores, "dense"))
    starts = np.cumsum(sizes) - sizes
    rank_sums = np.bincount(groups, (ranks - starts[groups]) * labels, minlength=len(sizes))
    return rank_sums - positives * (positives + 1) / 2, positives * (sizes - positives)


Rewards = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift of the rewards of unchanged tokens: mean |r_original - r_edited| over pairs of them.

    Args:
        mean: over all pairs of tokens, in the model's unit.
        spread: standard deviation of all token rewards, of both sides.
        relative: `mean` in units of `spread`; None if all rewards are equal.
        pairs: pairs of unchanged tokens.
        mean_behind: over pairs with a token behind the first change of its side; None if there are none. A model that
            reads from left to right cannot drift before the first change.
        pairs_behind: number of those pairs.
    """

    mean: float
    spread: float
    relative: float | None
    pairs: int
    mean_behind: float | None
    pairs_behind: int


def drift(pairs: Sequence[Pair], rejected: Rewards, chosen: Rewards) -> Drift | None:
    """Compute the drift over aligned pairs; None if no token is unchanged.

    Args:
        pairs: edits as pairs, with their U0 and U1.
        rejected: rewards of the original's tokens, one [T] a pair.
        chosen: rewards of the edit's tokens.
    """
    gaps, behind = [], []
    for pair, before, after in zip(pairs, rejected, chosen, strict=True):
        if not pair.unchanged:
            continue
        places = np.array(pair.unchanged)
        gaps.append(np.abs(before[places[:, 0]] - after[places[:, 1]]))
        first = _first(pair.rejected_changed), _first(pair.chosen_changed)
        behind.append((places[:, 0] > first[0]) | (places[:, 1] > first[1]))
    if not gaps:
        return None
    gap, later = np.concatenate(gaps).astype(np.float64), np.concatenate(behind)
    spread = float(np.concatenate([*rejected, *chosen]).astype(np.float64).std())
    return Drift(
        mean=float(gap.mean()),
        spread=spread,
        relative=float(gap.mean()) / spread if spread else None,
        pairs=len(gap),
        mean_behind=float(gap[later].mean()) if later.any() else None,
        pairs_behind=int(later.sum()),
    )


def _first(changed: Sequence[bool]) -> int:
    """Return the index of the first changed token; the length if there is none."""
    return changed.index(True) if any(changed) else len(changed)
