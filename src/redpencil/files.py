"""Files that appear complete or not at all, and stay so when the power fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from filelock import lock_descriptor

from redpencil.errors import RedpencilError

_LINKS: Final = 40
"""The most links in a row that Linux follows."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when the block ends well; an error leaves the file before it as it was.

    Until then it is a hidden file beside it (`partial_of`). Two processes cannot write the same file at once. A link
    stays, and the file that it leads to is written. A device, or a pipe, is written to as it is.

    Raises:
        RedpencilError: if the place cannot be written to, or another process is writing it.
    """
    if path.is_dir():
        raise RedpencilError("there is a folder of this name", file=path, hint="choose another path")
    if is_device(path):
        with _device(path) as device:
            yield device
        return
    target = followed(path)
    partial = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        out = _open_alone(partial, path)
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, hint="choose another path") from None
    try:
        yield out
        out.flush()
        os.fsync(out.fileno())
        if os.name == "nt":  # Windows does not rename a file that is open.
            out.close()
        partial.replace(target)
        sync_names(target.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _close(out)


def partial_of(path: Path) -> Path:
    """The path at which a file is written until it is complete; no file of a user has such a name."""
    return path.with_name(f".{path.name}.redpencil-partial")


def is_device(path: Path) -> bool:
    """Tell whether a path is something that is written to and never replaced: a device, a pipe, /dev/stdout."""
    if path.exists() and not path.is_file():
        return not path.is_dir()
    # An open file by its number, as /dev/stdout is one, is a link in /proc, whatever it leads to.
    for _ in range(_LINKS):
        if os.path.realpath(path.parent).startswith("/proc/"):
            return True
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return False


def followed(path: Path) -> Path:
    """The file that a link leads to, which need not exist yet; any other path is itself.

    Raises:
        RedpencilError: if it is a link that leads in a circle.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise RedpencilError("it is a link that leads in a circle", file=path, hint="choose another path")
    return target


def sync_names(folder: Path) -> None:
    """Make the names in a folder outlive a power failure, where the system can."""
    if os.name == "nt":  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make all files of a folder, and their names, outlive a power failure."""
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_names(path)
        elif path.is_file():
            with path.open("r+b" if os.name == "nt" else "rb") as file:
                os.fsync(file.fileno())


@contextmanager
def _device(path: Path) -> Iterator[BinaryIO]:
    try:
        out = path.open("wb")
    except OSError as error:
        raise RedpencilError(f"cannot write to it ({error.strerror})", file=path, hint="choose another path") from None
    try:
        yield out
        out.flush()
    finally:
        _close(out)


def _open_alone(partial: Path, path: Path) -> BinaryIO:
    """Open the partial file and lock it, so that no other process gets it until it has its name.

    Raises:
        OSError: if it is a link or cannot be opened.
    """
    while True:
        out = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666), "r+b")
        if not lock_descriptor(out.fileno(), blocking=False):
            out.close()
            raise RedpencilError(
                "another process is writing this file", file=path, hint="wait for it, or choose another path"
            )
        # The process that had the lock before may have renamed the file: then this one is not the partial file.
        if partial.exists() and os.path.samestat(os.fstat(out.fileno()), partial.stat()):
            out.truncate()
            return out
        out.close()


def _close(out: BinaryIO) -> None:
    """Close a file whose last bytes may not fit on the disk, an error that has been raised already."""
    try:
        out.close()
    except OSError:
        out.close()
