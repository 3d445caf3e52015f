"""`score`: token rewards in the terminal, as JSON and as a page."""

import json
import random
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from redpencil.cli import score
from redpencil.records import Edit, Response, read_jsonl
from redpencil.report.scores import Row, ScoredModel, ScoredResponse
from redpencil.text import read_json

PROMPT = "tell me about jordan . i need its language , currency and capital ."


@pytest.fixture
def model(tiny_run: Any) -> Path:
    return tiny_run.folder / "reward-token_edits" / "checkpoint"


def test_one_response_in_the_terminal(redpencil: Callable[..., Any], model: Path) -> None:
    outcome = redpencil("score", "--model", model, "--prompt", PROMPT, "--response", "its language is arabic .")
    prompt, tokens, reward = outcome.out.strip().splitlines()
    assert prompt == PROMPT
    assert [part.split("(")[0] for part in tokens.split()] == ["its", "language", "is", "arabic", ".", "end"]
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


def test_offsets_say_where_tokens_stand(redpencil: Callable[..., Any], model: Path) -> None:
    row = json.loads(redpencil("score", "--model", model, "--prompt", PROMPT, "--response", "its  end", "--json").out)
    assert row["tokens"] == ["its", "<unk>", "<eos>"]
    assert row["offsets"] == [[0, 3], [5, 8], [8, 8]]


def test_standardised_rewards_are_those_of_ppo(redpencil: Callable[..., Any], model: Path) -> None:
    one = ("score", "--model", model, "--prompt", PROMPT, "--response", "its language is arabic .", "--json")
    plain, standardised = (json.loads(redpencil(*one, *flag).out) for flag in ((), ("--standardise",)))
    scale = read_json(model / "redpencil.json")["reward"]["scale"]
    assert abs(scale - 1) > 1e-3
    assert standardised["token_rewards"] == pytest.approx([value / scale for value in plain["token_rewards"]])
    assert standardised["reward"] == plain["reward"]


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


def test_two_models_side_by_side(redpencil: Callable[..., Any], tiny_run: Any, model: Path, tmp_path: Path) -> None:
    sequence = tiny_run.folder / "reward-sequence_edits" / "checkpoint"
    both = ("score", "--model", model, "--model", sequence, "--prompt", PROMPT, "--response", "its language")
    lines = redpencil(*both).out.splitlines()
    assert lines[0] == PROMPT
    assert [lines[1], lines[4]] == ["reward-token_edits:", "reward-sequence_edits:"]
    assert lines[5] == "its language"
    row = json.loads(redpencil(*both, "--json").out)
    alone = [json.loads(redpencil(*both[:1], "--model", m, *both[5:], "--json").out) for m in (model, sequence)]
    for said, one, level in zip(row["models"], alone, ("token", "sequence"), strict=True):
        assert said["level"] == level
        assert {key: said[key] for key in ("reward", "tokens", "offsets", "token_rewards")} == {
            key: one[key] for key in ("reward", "tokens", "offsets", "token_rewards")
        }
    redpencil(*both, "--html", tmp_path / "h.html")
    page = _Page()
    page.feed((tmp_path / "h.html").read_text(encoding="utf-8"))
    assert page.tokens == 3
    assert "reward-sequence_edits" in page.text


def test_a_model_that_does_not_say_how_it_learned_prompts_reads_its_chat_template(
    redpencil: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "redpencil.json").unlink()
    one = ("score", "--model", bare, "--prompt", PROMPT, "--response", "its language", "--json")
    plain = json.loads(redpencil(*one).out)["reward"]
    (bare / "chat_template.jinja").write_text("<bos> {{ messages[0]['content'] }} <answer>")
    chat = json.loads(redpencil(*one).out)["reward"]
    assert chat != plain
    assert chat == json.loads(redpencil(*one, "--template", "<bos> {prompt} <answer>").out)["reward"]
    assert chat == json.loads(redpencil("score", "--model", model, *one[3:]).out)["reward"]


def test_a_row_that_is_too_long_is_named(mistake: Callable[..., str], model: Path, tmp_path: Path) -> None:
    rows = [{"id": name, "prompt": PROMPT, "response": text} for name, text in (("a", "its"), ("b", "its " * 999))]
    (tmp_path / "r").write_text("\n".join(map(json.dumps, rows)))
    assert "r: the prompt and response 'b' have 10" in mistake(
        "score", "--model", model, "--responses", tmp_path / "r", "--json"
    )


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
    assert "is not a reward model" in mistake("score", "--model", tiny_run.folder / "sft" / "checkpoint", *one)
    assert "it is a folder" in mistake("score", "--model", model, *one, "--html", tmp_path)
    assert "a prompt has no token" in mistake(
        *("score", "--model", model, "--prompt", "", "--response", "it", "--template", "{prompt}")
    )
    long = ("--prompt", PROMPT, "--response", "it " * 300)
    assert "tokens, the reward model reads 256" in mistake("score", "--model", model, *long)


def test_weights_that_are_too_large_are_named(mistake: Callable[..., str], model: Path, tmp_path: Path) -> None:
    import torch

    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    arguments = ("score", "--model", model, "--model", broken, "--prompt", PROMPT, "--response", "it")
    # Weights that are numbers, but too large for the rewards to be.
    for number, problem in (
        (float("nan"), "its weight score.weight holds a number that is not finite"),
        (3e38, "the reward model gives the response '1' the reward "),
    ):
        weights["score.weight"] = torch.full_like(weights["score.weight"], number)
        save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
        assert f"{broken}: {problem}" in mistake(*arguments, "--html", tmp_path / "h.html")
    assert not (tmp_path / "h.html").exists()


def test_colours_in_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    one = ScoredModel("one", "token", -0.25, 1.0, "edits")
    reading = ScoredResponse(0.5, ((0, 4), (5, 8)), (1.0, -1.0))

    def shown(width: int, models: int) -> str:
        terminal = Console(force_terminal=True, color_system="truecolor", markup=False, width=width)
        monkeypatch.setattr(score, "console", terminal)
        score.print_row(Row("p", "good bad", (reading,) * models), [one] * models, limit=1.0)
        return capsys.readouterr().out

    text = shown(80, 1)
    assert "-0.250" in text  # the centre
    assert "\x1b[30;48;2;" in text
    assert "4;30;48;2;" in text  # blame is underlined too
    assert [line.count("good") for line in shown(80, 2).splitlines()].count(1) == 2  # one under the other
    assert max(line.count("good") for line in shown(120, 2).splitlines()) == 2  # side by side


def write_edits(file: Path, count: int = 40) -> Path:
    """Edits that take the word `oh` out, which stands where chance puts it."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        words = rng.choices(["it", "is", "red", "very"], k=6)
        words.insert(rng.randrange(7), "oh")
        edited = " ".join(word for word in words if word != "oh")
        rows.append({"id": str(number), "prompt": f"what {number} ?", "original": " ".join(words), "edited": edited})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_edits_show_that_a_model_points_the_wrong_way(
    redpencil: Callable[..., Any], word_reward: Callable[..., Path], tmp_path: Path
) -> None:
    edits, page = write_edits(tmp_path / "e.jsonl"), tmp_path / "page.html"
    for sign in (1, -1):
        outcome = redpencil("score", "--model", word_reward(sign), "--edits", edits, "--json", "--html", page)
        rows = [json.loads(line) for line in outcome.out.splitlines()]
        assert [row["response"] for row in rows] == [row.original for row in read_jsonl(edits, Edit)]
        rewards = {token: r for row in rows for token, r in zip(row["tokens"], row["token_rewards"], strict=True)}
        assert rewards == pytest.approx(
            {token: -4 * sign if token == "oh" else 4 * sign for token in rewards}, abs=1e-3
        )
        assert ("WARNING: reward-1: it points the wrong way: the tokens that were edited away" in outcome.err) == (
            sign < 0
        )
        assert ("points the wrong way" in page.read_text(encoding="utf-8")) == (sign < 0)


def test_edits_without_a_word_are_refused(
    mistake: Callable[..., str], word_reward: Callable[..., Path], tmp_path: Path
) -> None:
    row = {"id": "1", "prompt": PROMPT, "original": " ", "edited": "x"}
    (tmp_path / "e").write_text(json.dumps(row))
    assert "every original is blank" in mistake("score", "--model", word_reward(), "--edits", tmp_path / "e")
