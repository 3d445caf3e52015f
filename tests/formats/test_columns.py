"""Rows with columns named as the fields of records: our own, renamed ones, FIGA's."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.formats.base import RECORDS, UNDECIDED, Kind
from redpencil.formats.columns import renamed
from redpencil.records import Comparison, Edit, EditOutcome, Example, Preference, Prompt, Response, to_row

RECORDS_OF = {
    "prompts": Prompt("1", "p", {"a": 1}),
    "examples": Example("1", "p", "r"),
    "responses": Response("1", "p", "r", "m", finished=False, meta={"model": "other", "x": [None]}),
    "comparisons": Comparison("1", "p", "a", "b", Preference.TIE, "judge"),
    "edits": Edit("1", "p", "a", "b", "ada", EditOutcome.REFUSED, {"kept": 0.5}),
}


@pytest.mark.parametrize("kind", RECORDS_OF)
def test_our_own_rows_come_back_as_they_are(one: Callable[..., Any], kind: str) -> None:
    for name in ("redpencil", "columns"):
        assert one(to_row(RECORDS_OF[kind]), name, kind) == RECORDS_OF[kind]


def test_the_kind_is_told_by_the_columns(read: Callable[..., Any]) -> None:
    for kind in ("prompts", "responses", "comparisons", "edits"):
        for name in ("redpencil", "columns"):
            assert read([to_row(RECORDS_OF[kind])], name).tally.kind == kind


def test_columns_are_renamed_and_nothing_is_lost(one: Callable[..., Any]) -> None:
    row = {"question": "q", "answer": "a", "prompt": "other", "model": 3, "finished": "FALSE"}
    found = one(row, "columns", columns={"prompt": "question", "response": "answer"})
    assert found == Response("made", "q", "a", finished=False, meta={"prompt_column": "other", "model": 3})


def test_renaming_works_for_every_format(one: Callable[..., Any]) -> None:
    row = {"q": "p", "good": "a", "bad": "b"}
    found = one(row, "trl-preference", columns={"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert (found.prompt, found.first, found.second, found.meta) == ("p", "a", "b", {})


def test_a_column_that_is_not_there_is_named(refused: Callable[..., Any]) -> None:
    error = refused({"q": "p"}, "columns", columns={"prompt": "question"})
    assert (error.field, "the row has q" in error.problem) == ("question", True)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(), min_size=1),
    st.dictionaries(st.sampled_from("abcxyz"), st.sampled_from("abcdef")),
)
def test_renaming_keeps_every_value(row: dict[str, int], columns: dict[str, str]) -> None:
    columns = {name: own for name, own in columns.items() if own in row}
    found = renamed(row, columns)
    for name, own in columns.items():
        assert found[name] == row[own]
    for name in row.keys() - set(columns.values()):
        assert found[f"{name}_column" if name in columns else name] == row[name]


def test_preferences_in_words_and_numbers(read: Callable[..., Any]) -> None:
    rows = [{"prompt": "p", "first": "a", "second": "b", "preference": value} for value in ("Tie", "second", 1, "2")]
    unsure = [{**rows[0], "preference": value} for value in (None, "none")]
    found = read([*rows, *unsure], "columns", "comparisons")
    assert [row.preference.value for row in found.records] == ["tie", "second", "first", "second"]
    assert dict(found.tally.nothing) == {UNDECIDED: 2}


def test_prompts_may_be_messages(one: Callable[..., Any]) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert one({"prompt": turns}, "columns") == Prompt("made", "System: s\n\nUser: u", {"messages": turns})


def test_our_own_rows_are_read_strictly(refused: Callable[..., Any]) -> None:
    row = {"id": "1", "prompt": "p", "response": "r", "finished": "perhaps"}
    assert refused(row, "redpencil").field == "finished"
    assert refused({"id": "1", "prompt": "p", "meta": "no"}, "redpencil").field == "meta"
    assert refused({"id": "1", "prompt": 3}, "redpencil").field == "prompt"


def test_figa_rows(one: Callable[..., Any]) -> None:
    row = {
        "instruction": "i",
        "input": "",
        "original_output": "a",
        "revised_output": "b",
        "original_weights": [-0.5],
        "note": "n",
    }
    assert one(row, "figa") == Edit("made", "i", "a", "b", meta={"note": "n"})


def test_every_kind_has_a_record() -> None:
    assert set(RECORDS) == set(Kind)


def test_a_column_is_never_written_over(refused: Callable[..., Any]) -> None:
    row = {"q": "p", "prompt": "old", "prompt_column": "mine"}
    error = refused(row, "columns", columns={"prompt": "q"})
    assert (error.field, "--drop prompt" in error.hint) == ("prompt", True)
    # What moves away is in nobody's way.
    assert renamed(row, {"prompt": "q", "id": "prompt_column"})["prompt_column"] == "old"


@pytest.mark.parametrize(
    ("value", "finished"), [(0, False), ("0", False), (0.0, False), (" false", False), ("1", True), ("", True)]
)
def test_whether_a_response_is_finished_in_all_its_forms(
    one: Callable[..., Any], value: object, finished: bool
) -> None:
    found = one({"prompt": "p", "response": "r", "finished": value}, "columns", "responses")
    assert found.finished is finished


def test_what_does_not_say_whether_a_response_is_finished_is_refused(refused: Callable[..., Any]) -> None:
    for value in ("no", "length", 2, []):
        assert refused({"prompt": "p", "response": "r", "finished": value}, "columns", "responses").field == "finished"
