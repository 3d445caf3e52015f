"""The list of formats, and what is said of a row that does not fit."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.base import Kind
from redpencil.formats.registry import FORMATS, check_columns, check_renames, find_format, guess_format


def test_every_format_is_named_once_and_says_what_it_is() -> None:
    assert len(FORMATS) == 17
    for name, format_ in FORMATS.items():
        assert name == format_.name
        assert format_.about
        assert {kind for _, kind in format_.natural} <= format_.readers.keys()


def test_an_unknown_format_lists_the_known_ones() -> None:
    with pytest.raises(RedpencilError, match="no format called 'hh'") as caught:
        find_format("hh")
    assert "hh-rlhf" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("row", "asked", "kind", "fits"),
    [
        ("instruction output_1 output_2 preference", "trl-preference", "comparisons", "alpaca-farm --as comparisons"),
        ("question passages preference feedback prediction%201", "trl-preference", "edits", "qa-feedback --as edits"),
        ("context response1 response2 overall_preference", "columns", "comparisons", "helpsteer3 --as comparisons"),
        ("instruction completions", "hh-rlhf", "comparisons", "ultrafeedback --as comparisons"),
        ("messages", "trl-preference", "comparisons", "trl-messages --as examples"),
        ("id prompt original edited", "qa-feedback", "edits", "redpencil --as edits"),
        ("id prompt response", "redpencil", "edits", "redpencil --as responses"),
    ],
)
def test_wrong_columns_name_what_fits(row: str, asked: str, kind: str, fits: str) -> None:
    values = {column.replace("%20", " "): "x" for column in row.split()}
    with pytest.raises(RedpencilError) as caught:
        check_columns(values, FORMATS[asked], Kind(kind))
    assert f"it has the columns {', '.join(values)}; expected " in caught.value.problem
    assert f"`--format {fits}`" in str(caught.value.hint)


HH = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
TURNS = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
OTHER = {"role": "assistant", "content": "c"}
GAMES = {
    "g1_winner": "model_1",
    "g2_winner": "model_2",
    "g1_user_prompt": "[User Question]\na\n\n[The Start of Assistant A's Answer]\nb\n[The End of Assistant A's Answer]"
    "\n\n[The Start of Assistant B's Answer]\nc\n[The End of Assistant B's Answer]",
}


@pytest.mark.parametrize(
    ("row", "format_"),
    [
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "trl-preference"),
        ({"conversations": TURNS}, "trl-messages"),
        ({"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 1}, "pku-saferlhf"),
        ({"conversations": TURNS, "system": "s"}, "trl-messages"),
        ({"instruction": "i", "output_1": "a", "output_2": "b", "preference": 1}, "alpaca-farm"),
        ({"model_a": "x", "prompt": "p", "response_a": "a", "response_b": "b", "winner": "tie"}, "arena"),
        ({"id": "1", "prompt": "p", "original": "a", "edited": "b", "editor": "e"}, "redpencil"),
        ({"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"], "subset": "Math"}, "rewardbench"),
        ({"messages": CHAT, "prompt": "a", "chosen": CHAT, "rejected": [CHAT[0], OTHER]}, "trl-preference"),
        ({"context": "p", "response1": "a", "response2": "b", "overall_preference": None}, "helpsteer3"),
        (GAMES, "arena"),
    ],
)
def test_the_format_is_guessed_where_it_is_clear(row: dict[str, Any], format_: str) -> None:
    assert guess_format(row).name == format_


def test_where_it_is_not_clear_the_formats_are_named() -> None:
    for row, names in ((HH, ("trl-preference", "hh-rlhf")), ({"instruction": "i", "output": "o"}, ("farm", "eval"))):
        with pytest.raises(RedpencilError, match="fits several formats") as caught:
            guess_format(row)
        assert all(name in str(caught.value.hint) for name in names)
    assert guess_format({"instruction": "i", "output": "o"}, Kind.EXAMPLES).name == "alpaca-farm"
    with pytest.raises(RedpencilError, match="no format fits a row with the columns question, answer") as caught:
        guess_format({"question": "q", "answer": "a"})
    assert "--column prompt=question" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("change", "field"), [({"better_response_id": None}, "better_response_id"), ({"response_1": 3}, "response_1")]
)
def test_a_mistake_in_the_first_row_does_not_make_it_a_prompt(change: dict[str, Any], field: str) -> None:
    row = {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 1, **change}
    with pytest.raises(RedpencilError) as caught:
        guess_format(row)
    assert caught.value.field == field
    assert guess_format(row, Kind.PROMPTS).name == "redpencil"  # asked for


def test_where_nothing_fits_the_hint_renames(refused: Callable[..., Any]) -> None:
    error = refused({"q": "x", "chosen": "y"}, "trl-preference")
    assert (error.field, "--column rejected=NAME" in str(error.hint)) == ("rejected", True)
    assert refused({}, "columns", "edits").field == "prompt"


def test_named_columns_without_names_are_shown_how(refused: Callable[..., Any]) -> None:
    row = {"id": "1", "question": "x", "answer": "y", "n": 1}
    told = "such as: --column prompt=question --column response=answer --as responses"
    assert told in str(refused(row, "columns").hint)
    assert "--column prompt=NAME" in str(refused(row, "columns", "edits").hint)


def test_what_explains_most_columns_is_named_first(refused: Callable[..., Any]) -> None:
    row = {"prompt": "x", "chosen": "y", "rejected": "z"}
    told = str(refused(row, "alpaca-farm").hint)
    assert told.startswith("these columns fit `--format trl-preference --as comparisons`")
    assert "hh-rlhf" not in told
    dialogue = {"chosen": "\n\nHuman: Who?\n\nAssistant: Ann.", "rejected": "\n\nHuman: Who?\n\nAssistant: Bob."}
    assert "hh-rlhf" in str(refused(dialogue, "alpaca-farm").hint)


@pytest.mark.parametrize(
    ("name", "given", "hint"),
    [
        ("columns", {"answer": "response"}, "write FIELD=YOURS: --column response=answer"),
        ("columns", {"respnse": "answer"}, "write FIELD=YOURS: with FIELD one of id, prompt, "),
        ("alpaca-farm", {"antwort": "output_1"}, "write FIELD=YOURS: --column output_1=antwort"),
    ],
)
def test_names_that_no_format_knows_are_refused(name: str, given: dict[str, str], hint: str) -> None:
    with pytest.raises(RedpencilError, match="no field called") as caught:
        check_renames(FORMATS[name], given)
    assert str(caught.value.hint).startswith(hint)


def test_other_names_pass() -> None:
    check_renames(FORMATS["columns"], {"prompt": "question", "input": "context", "editor": "who", "spans": "errors"})
    check_renames(FORMATS["alpaca-farm"], {"output_1": "a", "generator_1": "model", "input": "context"})


def test_a_kind_that_a_format_does_not_give(read: Callable[..., Any]) -> None:
    with pytest.raises(RedpencilError, match="trl-prompt gives no edits") as caught:
        read([{"prompt": "x"}], "trl-prompt", "edits", on_error_skip=True)
    assert (caught.value.field, caught.value.hint) == ("--as", "read it as one of: prompts")
