"""A file that is not the one that was written is found, whatever was done to it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.digests import SMALL, changed_files, digest_files

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
