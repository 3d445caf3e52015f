"""Every command of docs/collecting.md is run, in the order of the page, against a server on this machine."""

import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from redpencil.cli.main import app
from redpencil.formats.registry import FORMATS
from redpencil.records import Comparison, Edit, EditOutcome, Pair, Prompt, Response, read_jsonl

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "collecting.md").read_text(encoding="utf-8")
OWN_SERVER = "http://localhost:8000/v1"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
    if line.strip()
]
ANSWERS = [
    (
        "What is the capital of Australia?",
        "The capital of Australia is Canberra.",
        "The capital of Australia is Sydney.",
    ),
    ("Why is the sky blue?", "Air scatters blue light more than red light.", "It is blue because it mirrors the sea."),
    ("Who wrote Faust?", "Goethe wrote Faust, in two parts.", "Faust was written by Schiller in two parts."),
]
"""Prompt, chosen, rejected."""
CORRECTED = "Faust was written by Goethe in two parts."


def rows(*content: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in content)


def feedback(number: int, prediction: str, corrected: str, wrong: str) -> dict[str, Any]:
    """An item with the columns of QA-Feedback."""
    start = prediction.index(wrong)
    error = {"error type": "Wrong-Grounding", "explanation": "", "start": start, "end": start + len(wrong)}
    others = {f"prediction {other}": f"{prediction} ({other})" for other in (2, 3, 4)}
    told = {"errors": [error], "missing-info": [], "corrected-prediction": corrected}
    return {
        "question": f"question {number}",
        "passages": "[]",
        "gold": corrected,
        "prediction 1": prediction,
        **others,
        "preference": [1, 2, 0, 1, 1, 2],
        "feedback": told,
    }


def build_model(folder: Path) -> None:
    """A tiny chat model: its tokenizer knows bytes, its weights are random."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate((*alphabet, "<end>"))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16384,
        eos_token_id=256,
        pad_token_id=256,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@dataclass(frozen=True)
class Desk:
    """A folder with the files that the page takes for granted, and a server that answers."""

    folder: Path
    address: str

    def run(self, line: str) -> Any:
        if "--batch-in" in line:
            self._answer_batch()
        words = shlex.split(line.replace(OWN_SERVER, f"{self.address}/v1"))
        assert words[0] == "redpencil"
        return CliRunner().invoke(app, words[1:], catch_exceptions=False)

    def _answer_batch(self) -> None:
        """What OpenAI would give back for the batch that was written."""
        answers = []
        for row in map(json.loads, (self.folder / "batch.jsonl").read_text().splitlines()):
            request = urllib.request.Request(f"{self.address}{row['url']}", json.dumps(row["body"]).encode())
            with urllib.request.urlopen(request) as reply:
                response = {"status_code": 200, "body": json.load(reply)}
            answers.append({"custom_id": row["custom_id"], "response": response, "error": None})
        (self.folder / "results.jsonl").write_text(rows(*answers))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("collecting")
    pairs = [{"prompt": prompt, "chosen": good, "rejected": bad} for prompt, good, bad in ANSWERS]
    (folder / "preferences.jsonl").write_text(rows(*pairs))
    (folder / "mixed.jsonl").write_text(rows(pairs[0], {"prompt": "no answers"}, {"prompt": 7}, pairs[1]))
    (folder / "feedback.json").write_text(json.dumps([feedback(1, ANSWERS[2][2], CORRECTED, "Schiller")]))
    (folder / "answers.csv").write_text("question,answer\nWho wrote Faust?,Goethe did.\n")
    for name, content in re.findall(r"^```jsonl (\w+\.jsonl)\n(.*?)^```$", PAGE, re.M | re.S):
        (folder / name).write_text(content)
    (polite,) = re.findall(r"^```text polite\n(.*?)^```$", PAGE, re.M | re.S)
    (folder / "polite.txt").write_text(polite)
    (prices,) = re.findall(r"^```yaml prices\n(.*?)^```$", PAGE, re.M | re.S)
    (folder / "prices.yaml").write_text(prices)
    build_model(folder / "models" / "instruct")
    command = [sys.executable, str(ROOT / "benchmarks" / "stub_llm_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, pytest.MonkeyPatch.context() as patch:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        patch.setenv("ANTHROPIC_BASE_URL", address)
        patch.setenv("OPENAI_BASE_URL", f"{address}/v1")
        for name in ("ANTHROPIC", "OPENAI"):
            patch.setenv(f"{name}_API_KEY", "sk-test")
        patch.chdir(folder)
        yield Desk(folder, address)
        server.terminate()


@pytest.fixture(scope="module")
def outcomes(desk: Desk) -> dict[str, Any]:
    """What each command of the page said."""
    return {line: desk.run(line) for line in COMMANDS}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(outcomes: dict[str, Any], line: str) -> None:
    assert outcomes[line].exit_code == 0, outcomes[line].stderr


@pytest.mark.slow
def test_they_do_what_the_page_says(outcomes: dict[str, Any], desk: Desk) -> None:
    def said(part: str) -> str:
        return next(str(outcome.stderr) for line, outcome in outcomes.items() if part in line)

    responses = list(read_jsonl(desk.folder / "responses.jsonl", Response))
    assert [row.response for row in responses] == [rejected for _, _, rejected in ANSWERS]
    (human,) = read_jsonl(desk.folder / "human_edits.jsonl", Edit)
    assert (human.original, human.edited) == (ANSWERS[2][2], CORRECTED)
    (answer,) = read_jsonl(desk.folder / "answers.jsonl", Response)
    assert (answer.prompt, answer.response) == ("Who wrote Faust?", "Goethe did.")
    assert len(list(read_jsonl(desk.folder / "comparisons.jsonl", Comparison))) == 3
    votes = list(read_jsonl(desk.folder / "votes_read.jsonl", Comparison))
    assert [str(row.preference) for row in votes] == ["first", "second"]
    assert "labels read as: 0 = first, 1 = second" in said("votes_read.jsonl")
    (chat,) = read_jsonl(desk.folder / "chats_read.jsonl", Prompt)
    assert [message["role"] for message in chat.meta["messages"]] == ["system", "user"]
    (battle,) = read_jsonl(desk.folder / "arena_read.jsonl", Comparison)
    assert (battle.first, str(battle.preference)) == ("Hello", "first")
    assert len(list(read_jsonl(desk.folder / "good.jsonl", Response))) == 2
    assert len((desk.folder / "good.jsonl.skipped.jsonl").read_text().splitlines()) == 2

    assert "3 responses: 0 answered before, 0 empty, 3 to ask" in said("--dry-run")
    for name in ("edits", "by_gpt", "by_qwen", "by_local", "polite", "slow", "batched", "mine"):
        edits = list(read_jsonl(desk.folder / f"{name}.jsonl", Edit))
        assert [row.original for row in edits] == [row.response for row in responses], name
        assert EditOutcome.FAILED not in {row.outcome for row in edits}, name
    assert "3 requests in batch.jsonl" in said("--batch-out")
    edits = list(read_jsonl(desk.folder / "edits.jsonl", Edit))
    changed = [row for row in edits if row.outcome is EditOutcome.EDITED]
    assert changed
    trl = [json.loads(line) for line in (desk.folder / "preferences_trl.jsonl").read_text().splitlines()]
    assert [(row["chosen"], row["rejected"]) for row in trl] == [(row.edited, row.original) for row in changed]
    assert "<html" in (desk.folder / "audit.html").read_text()
    assert len(list(read_jsonl(desk.folder / "pairs.jsonl", Pair))) == len(changed)
    assert json.loads(next(o.stdout for line, o in outcomes.items() if "by_gpt.jsonl --json" in line))
    # $.50 and $1.50 a million tokens, by the page's own price table.
    spent = re.search(r"(\d+) tokens in, (\d+) out, \$([\d.]+)", said("--prices"))
    assert spent is not None
    asked, answered, dollars = map(float, spent.groups())
    assert dollars == pytest.approx(asked * 0.5e-6 + answered * 1.5e-6, abs=1e-5)


def test_the_page_has_every_format_and_every_outcome() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.M)) == set(FORMATS)
    (table,) = re.findall(r"^\| outcome \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    assert set(re.findall(r"^\| (\w+) \|", table, re.M)) == {outcome.value for outcome in EditOutcome}


def test_the_prices_of_the_page_are_a_table() -> None:
    (prices,) = re.findall(r"^```yaml prices\n(.*?)^```$", PAGE, re.M | re.S)
    assert set(yaml.safe_load(prices)) == {"models"}
