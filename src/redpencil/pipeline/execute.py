"""Run a plan: stages whose needs are met run at the same time, each in a worker process.

With one job stages run in this process. With more, a worker is `python -m redpencil.pipeline.worker`, which gets stages
as lines of JSON and answers with events. A worker does one stage after the other: loading torch and transformers takes
it seconds, so a process of its own for each of a run's 20 stages would make a small run a tenth slower.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from redpencil.config import ComputeConfig
from redpencil.errors import RedpencilError, from_system
from redpencil.pipeline.context import Context
from redpencil.runs import fingerprint, hash_inputs, is_complete, open_stage


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of one seed: `key` is unique in the plan, `folder` is where it writes."""

    key: str
    name: str
    folder: Path
    seed: int
    needs: tuple[str, ...]
    config: Mapping[str, Any]
    inputs: Mapping[str, Path]
    work: str
    """`module:function`, imported when the stage runs; called with the context, the open stage and `options`."""
    context: Context
    options: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All that a worker needs to do the stage."""
        content: dict[str, Any] = _SPECS.dump_python(self, mode="json")
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StageSpec":
        """The stage that `to_json` described."""
        return _SPECS.validate_python(content)


_SPECS = TypeAdapter(StageSpec)

Happening = Literal["started", "progress", "warning", "note", "done", "already complete", "failed"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a listener may show."""

    stage: str
    happening: Happening
    done: int = 0
    total: int = 0
    note: str = ""


Listener = Callable[[Event], None]


def perform(spec: StageSpec, listener: Listener, *, writes: bool = True) -> Happening:
    """Do one stage in this process, unless its folder is complete with the same inputs.

    Of several processes that do it together only one `writes`; see `open_stage`.
    """

    begun = False

    def begin() -> None:
        nonlocal begun
        if not begun:
            listener(Event(spec.key, "started"))
        begun = True

    def progress(done: int, total: int, note: str) -> None:
        begin()  # Reading the inputs may take minutes before it is known whether there is something to do.
        listener(Event(spec.key, "progress", done, total, note))

    with open_stage(
        *(spec.folder, spec.name),
        seed=spec.seed,
        config=spec.config,
        inputs=spec.inputs,
        progress=progress,
        writes=writes,
    ) as stage:
        if stage is None:
            return "already complete"
        stage.warn = lambda text: listener(Event(spec.key, "warning", note=text))
        stage.tell = lambda text: listener(Event(spec.key, "note", note=text))
        begin()
        resolve(spec.work)(spec.context, stage, **spec.options)
    return "done"


def is_done(spec: StageSpec) -> bool:
    """Whether the folder of a stage is complete with its present inputs."""
    if not all(path.exists() for path in spec.inputs.values()):
        return False
    hashes = hash_inputs(spec.inputs)
    return is_complete(spec.folder, fingerprint(spec.name, spec.seed, spec.config, hashes))


def resolve(name: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, function = name.partition(":")
    work: Callable[..., Any] = getattr(import_module(module), function)
    return work


class OutOfMemoryError(RuntimeError):
    """A GPU's memory was full in a worker; it has the name of torch's error, by which the command line knows it."""


def error_to_json(error: Exception) -> dict[str, Any]:
    """An error as a worker reports it, with the fields that decide what the user reads."""
    told = error if isinstance(error, RedpencilError) else from_system(error)
    if told is not None:
        return {"kind": "RedpencilError", **vars(told)}
    return {
        "kind": "OSError" if isinstance(error, OSError) else type(error).__name__,
        "message": str(error),
        "errno": getattr(error, "errno", None),
        "strerror": getattr(error, "strerror", None),
        "filename": None if getattr(error, "filename", None) is None else str(error.filename),  # type: ignore[attr-defined]
        "traceback": "".join(traceback.format_exception(error)),
    }


def error_from_json(content: Mapping[str, Any]) -> Exception:
    """The error that a worker reported. Of an unexpected one, the worker's traceback is a note."""
    kind = content["kind"]
    if kind == "RedpencilError":
        keys = ("file", "line", "field", "hint")
        return RedpencilError(content["problem"], **{key: content[key] for key in keys})
    error: Exception
    if kind == "OSError" and content["errno"] is not None:
        error = OSError(content["errno"], content["strerror"], content["filename"])
    elif kind in ("OutOfMemoryError", "MemoryError"):
        error = {"OutOfMemoryError": OutOfMemoryError, "MemoryError": MemoryError}[kind](content["message"])
    else:
        error = RuntimeError(f"{kind}: {content['message']}")
    error.add_note(f"In a worker process:\n{content['traceback']}")
    return error


def default_jobs(compute: ComputeConfig) -> int:
    """The number of jobs that `compute` asks for.

    By default as many as have `compute.threads` cores each; one on a GPU, whose memory the stages would fight over, and
    one if a stage takes all cores.
    """
    if compute.jobs is not None or compute.threads is None:
        return compute.jobs or 1
    device = compute.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        return 1
    # The cores that this process may use can be fewer than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // compute.threads)


def execute(plan: Sequence[StageSpec], *, jobs: int, listener: Listener) -> None:
    """Run all stages, `jobs` at a time.

    The first failure stops new stages from starting; those that run are allowed to finish, so that their work is
    kept for the next attempt. Then the failure is raised.

    Raises:
        RedpencilError: what a stage raised, or that a worker process died.
    """
    if jobs == 1:
        _one_by_one(plan, listener)
        return
    crew = _Crew(jobs)
    try:
        _drive(plan, crew, listener)
    except BaseException:
        crew.close(kill=True)
        raise
    crew.close(kill=False)


def _one_by_one(plan: Sequence[StageSpec], listener: Listener) -> None:
    for spec in plan:
        try:
            listener(Event(spec.key, perform(spec, listener)))
        except Exception as error:
            listener(Event(spec.key, "failed", note=str(error)))
            raise


Message = Mapping[str, Any]


class _Worker:
    """A worker process, and the stage that it works on. It ends when its standard input closes, so with this process.

    A worker that outlived a killed run would write into the same folders as the run that takes up its work.
    """

    def __init__(self, messages: "queue.SimpleQueue[tuple[_Worker, Message | None]]") -> None:
        self.stage = ""
        # Ctrl-C reaches every process of the terminal's group; a group of its own leaves it to this process. With -P,
        # a file torch.py in the working directory is not taken for the library.
        command = [sys.executable, "-P", "-m", "redpencil.pipeline.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
        self.reader = threading.Thread(target=self._read, args=(messages,), daemon=True)
        self.reader.start()

    def _read(self, messages: "queue.SimpleQueue[tuple[_Worker, Message | None]]") -> None:
        assert self.process.stdout is not None
        try:
            with self.process.stdout as answers, suppress(ValueError):  # a line that was cut off by its death
                for line in answers:
                    messages.put((self, json.loads(line)))
        finally:
            messages.put((self, None))

    def start(self, spec: StageSpec) -> None:
        assert self.process.stdin is not None
        self.stage = spec.key
        content = {"stage": spec.to_json(), "argv": sys.argv}
        with suppress(OSError):  # if it has died, which `_read` reports
            self.process.stdin.write(json.dumps(content, default=str).encode() + b"\n")
            self.process.stdin.flush()

    def cause_of_death(self) -> str:
        code = self.process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class _Crew:
    """Up to `jobs` workers, which are started when there is work for them."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.idle: list[_Worker] = []
        self.busy: list[_Worker] = []
        self.dead: list[_Worker] = []
        self.messages: queue.SimpleQueue[tuple[_Worker, Message | None]] = queue.SimpleQueue()

    def start(self, spec: StageSpec) -> None:
        worker = self.idle.pop() if self.idle else _Worker(self.messages)
        self.busy.append(worker)
        worker.start(spec)

    def end(self, worker: _Worker, message: Message | None) -> Happening | Exception:
        """Return how the worker's stage ended: well, with an error, or with the worker's death (a message of None)."""
        self.busy.remove(worker)
        if message is not None:
            self.idle.append(worker)
            ended: Happening | Exception = message["ended"] if "ended" in message else error_from_json(message["error"])
            return ended
        self.dead.append(worker)
        return RedpencilError(
            f"the worker process of the stage {worker.stage} died ({worker.cause_of_death()})",
            hint="it may have run out of memory: try --jobs 1 or a smaller compute.micro_batch_size; finished stages "
            "are kept",
        )

    def close(self, *, kill: bool) -> None:
        for worker in (*self.idle, *self.busy, *self.dead):
            assert worker.process.stdin is not None
            if kill:
                worker.process.kill()
            with suppress(OSError):  # if it was killed with a stage half written to it
                worker.process.stdin.close()
            worker.process.wait()
            worker.reader.join()


def _drive(plan: Sequence[StageSpec], crew: _Crew, listener: Listener) -> None:
    waiting = {spec.key: spec for spec in plan}
    done: set[str] = set()
    failure: Exception | None = None
    while crew.busy or (waiting and failure is None):
        ready = [spec for spec in waiting.values() if done.issuperset(spec.needs)] if failure is None else []
        for spec in ready[: crew.jobs - len(crew.busy)]:
            crew.start(waiting.pop(spec.key))
        worker, message = crew.messages.get()
        if message is not None and "event" in message:
            listener(Event(**message["event"]))
        elif worker in crew.busy:
            ended = crew.end(worker, message)
            if isinstance(ended, Exception):
                failure = failure or ended
                listener(Event(worker.stage, "failed", note=str(ended)))
            else:
                done.add(worker.stage)
                listener(Event(worker.stage, ended))
        elif worker in crew.idle:  # It died with nothing to do, so nothing is lost.
            crew.idle.remove(worker)
            crew.dead.append(worker)
    if failure is not None:
        raise failure
