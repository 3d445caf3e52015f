"""A worker process: `python -m redpencil.pipeline.worker`.

It does the stages that come in as lines of JSON on standard input, one after the other, until that closes, as it does
when the process that started it dies. It answers with lines of JSON on standard output: `event`s, then how the stage
`ended` or its `error`, or that it was `stopped` by SIGTERM, which also ends the worker.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from redpencil.pipeline.execute import StageSpec, perform
from redpencil.pipeline.failures import error_to_json
from redpencil.stopping import RESUME, Stopped, request


def main() -> None:
    """Do stages until standard input closes, or until it is asked to stop."""
    signal.signal(signal.SIGTERM, request.make)
    # What a library prints goes to standard error from here on, so that it does not get between the events.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    stages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(stages,), daemon=True).start()
    while True:
        try:
            request.check()
            order = json.loads(stages.get())
            sys.argv = order["argv"]  # For manifests, which keep the command of the run.
            _do(StageSpec.from_json(order["stage"]), answers)
        except Stopped as stopped:
            _answer(answers, stopped=str(stopped))
            os._exit(RESUME)  # Other processes of the group may be gone, for which an ordinary exit could wait.


def _read(stages: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        stages.put(line)
    os._exit(0)


def _do(spec: StageSpec, answers: TextIO) -> None:
    try:
        ended = perform(spec, lambda event: _answer(answers, event=asdict(event)))
    except Exception as error:
        _answer(answers, error=error_to_json(error))
    else:
        _answer(answers, ended=ended)


def _answer(answers: TextIO, **message: Mapping[str, Any] | str) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
