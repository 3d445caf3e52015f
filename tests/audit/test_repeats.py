"""Rows that repeat others, and rows that contradict others."""

from hypothesis import given
from hypothesis import strategies as st

from redpencil.audit.repeats import Groups, Repeats, RepeatTally, text_hash
from redpencil.audit.rules import measure
from redpencil.records import Edit


def repeats(*rows: tuple[str, str, str], ids: str = "", editors: str = "", examples: int = 3) -> Repeats:
    """Rows of prompt, original and edited text; the same text is a response that was found good."""
    tally = RepeatTally()
    for number, (prompt, original, edited) in enumerate(rows):
        same = original == edited
        editor = editors[number] if editors else ""
        edit = Edit(ids[number] if ids else str(number), prompt, original, edited, editor)
        tally.add(edit, None if same else measure(original, edited), left=same)
    return tally.result(examples)


def test_nothing_stands_there_twice() -> None:
    nothing = Groups(0, 0)
    assert repeats() == Repeats(*[nothing] * 9)
    assert repeats(("p", "red cat", "blue cat"), ("q", "red cat", "green cat")) == Repeats(*[nothing] * 9)


def test_duplicates() -> None:
    found = repeats(("p", "a", "b"), ("p", "a", "b"), ("p", "a", "b"), ("q", "a", "b"), ids="xyxz")
    assert found.ids == Groups(1, 2, ((0, 2),))
    assert found.responses == Groups(1, 3, ((0, 1),))
    assert found.edits == Groups(1, 3, ((0, 1),))
    assert found.edited_differently.groups == 0


def test_one_response_edited_in_different_ways() -> None:
    found = repeats(("p", "a", "b"), ("p", "a", "c"), ("p", "a", "b"), ("q", "a", "c")).edited_differently
    assert (found.groups, found.rows) == (1, 3)
    assert {1} < set(found.examples[0]) < {0, 1, 2}


def test_edited_in_one_row_and_left_in_another() -> None:
    found = repeats(("p", "a", "b"), ("p", "a", "a"), ("p", "c", "c"), ("q", "a", "a"))
    assert found.edited_or_left == Groups(1, 2, ((0, 1),))
    assert found.edited_differently.groups == 0


def test_texts_edited_into_each_other() -> None:
    found = repeats(("p", "a", "b"), ("p", "b", "a"), ("q", "b", "a"), ("p", "b", "c")).reversed
    assert found == Groups(1, 2, ((0, 1),))


def test_words_replaced_in_both_directions() -> None:
    there, back = (
        ("p", "my red cat sat here", "my blue cat sat here"),
        ("p", "some blue hat is there", "some red hat is there"),
    )
    assert repeats(there, back).swapped == Groups(1, 2, ((0, 1),))
    # not so for another prompt, for none, for function words, and within one edit
    assert repeats(there, ("q", *back[1:])).swapped.groups == 0
    assert repeats(("", *there[1:]), ("", *back[1:])).swapped.groups == 0
    assert repeats(("p", "go to town", "go from town"), ("p", "come from town", "come to town")).swapped.groups == 0
    assert repeats(("p", "red x1 y1 z1 blue", "blue x1 y1 z1 red")).swapped.groups == 0


def test_examples_are_limited() -> None:
    rows = [("p", f"{n}", f"{n}{end}") for n in range(5) for end in "xy"]
    found = repeats(*rows, examples=2).edited_differently
    assert (found.groups, found.rows, len(found.examples)) == (5, 10, 2)


def test_hashes_know_where_a_text_ends() -> None:
    assert text_hash("ab", "c") != text_hash("a", "bc")
    assert text_hash("ab") != text_hash("ab", "")
    assert 0 <= text_hash("\ud800") < 2**64


rows = st.lists(st.tuples(st.sampled_from("pq"), st.sampled_from("abc"), st.sampled_from("abc")), max_size=12)


@given(rows)
def test_counts_are_those_of_a_slow_count_and_of_any_order(cases: list[tuple[str, str, str]]) -> None:
    found, backwards = repeats(*cases), repeats(*cases[::-1])
    for name in Repeats.__slots__:
        there, back = getattr(found, name), getattr(backwards, name)
        assert (there.groups, there.rows) == (back.groups, back.rows)
    edits = [case for case in cases if case[1] != case[2]]
    ways = {case[:2]: {other[2] for other in edits if other[:2] == case[:2]} for case in edits}
    different = {source for source, ends in ways.items() if len(ends) > 1}
    assert found.edited_differently.groups == len(different)
    assert found.edited_differently.rows == sum(case[:2] in different for case in edits)
    left = {case[:2] for case in cases if case[1] == case[2]}
    assert found.edited_or_left.groups == len(left & set(ways))
    both = {(p, *sorted((a, b))) for p, a, b in edits if (p, b, a) in edits}
    assert found.reversed.groups == len(both)
    assert found.reversed.rows == sum((p, b, a) in edits for p, a, b in edits)


def test_two_editors_of_the_same_responses_repeat_and_contradict_nothing() -> None:
    rows = [("p", "a", "b"), ("p", "c", "d"), ("p", "e", "e"), ("p", "a", "x"), ("p", "c", "d"), ("p", "e", "f")]
    found = repeats(*rows, ids="123123", editors="aaabbb")
    assert (found.ids, found.edits, found.edited_differently, found.edited_or_left) == (Groups(0, 0),) * 4
    assert found.responses.groups == 3
    assert (found.others_edited_differently.rows, found.edited_or_left_by_others.rows) == (2, 2)
    assert set(found.others_edited_differently.examples[0]) == {0, 3}
    assert set(found.edited_or_left_by_others.examples[0]) == {2, 5}


def test_an_editor_who_contradicts_himself_is_not_excused_by_others() -> None:
    rows = [("p", "a", "b"), ("p", "a", "x"), ("p", "a", "y"), ("p", "a", "a")]
    found = repeats(*rows, ids="1111", editors="aabb")
    assert found.ids == Groups(2, 4, found.ids.examples)
    assert (found.edited_differently.rows, found.others_edited_differently.groups) == (2, 0)
    assert (found.edited_or_left.rows, found.edited_or_left_by_others.groups) == (2, 0)
