"""`dpo`, `figa` and `best-of-n` on the files of the tiny run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.records import Prompt, Response, read_jsonl
from redpencil.runs import read_json, read_metrics


@pytest.fixture
def policy(tiny_run: Any) -> Path:
    return tiny_run.folder / "sft" / "checkpoint"


def quick(method: str) -> tuple[str, ...]:
    keys = ("max_steps=2", "batch_size=8", "learning_rate=.001", "eval_steps=1", "warmup_ratio=0")
    return tuple(word for key in keys for word in ("--set", f"{method}.{key}"))


@pytest.mark.parametrize("method", ["dpo", "figa"])
def test_a_policy_is_trained_on_pairs_and_watched_by_the_judge(
    method: str, redpencil: Callable[..., Any], policy: Path, chain: Any, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / method
    watched = (
        *("--validation-prompts", tiny_run.folder / "world" / "validation_prompts.jsonl"),
        *("--reference-outputs", tiny_run.folder / "reference" / "validation.jsonl", "--judge", "world"),
    )
    common = (method, "--policy", policy, "--pairs", chain.folder / "pairs.jsonl", "--out", out, "--recipe", tiny)
    outcome = redpencil(*common, *watched, *quick(method))
    assert outcome.code == 0, outcome
    assert f"checkpoint: {out / 'checkpoint'}" in outcome.err
    rows = read_metrics(out)
    assert [row["step"] for row in rows if "eval/win_rate" in row] == [0, 1, 2]
    manifest = read_json(out / "manifest.json")
    assert manifest["stage"] == method
    assert manifest["notes"]["best"]["step"] in (0, 1, 2)
    assert (out / "checkpoint" / "model.safetensors").is_file()
    again = redpencil(*common, *watched, *quick(method))
    assert "nothing was done" in again.err


def test_without_a_judge_the_last_checkpoint_is_kept(
    redpencil: Callable[..., Any], policy: Path, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figa"
    pairs = chain.folder / "pairs.jsonl"
    done = redpencil("figa", "--policy", policy, "--pairs", pairs, "--out", out, "--recipe", tiny, *quick("figa"))
    assert done.code == 0, done
    assert not any("eval/win_rate" in row for row in read_metrics(out))
    assert "best" not in read_json(out / "manifest.json")["notes"]


def test_a_judge_comes_with_prompts_and_a_reference(
    redpencil: Callable[..., Any], policy: Path, tmp_path: Path
) -> None:
    outcome = redpencil("figa", "--policy", policy, "--pairs", "p.jsonl", "--out", tmp_path / "f", "--judge", "world")
    assert outcome.code == 2
    assert "go together" in " ".join(outcome.err.replace("│", " ").split())


def test_pairs_that_are_no_edits_are_named(
    mistake: Callable[..., str], policy: Path, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    pairs = chain.folder / "comparison_pairs.jsonl"
    said = mistake("figa", "--policy", policy, "--pairs", pairs, "--out", tmp_path / "f", "--recipe", tiny)
    assert "these are not edits" in said


def test_the_best_of_n_answers_every_prompt(
    redpencil: Callable[..., Any], policy: Path, chain: Any, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    prompts = tiny_run.folder / "world" / "evaluation_prompts.jsonl"
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for out in files:
        outcome = redpencil(
            *("best-of-n", "--policy", policy, "--reward-model", chain.folder / "reward-token" / "checkpoint"),
            *("--prompts", prompts, "--out", out, "--recipe", tiny, "--set", "best_of_n.n=3"),
        )
        assert outcome.code == 0, outcome
        assert f"16 responses in {out}, picked from 48" in outcome.err
        assert "KL to the policy at most 0.43 nats" in outcome.err  # ln 3 - 2/3
    assert files[0].read_bytes() == files[1].read_bytes()
    ids = [row.id for row in read_jsonl(files[0], Response)]
    assert ids == [row.id for row in read_jsonl(prompts, Prompt)]


def test_an_arm_of_another_method_is_refused(
    mistake: Callable[..., str], policy: Path, tiny: Path, tmp_path: Path
) -> None:
    said = mistake(
        *("best-of-n", "--policy", policy, "--reward-model", policy, "--prompts", "p.jsonl"),
        *("--out", tmp_path / "o.jsonl", "--recipe", tiny, "--arm", "token"),
    )
    assert "the arm 'token' is one of the method ppo" in said
