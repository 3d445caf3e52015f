"""References as an editor: the nearest by changed words, and answers that stand."""

import pytest

from redpencil.editing.references import edit_to_reference, nearest
from redpencil.errors import RedpencilError
from redpencil.records import EditOutcome, Response

REFERENCES = ["She goes to school .", "She walks to her school .", "He goes to a school ."]


def response(text: str, references: object = REFERENCES, **changes: object) -> Response:
    return Response("r1", "Mend it.", text, meta={"references": references, "kind": "x"}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She go to school .", REFERENCES[0]),
        ("She walk to her school .", REFERENCES[1]),
        ("He goes to an school .", REFERENCES[2]),
        ("", REFERENCES[0]),  # five words of six
        ("X goes to school .", REFERENCES[0]),  # 1 word, and not 2
    ],
)
def test_the_reference_that_takes_the_fewest_words_is_taken(text: str, expected: str) -> None:
    assert nearest(text, REFERENCES) == expected


def test_of_equals_the_first_is_taken() -> None:
    assert nearest("a b", ["a x", "a y", "z b"]) == "a x"


def test_an_answer_becomes_its_nearest_reference() -> None:
    row = edit_to_reference(response("She go to school .", model="sft", finished=False))
    assert (row.id, row.original, row.edited) == ("r1", "She go to school .", REFERENCES[0])
    assert (row.outcome, row.editor) == (EditOutcome.EDITED, "the nearest reference")
    expected = {"references": REFERENCES, "kind": "x", "model": "sft", "finished": False, "kept": 0.8}
    assert row.meta == expected


def test_an_answer_that_differs_in_white_space_alone_stays_as_it_is() -> None:
    row = edit_to_reference(response("She goes to school."))
    assert (row.edited, row.outcome) == ("She goes to school.", EditOutcome.UNCHANGED)


def test_white_space_within_a_text_counts_where_it_says_something() -> None:
    code = ["if x:\n    y()", "if x: y()"]
    row = edit_to_reference(response("if x:\n  y()", code), spacing=True)
    assert (row.edited, row.outcome) == (code[0], EditOutcome.EDITED)
    assert edit_to_reference(response("if x: y()", code), spacing=True).edited == code[1]
    assert edit_to_reference(response(" if x:\n    y()\n", code), spacing=True).outcome is EditOutcome.UNCHANGED


@pytest.mark.parametrize("references", [None, [], "She goes.", ["She goes.", ""], [["She goes."]]])
def test_a_prompt_without_references_is_named(references: object) -> None:
    with pytest.raises(RedpencilError, match="'r1'") as raised:
        edit_to_reference(response("She go.", references))
    assert raised.value.field == "references"
    assert raised.value.hint
