"""Which edits hold a correction that can be learned from."""

from redpencil.formats.base import Unfit, no_correction
from redpencil.records import Edit, EditOutcome


def test_only_a_correction_is_one() -> None:
    assert no_correction(Edit("1", "p", "a", "b")) is None
    assert no_correction(Edit("1", "p", "a", "")) is None, "an empty text is a text"
    assert no_correction(Edit("1", "p", "a", "a")) == Unfit("unchanged")
    for outcome in set(EditOutcome) - {EditOutcome.EDITED}:
        assert no_correction(Edit("1", "p", "a", "b", outcome=outcome)) == Unfit(outcome.value)
