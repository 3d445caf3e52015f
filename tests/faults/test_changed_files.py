"""Files of a finished run that change behind its back: no command goes on as if nothing had happened."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.digests import MANIFEST, digest_files, sealed
from redpencil.runs import write_json
from redpencil.text import read_json

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


READ_ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "respond": ("world/prompts.jsonl", ("respond", "--policy", "{whole}/sft/checkpoint", "--prompts", "{file}")),
    "best-of-n": (
        "world/prompts.jsonl",
        ("best-of-n", "--policy", "{whole}/sft/checkpoint", "--prompts", "{file}", "--reward-model", "{reward}"),
    ),
    "align --edits": (
        "annotations/edits_train.jsonl",
        ("align", "--edits", "{file}", "--tokenizer", "{whole}/sft/checkpoint"),
    ),
    "align --comparisons": (
        "annotations/comparisons_train.jsonl",
        ("align", "--comparisons", "{file}", "--tokenizer", "{whole}/sft/checkpoint"),
    ),
    "align --tokenizer": (
        "sft/checkpoint/tokenizer.json",
        ("align", "--edits", "{whole}/annotations/edits_train.jsonl", "--tokenizer", "{folder}"),
    ),
    "judge --policy": (
        "outputs-sft/evaluation.jsonl",
        ("judge", "--judge", "world", "--policy", "{file}", "--reference", "{whole}/reference/evaluation.jsonl"),
    ),
    "judge --reference": (
        "reference/evaluation.jsonl",
        ("judge", "--judge", "world", "--reference", "{file}", "--policy", "{whole}/outputs-sft/evaluation.jsonl"),
    ),
    "judge --comparisons": (
        "annotations/comparisons_test.jsonl",
        ("judge", "--judge", "world", "--comparisons", "{file}"),
    ),
    "judge --judge": (
        "reward-token_edits/checkpoint/config.json",
        (
            *("judge", "--judge", "{folder}", "--policy", "{whole}/outputs-sft/evaluation.jsonl"),
            *("--reference", "{whole}/reference/evaluation.jsonl"),
        ),
    ),
    "edit": ("samples/responses.jsonl", ("edit", "--provider", "world", "--responses", "{file}")),
    "import": ("annotations/edits_train.jsonl", ("import", "{file}", "--as", "edits")),
    "export": ("annotations/edits_train.jsonl", ("export", "{file}", "--format", "trl")),
    "score": ("samples/responses.jsonl", ("score", "--model", "{reward}", "--responses", "{file}")),
    "audit": ("annotations/edits_train.jsonl", ("audit", "{file}")),
    "evaluate win-rate": ("judge/token.jsonl", ("evaluate", "win-rate", "{file}")),
    "evaluate judge": ("judge/token.jsonl", ("evaluate", "judge", "{file}")),
    "evaluate judge --against": (
        "judge/edits.jsonl",
        ("evaluate", "judge", "{whole}/judge/edits.jsonl", "--against", "{file}"),
    ),
    "evaluate reward --edits": (
        "annotations/edits_test.jsonl",
        ("evaluate", "reward", "--model", "{reward}", "--edits", "{file}"),
    ),
    "evaluate reward --pairs": (
        "align/edits_test.jsonl",
        ("evaluate", "reward", "--model", "{reward}", "--pairs", "{file}"),
    ),
    "evaluate efficiency": (
        "ppo-token/metrics.jsonl",
        ("evaluate", "efficiency", "--token", "{folder}", "--sequence", "{whole}/ppo-edits"),
    ),
}
RECIPE = Path(__file__).parents[1] / "cli" / "tiny.yaml"
WITHOUT_OUT = ("score", "audit", "evaluate")


@pytest.mark.parametrize("name", READ_ROWS)
def test_no_command_reads_changed_rows(
    finished: Path, copied: Path, tmp_path: Path, redpencil: Any, refused: Callable[..., str], name: str
) -> None:
    place, arguments = READ_ROWS[name]
    file, out = copied / place, tmp_path / "out"
    values = {"file": file, "folder": file.parent, "whole": finished}
    values["reward"] = finished / "reward-token_edits" / "checkpoint"
    rest: tuple[str | Path, ...] = () if arguments[0] in WITHOUT_OUT else ("--out", out)
    rest += ("--recipe", RECIPE) if arguments[0] in ("respond", "best-of-n") else ()
    command = (*(part.format(**values) for part in arguments), *rest)
    assert redpencil(*command).code == 0
    out.unlink(missing_ok=True)
    file.write_bytes(file.read_bytes().replace(b"e", b"a", 1))
    said = refused(*command)
    assert f"not what the stage '{place.split('/')[0]}' wrote: {'/'.join(place.split('/')[1:])} has changed" in said
    assert not out.exists()


VERIFIED = {
    "respond": ("respond", "--policy", "{policy}", "--prompts", "{prompts}", "--out", "{out}"),
    "best-of-n": (
        *("best-of-n", "--policy", "{policy}", "--reward-model", "{reward}", "--prompts", "{prompts}"),
        *("--out", "{out}"),
    ),
    "dpo": ("dpo", "--policy", "{policy}", "--pairs", "{pairs}", "--out", "{out}"),
    "ppo": (
        *("ppo", "--policy", "{policy}", "--reward-model", "{reward}", "--prompts", "{prompts}"),
        *("--validation-prompts", "{prompts}", "--out", "{out}"),
    ),
    "sft": ("sft", "--model", "{policy}", "--data", "{examples}", "--out", "{out}"),
    "score": ("score", "--model", "{policy}", "--prompt", "a", "--response", "b"),
    "align": ("align", "--tokenizer", "{policy}", "--edits", "{edits}", "--out", "{out}"),
    "evaluate reward": ("evaluate", "reward", "--model", "{policy}", "--edits", "{edits}"),
    "judge": ("judge", "--judge", "{policy}", "--policy", "{outputs}", "--reference", "{outputs}", "--out", "{out}"),
    "edit": (
        *("edit", "--provider", "local", "--model", "{policy}", "--responses", "{outputs}"),
        *("--out", "{out}"),
    ),
}


@pytest.mark.parametrize("name", VERIFIED)
def test_every_command_that_reads_a_stage_reads_it_as_a_whole_with_verify(
    finished: Path, copied: Path, tmp_path: Path, refused: Callable[..., str], name: str
) -> None:
    from redpencil.digests import check_outputs

    stage = copied / "sft"
    # A large file that nothing but its digest looks at.
    large = stage / "checkpoint" / "notes.bin"
    large.write_bytes(bytes(range(256)) * 65_536)
    seal_anew(stage)
    times = large.stat()
    content = bytearray(large.read_bytes())
    content[100_000:104_096] = bytes(4096)
    large.write_bytes(content)
    os.utime(large, ns=(times.st_mtime_ns, times.st_mtime_ns))
    check_outputs(stage)  # between the samples
    values = {
        "policy": stage / "checkpoint",
        "reward": finished / "reward-token_edits" / "checkpoint",
        "prompts": finished / "world" / "prompts.jsonl",
        "examples": finished / "world" / "sft.jsonl",
        "pairs": finished / "align" / "edits_train.jsonl",
        "edits": finished / "annotations" / "edits_test.jsonl",
        "outputs": finished / "outputs-sft" / "evaluation.jsonl",
        "out": tmp_path / "out",
    }
    said = refused(*(part.format(**values) for part in VERIFIED[name]), "--verify")
    assert "checkpoint/notes.bin has changed" in said
    check_outputs(stage)  # the option is the command's alone


def seal_anew(stage: Path) -> None:
    manifest = {key: value for key, value in read_json(stage / MANIFEST).items() if key != "manifest_sha256"}
    write_json(stage / MANIFEST, sealed({**manifest, "outputs": {**digest_files(stage)}}))


@pytest.mark.parametrize("place", ["sft/responses.jsonl", "samples/responses.jsonl", "reward-token_edits/checkpoint/x"])
def test_nothing_is_written_into_a_finished_stage(
    copied: Path, tiny: Path, refused: Callable[..., str], contents: Callable[[Path], dict[str, bytes]], place: str
) -> None:
    before = contents(copied)
    policy, prompts = copied / "sft" / "checkpoint", copied / "world" / "prompts.jsonl"
    said = refused("respond", "--policy", policy, "--prompts", prompts, "--recipe", tiny, "--out", copied / place)
    assert "it would change the finished stage in" in said
    rest = ("--data", copied / "world" / "sft.jsonl", "--recipe", tiny, "--out", copied / place)
    said = refused("sft", "--model", copied / "world" / "model", *rest)
    assert "it would change the finished stage in" in said
    assert contents(copied) == before
