"""A policy's win rate against a reference (Table 1): verdicts from files, rates with intervals, and efficiency."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from redpencil.errors import RedpencilError
from redpencil.evaluation.length_control import LengthControlled, length_controlled
from redpencil.evaluation.matching import by_prompt, match_rows
from redpencil.evaluation.statistics import (
    RESAMPLES,
    SCORES,
    Estimate,
    bootstrap_interval,
    mean_in_percent,
)
from redpencil.formats.datasets import open_source
from redpencil.intervals import wilson_interval
from redpencil.records import Comparison, read_jsonl

VerdictFormat = Literal["redpencil", "alpaca-eval"]
VERDICT_FORMATS: Final[tuple[VerdictFormat, ...]] = get_args(VerdictFormat)
CATEGORY_KEYS: Final = ("category", "dataset", "subset")
"""Keys of a row with the category of its prompt; the first one present counts."""

_HINT: Final = "AlpacaEval's rows have instruction, output_1, output_2 and preference; output_2 is the policy's"
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Case:
    """One verdict on a policy's response and the reference's.

    Args:
        id: of the prompt; the same for every policy that answered it.
        prompt: its text.
        score: 1 if the policy's response is better, 0 if the reference's is, .5 for a draw, or between them if the
            judge gives a probability; None without a verdict.
        response: the policy's.
        other: the reference's.
        policy: name of the model that wrote `response`, if known, as `reference` is for `other`.
        annotator: name of the person or judge.
        traits: further fields of the row, such as its category.
    """

    id: str
    prompt: str
    score: float | None
    response: str
    other: str
    policy: str = ""
    reference: str = ""
    annotator: str = ""
    traits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def meta(self) -> Mapping[str, Any]:
        """The traits, by which rows of several files are matched."""
        return self.traits

    def category(self, key: str | None = None) -> str | None:
        """Return the category of the prompt: the trait `key`, else the first of `CATEGORY_KEYS` that is present."""
        keys = CATEGORY_KEYS if key is None else (key,)
        return next((str(self.traits[name]) for name in keys if self.traits.get(name) is not None), None)


def read_cases(path: Path, kind: VerdictFormat = "redpencil") -> list[Case]:
    """Read the cases of a file, in its order.

    If several people (or judges) compared the same two responses, the case has the mean of their scores, so that the
    prompt counts once.

    Raises:
        RedpencilError: naming file, row and field, if a row does not fit, one annotator has two verdicts on a prompt,
            or there is no row.
    """
    cases: dict[str, list[Case]] = {}
    for case in _READERS[kind](path):
        same = cases.setdefault(case.id, [])
        if same and (case.prompt, case.response, case.other) != (same[0].prompt, same[0].response, same[0].other):
            raise RedpencilError(
                f"two pairs of responses have the id {case.id!r}", file=path, field="id", hint="one file per policy"
            )
        if case.annotator in (known.annotator for known in same):
            raise RedpencilError(
                f"two verdicts of {case.annotator or 'one annotator'} have the id {case.id!r}",
                file=path,
                field="id",
                hint="give each prompt one judgement of each annotator",
            )
        same.append(case)
    if not cases:
        raise RedpencilError("the file has no rows", file=path, hint="give a file with judgements")
    return [_mean_case(same) for same in cases.values()]


def _mean_case(same: Sequence[Case]) -> Case:
    scores = [case.score for case in same if case.score is not None]
    return replace(same[0], score=math.fsum(scores) / len(scores) if scores else None)


def _redpencil(path: Path) -> Iterator[Case]:
    if _is_array(path):
        raise RedpencilError(
            "a JSON array instead of one row a line",
            file=path,
            hint="AlpacaEval's annotations need --format alpaca-eval",
        )
    for row in read_jsonl(path, Comparison):
        texts, names = (row.first, row.second), (*models_of(row.meta), row.annotator)
        yield Case(row.id, row.prompt, SCORES.get(row.preference), *texts, *names, row.meta)


def models_of(meta: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the models of a comparison; people's rows name them by their sides."""
    policy, reference = meta.get("policy") or meta.get("first_model"), meta.get("reference") or meta.get("second_model")
    return str(policy or ""), str(reference or "")


def _is_array(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _alpaca_eval(path: Path) -> Iterator[Case]:
    """Read AlpacaEval's rows, which have the reference's output first and no id.

    The instruction is the id; further rows with the same instruction get a number after it.
    """
    seen: Counter[str] = Counter()
    preferences: set[object] = set()
    with open_source(str(path)) as source:
        for number, row in enumerate(source.rows):
            if row.error is not None:
                raise row.error
            first, second = (_text(row.values, name, path, number) for name in ("output_2", "output_1"))
            policy, reference = (str(row.values.get(name) or "") for name in ("generator_2", "generator_1"))
            score = _alpaca_score(row.values, path, number)
            instruction = _text(row.values, "instruction", path, number)
            seen[instruction] += 1
            name = instruction if seen[instruction] == 1 else f"{instruction} ({seen[instruction]})"
            preferences.add(row.values["preference"])
            yield Case(name, instruction, score, first, second, policy, reference, traits=row.values)
    if preferences - {None} in ({0, 1}, {0}):
        raise RedpencilError(
            "the preferences are only 0 and 1, and AlpacaEval's are 1 and 2, where 0 is a draw",
            file=path,
            field="preference",
            hint="say what 0 and 1 mean: redpencil import FILE --format alpaca-eval --value 0=first --value 1=second",
        )


def _text(values: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    text = values.get(name)
    if not isinstance(text, str):
        raise RedpencilError(f"row {number + 1} has no text there", file=path, field=name, hint=_HINT)
    return text


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _alpaca_score(values: Mapping[str, Any], path: Path, number: int) -> float | None:
    """Convert a preference from 1 (the reference) to 2 (the policy); 0 and 1.5 are draws, null is a missing verdict."""
    preference = values.get("preference", "")
    if preference is None or (isinstance(preference, float) and math.isnan(preference)):
        return None
    is_number = isinstance(preference, int | float) and not isinstance(preference, bool)
    if not is_number or not (preference == 0 or 1 <= preference <= 2):
        raise RedpencilError(
            f"{_short(repr(preference))} in row {number + 1} is not a preference: 1 to 2, or 0 for a draw",
            file=path,
            field="preference",
            hint=_HINT,
        )
    return 0.5 if preference == 0 else float(preference) - 1


_READERS: Final[Mapping[VerdictFormat, Callable[[Path], Iterator[Case]]]] = {
    "redpencil": _redpencil,
    "alpaca-eval": _alpaca_eval,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """Settings of bootstrap intervals: their confidence, the number of resamples, and the seed."""

    confidence: float = 0.95
    resamples: int = RESAMPLES
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PolicyWinRate:
    """A policy against a reference; rates in percent, a draw is one half of a win.

    Args:
        win_rate: mean over the `n` prompts that have a verdict; it agrees with AlpacaEval's `win_rate`.
        standard_error: sample standard deviation of the scores over the root of n.
        low: lower end of the bootstrap interval, or of Wilson's if all scores are equal; `high` is the upper end.
        n: prompts with a verdict.
        wins: of the policy; a probability above one half counts as a win, and one half as a draw.
        unparsed: prompts without a verdict; they count in the mean lengths only.
        mean_length: characters of the policy's responses, over all prompts, and of the reference's.
        mean_words: their words.
        length_controlled: the rate at equal length; None if it cannot be estimated.
    """

    win_rate: float
    standard_error: float
    low: float
    high: float
    n: int
    wins: int
    losses: int
    draws: int
    unparsed: int
    mean_length: float
    mean_length_reference: float
    mean_words: float
    mean_words_reference: float
    length_controlled: LengthControlled | None


def policy_win_rate(cases: Sequence[Case], interval: Interval | None = None) -> PolicyWinRate:
    """Compute the win rate of the policy that wrote each case's `response`.

    Raises:
        RedpencilError: if no case has a verdict.
    """
    interval = interval or Interval()
    decided = [case for case in cases if case.score is not None]
    if not decided:
        raise RedpencilError(
            f"none of the {len(cases)} comparisons has a verdict", hint="ask the judge again, or another judge"
        )
    scores = [case.score for case in decided if case.score is not None]
    rate = mean_in_percent(scores, "comparisons")
    low, high = bootstrap_interval(scores, **asdict(interval))
    if math.isnan(low) and len(scores) > 1:
        low, high = wilson_interval(scores[0], len(scores), interval.confidence)
    lengths = [len(case.response) for case in decided], [len(case.other) for case in decided]
    return PolicyWinRate(
        win_rate=rate.value,
        standard_error=rate.standard_error,
        low=100 * low,
        high=100 * high,
        n=rate.n,
        wins=sum(score > 0.5 for score in scores),
        losses=sum(score < 0.5 for score in scores),
        draws=sum(score == 0.5 for score in scores),
        unparsed=len(cases) - len(decided),
        mean_length=_mean([len(case.response) for case in cases]),
        mean_length_reference=_mean([len(case.other) for case in cases]),
        mean_words=_mean([len(case.response.split()) for case in cases]),
        mean_words_reference=_mean([len(case.other.split()) for case in cases]),
        length_controlled=length_controlled(scores, *lengths),
    )


def by_category(cases: Sequence[Case], key: str | None = None) -> dict[str, Estimate]:
    """Compute the win rate of each category of prompts, in the order of their first rows.

    Args:
        cases: of one policy.
        key: the trait with the category; None for the first of `CATEGORY_KEYS` that a case has.
    """
    groups: dict[str, list[float]] = {}
    for case in cases:
        name = case.category(key)
        if name is not None and case.score is not None:
            groups.setdefault(name, []).append(case.score)
    return {name: mean_in_percent(scores, "comparisons") for name, scores in groups.items()}


def under_ids_of(first: Sequence[Case], cases: Sequence[Case]) -> tuple[list[Case], int]:
    """Give cases the ids that `first` has for the same prompts, where all match; returns the number of changed ids."""
    try:
        pairs = match_rows(first, cases, ("case", "case"))
    except RedpencilError:  # other prompts: each comparison that needs the same ones says so
        return list(cases), 0
    names = {case.id: other.id for other, case in pairs}
    return [replace(case, id=names[case.id]) for case in cases], by_prompt(pairs)


def shared_scores(first: Sequence[Case], second: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Return the scores of two policies on the prompts for which both have a verdict, in the same order.

    Raises:
        RedpencilError: naming the id, if they were judged on different prompts or against different references.
    """
    first_by_id, second_by_id = ({case.id: case for case in cases} for cases in (first, second))
    missing = next(iter(first_by_id.keys() ^ second_by_id.keys()), None)
    if missing is not None:
        raise RedpencilError(f"judged on different prompts (only one has the id {missing!r})", field="id")
    both = {name: (case, second_by_id[name]) for name, case in first_by_id.items()}
    other = next((name for name, (a, b) in both.items() if a.prompt != b.prompt), None)
    if other is not None:
        raise RedpencilError(f"judged on different prompts (both have the id {other!r})", field="id")
    other = next((name for name, (a, b) in both.items() if a.other != b.other), None)
    if other is not None:
        raise RedpencilError(f"judged against different references (see the id {other!r})", field="second")
    pairs = [(a.score, b.score) for a, b in both.values() if a.score is not None and b.score is not None]
    return [a for a, _ in pairs], [b for _, b in pairs]


def _mean(values: Sequence[int]) -> float:
    return math.fsum(values) / len(values)


Curve = Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Efficiency:
    """Steps and seconds after which each arm reaches the sequence arm's best win rate.

    `ratio` is token_step / sequence_step. The ratio and the token arm's values are None if that arm never reaches it.
    """

    token_step: int | None
    sequence_step: int
    ratio: float | None
    token_seconds: float | None
    sequence_seconds: float


def time_to_reach(token_curve: Curve, sequence_curve: Curve) -> Efficiency:
    """Find the first evaluation at which the token arm reaches the best win rate of the sequence arm.

    Evaluations at step 0, before any training, are left out of both curves. If the sequence arm never beats its own
    step 0, the target is its best evaluation after that, and the ratio says little; the curves show that case.

    Args:
        token_curve: (step, seconds of training so far, win rate) at each evaluation, in any order.
        sequence_curve: the same for the sequence arm.

    Raises:
        RedpencilError: if the sequence arm has no evaluation after step 0.
    """
    token = sorted(point for point in token_curve if point[0] > 0)
    sequence = sorted(point for point in sequence_curve if point[0] > 0)
    if not sequence:
        raise RedpencilError(
            "the sequence arm has no evaluation after step 0",
            field="ppo.eval_steps",
            hint="make eval_steps at most total_steps",
        )
    # max() keeps the first of equal maxima: the earliest step.
    sequence_step, sequence_seconds, target = max(sequence, key=lambda point: point[2])
    reached = next(((step, seconds) for step, seconds, rate in token if rate >= target), None)
    if reached is None:
        return Efficiency(None, sequence_step, None, None, sequence_seconds)
    return Efficiency(reached[0], sequence_step, reached[0] / sequence_step, reached[1], sequence_seconds)
