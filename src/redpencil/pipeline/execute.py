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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from redpencil.config.compute import ComputeConfig
from redpencil.errors import RedpencilError, WaitingError
from redpencil.pipeline.context import Context
from redpencil.pipeline.failures import error_from_json, follows_another
from redpencil.pipeline.group import group
from redpencil.pipeline.launch import (
    GRACE,
    KEPT,
    Ranks,
    cause_of_death,
    check_processes,
    environment_of_worker,
    gpus_of,
)
from redpencil.runs import Stage, fingerprint, hash_inputs, is_complete, open_stage, scratch_stage
from redpencil.stopping import Stopped, request


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
    together: bool = True
    """Whether all processes of a group work on it; else the first one does it while the others wait."""

    def to_json(self) -> dict[str, Any]:
        """All that a worker needs to do the stage."""
        content: dict[str, Any] = _SPECS.dump_python(self, mode="json")
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "StageSpec":
        """The stage that `to_json` described."""
        return _SPECS.validate_python(content)


_SPECS = TypeAdapter(StageSpec)

Happening = Literal[
    "started", "progress", "warning", "note", "done", "already complete", "failed", "waiting", "stopped"
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a listener may show."""

    stage: str
    happening: Happening
    done: int = 0
    total: int = 0
    note: str = ""


Listener = Callable[[Event], None]


def perform(spec: StageSpec, listener: Listener) -> Happening:
    """Do one stage with the other processes of the group, unless its folder is complete with the same inputs.

    Raises:
        Stopped: if the process was asked to stop, at once or at the next step of a training.
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

    with open_together(
        *(spec.folder, spec.name),
        seed=spec.seed,
        config=spec.config,
        inputs=spec.inputs,
        progress=progress,
    ) as stage:
        if stage is None:
            return "already complete"
        stage.warn = lambda text: listener(Event(spec.key, "warning", note=text))
        stage.tell = lambda text: listener(Event(spec.key, "note", note=text))
        begin()
        if group().size > 1:
            _ = (
                spec.context.runtime
            )  # All join torch's group here: where one works alone, it could not do it by itself.
        if spec.together:
            resolve(spec.work)(spec.context, stage, **spec.options)
        else:
            group().on_first(partial(resolve(spec.work), spec.context, stage, **spec.options))
    return "done"


@contextmanager
def open_together(folder: Path, name: str, *, seed: int, **options: Any) -> Iterator[Stage | None]:
    """Open a stage's folder as `open_stage` does with these options, for all processes of the group.

    The first process decides whether there is anything to do. The others get folders that are deleted in the end, and
    see the training states in that of the first. When they leave the block, the stage is under its name.
    """
    all_of_us = group()
    with ExitStack() as folders:
        stages: list[Stage] = []

        def begin() -> str | None:
            stage = folders.enter_context(open_stage(folder, name, seed=seed, **options))
            stages.extend([] if stage is None else [stage])
            return None if stage is None else str(stage.folder)

        place = all_of_us.on_first(begin)
        if place is not None and not all_of_us.first:
            stages.append(folders.enter_context(scratch_stage(Path(place), name, seed=seed)))
        with request.held():
            yield stages[0] if stages else None
            all_of_us.on_first(folders.close)


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


def default_jobs(compute: ComputeConfig) -> int:
    """The number of jobs that `compute` asks for.

    By default as many as have GPUs of their own, one for each process, or on a CPU `compute.threads` cores for each;
    one if a stage takes all cores, or the device is named by its number.
    """
    if compute.jobs is not None:
        return compute.jobs
    device = compute.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        return max(1, len(gpus_of(compute)) // compute.processes)
    if compute.threads is None:
        return 1
    # The cores that this process may use can be fewer than the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // (compute.threads * compute.processes))


def starts(compute: ComputeConfig) -> str:
    """Say what a run with this `compute` starts: stages at a time, their processes, and where these compute.

    Raises:
        RedpencilError: if there are more processes than GPUs.
    """
    check_processes(compute)
    jobs, gpus = default_jobs(compute), gpus_of(compute)
    stages = "one stage at a time" if jobs == 1 else f"{jobs} stages at a time"
    processes = "one process" if compute.processes == 1 else f"{compute.processes} processes"
    place = f"on {compute.device}"
    if gpus:
        place = f"each on one of {len(gpus)} GPUs"
    elif compute.device in ("auto", "cpu"):
        threads = "torch's default of threads" if compute.threads is None else f"{compute.threads} thread"
        place = f"on the CPU with {threads}{'s' if (compute.threads or 1) > 1 else ''} each"
    return f"{stages}, {processes} for a stage, {place}"


def execute(plan: Sequence[StageSpec], *, jobs: int, listener: Listener) -> None:
    """Run all stages, `jobs` at a time, each as `compute.processes` of its recipe says.

    The first failure stops new stages from starting; those that run are allowed to finish, so that their work is
    kept for the next attempt. Then the failure is raised. A stage that waits for people stops no other: what does not
    need it is done first, so that all that people can edit now is put before them. Where this process is one of a
    group, all of them do every stage here, one after the other.

    Raises:
        WaitingError: if all that is left waits for people, and the recipe does not say to `wait` for them.
        RedpencilError: what a stage raised, or that a worker process died.
        Stopped: if it was asked to stop; each training has saved its state.
    """
    processes = max((spec.context.recipe.compute.processes for spec in plan), default=1)
    if group().size > 1 or (jobs == 1 and processes == 1):
        _one_by_one(plan, listener)
        return
    compute = plan[0].context.recipe.compute
    check_processes(compute)
    crew = _Crew(jobs, processes, gpus_of(compute))
    try:
        with request.held(crew.stop):
            _drive(plan, crew, listener)
    except BaseException:
        crew.close(kill=True)
        raise
    crew.close(kill=False)


POLL: Final = 15.0
"""Seconds between two looks at what people have edited."""


class _Agenda:
    """The stages that are left: those that are ready, those that wait for others, and those that wait for people.

    What a stage needs that is not in the plan is complete.
    """

    def __init__(self, plan: Sequence[StageSpec]) -> None:
        self.left = {spec.key: spec for spec in plan}
        self.done = {need for spec in plan for need in spec.needs} - self.left.keys()
        self.held: dict[str, WaitingError] = {}
        self.begun: set[str] = set()
        editors = (spec.context.recipe.editor for spec in plan)
        self.waits = any(editor is not None and editor.wait for editor in editors)

    def ready(self) -> list[StageSpec]:
        """What can be done now."""
        return [spec for key, spec in self.left.items() if key not in self.held and self.done.issuperset(spec.needs)]

    def hold(self, spec: StageSpec, error: WaitingError) -> None:
        """Put a stage back until people have done more."""
        self.left[spec.key] = spec
        self.held[spec.key] = error

    def hear(self, listener: Listener) -> Listener:
        """Make a listener that hears of each start once, however often a stage has to be tried."""

        def pass_on(event: Event) -> None:
            if event.happening != "started" or event.stage not in self.begun:
                listener(event)
            if event.happening == "started":
                self.begun.add(event.stage)

        return pass_on

    def wait(self, listener: Listener) -> None:
        """Pause before stages that wait for people are tried again, where all that is left waits for them.

        Raises:
            WaitingError: if the recipe does not say to wait.
        """
        if self.waits:
            end = time.monotonic() + POLL
            while time.monotonic() < end and not request.made:
                time.sleep(min(1.0, POLL))
            self.held.clear()
            return
        for key, error in self.held.items():
            listener(Event(key, "waiting", note=str(error)))
        first, *others = self.held.values()
        if others:
            first.problem = "; ".join(f"{key}: {error.problem}" for key, error in self.held.items())
        raise first


def _one_by_one(plan: Sequence[StageSpec], listener: Listener) -> None:
    agenda = _Agenda(plan)
    listener = agenda.hear(listener)
    while agenda.left:
        request.check()
        ready = agenda.ready()
        if not ready:
            agenda.wait(listener)
            continue
        spec = agenda.left.pop(ready[0].key)
        try:
            happening = perform(spec, listener)
        except WaitingError as error:
            agenda.hold(spec, error)
        except Exception as error:
            listener(Event(spec.key, "failed", note=str(error)))
            raise
        else:
            agenda.done.add(spec.key)
            listener(Event(spec.key, happening))


Message = Mapping[str, Any]
SAVING: Final = 600.0
"""Seconds that the others get to save and stop after one process has."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a process of a worker says; a message of None is its end."""

    worker: "_Worker"
    rank: int
    message: Message | None


class _Worker:
    """Processes that do one stage after the other. They end when their standard input closes, so with this process.

    A worker that outlived a killed run would write into the same folders as the run that takes up its work.
    """

    def __init__(self, reports: "queue.SimpleQueue[Report]", processes: int, environment: Mapping[str, str]) -> None:
        self.spec: StageSpec
        self.number = 0
        self.endings: dict[int, Message | None] = {}
        """How the stage ended, by rank."""
        self.deadline: float | None = None
        """When the others are killed, after one process has failed."""
        # With -P, a file torch.py in the working directory is not taken for the library.
        command = [sys.executable, "-P", "-m", "redpencil.pipeline.worker"]
        self.ranks = Ranks(command, processes, environment, pipe=subprocess.PIPE)
        self.readers = [
            threading.Thread(target=self._read, args=(rank, reports), daemon=True) for rank in range(processes)
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, rank: int, reports: "queue.SimpleQueue[Report]") -> None:
        stdout = self.ranks.processes[rank].stdout
        assert stdout is not None
        try:
            with stdout as answers, suppress(ValueError):  # a line that was cut off by its death
                for line in answers:
                    reports.put(Report(self, rank, json.loads(line)))
        finally:
            reports.put(Report(self, rank, None))

    def start(self, spec: StageSpec) -> None:
        self.spec = spec
        self.endings.clear()
        content = {"stage": spec.to_json(), "argv": sys.argv}
        line = json.dumps(content, default=str).encode() + b"\n"
        for process in self.ranks.processes:
            assert process.stdin is not None
            with suppress(OSError):  # if it has died, which `_read` reports
                process.stdin.write(line)
                process.stdin.flush()

    def end(self, rank: int, message: Message | None) -> bool:
        """Note how the stage ended for one process; returns whether it has ended for all.

        After a failure those that may wait for it for ever are killed when the grace is over. Where one was asked to
        stop, the others are, and get the time to save.
        """
        if rank not in self.endings:
            self.endings[rank] = message
            if message is None or "ended" not in message:
                stopped = message is not None and "stopped" in message
                if stopped:
                    self.ranks.send(signal.SIGTERM)
                end = time.monotonic() + (SAVING if stopped else GRACE)
                self.deadline = end if self.deadline is None else min(self.deadline, end)
        return len(self.endings) == self.ranks.size

    def outcome(self) -> Happening | BaseException:
        """How the stage ended: well, by a request to stop, or with the error that came first.

        A process that was killed comes before the errors of those that waited for it.
        """
        deaths = [rank for rank, message in self.endings.items() if message is None]
        messages = [message for _, message in sorted(self.endings.items()) if message is not None]
        errors = [message["error"] for message in messages if "error" in message]
        causes = [error for error in errors if not follows_another(error)]
        stops = [message["stopped"] for message in messages if "stopped" in message]
        if request.made and (deaths or stops or errors) and not causes:
            return Stopped(next(iter(stops), "stopped"))
        if causes:
            return error_from_json(causes[0])
        if deaths:
            return self._death(deaths)
        if errors:
            return error_from_json(errors[0])
        if stops:
            return Stopped(stops[0])
        ended: Happening = messages[0]["ended"]
        return ended

    def _death(self, ranks: Sequence[int]) -> RedpencilError:
        causes = [cause_of_death(self.ranks.processes[rank]) for rank in ranks]
        rank, cause = min(zip(ranks, causes, strict=True), key=lambda one: not one[1].startswith("signal"))
        who = f"rank {rank} of {self.ranks.size}" if self.ranks.size > 1 else "the worker process"
        return RedpencilError(f"{who} of the stage {self.spec.key} died ({cause})", hint=KEPT)


class _Crew:
    """Up to `jobs` workers, which are started when there is work for them."""

    def __init__(self, jobs: int, processes: int, gpus: Sequence[str]) -> None:
        self.jobs, self.processes, self.gpus = jobs, processes, gpus
        self.idle: list[_Worker] = []
        self.busy: list[_Worker] = []
        self.dead: list[_Worker] = []
        self.free = list(range(jobs))
        """The numbers of workers that are still to be started, by which they get their GPUs."""
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    def start(self, spec: StageSpec) -> None:
        if not self.idle:
            number = self.free.pop(0)
            environment = environment_of_worker(number, self.processes, self.gpus)
            self.idle.append(_Worker(self.reports, self.processes, environment))
            self.idle[-1].number = number
        worker = self.idle.pop()
        self.busy.append(worker)
        worker.start(spec)

    def stop(self) -> None:
        """Ask all workers to stop."""
        for worker in (*self.idle, *self.busy):
            worker.ranks.send(signal.SIGTERM)

    def next_report(self) -> Report | None:
        """Wait for what a process says; None if it is time to look after deadlines."""
        deadlines = [worker.deadline for worker in self.busy if worker.deadline is not None]
        try:
            return self.reports.get(timeout=max(min(deadlines) - time.monotonic(), 0) if deadlines else None)
        except queue.Empty:
            return None

    def overdue(self) -> Iterator[_Worker]:
        """Kill the rest of workers whose grace is over, and name them."""
        for worker in list(self.busy):
            if worker.deadline is not None and time.monotonic() >= worker.deadline:
                worker.ranks.send(signal.SIGKILL)
                yield worker

    def end(self, worker: _Worker) -> Happening | BaseException:
        """Return how the worker's stage ended. After a failure several processes do not work together any more.

        Where they wait for people, they have all heard so from the first.
        """
        self.busy.remove(worker)
        outcome = worker.outcome()
        if any(message is None for message in worker.endings.values()) or (
            isinstance(outcome, BaseException) and not isinstance(outcome, WaitingError) and worker.ranks.size > 1
        ):
            self.bury(worker)
        else:
            worker.deadline = None
            self.idle.append(worker)
        return outcome

    def bury(self, worker: _Worker) -> None:
        self.dead.append(worker)
        self.free.append(worker.number)

    def close(self, *, kill: bool) -> None:
        for worker in (*self.idle, *self.busy, *self.dead):
            if kill or worker in self.dead:
                worker.ranks.send(signal.SIGKILL)
            for process in worker.ranks.processes:
                assert process.stdin is not None
                with suppress(OSError):  # if it was killed with a stage half written to it
                    process.stdin.close()
                process.wait()
            for reader in worker.readers:
                reader.join()


def _drive(plan: Sequence[StageSpec], crew: _Crew, listener: Listener) -> None:
    agenda = _Agenda(plan)
    listener = agenda.hear(listener)
    failure: BaseException | None = None
    while crew.busy or (agenda.left and failure is None and not request.made):
        if failure is None and not request.made:
            for spec in agenda.ready()[: crew.jobs - len(crew.busy)]:
                crew.start(agenda.left.pop(spec.key))
        if not crew.busy:
            agenda.wait(listener)
            continue
        for worker in _ended(crew, listener):
            spec, outcome = worker.spec, crew.end(worker)
            if isinstance(outcome, WaitingError):
                agenda.hold(spec, outcome)
            elif isinstance(outcome, BaseException):
                failure = failure if isinstance(failure, Exception) else outcome
                how: Happening = "failed" if isinstance(outcome, Exception) else "stopped"
                listener(Event(spec.key, how, note=str(outcome)))
            else:
                agenda.done.add(spec.key)
                listener(Event(spec.key, outcome))
    if failure is not None:
        raise failure
    if agenda.left:
        raise Stopped("stopped")


def _ended(crew: _Crew, listener: Listener) -> list[_Worker]:
    """Wait for what a process says, and name the workers whose stages have ended with it or whose grace is over."""
    report = crew.next_report()
    ended = list(crew.overdue())
    if report is not None:
        worker, message = report.worker, report.message
        if message is not None and "event" in message:
            if report.rank == 0:
                listener(Event(**message["event"]))
        elif worker in crew.busy:
            if worker.end(report.rank, message) and worker not in ended:
                ended.append(worker)
        elif worker in crew.idle:  # It died with nothing to do, so nothing is lost.
            crew.idle.remove(worker)
            crew.bury(worker)
    return ended
