"""`score`: token rewards in the terminal, as JSON and as a page."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from redpencil.cli.score import Scored
from redpencil.records import Response, read_jsonl
from redpencil.runs import read_json

PROMPT = "tell me about jordan . i need its language , currency and capital ."


@pytest.fixture
def model(tiny_run: Any) -> Path:
    return tiny_run.folder / "reward-token_edits" / "checkpoint"


def test_one_response_in_the_terminal(redpencil: Callable[..., Any], model: Path) -> None:
    outcome = redpencil("score", "--model", model, "--prompt", PROMPT, "--response", "its language is arabic .")
    prompt, tokens, reward = outcome.out.strip().splitlines()
    assert prompt == PROMPT
    assert [part.split("(")[0] for part in tokens.split()] == ["its", "language", "is", "arabic", ".", "<eos>"]
    assert reward.startswith("reward ")


def test_the_reward_is_the_mean_of_the_tokens_and_these_are_centred(
    redpencil: Callable[..., Any], model: Path, chain: Any
) -> None:
    responses = chain.folder / "responses.jsonl"
    lines = redpencil("score", "--model", model, "--responses", responses, "--json").out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [row.id for row in read_jsonl(responses, Response)]
    center = read_json(model / "redpencil.json")["reward"]["center"]
    for row in rows:
        assert len(row["tokens"]) == len(row["token_rewards"])
        mean = sum(row["token_rewards"]) / len(row["token_rewards"])
        assert mean + center == pytest.approx(row["reward"], abs=1e-6)


def test_a_response_that_was_cut_off_has_no_end_token(
    redpencil: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    rows = [{"id": str(n), "prompt": PROMPT, "response": "its", "finished": n == 0} for n in (0, 1)]
    (tmp_path / "r").write_text("\n".join(map(json.dumps, rows)))
    lines = redpencil("score", "--model", model, "--responses", tmp_path / "r", "--json").out.splitlines()
    assert [json.loads(line)["tokens"] for line in lines] == [["its", "<eos>"], ["its"]]


def test_a_sequence_model_gives_one_number(redpencil: Callable[..., Any], tiny_run: Any) -> None:
    folder = tiny_run.folder / "reward-sequence_edits" / "checkpoint"
    arguments = ("score", "--model", folder, "--prompt", PROMPT, "--response", "its language is arabic .")
    row = json.loads(redpencil(*arguments, "--json").out)
    assert row["token_rewards"] == []
    assert redpencil(*arguments).out.splitlines()[:2] == [PROMPT, "its language is arabic ."]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.tokens = "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tokens += tag == "span" and "token" in (dict(attrs).get("class") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_response(redpencil: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "1", "prompt": "<b> & co", "response": "its language"},
        {"id": "2", "prompt": PROMPT, "response": "it"},
    ]
    (tmp_path / "r").write_text("\n".join(map(json.dumps, rows)))
    outcome = redpencil("score", "--model", model, "--responses", tmp_path / "r", "--html", tmp_path / "h.html")
    assert outcome.err == f"heat-maps: {tmp_path / 'h.html'}\n"
    page = _Page()
    page.feed((tmp_path / "h.html").read_text(encoding="utf-8"))
    assert page.tokens == 5  # two words and one, and an end token each
    assert "<b> & co" in page.text
    assert PROMPT in page.text


def test_mistakes(mistake: Callable[..., str], tiny_run: Any, model: Path, tmp_path: Path) -> None:
    one = ("--prompt", PROMPT, "--response", "it")
    assert "is no reward model" in mistake("score", "--model", tiny_run.folder / "sft" / "checkpoint", *one)
    sequence = tiny_run.folder / "reward-sequence_edits" / "checkpoint"
    said = mistake("score", "--model", sequence, *one, "--html", tmp_path / "h.html")
    assert "a sequence-level reward model has no token rewards to draw" in said
    assert "a folder stands" in mistake("score", "--model", model, *one, "--html", tmp_path)
    assert "a prompt has no token" in mistake(
        *("score", "--model", model, "--prompt", "", "--response", "it", "--template", "{prompt}")
    )
    long = ("--prompt", PROMPT, "--response", "it " * 300)
    assert "tokens, the reward model reads 256" in mistake("score", "--model", model, *long)


def test_colours_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from redpencil.cli import score

    monkeypatch.setattr(
        score, "console", Console(force_terminal=True, color_system="truecolor", markup=False, width=80)
    )
    score._print(Scored(Response("1", "p", "good bad"), 0.5, ("good", "bad"), (1.0, -1.0)), center=-0.25)
    shown = capsys.readouterr().out
    assert "-0.250" in shown  # the centre
    assert "\x1b[30;48;2;" in shown
    assert "4;30;48;2;" in shown  # blame is underlined too


def test_text_that_is_no_utf_8_is_named(mistake: Callable[..., str], model: Path) -> None:
    start = ("score", "--model", model, "--prompt")
    assert "[--response]: not valid UTF-8" in mistake(*start, "x", "--response", "\udcff")
    assert "[--prompt]: not valid UTF-8" in mistake(*start, "\udcff", "--response", "x")
