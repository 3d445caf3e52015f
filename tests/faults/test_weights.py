"""Model folders that lost their weights: every command refuses them, and nothing is overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

READ_POLICIES = ("sft", "reward", "respond", "best-of-n", "ppo", "grpo", "dpo", "figa", "edit")
READ_REWARDS = ("best-of-n", "ppo", "grpo", "score", "judge")
READ = [*((name, "policy") for name in READ_POLICIES), *((name, "reward") for name in READ_REWARDS)]


@pytest.mark.parametrize(("name", "lost"), READ)
def test_a_folder_without_weights(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    redpencil: Any,
    refused: Callable[..., str],
    contents: Callable[[Path], dict[str, bytes]],
    name: str,
    lost: str,
) -> None:
    policy, reward = tmp_path / "policy", tmp_path / "reward"
    shutil.copytree(finished / "sft" / "checkpoint", policy)
    shutil.copytree(finished / "reward-token_edits" / "checkpoint", reward)
    world, samples, rest = finished / "world", finished / "samples" / "responses.jsonl", ("--recipe", tiny)
    prompts, pairs = world / "prompts.jsonl", finished / "align" / "edits_train.jsonl"
    few = tmp_path / "few.jsonl"
    few.write_text("".join(prompts.read_text().splitlines(keepends=True)[:4]))
    steps = ("--set", f"{name}.total_steps=1", "--set", f"{name}.rollout_batch_size=4")
    rewarded = ("--policy", policy, "--reward-model", reward, "--prompts", few)
    trained = (*rewarded, "--validation-prompts", few, *rest, *steps)
    on_pairs = ("--policy", policy, "--pairs", pairs, *rest, "--set", f"{name}.max_steps=1")
    reference = finished / "reference" / "evaluation.jsonl"
    arguments: dict[str, tuple[str | Path, ...]] = {
        "sft": ("--model", policy, "--data", world / "sft.jsonl", *rest, "--set", "sft.max_steps=1"),
        "reward": ("--model", policy, "--pairs", pairs, "--samples", samples, *rest),
        "respond": ("--policy", policy, "--prompts", few, *rest),
        "best-of-n": (*rewarded, *rest, "--set", "best_of_n.n=2"),
        "ppo": trained,
        "grpo": (*trained, "--set", "grpo.group_size=2", "--set", "grpo.response_length=40"),
        "dpo": on_pairs,
        "figa": on_pairs,
        "score": ("--model", reward, "--responses", samples, "--html", tmp_path / "out"),
        "judge": (
            "--policy",
            finished / "outputs-sft" / "evaluation.jsonl",
            "--reference",
            reference,
            "--judge",
            reward,
        ),
        "edit": ("--responses", samples, "--provider", "local", "--model", policy),
    }
    reads = {"policy": policy, "reward": reward}[lost]
    out = tmp_path / "out"
    command = (name, *arguments[name], *(() if name == "score" else ("--out", out)))
    if name != "edit":  # which would take long
        assert redpencil(*command).code == 0
    before = contents(tmp_path)
    (reads / "model.safetensors").rename(tmp_path / "weights")
    assert "no weights" in refused(*command, *(() if name in ("score", "judge", "edit") else ("--seed", "9")))
    (tmp_path / "weights").rename(reads / "model.safetensors")
    assert contents(tmp_path) == before


def test_a_fresh_start_is_wanted_and_said(finished: Path, tmp_path: Path, tiny: Path, redpencil: Any) -> None:
    world = finished / "world"
    rest = ("--data", world / "sft.jsonl", "--recipe", tiny, "--set", "sft.max_steps=1")
    outcome = redpencil("sft", "--model", world / "model", "--out", tmp_path / "out", *rest)
    assert outcome.code == 0
    assert "has no weights: training starts from random ones" in outcome.said


@pytest.mark.parametrize("name", ["ppo", "grpo", "best-of-n", "reward"])
@pytest.mark.parametrize("fault", ["context", "embeddings"])
def test_a_model_that_cannot_read_prompt_and_response_or_the_tokenizer(
    finished: Path, tmp_path: Path, tiny: Path, refused: Callable[..., str], name: str, fault: str
) -> None:
    policy, reward = finished / "sft" / "checkpoint", tmp_path / "reward"
    shutil.copytree(policy if name == "reward" else finished / "reward-token_edits" / "checkpoint", reward)
    if fault == "context":
        config = json.loads((reward / "config.json").read_text())
        # The edits fit; the longest sample of the policy, or a prompt with the longest response, does not.
        config["max_position_embeddings"] = 30 if name == "reward" else 55
        (reward / "config.json").write_text(json.dumps(config))
    else:
        tokenizer = json.loads((policy / "tokenizer.json").read_text())
        tokenizer["model"]["vocab"]["quokka"] = len(tokenizer["model"]["vocab"])
        policy = shutil.copytree(policy, tmp_path / "policy")
        for folder in (reward, policy):
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    out = tmp_path / "out"
    prompts = ("--prompts", finished / "world" / "prompts.jsonl")
    watched = (*prompts, "--validation-prompts", finished / "world" / "validation_prompts.jsonl")
    pairs = ("--pairs", finished / "align" / "edits_train.jsonl")
    arguments = {
        "ppo": ("--policy", policy, "--reward-model", reward, *watched),
        "grpo": ("--policy", policy, "--reward-model", reward, *watched, "--set", "grpo.response_length=40"),
        "best-of-n": ("--policy", policy, "--reward-model", reward, *prompts),
        "reward": ("--model", reward, *pairs, "--samples", finished / "samples" / "responses.jsonl"),
    }[name]
    said = refused(name, *arguments, "--recipe", tiny, "--out", out)
    assert ("the model knows" if fault == "embeddings" else "tokens") in said
    assert not (tmp_path / "out.partial" / "metrics.jsonl").exists()
    assert not out.exists()
