"""RewardBench's rows."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Comparison, Preference

ROW = {
    "prompt": "Two plus two?",
    "chosen": "Four.",
    "chosen_model": "GPT4-Turbo",
    "rejected": "Five.",
    "rejected_model": "alpaca-7b",
    "subset": "alpacaeval-easy",
    "id": 30,
}


def test_the_chosen_side_is_first_and_nothing_is_lost(one: Callable[..., Any]) -> None:
    meta = {"subset": "alpacaeval-easy", "chosen_model": "GPT4-Turbo", "rejected_model": "alpaca-7b"}
    assert one(ROW, "rewardbench") == Comparison("30", "Two plus two?", "Four.", "Five.", Preference.FIRST, meta=meta)
    response = one(ROW, "rewardbench", "responses")
    assert (response.response, response.model) == ("Five.", "alpaca-7b")
    other = one({**ROW, "model": "judge"}, "rewardbench", "responses")
    assert (other.model, other.meta["rejected_model"]) == ("judge", "alpaca-7b")


def test_a_prompt_may_be_messages(one: Callable[..., Any]) -> None:
    messages = [{"role": "user", "content": "Two plus two?"}]
    assert one({**ROW, "prompt": messages}, "rewardbench").prompt == "Two plus two?"


def test_a_row_without_a_subset_is_none_of_rewardbench(refused: Callable[..., Any]) -> None:
    rest = {name: value for name, value in ROW.items() if name != "subset"}
    error = refused(rest, "rewardbench")
    assert error.field == "subset"
    assert "trl-preference" in str(error.hint)
    assert refused({**ROW, "subset": 3}, "rewardbench").field == "subset"
    assert refused({**ROW, "chosen": None}, "rewardbench").field == "chosen"


TWO = {
    "id": "7",
    "prompt": "Name a prime.",
    "chosen": ["7", "11"],
    "rejected": ["8", "9", "10"],
    "models": ["a", "b", "c", "d", "e"],
    "subset": "Ties",
}


def test_each_right_answer_against_each_wrong_one(read: Callable[..., Any]) -> None:
    found = read([TWO], "rewardbench").records
    assert [(row.first, row.second) for row in found] == [(a, b) for a in ("7", "11") for b in ("8", "9", "10")]
    assert {row.preference for row in found} == {Preference.FIRST}
    assert [row.id for row in found] == ["7-1v1", "7-1v2", "7-1v3", "7-2v1", "7-2v2", "7-2v3"]
    counts = {"id": "7", "of_chosen": 2, "of_rejected": 3}
    assert found[5].meta == {
        "subset": "Ties",
        "models": TWO["models"],
        "answers": {**counts, "chosen": 1, "rejected": 2},
    }
    apart = read([{key: value for key, value in TWO.items() if key != "id"}] * 2, "rewardbench", own_ids=False).records
    assert len({row.id for row in apart}) == 12


def test_lists_of_answers_as_other_kinds(read: Callable[..., Any], one: Callable[..., Any]) -> None:
    wrong = read([TWO], "rewardbench", "responses").records
    assert [(row.response, row.model) for row in wrong] == [("8", "c"), ("9", "d"), ("10", "e")]
    assert [row.response for row in read([TWO], "rewardbench", "examples").records] == ["7", "11"]
    assert one(TWO, "rewardbench", "prompts").prompt == "Name a prime."


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"chosen": []}, "chosen"),
        ({"rejected": "8"}, "rejected"),
        ({"chosen": [7]}, "chosen"),
        ({"subset": None}, "subset"),
    ],
)
def test_lists_that_are_none(refused: Callable[..., Any], change: dict[str, Any], field: str) -> None:
    assert refused({**TWO, **change}, "rewardbench").field == field


def test_a_table_has_lists_as_json_alone(read: Callable[..., Any], refused: Callable[..., Any]) -> None:
    row = {"prompt": "p", "chosen": '["7"]', "rejected": '["8", "9"]', "subset": "Math"}
    assert [(one.first, one.second) for one in read([row], "rewardbench").records] == [("7", "8"), ("7", "9")]
    assert [one.response for one in read([row], "rewardbench", "responses").records] == ["8", "9"]
    first_version = {**row, "chosen_model": "a", "rejected_model": "b"}
    assert [(one.first, one.second) for one in read([first_version], "rewardbench").records] == [
        ('["7"]', '["8", "9"]')
    ]
    assert refused({**TWO, "chosen": "['7']", "num_correct": "1"}, "rewardbench").field == "chosen"
