"""The executor with stages that take no time: order, failures, dead workers, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redpencil.config.compute import ComputeConfig
from redpencil.config.methods import METHODS
from redpencil.errors import RedpencilError, WaitingError
from redpencil.pipeline import execute as executor
from redpencil.pipeline.execute import StageSpec, default_jobs, execute, resolve
from redpencil.pipeline.plan import plan_run
from redpencil.runs import read_metrics, saved_states
from redpencil.stopping import Stopped

Make = Callable[..., StageSpec]


def test_one_job_works_through_the_plan_in_its_order_and_in_this_process(make: Make, listener: Any) -> None:
    execute([make("b", "report"), make("a", "write", "b")], jobs=1, listener=listener)
    assert [(e.stage, e.happening, e.done, e.total, e.note) for e in listener.events] == [
        ("b", "started", 0, 0, ""),
        ("b", "progress", 1, 2, "half"),
        ("b", "done", 0, 0, ""),
        ("a", "started", 0, 0, ""),
        ("a", "done", 0, 0, ""),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_stage_warns_of_is_passed_on_from_any_process(jobs: int, make: Make, listener: Any) -> None:
    execute([make("a", "warn")], jobs=jobs, listener=listener)
    warnings = [(event.stage, event.note) for event in listener.events if event.happening == "warning"]
    assert warnings == [("a", "kl: too far")]


def test_a_complete_stage_is_told_of_and_not_done_again(make: Make, listener: Any) -> None:
    plan = [make("a", "write")]
    execute(plan, jobs=1, listener=lambda _: None)
    execute([make("a", "fail")], jobs=1, listener=listener)
    assert [(event.stage, event.happening) for event in listener.events] == [("a", "already complete")]


def test_one_job_stops_at_a_failure_and_tells_of_it(make: Make, listener: Any) -> None:
    with pytest.raises(RedpencilError, match="no good"):
        execute([make("a", "fail"), make("b", "write")], jobs=1, listener=listener)
    assert [(event.stage, event.happening) for event in listener.events] == [("a", "started"), ("a", "failed")]
    assert "hint: mend it" in listener.events[-1].note


def test_a_failure_lets_running_stages_finish_starts_no_other_and_the_next_run_continues(
    make: Make, listener: Any, tmp_path: Path
) -> None:
    """a fails once b is at work, b goes on only when a has failed; c waits for nothing, d for b."""
    b_works, a_failed = tmp_path / "b works", tmp_path / "a failed"

    def watch(event: Any) -> None:
        listener(event)
        if (event.stage, event.happening) == ("b", "progress"):
            b_works.touch()
        if (event.stage, event.happening) == ("a", "failed"):
            a_failed.touch()

    slow = make("b", "write_when", path=a_failed)
    rest = [make("c", "write"), make("d", "write", "b")]
    with pytest.raises(RedpencilError) as caught:
        execute([make("a", "fail_when", path=b_works), slow, *rest], jobs=2, listener=watch)
    error = caught.value
    assert (error.problem, error.file, error.line) == ("no good", "data.jsonl", 7)
    assert (error.field, error.hint) == ("text", "mend it")
    assert listener.of("b") == ["started", "progress", "done"]
    assert listener.of("a") == ["started", "failed"]
    assert listener.of("c") == listener.of("d") == []
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"a.partial", "b"}

    listener.events.clear()
    execute([make("a", "write"), slow, *rest], jobs=2, listener=listener)
    assert listener.stages("already complete") == ["b"]
    assert sorted(listener.stages("done")) == ["a", "c", "d"]


def two_seeds(make: Make, edits: Path) -> list[StageSpec]:
    """Each of two seeds trains, has its answers edited, and learns from the edits."""
    return [
        stage
        for seed in ("s1", "s2")
        for stage in (
            make(f"{seed}-train", "write"),
            make(f"{seed}-edits", "ask_people", f"{seed}-train", path=edits),
            make(f"{seed}-learn", "write", f"{seed}-edits"),
        )
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_seeds_ask_people_before_the_run_says_that_it_waits(
    jobs: int, make: Make, listener: Any, tmp_path: Path
) -> None:
    edits = tmp_path / "edits"
    plan = two_seeds(make, edits)
    with pytest.raises(WaitingError) as caught:
        execute(plan, jobs=jobs, listener=listener)
    said = [f"{seed}-edits: 0 of 1 answers of {seed}-edits are edited" for seed in ("s1", "s2")]
    assert sorted(caught.value.problem.split("; ")) == said
    assert (caught.value.file, caught.value.hint) == ("edits.db", "edit it")
    assert sorted(listener.stages("done")) == ["s1-train", "s2-train"]
    assert sorted(listener.stages("waiting")) == ["s1-edits", "s2-edits"]
    assert listener.of("s1-learn") == []

    edits.touch()
    listener.events.clear()
    execute(plan, jobs=jobs, listener=listener)
    assert sorted(listener.stages("done")) == ["s1-edits", "s1-learn", "s2-edits", "s2-learn"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_waits_goes_on_when_people_are_done(
    jobs: int, make: Make, listener: Any, tmp_path: Path, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "POLL", 0.05)
    edits, recipe = tmp_path / "edits", tiny(f"editor={{project: {tmp_path}/edits.db, wait: true}}")
    context = replace(make("any", "write").context, recipe=recipe)
    plan = [replace(spec, context=context) for spec in two_seeds(make, edits)]
    looks: list[str] = []

    def watch(event: Any) -> None:
        listener(event)
        if event.happening == "progress":
            looks.append(event.stage)
            if looks.count("s1-edits") > 1 and looks.count("s2-edits") > 1:
                edits.touch()

    execute(plan, jobs=jobs, listener=watch)
    assert len(listener.stages("done")) == 6
    assert listener.stages("waiting") == []
    assert sorted(listener.stages("started")) == sorted(spec.key for spec in plan), "each is said to start once"


def test_a_failure_counts_before_those_who_wait(make: Make, listener: Any, tmp_path: Path) -> None:
    plan = [make("a", "ask_people", path=tmp_path / "never"), make("b", "fail")]
    with pytest.raises(RedpencilError, match="no good"):
        execute(plan, jobs=1, listener=listener)


def test_a_worker_that_is_killed_is_an_error_that_names_its_stage_and_the_next_run_continues(
    make: Make, listener: Any, tmp_path: Path
) -> None:
    done = tmp_path / "run" / "first"
    plan = [make("first", "write"), make("second", "die_when", path=done)]
    with pytest.raises(
        RedpencilError, match=r"the worker process of the stage second died \(signal SIGKILL\)"
    ) as caught:
        execute(plan, jobs=2, listener=listener)
    assert caught.value.hint is not None
    assert "finished stages are kept" in caught.value.hint
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"first", "second.partial"}

    listener.events.clear()
    execute([plan[0], make("second", "write")], jobs=2, listener=listener)
    assert listener.stages("already complete") == ["first"]
    assert listener.stages("done") == ["second"]


SCRIPT = """
import sys
from pathlib import Path
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import StageSpec, execute
from redpencil.recipe import default_recipe
folder = Path(sys.argv[1])
work, context, options = "toy_stages:tell_and_sleep", Context(default_recipe(), folder, 0), {"folder": str(folder)}
plan = [StageSpec(name, name, folder / name, 0, (), {}, {}, work, context, options) for name in "ab"]
execute(plan, jobs=2, listener=lambda _: None)
"""


@pytest.mark.parametrize("how", ["Ctrl-C, which reaches every process of the terminal", "SIGKILL to the main process"])
def test_no_worker_outlives_an_interrupted_run(how: str, tmp_path: Path, toys: None) -> None:  # noqa: ARG001
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, script, tmp_path], start_new_session=True, stderr=subprocess.PIPE, text=True
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
    assert errors.count("Traceback") <= 1, "a worker printed a traceback of its own"
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


def test_as_many_stages_run_as_have_threads_or_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)

    def jobs(**keys: Any) -> int:
        return default_jobs(ComputeConfig(**keys))

    assert jobs(device="cpu") == 3
    assert jobs(device="cuda") == jobs(device="cuda:1") == jobs(device="mps") == 1
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert jobs() == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert jobs() == 3
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [jobs(threads=threads) for threads in (1, 2, 3, 4, 5, 16, None)] == [8, 4, 2, 2, 1, 1, 1]
    assert [jobs(threads=threads, jobs=6) for threads in (1, 4, None)] == [6, 6, 6]
    assert jobs(device="cuda", jobs=2) == 2
    assert [jobs(threads=2, processes=processes, device="cpu") for processes in (1, 2, 3, 4, 5)] == [4, 2, 1, 1, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert [jobs(processes=processes) for processes in (1, 2, 3, 8)] == [8, 4, 2, 1]
    assert jobs(device="cuda") == jobs(device="cuda", threads=None) == 8
    assert jobs(device="cuda:1") == jobs(device="mps") == 1


HALF = """#!/bin/sh
read order
printf '{"event": {"stage": "a", "happening": "started", "done": 0, "total": 0, "note": ""}}\\n'
printf '{"ended": "do'
kill -KILL $$
"""


def test_a_worker_that_is_killed_in_the_middle_of_a_line_is_told_of_as_one_that_is_killed(
    make: Make, listener: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker"
    worker.write_text(HALF)
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    broken: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    with pytest.raises(RedpencilError, match=r"the worker process of the stage a died \(signal SIGKILL\)"):
        execute([make("a", "write")], jobs=2, listener=listener)
    assert broken == []
    assert listener.of("a") == ["started", "failed"]


def test_the_executor_loads_no_torch_so_a_worker_starts_fast() -> None:
    code = "import sys, redpencil.pipeline.execute; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == "False"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("arms={d: {method: dpo, pairs: comparisons, options: {beta: .3}}, f: {method: figa}}",),
        ("arms={n: {method: best_of_n, reward_model: token_edits}}", "seeds=[3, 4]", "compute.micro_batch_size=2"),
    ],
)
def test_every_stage_of_a_plan_survives_the_way_to_a_worker(
    overrides: tuple[str, ...], tiny: Any, tmp_path: Path
) -> None:
    for spec in plan_run(tiny(*overrides), tmp_path, 3):
        arrived = StageSpec.from_json(json.loads(json.dumps(spec.to_json())))
        assert (arrived.key, arrived.name, arrived.folder, arrived.seed) == (
            *(spec.key, spec.name, spec.folder, spec.seed),
        )
        assert (arrived.inputs, arrived.work, arrived.options) == (spec.inputs, spec.work, spec.options)
        assert json.dumps(arrived.config) == json.dumps(spec.config)
        assert arrived.context == spec.context


def test_the_work_of_every_stage_exists(tiny: Any, tmp_path: Path) -> None:
    arms = (
        "arms={d: {method: dpo}, p: {reward_model: token_edits}, n: {method: best_of_n, reward_model: token_edits}}",
        "reward_models.made={pairs: edits, folder: /nowhere, reward: {level: token}}",
    )
    assert all(callable(resolve(spec.work)) for spec in plan_run(tiny(*arms), tmp_path, 3))


@pytest.mark.parametrize("name", METHODS)
def test_the_function_of_every_method_exists(name: str) -> None:
    assert callable(resolve(METHODS[name].run))


def test_a_worker_does_several_stages_and_the_command_is_that_of_the_run(make: Make, tmp_path: Path) -> None:
    names = "abcd"
    execute(
        [make(name, "write_pid", *names[max(i - 1, 0) : i]) for i, name in enumerate(names)], jobs=2, listener=print
    )
    written = [(tmp_path / "run" / name / "out.txt").read_text() for name in names]
    assert len(set(written)) == 1
    assert written[0] != str(os.getpid())
    manifest = json.loads((tmp_path / "run" / "a" / "manifest.json").read_text())
    assert manifest["command"] == " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def texts_of(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in folder.glob("*/out.txt")}


def test_a_stage_of_two_processes_is_done_by_both_and_written_by_the_first(
    make: Make, listener: Any, tmp_path: Path
) -> None:
    plan = [
        make("a", "write_ranks", processes=2),
        make("b", "write_alone", "a", processes=2, together=False),
        make("c", "write_ranks", "b", processes=2),
    ]
    before = set(Path(tempfile.gettempdir()).glob("redpencil-*"))
    execute(plan, jobs=1, listener=listener)
    assert texts_of(tmp_path / "run") == {"a": "2 by rank 0", "b": "by rank 0", "c": "2 by rank 0"}
    assert [(event.stage, event.happening, event.note) for event in listener.events] == [
        *[("a", "started", ""), ("a", "progress", "rank 0"), ("a", "done", "")],
        *[("b", "started", ""), ("b", "done", "")],
        *[("c", "started", ""), ("c", "progress", "rank 0"), ("c", "done", "")],
    ]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"a", "b", "c"}
    assert set(Path(tempfile.gettempdir()).glob("redpencil-*")) <= before

    listener.events.clear()
    execute([make("a", "fail", processes=2)], jobs=1, listener=listener)
    assert [(event.stage, event.happening) for event in listener.events] == [("a", "already complete")]


def test_a_model_that_the_first_process_uses_alone_waits_for_no_other(
    make: Make, finished: Path, listener: Any, tmp_path: Path
) -> None:
    """It is the first stage of the run, so that torch's group is not joined yet."""
    alone = make("a", "answer_alone", processes=2, together=False, model=finished / "sft" / "checkpoint")
    execute([alone, make("b", "write_ranks", "a", processes=2)], jobs=1, listener=listener)
    assert texts_of(tmp_path / "run") == {"a": "Completion", "b": "2 by rank 0"}


@pytest.mark.parametrize(
    ("rank", "how", "kind", "said"),
    [
        ("1", "killed", RedpencilError, r"^rank 1 of 2 of the stage a died \(signal SIGKILL\)"),
        ("1", "error", RedpencilError, "^data.jsonl: no good"),
        ("1", "crash", RuntimeError, "^ZeroDivisionError: by nothing"),
    ],
)
def test_a_process_that_ends_while_the_other_waits_for_it_is_the_error(
    rank: str, how: str, kind: type[Exception], said: str, make: Make, listener: Any, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said) as caught:
        execute([make("a", "break_off", processes=2, rank=rank, how=how)], jobs=1, listener=listener)
    assert listener.of("a") == ["started", "progress", "failed"]
    if how == "killed":
        assert isinstance(caught.value, RedpencilError)
        assert "the same command continues the run" in str(caught.value.hint)
        execute([make("a", "write_ranks", processes=2)], jobs=1, listener=listener)
        assert texts_of(tmp_path / "run") == {"a": "2 by rank 0"}


def test_an_error_that_all_processes_have_is_told_once(make: Make, listener: Any) -> None:
    with pytest.raises(RedpencilError, match="no good"):
        execute([make("a", "fail", processes=3)], jobs=1, listener=listener)
    assert listener.of("a") == ["started", "failed"]
    assert len(listener.stages("failed")) == 1


@pytest.mark.parametrize(("processes", "rank"), [(1, "0"), (2, "1")])
def test_a_training_in_workers_that_is_asked_to_stop_saves_its_state_and_the_next_run_continues_it(
    processes: int, rank: str, make: Make, listener: Any, tmp_path: Path
) -> None:
    """One process is asked, in the middle of step 7; all stop after it, and no other stage starts."""
    plan = [make("a", "train", processes=processes, rank=rank), make("b", "write", "a", processes=processes)]
    with pytest.raises(Stopped, match="a has stopped after step 7 of 100, and saved its state"):
        execute(plan, jobs=2, listener=listener)
    assert listener.of("a") == ["started", "progress", "stopped"]
    assert listener.of("b") == []
    assert [path.name for path in saved_states(tmp_path / "run" / "a.partial")] == ["step-7"]
    listener.events.clear()
    execute(plan, jobs=2, listener=listener)
    assert [event.done for event in listener.events if event.note == "begun"] == [7]
    assert texts_of(tmp_path / "run") == {"a": "12", "b": "b"}
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "a")] == list(range(1, 13))
