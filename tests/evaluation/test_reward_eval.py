"""One reading by hand, and what does not apply to a test set or model."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from redpencil.errors import RedpencilError
from redpencil.evaluation.edit_features import EditFeatures, EditType, Third, all_features
from redpencil.evaluation.margin_groups import edit_groups
from redpencil.evaluation.reward_eval import (
    SECTIONS,
    Marks,
    ModelEvals,
    RewardEvals,
    Scores,
    TestSet,
    cautions,
    evaluate_rewards,
    fault_rows,
    marked_tokens,
    reward_bench,
    summarise_test,
    to_json,
    worst_pairs,
)
from redpencil.records import Edit, Pair
from redpencil.text import finite

EDITS = [
    Edit("7", "colour?", "it is red .", "it is blue ."),
    Edit("8", "size?", "it is big .", "it is very big ."),
    Edit("9", "shape?", "it is oh round .", "it is round ."),
]
PAIRS = [
    Pair("0", (1,), (10, 11, 12, 13), (10, 11, 14, 13), (False, False, True, False), (False, False, True, False),
         ((0, 0), (1, 1), (3, 3))),
    Pair("1", (2,), (10, 11, 15, 13), (10, 11, 16, 15, 13), (False,) * 4, (False, False, True, False, False),
         ((0, 0), (1, 1), (2, 3), (3, 4))),
    Pair("2", (3,), (10, 11, 17, 18, 13), (10, 11, 18, 13), (False, False, True, False, False), (False,) * 4,
         ((0, 0), (1, 1), (3, 2), (4, 3))),
]  # fmt: skip
REJECTED = [np.array([0.0, 0.0, -4.0, 0.0]), np.array([1.0, 0.0, 1.0, 2.0]), np.array([0.0, 2.0, 1.0, 1.0, 1.0])]
CHOSEN = [np.array([0.0, 0.0, 2.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.array([0.0, 2.0, 1.0, 3.0])]


def marks(*flags: bool, **types: list[bool]) -> Marks:
    return Marks(np.array(flags), {name: np.array(of_type) for name, of_type in types.items()})


def edit_set(**changes: Any) -> TestSet:
    labels = [marks(False, False, True, False), None, marks(False, True, True, False, False)]
    options = {"edits": EDITS, "features": all_features(EDITS, PAIRS), "labels": labels, **changes}
    return TestSet("held", "edits", PAIRS, **options)


def scores(*, tokens: bool = True) -> Scores:
    means = [np.array([row.mean() for row in side]) for side in (CHOSEN, REJECTED)]
    return Scores(*means, *((CHOSEN, REJECTED) if tokens else ()))


def test_a_token_model_by_hand() -> None:
    found = evaluate_rewards(edit_set(), scores(), examples=1)
    # Means .5 .6 1.5 against -1 1 1: margins 1.5 -.4 .5.
    assert found.accuracy.value == pytest.approx(200 / 3)
    assert found.mean_margin == pytest.approx(1.6 / 3)
    assert [(g.name, g.accuracy.value) for g in found.by_type] == [
        ("insertion", 0),
        ("deletion", 100),
        ("replacement", 100),
    ]
    assert found.worst is not None
    assert found.worst["insertion"][0].id == "8"
    # Edited away: -4 (score 4) over 3 others of its response, all won; 1 (score -1) against 0, 2, 1, 1: beats 2, ties
    # two, loses to 0: 2 of 4. Within 5 of 7. Together the first beats all 11, the second beats 2 2 and ties 1 1 1 1.
    assert found.edited is not None
    assert found.edited.within_auroc == pytest.approx(5 / 7)
    assert found.edited.auroc == pytest.approx((11 + 2 + 0.5 * 4) / 22)
    assert (found.edited.positives, found.edited.tokens) == (2, 13)
    # Marked, in the first and third response only: 4 beats 0 0 0 0 -1 -1, -2 loses to all, -1 ties two: 7 of 18.
    assert found.error_spans is not None
    assert found.error_spans.auroc == pytest.approx(7 / 18)
    assert (found.error_spans.positives, found.error_spans.tokens, found.error_spans.responses) == (3, 9, 2)
    # Drift: 0 0 0 | 0 0 |1-0| |2-1| | 0 0 |1-1| |1-3|; behind: one of the first, two, two.
    assert found.drift is not None
    assert (found.drift.mean, found.drift.pairs) == (pytest.approx(4 / 11), 11)
    assert (found.drift.mean_behind, found.drift.pairs_behind) == (pytest.approx(4 / 5), 5)
    places = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert found.position is not None
    assert found.position.pearson == pytest.approx(np.corrcoef(places, np.concatenate(REJECTED))[0, 1])
    # Rewards of both sides against 4 5 4 | 4 4 5 tokens; margins against 0 1 -1 more tokens.
    assert found.length is not None
    assert found.length.pearson == pytest.approx(np.corrcoef([4, 5, 4, 4, 4, 5], [0.5, 0.6, 1.5, -1, 1, 1])[0, 1])
    assert found.length_difference is not None
    assert found.length_difference.pearson == pytest.approx(np.corrcoef([0, 1, -1], [1.5, -0.4, 0.5])[0, 1])
    assert found.reward_bench is None


def test_a_sequence_model_has_no_localisation() -> None:
    found = evaluate_rewards(edit_set(), scores(tokens=False), examples=1)
    assert (found.edited, found.error_spans, found.drift, found.position) == (None, None, None, None)
    assert found.by_size
    assert found.by_tokens


def test_pairs_that_are_no_edits_have_no_types() -> None:
    found = evaluate_rewards(TestSet("held", "comparisons", PAIRS), scores(), examples=1)
    assert (found.by_type, found.by_size, found.worst, found.edited, found.drift) == ((), (), None, None, None)
    assert found.position is not None
    assert found.calibration.n == 3


def test_edits_without_marks_have_no_spans() -> None:
    found = evaluate_rewards(edit_set(labels=[None] * 3), scores(), examples=1)
    assert found.error_spans is None
    assert found.edited is not None


def test_subsets_are_averaged() -> None:
    subsets = ["alpacaeval-easy", "alpacaeval-easy", "mt-bench-easy"]
    found = evaluate_rewards(TestSet("held", "rewardbench", PAIRS, subsets=subsets), scores(), examples=1)
    assert found.reward_bench is not None
    assert found.reward_bench.sections == {"Chat": pytest.approx(200 / 3)}


def test_rules_of_length() -> None:
    found = summarise_test(edit_set(skipped={"unchanged": 2}))
    # Chosen less rejected tokens: 0, 1, -1.
    assert {name: share.value for name, share in found.rules.items()} == {"shorter_wins": 50, "longer_wins": 50}
    assert (found.pairs, found.skipped) == (3, {"unchanged": 2})
    only = summarise_test(TestSet("held", "pairs", PAIRS[2:]))
    assert {name: share.value for name, share in only.rules.items()} == {"shorter_wins": 100, "longer_wins": 0}
    assert only.best_rule == "shorter_wins"
    with pytest.raises(RedpencilError, match="no pairs"):
        summarise_test(TestSet("held", "pairs", []))


@pytest.mark.parametrize("margins", [[0.0, 0.0], [1e3, 1e3 + 1e-10], [-2.0, 3.0, 3.0], [5.0, 6.0], [-1e-30, 1e-30]])
def test_a_histogram_holds_every_margin(margins: list[float]) -> None:
    pairs = PAIRS[: len(margins)]
    found = evaluate_rewards(
        TestSet("held", "pairs", pairs), Scores(np.array(margins), np.zeros(len(margins))), examples=1
    ).margins
    assert sum(found.counts) == len(margins)
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(set(found.edges))
    if min(margins) < 0 < max(margins):
        assert min(map(abs, found.edges)) == 0


def test_json_by_measure_model_and_test() -> None:
    reading = {"held": evaluate_rewards(edit_set(), scores(), examples=1)}
    sequence = {"held": evaluate_rewards(edit_set(), scores(tokens=False), examples=1)}
    models = {"token": ModelEvals("token", "edits", reading), "seq": ModelEvals("sequence", "x", sequence)}
    found = to_json(RewardEvals(models, {"held": summarise_test(edit_set())}))
    assert found["models"] == {
        "token": {"level": "token", "trained_on": "edits"},
        "seq": {"level": "sequence", "trained_on": "x"},
    }
    assert list(found["reward_accuracy"]) == ["token", "seq", "shorter_wins", "longer_wins"]
    assert set(found["reward_accuracy"]["token"]["held"]) == {"value", "standard_error", "n", "low", "high"}
    assert list(found["localisation"]) == ["token"]
    assert list(found["localisation"]["token"]["held"]) == ["edited", "error_spans"]
    assert list(found["calibration"]) == ["token", "seq"]
    assert found["by_edit_type"]["seq"]["held"][0]["name"] == "insertion"
    assert found["worst_pairs"]["token"]["held"]["insertion"][0]["id"] == "8"
    assert found["tests"] == {"held": {"kind": "edits", "pairs": 3, "prompts": 3, "skipped": {}}}
    assert "reward_bench" not in found
    json.dumps(finite(found), allow_nan=False)


def case(number: int, kind: EditType, place: Third, words: int) -> tuple[Edit, EditFeatures]:
    return Edit(str(number), "p", f"original {number}", f"edit {number}"), EditFeatures(kind, 0.1, 2, place, words, 1)


CASES = [
    case(0, "mixed", "first third", 10),
    case(1, "insertion", "first third", 20),
    case(2, "mixed", "last third", 30),
    case(3, "mixed", "first third", 40),
    case(4, "deletion", "middle third", 50),
    case(5, "mixed", "last third", 60),
]
ORIGINALS = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
EDITED = np.array([0.0, 1.5, 0.0, 5.0, 5.0, 4.0])
"""Margins -1, -.5, -3, 1, 0, -2."""


def test_by_hand_reward_errors() -> None:
    edits, features = zip(*CASES, strict=True)
    groups = edit_groups(EDITED - ORIGINALS, features)
    assert [(g.name, g.accuracy.value, g.accuracy.n) for g in groups["by_type"]] == [
        ("insertion", 0, 1),
        ("deletion", 50, 1),
        ("mixed", 25, 4),
    ]
    assert [(g.name, g.accuracy.value) for g in groups["by_position"]] == [
        ("first third", pytest.approx(100 / 3)),
        ("middle third", 50),
        ("last third", 0),
    ]
    assert [(g.name, g.accuracy.value) for g in groups["by_length"]] == [
        ("10 to 20", 0),
        ("30 to 40", 50),
        ("50 to 60", 25),
    ]
    found = worst_pairs(edits, features, Scores(EDITED, ORIGINALS), examples=2)
    assert list(found) == ["insertion", "mixed"]
    assert [(pair.id, pair.margin) for pair in found["mixed"]] == [("2", -3), ("5", -2)]
    worst = found["mixed"][0]
    assert (worst.original_reward, worst.edited_reward) == (3, 0)
    assert (worst.original, worst.edited, worst.features) == ("original 2", "edit 2", features[2])


def test_no_examples_and_no_errors() -> None:
    edits, features = zip(*CASES, strict=True)
    assert not any(worst_pairs(edits, features, Scores(EDITED, ORIGINALS), examples=0).values())
    assert worst_pairs(edits, features, Scores(EDITED, EDITED), examples=5) == {}


def bench(**right: tuple[int, int]) -> tuple[np.ndarray, list[str]]:
    """Margins and subsets: `subset=(right, pairs)`, with _ for -."""
    margins, subsets = [], []
    for name, (good, pairs) in right.items():
        margins += [1.0] * good + [-1.0] * (pairs - good)
        subsets += [name.replace("_", "-")] * pairs
    return np.array(margins), subsets


def test_by_hand_rewardbench() -> None:
    # Chat: 3 of 4 and 0 of 2, over pairs 3/6 = 50, not (75 + 0) / 2. Chat Hard 100. Safety 1 of 4 = 25.
    # Reasoning: mathematics 1 of 2 = 50 weighs as much as programming, 4 of 4 and 2 of 4 = 75: 62.5.
    margins, subsets = bench(
        alpacaeval_easy=(3, 4),
        mt_bench_med=(0, 2),
        llmbar_natural=(2, 2),
        donotanswer=(1, 4),
        math_prm=(1, 2),
        hep_cpp=(4, 4),
        hep_rust=(2, 4),
        something_else=(0, 1),
    )
    found = reward_bench(margins, subsets)
    assert found.sections == {"Chat": 50, "Chat Hard": 100, "Safety": 25, "Reasoning": 62.5}
    assert found.score == (50 + 100 + 25 + 62.5) / 4
    assert found.mean_of_subsets == pytest.approx((75 + 0 + 100 + 25 + 50 + 100 + 50 + 0) / 8)
    assert (found.subsets["hep-rust"].value, found.subsets["hep-rust"].n) == (50, 4)
    assert 0 < found.subsets["hep-rust"].low < 50 < found.subsets["hep-rust"].high < 100


def test_a_score_needs_all_sections() -> None:
    found = reward_bench(*bench(alpacaeval_easy=(1, 2), math_prm=(1, 1)))
    assert found.sections == {"Chat": 50, "Reasoning": 100}
    assert found.score is None
    other = reward_bench(*bench(Factuality=(1, 2), Math=(1, 1)))
    assert (other.sections, other.score, other.mean_of_subsets) == ({}, None, 75)
    with pytest.raises(RedpencilError, match="no pairs"):
        reward_bench(np.array([]), [])


def test_every_subset_is_in_one_section() -> None:
    names = [name for section in SECTIONS.values() for name in section]
    assert len(names) == len(set(names)) == 23


OFFSETS = ((0, 3), (3, 7), (7, 8), (8, 12), (12, 12))
"""the| cat|,| sat| and the end."""


@pytest.mark.parametrize(
    ("spans", "marked"),
    [
        ([(4, 7)], [1]),
        ([(6, 9)], [1, 2, 3]),
        ([(0, 1), (11, 12)], [0, 3]),
        ([(7, 7)], []),
        ([(0, 12)], [0, 1, 2, 3]),
        ([], []),
    ],
)
def test_a_token_that_shares_a_character_is_marked(spans: list[tuple[int, int]], marked: list[int]) -> None:
    meta = {"spans": [{"start": start, "end": end, "error type": "Wrong"} for start, end in spans]}
    found = marked_tokens(meta, OFFSETS, 12)
    assert found is not None
    assert found.every.nonzero()[0].tolist() == marked
    assert found.types == ({} if not spans else {"Wrong": pytest.approx(found.every)})


@pytest.mark.parametrize(
    "spans",
    [None, "no", [3], [{"start": 0}], [{"start": 0, "end": 13}], [{"start": 2, "end": 1}], [{"start": True, "end": 2}]],
)
def test_what_is_no_span_marks_nothing(spans: Any) -> None:
    assert marked_tokens({"spans": spans}, OFFSETS, 12) is None
    assert marked_tokens({}, OFFSETS, 12) is None


def test_no_tokens() -> None:
    found = marked_tokens({"spans": [{"start": 0, "end": 0}]}, (), 0)
    assert found is not None
    assert found.every.tolist() == []


def test_a_token_without_a_character_is_none_of_the_errors() -> None:
    found = marked_tokens({"spans": [{"start": 0, "end": 9}]}, ((0, 4), (4, 4), (4, 9)), 9)
    assert found is not None
    assert found.every.tolist() == [True, False, True]


@pytest.mark.parametrize("key", ["error type", "error_type", "type", "category", "label"])
def test_types_of_errors_are_read_under_common_names(key: str) -> None:
    spans = [
        {"start": 0, "end": 4, key: "Wrong "},
        {"start": 5, "end": 6, key: "Redundant"},
        {"start": 4, "end": 7, key: "Wrong"},
        {"start": 9, "end": 12},
        {"start": 7, "end": 8, key: 3},
    ]
    found = marked_tokens({"spans": spans}, ((0, 4), (4, 7), (7, 9), (9, 12)), 12)
    assert found is not None
    assert found.every.all()
    assert {name: flags.tolist() for name, flags in found.types.items()} == {
        "Wrong": [True, True, False, False],
        "Redundant": [False, True, False, False],
    }


def test_each_type_of_error_is_compared_with_what_nobody_marked() -> None:
    # The first: -4 0 0 0 with an error of type A at -4 and one of B at the last 0; the third: 0 2 1 1 1, B at 2.
    labels = [
        marks(True, False, False, True, A=[True, False, False, False], B=[False, False, False, True]),
        None,
        marks(False, True, False, False, False, B=[False, True, False, False, False]),
    ]
    first = np.array([-4.0, 0.0, 0.0, 0.0])
    rewards = [first, REJECTED[1], REJECTED[2]]
    found = evaluate_rewards(
        edit_set(labels=labels), Scores(np.zeros(3), np.zeros(3), CHOSEN, rewards), examples=0
    ).error_types
    assert found is not None
    assert list(found) == ["A", "B"]
    # A: 4 against 0 0, without the token of B; B: 0 ties 0 0, -2 loses to 0 -1 -1 -1: 1 of 6.
    assert (found["A"].within_auroc, found["A"].positives, found["A"].tokens) == (1, 1, 7)
    assert (found["B"].within_auroc, found["B"].positives, found["B"].tokens) == (pytest.approx(1 / 6), 2, 8)
    # By place: the last of 3 is later than both; the second of 5 is later than one of four: 3 of 6.
    assert found["B"].later == pytest.approx(3 / 6)


def many(rewards: list[list[float]], marked: list[list[bool]], prompts: list[str] | None = None) -> RewardEvals:
    """Originals with those token rewards, and edits that took the marked tokens away."""
    count = len(rewards)
    pairs = [
        Pair(str(n), (n,), tuple(range(len(r))), (9,), tuple(m), (False,))
        for n, (r, m) in enumerate(zip(rewards, marked, strict=True))
    ]
    edits = [Edit(str(n), "p", "a b", "a") for n in range(count)]
    test = TestSet(
        "held",
        "edits",
        pairs,
        edits=edits,
        features=all_features(edits, pairs),
        labels=[None] * count,
        prompts=prompts or [str(n) for n in range(count)],
    )
    tokens = [np.array(row) for row in rewards]
    scores = Scores(np.zeros(count), np.array([t.mean() for t in tokens]), [np.zeros(1)] * count, tokens)
    reading = evaluate_rewards(test, scores, examples=0)
    return RewardEvals({"m": ModelEvals("token", "edits", {"held": reading})}, {"held": summarise_test(test)})


def names(evals: RewardEvals) -> list[str]:
    return [caution.name for caution in cautions(evals)]


def test_a_model_that_points_the_wrong_way_is_told_first() -> None:
    # The last token is the worst in each, and gets the highest reward; the edits are shorter, and rank right or wrong.
    found = many([[-1.0, -1.0, 4.0]] * 30, [[False, False, True]] * 30)
    assert names(found) == ["points_wrong", "trivial_rule"]
    first, second = cautions(found)
    assert (first.loud, second.loud) == (True, False)
    assert "points the wrong way" in first.sentence
    assert first.sentence.startswith("m on held: ")
    assert "the shorter text wins (100.0 %)" in second.message


def test_a_model_no_better_than_the_place_is_told() -> None:
    late = [[False, False, True]] * 30
    assert names(many([[0.0, -1.0, -2.0]] * 30, late)) == ["place", "trivial_rule"]
    # At the start as well: there the other rule is right.
    assert names(many([[-3.0, -1.0, 1.0]] * 30, [[True, False, False]] * 30)) == ["place", "trivial_rule"]
    # The fault is in the middle, where no place helps, and the model finds it.
    assert names(many([[0.0, -2.0, 0.0]] * 30, [[False, True, False]] * 30)) == ["trivial_rule"]
    # Nothing to compare: each response has one kind of token.
    assert names(many([[0.0, -2.0]] * 30, [[True, True]] * 30)) == ["trivial_rule"]


def test_a_model_that_reads_is_left_alone() -> None:
    held = edit_set(labels=[None] * 3)
    longer = TestSet(
        "held", "pairs", [*PAIRS[:1] * 20, *PAIRS[1:2] * 20, *PAIRS[2:] * 20], prompts=list(map(str, range(60)))
    )
    reading = evaluate_rewards(longer, Scores(np.ones(60), np.zeros(60)), examples=0)
    assert names(RewardEvals({"m": ModelEvals("x", "y", {"held": reading})}, {"held": summarise_test(longer)})) == []
    assert held.clusters == [(1,), (2,), (3,)]


def test_pairs_of_one_prompt_widen_every_interval() -> None:
    rng = np.random.default_rng(0)
    rewards = [[float(x) for x in row] for row in np.repeat(rng.normal(size=(20, 4)), 5, axis=0)]
    marked = [[False, True, False, False]] * 100
    alone, together = (
        many(rewards, marked, prompts).models["m"].readings["held"]
        for prompts in (None, [str(n // 5) for n in range(100)])
    )
    assert alone.accuracy.value == together.accuracy.value
    assert together.accuracy.high - together.accuracy.low > 1.5 * (alone.accuracy.high - alone.accuracy.low)
    widths = [
        one.edited.high - one.edited.low
        for one in (alone, together)
        if one.edited and one.edited.high and one.edited.low
    ]
    assert widths[1] > 1.5 * widths[0]


def several_people() -> TestSet:
    """One sentence of four tokens, edited by three people; the third token is changed by all, the first by one."""

    def edited(name: str, *changed: int) -> Pair:
        flags = tuple(place in changed for place in range(4))
        kept = tuple((place, place) for place in range(4) if place not in changed)
        return Pair(
            name,
            (1,),
            (10, 11, 12, 13),
            tuple(50 + p if p in changed else 10 + p for p in range(4)),
            flags,
            flags,
            kept,
        )

    edits = [Edit(str(n), "p", "a b c d", text) for n, text in enumerate(("a b x d", "x b x d", "a b x d"))]
    pairs = [edited("0", 2), edited("1", 0, 2), edited("2", 2)]
    return TestSet("held", "edits", pairs, edits=edits, features=all_features(edits, pairs), labels=[None] * 3)


def test_tokens_that_two_people_changed() -> None:
    test = several_people()
    rewards = [np.array([-1.0, 0.0, -1.0, 5.0])] * 3
    means = np.array([row.mean() for row in rewards])
    found = evaluate_rewards(test, Scores(means + 1, means, rewards, rewards), examples=0)
    # Each original counts once: 12 against 10, 11 and 13; it ties with 10 and is below the two others.
    assert found.agreed is not None
    assert found.agreed.within_auroc == pytest.approx(2.5 / 3)
    assert (found.agreed.tokens, found.agreed.responses) == (4, 1)
    assert found.error_types is not None
    assert set(found.error_types) == {"two people, replaced", "two people, 1 token"}
    # People: the first and the third find 12 alone; the second has 10 beside it, a tie.
    people = summarise_test(test).people
    assert people is not None
    assert people.within_auroc == pytest.approx((3 + 2.5 + 3) / 9)
    assert people.responses == 3
    assert to_json(RewardEvals({}, {"held": summarise_test(test)}))["tests"]["held"]["people"]["tokens"] == 12


def test_what_people_agree_on_is_counted_by_prompt() -> None:
    # Two sentences of one prompt, each edited by three people, and one of another prompt: two clusters, not three.
    first = several_people()
    second = [replace(pair, rejected_ids=(20, 21, 22, 23)) for pair in first.pairs]
    third = [replace(pair, prompt_ids=(2,)) for pair in first.pairs]
    pairs, edits = [*first.pairs, *second, *third], [*first.edits] * 3
    test = TestSet(
        "held", "edits", pairs, edits=edits, features=all_features(edits, pairs), labels=[None] * 9,
        prompts=["p"] * 6 + ["q"] * 3,
    )  # fmt: skip
    faults, types = fault_rows(test, [np.zeros(4)] * 9)
    assert list(faults["agreed"].prompts) == ["p", "p", "q"]
    assert {tuple(rows.prompts) for rows in types.values()} == {("p", "p", "q")}
    one_prompt = replace(test, pairs=pairs[:6], edits=edits[:6], prompts=["p"] * 6)
    people = summarise_test(one_prompt).people
    assert people is not None
    assert (people.responses, people.low) == (6, None)


@pytest.mark.parametrize("name", ["edited", "error_spans", "agreed"])
def test_a_type_of_error_may_have_the_name_of_a_fault(name: str) -> None:
    labels = [marks(True, False, False, False, **{name: [True, False, False, False]}), None, None]
    faults, types = fault_rows(edit_set(labels=labels), REJECTED)
    assert list(types) == [f"type {name}"]
    assert not set(types) & set(faults)


def test_originals_of_one_prompt_are_one_cluster_of_what_people_agree_on() -> None:
    one = several_people()
    other = [replace(pair, rejected_ids=(20, *pair.rejected_ids[1:])) for pair in one.pairs]
    pairs = [*one.pairs, *other]
    edits = [*one.edits, *one.edits]
    test = replace(
        one, pairs=pairs, edits=edits, features=all_features(edits, pairs), labels=[None] * 6, prompts=["p"] * 6
    )
    rewards = [np.array([-1.0, 0.0, -1.0, 5.0])] * 6
    faults, types = fault_rows(test, rewards)
    assert {"p"} == {prompt for rows in (faults["agreed"], *types.values()) for prompt in rows.filled}
    # One prompt has no interval, however many originals and people it has; two have one.
    people = summarise_test(test).people
    assert people is not None
    assert (faults["agreed"].localise().low, people.low) == (None, None)
    apart = replace(test, prompts=["p"] * 3 + ["q"] * 3)
    people = summarise_test(apart).people
    assert people is not None
    assert people.low is not None
    assert fault_rows(apart, rewards)[0]["agreed"].localise().low == pytest.approx(2.5 / 3)


def test_single_edits_have_no_agreement() -> None:
    assert evaluate_rewards(edit_set(), scores(), examples=1).agreed is None
    assert summarise_test(edit_set()).people is None
