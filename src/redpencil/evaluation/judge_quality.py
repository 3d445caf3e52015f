"""The quality of a judge: agreement with people, bias for order and length, and missing verdicts.

All shares are in percent, with a 95 % interval. Comparisons of answers to one prompt are not independent, so standard
errors and intervals are clustered by prompt (`redpencil.intervals.clustered_share`).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from redpencil.errors import RedpencilError
from redpencil.evaluation.judge_templates import NO_ANSWER, mirrored
from redpencil.intervals import clustered_share, student
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
    """Cohen's (1960) kappa over first, second and tie: agreement beyond chance, 1 at most; None if undefined.

    The standard error is the jackknife's over prompts, and the interval that of Student's t with one degree of freedom
    fewer than prompts.
    """

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class JudgeQuality:
    """Measures of a judge; None if no row has the data that a measure needs.

    Args:
        comparisons: number of judgements.
        no_verdict: share of them without a verdict.
        unparsed: share with an answer but no verdict: unparsed, truncated or refused.
        failed: share without an answer.
        ties: share of the verdicts that are ties.
        flip_rate: share of the pairs with a verdict in both orders for which the two differ.
        first_position: share of single verdicts with a winner for the response that was shown first; 50 is fair.
        longer: share of final verdicts with a winner for the response with more characters.
        people_longer: the same share of people's verdicts, on pairs for which both name a winner.
        compared: number of pairs of a judge's verdict and a person's.
        agreement: share of these with the same verdict (first, second or tie).
        agreement_without_ties: share among those without a tie; 50 is chance.
        kappa: Cohen's.
        only_judged: judged pairs without a person's verdict.
        only_by_people: pairs with a person's verdict that were not judged.
        cost_per_1000: US dollars for 1,000 comparisons, over those with all their answers; pairs with the same text on
            both sides cost nothing. None if no row has a cost.
        seconds: mean seconds of work on a comparison, if rows have that, as people's do.
        matched_by_text: people's verdicts whose id is another one than the judge's for the same prompt and responses.
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
    matched_by_text: int


def judge_quality(judgements: Sequence[Comparison], people: Iterable[Comparison] = ()) -> JudgeQuality:
    """Measure the judge who made the judgements against people's verdicts on the same pairs.

    Pairs are matched by id, or by prompt and responses where the ids differ; if a person saw the two responses in the
    other order, the verdict is mirrored. Entries of `meta` in another form than that of judges and of the annotation
    service are ignored. Several people may have judged a pair, each in a row of their own. The judge may be several
    people too; they are not compared with themselves, so the same file on both sides measures how far people agree with
    each other.

    Raises:
        RedpencilError: if there is no judgement, an annotator judged an id twice, or the two files have different pairs
            under an id.
    """
    if not judgements:
        raise RedpencilError("there are no judgements", hint="give a file with judgements")
    rows = _by_id(judgements, nameless=False)
    given = [row for row in people if row.preference is not Preference.NONE]
    known = _under_ids_of(judgements, given)
    human = _by_id(known, nameless=True)
    matched = _with_people(rows, human)
    both = [(row, verdict) for row, verdict in matched if row.preference is not Preference.NONE]
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
        matched_by_text=sum(row.id != before.id for row, before in zip(known, given, strict=True)),
    )


def share(hits: Sequence[bool], clusters: Sequence[Hashable]) -> Share:
    """Compute a share of cases with a standard error clustered as the module says.

    Args:
        hits: True for the cases in the share.
        clusters: the cluster of each case, such as its prompt.

    Raises:
        RedpencilError: if there are no cases, or the two differ in number.
    """
    if not hits or len(hits) != len(clusters):
        raise RedpencilError(f"{len(hits)} cases in {len(clusters)} clusters", hint="give one cluster for each case")
    found = clustered_share(hits, clusters)
    # nan itself, as of a single cluster, and no product of it: so two such shares are equal.
    error = found.standard_error if math.isnan(found.standard_error) else 100 * found.standard_error
    return Share(100 * found.value, error, 100 * found.low, 100 * found.high, len(hits))


def cohen_kappa(cases: Sequence[tuple[Preference, Preference, Hashable]]) -> Kappa:
    """Compute Cohen's kappa of (one verdict, the other, cluster), see `Kappa`."""
    whole = Counter((one, other) for one, other, _ in cases)
    value = _kappa(whole)
    tables: defaultdict[Hashable, Counter[tuple[Preference, Preference]]] = defaultdict(Counter)
    for one, other, cluster in cases:
        tables[cluster][one, other] += 1
    left_out = [_kappa(whole - table) for table in tables.values()]
    known = [kappa for kappa in left_out if kappa is not None]
    if value is None or len(known) < max(len(left_out), 2):
        return Kappa(value, None, None, None, len(cases))
    mean = math.fsum(known) / len(known)
    error = math.sqrt((len(known) - 1) / len(known) * math.fsum((kappa - mean) ** 2 for kappa in known))
    half = student(len(known) - 1) * error
    return Kappa(value, error, max(-1.0, value - half), min(1.0, value + half), len(cases))


def _kappa(table: Mapping[tuple[Preference, Preference], int]) -> float | None:
    """Return (observed - expected agreement) / (1 - expected); None without cases, or if chance explains everything."""
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
    rows = list(cases)
    return share([hit for hit, _ in rows], [cluster for _, cluster in rows]) if rows else None


def _by_id(rows: Iterable[Comparison], *, nameless: bool) -> dict[str, list[Comparison]]:
    """Group verdicts by pair, one of each annotator; with `nameless`, rows without a name are different people."""
    by_id: defaultdict[str, list[Comparison]] = defaultdict(list)
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
        by_id[row.id].append(row)
    return dict(by_id)


def _under_ids_of(judgements: Iterable[Comparison], people: Iterable[Comparison]) -> list[Comparison]:
    """Give people's rows the judge's ids of the same prompts and responses, where that is one id."""
    ids: defaultdict[Hashable, set[str]] = defaultdict(set)
    for row in judgements:
        ids[_pair_of(row)].add(row.id)
    same = ((row, ids.get(_pair_of(row), {row.id})) for row in people)
    return [row if row.id in names or len(names) > 1 else replace(row, id=min(names)) for row, names in same]


def _pair_of(row: Comparison) -> Hashable:
    """A pair by its texts, whichever response is the first."""
    return row.prompt, *sorted((row.first, row.second))


def _with_people(
    rows: Mapping[str, Sequence[Comparison]], people: Mapping[str, Sequence[Comparison]]
) -> list[tuple[Comparison, Preference]]:
    """Match each judgement with each person's verdict on its pair, in the order of the judgement."""
    judges = {row.annotator for judgements in rows.values() for row in judgements}
    return [
        (row, _in_order_of(person, row))
        for name, judgements in rows.items()
        for row in judgements
        for person in people.get(name, ())
        if len(judges) == 1 or person.annotator != row.annotator
    ]


def _in_order_of(person: Comparison, row: Comparison) -> Preference:
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
    """Yield for each single verdict with a winner if that was shown first; people's rows have one such verdict."""
    if isinstance(row.meta.get("verdicts"), list):
        for order in _orders(row):
            verdict, position = order.get("verdict"), order.get("shown_first")
            if verdict in _SIDES and position in _SIDES:
                yield verdict == position, row.prompt
        return
    annotation = row.meta.get("annotation")
    position = annotation.get("shown_first") if isinstance(annotation, Mapping) else None
    if position in _SIDES and row.preference in _SIDES:
        yield row.preference == position, row.prompt


def _longer(row: Comparison, verdict: Preference) -> Iterator[tuple[bool, str]]:
    """Yield if a verdict with a winner is for the response with more characters; nothing at equal length."""
    first, second = len(row.first), len(row.second)
    if verdict in _SIDES and first != second:
        yield (verdict is Preference.FIRST) == (first > second), row.prompt


def _cost(judgements: Sequence[Comparison]) -> float | None:
    whole = [row for row in judgements if not any(map(_is_unanswered, (row.meta, *_orders(row))))]
    costs = _numbers(row.meta.get("cost") for row in whole)
    free = sum(row.meta.get("same_text") is True for row in whole)
    return _mean(costs, len(costs) + free, 1000) if costs else None


def _is_unanswered(about: Mapping[str, Any]) -> bool:
    problem = about.get("problem")
    return isinstance(problem, str) and problem in NO_ANSWER


def _orders(row: Comparison) -> list[Mapping[str, Any]]:
    """Return the judge's verdicts on each order; none if a foreign file has something else under that name."""
    orders = row.meta.get("verdicts")
    return [order for order in orders if isinstance(order, Mapping)] if isinstance(orders, list) else []


def _seconds(judgements: Sequence[Comparison]) -> float | None:
    annotations = [row.meta["annotation"] for row in judgements if isinstance(row.meta.get("annotation"), Mapping)]
    seconds = _numbers(annotation.get("seconds") for annotation in annotations)
    return _mean(seconds, len(seconds)) if seconds else None


def _numbers(values: Iterable[object]) -> list[float]:
    """Return the finite numbers among the values."""
    numbers = []
    for value in values:
        with suppress(OverflowError):  # an integer with hundreds of digits
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                numbers.append(float(value))
    return numbers


def _mean(values: Sequence[float], count: int, unit: int = 1) -> float | None:
    """Return `unit` times the sum over `count`; None if that overflows."""
    with suppress(OverflowError):
        mean = unit * math.fsum(values) / count
        return mean if math.isfinite(mean) else None
    return None
