"""The annotator of preferences: the oracle with a share of its labels flipped, as in AlpacaFarm's simulation."""

import random

from redpencil.records import Comparison, Preference
from redpencil.world.oracle import Oracle


def annotate(
    oracle: Oracle, prompt: str, first: str, second: str, rng: random.Random, flip: float = 0.25
) -> Preference:
    """The preferred response, never a tie: ties are broken by a coin; then the label flips with probability `flip`."""
    preference = oracle.prefers(prompt, first, second)
    prefers_first = rng.random() < 0.5 if preference is Preference.TIE else preference is Preference.FIRST
    if rng.random() < flip:
        prefers_first = not prefers_first
    return Preference.FIRST if prefers_first else Preference.SECOND


def less_preferred(comparison: Comparison) -> str:
    """The response that lost; the second one of a tie."""
    return comparison.first if comparison.preference is Preference.SECOND else comparison.second
