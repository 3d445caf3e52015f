"""The console script: signals are heeded before the first import that takes long."""

import os
import signal


def main() -> None:
    """Run `redpencil`; a signal that comes while it is being loaded ends it with a word instead of a traceback."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from redpencil.cli.main import main as run

    run()


def _leave(*_: object) -> None:
    """End at once: nothing has begun."""
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)
