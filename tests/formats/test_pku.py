"""PKU-SafeRLHF's rows: 0 is the first response."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Comparison, Preference

ROW = {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}


def test_the_number_names_the_better_response(one: Callable[..., Any]) -> None:
    meta = {"safer_response_id": 1}
    assert one(ROW, "pku-saferlhf") == Comparison("made", "p", "a", "b", Preference.FIRST, meta=meta)
    assert one({**ROW, "better_response_id": "1"}, "pku-saferlhf").preference == "second"
    assert one(ROW, "pku-saferlhf", "responses").response == "b"


def test_safety_can_be_the_preference(one: Callable[..., Any]) -> None:
    found = one(ROW, "pku-saferlhf", columns={"better_response_id": "safer_response_id"})
    assert (found.preference, found.meta) == ("second", {"better_response_id_column": 0})


@pytest.mark.parametrize("label", [2, -1, None, "", True, "a", 0.5])
def test_other_labels_are_refused(refused: Callable[..., Any], label: object) -> None:
    assert refused({**ROW, "better_response_id": label}, "pku-saferlhf").field == "better_response_id"
