"""Model folders that lost their weights: every command refuses them, and nothing is overwritten."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

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


def damaged(folder: Path, copy: Path, value: float) -> Path:
    """Copy a checkpoint with one number of the embedding of a rare token replaced."""
    shutil.copytree(folder, copy)
    weights = load_file(copy / "model.safetensors")
    weights["model.embed_tokens.weight"][7, 3] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


COMMANDS: dict[str, tuple[str, ...]] = {
    "sft": ("sft", "--model", "{bad}", "--data", "{world}/sft.jsonl"),
    "reward": ("reward", "--model", "{bad}", "--pairs", "{pairs}", "--samples", "{samples}"),
    "dpo": ("dpo", "--policy", "{bad}", "--pairs", "{pairs}"),
    "dpo --judge": (
        *("dpo", "--policy", "{policy}", "--pairs", "{pairs}", "--judge", "{bad reward}"),
        *("--validation-prompts", "{world}/validation_prompts.jsonl", "--reference-outputs", "{reference}"),
    ),
    "figa": ("figa", "--policy", "{bad}", "--pairs", "{pairs}"),
    "ppo": (
        *("ppo", "--policy", "{bad}", "--reward-model", "{reward}"),
        *("--prompts", "{prompts}", "--validation-prompts", "{prompts}"),
    ),
    "grpo": (
        *("grpo", "--policy", "{policy}", "--reward-model", "{bad reward}", "--set", "grpo.response_length=40"),
        *("--prompts", "{prompts}", "--validation-prompts", "{prompts}"),
    ),
    "respond": ("respond", "--policy", "{bad}", "--prompts", "{prompts}"),
    "best-of-n": ("best-of-n", "--policy", "{policy}", "--reward-model", "{bad reward}", "--prompts", "{prompts}"),
    "edit": ("edit", "--provider", "local", "--model", "{bad}", "--responses", "{samples}"),
    "judge": ("judge", "--judge", "{bad reward}", "--policy", "{outputs}", "--reference", "{outputs}"),
    "score": ("score", "--model", "{bad reward}", "--prompt", "no such words", "--response", "."),
    "evaluate": ("evaluate", "reward", "--model", "{bad reward}", "--edits", "{edits}"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, math.nan) for name in COMMANDS),
        ("sft", math.inf),
        *(pytest.param(name, math.inf, marks=pytest.mark.long) for name in COMMANDS if name != "sft"),
    ],
)
def test_a_checkpoint_with_a_weight_that_is_not_a_number(
    finished: Path, tmp_path: Path, tiny: Path, refused: Callable[..., str], name: str, value: float
) -> None:
    policy, reward = finished / "sft" / "checkpoint", finished / "reward-token_edits" / "checkpoint"
    values = {
        "world": finished / "world",
        "prompts": finished / "world" / "prompts.jsonl",
        "pairs": finished / "align" / "edits_train.jsonl",
        "samples": finished / "samples" / "responses.jsonl",
        "reference": finished / "reference" / "validation.jsonl",
        "outputs": finished / "outputs-sft" / "evaluation.jsonl",
        "edits": finished / "annotations" / "edits_test.jsonl",
        "policy": policy,
        "reward": reward,
        "bad": damaged(policy, tmp_path / "bad-policy", value),
        "bad reward": damaged(reward, tmp_path / "bad-reward", value),
    }
    rest = () if name in ("score", "evaluate") else ("--out", tmp_path / "out", "--recipe", tiny)
    said = refused(*(part.format(**values) for part in COMMANDS[name]), *rest)
    assert "its weight model.embed_tokens.weight holds a number that is not finite" in said
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*diverged*"))


SHARDS = "model-*.safetensors"
INDEX = "model.safetensors.index.json"


def without_a_shard(folder: Path) -> None:
    index = json.loads((folder / INDEX).read_text())
    lost = index["weight_map"]["model.layers.0.mlp.up_proj.weight"]
    index["weight_map"] = {name: shard for name, shard in index["weight_map"].items() if shard != lost}
    (folder / INDEX).write_text(json.dumps(index))


LOSSES: dict[str, Callable[[Path], object]] = {
    "all shards": lambda folder: [path.unlink() for path in folder.glob(SHARDS)],
    "one shard": lambda folder: sorted(folder.glob(SHARDS))[1].unlink(),
    "an empty shard": lambda folder: sorted(folder.glob(SHARDS))[1].write_bytes(b""),
    "a shard that was cut off": lambda folder: os.truncate(sorted(folder.glob(SHARDS))[1], 700),
    "the index": lambda folder: (folder / INDEX).unlink(),
    "what the index says": lambda folder: (folder / INDEX).write_text("{}"),
    "a shard in the index": without_a_shard,
    "the configuration": lambda folder: (folder / "config.json").write_text("{}"),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_a_checkpoint_in_shards_that_is_not_whole(
    finished: Path, tmp_path: Path, tiny: Path, redpencil: Any, refused: Callable[..., str], lost: str
) -> None:
    policy, few = tmp_path / "policy", tmp_path / "few.jsonl"
    shutil.copytree(finished / "sft" / "checkpoint", policy)
    (policy / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(finished / "sft" / "checkpoint")
    model.save_pretrained(policy, max_shard_size="20KB")
    few.write_text("".join((finished / "world" / "prompts.jsonl").read_text().splitlines(keepends=True)[:2]))
    respond = ("respond", "--policy", policy, "--prompts", few, "--recipe", tiny, "--out", tmp_path / "out.jsonl")
    assert redpencil(*respond).code == 0
    (tmp_path / "out.jsonl").unlink()
    LOSSES[lost](policy)
    rest = ("--recipe", tiny, "--out", tmp_path / "out")
    pairs, samples = finished / "align" / "edits_train.jsonl", finished / "samples" / "responses.jsonl"
    for command in (
        respond,
        ("sft", "--model", policy, "--data", finished / "world" / "sft.jsonl", *rest),
        ("dpo", "--policy", policy, "--pairs", pairs, *rest),
        ("reward", "--model", policy, "--pairs", pairs, "--samples", samples, *rest),
    ):
        assert str(policy) in refused(*command)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("name", ["sft", "dpo", "figa", "ppo", "respond", "best-of-n", "edit", "judge", "score"])
def test_a_reward_model_is_no_policy_and_a_policy_no_reward_model(
    finished: Path, tmp_path: Path, tiny: Path, refused: Callable[..., str], name: str
) -> None:
    policy, reward = finished / "sft" / "checkpoint", finished / "reward-token_edits" / "checkpoint"
    swapped = {
        "world": finished / "world",
        "prompts": finished / "world" / "prompts.jsonl",
        "pairs": finished / "align" / "edits_train.jsonl",
        "samples": finished / "samples" / "responses.jsonl",
        "outputs": finished / "outputs-sft" / "evaluation.jsonl",
        "policy": policy,
        "reward": policy,
        "bad": reward,
        "bad reward": policy,
    }
    rest = () if name == "score" else ("--out", tmp_path / "out", "--recipe", tiny)
    said = refused(*(part.format(**swapped) for part in COMMANDS[name]), *rest)
    assert "is not a policy" in said or "is not a reward model" in said
    assert not (tmp_path / "out").exists()
