"""The prompt of Figure 2 and users' own templates."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redpencil.editing.prompt import (
    FIGURE_2,
    PRIMERS,
    SMALLER,
    EditTemplate,
    Primer,
    ask_again,
    parse_template,
    place_primer,
    read_template,
    render_edit_prompt,
)
from redpencil.errors import RedpencilError
from redpencil.providers.base import Message

PAPER = Path(__file__).parents[2] / ".." / "shared" / "paper" / "paper.md"
LAST_PARAGRAPH = FIGURE_2.human.split("\n\n")[-1]


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not here (../shared/paper/paper.md)")
def test_the_default_template_is_figure_2_word_for_word() -> None:
    template = f"Human: {FIGURE_2.human}\n\nAssistant: {FIGURE_2.assistant}"
    as_printed = template.replace("{question}", "<question>").replace("{input}", "<input>")
    as_printed = as_printed.replace("{response}", "<original response>")
    paper = PAPER.read_text(encoding="utf-8")
    assert f"Claude-2 Prompt:\n\n{as_printed}\n\nFigure 2: Prompt for" in paper


def test_a_prompt_with_an_input() -> None:
    human, assistant = render_edit_prompt("Sum up.", "It is long.", "A long text.")
    assert human == Message(
        "user", f"Question: Sum up.\n\nInput: A long text.\n\nResponse: It is long.\n\n{LAST_PARAGRAPH}"
    )
    assert assistant == Message("assistant", "Here is my attempt to make minimal changes to improve the response:")


def test_without_an_input_its_paragraph_is_left_out() -> None:
    human, _ = render_edit_prompt("Why?", "Because.")
    assert human.content == f"Question: Why?\n\nResponse: Because.\n\n{LAST_PARAGRAPH}"


def test_braces_in_the_texts_are_not_expanded_again() -> None:
    human, _ = render_edit_prompt("print {response} and {input}", "use {question} and {{input}}", "{response}")
    assert human.content == (
        "Question: print {response} and {input}\n\nInput: {response}\n\n"
        f"Response: use {{question}} and {{{{input}}}}\n\n{LAST_PARAGRAPH}"
    )


texts = st.text() | st.lists(st.sampled_from(["{question}", "{input}", "{response}", "{", "}", "\\1", "\n\n"])).map(
    "".join
)


@given(question=texts, response=texts, given_input=texts)
@example(question="{response}", response="{question}", given_input="{input}")
@example(question="\\g<0>", response="Assistant: {x}\n\nInput: {input}\n\n", given_input="")
def test_every_text_stands_in_the_prompt_verbatim(question: str, response: str, given_input: str) -> None:
    human, _ = render_edit_prompt(question, response, given_input)
    block = f"Input: {given_input}\n\n" if given_input else ""
    assert human.content == f"Question: {question}\n\n{block}Response: {response}\n\n{LAST_PARAGRAPH}"


def test_a_users_template(tmp_path: Path) -> None:
    path = tmp_path / "edit.txt"
    path.write_bytes(b'\xef\xbb\xbfHuman: {"task": "{question}"}\r\n{response}\r\n\r\nAssistant: Better:\r\n')
    template = read_template(path)
    assert template == EditTemplate('{"task": "{question}"}\n{response}', "Better:")
    assert render_edit_prompt("q", "r", template=template) == [
        Message("user", '{"task": "q"}\nr'),
        Message("assistant", "Better:"),
    ]


def test_a_template_need_not_prime() -> None:
    template = parse_template("{question}\n{response}")
    assert render_edit_prompt("q", "r", template=template) == [Message("user", "q\nr")]


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{question}\n\nContext:\n{input}\n\n{response}", "q\n\nr"),
        ("Q: {question}\nI: {input}\nR: {response}", "Q: q\nR: r"),
        ("Q: {question} ({input}) R: {response}", "Q: q () R: r"),
    ],
)
def test_what_is_left_out_without_an_input(text: str, rendered: str) -> None:
    assert render_edit_prompt("q", "r", template=parse_template(text))[0].content == rendered


@pytest.mark.parametrize(
    ("text", "missing"),
    [("{question}", "response"), ("{response}", "question"), ("{question}\nAssistant: {response}", "response")],
)
def test_a_template_without_a_placeholder_is_refused(tmp_path: Path, text: str, missing: str) -> None:
    path = tmp_path / "edit.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RedpencilError) as error:
        read_template(path)
    assert (error.value.file, error.value.field) == (str(path), missing)


def test_an_input_without_a_place_is_not_lost() -> None:
    with pytest.raises(RedpencilError, match=r"no \{input\}"):
        render_edit_prompt("q", "r", "context", parse_template("{question} {response}"))


def test_an_unreadable_template_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"nowhere\.txt"):
        read_template(tmp_path / "nowhere.txt")
    (tmp_path / "latin.txt").write_bytes(b"{question} {response} \xe9")
    with pytest.raises(RedpencilError, match="UTF-8 at byte 22"):
        read_template(tmp_path / "latin.txt")


TURNS = [Message("user", "please"), Message("assistant", "Here it is:")]


def test_the_beginning_of_the_answer_goes_where_a_model_takes_it() -> None:
    assert place_primer(TURNS, "turn") == TURNS
    assert place_primer(TURNS, "text") == [Message("user", "please\n\nAssistant: Here it is:")]
    assert place_primer(TURNS, "none") == [Message("user", "please")]


@pytest.mark.parametrize("primer", PRIMERS)
def test_what_is_not_primed_stays_as_it_is(primer: Primer) -> None:
    assert place_primer(TURNS[:1], primer) == TURNS[:1]


def test_the_whole_of_figure_2_reaches_a_model_word_for_word_as_one_text() -> None:
    [turn] = place_primer(render_edit_prompt("<question>", "<original response>", "<input>"), "text")
    assert f"Human: {turn.content}" == (
        "Human: Question: <question>\n\nInput: <input>\n\nResponse: <original response>\n\nPlease make minimal changes "
        "to the above response in order to make it a more helpful response to the question. NOTE It is important to "
        "only make minimal changes to the response \u2014 try to keep most of the response unchanged.\n\n"
        "Assistant: Here is my attempt to make minimal changes to improve the response:"
    )


def test_a_second_request_comes_after_the_answer_and_is_primed_as_the_first_was() -> None:
    again = Message("user", SMALLER)
    assert ask_again(TURNS, "x") == [TURNS[0], Message("assistant", "Here it is:\n\nx"), again, TURNS[1]]
    assert ask_again(TURNS[:1], "x") == [TURNS[0], Message("assistant", "x"), again]
