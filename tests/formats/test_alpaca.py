"""AlpacaFarm's pairs, AlpacaEval's outputs and annotations."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.formats.base import UNDECIDED
from redpencil.formats.preference_pairs import TIE
from redpencil.records import Comparison, Example, Preference, Prompt, Response

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"
FARM = {"instruction": "Name it.", "input": "a cat", "output_1": "Tom", "output_2": "Kit", "preference": 2}
EVAL = {
    "instruction": "Name it.",
    "output_1": "Tom",
    "generator_1": "m1",
    "output_2": "Kit",
    "generator_2": "m2",
    "annotator": "judge",
    "preference": 1,
}


def test_the_less_preferred_output_is_the_one_to_edit(one: Callable[..., Any]) -> None:
    found = one(FARM, "alpaca-farm", "responses")
    assert found == Response(
        "made",
        "Name it.\n\na cat",
        "Tom",
        meta={"instruction": "Name it.", "input": "a cat", "output_2": "Kit", "preference": 2},
    )
    assert one({**FARM, "preference": 1}, "alpaca-farm", "responses").response == "Kit"
    edit = one(FARM, "alpaca-farm", "edits")
    assert (edit.original, edit.edited, edit.meta) == (
        "Tom",
        "Kit",
        {"instruction": "Name it.", "input": "a cat", "preference": 2},
    )


def test_pairs_and_demonstrations_have_their_natural_kinds(one: Callable[..., Any]) -> None:
    assert one(FARM, "alpaca-farm") == Comparison(
        "made",
        "Name it.\n\na cat",
        "Tom",
        "Kit",
        Preference.SECOND,
        meta={"instruction": "Name it.", "input": "a cat"},
    )
    demonstration = {"instruction": "Name it.", "input": "", "output": "Tom"}
    assert one(demonstration, "alpaca-farm") == Example("made", "Name it.", "Tom", {"input": ""})
    assert one(FARM, "alpaca-farm", "examples").response == "Kit"
    assert one(demonstration, "alpaca-farm", "prompts") == Prompt("made", "Name it.", {"input": "", "output": "Tom"})


def test_outputs_and_annotations(one: Callable[..., Any]) -> None:
    output = {"instruction": "Name it.", "output": "Tom", "generator": "m1", "dataset": "helpful_base"}
    assert one(output, "alpaca-eval") == Response("made", "Name it.", "Tom", "m1", meta={"dataset": "helpful_base"})
    found = one(EVAL, "alpaca-eval")
    assert (found.first, found.second, found.preference, found.annotator) == ("Tom", "Kit", "first", "judge")
    assert found.meta == {"generator_1": "m1", "generator_2": "m2"}
    worse = one(EVAL, "alpaca-eval", "responses")
    assert (worse.response, worse.model, worse.meta["generator_1"]) == ("Kit", "m2", "m1")
    assert "generator_2" not in worse.meta


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (1, "first"),
        (2.0, "second"),
        ("2", "second"),
        (1.5, "tie"),
        (1.0000007, "first"),
        (1.98, "second"),
    ],
)
def test_preferences(one: Callable[..., Any], given: object, meant: str) -> None:
    found = one({**EVAL, "preference": given}, "alpaca-eval")
    assert found.preference == meant
    # What first, second and tie do not say is kept.
    assert found.meta.get("preference", float(given)) == (given if given not in (1, 2) else float(given))


def test_ties_and_pairs_nobody_judged_are_counted_and_listed(read: Callable[..., Any]) -> None:
    rows = [{**EVAL, "preference": value} for value in (2, 1.5, None, float("nan"), 0)]
    found = read(rows, "alpaca-eval", "responses")
    assert (len(found.records), dict(found.tally.nothing)) == (1, {TIE: 2, UNDECIDED: 2})
    assert [row.place.line for row in found.skipped] == [2, 3, 4, 5]


@pytest.mark.parametrize("given", [3, -1, 0.5, True, "better", [1], 10**400])
def test_other_preferences_are_refused(refused: Callable[..., Any], given: object) -> None:
    assert refused({**EVAL, "preference": given}, "alpaca-eval").field == "preference"


def test_an_input_must_be_text(refused: Callable[..., Any]) -> None:
    assert refused({**FARM, "input": 3}, "alpaca-farm", "responses").field == "input"
    assert refused({**FARM, "output_1": None}, "alpaca-farm").field == "output_1"


def test_real_annotations(read: Callable[..., Any]) -> None:
    path = REAL / "alpaca-7b.json"
    if not path.is_file():
        pytest.skip(f"the real data is not there: {path}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    found = read(rows, "alpaca-eval")
    # The published leaderboard: 205 wins, 16 draws of 805.
    assert Counter(row.preference.value for row in found.records) == {"first": 584, "second": 205, "tie": 16}
    edits = read(rows, "alpaca-eval", "responses")
    assert (len(edits.records), dict(edits.tally.nothing)) == (789, {TIE: 16})
