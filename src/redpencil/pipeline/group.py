"""The processes that work on every stage together: which one is first, and how it tells the others.

torchrun gives each of them its rank, their number and a key-value store by environment variables, and so does
`redpencil.pipeline.launch`. All of them run the same code in the same order. What must not be done or decided by each
by itself goes through `Group.on_first`. Waiting is done by asking the store now and then, which a signal interrupts.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from redpencil.errors import RedpencilError
from redpencil.pipeline.failures import error_from_json, error_to_json, follows_another

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

VARIABLES: Final = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells each process. A process that lacks one of them works by itself."""
_LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks into the store."""
_TOKEN: Final = ".shared"
"""A file that is there while the processes compare what they see of a folder."""
_SIGHT: Final = 30.0
"""Seconds after which a file that another machine wrote must be visible: file systems remember for so long."""
_OTHERS_FIRST: Final = 1.0
_CAUSE_FIRST: Final = 3.0
"""Seconds that a process waits before it reports an error: the first process, and who knows the cause, come before."""

Told = TypeVar("Told")


@dataclass
class Group:
    """This process's place among those that work together; one process is first and has no others."""

    rank: int = 0
    size: int = 1
    _told: int = field(default=0, init=False)

    @property
    def first(self) -> bool:
        """Whether this process decides, writes and speaks for all."""
        return self.rank == 0

    @property
    def name(self) -> str:
        """How errors name this process."""
        return f"rank {self.rank} of {self.size}"

    def on_first(self, work: Callable[[], Told]) -> Told:
        """Let the first process do something; all of them get what it returns, which must be JSON, or its error.

        Raises:
            Exception: what the work raised.
        """
        if self.size == 1:
            return work()
        self._told += 1
        key = f"told/{self._told}"
        if not self.first:
            answer = json.loads(self._read(key))
            if "error" in answer:
                raise error_from_json(answer["error"])
            told: Told = answer["value"]
            return told
        try:
            value = work()
        except Exception as error:
            self._store.set(key, json.dumps({"error": error_to_json(error)}))
            raise
        self._store.set(key, json.dumps({"value": value}))
        return value

    def check_shared(self, folder: Path) -> None:
        """Check that all processes see one file system: a file that the first one writes in a folder is there for all.

        Raises:
            RedpencilError: naming the machines that do not see it.
        """
        if self.size == 1:
            return
        token = self.on_first(lambda: _write_token(folder / _TOKEN))
        seen = _reads(folder / _TOKEN, token)
        self._store.set(f"{token}/{self.rank}", "" if seen else f"{self.name} on {socket.gethostname()}")
        blind = [where for rank in range(self.size) if (where := self._read(f"{token}/{rank}").decode())]
        if self.first:
            (folder / _TOKEN).unlink(missing_ok=True)
        if blind:
            raise RedpencilError(
                f"not all processes see this folder: what rank 0 wrote there is not seen by {', '.join(blind)}",
                file=folder,
                hint="put the folder, the data and the models on a file system that all machines share, under one path",
            )

    def speaks_of(self, error: Exception) -> bool:
        """Whether this process is the one that reports an error, of those that end because of it."""
        if self.size == 1:
            return True
        time.sleep(_OTHERS_FIRST * (not self.first) + _CAUSE_FIRST * follows_another(error_to_json(error)))
        try:
            return self._store.add("reported", 1) == 1
        except RuntimeError:  # the store went with the process that kept it
            return True

    @cached_property
    def _store(self) -> "Store":
        from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

        store, _, _ = next(rendezvous("env://"))
        return PrefixStore("redpencil", store)

    def _read(self, key: str) -> bytes:
        """Wait for a key, however long it takes, and return its value."""
        pause = 0.001
        while not self._store.check([key]):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        value: bytes = self._store.get(key)
        return value


@cache
def group() -> Group:
    """Return the group of this process, as the environment says it.

    Raises:
        RedpencilError: if what it says is not a rank among so many.
    """
    texts = {name: os.environ.get(name, "") for name in VARIABLES}
    if not all(texts.values()):
        return Group()
    try:
        rank, size = int(texts["RANK"]), int(texts["WORLD_SIZE"])
        if not 0 <= rank < size:
            raise ValueError
    except ValueError:
        raise RedpencilError(
            f"RANK={texts['RANK']} and WORLD_SIZE={texts['WORLD_SIZE']} in the environment are no rank of so many",
            hint="start the command by torchrun, which sets them, or unset them",
        ) from None
    if size > 1:
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    return Group(rank, size)


def first_writes(path: Path) -> Path:
    """Return the path for the process that writes the output of a command, and a device that swallows it elsewhere."""
    return path if group().first else Path(os.devnull)


def _end_with_parent(parent: int) -> None:
    """End this process when the one that started it has died: it would wait for the others, or write beside them."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _write_token(path: Path) -> str:
    token = secrets.token_hex(8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(token, encoding="utf-8")
    except OSError as error:
        raise RedpencilError(
            f"cannot write into the folder ({error.strerror})", file=path.parent, hint="choose another --out"
        ) from None
    return token


def _reads(path: Path, token: str) -> bool:
    end = time.monotonic() + _SIGHT
    while time.monotonic() < end:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == token:
                return True
        time.sleep(0.2)
    return False
