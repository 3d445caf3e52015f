"""Several people's edits of one original: the tokens that they agree on, and how well they find each other's."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.records import Pair

Flags = npt.NDArray[np.bool_]
AGREE: Final = 2
"""People who must have changed a token."""
LENGTHS: Final = {"1 token": (1, 1), "2 or 3 tokens": (2, 3), "4 tokens or more": (4, 10**9)}
KINDS: Final = ("replaced", "deleted")


@dataclass(frozen=True, slots=True)
class Agreed:
    """Originals that at least two people edited.

    Args:
        rows: the index of one pair of each.
        labels: for each, the tokens [T] that at least two people changed.
        types: the same by kind of change and by the length of the stretch, each with only its own tokens.
        people: for each, what each person changed, [people, T].
    """

    rows: tuple[int, ...]
    labels: tuple[Flags, ...]
    types: Mapping[str, tuple[Flags, ...]]
    people: tuple[Flags, ...]


def agreed_changes(pairs: Sequence[Pair], originals: Sequence[Hashable]) -> Agreed | None:
    """Find what people agree on; None if no original was edited by two.

    Args:
        pairs: edits as pairs, whose rejected side is the original.
        originals: [N], prompt and original of each; equal ones are edits of one text.
    """
    groups: dict[Hashable, list[int]] = {}
    for number, original in enumerate(originals):
        groups.setdefault((original, pairs[number].rejected_ids), []).append(number)
    several = [members for members in groups.values() if len(members) >= AGREE]
    if not several:
        return None
    people = [np.array([pairs[i].rejected_changed for i in members], dtype=bool) for members in several]
    labels = [flags.sum(axis=0) >= AGREE for flags in people]
    types: dict[str, list[Flags]] = {name: [] for name in (*KINDS, *LENGTHS)}
    for members, label in zip(several, labels, strict=True):
        deleted = sum(deleted_tokens(pairs[i]).astype(int) for i in members)
        replaced = sum((np.array(pairs[i].rejected_changed) & ~deleted_tokens(pairs[i])).astype(int) for i in members)
        types["deleted"].append(label & (deleted > replaced))
        types["replaced"].append(label & (deleted <= replaced))
        runs = _run_lengths(label)
        for name, (low, high) in LENGTHS.items():
            types[name].append((low <= runs) & (runs <= high))
    return Agreed(
        tuple(members[0] for members in several),
        tuple(labels),
        {name: tuple(rows) for name, rows in types.items() if any(row.any() for row in rows)},
        tuple(people),
    )


def each_other(agreed: Agreed) -> tuple[list[npt.NDArray[Any]], list[Flags], list[int]]:
    """Return each person's changes as scores, what at least two of the others changed, and the original's number.

    Only originals that at least three people edited count. Scored like a model, people show how well anybody can do.
    """
    scores, labels, numbers = [], [], []
    for number, flags in enumerate(agreed.people):
        for person in range(len(flags) if len(flags) > AGREE else 0):
            scores.append(flags[person].astype(float))
            labels.append(np.delete(flags, person, axis=0).sum(axis=0) >= AGREE)
            numbers.append(number)
    return scores, labels, numbers


def deleted_tokens(pair: Pair) -> Flags:
    """Tell which changed tokens of the original have nothing in their place, bool [T]."""
    found = np.zeros(len(pair.rejected_ids), dtype=bool)
    borders = [(-1, -1), *sorted(pair.unchanged), (len(pair.rejected_ids), len(pair.chosen_ids))]
    for (i, j), (i_next, j_next) in pairwise(borders):
        if not any(pair.chosen_changed[j + 1 : j_next]):
            found[i + 1 : i_next] = pair.rejected_changed[i + 1 : i_next]
    return found


def _run_lengths(flags: Flags) -> npt.NDArray[np.int64]:
    """The length of the stretch of marked tokens that each token is in; 0 for those that are not marked."""
    lengths: list[int] = []
    for marked, stretch in groupby(flags.tolist()):
        count = len(list(stretch))
        lengths += [count if marked else 0] * count
    return np.array(lengths, dtype=np.int64)
