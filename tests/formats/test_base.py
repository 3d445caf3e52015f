"""Values of rows, and which edits hold a correction that can be learned from."""

import pytest

from redpencil.errors import RedpencilError
from redpencil.formats.base import Unfit, no_correction, number
from redpencil.records import Edit, EditOutcome


@pytest.mark.parametrize(
    ("value", "meant"),
    [(2, 2), ("2", 2), (" 2.5 ", 2.5), ("-1,5", -1.5), ("8,25", 8.25), ("", None), (None, None), (float("nan"), None)],
)
def test_numbers_also_as_text_and_with_a_decimal_comma(value: object, meant: float | None) -> None:
    assert number({"n": value}, "n") == meant


@pytest.mark.parametrize("value", ["1,234", "1,2,3", ",5", "x", True, [1], "10 000"])
def test_what_may_be_another_number_is_none(value: object) -> None:
    with pytest.raises(RedpencilError, match="expected a number") as caught:
        number({"n": value}, "n")
    assert caught.value.field == "n"


def test_only_a_correction_is_one() -> None:
    assert no_correction(Edit("1", "p", "a", "b")) is None
    assert no_correction(Edit("1", "p", "a", "")) is None, "an empty text is a text"
    assert no_correction(Edit("1", "p", "a", "a")) == Unfit("unchanged")
    for outcome in set(EditOutcome) - {EditOutcome.EDITED}:
        assert no_correction(Edit("1", "p", "a", "b", outcome=outcome)) == Unfit(outcome.value)
