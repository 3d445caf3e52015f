"""Evaluation of reward models on held-out pairs: one `RewardEval` for each model and test set.

It has the accuracy, the margins and their calibration; for edits also the errors by type, place and size of the edit,
and for token models how well the rewards localise the errors. RewardBench's score is averaged in its own way (Lambert
et al., 2024, arXiv 2403.13787): a section's score is the mean over its pairs, so subsets weigh by their pairs, but in
Reasoning mathematics weighs as much as all programming together. The score is the plain mean of the sections. The
further section Prior Sets is another data set and is not part of it.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from redpencil.audit.artefacts import cross_validated, fit
from redpencil.audit.trivial_rules import RULES, Texts, rule_margins
from redpencil.errors import RedpencilError
from redpencil.evaluation.agreed import Agreed, agreed_changes, each_other
from redpencil.evaluation.calibration import Calibration, TokenCalibration, calibrate, calibrate_tokens
from redpencil.evaluation.edit_features import EDIT_TYPES, EditFeatures
from redpencil.evaluation.localisation import (
    CHANCE,
    FAULTS,
    Drift,
    Localisation,
    Weakness,
    Within,
    by_place,
    count_within,
    drift,
    fault_name,
    localise,
    weakness,
)
from redpencil.evaluation.margin_groups import Groups, edit_groups
from redpencil.evaluation.reward_bench_2 import AnswerPair, RewardBench2, reward_bench_2
from redpencil.evaluation.statistics import (
    Accuracy,
    Correlation,
    accuracy_interval,
    correlate,
)
from redpencil.records import Edit, Meta, Pair

TestKind = Literal["edits", "comparisons", "rewardbench", "pairs"]
Floats = npt.NDArray[Any]
HISTOGRAM_BINS = 24
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
"""The subsets of each section of RewardBench, as in its code."""
MATHEMATICS: Final = "math-prm"


@dataclass(frozen=True, slots=True)
class TestSet:
    """Held-out pairs in a model's tokens, with further data about them.

    Args:
        name: of the set.
        kind: of the pairs.
        pairs: N pairs; the rejected side of an edit is the original.
        edits: the N edits, if the pairs are edits.
        features: of the N edits.
        labels: for each edit the tokens of the original that people marked; None if nobody looked for errors.
        texts: of the N pairs, as the model reads them; empty if only their tokens are known.
        prompts: [N], the prompt of each pair; pairs that share one are not independent.
        subsets: [N], RewardBench's subset of each pair.
        answers: [N], the place of each pair in its row of RewardBench 2.
        skipped: counts of the rows that could not be scored, by reason.
    """

    __test__ = False

    name: str
    kind: TestKind
    pairs: Sequence[Pair]
    edits: Sequence[Edit] = ()
    features: Sequence[EditFeatures] = ()
    labels: Sequence["Marks | None"] = ()
    texts: Texts = ()
    prompts: Sequence[Hashable] = ()
    subsets: Sequence[str] = ()
    answers: Sequence[AnswerPair] = ()
    skipped: Mapping[str, int] | None = None

    @property
    def clusters(self) -> Sequence[Hashable]:
        """[N], the prompt of each pair, by its tokens where its text is not known."""
        return self.prompts or [pair.prompt_ids for pair in self.pairs]


@dataclass(frozen=True, slots=True)
class Marks:
    """Tokens of an original that people marked as errors: [T] flags of all, and of each type of error."""

    every: npt.NDArray[np.bool_]
    types: Mapping[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Scores:
    """A model's rewards for the N pairs of a test set.

    Args:
        chosen: [N], rewards of the chosen responses; for a token model the mean over tokens (Eq. 1).
        rejected: [N], rewards of the rejected responses.
        chosen_tokens: rewards of the chosen responses' tokens, one [T] a pair; None for a sequence model.
        rejected_tokens: the same of the rejected responses.
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
class WorstPair:
    """An edit with a lower reward than its original."""

    id: str
    prompt: str
    original: str
    edited: str
    original_reward: float
    edited_reward: float
    margin: float
    features: EditFeatures


@dataclass(frozen=True, slots=True)
class RewardBench:
    """RewardBench's accuracies in percent.

    Args:
        subsets: by name, with intervals.
        sections: of the sections with at least one subset; unknown subsets belong to none.
        score: mean of the sections; None unless all four are there.
        mean_of_subsets: plain mean of all subsets, which is not RewardBench's score.
    """

    subsets: Mapping[str, Accuracy]
    sections: Mapping[str, float]
    score: float | None
    mean_of_subsets: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of margins between neighbouring `edges`."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RewardEval:
    """The evaluation of one model on one test set. Measures that do not apply are None.

    Args:
        accuracy: share of the pairs that are ranked correctly.
        margins: distribution of the margins.
        mean_margin: mean of R(chosen) - R(rejected).
        calibration: of sigma(R_i - R_j).
        length: correlation of the rewards of all responses with their lengths in tokens.
        length_difference: correlation of the margins with the differences in length, in tokens.
        by_size: for edits, by the share of words that they changed.
        by_tokens: for edits, by the number of tokens that they changed.
        by_type: for edits, by insertion, deletion, replacement or mixed.
        by_position: for edits, by the third of the original with the first change.
        by_length: for edits, by the number of words of the original, in thirds of the pairs.
        worst: for edits, by type, those with a lower reward than the original, the most negative margin first.
        edited: localisation by -r_t of the tokens that were edited away; for token models.
        error_spans: localisation of the tokens that people marked as errors.
        agreed: localisation of the tokens that at least two people changed, in originals that several edited.
        token_calibration: of the probability that a token is edited away.
        error_types: the same by type of error, if people named it: its tokens against those that nobody marked.
        drift: of the rewards of unchanged tokens.
        position: correlation of the originals' token rewards with the position, from 0; the p-values take tokens as
            independent.
        reward_bench: RewardBench's averages.
        reward_bench_2: RewardBench 2's.
    """

    accuracy: Accuracy
    margins: Histogram
    mean_margin: float
    calibration: Calibration
    length: Correlation | None
    length_difference: Correlation | None
    by_size: Groups = ()
    by_tokens: Groups = ()
    by_type: Groups = ()
    by_position: Groups = ()
    by_length: Groups = ()
    worst: Mapping[str, tuple[WorstPair, ...]] | None = None
    edited: Localisation | None = None
    error_spans: Localisation | None = None
    agreed: Localisation | None = None
    token_calibration: TokenCalibration | None = None
    error_types: Mapping[str, Localisation] | None = None
    drift: Drift | None = None
    position: Correlation | None = None
    reward_bench: RewardBench | None = None
    reward_bench_2: RewardBench2 | None = None


@dataclass(frozen=True, slots=True)
class ModelEvals:
    """A reward model, the data that it was trained on, and its evaluations by the name of the test set."""

    level: str
    trained_on: str
    readings: Mapping[str, RewardEval]


@dataclass(frozen=True, slots=True)
class TestSummary:
    """A test set in the first model's tokens, with its `prompts` and the accuracy of trivial rules by name.

    `people`: how well each person's changes find what at least two others changed; None without three people's edits.
    """

    __test__ = False

    kind: TestKind
    pairs: int
    prompts: int
    skipped: Mapping[str, int]
    rules: Mapping[str, Accuracy]
    people: Localisation | None = None

    @property
    def best_rule(self) -> str:
        """The name of the rule, apart from the classifier of artefacts, that is right most often."""
        return max((name for name in self.rules if name in RULES), key=lambda name: self.rules[name].value)


@dataclass(frozen=True, slots=True)
class RewardEvals:
    """Evaluations of reward models by name, each on all test sets."""

    models: Mapping[str, ModelEvals]
    tests: Mapping[str, TestSummary]


ARTEFACTS: Final = "artefacts"
"""Name, among the trivial rules, of the classifier of `redpencil.audit.artefacts`."""
RULE_TITLES: Final[Mapping[str, str]] = {
    **{name: title for name, (title, _) in RULES.items()},
    ARTEFACTS: "Artefacts alone, by logistic regression",
}


def margins_of_rules(test: TestSet, training: Texts = ()) -> dict[str, list[float]]:
    """Compute the margins of N pairs by the trivial rules, with lengths in tokens, and by artefacts alone.

    Args:
        test: N pairs.
        training: pairs of texts that the models were trained on, to fit the classifier to; without any it is
            cross-validated by prompt on the test's own pairs, if these are enough.
    """
    longer = [float(len(pair.chosen_ids) - len(pair.rejected_ids)) for pair in test.pairs]
    margins = rule_margins(longer, test.texts)
    if test.texts:
        fitted = fit(training).margins(test.texts) if training else cross_validated(test.texts, test.clusters)
        margins |= {} if fitted is None else {ARTEFACTS: fitted}
    return margins


def summarise_test(test: TestSet, margins: Mapping[str, Sequence[float]] | None = None) -> TestSummary:
    """Summarise a test set without a model; `margins` are those of `margins_of_rules`.

    Raises:
        RedpencilError: if it has no pairs.
    """
    rules = margins_of_rules(test) if margins is None else margins
    return TestSummary(
        kind=test.kind,
        pairs=len(test.pairs),
        prompts=len(set(test.clusters)),
        skipped=dict(test.skipped or {}),
        rules={name: accuracy_interval(of_rule, clusters=test.clusters) for name, of_rule in rules.items()},
        people=_people(test),
    )


def _people(test: TestSet) -> Localisation | None:
    agreed = agreed_of(test)
    if agreed is None:
        return None
    scores, labels, originals = each_other(agreed)
    prompts = [test.clusters[agreed.rows[number]] for number in originals]
    return FaultRows([-row for row in scores], labels, prompts).localise() if scores else None


def agreed_of(test: TestSet) -> Agreed | None:
    """Find what people agree on in a test set of edits; None where each original was edited once."""
    return agreed_changes(test.pairs, [pair.prompt_ids for pair in test.pairs]) if test.edits else None


def evaluate_rewards(test: TestSet, scores: Scores, *, examples: int) -> RewardEval:
    """Evaluate one model on one test set; `examples` is the largest number of worst pairs of each type of edit.

    Raises:
        RedpencilError: if there are no pairs.
    """
    margins = scores.margins
    chosen = np.array([len(pair.chosen_ids) for pair in test.pairs], dtype=float)
    rejected = np.array([len(pair.rejected_ids) for pair in test.pairs], dtype=float)
    return RewardEval(
        accuracy=accuracy_interval(margins.tolist(), clusters=test.clusters),
        margins=_histogram(margins),
        mean_margin=float(margins.mean()),
        calibration=calibrate(margins),
        length=correlate(np.concatenate([chosen, rejected]), np.concatenate([scores.chosen, scores.rejected])),
        length_difference=correlate(chosen - rejected, margins),
        position=_against_position(scores),
        reward_bench=reward_bench(margins, test.subsets) if test.subsets else None,
        reward_bench_2=reward_bench_2(scores.chosen, scores.rejected, test.answers) if test.answers else None,
        **(_of_edits(test, scores, examples) if test.edits else {}),
    )


def _of_edits(test: TestSet, scores: Scores, examples: int) -> dict[str, Any]:
    return {
        **edit_groups(scores.margins, test.features),
        "worst": worst_pairs(test.edits, test.features, scores, examples=examples),
        **_of_tokens(test, scores),
    }


def _of_tokens(test: TestSet, scores: Scores) -> dict[str, Any]:
    if scores.rejected_tokens is None or scores.chosen_tokens is None:
        return {}
    return {
        **localisations(test, scores.rejected_tokens),
        "token_calibration": calibrate_tokens(
            scores.rejected_tokens, [pair.rejected_changed for pair in test.pairs], test.clusters
        ),
        "drift": drift(test.pairs, scores.rejected_tokens, scores.chosen_tokens),
    }


@dataclass(frozen=True, slots=True)
class FaultRows:
    """Originals with a label for each token: [T] rewards, [T] labels (True = at fault) and the prompt of each."""

    rewards: Sequence[Floats]
    labels: Sequence[npt.NDArray[np.bool_]]
    prompts: Sequence[Hashable]

    def localise(self) -> Localisation:
        """Measure how well low rewards find the tokens at fault."""
        return localise(*self._tokens(), self.filled)

    def count(self) -> Within:
        """Count the pairs of tokens within each of the `filled` rows."""
        return count_within(*self._tokens())

    @property
    def filled(self) -> list[Hashable]:
        """The prompts of the rows that have a token."""
        return [prompt for prompt, row in zip(self.prompts, self.rewards, strict=True) if len(row)]

    def _tokens(self) -> tuple[Floats, Floats, Floats]:
        responses = np.repeat(np.arange(len(self.rewards)), [len(row) for row in self.rewards])
        return -np.concatenate(self.rewards), np.concatenate(self.labels), responses


def fault_rows(test: TestSet, rewards: Sequence[Floats]) -> tuple[dict[str, FaultRows], dict[str, FaultRows]]:
    """Gather the faults of N originals, whose token rewards are given: by the keys of `FAULTS`, and by type of error.

    A type's rows have its own tokens and those that nobody marked.
    """
    changed = [np.array(pair.rejected_changed, dtype=bool) for pair in test.pairs]
    faults = {"edited": FaultRows(rewards, changed, test.clusters)}
    types: dict[str, FaultRows] = {}
    agreed = agreed_of(test)
    if agreed is not None:
        own, prompts = [rewards[i] for i in agreed.rows], [test.clusters[i] for i in agreed.rows]
        faults["agreed"] = FaultRows(own, agreed.labels, prompts)
        for name, flags in agreed.types.items():
            types[f"two people, {name}"] = _of_type(own, agreed.labels, flags, prompts)
    marked = [(i, marks) for i, marks in enumerate(test.labels) if marks is not None]
    if not marked:
        return faults, types
    prompts, rows = [test.clusters[i] for i, _ in marked], [rewards[i] for i, _ in marked]
    faults["error_spans"] = FaultRows(rows, [marks.every for _, marks in marked], prompts)
    for name in sorted({name for _, marks in marked for name in marks.types}):
        of_type = [marks.types.get(name, np.zeros(len(marks.every), dtype=bool)) for _, marks in marked]
        key = f"type {name}" if name in FAULTS else name  # both stand in one table
        types[key] = _of_type(rows, [marks.every for _, marks in marked], of_type, prompts)
    return faults, types


def _of_type(
    rewards: Sequence[Floats],
    every: Sequence[npt.NDArray[np.bool_]],
    flags: Sequence[npt.NDArray[np.bool_]],
    prompts: Sequence[Hashable],
) -> FaultRows:
    """The tokens of a type of fault, and those without any."""
    kept = [flag | ~fault for flag, fault in zip(flags, every, strict=True)]
    own, labels = ([row[keep] for row, keep in zip(of, kept, strict=True)] for of in (rewards, flags))
    return FaultRows(own, labels, prompts)


def localisations(test: TestSet, rewards: Sequence[Floats]) -> dict[str, Any]:
    """Localise the tokens at fault of N originals by their rewards; the keys are those of `RewardEval`."""
    faults, types = fault_rows(test, rewards)
    by_type = {name: rows.localise() for name, rows in types.items()}
    return {**{name: rows.localise() for name, rows in faults.items()}, "error_types": by_type or None}


def _against_position(scores: Scores) -> Correlation | None:
    if not scores.rejected_tokens:
        return None
    places = np.concatenate([np.arange(len(row)) for row in scores.rejected_tokens])
    return correlate(places, np.concatenate(scores.rejected_tokens))


def _histogram(margins: Floats) -> Histogram:
    """Count margins in about `HISTOGRAM_BINS` bins of equal width, with an edge at 0 if margins lie on both sides."""
    low, high = float(margins.min()), float(margins.max())
    width = max((high - low) / HISTOGRAM_BINS, 1e-6 * max(abs(low), abs(high)), 1e-12)
    edges = width * np.arange(np.floor(low / width), np.floor(high / width) + 2)
    counts = np.histogram(margins, bins=edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def worst_pairs(
    edits: Sequence[Edit], features: Sequence[EditFeatures], scores: Scores, *, examples: int
) -> dict[str, tuple[WorstPair, ...]]:
    """Return the `examples` edits of each type with the most negative margins, the worst first."""
    margins = scores.margins
    worst: dict[str, list[WorstPair]] = {}
    for i in np.argsort(margins, kind="stable").tolist():
        if margins[i] >= 0:
            break
        pairs = worst.setdefault(features[i].type, [])
        if len(pairs) < examples:
            edit = edits[i]
            rewards = float(scores.rejected[i]), float(scores.chosen[i])
            texts = edit.id, edit.prompt, edit.original, edit.edited
            pairs.append(WorstPair(*texts, *rewards, float(margins[i]), features[i]))
    return {name: tuple(worst[name]) for name in EDIT_TYPES if name in worst}


def reward_bench(margins: Floats, subsets: Sequence[str]) -> RewardBench:
    """Compute RewardBench's score of a reward model.

    Args:
        margins: [N], reward of the chosen minus reward of the rejected response.
        subsets: [N], the subset of each pair.

    Raises:
        RedpencilError: if there are no pairs.
    """
    rows: dict[str, list[float]] = {}
    for margin, subset in zip(margins.tolist(), subsets, strict=True):
        rows.setdefault(subset, []).append(margin)
    if not rows:
        raise RedpencilError("no pairs to score", hint="give at least one")
    accuracies = {name: accuracy_interval(of_subset) for name, of_subset in rows.items()}
    of_sections = {
        section: {name: accuracies[name] for name in names if name in accuracies} for section, names in SECTIONS.items()
    }
    sections = {section: _section(of_section) for section, of_section in of_sections.items() if of_section}
    return RewardBench(
        subsets=accuracies,
        sections=sections,
        score=_mean(list(sections.values())) if len(sections) == len(SECTIONS) else None,
        mean_of_subsets=_mean([one.value for one in accuracies.values()]),
    )


def _section(subsets: Mapping[str, Accuracy]) -> float:
    """Average over the pairs of the subsets; mathematics, if it is there, weighs as much as all others together."""
    others = [one for name, one in subsets.items() if name != MATHEMATICS]
    parts = [subsets[MATHEMATICS].value] if MATHEMATICS in subsets else []
    if others:
        parts.append(sum(one.value * one.n for one in others) / sum(one.n for one in others))
    return _mean(parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


TYPE_KEYS: Final = ("error type", "error_type", "type", "category", "label")
"""The keys under which a span of `meta.spans` may name the type of its error, the first that it has."""


def marked_tokens(meta: Meta, offsets: Sequence[tuple[int, int]], length: int) -> Marks | None:
    """Return the marks on each token that shares a character with one of the labelled spans.

    Args:
        meta: of the edit; `spans` is a list of objects with `start` and `end`, character offsets of the original, and
            maybe the type of the error under one of `TYPE_KEYS`.
        offsets: [T] character spans of the original's tokens, ends excluded.
        length: number of characters of the original.

    Returns:
        The marks, or None if the response has no labels, or they are not spans of such a text.
    """
    spans = meta.get("spans")
    if not isinstance(spans, list) or not all(isinstance(span, dict) for span in spans):
        return None
    edges = [(span.get("start"), span.get("end")) for span in spans]
    if not all(type(a) is int and type(b) is int and 0 <= a <= b <= length for a, b in edges):
        return None
    by_type: dict[str, list[tuple[int, int]]] = {}
    for span, edge in zip(spans, edges, strict=True):
        name = next((span[key] for key in TYPE_KEYS if isinstance(span.get(key), str) and span[key].strip()), None)
        if name is not None:
            by_type.setdefault(name.strip(), []).append(edge)
    types = {name: _overlapping(of_type, offsets) for name, of_type in by_type.items()}
    return Marks(_overlapping(edges, offsets), types)


def _overlapping(spans: Sequence[Any], offsets: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    if not spans or not offsets:
        return np.zeros(len(offsets), dtype=bool)
    start, end = np.array(offsets).T[:, :, None]
    first, last = np.array(spans).T[:, None, :]
    shared: npt.NDArray[np.bool_] = np.any((start < last) & (first < end) & (start < end), axis=1)
    return shared


CautionName = Weakness | Literal["trivial_rule"]


@dataclass(frozen=True, slots=True)
class Caution:
    """A reason not to use a model as it is; `loud` if its token rewards point the wrong way."""

    name: CautionName
    model: str
    test: str
    message: str

    @property
    def loud(self) -> bool:
        return self.name == "points_wrong"

    @property
    def sentence(self) -> str:
        """Everything in one line."""
        return f"{self.model} on {self.test}: {self.message}"


def cautions(evals: RewardEvals) -> list[Caution]:
    """List what speaks against the models, the loud ones first."""
    found: list[Caution] = []
    for model, of_model in evals.models.items():
        for test, one in of_model.readings.items():
            of_tokens = {field: getattr(one, field) for field in (*FAULTS, "error_types")}
            found += [Caution(name, model, test, text) for name, text in token_cautions(of_tokens)]
            about = evals.tests[test]
            own, rules = one.accuracy, {name: rule.value for name, rule in about.rules.items()}
            text = beaten_by_rule(own.value, own.low, own.high, rules)
            if text:
                found.append(Caution("trivial_rule", model, test, text))
    return sorted(found, key=lambda caution: not caution.loud)


def token_cautions(found: Mapping[str, Any]) -> Iterator[tuple[CautionName, str]]:
    """Yield name and message of what speaks against token rewards; `found` is as `localisations` gives it."""
    of_faults = {field: found[field] for field in FAULTS if found.get(field) is not None}
    for kind, one in {**of_faults, **(found.get("error_types") or {})}.items():
        name, what, later = weakness(kind, one.low, one.high, one.later), fault_name(kind), one.later
        if name is None:
            continue
        figure = f"AUROC within a response {one.within_auroc:.3f}, 95 % {one.low:.3f} to {one.high:.3f}"
        if name == "points_wrong":
            yield name, f"it points the wrong way: {what} get higher rewards than the others ({figure}; .5 is guessing)"
        else:
            rule = f"the rule that {'later' if later >= CHANCE else 'earlier'} tokens are worse ({by_place(later):.3f}"
            yield name, f"it finds {what} no better than {rule}; {figure})"


def beaten_by_rule(
    value: float, low: float, high: float, rules: Mapping[str, float], pairs: str = "pairs"
) -> str | None:
    """Say so if an accuracy's interval does not lie above the best trivial rule, in percent; None if it does."""
    name = max(rules, key=lambda name: rules[name])
    if low > rules[name]:
        return None
    return (
        f"it ranks {value:.1f} % of the {pairs} right (95 % {low:.1f} to {high:.1f}), which is not clearly more than "
        f"a rule that reads nothing: {RULE_TITLES[name].lower()} ({rules[name]:.1f} %)"
    )


def to_json(evals: RewardEvals) -> dict[str, Any]:
    """Return the measures by name, model and test set, as `evaluate reward --json` prints them."""
    measures: dict[str, Any] = {
        "reward_accuracy": {},
        "models": {name: {"level": m.level, "trained_on": m.trained_on} for name, m in evals.models.items()},
        "tests": {
            name: {
                **{"kind": test.kind, "pairs": test.pairs, "prompts": test.prompts, "skipped": dict(test.skipped)},
                **({} if test.people is None else {"people": asdict(test.people)}),
            }
            for name, test in evals.tests.items()
        },
    }
    for model, of_model in evals.models.items():
        for test, one in of_model.readings.items():
            for name, value in _measures(one).items():
                if value is not None:
                    measures.setdefault(name, {}).setdefault(model, {})[test] = value
    for name, about in evals.tests.items():
        for rule, share in about.rules.items():
            measures["reward_accuracy"].setdefault(rule, {})[name] = asdict(share)
    return {**measures, "warnings": [asdict(warning) for warning in cautions(evals)]}


def _measures(one: RewardEval) -> dict[str, Any]:
    rows: dict[str, Any] = asdict(one)
    localised = {name: rows[name] for name in (*FAULTS, "error_types") if rows[name] is not None}
    return {
        "reward_accuracy": rows["accuracy"],
        "margins": {"mean": rows["mean_margin"], **rows["margins"]},
        "calibration": rows["calibration"],
        "length_correlation": rows["length"],
        "length_difference_correlation": rows["length_difference"],
        "position_correlation": rows["position"],
        "by_edit_size": rows["by_size"] or None,
        "by_tokens_changed": rows["by_tokens"] or None,
        "by_edit_type": rows["by_type"] or None,
        "by_position": rows["by_position"] or None,
        "by_length": rows["by_length"] or None,
        "localisation": localised or None,
        "token_calibration": rows["token_calibration"],
        "drift": rows["drift"],
        "reward_bench": rows["reward_bench"],
        "reward_bench_2": rows["reward_bench_2"],
        "worst_pairs": rows["worst"],
    }
