"""Digests of the files that a stage wrote, by which a file that changed afterwards is found."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

SAMPLES: Final = 64
SAMPLE_BYTES: Final = 65_536
SMALL: Final = SAMPLES * SAMPLE_BYTES
"""Bytes of a file that is read as a whole at every check; of a larger one only samples are, if its time is the same."""


def digest_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Digest every file of a folder, by its path in it: size, time of the last change, SHA-256, and that of samples."""
    return {path.relative_to(folder).as_posix(): _digest(path) for path in _files(folder)}


def changed_files(
    folder: Path, digests: Mapping[str, Mapping[str, Any]], *, under: str = "", whole: bool = False, ignored: str = ""
) -> Iterator[str]:
    """Say which files of a folder are not those that `digest_files` has seen, each in a few words.

    A file of up to `SMALL` bytes is read as a whole, and so is a larger one whose time differs, as after a copy. Of
    another one its size and 64 samples are compared. Files whose names begin with a dot are not missed or noticed.

    Args:
        folder: where the files are.
        digests: what `digest_files` returned.
        under: only this file, or the files of this folder; by its path in `folder`.
        whole: read large files as a whole too.
        ignored: the name of a file that does not count.
    """
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name in sorted({*digests, *found}):
        if name == ignored or (under and name != under and not name.startswith(f"{under}/")):
            continue
        if name not in found:
            yield f"{name} is missing"
        elif name in digests:
            if _differs(found[name], digests[name], whole=whole):
                yield f"{name} has changed"
        elif not any(part.startswith(".") for part in name.split("/")):
            yield f"{name} was added"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _digest(path: Path) -> dict[str, Any]:
    stat = path.stat()
    digest = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(path)}
    return digest if stat.st_size <= SMALL else {**digest, "sampled": _sampled(path)}


def _differs(path: Path, digest: Mapping[str, Any], *, whole: bool) -> bool:
    stat = path.stat()
    if stat.st_size != digest["size"]:
        return True
    if whole or stat.st_size <= SMALL or stat.st_mtime_ns != digest["mtime_ns"]:
        return bool(sha256(path) != digest["sha256"])
    return bool(_sampled(path) != digest.get("sampled"))


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sampled(path: Path) -> str:
    digest = hashlib.sha256()
    update_with_samples(digest, path)
    return digest.hexdigest()


def update_with_samples(digest: Any, path: Path) -> None:
    """Feed a digest with 64 evenly spaced stretches of a file, its ends among them; all of a file of up to `SMALL`."""
    last = max(path.stat().st_size - SAMPLE_BYTES, 0)
    with path.open("rb") as content:
        for start in sorted({last * number // (SAMPLES - 1) for number in range(SAMPLES)}):
            content.seek(start)
            digest.update(content.read(SAMPLE_BYTES))
