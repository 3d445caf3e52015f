"""QA-Feedback: human corrections with labelled error spans."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.formats.qa_feedback import UNCORRECTED
from redpencil.records import EditOutcome

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "qa_feedback" / "feedback.json"
SPAN = {"error type": "Irrelevant", "explanation": "", "start": 0, "end": 4}


def item(corrected: Any = "It rained.", **more: Any) -> dict[str, Any]:
    return {
        "question": "When?",
        "passages": [["Title", "Text"]],
        "gold": "Now.",
        **{f"prediction {number}": f"It did rain {number}." for number in range(1, 5)},
        "feedback": {"errors": [SPAN], "missing-info": ["x"], "corrected-prediction": corrected},
        "preference": [1, 2, 0, 1, 1, 2],
        **more,
    }


def test_an_edit_with_its_labelled_spans(one: Callable[..., Any]) -> None:
    found = one(item(), "qa-feedback")
    assert (found.prompt, found.original, found.edited) == ("When?", "It did rain 1.", "It rained.")
    assert (found.editor, found.outcome) == ("human", EditOutcome.EDITED)
    assert found.meta["spans"] == [SPAN]
    assert found.meta["feedback"] == {"missing-info": ["x"]}
    assert {"passages", "gold", "prediction 2", "prediction 3", "prediction 4", "preference"} <= found.meta.keys()


def test_six_comparisons_in_their_order(read: Callable[..., Any]) -> None:
    found = read([item()], "qa-feedback", "comparisons").records
    assert [row.id for row in found] == [
        f"{found[0].id.removesuffix('-1v2')}-{pair}" for pair in ("1v2", "1v3", "1v4", "2v3", "2v4", "3v4")
    ]
    assert [row.preference.value for row in found] == ["first", "second", "tie", "first", "first", "second"]
    assert (found[4].first, found[4].second) == ("It did rain 2.", "It did rain 4.")


def test_what_was_not_corrected_is_counted_and_an_equal_text_is_unchanged(read: Callable[..., Any]) -> None:
    found = read([item(), item(" "), item("It did rain 1.")], "qa-feedback")
    assert [row.outcome.value for row in found.records] == ["edited", "unchanged"]
    assert (dict(found.tally.nothing), found.skipped[0].place.line) == ({UNCORRECTED: 1}, 2)
    assert dict(read([item("")], "qa-feedback", "examples").tally.nothing) == {UNCORRECTED: 1}


def test_the_other_kinds(one: Callable[..., Any]) -> None:
    response = one(item(), "qa-feedback", "responses")
    assert (response.response, response.meta["spans"]) == ("It did rain 1.", [SPAN])
    assert response.meta["corrected-prediction"] == "It rained."
    assert one(item(), "qa-feedback", "examples").response == "It rained."
    assert one(item(), "qa-feedback", "prompts").meta["gold"] == "Now."


@pytest.mark.parametrize(
    "feedback",
    [
        None,
        {"errors": []},
        {"errors": None, "corrected-prediction": "x"},
        {"errors": [{"start": 0}], "corrected-prediction": "x"},
        {"errors": [{"start": 0, "end": 99}], "corrected-prediction": "x"},
        {"errors": [{"start": True, "end": 2}], "corrected-prediction": "x"},
        {"errors": [3], "corrected-prediction": "x"},
    ],
)
def test_broken_feedback_is_refused(refused: Callable[..., Any], feedback: Any) -> None:
    assert refused(item(feedback=feedback), "qa-feedback").field == "feedback"


@pytest.mark.parametrize("preference", [None, [1, 2], [1, 2, 0, 1, 1, 3], [1, 2, 0, 1, 1, True]])
def test_broken_preferences_are_refused(refused: Callable[..., Any], preference: Any) -> None:
    assert refused(item(preference=preference), "qa-feedback", "comparisons").field == "preference"


def test_real_items(read: Callable[..., Any]) -> None:
    if not REAL.is_file():
        pytest.skip(f"the real data is not there: {REAL}")
    rows = json.loads(REAL.read_text(encoding="utf-8"))
    found = read(rows, "qa-feedback")
    # 250 items: 8 have an empty correction, 3 were left as they were.
    assert dict(found.tally.nothing) == {UNCORRECTED: 8}
    assert Counter(row.outcome.value for row in found.records) == {"edited": 239, "unchanged": 3}
    spans = [span for row in found.records for span in row.meta["spans"]]
    assert len(spans) == sum(
        len(row["feedback"]["errors"]) for row in rows if row["feedback"]["corrected-prediction"].strip()
    )
    assert len(read(rows, "qa-feedback", "comparisons").records) == 1500
