"""Judges, measured: cases by hand, libraries, and QA-Feedback's own preferences."""

import json
import math
import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.judge_quality import Kappa, cohen_kappa, judge_quality, share
from redpencil.evaluation.judges import judge_pairings, length_judge, pair_comparisons
from redpencil.evaluation.llm_judge import JudgeStyle, judge_job
from redpencil.evaluation.statistics import wilson_interval
from redpencil.providers.base import ScriptedProvider
from redpencil.providers.cache import open_cache
from redpencil.records import Comparison, Preference

FIRST, SECOND, TIE, NONE = Preference
QA = Path(__file__).parents[3] / "shared" / "data" / "qa_feedback" / "feedback.json"


def row(name: str, preference: Preference, first: str = "long one", second: str = "short", **meta: Any) -> Comparison:
    return Comparison(name, f"prompt {name}", first, second, preference, "judge", meta)


def by(annotator: str, name: str, preference: Preference, **changes: str) -> Comparison:
    return replace(row(name, preference), annotator=annotator, **changes)


def orders(*verdicts: tuple[str, str]) -> list[dict[str, str]]:
    return [{"shown_first": shown, "verdict": verdict} for shown, verdict in verdicts]


def test_agreement_by_hand() -> None:
    judged = [row("a", FIRST), row("b", FIRST), row("c", TIE), row("d", SECOND), row("e", NONE), row("f", FIRST)]
    people = [row("a", FIRST), row("b", SECOND), row("c", TIE), row("d", TIE), row("e", FIRST), row("g", FIRST)]
    found = judge_quality(judged, people)
    # a and c agree, b and d do not; e has no verdict of the judge. Without ties a and b are left.
    assert (found.compared, found.only_judged, found.only_by_people) == (4, 1, 1)
    assert found.agreement is not None
    assert (found.agreement.value, found.agreement.n) == (50, 4)
    # Standard deviation of 1, 0, 1, 0 with n - 1: root of 1/3; over the root of 4: .2887.
    assert found.agreement.standard_error == pytest.approx(100 * math.sqrt(1 / 3) / 2)
    assert found.agreement_without_ties is not None
    assert (found.agreement_without_ties.value, found.agreement_without_ties.n) == (50, 2)
    # Judge: first 2, tie 1, second 1; people: first 1, second 1, tie 2. By chance (2*1 + 1*1 + 1*2) / 16 = 5/16;
    # kappa = (1/2 - 5/16) / (11/16) = 3/11.
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(3 / 11)
    assert (found.no_verdict.value, found.unparsed.value, found.failed.value) == (
        pytest.approx(100 / 6), pytest.approx(100 / 6), 0,
    )  # fmt: skip


def test_several_people_and_sides_that_were_swapped() -> None:
    judged = [row("a", FIRST)]
    people = [
        by("Ada", "a", FIRST),
        by("Ben", "a", SECOND),
        by("Cleo", "a", NONE),
        by("other file order", "a", SECOND, first="short", second="long one"),
    ]
    found = judge_quality(judged, people)
    assert found.agreement is not None
    assert (found.compared, round(found.agreement.value, 2)) == (3, 66.67)
    # Rows without a name may be of several people.
    assert judge_quality(judged, [replace(person, annotator="") for person in people]) == found
    with pytest.raises(RedpencilError, match="an id occurs twice by 'Ada': 'a'"):
        judge_quality(judged, [*people, by("Ada", "a", TIE)])


def test_what_several_people_say_of_a_pair_hangs_together() -> None:
    # Ten pairs of two prompts, three people on each; of the first prompt they all agree with the judge, of the second
    # none. By prompt these are 2 clusters, by pair they would be 10, by row 30.
    judged = [replace(row(str(n), FIRST), prompt=f"p{n % 2}") for n in range(10)]
    people = [
        by(name, str(n), (FIRST, SECOND)[n % 2], prompt=f"p{n % 2}") for n in range(10) for name in ("Ada", "Ben", "Cy")
    ]
    found = judge_quality(judged, people)
    assert found.agreement is not None
    assert (found.compared, found.agreement.value) == (30, 50)
    # Residual sums 7.5 and -7.5: variance 2 * 2 * 7.5^2 / 30^2 = 1/4.
    assert found.agreement.standard_error == pytest.approx(50)
    # So it is where people are measured, of whom there are several on a pair too.
    assert judge_quality(people).comparisons == 30
    assert judge_quality(people).only_judged == 10


def test_people_against_one_another() -> None:
    people = [by("Ada", "a", FIRST), by("Ben", "a", FIRST), by("Ada", "b", FIRST), by("Ben", "b", SECOND)]
    found = judge_quality(people, people)
    # Ada with Ben and Ben with Ada on a and on b; none with themselves.
    assert found.agreement is not None
    assert (found.compared, found.agreement.value) == (4, 50)
    assert (found.only_judged, found.only_by_people) == (0, 0)
    # One judge alone may stand on both sides, for a second look at the same pairs.
    assert judge_quality(people[::2], people[::2]).compared == 2


def test_order_length_and_cost_by_hand() -> None:
    judged = [
        row("a", FIRST, verdicts=orders(("first", "first"), ("second", "first")), flipped=False, cost=0.01),
        row("b", TIE, verdicts=orders(("first", "first"), ("second", "second")), flipped=True, cost=0.02),
        row("c", SECOND, "x", "longer", verdicts=orders(("first", "second"), ("second", "second")), flipped=False),
        row("d", NONE, verdicts=orders(("first", "first"), ("second", "none")), problem="unparsed", cost=0.03),
        row("e", NONE, verdicts=orders(("first", "none"), ("second", "none")), problem="failed"),
        row("f", TIE, verdicts=orders(("first", "tie"), ("second", "tie")), flipped=False),
        row("g", FIRST, "same length", "length same"),
    ]
    found = judge_quality(judged)
    assert found.flip_rate is not None
    assert (found.flip_rate.value, found.flip_rate.n) == (25, 4)  # b of a, b, c, f
    # Single verdicts with a winner: a first, other; b both first; c other, first; d first: five of seven... by entry:
    # a: 1, 0; b: 1, 1; c: 0, 1; d: 1 -> 5 of 7.
    assert found.first_position is not None
    assert (found.first_position.n, found.first_position.value) == (7, pytest.approx(500 / 7))
    # Final verdicts with a winner and two lengths: a takes the longer, c too; g's sides are equally long.
    assert found.longer is not None
    assert (found.longer.value, found.longer.n) == (100, 2)
    assert found.cost_per_1000 == pytest.approx(1000 * 0.06 / 3)  # a, b and d; of the others nothing is known
    assert (found.agreement, found.kappa, found.compared, found.people_longer) == (None, None, 0, None)
    assert found.unparsed.value == pytest.approx(100 / 7)
    assert found.failed.value == pytest.approx(100 / 7)
    assert found.ties is not None
    assert (found.ties.value, found.ties.n) == (40, 5)


def test_the_cost_is_that_of_the_pairs_that_were_asked_about() -> None:
    asked = [row(f"a{n}", FIRST, verdicts=orders(("first", "first")), cost=0.01) for n in range(10)]
    never = {"shown_first": "first", "verdict": "none", "problem": "never asked", "why": "never asked"}
    left = [row(f"n{n}", NONE, verdicts=[never, never], problem="never asked") for n in range(80)]
    failed = [row(f"f{n}", NONE, verdicts=[{**never, "problem": "failed"}], problem="failed") for n in range(10)]
    assert judge_quality(asked + left + failed).cost_per_1000 == pytest.approx(10)
    # Of a pair that was asked about in one order only half the cost is known, whatever came first.
    unparsed = {**never, "problem": "unparsed", "answer": "hm"}
    half = [
        row("h1", NONE, verdicts=[unparsed, never], problem="unparsed", cost=0.005),
        row("h2", NONE, problem="failed", cost=0.005),
    ]
    assert judge_quality(asked + half).cost_per_1000 == pytest.approx(10)
    # Nobody is asked about the same text on both sides: that costs nothing, and such pairs come too.
    same = [row(f"s{n}", TIE, same_text=True) for n in range(30)]
    assert judge_quality(asked + left + same).cost_per_1000 == pytest.approx(2.5)
    assert judge_quality(same).cost_per_1000 is None


def test_people_and_the_judge_are_compared_on_the_same_pairs() -> None:
    judged = [row("a", FIRST), row("b", TIE), row("c", NONE), row("d", SECOND), row("e", FIRST)]
    people = [row("a", FIRST), row("b", FIRST), row("c", FIRST), row("d", FIRST), row("e", TIE), row("f", SECOND)]
    found = judge_quality(judged, people)
    # The first is always the longer. The judge names a winner in a, d and e, and people do so too in a and d.
    assert found.longer is not None
    assert (found.longer.value, found.longer.n) == (pytest.approx(200 / 3), 3)
    assert found.people_longer is not None
    assert (found.people_longer.value, found.people_longer.n) == (100, 2)


def test_people_themselves_can_be_measured() -> None:
    shown = {"reason": "", "seconds": 4.0, "shown_first": "second"}
    found = judge_quality([row("a", SECOND, annotation=shown), row("b", TIE, annotation={**shown, "seconds": 8.0})])
    assert found.first_position is not None
    assert (found.first_position.value, found.first_position.n, found.seconds) == (100, 1, 6)


def test_bad_files() -> None:
    with pytest.raises(RedpencilError, match="there are no judgements"):
        judge_quality([])
    with pytest.raises(RedpencilError, match="an id occurs twice by 'judge': 'a'"):
        judge_quality([row("a", FIRST), row("a", FIRST)])
    with pytest.raises(RedpencilError, match="an id occurs twice: 'a'"):
        judge_quality([by("", "a", FIRST), by("", "a", FIRST)])
    with pytest.raises(RedpencilError, match="different responses under the id 'a'"):
        judge_quality([row("a", FIRST)], [row("a", FIRST, "other")])
    with pytest.raises(RedpencilError, match="2 cases in 1 clusters"):
        share([True, False], ["p"])


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_without_clusters_the_interval_is_plain_wilson(hits: list[bool]) -> None:
    from statsmodels.stats.proportion import proportion_confint

    found = share(hits, range(len(hits)))
    low, high = proportion_confint(sum(hits), len(hits), method="wilson")
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=1e-6)
    assert found.standard_error == pytest.approx(100 * np.std(hits, ddof=1) / math.sqrt(len(hits)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=8, max_size=60))
def test_the_standard_error_is_the_clustered_one_of_statsmodels(cases: list[tuple[bool, int]]) -> None:
    import statsmodels.api as sm

    hits, clusters = [hit for hit, _ in cases], [cluster for _, cluster in cases]
    if len(set(clusters)) < 2:
        assert math.isnan(share(hits, clusters).standard_error)
        return
    fit = sm.OLS(np.array(hits, dtype=float), np.ones(len(hits))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(clusters)}
    )
    found = share(hits, clusters)
    assert found.standard_error == pytest.approx(100 * float(fit.bse[0]), abs=1e-9)
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 100


def test_cases_that_hang_together_say_less() -> None:
    hits = [True, False] * 20
    alone, together = share(hits, range(40)), share(hits, [n % 2 for n in range(40)])
    assert together.high - together.low > alone.high - alone.low
    assert share([True] * 12, [0, 1, 2] * 4).low == pytest.approx(100 * wilson_interval(1.0, 3)[0])


def test_the_interval_of_a_few_clusters_by_hand() -> None:
    # Three prompts of four cases, 4, 2 and 0 of them hits. Residual sums 2, 0, -2; variance 3/2 * 8 / 144 = 1/12; of 12
    # independent cases .25 / 11, so these count as 12 * (3/11) = 36/11. Student's t is 2.200985 for 11 degrees of
    # freedom and 4.302653 for 2; the square of their ratio, .261675, leaves .856390 of a case.
    hits = [True] * 4 + [True, False] * 2 + [False] * 4
    found = share(hits, [0] * 4 + [1] * 4 + [2] * 4)
    assert found.standard_error == pytest.approx(100 / math.sqrt(12))
    low, high = wilson_interval(0.5, 0.856390)
    assert (found.low, found.high) == (pytest.approx(100 * low, abs=1e-4), pytest.approx(100 * high, abs=1e-4))


def test_cases_never_say_more_than_independent_ones() -> None:
    # One hit and one miss of each prompt: what is known of the prompts leaves no doubt, and yet these are 20 cases.
    for hits, clusters in (([True, False] * 10, 2), ([True, False, False] * 10, 3)):
        found = share(hits, [n // clusters for n in range(len(hits))])
        assert found.standard_error == pytest.approx(0, abs=1e-12)
        low, high = wilson_interval(sum(hits) / len(hits), len(hits))
        assert (found.low, found.high) == pytest.approx((100 * low, 100 * high))
    # Nearly so: 19 prompts with one of two, one with both.
    hits, prompts = [True, False] * 19 + [True, True], [n // 2 for n in range(40)]
    low, high = wilson_interval(21 / 40, 40)
    assert (share(hits, prompts).low, share(hits, prompts).high) == pytest.approx((100 * low, 100 * high))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    # Ten prompts of six cases with an intra-class correlation of .3: each prompt's own share is a draw from a beta
    # distribution whose two parameters add up to (1 - .3) / .3. Without the degrees of freedom 92 or 93 % are covered.
    rng, prompts, of_each, draws = np.random.default_rng(5), 10, 6, 3000
    clusters = [n // of_each for n in range(prompts * of_each)]
    for truth in (0.5, 0.7):
        covered = 0
        for _ in range(draws):
            own = rng.beta(truth * 7 / 3, (1 - truth) * 7 / 3, prompts).repeat(of_each)
            found = share([bool(hit) for hit in rng.random(len(own)) < own], clusters)
            covered += found.low <= 100 * truth <= found.high
        # The standard error of a simulated 95 % is .4 points.
        assert 94.2 < 100 * covered / draws < 97, truth


verdict = st.sampled_from([FIRST, SECOND, TIE])


@given(st.lists(st.tuples(verdict, verdict), min_size=2, max_size=40))
def test_kappa_is_that_of_statsmodels(cases: list[tuple[Preference, Preference]]) -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    kinds = [FIRST, SECOND, TIE]
    table = np.zeros((3, 3))
    for one, other in cases:
        table[kinds.index(one), kinds.index(other)] += 1
    found = cohen_kappa([(one, other, number) for number, (one, other) in enumerate(cases)])
    if found.value is None:
        assert len(set(cases)) == 1
        return
    assert found.value == pytest.approx(float(cohens_kappa(table, return_results=False)))


def test_the_error_of_kappa_is_near_that_of_large_samples() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    rng = random.Random(0)
    cases = []
    for number in range(600):
        one = rng.choice([FIRST, SECOND, TIE])
        cases.append((one, one if rng.random() < 0.6 else rng.choice([FIRST, SECOND, TIE]), number))
    kinds, table = [FIRST, SECOND, TIE], np.zeros((3, 3))
    for one, other, _ in cases:
        table[kinds.index(one), kinds.index(other)] += 1
    found, library = cohen_kappa(cases), cohens_kappa(table)  # which has normal intervals: 600 cases are many
    assert found.standard_error == pytest.approx(library.std_kappa, rel=0.02)
    assert (found.low, found.high) == pytest.approx((library.kappa_low, library.kappa_upp), abs=0.002)


def test_the_kappa_of_a_few_prompts_by_hand() -> None:
    # Three cases: the judge says first, first, second, people first, second, second. Agreement 2/3, by chance
    # (2 * 1 + 1 * 2) / 9 = 4/9, kappa 2/5. Left out one at a time: 0 (agreement 1/2, by chance 1/2), 1 and 0. Of mean
    # 1/3, so the error is the root of 2/3 * (1/9 + 4/9 + 1/9) = 2/3; 4.302653 of these are beyond both ends.
    cases = [(FIRST, FIRST, "p"), (FIRST, SECOND, "q"), (SECOND, SECOND, "r")]
    assert cohen_kappa(cases) == Kappa(pytest.approx(0.4), pytest.approx(2 / 3), -1, 1, 3)
    # Thirty times the same: 90 cases, and 30 prompts of three have 29 degrees of freedom.
    found = cohen_kappa([(one, other, f"{prompt}{n}") for n in range(30) for one, other, prompt in cases])
    assert found.standard_error is not None
    assert found.high == pytest.approx(0.4 + 1.986979 * found.standard_error, rel=1e-5)  # 89 degrees of freedom


def people_of(items: list[dict[str, Any]]) -> list[Comparison]:
    meaning = {0: TIE, 1: FIRST, 2: SECOND}
    return [
        Comparison(f"{n}-{a}v{b}", item["question"], item[f"prediction {a}"], item[f"prediction {b}"], meaning[told])
        for n, item in enumerate(items)
        for told, (a, b) in zip(item["preference"], combinations(range(1, 5), 2), strict=True)
    ]


@pytest.fixture(scope="module")
def people() -> list[Comparison]:
    if not QA.exists():
        pytest.skip("the real data is not there: ../shared/data/qa_feedback")
    return people_of(json.loads(QA.read_text(encoding="utf-8")))


def test_rules_of_length_against_the_people_of_qa_feedback(people: list[Comparison]) -> None:
    # Counted from the raw JSON: of 1,500 pairs people call 196 ties, and the longer (in characters) wins for them in
    # 644 of the 1,301 where they have a favourite and the lengths differ. The rule that the longer wins agrees in 653
    # of 1,500, ties included; its opposite in 1,301 - 644 = 657 decided pairs.
    pairings = pair_comparisons(people)
    longer = judge_quality(judge_pairings(length_judge("longer", longer=True), pairings), people)
    shorter = judge_quality(judge_pairings(length_judge("shorter", longer=False), pairings), people)
    for found, hits in ((longer, 644), (shorter, 657)):
        assert found.compared == found.comparisons == 1500
        assert found.agreement_without_ties is not None
        assert found.agreement_without_ties.n == 1301
        assert found.agreement_without_ties.value == pytest.approx(100 * hits / 1301)
        assert found.people_longer is not None
        assert found.people_longer.value == pytest.approx(100 * 644 / 1301)
    assert longer.agreement is not None
    assert longer.agreement.value == pytest.approx(100 * 653 / 1500)
    assert longer.longer is not None
    assert shorter.longer is not None
    assert (longer.longer.value, shorter.longer.value, longer.flip_rate) == (100, 0, None)


def test_an_llm_judge_that_looks_at_the_order_alone_is_found_out(people: list[Comparison]) -> None:
    judge = ScriptedProvider("first", lambda _: '{"reason": "", "preference": "first"}')
    with open_cache() as cache:
        job = judge_job(pair_comparisons(people[:300]), judge, JudgeStyle(), cache)
        list(job.ask())
        rows = list(job.results())
    found = judge_quality(rows, people[:300])
    assert found.flip_rate is not None
    assert found.first_position is not None
    assert (found.flip_rate.value, found.first_position.value) == (100, 100)
    assert found.agreement is not None
    ties = sum(row.preference is TIE for row in people[:300])
    assert found.agreement.value == pytest.approx(100 * ties / 300)
    assert found.longer is None
    assert found.agreement_without_ties is None


@pytest.mark.parametrize(
    "meta",
    [
        {"verdicts": ["x"]},
        {"verdicts": [[1]]},
        {"verdicts": [{"verdict": "first"}]},
        {"verdicts": [{"problem": ["x"]}]},
        {"problem": ["x"]},
        {"cost": 10**400},
        {"cost": math.nan},
        {"cost": 1e308},
        {"cost": True},
        {"annotation": {"seconds": 10**400}},
        {"annotation": {"seconds": 1e308}},
        {"annotation": ["seconds"]},
    ],
)
def test_meta_of_other_programs_is_passed_over(meta: dict[str, Any]) -> None:
    for verdict in (FIRST, NONE):
        found = judge_quality([row("a", verdict, **meta), row("b", verdict, **meta)])
        assert (found.cost_per_1000, found.seconds, found.first_position) == (None, None, None)
        assert found.failed.value == 0


def test_people_who_answered_another_prompt_under_the_id() -> None:
    with pytest.raises(RedpencilError, match="different prompts under the id 'a'"):
        judge_quality([row("a", FIRST)], [replace(row("a", FIRST), prompt="another")])


def test_people_whose_ids_differ_are_matched_by_text() -> None:
    judged = [replace(row(name, FIRST), prompt=f"prompt {name}") for name in "abc"]
    theirs = [
        replace(judged[0], id="x", annotator="ada"),
        replace(judged[1], id="a", annotator="ada", first="short", second="long one"),  # a row number; sides swapped
        replace(judged[2], annotator="ada"),
        replace(judged[2], id="y", prompt="another", annotator="ada"),
    ]
    found = judge_quality(judged, theirs)
    assert (found.compared, found.matched_by_text, found.only_judged, found.only_by_people) == (3, 2, 0, 1)
    assert found.agreement is not None
    assert found.agreement.value == pytest.approx(200 / 3)
    # one pair of texts under two ids is no help
    twice = [row("a", FIRST), replace(row("a", FIRST), id="b")]
    assert judge_quality(twice, [replace(twice[0], id="x", annotator="ada")]).matched_by_text == 0
