"""What several people's edits of one text agree on."""

import numpy as np

from redpencil.evaluation.agreed import agreed_changes, deleted_tokens, each_other
from redpencil.records import Pair


def pair(name: str, changed: str, chosen: str, unchanged: list[tuple[int, int]]) -> Pair:
    """A pair whose original has as many tokens as `changed` has letters; x = changed."""
    flags = tuple(letter == "x" for letter in changed)
    added = tuple(letter == "x" for letter in chosen)
    return Pair(
        name,
        (1,),
        rejected_ids=tuple(range(10, 10 + len(flags))),
        chosen_ids=tuple(range(50, 50 + len(added))),
        rejected_changed=flags,
        chosen_changed=added,
        unchanged=tuple(unchanged),
    )


# "a b c d e f": ann replaces b and takes f out; bob replaces b and takes e f out; cy takes e f out alone.
ANN = pair("ann", ".x...x", ".x...", [(0, 0), (2, 2), (3, 3), (4, 4)])
BOB = pair("bob", ".x..xx", ".xx..", [(0, 0), (2, 3), (3, 4)])
CY = pair("cy", "....xx", "....", [(0, 0), (1, 1), (2, 2), (3, 3)])


def test_tokens_that_two_of_three_changed() -> None:
    other = pair("other", "x..", "x..", [(1, 1), (2, 2)])
    found = agreed_changes([ANN, other, BOB, CY], ["t", "u", "t", "t"])
    assert found is not None
    assert found.rows == (0,)
    assert found.labels[0].tolist() == [False, True, False, False, True, True]
    assert {name: np.flatnonzero(rows[0]).tolist() for name, rows in found.types.items()} == {
        "replaced": [1],
        "deleted": [4, 5],
        "1 token": [1],
        "2 or 3 tokens": [4, 5],
    }
    assert found.people[0].astype(int).tolist() == [[0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]


def test_each_person_against_the_others() -> None:
    found = agreed_changes([ANN, BOB, CY], ["t"] * 3)
    assert found is not None
    scores, labels, numbers = each_other(found)
    assert numbers == [0, 0, 0]
    assert [row.tolist() for row in scores] == found.people[0].astype(float).tolist()
    assert [np.flatnonzero(row).tolist() for row in labels] == [[4, 5], [5], [1, 5]]


def test_two_people_cannot_be_held_against_others() -> None:
    found = agreed_changes([ANN, BOB], ["t", "t"])
    assert found is not None
    assert found.labels[0].tolist() == [False, True, False, False, False, True]
    assert each_other(found) == ([], [], [])


def test_single_edits_agree_with_nobody() -> None:
    assert agreed_changes([ANN, BOB], ["t", "u"]) is None
    assert agreed_changes([], []) is None


def test_what_has_nothing_in_its_place() -> None:
    assert deleted_tokens(ANN).tolist() == [False] * 5 + [True]
    assert deleted_tokens(BOB).tolist() == [False] * 4 + [True, True]
    assert deleted_tokens(CY).tolist() == [False] * 4 + [True, True]
    # an insertion beside a deletion makes it a replacement
    beside = pair("beside", ".x.", ".x.", [(0, 0), (2, 2)])
    assert deleted_tokens(beside).tolist() == [False] * 3
