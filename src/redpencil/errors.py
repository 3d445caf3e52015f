"""The one error that a user's mistake raises: what is wrong, where, and a hint."""

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final


class RedpencilError(Exception):
    """A mistake in data, configuration or files; the command line prints it without a traceback.

    Args:
        problem: what is wrong, in one sentence.
        file: the file it was found in.
        line: the line in that file, counted from 1.
        field: the field of the record or the key of the recipe.
        hint: what the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else str(file)
        self.line = line
        self.field = field
        self.hint = hint

    def __str__(self) -> str:
        place = "" if self.file is None else self.file
        if self.line is not None:
            place += f":{self.line}"
        if self.field is not None:
            place += f" [{self.field}]" if place else f"[{self.field}]"
        text = f"{place}: {self.problem}" if place else self.problem
        return text if self.hint is None else f"{text}\n  hint: {self.hint}"


class WaitingError(RedpencilError):
    """People have not done yet what a stage needs; the stage can be done later, and others that do not need it now."""


class DivergedError(RedpencilError):
    """Training broke down: a loss, a gradient, a weight or a probability is not a finite number.

    `rows` are the indices of the rows of the batch that broke it; none if all did.
    """

    rows: Sequence[int] = ()


class NotFiniteError(DivergedError):
    """A loss, a gradient or a reward that is not a finite number, found before weights were changed by it.

    A stage may leave such a step out (`skip_nonfinite`).
    """


_PLACE: Final = "choose another place"
_ROOM: Final = "make room on the disk, and run the same command again: what is finished is kept"
_DEVICE: Final = "look at the disk and the system's log, or choose another place; what is finished is kept"
_HINTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG), _PLACE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN), _DEVICE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files, such as with `ulimit -n 4096`"),
    errno.ENOMEM: "give it more memory, or smaller batches",
    errno.ELOOP: "choose a path without links that lead in a circle",
}
"""Hints for errors of the system that are no mistake of ours."""


def from_system(error: BaseException) -> RedpencilError | None:
    """Say what a user can do about an error of the system, such as a full disk; None for any other error.

    The writers of checkpoints are in other languages, which name the system's error only in their text:
    safetensors its number, torch nothing but that its file could not be written.
    """
    number, file = getattr(error, "errno", None), getattr(error, "filename", None)
    if not isinstance(error, OSError):
        named = re.search(r"\(os error (\d+)\)", str(error))
        number = int(named[1]) if named else None
        if "PytorchStreamWriter failed" in str(error) or _is_torch_writer(error):
            return RedpencilError("a file of the training state could not be written", hint=_ROOM)
    if not isinstance(number, int) or number not in _HINTS:
        return None
    return RedpencilError(os.strerror(number), file=file, hint=_HINTS[number])


def _is_torch_writer(error: BaseException) -> bool:
    """Whether an error is that of torch's file writer when it is closed after it has failed."""
    return isinstance(error, RuntimeError) and "inline_container.cc" in str(error) and "unexpected pos" in str(error)


@contextmanager
def naming_key(key: str) -> Iterator[None]:
    """Name the key of a recipe in an error about what it leads to."""
    try:
        yield
    except RedpencilError as error:
        error.field = error.field or key
        raise


@contextmanager
def naming(file: Path, line: int | None = None) -> Iterator[None]:
    """Name `file` and `line` in an error about its content that does not say where it was found."""
    try:
        yield
    except RedpencilError as error:
        if error.file is None:
            error.file, error.line = str(file), line
        raise
