"""Several processes give what one gives: losses, scores, samples, checkpoints; with whole and with sharded weights."""

import json
import os
import pickle
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from redpencil.config.training import AlignConfig
from redpencil.models.codec import Codec
from redpencil.records import Edit, Example, Pair
from redpencil.training.pairs import pairs_of_edits

SCRIPT = Path(__file__).with_name("on_ranks.py")
NAMES = (
    *("sft", "reward-eq3", "reward-eq4", "reward-blame", "reward-contrast", "reward-sequence", "reward-some-frozen"),
    *("reward-head-alone", "reward-shallow", "reward-twice", "dpo", "figa", "ppo", "grpo", "scoring", "sampling"),
    *("distill", "distill-own", "left-out", "ppo-left-out", "states", "half"),
    *("lora-sft", "lora-reward-eq3", "lora-reward-contrast", "lora-reward-sequence", "lora-dpo", "lora-figa"),
    *("lora-ppo", "lora-grpo", "lora-scoring", "lora-sampling"),
)
TENSOR = ("sft", "reward-eq4", "reward-sequence", "dpo", "ppo", "states", "scoring", "sampling")
DONE = [(name, mode) for mode in ("whole-2", "fsdp-2") for name in NAMES] + [(name, "tensor-2") for name in TENSOR]
DONE.remove(("ppo-left-out", "fsdp-2"))  # Nothing breaks a shard of a frozen model from outside.
TRAINED = [(name, mode) for name, mode in DONE if not name.endswith(("scoring", "sampling", "states", "half"))]


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def start(folder: Path, processes: int, *modes: str) -> list[subprocess.Popen[str]]:
    """Start the script on so many processes, with torchrun's environment."""
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), *modes],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


@pytest.fixture(scope="module")
def given(
    tmp_path_factory: pytest.TempPathFactory,
    trained: Any,
    adapted: Any,
    pairs: list[Pair],
    edits: list[Edit],
    codec: Codec,
    samples: list[tuple[list[int], tuple[int, ...]]],
) -> Path:
    """The folder in which the script finds what it trains on, and writes what came out."""
    folder = tmp_path_factory.mktemp("ranks")
    rng = random.Random(5)
    examples = [
        Example(str(i), f"topic{i % 8}", " ".join(rng.choice(["sun", "sea", "mud"]) for _ in range(1 + i % 5)))
        for i in range(15)  # two batches of 7 and one of a single row
    ]
    taught = pairs_of_edits(edits[:15], codec, AlignConfig(), "edit_texts")[0]
    given = {"pairs": pairs[:15], "taught": taught, "samples": samples, "examples": examples}
    for name in ("sft", "token", "sequence"):
        given |= {name: getattr(trained, name), f"lora-{name}": getattr(adapted, name)}
    (folder / "given.pkl").write_bytes(pickle.dumps(given))
    return folder


def finish(started: list[subprocess.Popen[str]]) -> None:
    try:
        failed = [text for process in started if (text := process.communicate(timeout=500)[1]) and process.returncode]
    finally:
        for process in started:
            process.kill()
    assert not failed, "\n".join(failed)


@pytest.fixture(scope="module")
def results(given: Path) -> dict[str, Any]:
    """What came out of each mode, by its name, with the folder of its checkpoints as `folder`."""
    finish([*start(given, 1, "whole"), *start(given, 2, "whole", "fsdp", "tensor")])
    found = {path.stem: json.loads(path.read_text()) for path in given.glob("*.json")}
    return found | {"folder": given}


def close(one: Any, other: Any) -> None:
    """Compare numbers in any structure to 1e-6, and all else exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            close(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            close(*pair)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=2e-6, abs=1e-6)
    else:
        assert one == other


@pytest.mark.parametrize(("name", "mode"), DONE)
def test_two_processes_give_what_one_gives(results: dict[str, Any], name: str, mode: str) -> None:
    alone = results["whole-1"][name]
    if "rows" in alone:
        moved = [row["loss"] if "loss" in row else row.get("policy_loss", 0.0) for row in alone["rows"]]
        assert len(set(moved)) > 1, "nothing was learned, so nothing is compared"
    close(alone, results[mode][name])


@pytest.mark.parametrize(
    ("name", "mode"), [("left-out", "whole-2"), ("left-out", "fsdp-2"), ("ppo-left-out", "whole-2")]
)
def test_an_update_that_is_broken_in_one_process_is_left_out_by_all(
    results: dict[str, Any], name: str, mode: str
) -> None:
    told = results[mode][name]
    [sentence] = told["notes"]["left out"]
    assert sentence.startswith("step 3: ")
    measure = "reward" if name == "ppo-left-out" else "loss"
    assert [row["step"] for row in told["rows"] if row["step"] and measure not in row] == [3]


@pytest.mark.parametrize(("name", "mode"), TRAINED)
def test_two_processes_write_the_checkpoint_of_one(results: dict[str, Any], name: str, mode: str) -> None:
    alone, shared = (results["folder"] / one / name / "0" / "checkpoint" for one in ("whole-1", mode))
    assert sorted(path.name for path in alone.iterdir()) == sorted(path.name for path in shared.iterdir())
    kind = "adapter_" if name.startswith("lora-") else ""
    for config in (f"{kind}config.json", "redpencil.json"):
        one, other = (json.loads((folder / config).read_text()) for folder in (alone, shared))
        if config == "redpencil.json":
            one.pop("reward", None), other.pop("reward", None)  # centre and scale, which are compared as numbers
        assert one == other
    weights, others = (load_file(folder / f"{kind or ''}model.safetensors") for folder in (alone, shared))
    assert weights.keys() == others.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(others[key], weight, rtol=1e-5, atol=1e-6)
    assert not (results["folder"] / mode / name / "1" / "checkpoint").exists()


def test_copies_of_shards_on_four_processes_give_what_one_gives(given: Path, tmp_path: Path) -> None:
    shutil.copy(given / "given.pkl", tmp_path)
    cases = ("sft", "lora-sft")
    finish([*start(tmp_path, 1, "whole", *cases), *start(tmp_path, 4, "copies", *cases)])
    alone, four = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole-1", "copies-4"))
    assert alone.keys() == {*cases}
    close(alone, four)
