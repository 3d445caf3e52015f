"""From responses to edits, and from edits to those that can be learned from."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from redpencil.editing.edit import edit_responses, minimality, split_usable
from redpencil.editing.prompt import parse_template
from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Message, StopReason
from redpencil.providers.scripted import ScriptedProvider
from redpencil.records import Edit, EditOutcome, Response


@dataclass
class Recorder:
    """Answers from a list and remembers what it was asked."""

    completions: list[Completion]
    name: str = "recorder"
    asked: list[list[Message]] = field(default_factory=list)

    def complete(self, messages: Sequence[Message]) -> Completion:
        self.asked.append(list(messages))
        return self.completions[len(self.asked) - 1]


def _fix(text: str) -> str:
    """The response of the prompt with Lyon set right, behind a preamble."""
    response = text.split("Response: ", 1)[1].split("\n\nPlease make", 1)[0]
    return "Revised response: " + response.replace("lyon", "paris")


def test_a_scripted_editor_edits() -> None:
    response = Response("7", "capital of france ?", "it is lyon .", "sft", meta={"source": "world"})
    [edit] = edit_responses([response], ScriptedProvider("fixer", _fix))
    # Of the four words it, is, lyon and the stop, three are kept.
    assert edit == Edit(
        "7",
        "capital of france ?",
        "it is lyon .",
        "it is paris .",
        editor="fixer",
        outcome=EditOutcome.EDITED,
        meta={"source": "world", "model": "sft", "kept": 0.75},
    )


def test_ids_and_order_are_kept_and_each_edit_comes_before_the_next_response_is_read() -> None:
    read: list[str] = []

    def responses() -> Iterator[Response]:
        for name in ("b", "a", "c"):
            read.append(name)
            yield Response(name, "q", "lyon lyon")

    edits = edit_responses(responses(), ScriptedProvider("fixer", _fix))
    assert read == []
    assert next(edits).id == "b"
    assert read == ["b"]
    assert [edit.id for edit in edits] == ["a", "c"]


def test_unusable_answers_are_kept_beside_the_original() -> None:
    completions = [
        Completion("it is ly", StopReason.LENGTH),
        Completion("no", StopReason.REFUSAL),
        Completion(" "),
        Completion("it is lyon ."),
    ]
    responses = [Response(str(i), "q", "it is lyon .") for i in range(4)]
    edits = list(edit_responses(responses, Recorder(completions)))
    assert [edit.edited for edit in edits] == ["it is lyon ."] * 4
    assert [(edit.outcome, edit.meta) for edit in edits] == [
        (EditOutcome.TRUNCATED, {"answer": "it is ly"}),
        (EditOutcome.REFUSED, {"answer": "no"}),
        (EditOutcome.EMPTY, {"answer": " "}),
        (EditOutcome.UNCHANGED, {"kept": 1.0}),
    ]


def test_an_empty_response_is_counted_and_not_sent() -> None:
    editor = Recorder([])
    [edit] = edit_responses([Response("1", "q", " \n", "sft")], editor)
    assert editor.asked == []
    assert edit == Edit("1", "q", " \n", " \n", "recorder", EditOutcome.EMPTY, {"model": "sft"})


def test_a_response_that_was_cut_off_says_so() -> None:
    [edit] = edit_responses([Response("1", "q", "it is", finished=False)], Recorder([Completion("it is paris")]))
    assert edit.meta["finished"] is False


def test_the_input_and_the_users_template_reach_the_editor() -> None:
    editor = Recorder([Completion("b"), Completion("b")])
    responses = [Response("1", "q", "a", meta={"input": "context"}), Response("2", "q", "a", meta={"input": None})]
    list(edit_responses(responses, editor, parse_template("{question}\n\n{input}\n\n{response}")))
    assert editor.asked == [[Message("user", "q\n\ncontext\n\na")], [Message("user", "q\n\na")]]


def test_an_input_that_is_no_text_names_the_response() -> None:
    with pytest.raises(RedpencilError, match=r"'r9'.*list, not a text"):
        list(edit_responses([Response("r9", "q", "a", meta={"input": ["b"]})], Recorder([])))


def test_progress_says_how_many_of_how_many_and_what_became_of_each() -> None:
    seen: list[tuple[int, int, str]] = []
    completions = [Completion("b"), Completion("")]
    responses = [Response("1", "q", "a"), Response("2", "q", "a")]
    list(edit_responses(responses, Recorder(completions), progress=lambda *what: seen.append(what)))
    assert seen == [(1, 2, "edited"), (2, 2, "empty")]


def test_minimality_is_the_share_of_the_originals_words_that_stay() -> None:
    assert minimality("a b c d", "a b c d") == 1.0
    assert minimality("a b c d", "a x c d") == 0.75
    assert minimality("a b c d", "w x y z") == 0.0


def test_skipped_edits_are_counted_and_the_others_come_in_order() -> None:
    def edit(original: str, edited: str, outcome: EditOutcome = EditOutcome.EDITED) -> Edit:
        return Edit("1", "q", original, edited, outcome=outcome)

    good, other = edit("a", "b"), edit("a c", "a")
    edits = [
        good,
        edit("a", "a"),
        edit("a", "a"),
        edit("", "b"),
        edit("", "", EditOutcome.EMPTY),
        edit("a", " "),
        edit("a", "b", EditOutcome.TRUNCATED),
        edit("a", "a", EditOutcome.REFUSED),
        edit("a", "a", EditOutcome.EMPTY),
        edit("a", "a", EditOutcome.UNCHANGED),
        other,
    ]
    usable, skipped = split_usable(iter(edits))
    assert usable == [good, other]
    assert skipped == Counter(
        {
            "equal to its original": 2,
            "empty response": 2,
            "empty edit": 1,
            "truncated": 1,
            "refused": 1,
            "empty": 1,
            "unchanged": 1,
        }
    )
    assert len(usable) + skipped.total() == len(edits)
