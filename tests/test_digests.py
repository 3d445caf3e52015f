"""A file that is not the one that was written is found, whatever was done to it."""

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.digests import (
    MANIFEST,
    SMALL,
    changed_files,
    check_outputs,
    check_outside,
    check_written,
    digest_files,
    hash_input,
    reading_whole,
    sealed,
    stage_of,
)
from redpencil.errors import RedpencilError

LARGE = 3 * SMALL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small file, one in a folder, and a large one."""
    folder = tmp_path / "stage"
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "rows.jsonl").write_text("one\ntwo\n")
    (folder / "checkpoint" / "config.json").write_text("{}")
    (folder / "checkpoint" / "weights").write_bytes(os.urandom(LARGE))
    return folder


def write_at(path: Path, place: int, content: bytes, *, keep_time: bool) -> None:
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)
    times = (before.st_mtime_ns, before.st_mtime_ns if keep_time else before.st_mtime_ns + 1)
    os.utime(path, ns=(times[0], times[1]))


def test_a_digest_by_hand(folder: Path) -> None:
    digests = digest_files(folder)
    assert list(digests) == ["checkpoint/config.json", "checkpoint/weights", "rows.jsonl"]
    rows = digests["rows.jsonl"]
    # printf 'one\ntwo\n' | sha256sum
    assert rows["sha256"] == "c3f9c8c283a2b1f2f1896f27a01cbe3cddc0c9d93f752e4639035a0f5b36f6e8"
    assert rows["size"] == 8
    assert "sampled" not in rows
    assert len(digests["checkpoint/weights"]["sampled"]) == 64


def test_nothing_has_changed(folder: Path, tmp_path: Path) -> None:
    digests = digest_files(folder)
    assert list(changed_files(folder, digests)) == []
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)  # with new times
    assert list(changed_files(copy, digests)) == []
    assert list(changed_files(copy, digests, whole=True)) == []


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a row less": (lambda at: (at / "rows.jsonl").write_text("one\n"), ["rows.jsonl has changed"]),
    "other text": (lambda at: (at / "rows.jsonl").write_text("one\ntoo\n"), ["rows.jsonl has changed"]),
    "emptied": (lambda at: (at / "rows.jsonl").write_text(""), ["rows.jsonl has changed"]),
    "a file less": (lambda at: (at / "rows.jsonl").unlink(), ["rows.jsonl is missing"]),
    "a file more": (lambda at: (at / "more.jsonl").write_text(""), ["more.jsonl was added"]),
    "a folder less": (
        lambda at: shutil.rmtree(at / "checkpoint"),
        ["checkpoint/config.json is missing", "checkpoint/weights is missing"],
    ),
    "renamed": (
        lambda at: (at / "rows.jsonl").rename(at / "b.jsonl"),
        ["b.jsonl was added", "rows.jsonl is missing"],
    ),
    "zeros": (
        lambda at: write_at(at / "checkpoint" / "weights", 5_000_000, bytes(4096), keep_time=False),
        ["checkpoint/weights has changed"],
    ),
    "the first byte": (
        lambda at: write_at(at / "checkpoint" / "weights", 0, bytes(64), keep_time=True),
        ["checkpoint/weights has changed"],
    ),
    "the last byte": (
        lambda at: write_at(at / "checkpoint" / "weights", LARGE - 64, bytes(64), keep_time=True),
        ["checkpoint/weights has changed"],
    ),
    "cut short": (
        lambda at: os.truncate(at / "checkpoint" / "weights", LARGE - 1),
        ["checkpoint/weights has changed"],
    ),
    "hidden": (lambda at: (at / ".DS_Store").write_text(""), []),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(folder: Path, change: str) -> None:
    digests = digest_files(folder)
    act, found = CHANGES[change]
    act(folder)
    assert list(changed_files(folder, digests)) == found


def test_zeros_between_the_samples_under_the_same_time_are_found_by_reading_the_whole_file(folder: Path) -> None:
    digests = digest_files(folder)
    # The first sample ends at 65,536, and the second begins at (3 * 4,194,304 - 65,536) / 63 = 198,688.
    write_at(folder / "checkpoint" / "weights", 100_000, bytes(4096), keep_time=True)
    assert list(changed_files(folder, digests)) == []
    assert list(changed_files(folder, digests, whole=True)) == ["checkpoint/weights has changed"]


def test_only_a_part_is_looked_at(folder: Path) -> None:
    digests = digest_files(folder)
    (folder / "rows.jsonl").write_text("")
    (folder / "checkpoint" / "config.json").write_text("[]")
    assert list(changed_files(folder, digests, under="checkpoint")) == ["checkpoint/config.json has changed"]
    assert list(changed_files(folder, digests, under="rows.jsonl")) == ["rows.jsonl has changed"]
    assert list(changed_files(folder, digests, under="check")) == []
    assert list(changed_files(folder, digests, ignored="rows.jsonl")) == ["checkpoint/config.json has changed"]


@settings(max_examples=10)
@given(place=st.integers(0, LARGE - 4096))
def test_zeros_anywhere_are_found_by_the_time(place: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("zeros")
    (folder / "weights").write_bytes(b"x" * LARGE)
    digests = digest_files(folder)
    write_at(folder / "weights", place, bytes(4096), keep_time=False)
    assert list(changed_files(folder, digests)) == ["weights has changed"]


def test_a_folder_behind_a_link_counts_and_a_circle_ends(folder: Path, tmp_path: Path) -> None:
    digests, hashed = digest_files(folder), hash_input(folder)
    (folder / "checkpoint").rename(tmp_path / "larger-disk")
    (folder / "checkpoint").symlink_to(tmp_path / "larger-disk")
    assert list(changed_files(folder, digests)) == []
    assert hash_input(folder) == hashed
    (tmp_path / "larger-disk" / "config.json").write_text("[]")
    assert list(changed_files(folder, digests)) == ["checkpoint/config.json has changed"]
    (folder / "above").symlink_to(tmp_path)
    (folder / "itself").symlink_to(".")
    assert len(digest_files(folder)) == 5  # 3, and the two of larger-disk once more through `above`


def test_hidden_files_do_not_change_the_hash_of_an_input(folder: Path) -> None:
    before = hash_input(folder)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "download").write_text("now")
    (folder / "checkpoint" / ".DS_Store").write_text("")
    (folder / "empty").mkdir()
    assert hash_input(folder) == before
    (folder / "checkpoint" / "more").write_text("")
    assert hash_input(folder) != before


def finish(folder: Path, **more: object) -> None:
    """Write the manifest of a finished stage into a folder with files."""
    manifest = {"stage": "toy", "fingerprint": "f", "seconds": 1.5, "notes": {2: math.nan, 10: Path("x")}, **more}
    content = sealed({**manifest, "outputs": digest_files(folder)})
    (folder / MANIFEST).write_text(json.dumps(content, indent=2, ensure_ascii=False))


@pytest.mark.parametrize(
    "damage",
    [
        lambda manifest: manifest.update(seconds=2.5),
        lambda manifest: manifest["notes"].update({"2": 5}),
        lambda manifest: manifest.pop("outputs"),
        lambda manifest: manifest.update(outputs=5),
        lambda manifest: manifest["outputs"].update({"rows.jsonl": 5}),
        lambda manifest: manifest["outputs"]["rows.jsonl"].update(size=9),
        lambda manifest: manifest.update(stage="other"),
    ],
)
def test_a_manifest_that_was_edited_is_found(folder: Path, damage: Callable[[dict[str, Any]], object]) -> None:
    finish(folder)
    check_outputs(folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    damage(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(RedpencilError, match=r"manifest\.json has changed"):
        check_outputs(folder)
    with pytest.raises(RedpencilError, match=r"manifest\.json has changed"):
        check_written(folder / "rows.jsonl")


def test_a_manifest_without_a_digest_of_itself_is_still_one_of_digests(folder: Path) -> None:
    manifest = {"stage": "toy", "fingerprint": "f", "outputs": digest_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    check_outputs(folder)
    (folder / "rows.jsonl").write_text("")
    with pytest.raises(RedpencilError, match=r"rows\.jsonl has changed"):
        check_outputs(folder)


@pytest.mark.parametrize(
    "foreign", [{}, [], 5, {"outputs": {"a.js": 1}}, {"fingerprint": "f"}, {"name": "an extension", "outputs": []}]
)
def test_what_other_programs_call_manifest_is_let_pass(tmp_path: Path, foreign: object) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps(foreign))
    check_outputs(tmp_path)
    check_written(tmp_path / "rows.jsonl")
    check_outside(tmp_path / "rows.jsonl")
    assert stage_of(tmp_path / "rows.jsonl") is None


def test_a_manifest_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(bytes(100))
    with pytest.raises(RedpencilError, match=r"manifest\.json: not valid JSON") as caught:
        check_written(tmp_path / "rows.jsonl")
    assert "delete its folder and run the stage again" in str(caught.value.hint)


def test_what_is_read_is_checked_wherever_it_lies_in_the_stage(folder: Path, tmp_path: Path) -> None:
    finish(folder)
    (tmp_path / "link").symlink_to(folder / "checkpoint")
    (folder / "checkpoint").rename(tmp_path / "disk")
    (folder / "checkpoint").symlink_to(tmp_path / "disk")
    paths = [folder, folder / "checkpoint", folder / "checkpoint" / "weights", folder / ".." / "stage" / "checkpoint"]
    for path in paths:
        check_written(path)
    (tmp_path / "disk" / "weights").write_bytes(b"")
    for path in paths:
        with pytest.raises(RedpencilError, match="checkpoint/weights has changed"):
            check_written(path)
    check_written(folder / "rows.jsonl")


def test_nothing_is_written_into_a_finished_stage(folder: Path, tmp_path: Path) -> None:
    check_outside(folder / "more.jsonl")
    finish(folder)
    (tmp_path / "link").symlink_to(folder)
    for path in ("stage/rows.jsonl", "stage/more.jsonl", "stage/checkpoint/more", "link/more.jsonl", "stage/new/more"):
        with pytest.raises(RedpencilError, match="it would change the finished stage in"):
            check_outside(tmp_path / path)
    check_outside(tmp_path / "more.jsonl")
    check_outside(folder)  # a stage is replaced as a whole


def test_verify_reads_whatever_is_read_as_a_whole(folder: Path) -> None:
    finish(folder)
    write_at(folder / "checkpoint" / "weights", 100_000, bytes(4096), keep_time=True)
    check_written(folder / "checkpoint")
    token = reading_whole.set(True)
    try:
        with pytest.raises(RedpencilError, match="checkpoint/weights has changed"):
            check_written(folder / "checkpoint")
    finally:
        reading_whole.reset(token)
