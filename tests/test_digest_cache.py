"""Digests of large files that were read before: when they are trusted, and when not."""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redpencil import digest_cache, digests
from redpencil.digest_cache import lookup, remember
from redpencil.digests import SMALL, digest_files, hash_input, known_sha256, reading_whole, sha256


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder of this test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "redpencil" / "digests"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(SMALL + 1))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read as a whole."""
    seen: list[str] = []

    def watched(path: Path, *rest: Callable[[int], object]) -> str:
        seen.append(path.name)
        return sha256(path, *rest)

    monkeypatch.setattr(digests, "sha256", watched)
    return seen


def test_a_large_file_is_read_once(cache: Path, large: Path, reads: list[str]) -> None:
    expected = sha256(large)
    counted: list[int] = []
    assert known_sha256(large, counted.append) == expected
    assert known_sha256(large, counted.append) == expected
    assert reads == ["weights"]
    assert sum(counted) == 2 * (SMALL + 1)
    assert [path.name for path in cache.iterdir()] == [f"{large.stat().st_dev:x}-{large.stat().st_ino:x}.json"]


def test_what_was_hashed_when_it_was_written_is_not_read_again_under_its_new_name(
    tmp_path: Path, reads: list[str]
) -> None:
    partial = tmp_path / "sft.partial"
    partial.mkdir()
    (partial / "weights").write_bytes(os.urandom(SMALL + 1))
    written = digest_files(partial)
    partial.replace(tmp_path / "sft")
    assert known_sha256(tmp_path / "sft" / "weights") == written["weights"]["sha256"]
    hash_input(tmp_path / "sft")
    assert reads == ["weights"]


def test_small_files_are_always_read(cache: Path, tmp_path: Path, reads: list[str]) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(SMALL))
    assert known_sha256(small) == known_sha256(small)
    assert reads == ["small", "small"]
    assert not cache.exists()


def test_verify_reads_all(large: Path, reads: list[str]) -> None:
    known_sha256(large)
    token = reading_whole.set(True)
    try:
        known_sha256(large)
    finally:
        reading_whole.reset(token)
    assert reads == ["weights", "weights"]


def zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(4096))


def old_time(path: Path) -> None:
    before = path.stat()
    zeros(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_file(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    shutil.copyfile(path, other)
    zeros(other)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"1")


def exchanged(path: Path) -> None:
    """As a backup does: the old file under another name, and a changed copy with its times in its place."""
    path.replace(path.with_name("backup"))
    shutil.copy2(path.with_name("backup"), path)
    old_time(path)


def by_map(path: Path) -> None:
    import mmap

    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        view[1000:5096] = bytes(4096)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no time of any change")
@pytest.mark.parametrize("change", [zeros, old_time, another_file, longer, exchanged, by_map])
def test_a_file_that_changed_is_read(large: Path, change: Callable[[Path], None]) -> None:
    before = known_sha256(large)
    change(large)
    assert known_sha256(large) == sha256(large) != before


def overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * 50)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def other_digest(path: Path) -> None:
    path.write_text(path.read_text().replace(json.loads(path.read_text())["sha256"], "0" * 64))


def of_another_kind(path: Path) -> None:
    path.write_text("[1]")


def other_type(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": 5}))


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def open_to_all(path: Path) -> None:
    other_digest(path)
    content = json.loads(path.read_text())
    known = {key: value for key, value in content.items() if key != "check"}
    # As somebody else would write it: with a checksum that is right.
    path.write_text(json.dumps(digest_cache._entry(large_stat(known), "0" * 64)))
    path.chmod(0o666)


def large_stat(known: dict[str, int]) -> os.stat_result:
    class Stat:
        st_dev, st_ino, st_size = known["device"], known["inode"], known["size"]
        st_mtime_ns, st_ctime_ns = known["mtime_ns"], known["ctime_ns"]

    return Stat()  # type: ignore[return-value]


@pytest.mark.parametrize(
    "damage", [overwritten, cut, emptied, other_digest, of_another_kind, other_type, a_folder, open_to_all]
)
def test_a_damaged_digest_does_not_count(
    cache: Path, large: Path, reads: list[str], damage: Callable[[Path], None]
) -> None:
    expected = known_sha256(large)
    [entry] = cache.iterdir()
    damage(entry)
    assert known_sha256(large) == expected
    assert reads == ["weights", "weights"]


def test_only_its_owner_may_read_and_write_a_digest(cache: Path, large: Path) -> None:
    known_sha256(large)
    [entry] = cache.iterdir()
    if os.name != "nt":
        assert stat.S_IMODE(entry.stat().st_mode) == 0o600
        assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_without_a_place_to_write_files_are_read(
    large: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert known_sha256(large) == known_sha256(large) == sha256(large)
    assert reads[:2] == ["weights", "weights"]


class Clock:
    """What the system says of a file that was changed at a time, in nanoseconds."""

    def __init__(self, changed: int) -> None:
        self.st_dev, self.st_ino, self.st_size = 1, 2, SMALL + 1
        self.st_mtime_ns = self.st_ctime_ns = changed


@pytest.mark.parametrize(
    ("changed", "began", "trusted"),
    [
        (1_000_000_123, 1_000_000_123, False),  # read in the tick in which it was written
        (1_000_000_123, 1_019_000_000, False),
        (1_000_000_123, 1_021_000_000, True),
        (1_000_000_123, 900_000_000, False),  # the clock was set back
        (5_000_000_000, 6_900_000_000, False),  # a file system with whole seconds
        (5_000_000_000, 7_000_000_001, True),
        (5_007_000_000, 5_500_000_000, False),  # or with thousandths
    ],
)
def test_a_file_that_changed_just_now_is_not_trusted(changed: int, began: int, trusted: bool) -> None:
    file: os.stat_result = Clock(changed)  # type: ignore[assignment]
    remember(file, "0" * 64, began=began)
    assert (lookup(file) is not None) == trusted


def test_a_file_that_changes_while_it_is_read_is_not_remembered(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(path: Path, *rest: Callable[[int], object]) -> str:
        digest = sha256(path, *rest)
        time.sleep(0.03)
        longer(path)
        return digest

    with monkeypatch.context() as patch:
        patch.setattr(digests, "sha256", slow)
        known_sha256(large)
    assert known_sha256(large) == sha256(large)


def test_old_digests_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_cache, "_MOST", 8)
    files = []
    for number in range(9):
        file = Clock(1_000_000_001)
        file.st_ino = number
        files.append(file)
        remember(file, "0" * 64, began=2_000_000_000)  # type: ignore[arg-type]
        time.sleep(0.005)
    assert [lookup(file) is not None for file in files] == [False] * 5 + [True] * 4  # type: ignore[arg-type]
