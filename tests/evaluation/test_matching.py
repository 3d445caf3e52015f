"""Rows of two files, matched by id or else by prompt, and never in part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.matching import by_prompt, match_note, match_rows
from redpencil.records import Response

NOUNS = ("policy response", "reference response")


def rows(*pairs: tuple[str, str], side: str = "") -> list[Response]:
    return [Response(id_, prompt, f"{side}{id_}") for id_, prompt in pairs]


def ids(first: list[Response], second: list[Response]) -> list[tuple[str, str]]:
    return [(one.id, other.id) for one, other in match_rows(first, second, NOUNS)]


def test_rows_of_one_id_and_prompt_belong_together() -> None:
    assert ids(rows(("b", "q2"), ("a", "q1")), rows(("a", "q1"), ("b", "q2"))) == [("b", "b"), ("a", "a")]
    # even where one prompt has several answers, in another order
    assert ids(rows(("a", "q"), ("b", "q")), rows(("b", "q"), ("a", "q"))) == [("a", "a"), ("b", "b")]


@pytest.mark.parametrize(
    ("first", "second", "matched", "count"),
    [
        # all ids differ, as in two files of one tool
        ((("ours-1", "q1"), ("ours-2", "q2")), (("theirs-1", "q2"), ("theirs-2", "q1")), (1, 0), 2),
        # some agree
        ((("a", "q1"), ("b", "q2")), (("a", "q1"), ("x", "q2")), (0, 1), 1),
        # the ids are row numbers of another order
        ((("1", "q1"), ("2", "q2")), (("1", "q2"), ("2", "q1")), (1, 0), 2),
        # two answers to each prompt: in order
        ((("a", "q"), ("b", "p"), ("c", "q")), (("x", "q"), ("y", "q"), ("z", "p")), (0, 2, 1), 3),
        # one of two answers to a prompt has its id on both sides
        ((("a", "q"), ("b", "q")), (("x", "q"), ("a", "q")), (1, 0), 1),
    ],
)
def test_other_ids_are_matched_by_prompt(
    first: tuple[tuple[str, str], ...], second: tuple[tuple[str, str], ...], matched: tuple[int, ...], count: int
) -> None:
    expected = [(id_, second[place][0]) for (id_, _), place in zip(first, matched, strict=True)]
    assert ids(rows(*first), rows(*second)) == expected
    pairs = match_rows(rows(*first), rows(*second), NOUNS)
    assert by_prompt(pairs) == count
    assert match_note(count, 12_000) == f"{count} of 12,000 rows were matched by prompt, as their ids differ"
    assert match_note(0, 3) == ""


@pytest.mark.parametrize(
    ("first", "second", "problem", "file", "field"),
    [
        ("a:q b:r", "x:q", "no reference response has the id 'b' or its prompt (1 of 2 missing)", "1", "id"),
        ("a:q", "x:q y:r z:s", "no policy response has the id 'y' or its prompt (2 of 3 missing)", "2", "id"),
        ("a:q a:r", "a:q", "more than one policy response has the id 'a'", "1", "id"),
        ("a:q", "a:q a:q", "more than one reference response has the id 'a'", "2", "id"),
        ("a:q", "a:r", "different prompts under the id 'a' (policy response and reference response)", "1", "prompt"),
        ("a:q b:q", "x:q", "2 against 1 rows (policy response, reference response) with other ids have", "1", "prompt"),
        ("a:q", "x:q y:q", "1 against 2 rows (policy response, reference response) with other ids have", "2", "prompt"),
        ("a:q b:q", "a:q", "no reference response has the id 'b' or its prompt (1 of 2 missing)", "1", "id"),
        ("a:q", "x:q ", "", "", ""),
    ],
)
def test_rows_without_a_counterpart_are_refused(first: str, second: str, problem: str, file: str, field: str) -> None:
    sides = [rows(*(tuple(one.split(":")) for one in side.split())) for side in (first, second)]
    if not problem:
        assert match_rows(*sides, NOUNS)
        return
    with pytest.raises(RedpencilError) as caught:
        match_rows(*sides, NOUNS, ("1", "2"))
    assert caught.value.problem.startswith(problem)
    assert (caught.value.file, caught.value.field) == (file, field)
    assert caught.value.hint


def test_conversations_of_one_text_are_told_apart_where_both_files_have_them() -> None:
    def row(name: str, system: str | None) -> Response:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": "q"}]
        return Response(name, "q", name, meta={} if system is None else {"messages": messages})

    polite, brief = row("a", "Be polite."), row("b", "Be brief.")
    assert ids([polite, brief], [row("x", "Be brief."), row("y", "Be polite.")]) == [("a", "y"), ("b", "x")]
    # under one id, too
    assert ids([polite, brief], [row("a", "Be brief."), row("b", "Be polite.")]) == [("a", "b"), ("b", "a")]
    with pytest.raises(RedpencilError, match="no reference response has the id 'a' or its prompt"):
        match_rows([polite], [row("x", "Be rude.")], NOUNS)
    assert ids([polite, brief], [row("x", None), row("y", "Be polite.")]) == [("a", "x"), ("b", "y")]


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.booleans()), max_size=8), st.randoms())
def test_each_row_is_matched_once_with_one_of_its_prompt(kinds: list[tuple[str, bool]], order: object) -> None:
    first = rows(*((f"{n}", prompt) for n, (prompt, _) in enumerate(kinds)))
    second = rows(*((f"{n}" if same else f"x{n}", prompt) for n, (prompt, same) in enumerate(kinds)))
    order.shuffle(second)  # type: ignore[attr-defined]
    pairs = match_rows(first, second, NOUNS)
    assert [one for one, _ in pairs] == first
    assert sorted(other.id for _, other in pairs) == sorted(row.id for row in second)
    assert all(one.prompt == other.prompt for one, other in pairs)
    assert by_prompt(pairs) == sum(not same for _, same in kinds)
