"""Prompts that are made of a row's columns."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.prompt_template import check_template

ROW = {
    "prompt": "When?",
    "original": "Now.",
    "edited": "Then.",
    "passages": [["Time", "It passes."], ["Space", "It stays."]],
    "notes": ["one", 2, None],
    "year": 1.5,
    "a b": "x",
}


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (r"{passages}\n\nQ: {prompt}", "Time\nIt passes.\n\nSpace\nIt stays.\n\nQ: When?"),
        ("{notes}|{year}|{a b}", "one\n2\n|1.5|x"),
        ("no column at all", "no column at all"),
        (r"{ not a place {prompt} }\t\\n", "{ not a place When? }\t\\n"),
        ("{prompt}{prompt}", "When?When?"),
    ],
)
def test_columns_in_their_places(one: Callable[..., Any], template: str, prompt: str) -> None:
    found = one(ROW, "columns", prompt_template=check_template(template))
    assert found.prompt == prompt
    assert (found.original, found.edited) == ("Now.", "Then.")
    assert found.meta["passages"] == ROW["passages"]


def test_what_a_column_says_is_not_a_template(one: Callable[..., Any]) -> None:
    found = one({**ROW, "a b": "{prompt} {0.__class__}"}, "columns", prompt_template="{a b}")
    assert found.prompt == "{prompt} {0.__class__}"


@pytest.mark.parametrize(
    ("template", "field", "says"),
    [("{passage}", "passage", "no such column"), ("{other}", "other", "no such column"), ("{o}", "o", "lists of them")],
)
def test_a_column_that_is_not_there_or_no_text(
    refused: Callable[..., RedpencilError], template: str, field: str, says: str
) -> None:
    error = refused({**ROW, "o": {"x": 1}}, "columns", prompt_template=template)
    assert error.field == field
    assert says in str(error)


def test_an_empty_template() -> None:
    with pytest.raises(RedpencilError, match="empty"):
        check_template(" ")


def test_a_conversation_stays_one(refused: Callable[..., RedpencilError]) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    row = {"prompt": [*messages, messages[0]], "chosen": messages[1:], "rejected": [{**messages[1], "content": "Yes"}]}
    error = refused(row, "trl-preference", prompt_template="{prompt}!")
    assert "conversation" in str(error)


def test_ids_are_made_of_the_prompt_that_is_written(read: Callable[..., Any]) -> None:
    rows = [{**ROW, "year": year} for year in (1.0, 2.0)]
    ids = [record.id for record in read(rows, "columns", prompt_template="{year}").records]
    assert len(set(ids)) == 2
    assert not any(one.endswith("-2") for one in ids)
