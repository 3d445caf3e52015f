"""Run a plan: stages that wait for nothing run side by side in worker processes."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from redpencil.errors import RedpencilError
from redpencil.runs import Stage, open_stage

if TYPE_CHECKING:
    from redpencil.pipeline.context import Context


Work = Callable[["Context", Stage], None]


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
    work: Work
    context: "Context"


Happening = Literal["started", "progress", "warning", "done", "already complete", "failed"]
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a listener may show."""

    stage: str
    happening: Happening
    done: int = 0
    total: int = 0
    note: str = ""


Listener = Callable[[Event], None]

_events: Any = None


def _start_worker(events: Any) -> None:
    """Set up a worker. It leaves Ctrl-C to the main process and dies with it.

    A worker that outlived a killed run would write into the same folders as the run that takes up its work.
    """
    global _events
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work_in_process(spec: StageSpec) -> Happening:
    return perform(spec, _events.put)


def perform(spec: StageSpec, listener: Listener) -> Happening:
    """Do one stage here and now, unless its folder is complete with the same inputs."""

    def progress(done: int, total: int, note: str) -> None:
        listener(Event(spec.key, "progress", done, total, note))

    with open_stage(
        spec.folder, spec.name, seed=spec.seed, config=spec.config, inputs=spec.inputs, progress=progress
    ) as stage:
        if stage is None:
            return "already complete"
        stage.warn = lambda text: listener(Event(spec.key, "warning", note=text))
        listener(Event(spec.key, "started"))
        spec.work(spec.context, stage)
    return "done"


@dataclass
class _Board:
    """Which stages wait, run and are done."""

    waiting: dict[str, StageSpec]
    done: set[str] = field(default_factory=set)
    running: dict[Future[Happening], str] = field(default_factory=dict)

    def ready(self) -> list[StageSpec]:
        """Stages whose needs are met, in the plan's order."""
        return [spec for spec in self.waiting.values() if all(need in self.done for need in spec.needs)]


def default_jobs(device: str) -> int:
    """One worker a core on a CPU; one on a GPU, whose memory the stages would fight over."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return _cores() if device == "cpu" else 1


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    methods = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    events: Any = methods.Queue()
    board = _Board({spec.key: spec for spec in plan})
    pool = ProcessPoolExecutor(jobs, mp_context=methods, initializer=_start_worker, initargs=(events,))
    try:
        _drive(board, pool, jobs, events, listener)
    except BrokenProcessPool:
        names = ", ".join(board.running.values()) or "none"
        raise RedpencilError(
            f"a worker process died while these stages ran: {names}",
            hint="it may have run out of memory: try --jobs 1 or a smaller batch; finished stages are kept",
        ) from None
    except KeyboardInterrupt:
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        events.close()


def _one_by_one(plan: Sequence[StageSpec], listener: Listener) -> None:
    for spec in plan:
        try:
            listener(Event(spec.key, perform(spec, listener)))
        except Exception as error:
            listener(Event(spec.key, "failed", note=str(error)))
            raise


def _drive(board: _Board, pool: ProcessPoolExecutor, jobs: int, events: Any, listener: Listener) -> None:
    failure: BaseException | None = None
    while board.running or (board.waiting and failure is None):
        for spec in board.ready() if failure is None else ():
            if len(board.running) == jobs:
                break
            del board.waiting[spec.key]
            board.running[pool.submit(_work_in_process, spec)] = spec.key
        finished, _ = wait(board.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        _relay(events, set(board.running.values()), listener)
        for future in finished:
            key = board.running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                board.running[future] = key
                raise error
            if error is not None:
                failure = failure or error
                listener(Event(key, "failed", note=str(error)))
                continue
            board.done.add(key)
            listener(Event(key, future.result()))
    _relay(events, set(), listener, POLL_SECONDS)
    if failure is not None:
        raise failure


def _relay(events: Any, running: set[str], listener: Listener, patience: float = 0.0) -> None:
    """Pass on what workers have reported; of what arrives after its stage has ended only warnings still matter."""
    while True:
        try:
            event = events.get(timeout=patience) if patience else events.get_nowait()
        except queue.Empty:
            return
        if event.stage in running or event.happening == "warning":
            listener(event)
