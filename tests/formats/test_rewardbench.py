"""RewardBench's rows."""

from collections.abc import Callable
from typing import Any

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
