"""What processes are started with: ranks, GPUs of their own; and how a command of several ends."""

import signal
import sys
import time
from typing import Any

import pytest

from redpencil.config.compute import ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.pipeline.execute import starts
from redpencil.pipeline.launch import check_processes, environment_of_worker, gpus_of, run_together
from redpencil.stopping import RESUME, Stopped, request


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets torch see so many GPUs, of which a variable names some or all."""
    import torch

    def see(count: int, visible: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return see


def test_gpus_are_named_as_the_environment_names_them(gpus: Any) -> None:
    gpus(3)
    assert gpus_of(ComputeConfig()) == gpus_of(ComputeConfig(device="cuda")) == ["0", "1", "2"]
    assert [gpus_of(ComputeConfig(device=device)) for device in ("cpu", "mps", "cuda:1")] == [[], [], []]
    gpus(2, "5, GPU-0a1b")
    assert gpus_of(ComputeConfig()) == ["5", "GPU-0a1b"]
    gpus(0, "")
    assert gpus_of(ComputeConfig()) == []


@pytest.mark.parametrize(
    ("processes", "count", "expected"),
    [
        (1, 4, ["0", "1", "2", "3", "0"]),
        (2, 4, ["0,1", "2,3", "0,1", "2,3", "0,1"]),
        (2, 5, ["0,1", "2,3", "0,1", "2,3", "0,1"]),
        (3, 5, ["0,1,2"] * 5),
        (4, 4, ["0,1,2,3"] * 5),
        (1, 1, ["0"] * 5),
    ],
)
def test_workers_side_by_side_have_gpus_apart_as_far_as_there_are_any(
    processes: int, count: int, expected: list[str]
) -> None:
    names = [str(number) for number in range(count)]
    assert [environment_of_worker(k, processes, names) for k in range(5)] == [
        {"CUDA_VISIBLE_DEVICES": text} for text in expected
    ]
    assert environment_of_worker(1, processes, []) == {}


def test_more_processes_than_gpus_are_refused(gpus: Any) -> None:
    gpus(2)
    check_processes(ComputeConfig(processes=2))
    check_processes(ComputeConfig(processes=8, device="cpu"))
    with pytest.raises(RedpencilError, match="3 processes, and 2 GPUs") as caught:
        starts(ComputeConfig(processes=3))
    assert caught.value.field == "compute.processes"
    gpus(0)
    check_processes(ComputeConfig(processes=8))


def test_what_a_run_starts_is_said_in_words(gpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    gpus(8)
    assert starts(ComputeConfig(processes=2)) == "4 stages at a time, 2 processes for a stage, each on one of 8 GPUs"
    assert starts(ComputeConfig(device="cuda:1")) == "one stage at a time, one process for a stage, on cuda:1"
    cpu = ComputeConfig(device="cpu", threads=2, processes=4)
    assert starts(cpu) == "one stage at a time, 4 processes for a stage, on the CPU with 2 threads each"


RANK = """
import os, sys, signal, time
rank = os.environ["RANK"]
assert (os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"]) == ("2", rank, "2")
from torch.distributed import rendezvous
store, _, _ = next(rendezvous("env://"))
store.set("here/" + rank, "yes")
store.get("here/" + str(1 - int(rank)))  # both are there
"""


def together(script: str) -> int:
    return run_together("sft", [sys.executable, "-c", RANK + script], 2, [])


def test_processes_that_end_well_end_well() -> None:
    assert together("") == 0


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_in_one_ends_the_other_which_waits_for_ever(rank: int) -> None:
    begun = time.monotonic()
    assert together(f"sys.exit(3) if rank == '{rank}' else time.sleep(600)") == 3
    assert time.monotonic() - begun < 120


def test_a_process_that_is_killed_is_named() -> None:
    with pytest.raises(RedpencilError, match=r"rank 1 of 2 of the stage sft died \(signal SIGKILL\)") as caught:
        together("os.kill(os.getpid(), signal.SIGKILL) if rank == '1' else time.sleep(600)")
    assert "the same command continues" in str(caught.value.hint)


def test_a_request_to_stop_is_passed_on_and_waited_for() -> None:
    """Rank 0 asks the parent to stop, as a cluster does; each saves for two seconds, longer than a moment."""
    script = f"""
def save(*_):
    time.sleep(2)
    os._exit({RESUME})
signal.signal(signal.SIGTERM, save)
store.set("ready/" + rank, "yes")
store.get("ready/" + str(1 - int(rank)))
if rank == "0":
    os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""
    before = signal.signal(signal.SIGTERM, request.make)
    try:
        assert together(script) == RESUME
        with pytest.raises(Stopped):
            request.check()
    finally:
        request.made = False
        signal.signal(signal.SIGTERM, before)
