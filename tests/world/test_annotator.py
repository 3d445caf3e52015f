"""The noisy annotator of preferences."""

import random

import pytest

from redpencil.records import Comparison, Preference
from redpencil.world.annotator import annotate, less_preferred
from redpencil.world.oracle import Oracle

PROMPT = "please describe france . cover capital , currency and language ."
GOOD, BAD = "its capital is paris .", "its capital is madrid ."


def labels(oracle: Oracle, first: str, second: str, flip: float) -> list[Preference]:
    rng = random.Random(0)
    return [annotate(oracle, PROMPT, first, second, rng, flip) for _ in range(4000)]


def test_without_flips_it_is_the_oracle(oracle: Oracle) -> None:
    assert set(labels(oracle, GOOD, BAD, 0)) == {Preference.FIRST}
    assert set(labels(oracle, BAD, GOOD, 0)) == {Preference.SECOND}


def test_a_quarter_of_the_labels_is_flipped_on_either_side(oracle: Oracle) -> None:
    # standard error sqrt(.25 * .75 / 4000) = .007
    assert labels(oracle, GOOD, BAD, 0.25).count(Preference.SECOND) / 4000 == pytest.approx(0.25, abs=0.03)
    assert labels(oracle, BAD, GOOD, 0.25).count(Preference.FIRST) / 4000 == pytest.approx(0.25, abs=0.03)


def test_a_tie_is_broken_by_a_fair_coin(oracle: Oracle) -> None:
    tied = labels(oracle, GOOD, GOOD, 0.25)
    assert set(tied) == {Preference.FIRST, Preference.SECOND}
    assert tied.count(Preference.FIRST) / 4000 == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("preference", "loser"), [(Preference.FIRST, "b"), (Preference.SECOND, "a"), (Preference.TIE, "b")]
)
def test_the_less_preferred_response(preference: Preference, loser: str) -> None:
    assert less_preferred(Comparison("1", PROMPT, "a", "b", preference)) == loser
