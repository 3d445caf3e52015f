"""Rules that rank two responses without reading either: what the accuracy of a reward model is to be read beside.

Human edits may end in white space where no original does, and are often shorter. A model that has learned no more than
that ranks most such pairs right.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from redpencil.alignment.spacing import untidy_places

Texts = Sequence[tuple[str, str]]
"""The better and the worse text of each pair: the edit and its original, the chosen and the rejected response."""
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
STRAY: Final = "Stray white space stands at the end of a text or of a line, or is doubled between words."


def rule_margins(longer: Sequence[float], texts: Texts) -> dict[str, list[float]]:
    """Compute the margin of each of N pairs by each rule: 1 where the better side wins, -1 where it loses, else 0.

    Rules of white space are left out where no pair has any that the other side has not, and without texts.

    Args:
        longer: [N], by how much the better side is the longer one, in any unit.
        texts: the N pairs; empty if they are not known.
    """
    lengths = np.sign(np.array(longer, dtype=float))
    untidy = np.sign([float(untidy_places(better) - untidy_places(worse)) for better, worse in texts])
    names = RULES if untidy.any() else _OF_LENGTH
    return {name: RULES[name][1](lengths, untidy).tolist() for name in names}
