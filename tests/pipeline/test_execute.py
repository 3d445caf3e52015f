"""The executor with stages that take no time: order, failures, dead workers, Ctrl-C."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.pipeline.execute import StageSpec, default_jobs, execute
from redpencil.pipeline.plan import plan_run

HERE = Path(__file__).parent
Make = Callable[..., StageSpec]


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What toy stages do, importable by workers too."""
    monkeypatch.syspath_prepend(str(HERE))
    import toy_stages

    return toy_stages


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(name: str, work: Any, *needs: str) -> StageSpec:
        return StageSpec(name, name, tmp_path / "run" / name, 0, needs, {}, {}, work, None)  # type: ignore[arg-type]

    return make


def test_one_job_works_through_the_plan_in_its_order_and_in_this_process(toys: Any, make: Make, listener: Any) -> None:
    execute([make("b", toys.report), make("a", toys.write, "b")], jobs=1, listener=listener)
    assert [(e.stage, e.happening, e.done, e.total, e.note) for e in listener.events] == [
        ("b", "started", 0, 0, ""),
        ("b", "progress", 1, 2, "half"),
        ("b", "done", 0, 0, ""),
        ("a", "started", 0, 0, ""),
        ("a", "done", 0, 0, ""),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_stage_warns_of_is_passed_on_from_any_process(jobs: int, toys: Any, make: Make, listener: Any) -> None:
    execute([make("a", toys.warn)], jobs=jobs, listener=listener)
    warnings = [(event.stage, event.note) for event in listener.events if event.happening == "warning"]
    assert warnings == [("a", "kl: too far")]


def test_a_complete_stage_is_told_of_and_not_done_again(toys: Any, make: Make, listener: Any) -> None:
    plan = [make("a", toys.write)]
    execute(plan, jobs=1, listener=lambda _: None)
    execute([make("a", toys.fail)], jobs=1, listener=listener)
    assert [(event.stage, event.happening) for event in listener.events] == [("a", "already complete")]


def test_one_job_stops_at_a_failure_and_tells_of_it(toys: Any, make: Make, listener: Any) -> None:
    with pytest.raises(RedpencilError, match="no good"):
        execute([make("a", toys.fail), make("b", toys.write)], jobs=1, listener=listener)
    assert [(event.stage, event.happening) for event in listener.events] == [("a", "started"), ("a", "failed")]
    assert "hint: mend it" in listener.events[-1].note


def test_a_failure_lets_running_stages_finish_starts_no_other_and_the_next_run_goes_on(
    toys: Any, make: Make, listener: Any, tmp_path: Path
) -> None:
    """a fails once b is at work, b goes on only when a has failed; c waits for nothing, d for b."""
    b_works, a_failed = tmp_path / "b works", tmp_path / "a failed"

    def watch(event: Any) -> None:
        listener(event)
        if (event.stage, event.happening) == ("b", "progress"):
            b_works.touch()
        if (event.stage, event.happening) == ("a", "failed"):
            a_failed.touch()

    slow = make("b", partial(toys.write_when, path=a_failed))
    rest = [make("c", toys.write), make("d", toys.write, "b")]
    with pytest.raises(RedpencilError) as caught:
        execute([make("a", partial(toys.fail_when, path=b_works)), slow, *rest], jobs=2, listener=watch)
    error = caught.value
    assert (error.problem, error.file, error.line) == ("no good", "data.jsonl", 7)
    assert (error.field, error.hint) == ("text", "mend it")
    assert listener.of("b") == ["started", "progress", "done"]
    assert listener.of("a") == ["started", "failed"]
    assert listener.of("c") == listener.of("d") == []
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"a.partial", "b"}

    listener.events.clear()
    execute([make("a", toys.write), slow, *rest], jobs=2, listener=listener)
    assert listener.stages("already complete") == ["b"]
    assert sorted(listener.stages("done")) == ["a", "c", "d"]


def test_a_worker_that_is_killed_is_an_error_that_names_its_stage_and_the_next_run_goes_on(
    toys: Any, make: Make, listener: Any, tmp_path: Path
) -> None:
    done = tmp_path / "run" / "first"
    plan = [make("first", toys.write), make("second", partial(toys.die_when, path=done))]
    with pytest.raises(RedpencilError, match=r"a worker process died while these stages ran: .*second") as caught:
        execute(plan, jobs=2, listener=listener)
    assert caught.value.hint is not None
    assert "finished stages are kept" in caught.value.hint
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"first", "second.partial"}

    listener.events.clear()
    execute([plan[0], make("second", toys.write)], jobs=2, listener=listener)
    assert listener.stages("already complete") == ["first"]
    assert listener.stages("done") == ["second"]


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
folder, here = map(Path, sys.argv[1:])
sys.path.insert(0, str(here))
import toy_stages
from redpencil.pipeline.execute import execute
from redpencil.pipeline.execute import StageSpec
if __name__ == "__main__":
    work = partial(toy_stages.tell_and_sleep, folder=folder)
    plan = [StageSpec(name, name, folder / name, 0, (), {}, {}, work, None) for name in "ab"]
    execute(plan, jobs=2, listener=lambda _: None)
"""


@pytest.mark.parametrize("how", ["Ctrl-C, which reaches every process of the terminal", "SIGKILL to the main process"])
def test_no_worker_outlives_an_interrupted_run(how: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, script, tmp_path, HERE], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    try:
        workers = [int(pid) for pid in wait_for(lambda: pids(tmp_path))]
        if how.startswith("Ctrl-C"):
            os.killpg(run.pid, signal.SIGINT)
        else:
            run.kill()
        _, errors = run.communicate(timeout=30)
        wait_for(lambda: not any(alive(pid) for pid in workers))
    finally:
        run.kill()
    assert run.returncode == -(signal.SIGINT if how.startswith("Ctrl-C") else signal.SIGKILL)
    assert "KeyboardInterrupt" in errors or not how.startswith("Ctrl-C")
    assert "Process Spawn" not in errors, "a worker printed a traceback of its own"
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"a.partial", "b.partial"}


def pids(folder: Path) -> list[str]:
    found = [path.read_text() for path in folder.glob("*.pid")]
    return found if len(found) == 2 and all(found) else []


def alive(pid: int) -> bool:
    """A zombie, which nobody has waited for yet, is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(ready: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while not (found := ready()):
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.02)
    return found


def test_a_cpu_runs_one_stage_a_usable_core_and_a_gpu_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert default_jobs("cpu") == 3
    assert default_jobs("cuda") == default_jobs("cuda:1") == 1
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert default_jobs("auto") == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert default_jobs("auto") == 3


def test_the_executor_loads_no_torch_so_a_worker_starts_fast() -> None:
    code = "import sys, redpencil.pipeline.execute; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "False"


def test_every_stage_of_a_plan_survives_the_way_to_a_worker(tiny: Any, tmp_path: Path) -> None:
    for spec in plan_run(tiny(), tmp_path, 3):
        arrived = pickle.loads(pickle.dumps(spec))
        assert (arrived.key, arrived.folder, arrived.config) == (spec.key, spec.folder, spec.config)
        assert arrived.context.recipe == spec.context.recipe
