"""HH-RLHF's dialogues."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.formats.hh import turns
from redpencil.formats.preference_pairs import APART

START = "\n\nHuman: Is it\n\nraining?\n\nAssistant: Where?\n\nHuman: Here."


def test_the_last_turn_is_the_answer(one: Callable[..., Any]) -> None:
    row = {"chosen": START + "\n\nAssistant: Yes, it is.", "rejected": START + "\n\nAssistant: Yes, no. "}
    found = one(row, "hh-rlhf")
    assert found.prompt == "User: Is it\n\nraining?\n\nAssistant: Where?\n\nUser: Here."
    assert (found.first, found.second, found.preference) == ("Yes, it is.", "Yes, no. ", "first")
    assert [turn["role"] for turn in found.meta["messages"]] == ["user", "assistant", "user"]
    assert one(row, "hh-rlhf", "responses").response == "Yes, no. "


def test_one_turn_is_a_plain_prompt(one: Callable[..., Any]) -> None:
    row = {"chosen": "\n\nHuman: Hi\n\nAssistant: Ho", "rejected": "\n\nHuman: Hi\n\nAssistant:"}
    found = one(row, "hh-rlhf")
    assert (found.prompt, found.first, found.second, found.meta) == ("Hi", "Ho", "", {})


def test_the_text_of_turns_is_kept_but_for_one_blank() -> None:
    assert [turn["content"] for turn in turns("Human:  a\n\nAssistant:b\n", "chosen")] == [" a", "b\n"]


def test_dialogues_that_part_early_are_counted(read: Callable[..., Any]) -> None:
    row = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"}
    assert dict(read([row], "hh-rlhf").tally.nothing) == {APART: 1}


@pytest.mark.parametrize("text", ["", "Hello", "Hello\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a"])
def test_what_is_no_dialogue_is_refused(refused: Callable[..., Any], text: str) -> None:
    row = {"chosen": text, "rejected": "\n\nHuman: a\n\nAssistant: b"}
    assert refused(row, "hh-rlhf").field == "chosen"
