"""The load test of `benchmarks/annotation_load.py`, made short: editors at work while servers are killed."""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from redpencil.web import work
from redpencil.web.database import open_database

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "annotation_load.py"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_is_lost_or_doubled_while_servers_are_killed(kind: str, request: pytest.FixtureRequest) -> None:
    command = [sys.executable, "-W", "error", str(BENCHMARK), "--editors=8", "--items=60", "--kills=2", "--json"]
    command += [f"--on={kind}"]
    if kind == "postgresql":
        command += [f"--database={request.getfixturevalue('postgres_url')}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (outcome,) = json.loads(done.stdout)
    assert outcome["database"] == kind
    assert outcome["submissions"] >= 120
    assert outcome["interrupted"] > 0
    wrong = ("lost", "doubled", "texts_wrong", "items_wrong", "drafts_wrong", "busy")
    assert [outcome[name] for name in wrong] == [0] * 6
    assert outcome["problems"] == []
    assert 0 < outcome["draft_p50_ms"] <= outcome["draft_p99_ms"]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("annotation_load", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["annotation_load"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_what_is_lost_doubled_or_changed_is_found(benchmark: ModuleType, tmp_path: Path) -> None:
    options = argparse.Namespace(editors=1, items=1, editors_per_item=1, servers=1, kills=0, seed=0)
    place = str(tmp_path / "edits.db")
    benchmark.prepare(place, options)
    engine = open_database(place)
    task = work.next_task(engine, 1, now=time.time())
    assert task is not None
    sent = work.Submission("edited", "an edit")
    done = work.submit(engine, 1, task.assignment_id, task.version, sent, now=time.time())
    engine.dispose()

    def compared(submissions: dict[int, tuple[str, str]], draft: str, *taken_back: int) -> tuple[int, ...]:
        ledger = benchmark.Ledger(1, standing=submissions, drafts={task.assignment_id: draft})
        ledger.taken_back.update(taken_back)
        found = benchmark.compare(place, ledger, 1.0, options)
        assert found.sound == (found.lost + found.doubled + found.texts_wrong + found.drafts_wrong == 0)
        return found.lost, found.doubled, found.texts_wrong, found.drafts_wrong

    number = done.submission_id
    assert compared({number: ("edited", "an edit")}, "an edit") == (0, 0, 0, 0)
    assert compared({number: ("edited", "an edit"), 7: ("edited", "x")}, "an edit") == (1, 0, 0, 0)
    assert compared({}, "an edit") == (0, 1, 0, 0)
    assert compared({number: ("edited", "another")}, "an edit") == (0, 0, 1, 0)
    assert compared({number: ("edited", "an edit")}, "a newer draft") == (0, 0, 0, 1)
    assert compared({number: ("edited", "an edit")}, "an edit", 7) == (1, 0, 0, 0)
    options.editors_per_item = 2
    assert not benchmark.compare(
        place, benchmark.Ledger(2, standing={number: ("edited", "an edit")}), 1.0, options
    ).sound
