"""The figures that the paper printed, and the names of its rows."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

ARMS = ("token", "edits", "preference")
"""The paper's order, best first (Table 1)."""

ARM_LABELS = {
    "token": "Token rewards from edits",
    "edits": "Sequence reward from edits",
    "preference": "Sequence reward from preferences",
    "sft": "SFT, before training",
    "reference": "Reference policy",
    "source": "The source, unchanged",
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
    "longer_wins": "Rule: the longer text wins",
    "white_space_wins": "Rule: stray white space wins",
    "white_space_loses": "Rule: stray white space loses",
    "white_space_wins_then_shorter": "Rule: stray white space wins, else the shorter text",
    "white_space_loses_then_shorter": "Rule: stray white space loses, else the shorter text",
    "artefacts": "Rule: artefacts alone, by logistic regression",
}
TEST_LABELS = {
    "edits": "Edits",
    "comparisons": "Preferences as annotated",
    "comparisons_clean": "Preferences without label noise",
}
OWN_KIND = {"token_edits": "edits", "sequence_edits": "edits", "sequence_comparisons": "comparisons"}
"""The kind of pairs that each model was trained on: these cells the paper's Table 2 seems to show (trap 16)."""


@dataclass(frozen=True, slots=True)
class Printed:
    """A figure of the paper in percent; `spread` is the number after its plus-minus sign."""

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


def in_order(names: Iterable[str], first: Iterable[str]) -> list[str]:
    """List each name once: those of `first` in their order, then the others in the order of `names`."""
    known = dict.fromkeys(names)
    return list(dict.fromkeys([*(name for name in first if name in known), *known]))


def sides(pair: str, policies: Collection[str]) -> tuple[str, str]:
    """Split the name of a difference, such as `token-sft`, into its two policies, whose names may hold hyphens."""
    cuts = [(pair[:place], pair[place + 1 :]) for place, letter in enumerate(pair) if letter == "-"]
    return next((cut for cut in cuts if cut[0] in policies and cut[1] in policies), cuts[0])


NO_ARMS = ("sft", "source", "reference")
"""The policies of a report that are not arms."""


def in_paper_order(names: Iterable[str], last: Iterable[str] = NO_ARMS) -> list[str]:
    """Sort arms in the paper's order, then others by name, then the policies that are not arms."""
    names, last = list(names), list(last)
    others = sorted(name for name in names if name not in ARMS and name not in last)
    return [name for name in (*ARMS, *others, *last) if name in names]


def label(name: str, labels: dict[str, str]) -> str:
    """Return the words for a name of a recipe; for other names the name itself."""
    return labels.get(name, name.replace("_", " "))
