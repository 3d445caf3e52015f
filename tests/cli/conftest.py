"""One tiny run by the real command, and the stage commands chained on its files; shared by all tests of the session."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"  # plain help texts on CI machines too

from typer.testing import CliRunner

from redpencil.cli.main import QUIET, app

TINY = Path(__file__).parent / "tiny.yaml"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Redpencil = Callable[..., Outcome]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the tiny run waits for it, so it is slow."""
    for item in items:
        if "tiny_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def in_process(*arguments: str | Path) -> Outcome:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session", autouse=True)
def _quiet_libraries() -> None:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@pytest.fixture
def redpencil() -> Redpencil:
    """Runs a command in this process. What is no user's mistake comes through as the exception it is."""
    return in_process


@pytest.fixture
def mistake(redpencil: Redpencil) -> Callable[..., str]:
    """Runs a command that must fail with one clean message, and returns it on one line."""

    def run(*arguments: str | Path) -> str:
        outcome = redpencil(*arguments)
        assert outcome.code == 1, outcome
        assert "Traceback" not in outcome.err
        _, found, message = outcome.err.partition("error: ")
        assert found, outcome
        return " ".join(message.split())

    return run


@pytest.fixture(scope="session")
def tiny() -> Path:
    """A recipe that takes seconds."""
    return TINY


def command(*arguments: str | Path) -> list[str]:
    """The real command: the console script of this interpreter."""
    return [str(Path(sys.executable).parent / "redpencil"), *map(str, arguments)]


@pytest.fixture(scope="session")
def real_command() -> Callable[..., list[str]]:
    """Builds the command line of a process of its own."""
    return command


@pytest.fixture
def start_run(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a run in `tmp_path / "run"` and waits until its SFT stage trains; what is left of it ends with the test.

    What it says goes to `tmp_path / "log"`.
    """
    runs: list[subprocess.Popen[bytes]] = []

    def start(recipe: Path, *options: str) -> subprocess.Popen[bytes]:
        folder = tmp_path / "run"
        with (tmp_path / "log").open("wb") as log:
            run = subprocess.Popen(
                command("run", recipe, "--out", folder, *options), stderr=log, start_new_session=True
            )
        runs.append(run)
        while not (folder / "sft.partial" / "metrics.jsonl").is_file():
            assert run.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.01)
        return run

    yield start
    for run in runs:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


@dataclass(frozen=True)
class TinyRun:
    folder: Path
    outcome: Outcome


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A finished run of the tiny recipe, two stages at a time, in processes of its own."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    done = subprocess.run(
        command("run", TINY, "--out", folder, "--jobs", "2"), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return TinyRun(folder, Outcome(done.returncode, done.stdout, done.stderr))


@dataclass(frozen=True)
class Chain:
    folder: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def step(self, name: str, *arguments: str | Path) -> None:
        self.outcomes[name] = in_process(*arguments)
        assert self.outcomes[name].code == 0, (name, self.outcomes[name])


@pytest.fixture(scope="session")
def chain(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Every stage command once, each on the files of the one before it."""
    done = Chain(tmp_path_factory.mktemp("chain"))
    here, run = done.folder, tiny_run.folder
    recipe, policy, world = ("--recipe", TINY), run / "sft" / "checkpoint", run / "world"
    done.step(
        "respond",
        *("respond", "--policy", policy, "--prompts", world / "validation_prompts.jsonl"),
        *("--out", here / "responses.jsonl", "--samples-per-prompt", "2", *recipe),
    )
    done.step(
        "edit", "edit", "--responses", here / "responses.jsonl", "--provider", "world", "--out", here / "edits.jsonl"
    )
    done.step(
        "align",
        *("align", "--edits", here / "edits.jsonl", "--tokenizer", policy, "--out", here / "pairs.jsonl", *recipe),
    )
    done.step(
        "align comparisons",
        *("align", "--comparisons", run / "annotations" / "comparisons_test.jsonl", "--tokenizer", policy),
        *("--out", here / "comparison_pairs.jsonl", *recipe),
    )
    done.step(
        "sft",
        *("sft", "--model", world / "model", "--data", world / "sft.jsonl", "--out", here / "sft", *recipe),
        *("--set", "sft.max_steps=2"),
    )
    for name, pairs, entry in (
        ("token", "pairs.jsonl", "token_edits"),
        ("sequence", "comparison_pairs.jsonl", "sequence_comparisons"),
    ):
        done.step(
            f"reward {name}",
            *("reward", "--model", policy, "--pairs", here / pairs, "--samples", here / "responses.jsonl"),
            *("--out", here / f"reward-{name}", "--entry", entry, *recipe),
        )
        done.step(
            f"ppo {name}",
            *("ppo", "--policy", policy, "--reward-model", here / f"reward-{name}" / "checkpoint"),
            *("--prompts", world / "prompts.jsonl", "--validation-prompts", world / "validation_prompts.jsonl"),
            *("--reference-outputs", run / "reference" / "validation.jsonl", "--judge", "world"),
            *("--out", here / f"ppo-{name}", "--arm", {"token": "token", "sequence": "preference"}[name], *recipe),
        )
    done.step(
        "respond again",
        *("respond", "--policy", here / "ppo-token" / "checkpoint", "--prompts", world / "evaluation_prompts.jsonl"),
        *("--out", here / "outputs.jsonl", *recipe),
    )
    for judge in ("world", str(here / "reward-sequence" / "checkpoint")):
        name = "world" if judge == "world" else "model"
        done.step(
            f"judge {name}",
            *("judge", "--policy", here / "outputs.jsonl", "--reference", run / "reference" / "evaluation.jsonl"),
            *("--judge", judge, "--out", here / f"judged_by_{name}.jsonl"),
        )
    return done


@dataclass(frozen=True)
class Stub:
    """A server on loopback that speaks the APIs of Anthropic and OpenAI."""

    address: str
    log: Path

    def paid(self) -> int:
        return self.log.read_bytes().count(b"\n")

    def provider(self, kind: str) -> tuple[str, ...]:
        url = f"{self.address}/v1" if kind == "openai" else self.address
        return ("--provider", kind, "--model", "gpt-5-mini", "--base-url", url)


@pytest.fixture
def start_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stub]]:
    """Starts a stub server with the given flags, as a process of its own; it ends with the test."""
    for name in ("ANTHROPIC", "OPENAI"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-secret")
        monkeypatch.delenv(f"{name}_BASE_URL", raising=False)
    with ExitStack() as stack:

        def start(*flags: str) -> Stub:
            script = Path(__file__).parents[2] / "benchmarks" / "stub_llm_server.py"
            log = tmp_path / f"paid-{len(list(tmp_path.glob('paid-*')))}"
            command = [sys.executable, str(script), "--log", str(log), *flags]
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            assert server.stdout is not None
            return Stub(f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}", log)

        yield start


@pytest.fixture
def stub(start_stub: Callable[..., Stub]) -> Stub:
    """A stub server without faults, except those that prompts order."""
    return start_stub()


@pytest.fixture
def word_reward(tmp_path: Path) -> Callable[..., Path]:
    """`word_reward()`: a token reward model that blames the word `oh` alone; `word_reward(-1)` praises nothing else."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForTokenClassification, LlamaConfig, PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "<s>", "</s>", "it", "is", "red", "very", "oh", "what", "?", "."]

    def write(sign: int = 1) -> Path:
        folder = tmp_path / f"reward{sign}"
        tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        roles = dict(zip(("unk_token", "pad_token", "bos_token", "eos_token"), words, strict=False))
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
        config = LlamaConfig(
            **{"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1},
            **{"num_attention_heads": 2, "max_position_embeddings": 64, "num_labels": 1},
            **{"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3},
        )
        model = AutoModelForTokenClassification.from_config(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "norm" not in name:
                    weight.zero_()
            embedded = model.get_input_embeddings().weight
            embedded[:, 0] = 1
            embedded[words.index("oh")] = torch.eye(16)[1]
            model.score.weight[0, :2] = sign * torch.tensor([1.0, -1.0])
        model.save_pretrained(folder)
        return folder

    return write
