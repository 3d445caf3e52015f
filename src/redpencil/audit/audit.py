"""The audit of a set of edits: one pass over the rows counts, a second one fetches the examples.

Memory does not grow with the texts: it holds counters, and some 30 bytes a row for hashes. No figure depends on the
order of the rows.
"""

import math
from array import array
from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from redpencil.alignment.spacing import restore_spacing
from redpencil.alignment.words import Span, diff_words, same_visible, split_words
from redpencil.audit.artefacts import Artefacts, find_artefacts
from redpencil.audit.repeats import Repeats, RepeatTally
from redpencil.audit.rules import MIN_KEPT, RULES, TENTHS, Measures, Words, broken_rules, measure, tenth_of, tenths
from redpencil.records import Edit, EditOutcome, Meta
from redpencil.runs import Progress, no_progress
from redpencil.text import prompt_key

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a number over `n` edits; all fields but `n` are None if n is 0.

    `quantiles` are those of `QUANTILES`, interpolated linearly between the two nearest values.
    """

    n: int
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    quantiles: tuple[float, ...] | None = None

    @property
    def median(self) -> float | None:
        return None if self.quantiles is None else self.quantiles[QUANTILES.index(0.5)]


@dataclass(frozen=True, slots=True)
class GrowthBin:
    """The number of edits that changed the length by `low` to `high` words, inclusive; None is an open end."""

    low: int | None
    high: int | None
    edits: int


KINDS = ("insert", "delete", "replace")


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Changes of one kind: their number, the words removed and added, the edits that have some or nothing else."""

    blocks: int
    words_removed: int
    words_added: int
    edits_with: int
    edits_with_nothing_else: int


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """The growth of edits over their originals; `longer`, `equal` and `shorter` count edits by words.

    `added_at_the_end` are words added behind the last word of the original, out of `words_added`.
    """

    words_before: int
    words_after: int
    words: Distribution
    characters: Distribution
    bins: tuple[GrowthBin, ...]
    longer: int
    equal: int
    shorter: int
    only_append: int
    only_cut_the_end: int
    words_added: int
    added_at_the_end: int


@dataclass(frozen=True, slots=True)
class Places:
    """Words by their tenth of the original: all of its words, those removed, and those added there."""

    words: tuple[int, ...]
    removed: tuple[int, ...]
    added: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpanAgreement:
    """Words counted over all edits that came with labelled spans (micro-averages).

    `changed` are words that the diff deletes or replaces, `labelled` words within a labelled span, `hits` both.
    Precision, recall and F1 are None where there is nothing to divide by. `f1_low` to `f1_high` is a 95 % bootstrap
    interval over edits. `unreadable` rows had invalid spans, and are in no other figure.
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


@dataclass(frozen=True, slots=True)
class Editor:
    """The figures of one editor; `kept` and `growth` (means, in words) are None where no row is an edit."""

    name: str
    rows: int
    outcomes: Mapping[str, int]
    edits: int
    kept: float | None
    growth: float | None
    only_append: int
    not_minimal: int


@dataclass(frozen=True, slots=True)
class Example:
    """An edit to show, shortened to its changes."""

    id: str
    editor: str
    outcome: str
    prompt: str
    original: str
    edited: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The figures. `edits` rows have outcome EDITED, an original that is not blank, and a different text; all
    figures from `kept` to `broken_rules` are of these; `not_minimal` counts those that break a rule.

    `artefacts` is what separates edits from their originals without reading them; None without an edit.
    `only_spacing` edits change white space alone; `also_spacing` edits change it, or line ends, beside words that they
    keep. `unusable` counts the other rows with outcome EDITED by reason, `blank_edits` the edits that leave nothing.
    `examples` are cases by finding; a case is one edit, or edits that contradict each other.
    """

    rows: int
    outcomes: Mapping[str, int]
    edits: int
    unusable: Mapping[str, int]
    blank_edits: int
    only_spacing: int
    also_spacing: int
    retried: int
    kept: Distribution
    kept_histogram: tuple[int, ...]
    kinds: Mapping[str, KindFigures]
    length: LengthFigures
    places: Places
    min_kept: float
    not_minimal: int
    broken_rules: Mapping[str, int]
    repeats: Repeats
    editors: tuple[Editor, ...]
    spans: SpanAgreement | None
    artefacts: Artefacts | None
    examples: Mapping[str, tuple[tuple[Example, ...], ...]]


ARTEFACT_EDITS = 2000
"""Edits, a sample by hash, from which artefacts are learned."""
CONTRADICTIONS = (
    *("edited_differently", "edited_or_left", "reversed", "swapped"),
    *("others_edited_differently", "edited_or_left_by_others"),
)
SPACING = ("only_spacing", "also_spacing")
SAMPLED = ("edits", "only_append", *SPACING, *RULES)
"""The findings that single edits are examples of."""
PACE = 500
"""Rows between two reports of progress."""


def audit_edits(
    read: Callable[[], Iterable[Edit]],
    *,
    min_kept: float = MIN_KEPT,
    examples: int = 3,
    total: int = 0,
    progress: Progress = no_progress,
) -> Audit:
    """Audit edits.

    Args:
        read: opens the rows; called a second time if there are edits.
        min_kept: share of the words below which an edit is called rewritten.
        examples: number of cases to show for each finding, and for the edits as a whole.
        total: number of rows, for `progress` only.
        progress: called every `PACE` rows.
    """
    tally = _Tally(min_kept, examples)
    for done, edit in enumerate(read(), start=1):
        tally.add(edit)
        if done % PACE == 0:
            progress(done, total, "")
    repeats = tally.repeats.result(examples)
    cases = {name: tuple((row,) for row in sample.rows) for name, sample in tally.samples.items()}
    contradictions = {name: getattr(repeats, name).examples for name in CONTRADICTIONS}
    shown, learned = _fetch(read, cases | contradictions, tally.learned.rows)
    texts = [(edit.edited, edit.original) for edit in learned]
    artefacts = find_artefacts(texts, [prompt_key(edit.prompt) for edit in learned])
    return tally.result(repeats, artefacts, shown)


class _EditorTally:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.kept: Counter[float] = Counter()
        self.counts: Counter[str] = Counter()

    def result(self, name: str) -> Editor:
        edits = self.counts["edits"]
        return Editor(
            name=name,
            rows=self.outcomes.total(),
            outcomes=_by_outcome(self.outcomes),
            edits=edits,
            kept=distribution(self.kept).mean,
            growth=self.counts["growth"] / edits if edits else None,
            only_append=self.counts["only_append"],
            not_minimal=self.counts["not_minimal"],
        )


class _Tally:
    """The counts of the first pass."""

    def __init__(self, min_kept: float, examples: int) -> None:
        self.min_kept = min_kept
        self.outcomes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.kept: Counter[float] = Counter()
        self.growth: dict[str, Counter[int]] = {"words": Counter(), "characters": Counter()}
        self.places = {name: [0] * TENTHS for name in ("words", "removed", "added")}
        self.editors: dict[str, _EditorTally] = {}
        self.repeats = RepeatTally()
        self.spans = SpanTally()
        self.samples = {name: Sample(examples) for name in SAMPLED}
        self.learned = Sample(ARTEFACT_EDITS)

    def add(self, edit: Edit) -> None:
        row = self.outcomes.total()
        editor = self.editors.setdefault(edit.editor, _EditorTally())
        self.outcomes[edit.outcome.value] += 1
        editor.outcomes[edit.outcome.value] += 1
        self.counts["retried"] += bool(edit.meta.get("retry"))
        is_edited = edit.outcome is EditOutcome.EDITED
        same, blank = edit.edited == edit.original, not edit.original.strip()
        self.counts["no change"] += is_edited and same
        self.counts["blank original"] += is_edited and blank and not same
        measures = measure(edit.original, edit.edited) if is_edited and not same and not blank else None
        left = edit.outcome is EditOutcome.UNCHANGED or (is_edited and same)
        key = self.repeats.add(edit, measures, left=left)
        if measures is not None:
            self._add_edit(measures, editor, key, row)
        if measures is not None or left:
            changed = () if measures is None else [piece.original for piece in measures.pieces]
            original = Words(edit.original) if measures is None else measures.original
            self.spans.add(original, changed, edit.meta)

    def _add_edit(self, edit: Measures, editor: _EditorTally, key: int, row: int) -> None:
        appends, rules = edit.only_appends, broken_rules(edit, self.min_kept)
        spacing = _spacing(edit.original.text, edit.edited.text)
        words = len(edit.edited) - len(edit.original)
        self.counts.update(
            edits=1,
            **dict.fromkeys(spacing, 1),
            blank_edits=not edit.edited.text.strip(),
            only_append=appends,
            only_cut_the_end=edit.only_cuts_the_end,
            words_before=len(edit.original),
            words_after=len(edit.edited),
            words_added=edit.added,
            added_at_the_end=edit.added_at_the_end,
            not_minimal=bool(rules),
        )
        self.broken.update(rules)
        self.kept[edit.kept] += 1
        self.growth["words"][words] += 1
        self.growth["characters"][len(edit.edited.text) - len(edit.original.text)] += 1
        self._add_pieces(edit)
        editor.kept[edit.kept] += 1
        editor.counts.update(edits=1, growth=words, only_append=appends, not_minimal=bool(rules))
        for name in ("edits", *(("only_append",) if appends else ()), *spacing, *rules):
            self.samples[name].offer(key, row)
        if edit.edited.text.strip():
            self.learned.offer(key, row)

    def _add_pieces(self, edit: Measures) -> None:
        total = len(edit.original)
        for tenth, words in tenths((0, total), total):
            self.places["words"][tenth] += words
        for piece in edit.pieces:
            removed, added = (end - start for start, end in (piece.original, piece.edited))
            self.kinds[piece.kind, "blocks"] += 1
            self.kinds[piece.kind, "removed"] += removed
            self.kinds[piece.kind, "added"] += added
            for tenth, words in tenths(piece.original, total):
                self.places["removed"][tenth] += words
            self.places["added"][tenth_of(piece.original[0], total)] += added
        kinds = {piece.kind for piece in edit.pieces}
        for kind in kinds:
            self.kinds[kind, "with"] += 1
            self.kinds[kind, "alone"] += len(kinds) == 1

    def result(
        self,
        repeats: Repeats,
        artefacts: Artefacts | None,
        examples: Mapping[str, tuple[tuple[Example, ...], ...]],
    ) -> Audit:
        editors = [tally.result(name) for name, tally in self.editors.items()]
        counts = ("blocks", "removed", "added", "with", "alone")
        return Audit(
            rows=self.outcomes.total(),
            outcomes=_by_outcome(self.outcomes),
            edits=self.counts["edits"],
            unusable={reason: self.counts[reason] for reason in ("no change", "blank original")},
            blank_edits=self.counts["blank_edits"],
            **{name: self.counts[name] for name in SPACING},
            retried=self.counts["retried"],
            kept=distribution(self.kept),
            kept_histogram=histogram(self.kept),
            kinds={kind: KindFigures(*(self.kinds[kind, name] for name in counts)) for kind in KINDS},
            length=self._length(),
            places=Places(**{name: tuple(words) for name, words in self.places.items()}),
            min_kept=self.min_kept,
            not_minimal=self.counts["not_minimal"],
            broken_rules={name: self.broken[name] for name in RULES},
            repeats=repeats,
            editors=tuple(sorted(editors, key=lambda editor: (-editor.rows, editor.name))),
            spans=self.spans.result(),
            artefacts=artefacts,
            examples=examples,
        )

    def _length(self) -> LengthFigures:
        words, characters = self.growth["words"], self.growth["characters"]
        counted = ("words_before", "words_after", "only_append", "only_cut_the_end", "words_added", "added_at_the_end")
        return LengthFigures(
            words=distribution(words),
            characters=distribution(characters),
            bins=growth_bins(words),
            longer=sum(times for change, times in words.items() if change > 0),
            equal=words[0],
            shorter=sum(times for change, times in words.items() if change < 0),
            **{name: self.counts[name] for name in counted},
        )


def _spacing(original: str, edited: str) -> tuple[str, ...]:
    """The name of the count of edits that change white space as this one does, in a tuple; empty if it does not."""
    if same_visible(original, edited):
        return SPACING[:1]
    return SPACING[1:] if restore_spacing(original, edited) != edited else ()


def _by_outcome(counts: Counter[str]) -> dict[str, int]:
    return {outcome.value: counts[outcome.value] for outcome in EditOutcome}


def _fetch(
    read: Callable[[], Iterable[Edit]], cases: Mapping[str, tuple[tuple[int, ...], ...]], learned: Sequence[int]
) -> tuple[dict[str, tuple[tuple[Example, ...], ...]], list[Edit]]:
    """Read the examples, by the finding that they are examples of, and the edits of the rows `learned`."""
    shown = {row for of_name in cases.values() for case in of_name for row in case}
    wanted = shown.union(learned)
    edits: dict[int, Edit] = {}
    if wanted:
        last = max(wanted)
        for row, edit in enumerate(read()):
            if row in wanted:
                edits[row] = edit
            if row == last:
                break
    examples = {row: _example(edits[row]) for row in shown}
    of_cases = {
        name: tuple(tuple(examples[row] for row in case) for case in of_name) for name, of_name in cases.items()
    }
    return of_cases, [edits[row] for row in learned]


def _example(edit: Edit) -> Example:
    texts = excerpt(edit.original, edit.edited)
    return Example(edit.id, edit.editor, edit.outcome.value, shorten(edit.prompt), *texts)


BINS = 10
STEPS = (1, 10, 40)
"""Words of growth or loss at which a bin begins."""


def distribution(values: Counter[int] | Counter[float]) -> Distribution:
    """Compute the distribution of values from their counts."""
    ordered = sorted(values.items())
    count = sum(values.values())
    if not count:
        return Distribution(0)
    mean = math.fsum(value * times for value, times in ordered) / count
    values_in_order, last = [value for value, _ in ordered], list(accumulate(times for _, times in ordered))

    def at(place: float) -> float:
        """The value at `place` in the sorted sequence of all values, counted from 0."""
        below = math.floor(place)
        low, high = (values_in_order[bisect_right(last, index)] for index in (below, math.ceil(place)))
        return low + (place - below) * (high - low)

    quantiles = tuple(at(share * (count - 1)) for share in QUANTILES)
    return Distribution(count, mean, float(ordered[0][0]), float(ordered[-1][0]), quantiles)


def histogram(shares: Counter[float]) -> tuple[int, ...]:
    """Count the shares in each tenth from 0 to 1; each bin includes its lower end, the last one also 1."""
    bins = [0] * BINS
    for share, times in shares.items():
        bins[min(int(share * BINS), BINS - 1)] += times
    return tuple(bins)


def growth_bins(changes: Counter[int]) -> tuple[GrowthBin, ...]:
    """Count changes of length by size, from the largest loss to the largest growth."""
    grown = [*((a, b - 1) for a, b in pairwise(STEPS)), (STEPS[-1], None)]
    shrunk = [(None if high is None else -high, -low) for low, high in reversed(grown)]
    return tuple(GrowthBin(low, high, _between(changes, low, high)) for low, high in (*shrunk, (0, 0), *grown))


def _between(changes: Counter[int], low: int | None, high: int | None) -> int:
    inside = (n for change, n in changes.items() if (low is None or low <= change) and (high is None or change <= high))
    return sum(inside)


RESAMPLES = 1000


class SpanTally:
    """The sum of the comparison over edits."""

    def __init__(self) -> None:
        self._words = 0
        self._unreadable = 0
        self._rows: array[int] = array("L")

    def add(self, original: Words, changed: Iterable[Span], meta: Meta) -> None:
        """Count an edit if its `meta` has spans.

        Args:
            original: the text that the spans refer to.
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
        """Return the agreement; None where no edit had spans."""
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
    """The spans as pairs; None if one of them is not a span of a text of `length` characters."""
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        return None
    pairs = [(span.get("start"), span.get("end")) for span in spans]
    for start, end in pairs:
        if type(start) is not int or type(end) is not int or not 0 <= start <= end <= length:
            return None
    return pairs


def _interval(rows: npt.NDArray[np.int64]) -> tuple[float | None, float | None]:
    """95 % percentile interval of F1 over edits resampled with a fixed seed, independent of their order."""
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


class Sample:
    """The rows with the smallest hashes: a random sample that depends neither on the order of rows nor on a seed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[tuple[int, int]] = []

    def offer(self, key: int, row: int) -> None:
        """Consider a row; of rows with the same hash, which have the same text, the first stays."""
        if len(self._kept) == self.size and (not self.size or key >= self._kept[-1][0]):
            return
        if all(key != other for other, _ in self._kept):
            insort(self._kept, (key, row))
            del self._kept[self.size :]

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of the sample, in the order of their hashes."""
        return tuple(row for _, row in self._kept)


GAP = " […] "
AROUND = 120
"""Characters kept on each side of a change."""
LONGEST_CHANGE = 400
"""Characters of a change that are shown."""
LONGEST = 1600
"""Characters of both texts together after which an excerpt ends."""


def excerpt(original: str, edited: str) -> tuple[str, str]:
    """Shorten both texts by cutting long equal parts and long changes.

    Gaps are marked; they are between words and in both texts.
    """
    before: list[str] = []
    after: list[str] = []
    length = 0
    blocks = diff_words(original, edited)
    for number, block in enumerate(blocks):
        if length > LONGEST:
            before.append(GAP)
            after.append(GAP)
            break
        old, new = original[slice(*block.original)], edited[slice(*block.edited)]
        if block.kind == "equal":
            old = new = _context(old, first=number == 0, last=number == len(blocks) - 1)
        else:
            old, new = _start(old), _start(new)
        before.append(old)
        after.append(new)
        length += len(old) + len(new)
    return "".join(before), "".join(after)


def shorten(text: str, longest: int = 300) -> str:
    """Shorten a text to its beginning, if it is longer than `longest` characters."""
    return text if len(text) <= longest else text[: _border(text, longest)].rstrip() + GAP.rstrip()


def _context(text: str, *, first: bool, last: bool) -> str:
    """Shorten equal text: keep its end before the first change, its beginning after the last, both between changes."""
    head, tail = (0 if first and not last else AROUND), (0 if last and not first else AROUND)
    if len(text) <= head + tail + AROUND:
        return text
    end = len(text) - tail
    return (
        text[: _border(text, head)]
        + (GAP if head else GAP.lstrip())
        + (text[_border(text, end, behind=True) :].lstrip(" ") if tail else "")
    )


def _start(text: str) -> str:
    return text if len(text) <= LONGEST_CHANGE else text[: _border(text, LONGEST_CHANGE)] + GAP.rstrip()


def _border(text: str, place: int, *, behind: bool = False) -> int:
    """The word border nearest before `place`, or behind it; `place` itself within a very long word."""
    start = max(place - AROUND, 0)
    near: list[Span] = split_words(text[start : place + AROUND])
    borders = [start + end for _, end in near]
    fitting = [border for border in borders if (border >= place if behind else border <= place)]
    return (min(fitting) if behind else max(fitting)) if fitting else place
