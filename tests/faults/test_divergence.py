"""Learning rates that diverge, in each command that trains: exit code 1, and the last good weights are kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from redpencil.text import read_json


@pytest.mark.parametrize("name", ["sft", "reward", "dpo", "figa", "ppo", "grpo"])
def test_training_that_diverges(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    redpencil: Any,
    refused: Callable[..., str],
    contents: Callable[[Path], dict[str, bytes]],
    name: str,
    rounds: int,
) -> None:
    world, policy, out = finished / "world", finished / "sft" / "checkpoint", tmp_path / "out"
    rest = ("--recipe", tiny, "--out", out)
    sampled = name in ("ppo", "grpo")
    steps = ("total_steps", "rollout_batch_size=8") if sampled else ("max_steps", "batch_size=8")
    prompts = ("--prompts", world / "prompts.jsonl", "--validation-prompts", world / "validation_prompts.jsonl")
    pairs = ("--pairs", finished / "align" / "edits_train.jsonl")
    rewarded = ("--policy", policy, "--reward-model", finished / "reward-token_edits" / "checkpoint", *prompts, *rest)
    command: tuple[str | Path, ...] = {
        "sft": ("sft", "--model", world / "model", "--data", world / "sft.jsonl", *rest),
        "reward": ("reward", "--model", policy, *pairs, "--samples", finished / "samples" / "responses.jsonl", *rest),
        "dpo": ("dpo", "--policy", policy, *pairs, *rest),
        "figa": ("figa", "--policy", policy, *pairs, *rest),
        "ppo": ("ppo", *rewarded),
        "grpo": ("grpo", *rewarded, "--set", "grpo.group_size=2", "--set", "grpo.response_length=40"),
    }[name]
    no_warmup = f"{name}.warmup_steps=0" if sampled else f"{name}.warmup_ratio=0"
    # Its final norm keeps the rewards of a reward model finite at any rate; decay makes the weights grow without bound.
    growing = ("--set", "reward.weight_decay=1") if name == "reward" else ()
    small = ("--set", no_warmup, *growing, "--set", f"{name}.{steps[1]}", "--set", f"{name}.learning_rate=")
    sound = (*small[:-1], f"{small[-1]}1e-4", "--set", f"{name}.{steps[0]}=1")
    assert redpencil(*command, *sound).code == 0
    before = contents(out)
    rates = ["1e30", "1e29", "1e28"] if name == "reward" else ["1e30", "1e28", "1e25", "1e22", "1e20"]
    for number, rate in enumerate(rates[: max(rounds, 1)], start=1):
        # The first step of a new reward model moves its head alone, whose loss may be large and finite.
        for last in (2, 3):
            said = refused(*command, *small[:-1], f"{small[-1]}{rate}", "--set", f"{name}.{steps[0]}={last}")
            assert "training broke down at step" in said
            assert contents(out) == before
        kept = tmp_path / f"out.diverged-{2 * number}"
        weights = load_file(kept / "last-good" / "model.safetensors")
        assert all(bool(weight.isfinite().all()) for weight in weights.values())
        assert read_json(kept / "diverged.json")["rows"]
    held = contents(tmp_path / "out.diverged-1")
    assert redpencil(*command, *sound, "--seed", "5").code == 0
    assert contents(tmp_path / "out.diverged-1") == held
