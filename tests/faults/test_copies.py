"""A finished run that was copied, moved, packed or put behind links is used as it is, or its change is named."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.text import read_json

SOUND = {
    "cp -r": "cp -r {run} {copy}",
    "cp -a": "cp -a {run} {copy}",
    "mv": "cp -r {run} {copy}.first && mv {copy}.first {copy}",
    "tar": "mkdir {copy} && tar cf - -C {run} . | tar xf - -C {copy}",
    "tar, with new times": "mkdir {copy} && tar cf - -C {run} . | tar xmf - -C {copy}",
    "git": "cp -r {run} {copy}.first && cd {copy}.first && git init -q && git add -A && "
    "git -c user.name=a -c user.email=a@b commit -qm x && git clone -q . {copy}",
    "hard links": "cp -rl {run} {copy}",
    "a link to each file": "cp -rs {run} {copy}",
    "a link to the run": "ln -s {run} {copy}",
    "old times": "cp -r {run} {copy} && find {copy} -type f -exec touch -d 2001-01-01 {{}} +",
    "times to come": "cp -r {run} {copy} && find {copy} -type f -exec touch -d 2101-01-01 {{}} +",
    "hidden files": "cp -r {run} {copy} && touch {copy}/sft/checkpoint/.DS_Store {copy}/annotations/._edits.jsonl",
    "a hidden folder": "cp -r {run} {copy} && mkdir {copy}/world/model/.cache && touch {copy}/world/model/.cache/x",
    "a checkpoint behind a link": "cp -r {run} {copy} && mv {copy}/sft/checkpoint {copy}.disk && "
    "ln -s {copy}.disk {copy}/sft/checkpoint",
    "a stage behind a link": "cp -r {run} {copy} && mv {copy}/sft {copy}.disk && ln -s {copy}.disk {copy}/sft",
    "an attempt that was killed": "cp -r {run} {copy} && mkdir {copy}/sft.partial && "
    "touch {copy}/sft.partial/.fingerprint",
}
"""Shell commands with the run, and the copy to make."""


@pytest.mark.parametrize("how", SOUND)
def test_a_run_at_another_place_is_complete(
    finished: Path, tmp_path: Path, tiny: Path, redpencil: Any, contents: Callable[[Path], dict[str, bytes]], how: str
) -> None:
    copy, before = tmp_path / "copy", contents(finished)
    subprocess.run(SOUND[how].format(run=finished, copy=copy), shell=True, check=True)
    assert redpencil("report", copy).code == 0
    outcome = redpencil("run", tiny, "--out", copy, "--jobs", "1", "--verify")
    assert outcome.code == 0
    assert outcome.said.count("already complete") == 19
    assert "started" not in outcome.said
    stages = {path.parent.name: path.read_bytes() for path in finished.glob("*/manifest.json")}
    assert {path.parent.name: path.read_bytes() for path in copy.glob("*/manifest.json")} == stages
    if how != "a link to the run":
        assert contents(finished) == before


CHANGED = {
    "other line ends": "sed -i 's/$/\\r/' {copy}/samples/responses.jsonl",
    "files of a file manager": "touch {copy}/sft/Thumbs.db",
    "a copy without the large files": "find {copy} -name model.safetensors -size +20k -delete",
    "a copy that was cut off": "truncate -s 20000 {copy}/sft/checkpoint/model.safetensors",
    "a pointer in place of a file": "echo 'version https://git-lfs.github.com/spec/v1' "
    "> {copy}/ppo-token/checkpoint/model.safetensors",
    "a link that leads nowhere": "rm {copy}/judge/token.jsonl && ln -s /nowhere/token.jsonl {copy}/judge/token.jsonl",
    "a stage of another run": "sed -i s/0/1/ {copy}/align/edits_train.jsonl",
}


@pytest.mark.parametrize("how", CHANGED)
def test_a_copy_that_is_no_copy_is_named(
    copied: Path, tiny: Path, refused: Callable[..., str], contents: Callable[[Path], dict[str, bytes]], how: str
) -> None:
    subprocess.run(CHANGED[how].format(copy=copied), shell=True, check=True)
    before = contents(copied)
    for said in (refused("report", copied), refused("run", tiny, "--out", copied, "--jobs", "1")):
        assert "not what the stage" in said
        assert "delete the folder and run the stage again" in said
    assert contents(copied) == before


@pytest.mark.parametrize("stage", ["world", "samples", "judge"])
def test_an_edited_manifest_is_found(copied: Path, tiny: Path, refused: Callable[..., str], stage: str) -> None:
    file = copied / stage / "manifest.json"
    text = file.read_text()
    file.write_text(text.replace(f'"seconds": {read_json(file)["seconds"]}', '"seconds": 1000.5'))
    assert file.read_text() != text
    for said in (refused("report", copied), refused("run", tiny, "--out", copied, "--jobs", "1")):
        assert f"not what the stage '{stage}' wrote: manifest.json has changed" in said


def test_a_run_whose_manifest_was_lost_still_has_its_stages_checked(copied: Path, refused: Callable[..., str]) -> None:
    (copied / "manifest.json").unlink()
    (copied / "ppo-token" / "metrics.jsonl").write_text('{"step": 1}\n')
    assert "metrics.jsonl has changed" in refused("report", copied)


@pytest.fixture
def read_only(copied: Path, tmp_path: Path) -> Any:
    """A finished run on a file system that cannot be written to."""
    place = tmp_path / "read-only"
    place.mkdir()
    mount = f"mount --bind {copied} {place} && mount -o remount,ro,bind {place}"
    done = subprocess.run(mount, shell=True, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this machine does not let a test mount a folder: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_run_that_cannot_be_written_to_is_read(
    read_only: Path, finished: Path, tmp_path: Path, tiny: Path, redpencil: Any, refused: Callable[..., str]
) -> None:
    run, few = read_only, tmp_path / "few.jsonl"
    few.write_text("".join((finished / "world" / "prompts.jsonl").read_text().splitlines(keepends=True)[:3]))
    respond = ("respond", "--policy", run / "sft" / "checkpoint", "--prompts", few, "--recipe", tiny, "--out")
    assert redpencil(*respond, tmp_path / "out.jsonl").code == 0
    sft = ("sft", "--model", run / "world" / "model", "--data", run / "world" / "sft.jsonl", "--recipe", tiny, "--out")
    assert "Read-only" in refused(*sft, run / "new")
    assert "Read-only" in refused(*respond, run / "out.jsonl")
    assert "Read-only" in refused("run", tiny, "--out", run, "--jobs", "1")
    said = refused("report", run)
    assert "Read-only" in said
    assert "copy the folder to where you may write" in said
    assert redpencil("report", shutil.copytree(run, tmp_path / "mine")).code == 0
