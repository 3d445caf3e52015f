"""Processes that work together: what the first one decides, which of them speaks, and whether they see one disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from redpencil.errors import RedpencilError
from redpencil.pipeline import group as module
from redpencil.pipeline.group import Group, first_writes, group

SCRIPT = """
import json, os, sys, time
from pathlib import Path
from redpencil.errors import RedpencilError
from redpencil.pipeline import group as module
module._SIGHT = 2.0
ours, done, said = module.group(), [], {}

def work(value):
    time.sleep(0.3)
    done.append(value)
    return value

def fail(error):
    raise error

def caught(call):
    try:
        return call()
    except Exception as error:
        return [type(error).__name__, str(error), ours.speaks_of(error)]

said["values"] = [ours.on_first(lambda: work(value)) for value in (True, "text", 3, None, {"a": [1]})]
said["mistake"] = caught(lambda: ours.on_first(lambda: fail(RedpencilError("no good", file="a.jsonl", hint="mend it"))))
said["crash"] = caught(lambda: ours.on_first(lambda: 1 / 0))[:2]
said["same disk"] = caught(lambda: ours.check_shared(Path(sys.argv[1]) / "new"))
said["two disks"] = caught(lambda: ours.check_shared(Path("out")))
said["path"] = str(module.first_writes(Path("rows.jsonl")))
said["done"] = done
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What three processes found, each in a working folder of its own."""
    folder = tmp_path_factory.mktemp("three")
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {"WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    started = []
    for rank in range(3):
        place = folder / str(rank)
        place.mkdir()
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(folder)],
                env={**os.environ, **shared, "RANK": str(rank)},
                cwd=place,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    return [json.loads(process.communicate(timeout=240)[0]) for process in started]


def test_all_get_what_the_first_one_found_and_only_it_did_the_work(three: list[dict[str, Any]]) -> None:
    values = [True, "text", 3, None, {"a": [1]}]
    assert [found["values"] for found in three] == [values] * 3
    assert [found["done"] for found in three] == [values, [], []]
    assert [found["path"] for found in three] == ["rows.jsonl", os.devnull, os.devnull]


def test_all_get_its_error_and_one_of_them_reports_it(three: list[dict[str, Any]]) -> None:
    kinds = {tuple(found["mistake"][:2]) for found in three}
    assert kinds == {("RedpencilError", "a.jsonl: no good\n  hint: mend it")}
    assert sum(found["mistake"][2] for found in three) == 1
    assert [found["crash"][0] for found in three] == ["ZeroDivisionError", "RuntimeError", "RuntimeError"]
    assert all("division by zero" in found["crash"][1] for found in three)


def test_a_folder_that_is_not_the_same_for_all_is_refused_by_all(three: list[dict[str, Any]]) -> None:
    assert [found["same disk"] for found in three] == [None] * 3
    for found in three:
        kind, text, _ = found["two disks"]
        assert kind == "RedpencilError"
        assert "rank 1 of 3 on" in text
        assert "rank 2 of 3 on" in text
        assert "rank 0 of 3" not in text
        assert "on a file system that all machines share" in text


@pytest.mark.parametrize(
    "variables",
    [{}, {"WORLD_SIZE": "4"}, {"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}],
)
def test_a_process_by_itself_is_first_and_asks_nobody(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in module.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    alone = group.__wrapped__()
    assert (alone, alone.first) == (Group(), True)
    assert alone.on_first(lambda: {1: "not JSON"}) == {1: "not JSON"}
    assert alone.speaks_of(ValueError())
    alone.check_shared(tmp_path / "not made")
    assert list(tmp_path.iterdir()) == []
    assert first_writes(Path("a")) == Path("a")


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "many")])
def test_ranks_that_cannot_be_are_refused(rank: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RedpencilError, match=f"RANK={rank} and WORLD_SIZE={size}") as caught:
        group.__wrapped__()
    assert "torchrun" in str(caught.value.hint)
