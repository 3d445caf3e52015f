"""`doctor`: what it finds, and that it exits with 1 where something needed is missing."""

import importlib
import json
import os
import re
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from redpencil.cli import doctor


def checks(outcome: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in json.loads(outcome.out)["checks"]}


def test_a_healthy_machine(redpencil: Callable[..., Any]) -> None:
    outcome = redpencil("doctor", "--json")
    found = checks(outcome)
    assert outcome.code == 0
    assert json.loads(outcome.out)["ok"]
    assert found["torch"]["value"] == metadata.version("torch")
    assert {"python", "redpencil", "transformers", "recipe quickstart"} <= found.keys()
    assert {"GPUs that torch sees", "device `auto`", "torch threads", "CPU cores", "memory", "disk"} <= found.keys()
    assert not {"pytest", "ruff"} & found.keys()
    assert found["recipe quickstart"]["value"] == "1 seed, 3 arms"
    assert found["recipe ablations"]["value"] == "3 seeds, 16 variants"


def test_the_table_says_the_same(redpencil: Callable[..., Any]) -> None:
    text = redpencil("doctor").out
    assert "BAD" not in text
    assert f"torch                 {metadata.version('torch')}" in text


def test_a_recipe_that_does_not_validate(redpencil: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("wrld: {}\n")
    outcome = redpencil("doctor", tiny, tmp_path / "bad.yaml", "--json")
    found = checks(outcome)
    assert outcome.code == 1
    assert found[f"recipe {tiny}"]["ok"]
    bad = found[f"recipe {tmp_path / 'bad.yaml'}"]
    assert not bad["ok"]
    assert "did you mean 'world'?" in bad["hint"]
    assert "BAD" in redpencil("doctor", tmp_path / "bad.yaml").out


def test_a_missing_package(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def without_scipy(name: str) -> str:
        if name == "scipy":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_scipy)
    outcome = redpencil("doctor", "--json")
    scipy = checks(outcome)["scipy"]
    assert (outcome.code, scipy["ok"], scipy["value"]) == (1, False, "missing")
    assert scipy["hint"].startswith("pip install 'scipy")


def test_a_torch_that_does_not_load(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError(f"{name}: libgomp is missing")

    monkeypatch.setattr(importlib, "import_module", broken)
    outcome = redpencil("doctor", "--json")
    assert outcome.code == 1
    assert checks(outcome)["torch loads"]["value"] == "no: torch: libgomp is missing"


def test_a_gpu(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, get_device_name=lambda index: f"GPU {index}"
    )
    torch = SimpleNamespace(cuda=cuda, get_num_threads=lambda: 1)
    monkeypatch.setattr(importlib, "import_module", lambda _: torch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = checks(redpencil("doctor", "--json"))
    assert found["GPUs that torch sees"]["value"] == "GPU 0, GPU 1"
    assert found["device `auto`"]["value"] == "cuda in bfloat16"
    assert "OMP_NUM_THREADS=1" in found["torch threads"]["value"]


def test_too_little_of_everything(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    monkeypatch.setattr(doctor, "_memory", lambda: 0.5)
    outcome = redpencil("doctor", "--json")
    found = checks(outcome)
    assert outcome.code == 1
    assert not found["disk"]["ok"]
    assert not found["memory"]["ok"]


def test_a_system_that_does_not_tell_its_memory(redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    assert "memory" not in checks(redpencil("doctor", "--json"))


def test_extras_that_are_not_there_are_no_failure(
    redpencil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version
    extras = {"anthropic": "llm", "openai": "llm", "aiolimiter": "llm", "datasets": "data", "pyarrow": "data",
              "fastapi": "web"}  # fmt: skip
    assert extras.keys() <= checks(redpencil("doctor", "--json")).keys()

    def without(name: str) -> str:
        if name in extras:
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    outcome = redpencil("doctor", "--json")
    assert outcome.code == 0
    for name, extra in extras.items():
        found = checks(outcome)[name]
        assert (found["ok"], found["value"]) == (True, f"not installed: pip install 'redpencil[{extra}]'")
    assert re.search(r"^- +openai +not installed", redpencil("doctor").out, re.MULTILINE)
