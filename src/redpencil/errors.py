"""The one error that a user's mistake raises: what is wrong, where, and a hint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


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


class DivergedError(RedpencilError):
    """Training broke down: a loss, a gradient, a weight or a probability is not a finite number.

    `rows` are the indices of the rows of the batch that broke it; none if all did.
    """

    rows: Sequence[int] = ()


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
