"""What the commands say: results on stdout, everything else on stderr."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.text import Text

from redpencil.errors import RedpencilError
from redpencil.errors import naming as naming
from redpencil.files import partial_of
from redpencil.report.text import visible
from redpencil.runs import finite

_UPPER: Final = re.compile("[\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class _Visible:
    """Something to print, with what its texts hold made visible; the colours of our own are added behind it."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for segment in console.render(self.inner, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class _AllVisible(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Visible(each) for each in renderables]


def _console(*, stderr: bool) -> Console:
    made = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)
    made.push_render_hook(_AllVisible())
    return made


console = _console(stderr=False)
log = _console(stderr=True)


def say(text: str) -> None:
    """A line for the person at the terminal; stdout stays free for results."""
    log.print(text)


def print_error(error: RedpencilError) -> None:
    """A user's mistake: what, where and a hint, without a traceback."""
    log.print(Text.assemble(("error: ", "bold red"), str(error)))


def print_json(content: Any) -> None:
    """Valid JSON on stdout; a number that is not finite becomes null."""
    print(_escaped(json.dumps(finite(content), indent=2, ensure_ascii=False)))


def print_json_line(content: Any) -> None:
    """One line of JSONL on stdout."""
    print(_escaped(json.dumps(finite(content), ensure_ascii=False)))


def _escaped(text: str) -> str:
    """JSON with the control characters escaped that it may hold bare; they mean the same."""
    return _UPPER.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def say_skipped(skipped: Mapping[str, int]) -> None:
    """How many rows were passed over and why; nothing where none was."""
    reasons = [f"{count:,} {reason}" for reason, count in skipped.items() if count]
    if reasons:
        say(f"skipped: {', '.join(reasons)}")


def check_out_file(path: Path, *others: Path | None) -> None:
    """Refuse a place that cannot be written to before the work is done, not after it.

    Raises:
        RedpencilError: if `path` is a folder, cannot be made, or is one of the `others`: inputs, or further outputs.
    """
    if path.is_dir() or not path.name:
        raise RedpencilError("a folder stands where the file should go", file=path, hint="name a file in it")
    if path.exists() and not path.is_file():
        raise RedpencilError("it is no plain file", file=path, hint="name a plain file")
    probe = partial_of(path)  # where the rows go until all are written
    for given in others:
        if given is not None and any(_same(place, given) for place in (path, probe)):
            raise RedpencilError(
                f"it is also an input, and {given} would be overwritten", file=path, hint="choose another file"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not probe.exists():
            try:
                probe.touch()
            finally:
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise RedpencilError(f"cannot write it ({error.strerror})", file=path, hint="choose another path") from None


def _same(path: Path, given: Path) -> bool:
    """Whether two names are of one file, which need not be there yet."""
    if path.exists() and given.exists():
        return path.samefile(given)
    return os.path.realpath(path) == os.path.realpath(given)
