"""Judges, and matching a policy's responses with the reference's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.judges import (
    RULES,
    OracleJudge,
    Pairing,
    ScoreJudge,
    VerdictJudge,
    gleu_counts,
    judge_outputs,
    judge_pairings,
    length_judge,
    pair_comparisons,
    pair_outputs,
    pattern_judge,
)
from redpencil.records import Comparison, Preference, Response
from redpencil.turns import turns_of
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle

FIRST, SECOND, TIE = Preference.FIRST, Preference.SECOND, Preference.TIE
MIRROR = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}


def _pairings(*cases: tuple[str, str, str]) -> list[Pairing]:
    """From prompt, first and second."""
    return [Pairing(str(number), *case) for number, case in enumerate(cases)]


def _length(responses: Sequence[Response]) -> list[float]:
    return [float(len(row.response)) for row in responses]


def _number(responses: Sequence[Response]) -> list[float]:
    return [float(row.response) for row in responses]


LENGTH = ScoreJudge("length", _length)


def test_a_score_judge_prefers_the_higher_score() -> None:
    assert LENGTH.compare(_pairings(("p", "aa", "a"), ("q", "a", "aa"), ("r", "a", "b"))) == [FIRST, SECOND, TIE]
    assert LENGTH.compare([]) == []


def test_a_score_judge_sees_the_prompt() -> None:
    named = ScoreJudge("named", lambda rows: [float(row.prompt in row.response) for row in rows])
    assert named.compare(_pairings(("a", "a", "b"), ("b", "a", "b"))) == [FIRST, SECOND]


def test_a_score_judge_sees_who_was_cut_off() -> None:
    ended = ScoreJudge("ended", lambda rows: [float(row.finished) for row in rows])
    pairing = Pairing("1", "p", "a", "b")
    cases = [pairing, replace(pairing, first_finished=False), replace(pairing, second_finished=False)]
    assert ended.compare(cases) == [TIE, SECOND, FIRST]


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False))))
def test_swapping_the_sides_mirrors_the_preference(scores: list[tuple[float, float]]) -> None:
    judge = ScoreJudge("number", _number)
    there = judge.compare(_pairings(*(("", repr(first), repr(second)) for first, second in scores)))
    back = judge.compare(_pairings(*(("", repr(second), repr(first)) for first, second in scores)))
    assert there == [MIRROR[preference] for preference in back]


@pytest.mark.parametrize(("first", "second"), [("nan", "1"), ("1", "nan")])
def test_a_score_that_is_no_number_names_judge_and_prompt(first: str, second: str) -> None:
    with pytest.raises(RedpencilError, match=r"'broken'.*NaN.*'why \?'"):
        ScoreJudge("broken", _number).compare(_pairings(("why ?", first, second)))


def test_the_oracle_judges_both_orders_alike() -> None:
    prompt = "please describe france . cover capital , currency and language ."
    right = "the capital of france is paris ."
    judge = OracleJudge(Oracle(FactsDomain(0)))
    # One requested fact against none; babble is a flaw, which is worse than one fact; equal texts tie.
    cases = [(right, ""), ("zzz zzz", right), (right, right)]
    assert judge.name == "oracle"
    assert judge.compare(_pairings(*((prompt, one, other) for one, other in cases))) == [FIRST, SECOND, TIE]
    assert judge.compare(_pairings(*((prompt, other, one) for one, other in cases))) == [SECOND, FIRST, TIE]


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
        (_answers("a", "b"), _answers("a"), "no reference response has the id 'b' or its prompt (1 of 2 missing)"),
        (_answers("a"), _answers("c", "a", "b"), "no policy response has the id 'c' or its prompt (2 of 3 missing)"),
        (_answers("a", "a"), _answers("a"), "more than one policy response has the id 'a'"),
        (_answers("a"), _answers("a", "a"), "more than one reference response has the id 'a'"),
        (_answers("a"), [Response("a", "other", "a")], "different prompts under the id 'a'"),
    ],
)
def test_outputs_that_do_not_match_name_the_id(policy: list[Response], reference: list[Response], problem: str) -> None:
    with pytest.raises(RedpencilError) as error:
        judge_outputs(LENGTH, policy, reference)
    assert problem in error.value.problem
    assert error.value.hint


def test_a_judge_that_loses_a_case_is_not_believed() -> None:
    broken = ScoreJudge("short", lambda rows: [0.0] * (len(rows) - 1))
    with pytest.raises(ValueError, match="zip"):
        broken.compare(_pairings(("p", "a", "b"), ("q", "a", "b")))
    with pytest.raises(ValueError, match="zip"):
        judge_outputs(broken, _answers("a", "b"), _answers("a", "b"))


def test_rules_of_length() -> None:
    longer, shorter = length_judge("longer", longer=True), length_judge("shorter", longer=False)
    cases = _pairings(("p", "aa", "a"), ("p", "a", "aa"), ("p", "a", "b"))
    assert longer.compare(cases) == [FIRST, SECOND, TIE]
    assert shorter.compare(cases) == [SECOND, FIRST, TIE]


def corrected(name: str, text: str, **meta: Any) -> Response:
    return Response(name, "Mend: he go to school now", text, meta=meta)


def test_references_prefer_what_agrees_with_them_and_leaves_no_error_alone() -> None:
    references = {"references": ["he goes to school now", "he is going to school now"]}
    policy = [
        corrected("mended", "he goes to school now", **references),
        corrected("alone", "he go to school now", **references),
        corrected("same", "he went", **references),
    ]
    reference = [
        corrected("mended", "he go to school now", **references),
        corrected("alone", "he goes to school", **references),
        corrected("same", "he went", **references),
    ]
    rows = judge_outputs(RULES["references"], policy, reference)
    assert [row.preference for row in rows] == [Preference.FIRST, Preference.SECOND, Preference.TIE]
    assert {row.annotator for row in rows} == {"references"}
    # a judgement can be made again from its file
    again = judge_pairings(RULES["references"], pair_comparisons(rows))
    assert [row.preference for row in again] == [row.preference for row in rows]


def test_what_is_corrected_is_the_input_for_the_judge_too() -> None:
    meta = {"references": ["he goes home today"], "input": "he go home"}
    prompt = "Correct this : he go home"
    policy, reference = (
        [replace(corrected("r", f"{word} he goes home today", **meta), prompt=prompt)] for word in ("this", "that")
    )
    # "this" is a word of the instruction, and no error that was left alone
    rows = judge_outputs(RULES["references"], policy, reference)
    assert [row.preference for row in rows] == [TIE]
    assert [row.preference for row in judge_pairings(RULES["references"], pair_comparisons(rows))] == [TIE]


@pytest.mark.parametrize(
    ("prompt", "meta", "matches"),
    [
        ("p", {"source": "error", "input": "x"}, 1),  # of "he" and "away", less the error that was left alone
        ("error", {"source": "x", "input": "error"}, 2),
        ("p", {"input": "error"}, 1),
        ("error", {"input": "x"}, 2),
        ("p error", {}, 1),
        ("p", {}, 2),
    ],
)
def test_the_source_is_what_the_row_says_or_its_input_or_the_prompt(
    prompt: str, meta: dict[str, str], matches: int
) -> None:
    row = replace(corrected("1", "he error away", references=["he goes away"], **meta), prompt=prompt)
    assert gleu_counts([row])[0, 0, 2] == matches


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        ({}, "references"),
        ({"references": "one"}, "references"),
        ({"references": ["a"], "source": 1}, "source"),
        ({"references": ["a"], "input": 1}, "input"),
    ],
)
def test_a_row_that_gleu_cannot_score_is_named(meta: dict[str, Any], field: str) -> None:
    with pytest.raises(RedpencilError, match="'r7'") as raised:
        gleu_counts([corrected("r7", "a", **meta)])
    assert raised.value.field == field
    assert raised.value.hint


def test_a_rule_that_counts_a_pattern() -> None:
    cases = _pairings(("p", "a1 b22", "c3"), ("p", "c3", "a1 b22"), ("p", "x", "y"), ("p", "1", "2"))
    assert pattern_judge(r"\d+", fewer=False).compare(cases) == [FIRST, SECOND, TIE, TIE]
    assert pattern_judge(r"\d+", fewer=True).compare(cases) == [SECOND, FIRST, TIE, TIE]


def test_verdicts_of_people_count_on_either_side_and_are_voted() -> None:
    def row(first: str, second: str, preference: Preference, prompt: str = "p") -> Comparison:
        return Comparison("any", prompt, first, second, preference)

    judge = VerdictJudge(
        [
            row("a", "b", FIRST),
            *(row("c", "d", FIRST), row("d", "c", SECOND), row("c", "d", SECOND)),  # two for c, one for d
            *(row("e", "f", FIRST), row("f", "e", FIRST)),  # one for each
            *(row("g", "h", TIE), row("g", "h", TIE), row("g", "h", SECOND)),
            *(row("i", "j", Preference.NONE), row("k", "l", Preference.NONE), row("k", "l", SECOND)),
        ]
    )
    pairs = ("ab", "ba", "cd", "dc", "ef", "fe", "gh", "hg", "ij", "kl", "lk", "ac")
    found = judge.compare(_pairings(*(("p", first, second) for first, second in pairs)))
    none = Preference.NONE
    assert found == [FIRST, SECOND, FIRST, SECOND, TIE, TIE, TIE, TIE, none, SECOND, FIRST, none]
    assert judge.compare(_pairings(("another prompt", "a", "b"))) == [none]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from([FIRST, SECOND, TIE]))))
def test_people_say_the_opposite_of_the_pair_the_other_way_round(rows: list[tuple[str, str, Preference]]) -> None:
    judge = VerdictJudge(Comparison("x", "p", *row) for row in rows)
    there = judge.compare(_pairings(*(("p", first, second) for first, second, _ in rows)))
    back = judge.compare(_pairings(*(("p", second, first) for first, second, _ in rows)))
    assert back == [MIRROR[verdict] for verdict in there]


def test_who_was_cut_off_reaches_the_judge_and_the_next_one() -> None:
    ended = ScoreJudge("ended", lambda rows: [float(row.finished) for row in rows])
    whole, cut = Response("1", "p", "a", "ours"), Response("1", "p", "b", "theirs", finished=False)
    [row] = judge_outputs(ended, [whole], [cut])
    assert (row.preference, row.meta) == (
        FIRST, {"policy": "ours", "reference": "theirs", "second_finished": False},
    )  # fmt: skip
    [row] = judge_outputs(ended, [cut], [whole])
    assert (row.preference, row.meta["first_finished"]) == (SECOND, False)
    # The judgement, judged anew.
    [pairing] = pair_comparisons([row])
    assert (pairing.first_finished, pairing.second_finished) == (False, True)
    assert pairing.meta == row.meta
    assert judge_pairings(ended, [pairing]) == [row]


def test_a_pairing_knows_the_instruction_the_input_and_the_kind_of_prompt() -> None:
    meta = {"instruction": "Sum up.", "input": "A tale.", "category": "writing", "other": 1}
    ours = Response("1", "Sum up.\n\nA tale.", "a", "mine", meta=meta)
    theirs = Response("1", "Sum up.\n\nA tale.", "b", "other", meta={"dataset": "d"})
    told = {"policy": "mine", "reference": "other", "dataset": "d", "category": "writing"}
    assert pair_outputs([ours], [theirs]) == [Pairing("1", ours.prompt, "a", "b", "Sum up.", "A tale.", told)]
    swapped = {**told, "policy": "other", "reference": "mine"}
    assert pair_outputs([theirs], [ours]) == [Pairing("1", ours.prompt, "b", "a", "Sum up.", "A tale.", swapped)]
    other = Response("1", ours.prompt, "b", meta={"input": "Another tale."})
    with pytest.raises(RedpencilError, match="different inputs under the id '1'"):
        pair_outputs([ours], [other])
    with pytest.raises(RedpencilError, match="is a list, not a text"):
        pair_outputs([Response("1", "p", "b", meta={"input": ["x"]})], [Response("1", "p", "b")])


def test_pairs_that_people_have_compared_come_once_and_without_their_preference() -> None:
    meta = {"first_model": "old", "second_model": "new", "annotation": {"seconds": 3}}
    rows = [Comparison("1", "p", "a", "b", told, name, meta) for told, name in ((FIRST, "Ada"), (TIE, "Ben"))]
    assert pair_comparisons(rows) == [Pairing("1", "p", "a", "b", "p", meta={"policy": "old", "reference": "new"})]
    again = Comparison("1", "p", "a", "b", FIRST, meta={"policy": "x", "reference": "y"})
    assert pair_comparisons([again])[0].meta == {"policy": "x", "reference": "y"}
    with pytest.raises(RedpencilError, match="two different pairs have the id '1'"):
        pair_comparisons([rows[0], Comparison("1", "p", "a", "c", FIRST)])


def test_a_judgement_keeps_the_turns_of_its_prompt() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    meta = {"messages": turns, "note": "x"}
    rows = [Response("1", "System: Be brief.\n\nUser: Hi", text, meta=meta) for text in ("Yes.", "No, no.")]
    seen: list[Response] = []
    judge = ScoreJudge("length", lambda responses: seen.extend(responses) or _length(responses))
    [verdict] = judge_outputs(judge, [rows[0]], [rows[1]])
    assert verdict.meta["messages"] == turns
    assert "note" not in verdict.meta
    assert [turns_of(row) for row in seen] == [turns, turns]
    [again] = pair_comparisons([verdict])
    assert again.meta["messages"] == turns
