"""AUROC by counting pairs, average precision by walking down the list, overall and within groups."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from redpencil.errors import RedpencilError
from redpencil.evaluation.localisation import auroc, average_precision, drift, localise
from redpencil.records import Pair

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
    assert auroc([1.0] * len(labels), labels, [0] * len(labels)) is None


def test_groups_are_compared_within_not_across() -> None:
    # Trap 15. Slot A holds values (all scores high), slot B small words (all low); the faults are all in A.
    # Overall: positives 8, 6; negatives 7, 9, 1, 1, 1, 1. 8 wins 5 of 6, 6 wins 4 of 6: 9 / 12 = .75, flattering.
    # Within A: 8 beats 7 but not 9, 6 beats neither: 1 / 4. B has no fault and no say.
    scores = [8, 6, 7, 9, 1, 1, 1, 1]
    labels = [True, True, False, False, False, False, False, False]
    assert auroc(scores, labels) == 0.75
    assert auroc(scores, labels, ["A"] * 4 + ["B"] * 4) == 0.25


def test_groups_weigh_by_their_pairs() -> None:
    # A: 1 positive over 3 negatives, all won (3 of 3). B: one pair, lost (0 of 1). Pooled 3 / 4, not (1 + 0) / 2.
    scores = [5, 1, 2, 3, 0, 9]
    labels = [True, False, False, False, True, False]
    assert auroc(scores, labels, list("AAAABB")) == 0.75


@given(ROWS)
def test_agrees_with_counting_pairs(rows: list[tuple[int, bool, int]]) -> None:
    scores, labels, groups = ([row[k] for row in rows] for k in range(3))
    won, pairs = by_counting([(s, bool(label)) for s, label, _ in rows])
    assert auroc(scores, labels) == (pytest.approx(won / pairs) if pairs else None)
    counts = [by_counting([(s, bool(label)) for s, label, g in rows if g == group]) for group in range(3)]
    pairs = sum(n for _, n in counts)
    pooled = auroc(scores, labels, groups)
    assert pooled == (pytest.approx(sum(w for w, _ in counts) / pairs) if pairs else None)


@given(ROWS)
def test_areas_agree_with_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    scores, labels = [row[0] for row in rows], [row[1] for row in rows]
    if len(set(labels)) == 2:
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_lists_of_different_lengths_are_an_error() -> None:
    with pytest.raises(RedpencilError, match="labels"):
        auroc([1.0], [True, False])
    with pytest.raises(RedpencilError, match="groups"):
        auroc([1.0, 2.0], [True, False], [0])
    with pytest.raises(RedpencilError, match="labels"):
        average_precision([1.0], [])


def by_walking(rows: list[tuple[float, bool]]) -> float:
    """The area under the steps of the precision-recall curve, threshold by threshold."""
    positives = sum(label for _, label in rows)
    area = recall = 0.0
    for threshold in sorted({score for score, _ in rows}, reverse=True):
        taken = [label for score, label in rows if score >= threshold]
        area += (sum(taken) / positives - recall) * sum(taken) / len(taken)
        recall = sum(taken) / positives
    return area


def test_average_precision_by_hand() -> None:
    # From the top: hit (1/1), miss, hit (2/3), miss. Each hit adds half of the recall: (1 + 2/3) / 2 = 5/6.
    assert average_precision([4, 3, 2, 1], [True, False, True, False]) == pytest.approx(5 / 6)
    assert average_precision([1, 2], [True, False]) == 0.5
    assert average_precision([2, 1], [True, False]) == 1


def test_equal_scores_come_in_together() -> None:
    # 3 (hit): 1/1. Then 2, 2, 2 with one hit, all at once: precision 2/4. (1 + .5) / 2, whatever their order.
    for labels in ([True, True, False, False], [True, False, False, True]):
        assert average_precision([3, 2, 2, 2], labels) == 0.75
    assert average_precision([7] * 4, [False, True, False, False]) == 0.25  # no information: the base rate


def test_average_precision_without_positives() -> None:
    assert average_precision([], []) is None
    assert average_precision([1, 2], [False, False]) is None
    assert average_precision([1, 2], [True, True]) == 1


@given(ROWS)
def test_average_precision_agrees_with_walking(rows: list[tuple[int, bool, int]]) -> None:
    pairs = [(float(score), label) for score, label, _ in rows]
    expected = pytest.approx(by_walking(pairs)) if any(label for _, label in pairs) else None
    assert average_precision([score for score, _ in pairs], [label for _, label in pairs]) == expected


def test_groups_may_be_an_array() -> None:
    scores, labels = [5, 1, 2, 3, 0, 9], [True, False, False, False, True, False]
    assert auroc(np.array(scores), np.array(labels), np.array([7, 7, 7, 7, 2, 2])) == 0.75


def test_all_figures_at_once() -> None:
    # Response 0: 5 over 1; response 1: 2 under 3 and 4; response 2: no fault. Within: 1 of 3 pairs.
    # Together: 5 beats 1 3 4 2 1, five of five; 2 beats 1 and 1, ties 2: 2.5 of 5. 7.5 / 10.
    scores, labels = np.array([5, 1, 2, 3, 4, 2, 1]), np.array([1, 0, 1, 0, 0, 0, 0], dtype=bool)
    found = localise(scores, labels, np.array([0, 0, 1, 1, 1, 2, 2]))
    assert found.auroc == 0.75
    assert found.within_auroc == pytest.approx(1 / 3)
    assert found.average_precision == pytest.approx(
        by_walking(list(zip(scores.tolist(), labels.tolist(), strict=True)))
    )
    assert (found.base_rate, found.tokens, found.positives, found.responses) == (pytest.approx(2 / 7), 7, 2, 3)
    assert (found.low, found.high) == (0, 1)  # two responses have both classes: all right, or all wrong


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_is_not_localised(label: bool) -> None:
    found = localise(np.array([1.0, 2.0]), np.array([label, label]), np.array([0, 1]))
    assert (found.auroc, found.within_auroc, found.low, found.high) == (None, None, None, None)
    assert found.base_rate == label
    assert localise([], [], np.array([], dtype=int)).base_rate is None


def pair(rejected: str, chosen: str, *unchanged: tuple[int, int]) -> Pair:
    """U1 as one letter a token: x for changed."""
    flags = [tuple(letter == "x" for letter in side) for side in (rejected, chosen)]
    return Pair("p", (1,), tuple(range(len(rejected))), tuple(range(len(chosen))), *flags, unchanged)


def test_by_hand_drift() -> None:
    # a X b against a Y Z b: pairs (0, 0) and (2, 3); gaps |1 - 1| = 0 and |1 - 4| = 3; the second is behind the change.
    before, after = np.array([1.0, 9.0, 1.0]), np.array([1.0, 5.0, 5.0, 4.0])
    found = drift([pair(".x.", ".xx.", (0, 0), (2, 3))], [before], [after])
    assert found is not None
    assert (found.mean, found.pairs, found.mean_behind, found.pairs_behind) == (1.5, 2, 3, 1)
    # All rewards 1 9 1 1 5 5 4: mean 26/7, squares 150: variance 150/7 - (26/7)^2 = 374/49.
    assert found.spread == pytest.approx(374**0.5 / 7)
    assert found.relative == pytest.approx(1.5 * 7 / 374**0.5)


def test_a_pure_insertion_changes_nothing_before_it() -> None:
    # a b against X a b: nothing of the original is in U1, and both tokens stand behind the edit's.
    found = drift([pair("..", "x..", (0, 1), (1, 2))], [np.array([1.0, 2.0])], [np.array([0.0, 1.0, 0.0])])
    assert found is not None
    assert (found.mean, found.mean_behind, found.pairs_behind) == (1, 1, 2)


def test_the_mean_is_over_pairs_of_tokens_not_over_edits() -> None:
    long = pair("...x", "...x", (0, 0), (1, 1), (2, 2)), np.zeros(4), np.zeros(4)
    short = pair(".x", ".x", (0, 0)), np.array([4.0, 0.0]), np.zeros(2)
    found = drift([long[0], short[0]], [long[1], short[1]], [long[2], short[2]])
    assert found is not None
    assert (found.mean, found.mean_behind) == (1, None)


def test_nothing_to_compare() -> None:
    assert drift([], [], []) is None
    assert drift([pair("x", "x")], [np.ones(1)], [np.ones(1)]) is None
    flat = drift([pair(".x", ".x", (0, 0))], [np.ones(2)], [np.ones(2)])
    assert flat is not None
    assert (flat.mean, flat.relative) == (0, None)
