"""The console script: signals are heeded before the first import that takes long."""

import os
import signal
from importlib import import_module


def main() -> None:
    """Run `redpencil`; a signal that comes while it is being loaded ends it with a word instead of a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    import_module("redpencil.cli.main").main()


def leave(*_: object) -> None:
    """End the process at once, and show the cursor of a terminal, which a progress bar may have hidden."""
    os.write(2, (b"\x1b[?25h" if os.isatty(2) else b"") + b"interrupted\n")
    os._exit(128 + signal.SIGINT)
