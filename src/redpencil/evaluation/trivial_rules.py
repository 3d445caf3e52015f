"""Rules that rank two responses without reading either: what the accuracy of a reward model is to be read beside.

Human edits may end in white space where no original does, and are often shorter. A model that has learned no more than
that ranks most such pairs right.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from redpencil.alignment.spacing import untidy_places
from redpencil.evaluation.statistics import Accuracy, accuracy_interval
from redpencil.records import Pair

Texts = Sequence[tuple[str, str]]
"""The chosen and the rejected text of each pair."""
Signs = npt.NDArray[np.float64]
_Rule = Callable[[Signs, Signs], Signs]

RULES: Final[Mapping[str, tuple[str, _Rule]]] = {
    "shorter_wins": ("The shorter text wins", lambda longer, _: -longer),
    "longer_wins": ("The longer text wins", lambda longer, _: longer),
    "white_space_wins": ("Stray white space wins", lambda _, untidy: untidy),
    "white_space_loses": ("Stray white space loses", lambda _, untidy: -untidy),
    "white_space_wins_then_shorter": (
        "Stray white space wins, else the shorter text",
        lambda longer, untidy: np.where(untidy, untidy, -longer),
    ),
    "white_space_loses_then_shorter": (
        "Stray white space loses, else the shorter text",
        lambda longer, untidy: np.where(untidy, -untidy, -longer),
    ),
}
"""The rules by name: in words, and the sign of each pair's margin from those of length and white space."""
_OF_LENGTH: Final = ("shorter_wins", "longer_wins")
STRAY: Final = "Stray white space is white space at the ends of a text or of a line, or doubled between words."


def rule_margins(pairs: Sequence[Pair], texts: Texts) -> dict[str, list[float]]:
    """Compute the margin of each of N pairs by each rule: 1 where the chosen side wins, -1 where it loses, else 0.

    Lengths are in tokens. Rules of white space are left out where no pair has any that the other side has not, and
    without texts.

    Args:
        pairs: N pairs.
        texts: the N chosen and rejected texts as the model reads them; empty if they are not known.
    """
    longer = np.sign([float(len(pair.chosen_ids) - len(pair.rejected_ids)) for pair in pairs])
    untidy = np.sign([float(untidy_places(chosen) - untidy_places(rejected)) for chosen, rejected in texts])
    names = RULES if untidy.any() else _OF_LENGTH
    return {name: RULES[name][1](longer, untidy).tolist() for name in names}


def rule_accuracies(
    pairs: Sequence[Pair], texts: Texts, prompts: Sequence[Hashable] | None = None
) -> dict[str, Accuracy]:
    """Compute the accuracy of each rule of `rule_margins`, with an interval over prompts.

    Raises:
        RedpencilError: if there are no pairs.
    """
    margins = rule_margins(pairs, texts)
    return {name: accuracy_interval(of_rule, clusters=prompts) for name, of_rule in margins.items()}


def best_rule(rules: Mapping[str, Accuracy]) -> str:
    """Return the name of the rule that is right most often."""
    return max(rules, key=lambda name: rules[name].value)
