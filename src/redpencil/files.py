"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from redpencil.errors import RedpencilError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that gets its name only when the block ends well; an error leaves what stood there before.

    It is written as `<path>.partial`. Two processes cannot write the same file at once.

    Raises:
        RedpencilError: if the place cannot be written to, or another process is writing it.
    """
    if path.is_dir():
        raise RedpencilError("a folder stands where the file should go", file=path, hint="choose another path")
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        out = _open_alone(partial, path)
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, hint="choose another path") from None
    try:
        yield out
        out.flush()
        if fcntl is None:
            out.close()
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _close(out)


def partial_of(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(path.name + ".partial")


def _open_alone(partial: Path, path: Path) -> BinaryIO:
    """Open the partial file and lock it, so that it goes back to nobody else until it has its name.

    Raises:
        OSError: if it is a link or cannot be opened.
    """
    while True:
        out = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
        try:
            if fcntl is not None:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            out.close()
            raise RedpencilError(
                "another process is writing this file", file=path, hint="wait for it, or choose another path"
            ) from None
        # Whoever had the lock before may have given the file its name: then this one is no longer the partial file.
        if fcntl is None or (partial.exists() and os.path.samestat(os.fstat(out.fileno()), partial.stat())):
            out.truncate()
            return out
        out.close()


def _close(out: BinaryIO) -> None:
    """Close a file whose last bytes may not fit on the disk; that has been told already."""
    try:
        out.close()
    except OSError:
        out.close()
