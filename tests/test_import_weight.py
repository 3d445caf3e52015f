"""Rooms and commands that only read, count or draw do without torch, which takes seconds to load."""

import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from redpencil.cli.main import COMMANDS

HEAVY = ("torch", "transformers", "accelerate")
LIGHT = (
    "redpencil.errors",
    "redpencil.files",
    "redpencil.sections",
    "redpencil.text",
    "redpencil.records",
    "redpencil.config",
    "redpencil.recipe",
    "redpencil.runs",
    "redpencil.providers",
    "redpencil.alignment",
    "redpencil.audit",
    "redpencil.editing",
    "redpencil.formats",
    "redpencil.world",
    "redpencil.evaluation",
    "redpencil.report",
    "redpencil.web",
    *(f"redpencil.pipeline.{name}" for name in ("context", "execute", "plan", "run", "worker")),
)
EDIT = {"id": "1", "prompt": "p", "original": "it is red .", "edited": "it is blue .", "outcome": "edited"}
RESPONSE = {"id": "1", "prompt": "p", "response": "it is red ."}


def modules_of(name: str) -> list[str]:
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} does not exist"
    folders = spec.submodule_search_locations or []
    return [name, *(module.name for module in pkgutil.walk_packages(folders, name + "."))]


@pytest.mark.parametrize("name", LIGHT)
def test_every_module_of_a_light_room_imports_without_torch(name: str) -> None:
    modules = modules_of(name)
    script = (
        "import importlib, sys\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    assert not loaded, f'{module} loads {loaded}'\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def heavy_modules_after(commands: list[list[str]], folder: Path) -> dict[str, list[str]]:
    """Run commands in one process, and list the heavy modules that are loaded after each."""
    script = (
        "import json, sys\n"
        "from redpencil.cli.main import app\n"
        "loaded = {}\n"
        f"for arguments in {commands!r}:\n"
        "    try:\n"
        "        app(arguments)\n"
        "    except SystemExit as end:\n"
        "        assert not end.code, arguments\n"
        f"    loaded[' '.join(arguments)] = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "print(json.dumps(loaded), file=sys.stderr)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode == 0, run.stderr
    loaded: dict[str, list[str]] = json.loads(run.stderr.splitlines()[-1])
    assert len(loaded) == len(commands)
    return loaded


def test_help_loads_no_torch(tmp_path: Path) -> None:
    names = [
        *([name] for name in COMMANDS),
        *(["evaluate", name] for name in ("win-rate", "judge", "reward", "efficiency")),
    ]
    loaded = heavy_modules_after([["--help"], *([*name, "--help"] for name in names)], tmp_path)
    assert not any(loaded.values()), loaded


def test_the_help_page_imports_no_command(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from redpencil.cli.main import COMMANDS, app\n"
        "app(['--help'], standalone_mode=False)\n"
        "modules = {f'redpencil.cli.{entry.module}' for entry in COMMANDS.values()}\n"
        "sys.exit(', '.join(modules & sys.modules.keys()) or 0)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr


def test_commands_that_need_no_model_load_no_torch(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(json.dumps(EDIT) + "\n")
    (tmp_path / "r.jsonl").write_text(json.dumps(RESPONSE) + "\n")
    (tmp_path / "j.jsonl").write_text(
        "".join(
            json.dumps({"id": str(number), "prompt": "p", "first": "a", "second": "b", "preference": "first"}) + "\n"
            for number in range(3)
        )
    )
    lines = (
        "keys",
        "keys ppo --json",
        "audit e.jsonl --html audit.html",
        "import e.jsonl --format redpencil --out imported.jsonl",
        "export e.jsonl --format figa --out figa.jsonl",
        "annotate edits.db --responses r.jsonl --no-serve",
        "annotate edits.db --status --export back.jsonl",
        "judge --comparisons j.jsonl --judge longer --out judged.jsonl",
        "evaluate win-rate j.jsonl",
        "evaluate judge j.jsonl --against j.jsonl",
    )
    loaded = heavy_modules_after([line.split() for line in lines], tmp_path)
    assert not any(loaded.values()), loaded
