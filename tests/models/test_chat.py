"""Chat templates: turns, system messages, neighbours of one role, dates, and what stands around turns."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import pytest

from redpencil.config.recipe import CHAT_DATE
from redpencil.errors import RedpencilError
from redpencil.models.chat import ChatTemplate, fold_system, join_neighbours
from redpencil.models.codec import CHAT, load_codec, same_encoding

Folder = Callable[..., Path]
SYSTEM = {"role": "system", "content": "Be brief."}
HELLO = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "world"}
AGAIN = {"role": "user", "content": "the end"}


def template_of(folder: Path, source: str | None = None, today: date = CHAT_DATE) -> ChatTemplate:
    tokenizer = load_codec(folder).tokenizer
    if source is not None:
        tokenizer.chat_template = source
    return ChatTemplate(tokenizer, {}, today)


def test_turns_are_written_up_to_where_the_response_begins(family: Folder) -> None:
    chat = template_of(family("llama3"))
    assert chat.render([SYSTEM, HELLO, ANSWER, AGAIN]) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nworld<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nthe end<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_a_last_turn_of_the_assistant_is_left_open(family: Folder) -> None:
    assert template_of(family("gemma")).render([HELLO, ANSWER]) == (
        "<bos><start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\nworld"
    )


@pytest.mark.parametrize("name", ["gemma", "llama2"])
def test_a_system_message_goes_into_the_users_turn_where_the_template_has_no_place_for_it(
    family: Folder, name: str
) -> None:
    chat = template_of(family(name))
    assert not chat.takes_system
    assert chat.render([SYSTEM, HELLO]) == chat.render([{"role": "user", "content": "Be brief.\n\nhello"}])
    assert chat.render([SYSTEM]) == chat.render([{"role": "user", "content": "Be brief."}])


def test_a_template_that_drops_system_messages_loses_none(family: Folder) -> None:
    silent = "{% for m in messages %}{% if m.role != 'system' %}[{{ m.role }}: {{ m.content }}]{% endif %}{% endfor %}"
    chat = template_of(family("chatml"), silent)
    assert chat.render([SYSTEM, HELLO]) == "[user: Be brief.\n\nhello]"


def test_a_template_with_system_messages_gets_them(family: Folder) -> None:
    chat = template_of(family("chatml"))
    assert chat.takes_system
    assert chat.render([SYSTEM, HELLO]).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhello")


def test_neighbours_of_one_role_are_joined_where_roles_must_alternate(family: Folder) -> None:
    chat = template_of(family("gemma"))
    assert chat.render([HELLO, AGAIN]) == chat.render([{"role": "user", "content": "hello\n\nthe end"}])
    assert chat.render([SYSTEM, HELLO, AGAIN, ANSWER, ANSWER]) == chat.render(
        [
            {"role": "user", "content": "Be brief.\n\nhello\n\nthe end"},
            {"role": "assistant", "content": "world\n\nworld"},
        ]
    )
    assert template_of(family("chatml")).render([HELLO, AGAIN]).count("<|im_start|>user") == 2


def test_turns_that_a_template_does_not_take_are_named(family: Folder) -> None:
    with pytest.raises(
        RedpencilError, match=r"fails: Conversation roles must alternate.* \(turns of assistant, user\)"
    ) as raised:
        template_of(family("gemma")).render([ANSWER, HELLO])
    assert raised.value.field == "chat_template"
    assert "{prompt}" in raised.value.hint


def test_folding_and_joining() -> None:
    assert fold_system([SYSTEM, ANSWER, HELLO]) == [ANSWER, {"role": "user", "content": "Be brief.\n\nhello"}]
    assert fold_system([HELLO, {"role": "developer", "content": "x"}]) == [HELLO, {"role": "user", "content": "x"}]
    call = {"role": "assistant", "content": None, "tool_calls": []}
    assert join_neighbours([HELLO, ANSWER, call, AGAIN]) == [HELLO, ANSWER, call, AGAIN]
    assert join_neighbours([HELLO, HELLO, HELLO]) == [{"role": "user", "content": "hello\n\nhello\n\nhello"}]


FORMATS = ["%d %b %Y", "%Y-%m-%d", "%A, %B %-d, %Y", "%H:%M:%S %p", "%c", "%j/%U %y", "no date", "%d%d"]


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("today", [CHAT_DATE, date(2031, 1, 5)])
def test_the_clock_of_a_template_stands_still(family: Folder, style: str, today: date) -> None:
    source = "\n{%- set now = strftime_now('" + style + "') %}{{ now }}|{{ messages[0].content }}"
    midnight = datetime(today.year, today.month, today.day)
    chat = template_of(family("chatml"), source, today)
    assert chat.reads_clock
    assert chat.render([HELLO]) == f"{midnight.strftime(style)}|hello"


def test_a_template_may_ask_whether_there_is_a_clock(family: Folder) -> None:
    source = (
        "{%- macro head() %}{{ strftime_now('%Y') }}{% endmacro %}"
        "{% if strftime_now is defined %}{% for m in messages %}{{ head() }} {{ m.content }}{% endfor %}{% endif %}"
    )
    assert template_of(family("chatml"), source).render([HELLO]) == "2024 hello"


def test_the_date_counts_for_an_encoding_only_if_the_template_writes_it(family: Folder) -> None:
    days = [date(2024, 7, 26), date(2025, 1, 1)]
    one, other = (load_codec(family("chatml"), CHAT, chat_template_date=day) for day in days)
    assert same_encoding(one, other)
    for codec in (one, other):
        codec.tokenizer.chat_template = "{{ strftime_now('%d.%m.%Y') }} {{ messages[0].content }}"
    one, other = (replace(codec, chat_template_date=day) for codec, day in zip((one, other), days, strict=True))
    assert not same_encoding(one, other)
    assert one.tokenizer.decode(one.encode_prompts(["hello"])[0]) == "26.07.2024 hello"
    assert other.tokenizer.decode(other.encode_prompts(["hello"])[0]) == "01.01.2025 hello"


def test_what_stands_around_turns(family: Folder) -> None:
    chat = template_of(family("gemma"))
    assert chat.answer_end == "<end_of_turn>\n"
    assert chat.opening == "<start_of_turn>model\n"
    assert all(marker in chat.frames for marker in ("<bos>", "<start_of_turn>user\n", "<end_of_turn>\n"))
    assert "model" not in chat.frames
    assert template_of(family("llama2")).answer_end == "</s>"
    broken = template_of(family("chatml"), "{{ 1 / 0 }}")
    assert (broken.answer_end, broken.opening, broken.takes_system) == ("", "", False)


def test_turns_that_a_template_leaves_out_are_not_lost_in_silence(family: Folder) -> None:
    last = template_of(family("chatml"), "[{{ messages[-1].content }}]")
    assert last.render([HELLO]) == "[hello]"
    with pytest.raises(
        RedpencilError, match=r"leaves out turns of the user \(turns of user, assistant, user in row 'r1'"
    ):
        last.render([HELLO, ANSWER, AGAIN], "r1")
    talk = "{% for m in messages %}{% if m.role in ('user', 'assistant') %}[{{ m.content }}]{% endif %}{% endfor %}"
    tool = {"role": "tool", "content": "2", "name": "add"}
    assert template_of(family("chatml"), talk).render([HELLO, ANSWER, AGAIN]) == "[hello][world][the end]"
    with pytest.raises(RedpencilError, match="leaves out turns of the tool"):
        template_of(family("chatml"), talk).render([HELLO, ANSWER, tool])
    assert "2<|im_end|>" in template_of(family("chatml")).render([HELLO, ANSWER, tool])


@pytest.mark.parametrize("name", ["chatml", "llama3", "llama2", "gemma", "phi"])
@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_answer_is_one_that_has_not_begun(family: Folder, name: str, blank: str) -> None:
    chat = template_of(family(name))
    assert chat.render([HELLO, {"role": "assistant", "content": blank}]) == chat.render([HELLO])


def test_the_last_turn_is_never_left_out(family: Folder) -> None:
    source = "{% if messages[0].role == 'system' %}[{{ messages[0].content }}]{% endif %}({{ messages[-1].content }})"
    chat = template_of(family("chatml"), source)
    assert chat.render([SYSTEM, HELLO]) == "[Be brief.](hello)"
    with pytest.raises(RedpencilError, match="leaves out turns of the user"):
        chat.render([SYSTEM, HELLO, ANSWER, AGAIN])


@pytest.mark.parametrize(
    "style", ["%G-W%V", "%C", "%h", "%-y", "%P", "%r", "%f", "%_d", "%^a %^b", "100%%", "%%Y", "%Ey", "%n%t", "%D %-e"]
)
def test_the_clock_knows_every_way_to_write_a_date(family: Folder, style: str) -> None:
    chat = template_of(family("chatml"), "{{ strftime_now('" + style + "') }}", date(2031, 1, 5))
    assert chat.render([HELLO]) == datetime(2031, 1, 5).strftime(style)


@pytest.mark.parametrize(
    "source",
    [
        "{% set now = strftime_now %}{{ now('%Y') }}",
        "{{ strftime_now(format='%Y') }}",
        "{{ strftime_now('%Y') | int + 0 }}",
        "{% set ns = namespace(year=strftime_now('%Y')) %}{{ ns.year }}",
        "{% block head %}{{ strftime_now('%Y') }}{% endblock %}",
        "{{ strftime_now('%Y') if strftime_now is defined and strftime_now is callable else 'today' }}",
    ],
)
def test_the_clock_may_be_read_in_any_way(family: Folder, source: str) -> None:
    assert template_of(family("chatml"), source, date(2031, 1, 5)).render([HELLO]) == "2031"


def test_a_developers_message_is_one_of_the_system_where_the_template_knows_no_other(family: Folder) -> None:
    developer = {**SYSTEM, "role": "developer"}
    turn = "{% if m.role in ('system', 'user') %}[{{ m.role }}: {{ m.content }}]{% endif %}"
    strict = "{% for m in messages %}" + turn + "{% endfor %}"
    chat = template_of(family("chatml"), strict)
    assert chat.render([developer, HELLO]) == chat.render([SYSTEM, HELLO]) == "[system: Be brief.][user: hello]"
    assert "<|im_start|>developer\nBe brief." in template_of(family("chatml")).render([developer, HELLO])
    assert template_of(family("gemma")).render([developer, HELLO]).count("Be brief.\n\nhello") == 1


@pytest.mark.parametrize("role", ["tool", "function", "ipython", "assistant"])
def test_no_turn_of_any_role_is_lost_in_silence(family: Folder, role: str) -> None:
    source = "{% for m in messages %}{% if m.role != '" + role + "' %}[{{ m.content }}]{% endif %}{% endfor %}"
    turns = [HELLO, ANSWER, {"role": role, "content": "2"}, AGAIN]
    with pytest.raises(RedpencilError, match=f"leaves out turns of the {role}"):
        template_of(family("chatml"), source).render(turns)
    assert template_of(family("chatml")).render(turns).count("<|im_start|>") == 6
