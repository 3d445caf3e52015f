"""Many rows of token ids, or of pairs, in a few arrays: 4 bytes a token, where Python's lists take up to 36."""

from array import array
from collections.abc import Iterable, Sequence
from operator import eq
from typing import TypeVar, overload

from redpencil.records import Meta, Pair

Item = TypeVar("Item")


class _Rows(Sequence[Item]):
    """A sequence that makes an item when it is asked for."""

    def _make(self, number: int) -> Item:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self._make(number) for number in range(len(self))[index]]
        return self._make(range(len(self))[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


class IntRows(_Rows[list[int]]):
    """Rows of integers, to which rows can be added; `code` is that of `array`: i for 32 bits, b for flags.

    Raises:
        OverflowError: for a number that does not fit.
    """

    def __init__(self, rows: Iterable[Iterable[int]] = (), code: str = "i") -> None:
        self._values, self._ends = array(code), array("q", (0,))
        for row in rows:
            self.append(row)

    def append(self, row: Iterable[int]) -> None:
        """Add a row at the end."""
        self._values.extend(row)
        self._ends.append(len(self._values))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _make(self, number: int) -> list[int]:
        return self._values[self._ends[number] : self._ends[number + 1]].tolist()


class PairRows(_Rows[Pair]):
    """Tokenised pairs, to which pairs can be added; each comes as a record of its own."""

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self._named: list[tuple[str, Meta | None]] = []
        self._ids = IntRows()  # three rows a pair: prompt, rejected, chosen
        self._flags = IntRows(code="b")  # two rows a pair: rejected, chosen
        self._unchanged = IntRows()  # a row a pair: rejected index, chosen index, rejected index, ...
        for pair in pairs:
            self.append(pair)

    def append(self, pair: Pair) -> None:
        """Add a pair at the end."""
        self._named.append((pair.id, pair.meta or None))
        for ids in (pair.prompt_ids, pair.rejected_ids, pair.chosen_ids):
            self._ids.append(ids)
        for flags in (pair.rejected_changed, pair.chosen_changed):
            self._flags.append(flags)
        self._unchanged.append(place for both in pair.unchanged for place in both)

    def __len__(self) -> int:
        return len(self._named)

    def _make(self, number: int) -> Pair:
        name, meta = self._named[number]
        prompt, rejected, chosen = map(tuple, self._ids[3 * number : 3 * number + 3])
        rejected_changed, chosen_changed = (tuple(map(bool, row)) for row in self._flags[2 * number : 2 * number + 2])
        places = self._unchanged[number]
        return Pair(
            name,
            prompt,
            rejected_ids=rejected,
            chosen_ids=chosen,
            rejected_changed=rejected_changed,
            chosen_changed=chosen_changed,
            unchanged=tuple(zip(places[::2], places[1::2], strict=True)),
            meta=meta or {},
        )
