"""Files of a finished run that change behind its back: no command goes on as if nothing had happened."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Damage = Callable[[Path, random.Random], None]


def zeros(path: Path, rng: random.Random) -> None:
    """4 kB of zeros somewhere in the second half, where weights are."""
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content) // 2, max(len(content) - 4096, len(content) // 2 + 1))
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    path.write_bytes(content)


def a_line_less(path: Path, rng: random.Random) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    del lines[rng.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


def lost(path: Path, _: random.Random) -> None:
    path.unlink()


def added(path: Path, _: random.Random) -> None:
    shutil.copy(path, path.with_name(f"more-{path.name}"))


FAULTS: list[tuple[str, Damage]] = [
    ("*/checkpoint/model.safetensors", zeros),
    ("*/checkpoint/model.safetensors", cut),
    ("*/checkpoint/*", lost),
    ("*/metrics.jsonl", a_line_less),
    ("*/*.jsonl", a_line_less),
    ("*/*.jsonl", cut),
    ("*/*.jsonl", lost),
    ("annotations/*.jsonl", added),
    ("world/model/*", cut),
    ("evaluate/*.json", cut),
]


@pytest.mark.parametrize(("where", "damage"), FAULTS, ids=[f"{damage.__name__} {where}" for where, damage in FAULTS])
def test_a_run_and_its_report_stop_at_a_changed_stage(
    finished: Path,
    tmp_path: Path,
    tiny: Path,
    refused: Callable[..., str],
    contents: Callable[[Path], dict[str, bytes]],
    rng: random.Random,
    rounds: int,
    where: str,
    damage: Damage,
) -> None:
    places = [path.relative_to(finished) for path in sorted(finished.glob(where)) if path.name != "manifest.json"]
    for number, place in enumerate(rng.sample(places, min(rounds, len(places)))):
        copied = shutil.copytree(finished, tmp_path / str(number))
        damage(copied / place, rng)
        before = contents(copied)
        for said in (
            refused("run", tiny, "--out", copied, "--jobs", "1"),
            refused("report", copied),
        ):
            assert f"not what the stage '{place.parts[0]}' wrote" in said or "older than its stages" in said
        assert contents(copied) == before


def test_zeros_under_the_old_time_in_a_large_file_are_found_with_verify(
    copied: Path, tiny: Path, redpencil: Any, refused: Callable[..., str], rng: random.Random
) -> None:
    assert redpencil("report", copied, "--verify").code == 0
    assert redpencil("run", tiny, "--out", copied, "--jobs", "1", "--verify").code == 0
    zeros(copied / "sft" / "checkpoint" / "model.safetensors", rng)
    assert "checkpoint/model.safetensors has changed" in refused("report", copied, "--verify")
    said = refused("run", tiny, "--out", copied, "--jobs", "1", "--verify")
    assert "checkpoint/model.safetensors has changed" in said


def test_no_command_reads_a_changed_checkpoint_or_changed_rows(
    copied: Path, tiny: Path, tmp_path: Path, refused: Callable[..., str], rng: random.Random
) -> None:
    zeros(copied / "sft" / "checkpoint" / "model.safetensors", rng)
    zeros(copied / "reward-token_edits" / "checkpoint" / "model.safetensors", rng)
    a_line_less(copied / "world" / "sft.jsonl", rng)
    policy, world, rest = copied / "sft" / "checkpoint", copied / "world", ("--recipe", tiny)
    prompts, pairs = world / "prompts.jsonl", copied / "align" / "edits_train.jsonl"
    reward = copied / "reward-token_edits" / "checkpoint"
    commands: list[tuple[str | Path, ...]] = [
        ("respond", "--policy", policy, "--prompts", prompts, *rest),
        ("best-of-n", "--policy", policy, "--reward-model", reward, "--prompts", prompts, *rest),
        ("dpo", "--policy", policy, "--pairs", pairs, *rest),
        ("sft", "--model", world / "model", "--data", world / "sft.jsonl", *rest),
        ("reward", "--model", policy, "--pairs", pairs, "--samples", copied / "samples" / "responses.jsonl", *rest),
        ("score", "--model", reward, "--responses", copied / "samples" / "responses.jsonl"),
    ]
    for number, command in enumerate(commands):
        out = tmp_path / f"out-{number}"
        options = () if command[0] == "score" else ("--out", out)
        assert "has changed" in refused(*command, *options), command
        assert not out.exists()
