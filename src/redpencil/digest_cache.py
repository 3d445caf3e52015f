"""SHA-256 of large files that were read before, in the user's cache folder: 27 GB of weights take a minute to read.

A digest is known by what the system says of the file: device, inode, size, and the times of the last change of content
and of anything. The last one, ctime, nobody sets: it changes too if a file is written to under its old time. Each
digest is a small file with a checksum. One that is damaged, or that somebody else may have written, does not count, and
where nothing can be written files are read anew.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from redpencil.errors import RedpencilError
from redpencil.files import PRIVATE, others_may, whole_file

_TICK: Final = 20_000_000
"""Nanoseconds within which the clock of a file system may stand still."""
_COARSE_TICK: Final = 2_000_000_000
"""The same of one that does not count parts of a second."""
_MOST: Final = 4096
"""Digests that are kept; older ones go."""


def lookup(stat: os.stat_result) -> str | None:
    """Return the SHA-256 of a file that was read when the system said the same of it; None if it is not known."""
    path = _place(stat)
    with suppress(OSError, ValueError, TypeError, AttributeError):
        if others_may(path) or (hasattr(os, "geteuid") and path.stat().st_uid != os.geteuid()):
            return None
        content = json.loads(path.read_bytes())
        digest = content["sha256"] if isinstance(content, dict) else None
        if isinstance(digest, str) and content == _entry(stat, digest):
            return digest
    return None


def remember(stat: os.stat_result, digest: str, *, began: int) -> None:
    """Keep the SHA-256 of a file, if it could not change without a trace since reading it `began`, in nanoseconds.

    A file that was changed just before may be changed again within one tick of the file system's clock.
    """
    if began - _changed(stat) < _tick(stat):
        return
    path = _place(stat)
    with suppress(OSError, RedpencilError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole_file(path, rights=PRIVATE) as out:
            out.write(json.dumps(_entry(stat, digest)).encode())
        kept = list(path.parent.iterdir())
        if len(kept) > _MOST:
            for old in sorted(kept, key=lambda file: file.stat().st_mtime_ns)[: -_MOST // 2]:
                old.unlink(missing_ok=True)


def wait_for_tick(stat: os.stat_result) -> None:
    """Wait until a file that was written just now would get another time if it were written again; not for seconds."""
    left = _tick(stat) - (time.time_ns() - _changed(stat))
    if 0 < left <= _TICK:
        time.sleep(left / 1e9)


def _changed(stat: os.stat_result) -> int:
    return stat.st_mtime_ns if os.name == "nt" else stat.st_ctime_ns  # On Windows ctime is that of creation.


def _tick(stat: os.stat_result) -> int:
    return _TICK if _changed(stat) % 1_000_000 else _COARSE_TICK


def _place(stat: os.stat_result) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "redpencil" / "digests" / f"{stat.st_dev:x}-{stat.st_ino:x}.json"


def _entry(stat: os.stat_result, digest: str) -> dict[str, str | int]:
    known: dict[str, str | int] = {
        "device": stat.st_dev,
        "inode": stat.st_ino,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,
        "sha256": digest,
    }
    return {**known, "check": hashlib.sha256(json.dumps(known).encode()).hexdigest()}
