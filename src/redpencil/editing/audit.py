"""What a set of edits is like: one pass over the rows, and a second one that fetches the examples.

Memory does not grow with the texts: counters, and some 30 bytes a row for hashes. No figure depends on the order of
the rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from redpencil.editing.contradictions import Repeats, RepeatTally
from redpencil.editing.excerpts import excerpt, shorten
from redpencil.editing.measures import TENTHS, Measures, Words, measure, tenth_of, tenths
from redpencil.editing.minimal import MIN_KEPT, RULES, broken_rules
from redpencil.editing.spans import SpanAgreement, SpanTally
from redpencil.editing.tallies import Distribution, GrowthBin, Sample, distribution, growth_bins, histogram
from redpencil.records import Edit, EditOutcome
from redpencil.runs import Progress, no_progress

KINDS = ("insert", "delete", "replace")
PACE = 500
"""Rows between two reports of progress."""


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Changes of one kind: how many, the words taken out and put in, the edits that have such or nothing else."""

    blocks: int
    words_removed: int
    words_added: int
    edits_with: int
    edits_with_nothing_else: int


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """How much longer edits are than their originals; `longer`, `equal` and `shorter` count edits by words.

    `added_at_the_end` are words put in behind the last word of the original, of `words_added` in all.
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
    """Words by the tenth of the original where they stand: all of its words, those removed, and those added there."""

    words: tuple[int, ...]
    removed: tuple[int, ...]
    added: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Editor:
    """One editor's figures; `kept`, and the mean growth in words, are None where no row is an edit."""

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
    """An edit to show, cut down to its changes."""

    id: str
    editor: str
    outcome: str
    prompt: str
    original: str
    edited: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The figures. `edits` rows have outcome EDITED, an original that is not blank, and another text than it; all
    figures from `kept` to `broken_rules` are of these, `not_minimal` being those that break a rule.

    `unusable` says why other rows with outcome EDITED are none, and `blank_edits` how many edits leave nothing.
    `examples` are cases by what they are examples of; a case is one edit, or those that contradict each other.
    """

    rows: int
    outcomes: Mapping[str, int]
    edits: int
    unusable: Mapping[str, int]
    blank_edits: int
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
    examples: Mapping[str, tuple[tuple[Example, ...], ...]]


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
        read: opens the rows anew; called a second time where there are examples to fetch.
        min_kept: share of the words below which an edit is called rewritten.
        examples: how many cases to show of each finding, and of the edits as a whole.
        total: how many rows there are, for `progress` only.
        progress: called now and then.
    """
    tally = _Tally(min_kept, examples)
    for done, edit in enumerate(read(), start=1):
        tally.add(edit)
        if done % PACE == 0:
            progress(done, total, "")
    repeats = tally.repeats.result(examples)
    cases = {name: tuple((row,) for row in sample.rows) for name, sample in tally.samples.items()}
    contradictions = {name: getattr(repeats, name).examples for name in CONTRADICTIONS}
    return tally.result(repeats, _fetch(read, cases | contradictions))


CONTRADICTIONS = (
    *("edited_differently", "edited_or_left", "reversed", "swapped"),
    *("others_edited_differently", "edited_or_left_by_others"),
)
SAMPLED = ("edits", "only_append", *RULES)
"""What single edits are examples of."""


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
    """All that is counted while rows pass by."""

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

    def add(self, edit: Edit) -> None:
        row = self.outcomes.total()
        editor = self.editors.setdefault(edit.editor, _EditorTally())
        self.outcomes[edit.outcome.value] += 1
        editor.outcomes[edit.outcome.value] += 1
        self.counts["retried"] += bool(edit.meta.get("retry"))
        said = edit.outcome is EditOutcome.EDITED
        same, blank = edit.edited == edit.original, not edit.original.strip()
        self.counts["no change"] += said and same
        self.counts["blank original"] += said and blank and not same
        measures = measure(edit.original, edit.edited) if said and not same and not blank else None
        left = edit.outcome is EditOutcome.UNCHANGED or (said and same)
        key = self.repeats.add(edit, measures, left=left)
        if measures is not None:
            self._add_edit(measures, editor, key, row)
        if measures is not None or left:
            changed = () if measures is None else [piece.original for piece in measures.pieces]
            original = Words(edit.original) if measures is None else measures.original
            self.spans.add(original, changed, edit.meta)

    def _add_edit(self, edit: Measures, editor: _EditorTally, key: int, row: int) -> None:
        appends, rules = edit.only_appends, broken_rules(edit, self.min_kept)
        words = len(edit.edited) - len(edit.original)
        self.counts.update(
            edits=1,
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
        for name in ("edits", *(("only_append",) if appends else ()), *rules):
            self.samples[name].offer(key, row)

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

    def result(self, repeats: Repeats, examples: Mapping[str, tuple[tuple[Example, ...], ...]]) -> Audit:
        editors = [tally.result(name) for name, tally in self.editors.items()]
        return Audit(
            rows=self.outcomes.total(),
            outcomes=_by_outcome(self.outcomes),
            edits=self.counts["edits"],
            unusable={reason: self.counts[reason] for reason in ("no change", "blank original")},
            blank_edits=self.counts["blank_edits"],
            retried=self.counts["retried"],
            kept=distribution(self.kept),
            kept_histogram=histogram(self.kept),
            kinds={kind: self._kind(kind) for kind in KINDS},
            length=self._length(),
            places=Places(**{name: tuple(words) for name, words in self.places.items()}),
            min_kept=self.min_kept,
            not_minimal=self.counts["not_minimal"],
            broken_rules={name: self.broken[name] for name in RULES},
            repeats=repeats,
            editors=tuple(sorted(editors, key=lambda editor: (-editor.rows, editor.name))),
            spans=self.spans.result(),
            examples=examples,
        )

    def _kind(self, kind: str) -> KindFigures:
        figures = (self.kinds[kind, name] for name in ("blocks", "removed", "added", "with", "alone"))
        return KindFigures(*figures)

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


def _by_outcome(counts: Counter[str]) -> dict[str, int]:
    return {outcome.value: counts[outcome.value] for outcome in EditOutcome}


def _fetch(
    read: Callable[[], Iterable[Edit]], cases: Mapping[str, tuple[tuple[int, ...], ...]]
) -> dict[str, tuple[tuple[Example, ...], ...]]:
    """The rows that are to be shown, by what they are examples of."""
    wanted = {row for of_name in cases.values() for case in of_name for row in case}
    found: dict[int, Example] = {}
    if wanted:
        last = max(wanted)
        for row, edit in enumerate(read()):
            if row in wanted:
                found[row] = _example(edit)
            if row == last:
                break
    return {name: tuple(tuple(found[row] for row in case) for case in of_name) for name, of_name in cases.items()}


def _example(edit: Edit) -> Example:
    original, edited = excerpt(edit.original, edit.edited)
    return Example(edit.id, edit.editor, edit.outcome.value, shorten(edit.prompt), original, edited)
