"""Features of edits, by hand."""

import pytest

from redpencil.evaluation.edit_features import EditFeatures, all_features, features_of
from redpencil.records import Edit, Pair

PAIR = Pair("1", (1,), (1, 2), (1, 3, 4), (False, True), (False, True, True))


@pytest.mark.parametrize(
    ("edited", "kind", "changed", "place"),
    [
        ("one two three four five six seven", "insertion", 1 / 13, "last third"),
        ("zero one two three four five six", "insertion", 1 / 13, "first third"),
        ("one two three four", "deletion", 2 / 10, "last third"),
        ("one two THREE four five six", "replacement", 2 / 12, "middle third"),
        ("ONE two three five six", "mixed", 3 / 11, "first third"),
    ],
)
def test_by_hand(edited: str, kind: str, changed: float, place: str) -> None:
    found = features_of(Edit("1", "count", "one two three four five six", edited), PAIR)
    assert (found.type, found.first_change) == (kind, place)
    assert found.share_changed == pytest.approx(changed)
    assert (found.words, found.growth) == (6, len(edited.split()) - 6)
    assert found.tokens_changed == 3


def test_the_same_text_has_nothing_changed() -> None:
    found = all_features([Edit("1", "p", "one", "one"), Edit("2", "p", "", "one")], [PAIR, PAIR])
    assert found[0] == EditFeatures("mixed", 0, 3, "first third", 1, 0)
    assert (found[1].type, found[1].share_changed, found[1].words) == ("insertion", 1, 0)
