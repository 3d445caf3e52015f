"""Which side of an edit or a comparison has an end of its own."""

import pytest

from redpencil.alignment.ends import finished_sides
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Preference

TORN = "Once upon a tyme there was a"


@pytest.mark.parametrize(
    ("edited", "finished"),
    [
        ("Once upon a time there was a", False),  # the same torn place
        ("Once upon a time there was a \n", False),
        ("Once upon a time there\u00a0was a", False),
        ("There was a", False),
        (TORN, False),
        ("Once upon a time there was a fox.", True),  # it goes on to an end
        ("Once upon a tyme there was a.", True),
        ("Once upon a time.", True),  # the torn sentence is gone
        ("Once upon a tyme", True),
        ("Once upon a time there was an", True),
        ("", True),
    ],
)
def test_an_edit_of_a_torn_text(edited: str, finished: bool) -> None:
    assert finished_sides(Edit("1", "p", TORN, edited, meta={"finished": False})) == (False, finished)
    assert finished_sides(Edit("1", "p", TORN, edited)) == (True, True)


def test_the_sides_of_a_comparison() -> None:
    for first, second in ((True, True), (True, False), (False, True), (False, False)):
        meta = {"first_finished": first, "second_finished": second}
        assert finished_sides(Comparison("1", "p", "a", "b", Preference.TIE, meta=meta)) == (first, second)
    assert finished_sides(Comparison("1", "p", "a", "b", Preference.TIE, meta={"finished": False})) == (True, True)
    with pytest.raises(RedpencilError, match="does not say whether") as raised:
        finished_sides(Comparison("1", "p", "a", "b", Preference.TIE, meta={"second_finished": "length"}))
    assert raised.value.field == "meta.second_finished"
