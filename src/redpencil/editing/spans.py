"""The words that edits change against the words that people marked as errors."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from redpencil.alignment.words import Span
from redpencil.editing.measures import Words
from redpencil.records import Meta

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class SpanAgreement:
    """Words counted over all edits that came with labelled spans (micro-averages).

    `changed` are words that the diff deletes or replaces, `labelled` words within a labelled span, `hits` both.
    Precision, recall and F1 are None where there is nothing to divide by. `f1_low` to `f1_high` is a 95 % bootstrap
    interval over edits. `unreadable` rows had spans that are none, and stand in no other figure.
    """

    edits: int
    words: int
    changed: int
    labelled: int
    hits: int
    precision: float | None
    recall: float | None
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    unreadable: int = 0


class SpanTally:
    """Adds up the comparison over edits."""

    def __init__(self) -> None:
        self._words = 0
        self._unreadable = 0
        self._rows: array[int] = array("L")

    def add(self, original: Words, changed: Iterable[Span], meta: Meta) -> None:
        """Count an edit if its `meta` has spans.

        Args:
            original: the text that the spans are of.
            changed: indices of its words that the edit deletes or replaces, without overlaps.
            meta: `spans` is a list of objects with `start` and `end`, character offsets of the original.
        """
        if meta.get("spans") is None:
            return
        spans = _read_spans(meta["spans"], len(original.text))
        if spans is None:
            self._unreadable += 1
            return
        labelled = {index for span in spans for index in range(*original.overlapping(span))}
        touched = {index for span in changed for index in range(*span)}
        self._words += len(original)
        self._rows.extend((len(labelled & touched), len(touched), len(labelled)))

    def result(self) -> SpanAgreement | None:
        """What came of it; None where no edit had spans."""
        if not self._rows and not self._unreadable:
            return None
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 3)
        hits, changed, labelled = (int(total) for total in rows.sum(axis=0))
        low, high = _interval(rows)
        return SpanAgreement(
            edits=len(rows),
            words=self._words,
            changed=changed,
            labelled=labelled,
            hits=hits,
            precision=hits / changed if changed else None,
            recall=hits / labelled if labelled else None,
            f1=2 * hits / (changed + labelled) if changed + labelled else None,
            f1_low=low,
            f1_high=high,
            unreadable=self._unreadable,
        )


def _read_spans(spans: Any, length: int) -> Sequence[Span] | None:
    """The spans as pairs; None if one of them is no span of a text of `length` characters."""
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        return None
    pairs = [(span.get("start"), span.get("end")) for span in spans]
    for start, end in pairs:
        if type(start) is not int or type(end) is not int or not 0 <= start <= end <= length:
            return None
    return pairs


def _interval(rows: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """95 % percentile interval of F1 over edits drawn with replacement, from a fixed seed and whatever their order."""
    if len(rows) < 2 or not rows[:, 1:].any():
        return None, None
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    generator = np.random.default_rng(0)
    figures = []
    for _ in range(RESAMPLES):
        hits, changed, labelled = generator.multinomial(len(rows), counts / len(rows)) @ kinds
        if changed + labelled:
            figures.append(2 * hits / (changed + labelled))
    low, high = np.quantile(figures, (0.025, 0.975))
    return float(low), float(high)
