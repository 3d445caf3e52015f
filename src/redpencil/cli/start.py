"""The console script: signals are heeded before the first import that takes long."""

import os
import signal
from importlib import import_module

from redpencil.stopping import RESUME, request


def main() -> None:
    """Run `redpencil`; a signal that comes while it is being loaded ends it with a word instead of a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    import_module("redpencil.cli.main").main()


def leave(*_: object) -> None:
    """End the process at once, and show the cursor of a terminal, which a progress bar may have hidden."""
    continues = request.made and request.continues
    said = b"stopped; the same command continues\n" if continues else b"interrupted\n"
    os.write(2, (b"\x1b[?25h" if os.isatty(2) else b"") + said)
    os._exit(RESUME if continues else 128 + signal.SIGINT)
