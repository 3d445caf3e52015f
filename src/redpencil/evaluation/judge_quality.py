"""Judges, measured: against people, and for what misleads them: the order, the length, answers that say nothing.

All shares are in percent, with a 95 % interval. Comparisons of answers to one prompt are not independent, so standard
errors are clustered by prompt; the interval is Wilson's (1927) for the number of independent cases that would tell as
much, counted as Korn and Graubard (1998) count it in surveys: those with that standard error, fewer where few prompts
tell how large it is. Where every prompt comes once, it is plain Wilson.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.evaluation.judge_templates import NO_ANSWER, mirrored
from redpencil.evaluation.statistics import CONFIDENCE, wilson_interval
from redpencil.records import Comparison, Preference

_SIDES: Final = (Preference.FIRST, Preference.SECOND)
_KINDS: Final = (*_SIDES, Preference.TIE)


@dataclass(frozen=True, slots=True)
class Share:
    """A share of `n` cases in percent, its standard error clustered by prompt, and the ends of its interval."""

    value: float
    standard_error: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's (1960) kappa over first, second and tie: agreement beyond chance, 1 at most; None where undefined.

    The standard error is the jackknife's that leaves out a prompt at a time, and the interval that of Student's t with
    one degree of freedom fewer than prompts.
    """

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class JudgeQuality:
    """What a judge is worth. Measures are None where no row has what they need.

    Args:
        comparisons: judgements.
        no_verdict: share of them without a verdict.
        unparsed: share whose answer holds none: unparsed, truncated or refused.
        failed: share that got no answer.
        ties: share of the verdicts that are ties.
        flip_rate: of the pairs with a verdict in both orders, those where the two differ.
        first_position: of single verdicts that name a winner, those for the response that was shown first; 50 is fair.
        longer: of final verdicts that name a winner, those for the response with more characters.
        people_longer: the same of people's verdicts, on those of these pairs where they name a winner too.
        compared: verdicts that have a person's beside them; one for each person.
        agreement: share of these where both say the same of first, second and tie.
        agreement_without_ties: share among those where neither says tie; 50 is chance.
        kappa: Cohen's.
        only_judged: judged pairs that no person has judged.
        only_by_people: pairs that people have judged and the judge was not asked about.
        cost_per_1000: US dollars for 1,000 comparisons, by those whose every answer came and was counted; nobody is
            asked about the same text twice, which costs nothing. None where no row tells its cost.
        seconds: mean seconds of work on a comparison, where rows tell that, as people's do.
    """

    comparisons: int
    no_verdict: Share
    unparsed: Share
    failed: Share
    ties: Share | None
    flip_rate: Share | None
    first_position: Share | None
    longer: Share | None
    people_longer: Share | None
    compared: int
    agreement: Share | None
    agreement_without_ties: Share | None
    kappa: Kappa | None
    only_judged: int
    only_by_people: int
    cost_per_1000: float | None
    seconds: float | None


def judge_quality(judgements: Sequence[Comparison], people: Iterable[Comparison] = ()) -> JudgeQuality:
    """Measure the judge who made the judgements against what people say of the same pairs.

    Pairs are matched by id; where a person saw the two responses the other way round, the verdict is turned. What the
    rows' `meta` holds of another kind than a judge or a project of annotation writes there, is passed over. Several
    people may have judged a pair, each in a row of their own. The judge may be several people too; then none is held
    against their own verdict, so that one file on both sides tells how far people agree with one another.

    Raises:
        RedpencilError: if there is no judgement, somebody judged an id twice, or it stands for another pair among the
            people's.
    """
    if not judgements:
        raise RedpencilError("there is no judgement", hint="give a file with judgements")
    rows = _by_id(judgements, nameless=False)
    human = _by_id((row for row in people if row.preference is not Preference.NONE), nameless=True)
    beside = _beside(rows, human)
    both = [(row, verdict) for row, verdict in beside if row.preference is not Preference.NONE]
    decided = [(row, verdict) for row, verdict in both if Preference.TIE not in (row.preference, verdict)]
    verdicts = [row for row in judgements if row.preference is not Preference.NONE]
    none = [row.preference is Preference.NONE for row in judgements]
    failed = [missing and _is_unanswered(row.meta) for row, missing in zip(judgements, none, strict=True)]
    prompts = [row.prompt for row in judgements]
    return JudgeQuality(
        comparisons=len(judgements),
        no_verdict=share(none, prompts),
        unparsed=share([missing and not lost for missing, lost in zip(none, failed, strict=True)], prompts),
        failed=share(failed, prompts),
        ties=_share_of((row.preference is Preference.TIE, row.prompt) for row in verdicts),
        flip_rate=_share_of((bool(row.meta["flipped"]), row.prompt) for row in judgements if "flipped" in row.meta),
        first_position=_share_of(case for row in judgements for case in _first_positions(row)),
        longer=_share_of(case for row in judgements for case in _longer(row, row.preference)),
        people_longer=_share_of(case for row, verdict in decided for case in _longer(row, verdict)),
        compared=len(both),
        agreement=_share_of((row.preference is verdict, row.prompt) for row, verdict in both),
        agreement_without_ties=_share_of((row.preference is verdict, row.prompt) for row, verdict in decided),
        kappa=cohen_kappa([(row.preference, verdict, row.prompt) for row, verdict in both]) if both else None,
        only_judged=sum(name not in human for name in rows),
        only_by_people=sum(name not in rows for name in human),
        cost_per_1000=_cost(judgements),
        seconds=_seconds(judgements),
    )


def share(hits: Sequence[bool], clusters: Sequence[Hashable]) -> Share:
    """A share of cases, of which those in one cluster go together; see the top of this file.

    Args:
        hits: True for the cases that count.
        clusters: the cluster of each case, such as its prompt.

    Raises:
        RedpencilError: if there are no cases, or the two differ in number.
    """
    if not hits or len(hits) != len(clusters):
        raise RedpencilError(f"{len(hits)} cases in {len(clusters)} clusters", hint="give one cluster for each case")
    n, mean = len(hits), sum(hits) / len(hits)
    residuals: defaultdict[Hashable, float] = defaultdict(float)
    for hit, cluster in zip(hits, clusters, strict=True):
        residuals[cluster] += hit - mean
    groups = len(residuals)
    if groups == 1:
        return Share(100 * mean, math.nan, 0.0, 100.0, n)
    variance = groups / (groups - 1) * math.fsum(value**2 for value in residuals.values()) / n**2
    low, high = wilson_interval(mean, _independent_cases(mean, variance, n, groups))
    return Share(100 * mean, 100 * math.sqrt(variance), 100 * low, 100 * high, n)


def _independent_cases(mean: float, variance: float, n: int, groups: int) -> float:
    """How many independent cases would tell as much of a share as n in `groups` clusters; n at most."""
    if mean in (0, 1):
        return groups  # all cases are alike, and nothing can be told of how they hang together
    alone = mean * (1 - mean) / (n - 1)
    # The variance of a few clusters is itself uncertain: Korn and Graubard's factor for the degrees of freedom.
    certain = (_student(n - 1) / _student(groups - 1)) ** 2
    return n * min(1.0, certain * alone / variance) if variance > 0 else n


def _student(freedom: int) -> float:
    """How many standard errors to each side cover the truth as often as `CONFIDENCE` says."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


def cohen_kappa(cases: Sequence[tuple[Preference, Preference, Hashable]]) -> Kappa:
    """Cohen's kappa of (one verdict, the other, cluster), see `Kappa`."""
    whole = Counter((one, other) for one, other, _ in cases)
    value = _kappa(whole)
    tables: defaultdict[Hashable, Counter[tuple[Preference, Preference]]] = defaultdict(Counter)
    for one, other, cluster in cases:
        tables[cluster][one, other] += 1
    left_out = [_kappa(whole - table) for table in tables.values()]
    known = [found for found in left_out if found is not None]
    if value is None or len(known) < max(len(left_out), 2):
        return Kappa(value, None, None, None, len(cases))
    mean = math.fsum(known) / len(known)
    error = math.sqrt((len(known) - 1) / len(known) * math.fsum((found - mean) ** 2 for found in known))
    half = _student(len(known) - 1) * error
    return Kappa(value, error, max(-1.0, value - half), min(1.0, value + half), len(cases))


def _kappa(table: Mapping[tuple[Preference, Preference], int]) -> float | None:
    """(observed - expected agreement) / (1 - expected); None without cases, or where chance alone explains all."""
    total = sum(table.values())
    if not total:
        return None
    observed = sum(table.get((kind, kind), 0) for kind in _KINDS) / total
    ones, others = Counter[Preference](), Counter[Preference]()
    for (one, other), count in table.items():
        ones[one] += count
        others[other] += count
    expected = sum(ones[kind] * others[kind] for kind in _KINDS) / total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _share_of(cases: Iterable[tuple[bool, Hashable]]) -> Share | None:
    found = list(cases)
    return share([hit for hit, _ in found], [cluster for _, cluster in found]) if found else None


def _by_id(rows: Iterable[Comparison], *, nameless: bool) -> dict[str, list[Comparison]]:
    """Verdicts by pair, one of each annotator; `nameless` says whether several without a name are several people."""
    found: defaultdict[str, list[Comparison]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for row in rows:
        if (row.id, row.annotator) in seen and (row.annotator or not nameless):
            who = f"twice by {row.annotator!r}" if row.annotator else "twice"
            raise RedpencilError(
                f"an id occurs {who}: {row.id!r}",
                field="id",
                hint="give each pair one verdict of each judge or person, who is named under annotator",
            )
        seen.add((row.id, row.annotator))
        found[row.id].append(row)
    return dict(found)


def _beside(
    rows: Mapping[str, Sequence[Comparison]], people: Mapping[str, Sequence[Comparison]]
) -> list[tuple[Comparison, Preference]]:
    """Each judgement with each person's verdict on its pair, in terms of the judgement's first and second."""
    judges = {row.annotator for found in rows.values() for row in found}
    return [
        (row, _turned(person, row))
        for name, found in rows.items()
        for row in found
        for person in people.get(name, ())
        if len(judges) == 1 or person.annotator != row.annotator
    ]


def _turned(person: Comparison, row: Comparison) -> Preference:
    if person.prompt == row.prompt:
        if (person.first, person.second) == (row.first, row.second):
            return person.preference
        if (person.second, person.first) == (row.first, row.second):
            return mirrored(person.preference)
    what = "responses" if person.prompt == row.prompt else "prompts"
    raise RedpencilError(
        f"the judge and people judged different {what} under the id {row.id!r}",
        field="id",
        hint="let the judge compare the same pairs, with `redpencil judge --comparisons`",
    )


def _first_positions(row: Comparison) -> Iterator[tuple[bool, str]]:
    """For each single verdict that names a winner, whether it stood first; people's rows have one."""
    if isinstance(row.meta.get("verdicts"), list):
        for order in _orders(row):
            verdict, shown = order.get("verdict"), order.get("shown_first")
            if verdict in _SIDES and shown in _SIDES:
                yield verdict == shown, row.prompt
        return
    annotation = row.meta.get("annotation")
    shown = annotation.get("shown_first") if isinstance(annotation, Mapping) else None
    if shown in _SIDES and row.preference in _SIDES:
        yield row.preference == shown, row.prompt


def _longer(row: Comparison, verdict: Preference) -> Iterator[tuple[bool, str]]:
    """Whether a verdict that names a winner is for the response with more characters; nothing where none has."""
    first, second = len(row.first), len(row.second)
    if verdict in _SIDES and first != second:
        yield (verdict is Preference.FIRST) == (first > second), row.prompt


def _cost(judgements: Sequence[Comparison]) -> float | None:
    whole = [row for row in judgements if not _lacks_an_answer(row)]
    costs = _numbers(row.meta.get("cost") for row in whole)
    free = sum(row.meta.get("same_text") is True for row in whole)
    return _mean(costs, len(costs) + free, 1000) if costs else None


def _lacks_an_answer(row: Comparison) -> bool:
    return any(map(_is_unanswered, (row.meta, *_orders(row))))


def _is_unanswered(about: Mapping[str, Any]) -> bool:
    problem = about.get("problem")
    return isinstance(problem, str) and problem in NO_ANSWER


def _orders(row: Comparison) -> list[Mapping[str, Any]]:
    """What a judge said of each order; nothing of what a foreign file holds under that name."""
    orders = row.meta.get("verdicts")
    return [order for order in orders if isinstance(order, Mapping)] if isinstance(orders, list) else []


def _seconds(judgements: Sequence[Comparison]) -> float | None:
    told = [row.meta["annotation"] for row in judgements if isinstance(row.meta.get("annotation"), Mapping)]
    seconds = _numbers(found.get("seconds") for found in told)
    return _mean(seconds, len(seconds)) if seconds else None


def _numbers(values: Iterable[object]) -> list[float]:
    """Those of the values that are finite numbers."""
    found = []
    for value in values:
        with suppress(OverflowError):  # a whole number of hundreds of digits
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                found.append(float(value))
    return found


def _mean(values: Sequence[float], count: int, unit: int = 1) -> float | None:
    """`unit` times the sum over `count`; None where that is too large a number."""
    with suppress(OverflowError):
        found = unit * math.fsum(values) / count
        return found if math.isfinite(found) else None
    return None
