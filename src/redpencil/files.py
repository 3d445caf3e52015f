"""Files that appear complete or not at all and outlive a power failure, and files that only their owner may read."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from filelock import lock_descriptor

from redpencil.errors import RedpencilError

_LINKS: Final = 40
"""The most links in a row that Linux follows."""

PRIVATE: Final = 0o600
"""The rights of files with secrets or with what people wrote: their owner reads and writes them, and nobody else."""


def make_private(path: Path) -> bool:
    """Create an empty file that is `PRIVATE` from its first byte, or take the rights of others from a file that exists.

    The same goes for what SQLite keeps beside a database of this name; SQLite gives new files the rights of the
    database. Returns whether others had rights. A file of another owner stays as it is.

    Raises:
        OSError: if the file cannot be made.
    """
    path = Path(os.path.realpath(path))
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE))
    found = False
    for file in of_database(path):
        with suppress(FileNotFoundError, PermissionError):
            if others_may(file):
                file.chmod(PRIVATE)
                found = True
    return found


def of_database(path: Path) -> tuple[Path, ...]:
    """The files of an SQLite database, not all of which exist at all times."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", "-journal"))


def others_may(path: Path) -> bool:
    """Return whether anybody but its owner may read or write a file; on Windows, which has no such rights, False."""
    return os.name != "nt" and bool(path.stat().st_mode & 0o077)


@contextmanager
def whole_file(path: Path, *, rights: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file that gets its name only when the block ends well; an error leaves the file before it as it was.

    Until then it is a hidden file beside it (`partial_of`). Two processes cannot write the same file at once. A link
    stays, and the file that it leads to is written. A device, or a pipe, is written to as it is. `rights` are those of
    a new file before the umask, such as `PRIVATE`.

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
        out = open_alone(partial, rights)
    except OSError as error:
        raise RedpencilError(
            f"cannot write it ({error.strerror})",
            file=path,
            hint="choose another path, or copy the folder to where you may write",
        ) from None
    if out is None:
        raise RedpencilError(
            "another process is writing this file", file=path, hint="wait for it, or choose another path"
        )
    out.truncate()
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


@contextmanager
def work_beside(path: Path) -> Iterator[Path | None]:
    """Name a folder beside a file that is made, for parts of the work; it goes when the block ends well.

    A killed command leaves it, and the same command goes on with it. There is none beside a device.
    """
    if is_device(path):
        yield None
        return
    target = followed(path)
    folder = target.with_name(f".{target.name}.redpencil-work")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def is_device(path: Path) -> bool:
    """Tell whether a path is something that is written to and never replaced: a device, a pipe, /dev/stdout."""
    if path.exists() and not path.is_file():
        return not path.is_dir()
    return _open_file(path) is not None


def _open_file(path: Path) -> Path | None:
    """The link in /proc to which a name of an open file leads, as /dev/stdout does; None for any other path."""
    for _ in range(_LINKS):
        folder = os.path.realpath(path.parent)
        if folder.startswith("/proc/"):
            return Path(folder, path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


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
    number = _open_file(path)
    try:
        # A file that this process has open is written on from where it is, as the shell's > and >> mean it.
        own = number is not None and number.parent == Path(f"/proc/{os.getpid()}/fd")
        out = os.fdopen(os.dup(int(number.name)), "wb") if own and number is not None else path.open("wb")
    except OSError as error:
        raise RedpencilError(f"cannot write to it ({error.strerror})", file=path, hint="choose another path") from None
    try:
        yield out
        out.flush()
    finally:
        _close(out)


def open_alone(path: Path, rights: int) -> BinaryIO | None:
    """Open a file, made if there is none, and lock it until it is closed; None if another process has it.

    With `PRIVATE` as `rights` others lose those that they have on a file that exists.

    Raises:
        OSError: if it is a link, cannot be opened, or is another user's and should be private.
    """
    while True:
        out = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), rights), "r+b")
        if rights == PRIVATE and os.name != "nt" and os.fstat(out.fileno()).st_mode & 0o077:
            os.fchmod(out.fileno(), PRIVATE)
        if not lock_descriptor(out.fileno(), blocking=False):
            out.close()
            return None
        # The process that had the lock before may have renamed or deleted the file: then this one has lost its name.
        if path.exists() and os.path.samestat(os.fstat(out.fileno()), path.stat()):
            return out
        out.close()


def _close(out: BinaryIO) -> None:
    """Close a file whose last bytes may not fit on the disk, an error that has been raised already."""
    try:
        out.close()
    except OSError:
        out.close()
