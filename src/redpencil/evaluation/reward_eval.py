"""Everything that is told of reward models on held-out pairs: one reading for each model and test set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from redpencil.audit.rules import measure
from redpencil.errors import RedpencilError
from redpencil.evaluation.calibration import Calibration, calibrate
from redpencil.evaluation.localisation import Drift, Localisation, drift, localise
from redpencil.evaluation.statistics import (
    CONFIDENCE,
    Accuracy,
    Correlation,
    accuracy_interval,
    correlate,
    mean_interval,
)
from redpencil.records import Edit, Meta, Pair

EditType = Literal["insertion", "deletion", "replacement", "mixed"]
EDIT_TYPES: Final[tuple[EditType, ...]] = ("insertion", "deletion", "replacement", "mixed")
_PURE: Final[dict[str, EditType]] = {"insert": "insertion", "delete": "deletion", "replace": "replacement"}
Third = Literal["first third", "middle third", "last third"]
THIRDS: Final[tuple[Third, ...]] = ("first third", "middle third", "last third")


@dataclass(frozen=True, slots=True)
class EditFeatures:
    """What is known of an edit.

    Args:
        type: what all of its changes are; mixed where they are of several kinds.
        share_changed: words removed and added, of the words of both texts; from 0 to 1.
        tokens_changed: tokens in U1, of both sides.
        first_change: in which third of the original's words the first change stands.
        words: of the original.
        growth: words of the edit less those of the original.
    """

    type: EditType
    share_changed: float
    tokens_changed: int
    first_change: Third
    words: int
    growth: int


def features_of(edit: Edit, pair: Pair) -> EditFeatures:
    """The features of an edit and of the pair that `align` made of it."""
    found = measure(edit.original, edit.edited)
    kinds = {piece.kind for piece in found.pieces}
    words = len(found.original)
    place = found.pieces[0].original[0] if found.pieces else 0
    return EditFeatures(
        type=_PURE[kinds.pop()] if len(kinds) == 1 else "mixed",
        share_changed=(found.removed + found.added) / max(words + len(found.edited), 1),
        tokens_changed=sum(pair.rejected_changed) + sum(pair.chosen_changed),
        first_change=THIRDS[min(3 * place // max(words, 1), 2)],
        words=words,
        growth=len(found.edited) - words,
    )


def all_features(edits: Sequence[Edit], pairs: Sequence[Pair]) -> list[EditFeatures]:
    """The features of each edit."""
    return [features_of(edit, pair) for edit, pair in zip(edits, pairs, strict=True)]


BINS: Final = 5


@dataclass(frozen=True, slots=True)
class MarginGroup:
    """Pairs that share something: accuracy in percent, and their mean margin with its 95 % interval (Student's t).

    The interval is not a number (nan) for a single pair.
    """

    name: str
    accuracy: Accuracy
    margin: float
    margin_low: float
    margin_high: float


def margin_groups(
    margins: npt.NDArray[Any], names: Sequence[str], order: Sequence[str] | None = None
) -> tuple[MarginGroup, ...]:
    """A group for each name that occurs.

    Args:
        margins: [N], reward of the chosen minus reward of the rejected response.
        names: N names of groups.
        order: in which groups come; by default as they occur. A name outside of it is left out.
    """
    members: dict[str, list[int]] = {name: [] for name in (order if order is not None else dict.fromkeys(names))}
    for index, name in enumerate(names):
        if name in members:
            members[name].append(index)
    return tuple(_group(name, margins[rows].tolist()) for name, rows in members.items() if rows)


def _group(name: str, margins: list[float]) -> MarginGroup:
    mean, low, high = mean_interval(margins, CONFIDENCE)
    return MarginGroup(name, accuracy_interval(margins), mean, low, high)


def quantile_groups(
    margins: npt.NDArray[Any], values: npt.NDArray[Any], *, percent: bool = False, bins: int = BINS
) -> tuple[MarginGroup, ...]:
    """Groups of about equal size by a quantity; fewer than `bins` where many values are equal.

    Args:
        margins: [N].
        values: [N], the quantity.
        percent: whether the values are shares, to be named in percent.
        bins: how many groups.
    """
    names = quantile_names(values, percent=percent, bins=bins)
    order = [names[i] for i in np.argsort(values, kind="stable")]
    return margin_groups(margins, names, list(dict.fromkeys(order)))


def quantile_names(values: npt.NDArray[Any], *, percent: bool = False, bins: int = BINS) -> list[str]:
    """For each value the least and the greatest value of its bin, such as `3 to 7`; equal values share a bin."""
    if not len(values):
        return []
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, values, side="left")
    shown = {
        int(bin_): _range(float(values[place == bin_].min()), float(values[place == bin_].max()), percent)
        for bin_ in np.unique(place)
    }
    return [shown[int(bin_)] for bin_ in place]


def _range(low: float, high: float, percent: bool) -> str:
    unit = " %" if percent else ""
    first, last = (f"{100 * value:.1f}" if percent else f"{value:g}" for value in (low, high))
    return f"{first}{unit}" if first == last else f"{first} to {last}{unit}"


LENGTH_BINS = 3


@dataclass(frozen=True, slots=True)
class WorstPair:
    """An edit that the model likes less than its original, with both rewards."""

    id: str
    prompt: str
    original: str
    edited: str
    original_reward: float
    edited_reward: float
    margin: float
    features: EditFeatures


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """Groups of edits with their accuracy, and the pairs with the most negative margins.

    Args:
        pairs: how many edits there are.
        wrong: how many have a margin under 0.
        by_type: insertion, deletion, replacement, mixed.
        by_position: the third of the original in which the first change stands.
        by_length: words of the original, in thirds of the pairs.
        worst: by type, each from the worst on.
    """

    pairs: int
    wrong: int
    by_type: tuple[MarginGroup, ...]
    by_position: tuple[MarginGroup, ...]
    by_length: tuple[MarginGroup, ...]
    worst: Mapping[str, tuple[WorstPair, ...]]


def analyse_errors(
    edits: Sequence[Edit],
    features: Sequence[EditFeatures],
    original_rewards: npt.NDArray[Any],
    edited_rewards: npt.NDArray[Any],
    *,
    examples: int,
) -> ErrorAnalysis:
    """Where a reward model errs.

    Args:
        edits: N edits.
        features: their features.
        original_rewards: [N], rewards of the originals.
        edited_rewards: [N], rewards of the edits.
        examples: the most worst pairs of each type.
    """
    margins = edited_rewards - original_rewards
    types = [one.type for one in features]
    worst: dict[str, list[WorstPair]] = {}
    for i in np.argsort(margins, kind="stable").tolist():
        if margins[i] >= 0:
            break
        shown = worst.setdefault(types[i], [])
        if len(shown) < examples:
            edit = edits[i]
            rewards = float(original_rewards[i]), float(edited_rewards[i])
            texts = edit.id, edit.prompt, edit.original, edit.edited
            shown.append(WorstPair(*texts, *rewards, float(margins[i]), features[i]))
    return ErrorAnalysis(
        pairs=len(edits),
        wrong=int((margins < 0).sum()),
        by_type=margin_groups(margins, types, EDIT_TYPES),
        by_position=margin_groups(margins, [one.first_change for one in features], THIRDS),
        by_length=quantile_groups(margins, np.array([one.words for one in features]), bins=LENGTH_BINS),
        worst={name: tuple(worst[name]) for name in EDIT_TYPES if name in worst},
    )


SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "Chat Hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "Safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "Reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}
"""The subsets of each section, as the benchmark's code lists them."""
MATHEMATICS: Final = "math-prm"


@dataclass(frozen=True, slots=True)
class RewardBench:
    """Accuracies in percent: of each subset, of each section of which a subset is there, and the means of these.

    Args:
        subsets: by name, with intervals.
        sections: RewardBench's; a subset that it does not know is in none.
        score: mean of the sections; None unless all four of RewardBench are there.
        mean_of_subsets: plain mean of all subsets, which is not RewardBench's score.
    """

    subsets: Mapping[str, Accuracy]
    sections: Mapping[str, float]
    score: float | None
    mean_of_subsets: float


def reward_bench(margins: npt.NDArray[Any], subsets: Sequence[str]) -> RewardBench:
    """The score of a reward model.

    Args:
        margins: [N], reward of the chosen minus reward of the rejected response.
        subsets: N names of subsets.

    Raises:
        RedpencilError: if there are no pairs.
    """
    rows: dict[str, list[float]] = {}
    for margin, subset in zip(margins.tolist(), subsets, strict=True):
        rows.setdefault(subset, []).append(margin)
    if not rows:
        raise RedpencilError("no pairs to score", hint="give at least one")
    found = {name: accuracy_interval(of_subset) for name, of_subset in rows.items()}
    sections = {}
    for section, names in SECTIONS.items():
        score = _section({name: found[name] for name in names if name in found})
        if score is not None:
            sections[section] = score
    return RewardBench(
        subsets=found,
        sections=sections,
        score=_mean(list(sections.values())) if len(sections) == len(SECTIONS) else None,
        mean_of_subsets=_mean([one.value for one in found.values()]),
    )


def _section(subsets: Mapping[str, Accuracy]) -> float | None:
    """Mean over the pairs of the subsets; mathematics, if it is among them, weighs as much as all others."""
    others = [one for name, one in subsets.items() if name != MATHEMATICS]
    parts = [subsets[MATHEMATICS].value] if MATHEMATICS in subsets else []
    if others:
        parts.append(sum(one.value * one.n for one in others) / sum(one.n for one in others))
    return _mean(parts) if parts else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


TestKind = Literal["edits", "comparisons", "rewardbench", "pairs"]
Floats = npt.NDArray[Any]
Groups = tuple[MarginGroup, ...]
HISTOGRAM_BINS = 24


@dataclass(frozen=True, slots=True)
class TestSet:
    """Held-out pairs in a model's tokens, and what is known of them besides.

    Args:
        name: what it is called.
        kind: what the pairs are.
        pairs: N of them; of edits the rejected side is the original.
        edits: the N edits, where that is what the pairs are.
        features: of the edits.
        labels: of each edit, which tokens of the original people marked; None where they marked none.
        subsets: the N names of RewardBench's subsets.
        skipped: rows that could not be scored, by reason.
    """

    __test__ = False

    name: str
    kind: TestKind
    pairs: Sequence[Pair]
    edits: Sequence[Edit] = ()
    features: Sequence[EditFeatures] = ()
    labels: Sequence[npt.NDArray[np.bool_] | None] = ()
    subsets: Sequence[str] = ()
    skipped: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of the N pairs of a test set.

    Args:
        chosen: [N], rewards of the chosen responses; of a token model the mean over tokens (Eq. 1).
        rejected: [N], of the rejected ones.
        chosen_tokens: rewards of their tokens, one [T] a pair; None of a sequence model.
        rejected_tokens: of the rejected ones.
    """

    chosen: Floats
    rejected: Floats
    chosen_tokens: Sequence[Floats] | None = None
    rejected_tokens: Sequence[Floats] | None = None

    @property
    def margins(self) -> Floats:
        """[N], R(chosen) - R(rejected)."""
        return self.chosen - self.rejected


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of margins between `edges`, of which there is one more."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """One model on one test set. What does not apply to the two is None.

    Args:
        accuracy: pairs ranked right.
        margins: how the margins are distributed.
        mean_margin: R(chosen) - R(rejected) on average.
        calibration: of sigma(R_i - R_j).
        length: rewards of all responses against their lengths in tokens.
        length_difference: margins against how many tokens longer the chosen response is.
        by_size: of edits, by the share of words that they changed.
        by_tokens: of edits, by the tokens that they changed.
        errors: of edits, with the groups of the properties below.
        edited: whether -r_t finds the tokens of originals that were edited away; of token models.
        error_spans: whether it finds the tokens that people marked as errors.
        drift: of the rewards of unchanged tokens.
        position: token rewards of originals against their place, from 0. The p-values take tokens as independent.
        reward_bench: RewardBench's own averages.
    """

    accuracy: Accuracy
    margins: Histogram
    mean_margin: float
    calibration: Calibration
    length: Correlation | None
    length_difference: Correlation | None
    by_size: Groups = ()
    by_tokens: Groups = ()
    errors: ErrorAnalysis | None = None
    edited: Localisation | None = None
    error_spans: Localisation | None = None
    drift: Drift | None = None
    position: Correlation | None = None
    reward_bench: RewardBench | None = None

    @property
    def by_type(self) -> Groups:
        """Of edits, by what all of their changes are."""
        return self.errors.by_type if self.errors else ()

    @property
    def by_position(self) -> Groups:
        """Of edits, by the third of the original in which the first change stands."""
        return self.errors.by_position if self.errors else ()

    @property
    def by_length(self) -> Groups:
        """Of edits, by words of the original."""
        return self.errors.by_length if self.errors else ()


@dataclass(frozen=True, slots=True)
class ModelReadings:
    """A reward model, what it was trained on, and a reading for each test set by name."""

    level: str
    trained_on: str
    readings: Mapping[str, Reading]


@dataclass(frozen=True, slots=True)
class TestSummary:
    """A test set as the first model reads it, and what two rules without a model make of it, lengths in tokens."""

    __test__ = False

    kind: TestKind
    pairs: int
    skipped: Mapping[str, int]
    shorter_wins: Accuracy
    longer_wins: Accuracy


@dataclass(frozen=True, slots=True)
class Microscope:
    """Reward models by name, each on all test sets."""

    models: Mapping[str, ModelReadings]
    tests: Mapping[str, TestSummary]


def as_json(found: Microscope) -> dict[str, Any]:
    """The figures by measure, model and test set, as `evaluate reward --json` prints them."""
    measures: dict[str, Any] = {
        "reward_accuracy": {},
        "models": {name: {"level": m.level, "trained_on": m.trained_on} for name, m in found.models.items()},
        "tests": {
            name: {"kind": test.kind, "pairs": test.pairs, "skipped": dict(test.skipped)}
            for name, test in found.tests.items()
        },
    }
    for model, readings in found.models.items():
        for test, reading in readings.readings.items():
            for name, value in _measures(reading).items():
                if value is not None:
                    measures.setdefault(name, {}).setdefault(model, {})[test] = value
    for rule in ("shorter_wins", "longer_wins"):
        measures["reward_accuracy"][rule] = {name: asdict(getattr(test, rule)) for name, test in found.tests.items()}
    return measures


def _measures(reading: Reading) -> dict[str, Any]:
    rows: dict[str, Any] = asdict(reading)
    errors = rows["errors"] or {}
    localised = {name: rows[name] for name in ("edited", "error_spans") if rows[name] is not None}
    return {
        "reward_accuracy": rows["accuracy"],
        "margins": {"mean": rows["mean_margin"], **rows["margins"]},
        "calibration": rows["calibration"],
        "length_correlation": rows["length"],
        "length_difference_correlation": rows["length_difference"],
        "position_correlation": rows["position"],
        "by_edit_size": rows["by_size"] or None,
        "by_tokens_changed": rows["by_tokens"] or None,
        "by_edit_type": errors.get("by_type"),
        "by_position": errors.get("by_position"),
        "by_length": errors.get("by_length"),
        "localisation": localised or None,
        "drift": rows["drift"],
        "reward_bench": rows["reward_bench"],
        "worst_pairs": errors.get("worst"),
    }


def summarise(test: TestSet) -> TestSummary:
    """What there is to say of a test set without a model.

    Raises:
        RedpencilError: if it has no pairs.
    """
    longer = np.array([len(pair.chosen_ids) - len(pair.rejected_ids) for pair in test.pairs], dtype=float)
    return TestSummary(
        kind=test.kind,
        pairs=len(test.pairs),
        skipped=dict(test.skipped or {}),
        shorter_wins=accuracy_interval((-longer).tolist()),
        longer_wins=accuracy_interval(longer.tolist()),
    )


def read(test: TestSet, scores: Scores, *, examples: int) -> Reading:
    """All figures of one model on one test set; `examples` is the most worst pairs shown of each type of edit.

    Raises:
        RedpencilError: if there are no pairs.
    """
    margins = scores.margins
    chosen = np.array([len(pair.chosen_ids) for pair in test.pairs], dtype=float)
    rejected = np.array([len(pair.rejected_ids) for pair in test.pairs], dtype=float)
    return Reading(
        accuracy=accuracy_interval(margins.tolist()),
        margins=_histogram(margins),
        mean_margin=float(margins.mean()),
        calibration=calibrate(margins),
        length=correlate(np.concatenate([chosen, rejected]), np.concatenate([scores.chosen, scores.rejected])),
        length_difference=correlate(chosen - rejected, margins),
        position=_against_position(scores),
        reward_bench=reward_bench(margins, test.subsets) if test.subsets else None,
        **(_of_edits(test, scores, examples) if test.edits else {}),
    )


def _of_edits(test: TestSet, scores: Scores, examples: int) -> dict[str, Any]:
    share = np.array([one.share_changed for one in test.features])
    tokens = np.array([one.tokens_changed for one in test.features])
    return {
        "by_size": quantile_groups(scores.margins, share, percent=True),
        "by_tokens": quantile_groups(scores.margins, tokens),
        "errors": analyse_errors(test.edits, test.features, scores.rejected, scores.chosen, examples=examples),
        **_of_tokens(test, scores),
    }


def _of_tokens(test: TestSet, scores: Scores) -> dict[str, Any]:
    if scores.rejected_tokens is None or scores.chosen_tokens is None:
        return {}
    changed = [np.array(pair.rejected_changed, dtype=bool) for pair in test.pairs]
    marked = [i for i, labels in enumerate(test.labels) if labels is not None]
    spans = None
    if marked:
        spans = _localised([scores.rejected_tokens[i] for i in marked], [test.labels[i] for i in marked])
    return {
        "edited": _localised(scores.rejected_tokens, changed),
        "error_spans": spans,
        "drift": drift(test.pairs, scores.rejected_tokens, scores.chosen_tokens),
    }


def _localised(rewards: Sequence[Floats], labels: Sequence[Any]) -> Localisation:
    responses = np.repeat(np.arange(len(rewards)), [len(row) for row in rewards])
    return localise(-np.concatenate(rewards), np.concatenate(labels), responses)


def _against_position(scores: Scores) -> Correlation | None:
    if not scores.rejected_tokens:
        return None
    places = np.concatenate([np.arange(len(row)) for row in scores.rejected_tokens])
    return correlate(places, np.concatenate(scores.rejected_tokens))


def _histogram(margins: Floats) -> Histogram:
    """About `HISTOGRAM_BINS` bins of equal width, with a border at 0 where margins lie on both sides of it."""
    low, high = float(margins.min()), float(margins.max())
    width = max((high - low) / HISTOGRAM_BINS, 1e-6 * max(abs(low), abs(high)), 1e-12)
    edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
    counts = np.histogram(margins, bins=edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def labelled_tokens(meta: Meta, offsets: Sequence[tuple[int, int]], length: int) -> npt.NDArray[np.bool_] | None:
    """True for each token that shares a character with one of the labelled spans.

    Args:
        meta: of the edit; `spans` is a list of objects with `start` and `end`, character offsets of the original.
        offsets: character spans of the original's tokens, ends excluded.
        length: characters of the original.

    Returns:
        [T], or None where nobody labelled the response, or its spans are none of such a text.
    """
    spans = meta.get("spans")
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        return None
    edges = [(span.get("start"), span.get("end")) for span in spans]
    if not all(type(a) is int and type(b) is int and 0 <= a <= b <= length for a, b in edges):
        return None
    return _overlapping(edges, offsets)


def _overlapping(spans: Sequence[Any], offsets: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    if not spans or not offsets:
        return np.zeros(len(offsets), dtype=bool)
    start, end = np.array(offsets).T[:, :, None]
    first, last = np.array(spans).T[:, None, :]
    shared: npt.NDArray[np.bool_] = np.any((start < last) & (first < end) & (start < end), axis=1)
    return shared
