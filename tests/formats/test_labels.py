"""Labels of preferences: what is certain is read, what is not is refused with the way to say it."""

import shlex
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.labels import label_key, names_of_columns
from redpencil.records import Preference

ROW = {"prompt": "p", "first": "a", "second": "b"}
OWN = {"response_0": "a", "response_1": "b"}


def rows(*labels: object, column: str = "preference", **others: Any) -> list[dict[str, Any]]:
    return [{**ROW, **others, column: label} for label in labels]


@pytest.mark.parametrize(
    ("labels", "meant"),
    [
        ((1, 2), "first second"),
        ((2, 1, 1), "second first first"),
        (("1", " 2 "), "first second"),
        ((1.0, 2.0), "first second"),
        (("1.0", "2.0"), "first second"),
        ((1, 1.5, 2), "first tie second"),
        (("1,0", "1,5", "2,0"), "first tie second"),
        ((1.0000007, 1.98), "first second"),
        (("A", "b"), "first second"),
        (("[[A]]", "[[B]]", "[[C]]"), "first second tie"),
        (("model_a", "model_b", "tie", "tie (bothbad)"), "first second tie tie"),
        (("model_1", "model_2"), "first second"),
        (("FIRST", " second\n", "Tie", "draw"), "first second tie tie"),
        (("A",), "first"),
        (("Response A", "response b", "Assistant-B", "Answer 1", "system 2"), "first second second first second"),
        (("first_response", "Second answer"), "first second"),
    ],
)
def test_what_is_certain_is_read(read: Callable[..., Any], labels: tuple[object, ...], meant: str) -> None:
    found = read(rows(*labels), "columns", "comparisons")
    assert [str(row.preference) for row in found.records] == meant.split()
    assert found.tally.bad == 0


@pytest.mark.parametrize(
    "labels",
    [
        (0, 1),
        (1, 0),
        ("0", "1"),
        (0.0, 1.0),
        (0, 1, 2),
        (2, 1, 0),
        (0,),
        (1,),
        (2,),
        (1, 1.0, "1"),
        (" 0", "1 "),
        (0, 2),
        ("response_0", "response_1"),
        ("Model 1", "Model 0"),
    ],
)
def test_numbers_without_a_base_are_refused_at_the_end(read: Callable[..., Any], labels: tuple[object, ...]) -> None:
    with pytest.raises(RedpencilError, match="differs from one data set to another") as caught:
        read(rows(*labels), "columns", "comparisons", on_error_skip=True)
    assert (caught.value.file, caught.value.field) == ("data.jsonl", "preference")
    options = dict(part.split("=") for part in shlex.split(str(caught.value.hint)) if "=" in part)
    values = {label_key(label): Preference(side) for label, side in options.items()}
    found = read(rows(*labels), "columns", "comparisons", values=values)  # the hint works
    assert len(found.records) == len(labels)


@pytest.mark.parametrize(
    "labels", [(-1, 1), (-1, 0, 1), (True, False), ("yes", "no"), (0.5, 1), (3,), ("C",), ([1],), ("rejected_a",)]
)
def test_other_labels_are_bad_rows_and_never_ties(read: Callable[..., Any], labels: tuple[object, ...]) -> None:
    found = read(rows("first", *labels), "columns", "comparisons", on_error_skip=True) if 1 not in labels else None
    if found is not None:
        assert [str(row.preference) for row in found.records] == ["first"]
        assert [row.field for row in found.skipped] == ["preference"] * len(labels)
    with pytest.raises(RedpencilError) as caught:
        read(rows(*labels), "columns", "comparisons")
    assert (caught.value.line, caught.value.field) == (1, "preference")
    assert "--value" in str(caught.value.hint)


def test_a_column_of_unknown_labels_gives_no_verdict(read: Callable[..., Any]) -> None:
    found = read(rows("A", "unknown", "N/A", None, "", float("nan"), "none"), "columns", "comparisons")
    assert len(found.records) == 1
    assert sum(found.tally.nothing.values()) == 6


def test_the_user_says_what_labels_mean(read: Callable[..., Any]) -> None:
    values = {"0": Preference.FIRST, "1": Preference.SECOND, "true": Preference.TIE, "?": Preference.NONE}
    found = read(rows(0, "1.0", True, "tie", "?"), "columns", "comparisons", values=values)
    assert [str(row.preference) for row in found.records] == ["first", "second", "tie", "tie"]
    assert found.tally.labels == {
        ("0", "first"): 1,
        ("1", "second"): 1,
        ("true", "tie"): 1,
        ("tie", "tie"): 1,
        ("?", "none"): 1,
    }
    with pytest.raises(RedpencilError, match="no --value says what 2 means"):
        read(rows(0, 2), "columns", "comparisons", values=values)


def test_names_of_the_users_columns(read: Callable[..., Any]) -> None:
    data = [
        {"q": "p", "answer_x": "a", "answer_y": "b", "better": better} for better in ("answer_x", "answer_y", "Y", "x")
    ]
    columns = {"prompt": "q", "first": "answer_x", "second": "answer_y", "preference": "better"}
    found = read(data, "columns", "comparisons", columns=columns)
    assert [str(row.preference) for row in found.records] == ["first", "second", "second", "first"]
    swapped = {**columns, "first": "answer_y", "second": "answer_x"}
    found = read(data, "columns", "comparisons", columns=swapped)
    assert [str(row.preference) for row in found.records] == ["second", "first", "first", "second"]


def test_swapped_columns_with_numbers_in_their_names(read: Callable[..., Any]) -> None:
    data = [{"prompt": "p", "output_1": "a", "output_2": "b", "preference": label} for label in (1, 2)]
    found = read(data, "columns", "comparisons", columns={"first": "output_2", "second": "output_1"})
    assert [(row.first, str(row.preference)) for row in found.records] == [("b", "second"), ("b", "first")]
    assert names_of_columns("response_0", "response_1") == {"response_0": "first", "response_1": "second"}


def test_a_format_that_says_what_1_is_needs_no_2(read: Callable[..., Any]) -> None:
    row = {"instruction": "i", "output_1": "a", "output_2": "b"}

    def sides(*labels: object) -> list[str]:
        data = [{**row, "preference": label} for label in labels]
        return [str(found.preference) for found in read(data, "alpaca-farm").records]

    assert sides(1) == ["first"]
    assert sides(0, 2) == ["tie", "second"]
    for labels in ((0, 1), (0,)):
        with pytest.raises(RedpencilError, match="differs from one data set"):
            sides(*labels)
    with pytest.raises(RedpencilError, match="differs from one data set"):
        read([{**row, "preference": 0}, {**row, "preference": 1}], "alpaca-farm", "responses")
    # Where the label is not read, it need not be certain.
    assert len(read([{**row, "preference": 0}], "alpaca-farm", "prompts").records) == 1


def test_a_format_without_labels_takes_no_meanings(read: Callable[..., Any]) -> None:
    with pytest.raises(RedpencilError, match="no column of labels") as caught:
        read([{"prompt": "p"}], "trl-prompt", values={"0": Preference.FIRST})
    assert "columns" in str(caught.value.hint)


def test_the_hint_can_be_copied_into_a_shell(read: Callable[..., Any]) -> None:
    with pytest.raises(RedpencilError) as caught:
        read(rows("it's the left one"), "columns", "comparisons")
    assert shlex.split(str(caught.value.hint))[5:7] == ["--value", "it's the left one=first"]
