"""Rooms that only read, count or draw start without torch: loading it takes seconds and hundreds of megabytes."""

import importlib.util
import pkgutil
import subprocess
import sys

import pytest

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
    "redpencil.cli",
    *(f"redpencil.pipeline.{name}" for name in ("context", "execute", "plan", "run", "worker")),
)


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
