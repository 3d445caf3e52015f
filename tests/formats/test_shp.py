"""SHP's rows: 1 is the comment A, 0 the comment B."""

from collections.abc import Callable
from typing import Any

import pytest

from redpencil.records import Comparison, Preference

ROW = {"history": "p", "human_ref_A": "a", "human_ref_B": "b", "labels": 1, "domain": "d"}


def test_one_is_a_and_zero_is_b(one: Callable[..., Any]) -> None:
    assert one(ROW, "shp") == Comparison("made", "p", "a", "b", Preference.FIRST, "human", {"domain": "d"})
    found = one({**ROW, "labels": "0"}, "shp")
    assert (found.preference, found.meta) == ("second", {"domain": "d"})
    assert one(ROW, "shp", "examples").response == "a"


@pytest.mark.parametrize("label", [2, -1, None, True, "A", 0.5])
def test_other_labels_are_refused(refused: Callable[..., Any], label: object) -> None:
    assert refused({**ROW, "labels": label}, "shp").field == "labels"
