"""A whole run of a world so small that it takes seconds, and stages that do next to nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.config.recipe import Recipe
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import Event, StageSpec
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import default_recipe, load_recipe

TINY: dict[str, Any] = {
    "name": "tiny",
    "seeds": [3],
    "compute": {"device": "cpu"},
    "prompt_template": "<bos> {prompt} <answer>",
    "world": {
        "sft_examples": 200,
        "train_prompts": 30,
        "validation_prompts": 8,
        "evaluation_prompts": 12,
        "comparisons": 24,
        "test_comparisons": 16,
        "reference_steps": 10,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "sft": {"learning_rate": 0.03, "max_steps": 120, "batch_size": 32, "max_length": 128},
    "align": {"max_length": 128},
    "reward": {"batch_size": 8, "learning_rate": 0.01, "reference_samples": 16},
    "sampling": {"response_length": 32},
    "ppo": {
        "total_steps": 3,
        "rollout_batch_size": 16,
        "batch_size": 8,
        "learning_rate": 0.02,
        "response_length": 32,
        "eval_steps": 1,
        "warmup_steps": 0,
        "lr_scheduler_type": "constant",
    },
}
TIMINGS = (
    *("seconds", "token_seconds", "sequence_seconds", "stages"),
    *("training_seconds", "reward_seconds", "answer_seconds"),
)

ROUNDS = (
    "rounds=2",
    "arms={figa: {method: figa}, warm: {reward_model: token_edits, start: figa}}",
    "reward_models={token_edits: {pairs: edits}}",
    "figa={batch_size: 4, learning_rate: 0.003, num_train_epochs: 4, eval_steps: 3}",
)

MakeRecipe = Callable[..., Recipe]
Make = Callable[..., StageSpec]
HERE = Path(__file__).parent
STUB = HERE.parents[1] / "benchmarks" / "stub_llm_server.py"


@dataclass
class Listener:
    """Keeps what happened, in order."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def stages(self, happening: str) -> list[str]:
        return [event.stage for event in self.events if event.happening == happening]

    def of(self, stage: str) -> list[str]:
        """What happened to a stage, progress told once."""
        return list(dict.fromkeys(event.happening for event in self.events if event.stage == stage))


@pytest.fixture
def listener() -> Listener:
    """A listener that remembers."""
    return Listener()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MakeRecipe:
    """`tiny("ppo.kl_coef=1", ...)`: the recipe of the tiny world, with overrides."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return lambda *overrides: load_recipe(path, overrides)


@pytest.fixture(scope="session")
def finished(tiny: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, stage after stage in this process. Tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run_recipe(tiny(), out, jobs=1, listener=lambda _: None)
    return out


@pytest.fixture(scope="session")
def rounds() -> tuple[str, ...]:
    """Overrides of the tiny recipe for two rounds of an arm, and of one that starts from it."""
    return ROUNDS


@pytest.fixture(scope="session")
def two_rounds(tiny: MakeRecipe, finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds; what the finished run has in common with it is taken from there."""
    out = tmp_path_factory.mktemp("rounds") / "run"
    out.mkdir()
    for stage in ("world", "sft", "reference"):
        shutil.copytree(finished / stage, out / stage)
    shutil.copy(finished / "recipe.yaml", out)
    run_recipe(tiny(*ROUNDS), out, jobs=1, listener=lambda _: None)
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture(scope="session")
def context(tiny: MakeRecipe, finished: Path) -> Context:
    """The context of the finished run."""
    return Context(tiny(), finished, 3)


@pytest.fixture(scope="session")
def results(finished: Path) -> dict[str, Any]:
    """The results of the finished run."""
    content: dict[str, Any] = json.loads((finished / "results.json").read_text())
    return content


@pytest.fixture(scope="session")
def without_timings() -> Callable[[Any], Any]:
    """Results less what depends on the clock."""

    def strip(content: Any) -> Any:
        if isinstance(content, dict):
            return {key: strip(value) for key, value in content.items() if key not in TIMINGS}
        return content

    return strip


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], int]]]:
    """A stand-in for an LLM: a server's address, and how many answers it has given. Half of its first edits keep too
    little.
    """
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    log = tmp_path / "paid"
    command = [sys.executable, str(STUB), "--log", str(log), "--rewrites", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""}) as server:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}/v1"
        yield address, lambda: log.read_bytes().count(b"\n") if log.exists() else 0
        server.terminate()


@pytest.fixture
def files_recipe(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe on a user's own files, which come from the finished run; `None` leaves a file out."""
    data = tmp_path / "data"
    data.mkdir()
    sources = {
        "model": finished / "sft" / "checkpoint",
        "sft": finished / "world" / "sft.jsonl",
        "comparisons": finished / "annotations" / "comparisons_train.jsonl",
        "edits": finished / "annotations" / "edits_train.jsonl",
        "prompts": finished / "world" / "prompts.jsonl",
        "validation_prompts": finished / "world" / "validation_prompts.jsonl",
        "evaluation_prompts": finished / "world" / "evaluation_prompts.jsonl",
        "reference_outputs": finished / "reference" / "evaluation.jsonl",
        "judge": finished / "reward-sequence_edits" / "checkpoint",
    }

    def write(*left_out: str, **sections: Any) -> Path:
        files: dict[str, Any] = {"test_share": 0.25}
        for key, source in sources.items():
            if key not in left_out:
                target = data / (key if source.is_dir() else f"{key}.jsonl")
                if not target.exists():
                    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
                files[key] = f"data/{target.name}"
        recipe = {**TINY, "world": None, "files": files, "name": "own", **sections}
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What toy stages do can be imported, in workers too."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def make(tmp_path: Path, toys: None) -> Make:  # noqa: ARG001
    """`make("a", "write", "b", path=...)`: a stage that does `toy_stages.write` once b is done."""

    def make(
        name: str, work: str, *needs: str, processes: int = 1, together: bool = True, **options: Path | str
    ) -> StageSpec:
        context = Context(default_recipe([f"compute.processes={processes}"]), tmp_path / "run", 0)
        folder, texts = tmp_path / "run" / name, {key: str(path) for key, path in options.items()}
        return StageSpec(name, name, folder, 0, needs, {}, {}, f"toy_stages:{work}", context, texts, together)

    return make
