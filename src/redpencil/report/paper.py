"""What the paper printed, and what its rows are called here."""

from collections.abc import Iterable
from dataclasses import dataclass

ARMS = ("token", "edits", "preference")
"""The paper's order, best first (Table 1)."""

ARM_LABELS = {
    "token": "Token rewards from edits",
    "edits": "Sequence reward from edits",
    "preference": "Sequence reward from preferences",
    "sft": "SFT, before PPO",
    "reference": "Reference policy",
}
ARM_NAMES_IN_PAPER = {
    "token": "Fine-grained Token-level PPO",
    "edits": "Fine-grained PPO",
    "preference": "PPO-RLHF",
    "reference": "Davinci003",
}
MODEL_LABELS = {
    "token_edits": "Token model, edits",
    "sequence_edits": "Sequence model, edits",
    "sequence_comparisons": "Sequence model, preferences",
    "shorter_wins": "Rule: the shorter text wins",
}
TEST_LABELS = {
    "edits": "Edits",
    "comparisons": "Preferences as annotated",
    "comparisons_clean": "Preferences without label noise",
}
OWN_KIND = {
    "token_edits": "edits",
    "sequence_edits": "edits",
    "sequence_comparisons": "comparisons",
}
"""Tested on the kind of pairs it was trained on: the cells that the paper's Table 2 seems to show (trap 16)."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A figure of the paper in percent; `spread` is what stands behind its plus-minus sign."""

    value: float
    spread: float | None = None


TABLE_1 = {
    "token": Printed(51.6, 1.8),
    "edits": Printed(51.2, 1.8),
    "preference": Printed(46.5, 1.8),
    "reference": Printed(50.0),
}
TABLE_2 = {
    ("token_edits", "edits"): Printed(85.2, 1.8),
    ("sequence_comparisons", "comparisons"): Printed(58.2, 1.8),
}
TABLE_3_HOURS = {"ppo": (4.0, 2.0), "reward": (0.2, 0.3)}
"""Hours on eight A100, as (sequence reward from preferences, token rewards from edits)."""


def in_paper_order(names: Iterable[str], last: Iterable[str] = ("sft", "reference")) -> list[str]:
    """Arms in the paper's order, then others by name, then the policies without PPO."""
    names, last = list(names), list(last)
    others = sorted(name for name in names if name not in ARMS and name not in last)
    return [name for name in (*ARMS, *others, *last) if name in names]


def label(name: str, labels: dict[str, str]) -> str:
    """The words for a name of a recipe; the name itself where a recipe has its own."""
    return labels.get(name, name.replace("_", " "))
