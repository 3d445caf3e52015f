"""A signal before anything has begun."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_is_being_loaded_ends_it_with_a_word(tiny: Path, tmp_path: Path, signal_: int) -> None:
    script = "import redpencil.cli.start as start; print('here', flush=True); start.main()"
    command = [sys.executable, "-c", script, "run", tiny, "--out", tmp_path / "run", "--jobs", "1"]
    for wait in (0.0, 0.2, 0.5, 0.8, 1.1, 1.4, 1.8, 2.3, 3.0):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "here\n"
            time.sleep(wait)
            run.send_signal(signal_)
            _, said = run.communicate(timeout=60)
        assert "Traceback" not in said
        if run.returncode != -signal_:  # the first one may come before `main` has begun
            ends = {(130, True)} if signal_ == signal.SIGINT else {(130, True), (75, False)}
            assert (run.returncode, "interrupted" in said) in ends
            assert "interrupted" in said or said.splitlines()[-1].startswith("stopped; the same command continues")
        else:
            assert wait == 0.0


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("library", ["raise ImportError('cannot load module twice')", "print('I go on', flush=True)"])
def test_a_library_that_makes_another_error_of_a_signal_or_forgets_it_changes_nothing(
    tmp_path: Path, signal_: int, library: str
) -> None:
    (tmp_path / "library.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {int(signal_)})\n    for _ in range(9): pass\n"
        f"except KeyboardInterrupt:\n    {library}\n"
    )
    script = "import typer\nfrom redpencil.cli import main\nmain.app = lambda: __import__('library')\nmain.main()"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
