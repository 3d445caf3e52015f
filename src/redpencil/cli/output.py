"""What the commands say: results on stdout, everything else on stderr."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from redpencil.errors import RedpencilError

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
    print(json.dumps(_finite(content), indent=2, ensure_ascii=False))


def print_json_line(content: Any) -> None:
    """One line of JSONL on stdout."""
    print(json.dumps(_finite(content), ensure_ascii=False))


def _finite(content: Any) -> Any:
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content


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
    if any(given is not None and given.exists() and path.resolve() == given.resolve() for given in inputs):
        raise RedpencilError("it is also an input, and would be overwritten", file=path, way_out="choose another file")
    probe = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, way_out="choose another path") from None
