"""What the commands say: results on stdout, everything else on stderr."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from redpencil.errors import RedpencilError
from redpencil.runs import finite

console = Console(highlight=False, markup=False, soft_wrap=True)
log = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def say(text: str) -> None:
    """A line for the person at the terminal; stdout stays free for results."""
    log.print(text)


def print_error(error: RedpencilError) -> None:
    """A user's mistake: what, where and the way out, without a traceback."""
    log.print(Text.assemble(("error: ", "bold red"), str(error)))


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Name `file` in an error about its content that does not say where it was found."""
    try:
        yield
    except RedpencilError as error:
        if error.file is not None:
            raise
        raise RedpencilError(error.problem, file=file, field=error.field, way_out=error.way_out) from None


def print_json(content: Any) -> None:
    """Valid JSON on stdout; a number that is not finite becomes null."""
    print(json.dumps(finite(content), indent=2, ensure_ascii=False))


def print_json_line(content: Any) -> None:
    """One line of JSONL on stdout."""
    print(json.dumps(finite(content), ensure_ascii=False))


def say_skipped(skipped: Mapping[str, int]) -> None:
    """How many rows were passed over and why; nothing where none was."""
    reasons = [f"{count} {reason}" for reason, count in skipped.items() if count]
    if reasons:
        say(f"skipped: {', '.join(reasons)}")


def check_out_file(path: Path, *inputs: Path | None) -> None:
    """Refuse a place that cannot be written to before the work is done, not after it.

    Raises:
        RedpencilError: if `path` is a folder, cannot be made, or is one of the `inputs`.
    """
    if path.is_dir():
        raise RedpencilError("a folder stands where the file should go", file=path, way_out="name a file in it")
    if path.exists() and not path.is_file():
        raise RedpencilError("it is no plain file", file=path, way_out="name a plain file")
    probe = path.with_name(path.name + ".partial")  # where the rows go until all are written
    for given in inputs:
        if given is not None and given.exists() and any(_same(place, given) for place in (path, probe)):
            raise RedpencilError(
                f"it is also an input, and {given} would be overwritten", file=path, way_out="choose another file"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not probe.exists():
            probe.touch()
            probe.unlink()
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, way_out="choose another path") from None


def _same(path: Path, given: Path) -> bool:
    return path.exists() and path.samefile(given)
