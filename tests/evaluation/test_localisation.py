"""AUROC by counting pairs, overall and within groups."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.localisation import auroc, pooled_within_groups

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(0, 2)), max_size=20)


def by_counting(rows: list[tuple[float, bool]]) -> tuple[float, int]:
    positives, negatives = ([score for score, label in rows if label is wanted] for wanted in (True, False))
    won = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in product(positives, negatives))
    return won, len(positives) * len(negatives)


def test_by_hand() -> None:
    # Positives 3, 1; negatives 2, 1, 0. 3 beats all three; 1 loses to 2, ties 1, beats 0: (3 + 1.5) / 6 = .75.
    assert auroc([3, 1, 2, 1, 0], [True, True, False, False, False]) == 0.75
    assert auroc([2, 1], [True, False]) == 1
    assert auroc([1, 2], [True, False]) == 0
    assert auroc([5, 5, 5], [True, False, True]) == 0.5


@pytest.mark.parametrize("labels", [[], [True, True], [False]])
def test_one_class_alone_has_no_auroc(labels: list[bool]) -> None:
    assert auroc([1.0] * len(labels), labels) is None
    assert pooled_within_groups([1.0] * len(labels), labels, [0] * len(labels)) is None


def test_groups_are_compared_within_not_across() -> None:
    # Trap 15. Slot A holds values (all scores high), slot B small words (all low); the faults are all in A.
    # Overall: positives 8, 6; negatives 7, 9, 1, 1, 1, 1. 8 wins 5 of 6, 6 wins 4 of 6: 9 / 12 = .75, flattering.
    # Within A: 8 beats 7 but not 9, 6 beats neither: 1 / 4. B has no fault and no say.
    scores = [8, 6, 7, 9, 1, 1, 1, 1]
    labels = [True, True, False, False, False, False, False, False]
    assert auroc(scores, labels) == 0.75
    assert pooled_within_groups(scores, labels, ["A"] * 4 + ["B"] * 4) == 0.25


def test_groups_weigh_by_their_pairs() -> None:
    # A: 1 positive over 3 negatives, all won (3 of 3). B: one pair, lost (0 of 1). Pooled 3 / 4, not (1 + 0) / 2.
    scores = [5, 1, 2, 3, 0, 9]
    labels = [True, False, False, False, True, False]
    assert pooled_within_groups(scores, labels, list("AAAABB")) == 0.75


@given(ROWS)
def test_agrees_with_counting_pairs(rows: list[tuple[int, bool, int]]) -> None:
    scores, labels, groups = ([row[k] for row in rows] for k in range(3))
    won, pairs = by_counting([(s, bool(label)) for s, label, _ in rows])
    assert auroc(scores, labels) == (pytest.approx(won / pairs) if pairs else None)
    counts = [by_counting([(s, bool(label)) for s, label, g in rows if g == group]) for group in range(3)]
    pairs = sum(n for _, n in counts)
    pooled = pooled_within_groups(scores, labels, groups)
    assert pooled == (pytest.approx(sum(w for w, _ in counts) / pairs) if pairs else None)


def test_lists_of_different_lengths_are_an_error() -> None:
    with pytest.raises(RedpencilError, match="labels"):
        auroc([1.0], [True, False])
    with pytest.raises(RedpencilError, match="groups"):
        pooled_within_groups([1.0, 2.0], [True, False], [0])
