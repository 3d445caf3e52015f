"""Judges, and matching a policy's responses with the reference's."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.judges import OracleJudge, ScoreJudge, judge_outputs
from redpencil.records import Comparison, Preference, Response
from redpencil.world.facts import make_world
from redpencil.world.oracle import Oracle

FIRST, SECOND, TIE = Preference.FIRST, Preference.SECOND, Preference.TIE
MIRROR = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}


def _length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [float(len(response)) for _, response in zip(prompts, responses, strict=True)]


LENGTH = ScoreJudge("length", _length)


def test_a_score_judge_prefers_the_higher_score() -> None:
    assert LENGTH.compare(["p", "q", "r"], ["aa", "a", "a"], ["a", "aa", "b"]) == [FIRST, SECOND, TIE]
    assert LENGTH.compare([], [], []) == []


def test_a_score_judge_sees_the_prompt() -> None:
    named = ScoreJudge(
        "named", lambda prompts, responses: [float(p in r) for p, r in zip(prompts, responses, strict=True)]
    )
    assert named.compare(["a", "b"], ["a", "a"], ["b", "b"]) == [FIRST, SECOND]


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False))))
def test_swapping_the_sides_mirrors_the_preference(scores: list[tuple[float, float]]) -> None:
    judge = ScoreJudge("number", lambda _, responses: [float(response) for response in responses])
    prompts = [""] * len(scores)
    firsts, seconds = [repr(first) for first, _ in scores], [repr(second) for _, second in scores]
    there = judge.compare(prompts, firsts, seconds)
    back = judge.compare(prompts, seconds, firsts)
    assert there == [MIRROR[preference] for preference in back]


@pytest.mark.parametrize(("first", "second"), [("nan", "1"), ("1", "nan")])
def test_a_score_that_is_no_number_names_judge_and_prompt(first: str, second: str) -> None:
    judge = ScoreJudge("broken", lambda _, responses: [float(response) for response in responses])
    with pytest.raises(RedpencilError, match=r"'broken'.*NaN.*'why \?'"):
        judge.compare(["why ?"], [first], [second])


def test_the_oracle_judges_both_orders_alike() -> None:
    prompt = "please describe france . cover capital , currency and language ."
    right = "the capital of france is paris ."
    judge = OracleJudge(Oracle(make_world(0)))
    # One requested fact against none; babble is a flaw, which is worse than one fact; equal texts tie.
    assert judge.name == "oracle"
    assert judge.compare([prompt] * 3, [right, "zzz zzz", right], ["", right, right]) == [FIRST, SECOND, TIE]
    assert judge.compare([prompt] * 3, ["", right, right], [right, "zzz zzz", right]) == [SECOND, FIRST, TIE]


def test_outputs_are_matched_by_id_in_the_policys_order() -> None:
    policy = [Response("b", "q2", "long", "ours"), Response("a", "q1", "s", "ours")]
    reference = [Response("a", "q1", "longer", "theirs"), Response("b", "q2", "mid", "theirs")]
    meta = {"policy": "ours", "reference": "theirs"}
    assert judge_outputs(LENGTH, iter(policy), iter(reference)) == [
        Comparison("b", "q2", "long", "mid", FIRST, "length", meta),
        Comparison("a", "q1", "s", "longer", SECOND, "length", meta),
    ]


def _answers(*names: str) -> list[Response]:
    return [Response(name, "q", "a") for name in names]


@pytest.mark.parametrize(
    ("policy", "reference", "problem"),
    [
        (_answers("a", "b"), _answers("a"), "no reference response has the id 'b' (1 of 2 missing)"),
        (_answers("a"), _answers("c", "a", "b"), "no policy response has the id 'c' (2 of 3 missing)"),
        (_answers("a", "a"), _answers("a"), "two policy responses have the id 'a'"),
        (_answers("a"), _answers("a", "a"), "two reference responses have the id 'a'"),
        (_answers("a"), [Response("a", "other", "a")], "different prompts under the id 'a'"),
    ],
)
def test_outputs_that_do_not_match_name_the_id(policy: list[Response], reference: list[Response], problem: str) -> None:
    with pytest.raises(RedpencilError) as error:
        judge_outputs(LENGTH, policy, reference)
    assert problem in error.value.problem
    assert error.value.way_out


def test_a_judge_that_loses_a_case_is_not_believed() -> None:
    broken = ScoreJudge("short", lambda _, responses: [0.0] * (len(responses) - 1))
    with pytest.raises(ValueError, match="zip"):
        broken.compare(["p", "q"], ["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match="zip"):
        judge_outputs(broken, _answers("a", "b"), _answers("a", "b"))
