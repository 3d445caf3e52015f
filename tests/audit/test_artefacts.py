"""Artefacts alone: features by hand, the fit against scikit-learn, no leak between prompts, sides that chance chose."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from redpencil.audit.artefacts import FEWEST, cross_validated, differences, find_artefacts, fit

Pair = tuple[str, str]


def test_features_by_hand() -> None:
    assert differences("The red cat sat.  ", "the red cat sat") == {
        "white space at the end": 1,
        "stray white space": 1,
        "characters": 3,
        "full stops": 1,
        "a mark at the end": 1,
        "a capital at the start": 1,
        "share of capitals": pytest.approx(1 / 12),
    }
    assert differences("4 (dogs), no?", "Dogs;\nno") == {
        "line ends": -1,
        "characters": 5,
        "words": 1,
        "letters a word": pytest.approx(7 / 3 - 3),
        "digits": 1,
        "brackets": 2,
        "commas": 1,
        "question marks": 1,
        "semicolons": -1,
        "a mark at the end": 1,
        "a capital at the start": -1,
        "share of capitals": pytest.approx(-1 / 6),
        "first word: 4": 1,
        "first word: dogs": -1,
    }
    assert differences("", "") == {}


def made(count: int, seed: int = 0) -> list[Pair]:
    """Pairs of which most edits end in a space and are shorter."""
    rng, pairs = random.Random(seed), []
    for _ in range(count):
        words = rng.choices(["red", "Blue", "so,", "it", "round."], k=rng.randrange(4, 12))
        cut = words[: len(words) - (rng.random() < 0.7)]
        pairs.append((" ".join(cut) + " " * (rng.random() < 0.4), " ".join(words)))
    return [(better, worse) for better, worse in pairs if better != worse]


def test_the_fit_is_that_of_scikit_learn() -> None:
    pairs = made(200)
    found = fit(pairs)
    names = list(found.weights)
    x = np.array([[differences(*pair).get(name, 0.0) for name in names] for pair in pairs])
    scale = np.sqrt((x**2).mean(axis=0))
    # Each pair in both directions, at half the weight, is the pair itself without an intercept.
    both, labels = np.concatenate([x, -x]) / scale, [1] * len(x) + [0] * len(x)
    oracle = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
    oracle.fit(both, labels, sample_weight=[0.5] * len(both))
    assert [found.weights[name] for name in names] == pytest.approx(oracle.coef_[0] / scale, abs=1e-3, rel=1e-3)
    assert found.margins(pairs[:3]) == pytest.approx((x[:3] / scale) @ oracle.coef_[0], abs=1e-3)


def test_words_that_are_rare_tell_nothing() -> None:
    pairs = [(f"w{n} red", f"v{n} red") for n in range(30)]
    assert fit(pairs).weights == {}
    assert fit([("now red", f"v{n} red") for n in range(30)]).weights["first word: now"] > 1


def test_what_separates_is_found() -> None:
    pairs = made(300)
    found = find_artefacts(pairs, [str(n) for n in range(len(pairs))])
    assert found is not None
    assert found.accuracy is not None
    assert found.accuracy.low > 85
    assert {feature.name for feature in found.features} >= {"white space at the end", "words"}
    weights = {feature.name: feature.weight for feature in found.features}
    assert weights["white space at the end"] > 0 > weights["words"]
    assert found.stray_original == 0
    assert found.stray_edited == sum(better.endswith(" ") for better, _ in pairs) > 50
    won = sum(1 if better.endswith(" ") else 0.5 for better, _ in pairs)
    assert found.rules["white_space_wins"].value == pytest.approx(100 * won / len(pairs))


def test_sides_that_chance_chose_are_not_told_apart() -> None:
    rng = random.Random(5)
    pairs = [pair if rng.random() < 0.5 else pair[::-1] for pair in made(400)]
    found = find_artefacts(pairs, list(range(len(pairs))))
    assert found is not None
    assert found.accuracy is not None
    assert found.accuracy.low < 50 < found.accuracy.high


def test_no_classifier_sees_the_prompts_that_it_ranks() -> None:
    # Within a prompt the first word gives all away, in a way that is another one in each prompt.
    pairs = [(f"w{n // 10} red", f"v{n // 10} red") for n in range(100)]
    known = cross_validated(pairs, list(range(100)))
    unknown = cross_validated(pairs, [n // 10 for n in range(100)])
    assert known is not None
    assert unknown is not None
    assert min(known) > 0
    assert unknown == [0.0] * 100


def test_too_few_pairs_or_prompts() -> None:
    pairs = made(FEWEST + 10)[:FEWEST]
    assert cross_validated(pairs, list(range(FEWEST))) is not None
    assert cross_validated(pairs[1:], list(range(FEWEST - 1))) is None
    assert cross_validated(pairs, ["p"] * FEWEST) is None
    few = find_artefacts(pairs[:3], list("abc"))
    assert few is not None
    assert (few.accuracy, few.features, few.pairs, few.prompts) == (None, (), 3, 3)
    assert find_artefacts([], []) is None


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(30)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    pairs = made(60)[:30]
    straight = cross_validated(pairs, list(range(30)))
    mixed = cross_validated([pairs[n] for n in order], order)
    assert straight is not None
    assert mixed is not None
    assert [mixed[order.index(n)] for n in range(30)] == pytest.approx(straight, abs=1e-3)
