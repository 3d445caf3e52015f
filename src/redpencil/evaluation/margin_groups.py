"""Margins of groups of pairs: by name, by a quantity, and by the features of edits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.evaluation.edit_features import EDIT_TYPES, THIRDS, EditFeatures
from redpencil.evaluation.statistics import Accuracy, accuracy_interval, mean_interval
from redpencil.intervals import CONFIDENCE

Floats = npt.NDArray[Any]
BINS: Final = 5
LENGTH_BINS = 3


@dataclass(frozen=True, slots=True)
class MarginGroup:
    """A group of pairs: accuracy in percent, and mean margin with its 95 % interval (Student's t).

    The interval is nan for a single pair.
    """

    name: str
    accuracy: Accuracy
    margin: float
    margin_low: float
    margin_high: float


Groups = tuple[MarginGroup, ...]


def quantile_groups(margins: Floats, values: Floats, *, percent: bool = False, bins: int = BINS) -> Groups:
    """Group margins by a quantity into groups of about equal size; fewer than `bins` if many values are equal.

    Args:
        margins: [N], reward of the chosen minus reward of the rejected response.
        values: [N], the quantity.
        percent: the values are shares, to be named in percent.
        bins: number of groups.
    """
    names = quantile_names(values, percent=percent, bins=bins)
    order = [names[i] for i in np.argsort(values, kind="stable")]
    return margin_groups(margins, names, list(dict.fromkeys(order)))


def quantile_names(values: Floats, *, percent: bool = False, bins: int = BINS) -> list[str]:
    """Name the bin of each value by its smallest and largest value, such as `3 to 7`; equal values share a bin."""
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="left")
    names = {
        int(bin_): _range(float(values[place == bin_].min()), float(values[place == bin_].max()), percent)
        for bin_ in np.unique(place)
    }
    return [names[int(bin_)] for bin_ in place]


def _range(low: float, high: float, percent: bool) -> str:
    unit = " %" if percent else ""
    first, last = (f"{100 * value:.1f}" if percent else f"{value:g}" for value in (low, high))
    return f"{first}{unit}" if first == last else f"{first} to {last}{unit}"


def margin_groups(margins: Floats, names: Sequence[str], order: Sequence[str] | None = None) -> Groups:
    """Group margins by name.

    Args:
        margins: [N], reward of the chosen minus reward of the rejected response.
        names: [N], the group of each pair.
        order: names of the groups in order, others are left out; by default as they occur.
    """
    members: dict[str, list[int]] = {name: [] for name in (order if order is not None else dict.fromkeys(names))}
    for index, name in enumerate(names):
        if name in members:
            members[name].append(index)
    groups = {name: margins[rows].tolist() for name, rows in members.items() if rows}
    return tuple(
        MarginGroup(name, accuracy_interval(own), *mean_interval(own, CONFIDENCE)) for name, own in groups.items()
    )


def edit_groups(margins: Floats, features: Sequence[EditFeatures]) -> dict[str, Groups]:
    """Group the margins of N edits by each of their features, under the names of the fields of `RewardEval`."""
    return {
        "by_size": quantile_groups(margins, np.array([one.share_changed for one in features]), percent=True),
        "by_tokens": quantile_groups(margins, np.array([one.tokens_changed for one in features])),
        "by_type": margin_groups(margins, [one.type for one in features], EDIT_TYPES),
        "by_position": margin_groups(margins, [one.first_change for one in features], THIRDS),
        "by_length": quantile_groups(margins, np.array([one.words for one in features]), bins=LENGTH_BINS),
    }
