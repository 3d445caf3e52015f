"""Marks around a response: taken off where they stand around it, and kept where the original has them."""

import time

import pytest

from redpencil.editing.relation import Source
from redpencil.editing.wrapping import UnfinishedThoughtError, without_wrapping

OLD = "The capital of Australia is Sydney. It has five million people."
NEW = "The capital of Australia is Canberra. It has five million people."
BAR, UNDER = "\uff5c", "\u2581"


@pytest.mark.parametrize(
    "answer",
    [
        f"{NEW}<|im_end|>",
        f"{NEW}</s>",
        f"{NEW}\n<eos>",
        f"{NEW}<end_of_turn>\n",
        f"{NEW}<{BAR}end{UNDER}of{UNDER}sentence{BAR}>",
        f"{NEW}<made_up_end/>",
        f"{NEW} [EOS]",
        f"{NEW}[/INST]",
        f"[INST] {NEW} [/INST]",
        f"<s> {NEW} </s>",
        f"<bos>{NEW}",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{NEW}<|eot_id|>",
        f"<|im_start|>assistant\n{NEW}<|im_end|>\n<|im_start|>user\nThank you",
        f"<start_of_turn>model\n{NEW}<end_of_turn>",
        f"<|channel|>analysis<|message|>Sydney is wrong.<|en"
        f"d|><|start|>assistant<|channel|>final<|message|>{NEW}<|return|>",
        f"<|begin_of_thought|>Hm.<|end_of_thought|><|begin_of_solution|>{NEW}<|end_of_solution|>",
        f"<thinking>Sydney is wrong.</thinking>\n\n{NEW}",
        f"[THINK]Sydney is wrong.[/THINK]{NEW}",
        f"\u25c1think\u25b7Hm.\u25c1/think\u25b7{NEW}",
        f"<\u00fcberlegung>Sydney ist falsch.</\u00fcberlegung>\n{NEW}",
        f"<made_up>Sydney is wrong.</made_up>\n{NEW}",
        f"<think>a <think> b</think> c</think>{NEW}",
        f"<think>one</think>\n<reflection>two</reflection>\n<answer>{NEW}</answer>",
        f"<think>\n{OLD}\nis wrong.</think>{NEW}",
        f"The template has opened it: Sydney.</think>\n{NEW}",
        f"```\n{NEW}\n```",
        f"~~~text\n{NEW}\n~~~",
        f"```markdown\n{NEW}",
        f"Here:\n\n```\n{NEW}\n```\n\nIt is better now.",
        f"\u201e{NEW}\u201c",
        f"**{NEW}**",
        f"'{NEW}'",
        f'{{"response": "{NEW}", "explanation": "Sydney is wrong."}}',
        f'{{"original": "Sydney it was. {OLD}", "edited": "{NEW}"}}',
        f'{{"result": {{"text": ["{NEW}"]}}}}',
        f'Here is the JSON:\n{{"edited": "{NEW}"}}\n\nOne word.',
        f"{{'edited': '{NEW}'}}",
        f"<original>Sydney it was. {OLD}</original>\n<edited>{NEW}</edited>",
        f"[response]{NEW}[/response]",
        f"[START]\n{NEW}\n[END]",
        f"---\n\n{NEW}\n\n---",
        f"===\n{NEW}\n===",
        f"{NEW}\n\n###",
        f"{NEW}\n```",
        f"> {NEW}",
        f'"""\n{NEW}\n"""',
        f"_{NEW}_",
        f"[{NEW}]",
        f"{{{{{NEW}}}}}",
        f"\\boxed{{{NEW}}}",
        f"|\n  {NEW}",
        f"```thinking\nSydney is wrong.\n```\n\n{NEW}",
        f"analysisSydney is wrong.assistantfinal{NEW}",
    ],
)
def test_marks_of_any_name_around_the_response_are_taken_off(answer: str) -> None:
    assert without_wrapping(answer, Source(OLD)) == NEW
    assert without_wrapping(answer.replace(NEW, OLD), Source(OLD)) == OLD


@pytest.mark.parametrize(
    ("original", "edited"),
    [
        ("Write </s> at the end: a</s>", "Write </s> at the end: b</s>"),
        ("It ends in <|im_end|>", "It stops at <|im_end|>"),
        ("<|x|> a b", "<|y|> a b"),
        ("Hello world, how are you?", "Hello <b>brave</b> world, how are you?"),
        ("Send it to me, please, today.", "Send it, please, to <email>"),
        ("<div>one two", "<div>one two</div>"),
        ("<p>one</p><p>two</p>", "<div>one</div><div>three</div>"),
        ("Use print for that.", "Use print for that.\n```python\nprint(1)\n```"),
        ("```python\na b\n```", "```python\na c\n```"),
        ("A:\n```\none\n```\nB", "A:\n```\ntwo\n```\nB"),
        ('"a b," he said', '"a c," he said'),
        ("<think>2 + 2</think> It is 5.", "<think>2 + 2</think> It is 4."),
        ("Dear X,\n[NAME]", "Dear Y,\n[NAME]"),
        ("Dear X, thank you.", "Dear X, thank you.\n\n[YOUR NAME]"),
        ("It ends with im_end.", "It ends with <|im_end|>"),
        ("<h1>a b</h1>", "<body><h1>a b</h1></body>"),
        ("a b", "---\ntitle: c\n---\na b"),
        ('{"a": "b c"}', '{"a": "b d"}'),
        ("a b", "See [a](b)"),
    ],
)
def test_marks_that_belong_to_the_text_stay(original: str, edited: str) -> None:
    assert without_wrapping(edited, Source(original)) == edited
    assert without_wrapping(original, Source(original)) == original


def test_a_fence_with_a_language_around_code_is_no_part_of_it() -> None:
    assert without_wrapping("```python\nprint('b')\n```", Source("print('a')")) == "print('b')"
    assert without_wrapping('```json\n{"a": 2}\n```', Source('{"a": 1}')) == '{"a": 2}'
    assert without_wrapping("```print('b')```", Source("print('a')")) == "print('b')"
    assert without_wrapping("````md\nA\n```\nx\n```\nB\n````", Source("A\n```\ny\n```\nB")) == "A\n```\nx\n```\nB"


@pytest.mark.parametrize(
    "answer",
    [
        "<think>Sydney is wrong, so I'd better say",
        "<thinking>\nThe user wants me to",
        "[THINK]Sydney",
        "\u25c1think\u25b7The capital of Australia is",
        "<|channel|>analysis<|message|>Sydney is wrong. I should",
        "Sure!\n<reasoning>Sydney",
    ],
)
def test_a_thought_without_an_end_is_no_response(answer: str) -> None:
    with pytest.raises(UnfinishedThoughtError):
        without_wrapping(answer, Source(OLD))


@pytest.mark.parametrize("piece", ["<a> ", "<|a|> x ", "`", "(a ", "."])
def test_long_texts_of_marks_take_no_time(piece: str) -> None:
    text = piece * 20_000
    began = time.perf_counter()
    without_wrapping(f"{text} b", Source(f"{text} a"))
    assert time.perf_counter() - began < 15


def test_quotation_marks_around_a_text_that_quotes() -> None:
    old, new = 'He said "no" to it, twice.', 'He said "yes" to it, twice.'
    assert without_wrapping(f'"{new}"', Source(old)) == new
    titles = '"Lulu" is an opera, as is "Wozzeck"'
    assert without_wrapping(titles, Source("Lulu is an opera, as is Tosca")) == titles
