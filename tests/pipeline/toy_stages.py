"""What the toy stages of the executor's tests do. Worker processes import it by name."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from redpencil.errors import RedpencilError, WaitingError
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


def ask_people(context: Any, stage: Stage, *, path: str) -> None:
    """Write if the file is there, as people's edits would be."""
    stage.progress(0, 1, "edited by people")
    if not Path(path).exists():
        raise WaitingError(f"0 of 1 answers of {stage.name} are edited", file="edits.db", hint="edit it")
    write(context, stage)


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


def meet() -> float:
    """Add up 1 over all processes."""
    import torch
    import torch.distributed

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    return float(total)


def write_ranks(_context: Any, stage: Stage) -> None:
    """Write how many met here; a process that does not write has nothing to write it into."""
    total = meet()
    stage.progress(1, 1, f"rank {os.environ['RANK']}")
    (stage.folder / "out.txt").write_text(f"{total:g} by rank {os.environ['RANK']}")


def write_alone(_context: Any, stage: Stage) -> None:
    """Write which process does it, which waits for no other."""
    (stage.folder / "out.txt").write_text(f"by rank {os.environ['RANK']}")


def break_off(_context: Any, stage: Stage, *, rank: str, how: str) -> None:
    """End one process while the others wait for it."""
    meet()
    stage.progress(1, 2, "met")
    if os.environ["RANK"] == rank:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "error":
            raise RedpencilError("no good", file="data.jsonl", hint="mend it")
        raise ZeroDivisionError("by nothing")
    meet()


def train(_context: Any, stage: Stage, *, rank: str) -> None:
    """Train for ever, without save_every; a process of that rank, or the one that there is, is asked to stop."""
    from redpencil.models.runtime import make_runtime
    from redpencil.training.state import TrainState

    if "RANK" in os.environ:
        meet()
    state = TrainState(stage, {}, {}, None, runtime=make_runtime("cpu"))
    state.resume()
    stage.progress(state.step, 100, "begun")
    for step in state.steps(100 if state.step == 0 else 12):
        if "RANK" in os.environ:
            meet()
        stage.log(step)
        if step == 7 and os.environ.get("RANK", "0") == rank:
            os.kill(os.getpid(), signal.SIGTERM)
    (stage.folder / "out.txt").write_text(f"{state.step}")


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.02)


def answer_alone(context: Any, stage: Stage, *, model: str) -> None:
    """Answer by a local model, as a judge that is one; the other processes do not take part."""
    from redpencil.models.local import LocalProvider
    from redpencil.providers.base import Message, Request

    provider = LocalProvider(Path(model), max_tokens=4, runtime=context.runtime.alone)
    ((_, answer),) = provider.answer([Request("a", (Message("user", "sun"),))])
    (stage.folder / "out.txt").write_text(type(answer).__name__)
