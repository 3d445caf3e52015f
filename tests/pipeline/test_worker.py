"""A worker process by itself: lines of JSON in, lines of JSON out, and its end."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redpencil.pipeline.execute import StageSpec, execute

Make = Callable[..., StageSpec]


@pytest.fixture
def worker(toys: None) -> Iterator["subprocess.Popen[str]"]:  # noqa: ARG001
    command = [sys.executable, "-m", "redpencil.pipeline.worker"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def order(process: "subprocess.Popen[str]", spec: StageSpec) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps({"stage": spec.to_json(), "argv": ["redpencil", "run", "mine.yaml"]}) + "\n")
    process.stdin.flush()


def answers(process: "subprocess.Popen[str]", count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_it_reports_progress_and_ends_and_takes_the_next_stage(
    worker: "subprocess.Popen[str]", make: Make, tmp_path: Path
) -> None:
    order(worker, make("a", "report"))
    started, half, ended = answers(worker, 3)
    assert (started["event"]["stage"], started["event"]["happening"]) == ("a", "started")
    assert half["event"] == {"stage": "a", "happening": "progress", "done": 1, "total": 2, "note": "half"}
    assert ended == {"ended": "done"}
    assert json.loads((tmp_path / "run" / "a" / "manifest.json").read_text())["command"] == "redpencil run mine.yaml"
    order(worker, make("a", "fail"))
    assert answers(worker, 1) == [{"ended": "already complete"}]


def test_it_reports_an_error_and_takes_the_next_stage(worker: "subprocess.Popen[str]", make: Make) -> None:
    order(worker, make("a", "fail"))
    error = answers(worker, 2)[1]["error"]
    assert (error["kind"], error["problem"], error["line"]) == ("RedpencilError", "no good", 7)
    order(worker, make("a", "no_such_work"))
    error = answers(worker, 2)[1]["error"]
    assert error["kind"] == "AttributeError"
    assert "no_such_work" in error["traceback"]


def test_it_ends_in_the_middle_of_a_stage_when_its_input_closes(
    worker: "subprocess.Popen[str]", make: Make, tmp_path: Path
) -> None:
    order(worker, make("a", "tell_and_sleep", folder=tmp_path))
    answers(worker, 1)
    assert worker.stdin is not None
    worker.stdin.close()
    assert worker.wait(timeout=30) == 0
    assert not (tmp_path / "run" / "a").exists()


def test_what_a_stage_prints_does_not_get_between_the_events(
    make: Make, listener: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    execute([make("a", "print_much")], jobs=2, listener=listener)
    assert listener.of("a") == ["started", "progress", "done"]
    printed = capfd.readouterr()
    assert (printed.out, printed.err.count("printed")) == ("", 2)
