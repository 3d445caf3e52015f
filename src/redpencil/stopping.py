"""A request to stop, as clusters send it by SIGTERM before they take a machine away.

Work that is kept stage by stage stops at once. A training holds on until its next step: it saves its state there. What
was stopped so ends with the exit code RESUME, by which a job script knows to start the same command again.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

RESUME: Final = 75
"""Exit code of a command that was asked to stop and continues when it is started again: EX_TEMPFAIL of sysexits.h."""


class Stopped(KeyboardInterrupt):
    """Work ended because it was asked to, and what was done is kept."""


class Request:
    """Whether this process was asked to stop, and who is to hear of it before it does."""

    def __init__(self) -> None:
        self.made = False
        self.continues = False
        """Whether the command continues when it is started again, so that it ends with RESUME."""
        self.heard_by: list[Callable[[], None]] = []

    def make(self, _signal: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
        """Ask to stop; a handler of signals.

        Raises:
            Stopped: if nobody holds on.
        """
        self.made = True
        if not self.heard_by:
            raise Stopped("stopped")
        for hear in self.heard_by:
            hear()

    def check(self) -> None:
        """Stop here if it was asked for.

        Raises:
            Stopped: if so.
        """
        if self.made:
            raise Stopped("stopped")

    @contextmanager
    def held(self, hear: Callable[[], None] | None = None) -> Iterator[None]:
        """Do not stop in the middle of the block, or of a training that begins in it; `hear` is told of a request."""
        before = list(self.heard_by)
        if hear is not None:
            self.hold(hear)
        try:
            yield
        finally:
            self.heard_by[:] = before

    def hold(self, hear: Callable[[], None] = lambda: None) -> None:
        """Do not stop from here to the end of the innermost `held` block."""
        self.heard_by.append(hear)


request: Final = Request()
"""The request to this process."""
