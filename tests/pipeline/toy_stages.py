"""What the toy stages of the executor's tests do. Worker processes import it by name."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.runs import Stage

PATIENCE = 60.0
"""Seconds after which a stage that waits for a file gives up."""


def write(_context: Any, stage: Stage) -> None:
    (stage.folder / "out.txt").write_text(stage.name)


def report(context: Any, stage: Stage) -> None:
    stage.progress(1, 2, "half")
    write(context, stage)


def warn(context: Any, stage: Stage) -> None:
    stage.warn("kl: too far")
    write(context, stage)


def fail(_context: Any, _stage: Stage) -> None:
    raise RedpencilError("no good", file="data.jsonl", line=7, field="text", hint="mend it")


def fail_when(context: Any, stage: Stage, *, path: str) -> None:
    wait_for(Path(path))
    fail(context, stage)


def write_when(context: Any, stage: Stage, *, path: str) -> None:
    stage.progress(0, 1, "waiting")
    wait_for(Path(path))
    write(context, stage)


def die_when(_context: Any, _stage: Stage, *, path: str) -> None:
    wait_for(Path(path))
    os.kill(os.getpid(), signal.SIGKILL)


def print_much(context: Any, stage: Stage) -> None:
    print("printed")
    os.write(1, b"printed by a library in C\n")
    report(context, stage)


def write_pid(_context: Any, stage: Stage) -> None:
    (stage.folder / "out.txt").write_text(str(os.getpid()))


def tell_and_sleep(_context: Any, stage: Stage, *, folder: str) -> None:
    (Path(folder) / f"{stage.name}.pid").write_text(str(os.getpid()))
    time.sleep(PATIENCE)


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.02)
