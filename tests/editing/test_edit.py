"""From responses to edits, and from edits to those that can be learned from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from redpencil.editing.edit import EditStyle, edit_job, edit_responses
from redpencil.editing.prompt import SMALLER, parse_template
from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Failure, Message, Request, Result, ScriptedProvider, StopReason, Usage
from redpencil.providers.cache import open_cache
from redpencil.providers.job import Plan, Spent
from redpencil.records import Edit, EditOutcome, Response, split_usable


@dataclass
class Recorder:
    """Answers from a list and remembers what it was asked. What has no answer left fails."""

    results: list[Result]
    name: str = "recorder"
    asked: list[list[Message]] = field(default_factory=list)

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"provider": "recorder"}

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        for request in requests:
            self.asked.append(list(request.messages))
            yield request, self.results[len(self.asked) - 1]


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


def test_white_space_is_written_in_one_way_before_and_after() -> None:
    texts = ["it  is lyon . ", "it is rome ."]
    asked = Recorder([Completion("it is  paris . "), Completion("it is  rome . ")])
    spans = [{"start": 7, "end": 11}]
    responses = [Response(str(n), f"q{n}", text, meta={"spans": spans}) for n, text in enumerate(texts)]
    first, second = edit_responses(responses, asked, EditStyle(normalise_spacing=True))
    assert "it is lyon ." in asked.asked[0][0].content
    assert (first.original, first.edited, first.outcome) == ("it is lyon .", "it is paris .", EditOutcome.EDITED)
    assert first.meta["spans"] == [{"start": 6, "end": 10}]
    assert (second.original, second.edited, second.outcome) == (texts[1], texts[1], EditOutcome.UNCHANGED)


class Backwards(ScriptedProvider):
    """Answers when it has heard all, the last request first."""

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Result]]:
        return super().answer(reversed(list(requests)))


def test_ids_and_order_are_those_of_the_responses_whatever_comes_first() -> None:
    responses = [Response(name, name, "lyon lyon") for name in ("b", "a", "c")]
    edits = list(edit_responses(responses, Backwards("fixer", _fix)))
    assert [(edit.id, edit.prompt, edit.edited) for edit in edits] == [(name, name, "paris paris") for name in "bac"]


def test_unusable_answers_are_kept_beside_the_original() -> None:
    completions: list[Result] = [
        Completion("it is ly", StopReason.LENGTH),
        Completion("no", StopReason.REFUSAL),
        Completion(" "),
        Completion("it is lyon ."),
    ]
    responses = [Response(str(i), f"q{i}", "it is lyon .") for i in range(4)]
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
    template = parse_template("{question}\n\n{input}\n\n{response}")
    list(edit_responses(responses, editor, EditStyle(template)))
    assert editor.asked == [[Message("user", "q\n\ncontext\n\na")], [Message("user", "q\n\na")]]


def test_a_prompt_that_holds_its_input_is_asked_about_in_parts() -> None:
    editor = Recorder([Completion("b"), Completion("b")])
    meta = {"instruction": "Name it.", "input": "a cat"}
    both = Response("1", "Name it.\n\na cat", "Tom", meta=meta)
    apart = Response("2", "Name it.", "Tim", meta=meta)
    list(edit_responses([both, apart], editor, EditStyle(parse_template("{question}|{input}|{response}"))))
    assert [turns[0].content for turns in editor.asked] == ["Name it.|a cat|Tom", "Name it.|a cat|Tim"]


def test_an_input_that_is_no_text_names_the_response() -> None:
    with pytest.raises(RedpencilError, match=r"'r9'.*list, not a text"):
        list(edit_responses([Response("r9", "q", "a", meta={"input": ["b"]})], Recorder([])))


def test_entries_of_the_users_meta_with_the_name_of_an_edits_are_renamed() -> None:
    own = {"kept": "k", "answer": "a", "problem": "p", "retry": 1, "response_kept": 2, "model": "m", "finished": "f"}
    responses = [Response("1", "q", LONG, meta=own), Response("2", "q", LONG, "sft", finished=False, meta=own)]
    plain, told = edit_responses(responses, Recorder([Completion("one two three 4")]))
    moved = {"response_answer": "a", "response_problem": "p", "response_retry": 1, "response_kept": 2}
    moved["response_response_kept"] = "k"
    assert plain.meta == {**moved, "kept": 0.75, "model": "m", "finished": "f"}
    assert told.meta == {
        **moved,
        **{"kept": 0.75, "model": "sft", "finished": False, "response_model": "m", "response_finished": "f"},
    }


def test_equal_responses_to_equal_prompts_are_asked_about_once() -> None:
    editor = Recorder([Completion("b")])
    edits = list(edit_responses([Response("1", "q", "a"), Response("2", "q", "a")], editor))
    assert [(edit.id, edit.edited) for edit in edits] == [("1", "b"), ("2", "b")]
    assert len(editor.asked) == 1


def test_a_request_that_failed_is_an_outcome_with_its_reason() -> None:
    editor = Recorder([Failure("status 500"), Completion("b")])
    edits = list(edit_responses([Response("1", "q", "a"), Response("2", "r", "a")], editor))
    assert [(edit.outcome, edit.edited) for edit in edits] == [(EditOutcome.FAILED, "a"), (EditOutcome.EDITED, "b")]
    assert edits[0].meta == {"problem": "status 500"}
    assert len(editor.asked) == 2  # not again in the same run


LONG = "one two three four"
HALF = EditStyle(min_kept=0.5)


@pytest.mark.parametrize(
    ("second", "outcome", "edited", "retry"),
    [
        # The first answer keeps one of four words. Of the second ones the better counts.
        (Completion("one two three 4"), EditOutcome.EDITED, "one two three 4", ("edited", 0.75)),
        (Completion("1 2 3 4"), EditOutcome.EDITED, "one 2 3 4", ("edited", 0.0)),
        (Completion(LONG), EditOutcome.UNCHANGED, LONG, ("unchanged", 1.0)),
        (Completion("one", StopReason.LENGTH), EditOutcome.EDITED, "one 2 3 4", ("truncated", None)),
        (Completion("", StopReason.REFUSAL), EditOutcome.EDITED, "one 2 3 4", ("refused", None)),
        (Failure("status 500"), EditOutcome.EDITED, "one 2 3 4", ("failed", None)),
    ],
)
def test_an_edit_that_keeps_too_little_is_asked_for_once_more_and_that_is_recorded(
    second: Result, outcome: EditOutcome, edited: str, retry: tuple[str, float | None]
) -> None:
    editor = Recorder([Completion("one 2 3 4"), second])
    [edit] = edit_responses([Response("1", "q", LONG)], editor, HALF)
    assert (edit.outcome, edit.edited) == (outcome, edited)
    note = {"first_kept": 0.25, "outcome": retry[0]} | ({} if retry[1] is None else {"second_kept": retry[1]})
    assert edit.meta["retry"] == note
    assert len(editor.asked) == 2


def test_the_second_request_goes_on_from_the_first_answer() -> None:
    editor = Recorder([Completion("one 2 3 4"), Completion("one two three 4")])
    list(edit_responses([Response("1", "q", LONG)], editor, HALF))
    human, begun = editor.asked[0]
    assert editor.asked[1] == [
        human,
        Message("assistant", f"{begun.content}\n\none 2 3 4"),
        Message("user", SMALLER),
        begun,
    ]


@pytest.mark.parametrize("answer", [LONG, "one two 3 4", "I cannot do that.", ""])
def test_nobody_is_asked_twice_for_a_small_edit_or_for_none(answer: str) -> None:
    editor = Recorder([Completion(answer)])
    [edit] = edit_responses([Response("1", "q", LONG)], editor, HALF)
    assert len(editor.asked) == 1
    assert "retry" not in edit.meta


def test_a_plan_counts_what_a_run_will_ask() -> None:
    # "é" has two bytes in UTF-8; the template's own words come on top.
    responses = [Response("1", "q", "é a"), Response("2", "q", "é a"), Response("3", "r", "b"), Response("4", "s", " ")]
    style = EditStyle(parse_template("{question} {response}"))
    with open_cache() as cache:
        editor = Recorder([Completion("c"), Failure("no")])
        before = edit_job(responses, editor, style, cache).plan()
        list(edit_job(responses, editor, style, cache).ask())
        after = edit_job(responses, editor, style, cache).plan()
    # To ask: "q é a" (6 bytes) and "r b" (3 bytes), for answers of 4 and 1 bytes.
    assert before == Plan(rows=4, skipped=1, to_ask=2, input_bytes=9, output_bytes=5)
    # The two equal ones are answered; the other failed and is due again.
    assert after == Plan(rows=4, skipped=1, complete=2, answered=1, to_ask=1, input_bytes=3, output_bytes=1)


def test_a_plan_after_the_first_answers_has_the_second_requests() -> None:
    with open_cache() as cache:
        editor = Recorder([Completion("one 2 3 4"), Completion(LONG)])
        job = edit_job([Response("1", "q", LONG)], editor, HALF, cache)
        list(job.ask())
        assert job.plan().to_ask == 1
        list(job.ask())
        assert job.plan().to_ask == 0


def test_tokens_are_those_of_every_answer_once() -> None:
    responses = [Response("1", "q", LONG), Response("2", "q", LONG), Response("3", "r", LONG)]
    results: list[Result] = [
        Completion("one 2 3 4", usage=Usage(10, 4)),
        Completion("one two 3", usage=None),
        Completion(LONG, usage=Usage(20, 5)),
    ]
    with open_cache() as cache:
        job = edit_job(responses, Recorder(results), HALF, cache)
        for _ in range(2):
            list(job.ask())
        # The first answer and the second one about responses 1 and 2; the answer about 3 says nothing of tokens.
        assert job.spent() == Spent(live=Usage(30, 9), batch=Usage(0, 0))


def test_a_response_without_an_answer_says_so_when_it_is_read() -> None:
    with open_cache() as cache:
        [edit] = edit_job([Response("1", "q", "a")], Recorder([]), EditStyle(), cache).results()
    assert (edit.outcome, edit.meta) == (EditOutcome.FAILED, {"problem": "never asked"})


UNLIKE = "Such weather was seen by nobody before, and everybody talked about that."
FACTS = "The bridge was opened in 1932. It is painted every ten years. Trains cross it."


@pytest.mark.parametrize(
    ("second", "outcome", "retry"),
    [
        (Completion(FACTS.replace("1932", "1933")), EditOutcome.EDITED, {"outcome": "edited", "second_kept": 0.9444}),
        (Completion(FACTS), EditOutcome.UNCHANGED, {"outcome": "unchanged", "second_kept": 1.0}),
        (Completion(UNLIKE), EditOutcome.UNCERTAIN, {"outcome": "uncertain"}),
        (Failure("status 500"), EditOutcome.UNCERTAIN, {"outcome": "failed"}),
    ],
)
def test_an_uncertain_answer_is_asked_for_once_more_and_kept_to_be_looked_at(
    second: Result, outcome: EditOutcome, retry: dict[str, Any]
) -> None:
    editor = Recorder([Completion(UNLIKE), second])
    [edit] = edit_responses([Response("1", "Tell me about the bridge.", FACTS)], editor, HALF)
    assert (edit.outcome, edit.meta["retry"]) == (outcome, retry)
    assert edit.meta.get("answer") == (UNLIKE if outcome is EditOutcome.UNCERTAIN else None)
    assert (edit.edited == FACTS) is (outcome is not EditOutcome.EDITED)


def test_nothing_learns_from_an_uncertain_answer() -> None:
    [edit] = edit_responses([Response("1", "Tell me about the bridge.", FACTS)], Recorder([Completion(UNLIKE)]))
    assert edit.outcome is EditOutcome.UNCERTAIN
    assert split_usable([edit]) == ([], {"uncertain": 1})
