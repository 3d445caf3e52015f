"""Battles of two models: winners in all their forms, turns, and requests of judges."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.formats.base import UNDECIDED
from redpencil.formats.preference_pairs import APART, TIE
from redpencil.records import Comparison, Preference


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


ROW = {
    "question_id": "q1",
    "model_a": "m1",
    "model_b": "m2",
    "winner": "model_a",
    "judge": "ann",
    "turn": 1,
    "conversation_a": turns("Hi", "Hello"),
    "conversation_b": turns("Hi", "Go away"),
}
TEXTS = {"model_a": "m1", "model_b": "m2", "prompt": "Hi", "response_a": "Hello", "response_b": "Go away"}


@pytest.mark.parametrize(
    ("winner", "meant"),
    [
        ("model_a", "first"),
        ("model_b", "second"),
        ("tie", "tie"),
        ("tie (bothbad)", "tie"),
        ("both_bad", "tie"),
        ("m1", "first"),
        ("m2", "second"),
        ("A", "first"),
        ("Model_B", "second"),
    ],
)
def test_winners(one: Callable[..., Any], winner: str, meant: str) -> None:
    for row in (ROW, {**TEXTS, "judge": "ann"}):
        found = one({**row, "winner": winner}, "arena")
        assert (found.prompt, found.first, found.second) == ("Hi", "Hello", "Go away")
        assert (found.preference, found.annotator) == (meant, "ann")
    # What kind of tie it was is kept.
    assert ("winner" in found.meta) == (winner not in ("model_a", "model_b", "tie", "m1", "m2"))


def test_a_battle_as_every_kind(one: Callable[..., Any]) -> None:
    found = one(ROW, "arena")
    meta = {"question_id": "q1", "model_a": "m1", "model_b": "m2", "judge": "ann", "turn": 1}
    assert found == Comparison("made", "Hi", "Hello", "Go away", Preference.FIRST, "ann", meta)
    worse = one(ROW, "arena", "responses")
    assert (worse.response, worse.model, worse.meta["conversation_a"]) == ("Go away", "m2", ROW["conversation_a"])
    assert one(ROW, "arena", "examples").response == "Hello"
    assert one(ROW, "arena", "prompts").prompt == "Hi"


def test_no_winner_and_wrong_ones(read: Callable[..., Any], refused: Callable[..., Any]) -> None:
    found = read([{**ROW, "winner": winner} for winner in (None, "", "unknown", "tie")], "arena", "responses")
    assert dict(found.tally.nothing) == {UNDECIDED: 3, TIE: 1}
    for winner in ("m3", "model_c", "both", True):
        assert refused({**ROW, "winner": winner}, "arena").field == "winner"
    assert refused({**ROW, "model_b": "m1", "winner": "m1"}, "arena").field == "winner"  # a model against itself


def test_columns_of_zeros_and_one_one(one: Callable[..., Any], refused: Callable[..., Any]) -> None:
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    for marks, meant in (
        ((1, 0, 0), "first"),
        (("0", "1", "0"), "second"),
        ((0.0, 0.0, 1.0), "tie"),
        ((True, False, False), "first"),
    ):
        found = one({**TEXTS, **dict(zip(names, marks, strict=True))}, "arena")
        assert (found.preference, found.meta) == (meant, {"model_a": "m1", "model_b": "m2"})
    for marks in ((0, 0, 0), (1, 1, 0), (2, 0, 0), (1, 0, -1), (1, None, 0)):
        assert refused({**TEXTS, **dict(zip(names, marks, strict=True))}, "arena").field == "winner_model_a"
    assert one({**TEXTS, "winner_model_a": 0, "winner_model_b": 1}, "arena").preference == "second"


def test_marks_of_winners_as_tables_write_them(one: Callable[..., Any], refused: Callable[..., Any]) -> None:
    for marks, meant in (("1 0 0", "first"), ("0.0 1.0 0.0", "second"), ("False True FALSE", "second")):
        names = ("winner_model_a", "winner_model_b", "winner_tie")
        assert one({**TEXTS, **dict(zip(names, marks.split(), strict=True))}, "arena").preference == meant
    bad = {**TEXTS, "winner_model_a": "yes", "winner_model_b": "no"}
    assert refused(bad, "arena").field == "winner_model_a"


def test_texts_of_turns_as_lists_and_json(
    read: Callable[..., Any], one: Callable[..., Any], refused: Callable[..., Any]
) -> None:
    row = {**TEXTS, "winner": "model_b"}
    assert (
        one({**row, "prompt": '["Hi"]', "response_a": '["Hello"]', "response_b": '["Go away"]'}, "arena").first
        == "Hello"
    )
    two = {"prompt": ["Hi", "More"], "response_a": ["Hello", "a"], "response_b": ["Go away", "b"]}
    for given in (two, {name: json.dumps(texts) for name, texts in two.items()}):
        assert dict(read([{**row, **given}, row], "arena").tally.nothing) == {APART: 1}
        worse = one({**row, **given}, "arena", "responses")
        assert (worse.response, worse.prompt) == ("a", "User: Hi\n\nAssistant: Hello\n\nUser: More")
        assert worse.meta["messages"] == turns("Hi", "Hello", "More")
    same = one({**row, **two, "response_b": ["Hello", "b"]}, "arena")
    assert (same.first, same.second, same.prompt) == ("a", "b", "User: Hi\n\nAssistant: Hello\n\nUser: More")
    assert refused({**row, **two, "response_b": ["Go away", None]}, "arena").field == "response_b"
    assert refused({**row, **two, "response_b": ["Go away"]}, "arena").field == "response_b"
    # A prompt that happens to be a JSON list stays a text where the answers are texts.
    assert one({**row, "prompt": '["a"]'}, "arena").prompt == '["a"]'


def test_only_the_turns_that_were_judged_count(one: Callable[..., Any], read: Callable[..., Any]) -> None:
    whole = {
        "conversation_a": turns("Hi", "Hello", "More", "a"),
        "conversation_b": turns("Hi", "Go away", "More", "b"),
    }
    first = one({**ROW, **whole, "turn": 1}, "arena")
    assert (first.prompt, first.first, first.second) == ("Hi", "Hello", "Go away")
    assert first.meta["conversation_a"] == whole["conversation_a"]  # more than the record holds
    both = read([{**ROW, **whole, "turn": 2}, {**ROW, **whole, "turn": "1"}], "arena")
    assert ([row.first for row in both.records], dict(both.tally.nothing)) == (["Hello"], {APART: 1})
    assert one({**ROW, **whole, "turn": 2}, "arena", "examples").response == "a"


def test_pictures_are_refused_and_parts_read(one: Callable[..., Any], refused: Callable[..., Any]) -> None:
    part = {"type": "text", "text": "Hi", "image": None, "mimeType": None}
    asked = [{"role": "user", "content": [part]}, {"role": "assistant", "content": [{**part, "text": "Hello"}]}]
    assert one({**ROW, "conversation_a": asked}, "arena").first == "Hello"
    picture = [{"role": "user", "content": [{**part, "image": "x.png"}]}, *turns("Hi", "Hello")[1:]]
    assert "'image'" in refused({**ROW, "conversation_a": picture}, "arena").problem


def games(first: str, second: str, **more: Any) -> dict[str, Any]:
    rest = {name: value for name, value in ROW.items() if name not in ("winner", "model_a", "model_b", "judge")}
    return {
        **rest,
        "model_1": "m1",
        "model_2": "m2",
        "g1_winner": first,
        "g2_winner": second,
        "judge": ["gpt-4", "pair-v2"],
        **more,
    }


@pytest.mark.parametrize(
    ("first", "second", "meant"),
    [
        ("model_1", "model_1", "first"),
        ("model_2", "model_2", "second"),
        ("tie", "tie", "tie"),
        ("model_1", "model_2", "tie"),
        ("model_2", "tie", "tie"),
        ("tie", "model_1", "tie"),
    ],
)
def test_two_games_count_as_in_fastchat(one: Callable[..., Any], first: str, second: str, meant: str) -> None:
    found = one(games(first, second), "arena")
    assert (found.preference, found.annotator, found.meta["g1_winner"]) == (meant, "gpt-4", first)


def test_games_that_failed_give_no_verdict(read: Callable[..., Any], refused: Callable[..., Any]) -> None:
    rows = [games("error", "model_1"), games("model_1", "error"), games("model_1", "model_1")]
    found = read(rows, "arena")
    assert (len(found.records), dict(found.tally.nothing)) == (1, {UNDECIDED: 2})
    assert refused(games("model_1", "model_3"), "arena").field == "g2_winner"
    assert one_model(read) == "m2"


def one_model(read: Callable[..., Any]) -> str:
    (worse,) = read([games("model_1", "model_1")], "arena", "responses").records
    return str(worse.model)


ASKED = (
    "[User Question]\nHi\n\nyou\n\n[The Start of Assistant A's Answer]\nHello\n[The End of Assistant A's Answer]\n\n"
    "[The Start of Assistant B's Answer]\nGo\n\naway\n[The End of Assistant B's Answer]"
)
REFERENCE = "[The Start of Reference Answer]\nr\n[The End of Reference Answer]\n\n"


def conversation(letter: str, *answers: str) -> str:
    said = "\n\n".join(
        f"### User:\n{question}\n\n### Assistant {letter}:\n{answer}"
        for question, answer in zip(("q1", "q2"), answers, strict=True)
    )
    heading = f"of Assistant {letter}'s Conversation with User|>"
    return f"<|The Start {heading}\n\n{said}\n\n<|The End {heading}"


def test_the_texts_come_from_the_request_of_the_judge(one: Callable[..., Any], refused: Callable[..., Any]) -> None:
    def asked(request: str) -> dict[str, Any]:
        row = games("model_2", "model_2", g1_user_prompt=request)
        return {name: value for name, value in row.items() if not name.startswith("conversation")}

    for request in (ASKED, ASKED.replace("[The Start of Assistant A's", REFERENCE + "[The Start of Assistant A's")):
        found = one(asked(request), "arena")
        assert (found.prompt, found.first, found.second) == ("Hi\n\nyou", "Hello", "Go\n\naway")
        assert found.meta["g1_user_prompt"] == request
    request = f"{conversation('A', 'a1', 'a2')}\n\n\n{conversation('B', 'b1', 'b2')}"
    worse = one(asked(request), "arena", "responses")
    assert (worse.response, worse.prompt, worse.model) == ("a2", "User: q1\n\nAssistant: a1\n\nUser: q2", "m1")
    for wrong in (
        "something else",
        ASKED.replace("Hello", "[The Start of Assistant B's Answer]\nHello"),
        request.replace("a1", "x\n\n### User:\ny"),
        conversation("A", "a1", "a2"),
    ):
        assert refused(asked(wrong), "arena").field == "g1_user_prompt"
