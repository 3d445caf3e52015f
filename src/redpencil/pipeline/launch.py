"""Start a command as several processes of this machine that work together, as torchrun does."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final

from redpencil.config.compute import ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.stopping import RESUME, request

GRACE: Final = 5.0
"""Seconds that the others get to end by themselves after one process has failed; they may wait for it for ever."""
_HOST: Final = "127.0.0.1"


class Ranks:
    """Processes of one command, each with its rank in the environment. Each has a process group of its own.

    They meet in a key-value store that this process keeps, so that it outlives each of them.
    """

    def __init__(
        self, command: Sequence[str], size: int, environment: Mapping[str, str], *, pipe: IO[Any] | int | None = None
    ) -> None:
        self.size = size
        self._store: Any = None
        shared = {**os.environ, **environment}
        if size > 1:
            from torch.distributed import TCPStore  # type: ignore[attr-defined]

            self._store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
            shared |= {"MASTER_ADDR": _HOST, "MASTER_PORT": str(self._store.port), "WORLD_SIZE": str(size)}
            shared |= {"LOCAL_WORLD_SIZE": str(size), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        self.processes = []
        for rank in range(size):
            own = {} if size == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # Ctrl-C reaches every process of the terminal's group; a group of their own leaves it to this process.
            self.processes.append(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, process_group=0, env={**shared, **own})
            )

    def send(self, number: int) -> None:
        """Send a signal to all that live."""
        for process in self.processes:
            process.send_signal(number)

    def kill(self) -> None:
        """End all that live, and wait for them."""
        self.send(signal.SIGKILL)
        for process in self.processes:
            process.wait()


def gpus_of(compute: ComputeConfig) -> list[str]:
    """Name the GPUs among which stages may be divided, as CUDA_VISIBLE_DEVICES does; none for any other device.

    A device with a number, such as cuda:1, is where all stages go, so it is not divided.
    """
    if compute.device not in ("auto", "cuda"):
        return []
    import torch

    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return visible[:count] or [str(number) for number in range(count)]


def environment_of_worker(number: int, processes: int, gpus: Sequence[str]) -> dict[str, str]:
    """Give the worker of this number its own GPUs, as many as it has processes; workers beyond them share."""
    if not gpus:
        return {}
    places = max(len(gpus) // processes, 1)
    start = (number % places) * processes
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[start : start + processes])}


def check_processes(compute: ComputeConfig) -> None:
    """Refuse more processes than there are GPUs where they would compute on GPUs.

    Raises:
        RedpencilError: if so.
    """
    if compute.processes == 1:
        return
    gpus = gpus_of(compute)
    if gpus and compute.processes > len(gpus):
        raise RedpencilError(
            f"{compute.processes} processes, and {len(gpus)} GPUs that torch sees; each process needs one of its own",
            field="compute.processes",
            hint=f"--set compute.processes={len(gpus)}, or start the command by torchrun on several machines",
        )


def cause_of_death(process: "subprocess.Popen[Any]") -> str:
    """Say how a process ended."""
    code = process.wait()
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def run_together(name: str, command: Sequence[str], processes: int, gpus: Sequence[str]) -> int:
    """Run the command of a stage as so many processes and wait for all; returns its exit code.

    A failure in one ends the others. Signals to stop are passed on.

    Raises:
        RedpencilError: if a process was killed.
    """
    ranks = Ranks(command, processes, environment_of_worker(0, processes, gpus))
    try:
        with request.held(lambda: ranks.send(signal.SIGTERM)):
            return _wait(ranks, name)
    except KeyboardInterrupt:
        ranks.send(signal.SIGINT)
        _end(ranks)
        raise
    finally:
        ranks.kill()


def _wait(ranks: Ranks, name: str) -> int:
    while True:
        codes = [process.poll() for process in ranks.processes]
        if any(codes):
            break
        if all(code is not None for code in codes):
            return 0
        time.sleep(0.05)
    ended = _end(ranks)
    for rank, code in enumerate(ended):
        if code is not None and code < 0:
            cause = cause_of_death(ranks.processes[rank])
            raise RedpencilError(f"rank {rank} of {ranks.size} of the stage {name} died ({cause})", hint=KEPT)
    failed = [code for code in ended if code]
    return RESUME if request.made and RESUME in failed else min(failed)


def _end(ranks: Ranks) -> list[int | None]:
    """Let all processes end by themselves for a while; returns the exit codes of those that did."""
    end = time.monotonic() + GRACE
    for process in ranks.processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(end - time.monotonic(), 0))
    return [process.returncode for process in ranks.processes]


KEPT: Final = (
    "it may have run out of memory: try --jobs 1 or a smaller compute.micro_batch_size; finished stages are kept, and "
    "the same command continues the run"
)
