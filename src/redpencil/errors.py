"""The one error that a user's mistake raises: what is wrong, where, and the way out."""

from pathlib import Path


class RedpencilError(Exception):
    """A mistake in data, configuration or files; the command line prints it without a traceback.

    Args:
        problem: what is wrong, in one sentence.
        file: the file it was found in.
        line: the line in that file, counted from 1.
        field: the field of the record or the key of the recipe.
        way_out: what the user can do about it.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        way_out: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = None if file is None else str(file)
        self.line = line
        self.field = field
        self.way_out = way_out

    def __str__(self) -> str:
        place = "" if self.file is None else self.file
        if self.line is not None:
            place += f":{self.line}"
        if self.field is not None:
            place += f" [{self.field}]" if place else f"[{self.field}]"
        text = f"{place}: {self.problem}" if place else self.problem
        return text if self.way_out is None else f"{text}\n  way out: {self.way_out}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip from a worker process with every field."""
        return _rebuild, (self.problem, self.file, self.line, self.field, self.way_out)


def _rebuild(
    problem: str, file: str | None, line: int | None, field: str | None, way_out: str | None
) -> RedpencilError:
    return RedpencilError(problem, file=file, line=line, field=field, way_out=way_out)
