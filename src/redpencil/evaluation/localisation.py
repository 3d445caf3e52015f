"""Whether a reward model points at the right tokens: area under the ROC curve, overall and within groups."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from redpencil.errors import RedpencilError


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Probability that a random positive scores higher than a random negative; equal scores count one half.

    Args:
        scores: one a token, higher where the token is thought to be at fault (so minus its reward).
        labels: True where it is at fault.

    Returns:
        From 0 to 1, .5 by chance; None where one of the two classes is missing.

    Raises:
        RedpencilError: if the numbers of scores and labels differ.
    """
    won, pairs = _won_pairs(scores, labels)
    return won / pairs if pairs else None


def pooled_within_groups(scores: Sequence[float], labels: Sequence[bool], groups: Sequence[Hashable]) -> float | None:
    """AUROC within each group, averaged with the number of its (positive, negative) pairs as weight.

    A token is compared only with tokens of its own group, such as a wrong value with right values in the same slot.
    Among all clean tokens a model looks good (or bad) for what it makes of the slot rather than of the mistake.

    Args:
        scores: one a token, higher where the token is thought to be at fault.
        labels: True where it is at fault.
        groups: what is comparable has the same key.

    Returns:
        From 0 to 1, or None where no group has both classes.

    Raises:
        RedpencilError: if the numbers of scores, labels and groups differ.
    """
    if len(groups) != len(scores):
        raise RedpencilError(f"{len(scores)} scores but {len(groups)} groups", way_out="give one group for each score")
    members: dict[Hashable, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    counts = [_won_pairs([scores[i] for i in rows], [labels[i] for i in rows]) for rows in members.values()]
    pairs = sum(count for _, count in counts)
    return sum(won for won, _ in counts) / pairs if pairs else None


def _won_pairs(scores: Sequence[float], labels: Sequence[bool]) -> tuple[float, int]:
    """Pairs of a positive and a negative that are in the right order, ties one half, and the number of all pairs."""
    if len(scores) != len(labels):
        raise RedpencilError(f"{len(scores)} scores but {len(labels)} labels", way_out="give one label for each score")
    positives = sum(map(bool, labels))
    pairs = positives * (len(labels) - positives)
    if not pairs:
        return 0.0, 0
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    rank_sum = float(sum(rank for rank, label in zip(ranks, labels, strict=True) if label))
    return rank_sum - positives * (positives + 1) / 2, pairs
