"""Every command of docs/judging.md is run, in the order of the page, on real data and a server on this machine."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from redpencil.cli.main import app
from redpencil.config.recipe import AlarmsConfig
from redpencil.evaluation.diagnostics import AlarmName
from redpencil.records import Comparison, Preference, read_jsonl

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
PAGE = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
OWN_SERVER = "http://localhost:8000/v1"
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.splitlines()
    if line.strip()
]
REAL = {
    "feedback.json": DATA / "qa_feedback" / "feedback.json",
    "alpaca-7b.json": DATA / "alpaca_eval" / "alpaca-7b.json",
    "alpaca-farm-ppo-human.json": DATA / "alpaca_eval" / "alpaca-farm-ppo-human.json",
}
SHOWN = 12
"""Items that the two policies of the page answer."""


def write_answers(folder: Path) -> None:
    """Two policies: the first prediction of an item, and the second."""
    items = json.loads(REAL["feedback.json"].read_text())[:SHOWN]
    for name, column in (("ours", "prediction 1"), ("theirs", "prediction 2")):
        rows = [{"id": str(n), "prompt": row["question"], "response": row[column]} for n, row in enumerate(items)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def build_reward_model(folder: Path, *, merges: int) -> None:
    """A token reward model with random weights; its tokenizer knows bytes and as many merges of the data."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForTokenClassification, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257 + merges, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    texts = (row["question"] for row in json.loads(REAL["feedback.json"].read_text()))
    tokenizer.train_from_iterator(islice(texts, 100), trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>").save_pretrained(folder)
    torch.manual_seed(merges)
    config = LlamaConfig(
        vocab_size=257 + merges,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16384,
        num_labels=1,
    )
    LlamaForTokenClassification(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with the files that the page takes for granted, and the address of a server that judges."""
    for path in REAL.values():
        if not path.is_file():
            pytest.skip(f"{path} is missing")
    made = tmp_path_factory.mktemp("judging")
    for name, path in REAL.items():
        (made / name).symlink_to(path)
    write_answers(made)
    build_reward_model(made / "reward" / "checkpoint", merges=0)
    build_reward_model(made / "other" / "checkpoint", merges=200)
    command = [sys.executable, str(ROOT / "benchmarks" / "stub_llm_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, pytest.MonkeyPatch.context() as patch:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"
        patch.setenv("OPENAI_API_KEY", "sk-test")
        patch.setenv("COLUMNS", "120")
        patch.chdir(made)
        yield made, address
        server.terminate()


@pytest.fixture(scope="module")
def outcomes(folder: tuple[Path, str]) -> dict[str, Any]:
    """What each command of the page said."""

    def run(line: str) -> Any:
        words = shlex.split(line.replace(OWN_SERVER, folder[1]))
        assert words[0] == "redpencil"
        return CliRunner().invoke(app, words[1:], catch_exceptions=False)

    return {line: run(line) for line in COMMANDS}


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_runs(outcomes: dict[str, Any], line: str) -> None:
    assert outcomes[line].exit_code == 0, outcomes[line].stderr


@pytest.mark.slow
def test_they_do_what_the_page_says(outcomes: dict[str, Any], folder: tuple[Path, str]) -> None:
    def said(part: str) -> str:
        return next(o.stdout + o.stderr for line, o in outcomes.items() if part in line)

    made = folder[0]
    assert f"{2 * SHOWN} to ask" in said("--dry-run")
    judged = list(read_jsonl(made / "judgements.jsonl", Comparison))
    assert len(judged) == SHOWN
    # The server prefers the longer text, whichever side it stands on.
    longer = {1: Preference.FIRST, 0: Preference.TIE, -1: Preference.SECOND}
    for row in judged:
        sign = (len(row.first) > len(row.second)) - (len(row.first) < len(row.second))
        assert row.preference is longer[sign], row
    for name in ("microscope.html", "heatmaps.html"):
        assert "<html" in (made / name).read_text()


@pytest.mark.slow
def test_its_figures_are_those_of_the_commands(outcomes: dict[str, Any], folder: tuple[Path, str]) -> None:
    measured = next(o.stdout for line, o in outcomes.items() if "evaluate judge" in line)
    for figure in ("43.5 (40.0 to 47.1", "49.5 (45.6 to 53.4"):
        assert figure in measured
    for part in ("43.5 %\n(95 % 40.0 to 47.1)", "49.5 % (45.6 to 53.4)", "1,500 comparisons", "250 items"):
        assert part in PAGE
    people, rule = (list(read_jsonl(folder[0] / f"{name}.jsonl", Comparison)) for name in ("people", "longer"))
    ties = sum(Preference.TIE in (a.preference, b.preference) for a, b in zip(people, rule, strict=True))
    assert (len(people), f"{ties} comparisons that either side calls a tie" in " ".join(PAGE.split())) == (1500, True)
    rates = next(o.stdout for line, o in outcomes.items() if "alpaca-eval" in line)
    for figure in ("26.5 [", "41.2 [", "25.7", "30.5", "804/482"):
        assert figure in rates, rates
    for part in ("26.46 (1.54) and 41.24 (1.73)", "falls to 30.5", "the first to 25.7", "publishes 29.8 and 26.3"):
        assert part in " ".join(PAGE.split())


def test_the_page_has_every_alarm_and_its_key() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:`alarms\.(\w+)`|none) \|$", PAGE, re.M)
    assert {name for name, _ in rows} == set(get_args(AlarmName))
    assert {key for _, key in rows if key} == set(AlarmsConfig.model_fields)
