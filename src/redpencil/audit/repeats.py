"""Rows of a set of edits that repeat or contradict each other.

Texts are kept as 64-bit hashes, some 30 bytes a row; any two of ten million different texts collide with a
probability of about 3 in a million.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from redpencil.audit.rules import Measures, is_content
from redpencil.records import Edit

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_LONGEST_SWAP = 3
"""The largest number of words of a replacement that counts as a swap."""
_OTHER, _EDITED, _UNCHANGED = range(3)


@dataclass(frozen=True, slots=True)
class Groups:
    """Groups of rows that belong together: their number, their rows in total, and rows of a few groups as examples."""

    groups: int
    rows: int
    examples: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows that repeat others and rows that contradict others.

    Duplicates: `ids` on more than one row of one editor; `responses`, that is one prompt with one original, on more
    than one row; `edits` of one editor that are the same in prompt, original and edited text.

    Contradictions: responses that one editor `edited_differently`, or `edited_or_left`: changed in one row and left
    unchanged in a different one; pairs of texts that were `reversed`, each edited into the other; pairs of words that
    were `swapped` in both directions in different edits of one prompt. Responses on which each editor is consistent,
    but editors disagree, are `others_edited_differently` or `edited_or_left_by_others`.
    """

    ids: Groups
    responses: Groups
    edits: Groups
    edited_differently: Groups
    edited_or_left: Groups
    reversed: Groups
    swapped: Groups
    others_edited_differently: Groups
    edited_or_left_by_others: Groups


def text_hash(*texts: str) -> int:
    """Compute a 64-bit hash of some texts in order. Halves of surrogate pairs are hashed too."""
    digest = blake2b(digest_size=8)
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return int.from_bytes(digest.digest(), "big")


class RepeatTally:
    """A comparison of rows that are added one by one."""

    def __init__(self) -> None:
        self._ids, self._sources, self._targets, self._editors = (array("Q") for _ in range(4))
        self._states = bytearray()
        self._swaps: array[int] = array("Q")
        self._swap_rows: array[int] = array("Q")
        self._forward = bytearray()

    def add(self, edit: Edit, measures: Measures | None, *, left: bool) -> int:
        """Add a row.

        Args:
            edit: the row.
            measures: the changes of its edit; None where it is not an edit.
            left: whether the response was left unchanged.

        Returns:
            A hash of the prompt and the resulting text.
        """
        row = len(self._ids)
        source = text_hash(edit.prompt, edit.original)
        target = source if measures is None else text_hash(edit.prompt, edit.edited)
        self._ids.append(text_hash(edit.id, edit.editor))
        self._editors.append(text_hash(edit.editor))
        self._sources.append(source)
        self._targets.append(target)
        self._states.append(_EDITED if measures is not None else _UNCHANGED if left else _OTHER)
        if measures is not None and edit.prompt.strip():
            self._add_swaps(edit.prompt, measures, row)
        return target

    def _add_swaps(self, prompt: str, measures: Measures, row: int) -> None:
        for piece in measures.pieces:
            sizes = [end - start for start, end in (piece.original, piece.edited)]
            if piece.kind != "replace" or max(sizes) > _LONGEST_SWAP:
                continue
            before, after = measures.original.between(piece.original), measures.edited.between(piece.edited)
            old, new = " ".join(before), " ".join(after)
            if old != new and any(map(is_content, before)) and any(map(is_content, after)):
                self._swaps.append(text_hash(prompt, *sorted((old, new))))
                self._forward.append(old < new)
                self._swap_rows.append(row)

    def result(self, examples: int) -> Repeats:
        """Return the groups, with up to `examples` of each kind, chosen by their hashes."""
        ids, sources, targets, editors = (
            np.array(column, dtype=np.uint64) for column in (self._ids, self._sources, self._targets, self._editors)
        )
        of_editors = _combined(editors, sources)
        states = np.frombuffer(bytes(self._states), dtype=np.uint8)
        edited, left = np.flatnonzero(states == _EDITED), np.flatnonzero(states == _UNCHANGED)
        differing = [_differing(keys[edited], targets[edited], edited) for keys in (of_editors, sources)]
        mixed = [_edited_or_left(keys, edited, left) for keys in (of_editors, sources)]
        pairs = _combined(np.minimum(sources, targets), np.maximum(sources, targets))[edited]
        swaps = np.array(self._swaps, dtype=np.uint64)
        forward = np.frombuffer(bytes(self._forward), dtype=np.bool_)
        return Repeats(
            ids=_repeated(ids, np.arange(len(ids)), examples),
            responses=_repeated(sources, np.arange(len(sources)), examples),
            edits=_repeated(_combined(of_editors, targets)[edited], edited, examples),
            edited_differently=_groups_of(*differing[0], examples),
            edited_or_left=_groups_of(*mixed[0], examples),
            reversed=_both_ways(pairs, sources[edited] < targets[edited], edited, examples),
            swapped=_both_ways(swaps, forward, np.array(self._swap_rows, dtype=np.int64), examples),
            others_edited_differently=_groups_of(*_without(*differing[1], differing[0][0]), examples),
            edited_or_left_by_others=_groups_of(*_without(*mixed[1], mixed[0][0]), examples),
        )


def _combined(first: Hashes, second: Hashes) -> Hashes:
    """Combine two hashes into one that depends on their order."""
    return first * np.uint64(0x9E3779B97F4A7C15) ^ second


def _groups(keys: Hashes) -> list[Rows]:
    """The indices of equal keys, for each key that occurs more than once, in the order of the keys."""
    if not len(keys):
        return []
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    sizes = np.diff(np.concatenate(([0], starts, [len(keys)])))
    bounds = np.concatenate(([0], starts))
    return [order[start : start + size] for start, size in zip(bounds[sizes > 1], sizes[sizes > 1], strict=True)]


def _groups_of(groups: Iterable[Rows], shown: Iterable[Sequence[int]], examples: int) -> Groups:
    sizes = [len(np.unique(group)) for group in groups]
    few = (tuple(int(row) for row in rows) for rows, _ in zip(shown, range(examples), strict=False))
    return Groups(len(sizes), sum(sizes), tuple(few))


def _repeated(keys: Hashes, rows: Rows, examples: int) -> Groups:
    groups = [rows[group] for group in _groups(keys)]
    return _groups_of(groups, (tuple(group[:2]) for group in groups), examples)


def _differing(keys: Hashes, targets: Hashes, rows: Rows) -> tuple[list[Rows], list[Sequence[int]]]:
    """Groups with the same key and different targets, and two rows of each to show."""
    groups = [group for group in _groups(keys) if (targets[group] != targets[group[0]]).any()]
    return [rows[group] for group in groups], [tuple(rows[_extremes(targets[group], group)]) for group in groups]


def _extremes(values: Hashes, places: Rows) -> Rows:
    """The indices of the smallest and the largest value."""
    return places[[int(values.argmin()), int(values.argmax())]]


def _edited_or_left(keys: Hashes, edited: Rows, left: Rows) -> tuple[list[Rows], list[Sequence[int]]]:
    """Groups with the same key that have edited and unchanged rows, and one of each to show."""
    both = np.intersect1d(keys[edited], keys[left])
    rows = np.concatenate((edited, left))
    rows = rows[np.isin(keys[rows], both)]
    groups = [rows[group] for group in _groups(keys[rows])]
    return groups, [(group[0], group[-1]) for group in groups]


def _without(
    groups: list[Rows], shown: list[Sequence[int]], others: list[Rows]
) -> tuple[list[Rows], list[Sequence[int]]]:
    """The groups that have no row in common with `others`."""
    excluded = {int(row) for group in others for row in group}
    kept = [at for at, group in enumerate(groups) if excluded.isdisjoint(map(int, group))]
    return [groups[at] for at in kept], [shown[at] for at in kept]


def _both_ways(keys: Hashes, forward: npt.NDArray[np.bool_], rows: Rows, examples: int) -> Groups:
    """Groups with the same key that have a row of each direction, unless both are the same row."""
    groups, shown = [], []
    for group in _groups(keys):
        there, back = (np.sort(rows[group[forward[group] == way]]) for way in (True, False))
        if len(there) and len(back) and (there[0] != back[0] or there[-1] != back[-1]):
            groups.append(rows[group])
            shown.append(sorted((there[0], back[0] if there[0] != back[0] else back[-1])))
    return _groups_of(groups, shown, examples)
