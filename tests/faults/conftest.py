"""A finished run, and the commands that are tried on damaged copies of it.

`make test` tries each fault once or a few times. `make faults` sets FAULT_ROUNDS and runs what is marked as long too,
at many places of each.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"

from typer.testing import CliRunner

from redpencil.cli.main import QUIET, app
from redpencil.config.recipe import Recipe
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import load_recipe

RECIPE = Path(__file__).parents[1] / "cli" / "tiny.yaml"
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the run waits for it, so it is slow."""
    for item in items:
        if "finished" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code, and what it said on both streams, on one line."""

    code: int
    said: str


def in_process(*arguments: str | Path) -> Outcome:
    """Run a command in this process; what is no clean error comes through as the exception that it is."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, " ".join(f"{result.stdout} {result.stderr}".split()))


@pytest.fixture(scope="session")
def redpencil() -> Callable[..., Outcome]:
    """Runs a command in this process."""
    return in_process


@pytest.fixture
def refused() -> Callable[..., str]:
    """Runs a command that must be refused with a clean message and a hint; returns what it says."""

    def run(*arguments: str | Path) -> str:
        outcome = in_process(*arguments)
        assert outcome.code == 1, outcome
        assert "error: " in outcome.said
        assert "hint: " in outcome.said
        return outcome.said

    return run


@pytest.fixture(scope="session")
def start() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts a command as a process of its own."""

    def begin(*arguments: str | Path, **options: object) -> "subprocess.Popen[str]":
        command = [str(Path(sys.executable).parent / "redpencil"), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)  # type: ignore[call-overload, no-any-return]

    return begin


@pytest.fixture(scope="session")
def recipe() -> Callable[..., Recipe]:
    """`recipe("ppo.kl_coef=1", ...)`: the recipe of the run, with overrides."""
    return lambda *overrides: load_recipe(RECIPE, overrides)


@pytest.fixture(scope="session")
def finished(recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run. Tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    run_recipe(recipe(), out, jobs=1, listener=lambda _: None)
    return out


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The recipe file of the run."""
    return RECIPE


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Draws the places of the faults; the same for each run of a test."""
    return random.Random(request.node.name)


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of every file of a folder but pages and logs that a command may write at its start."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "recipe.yaml")
    }


@pytest.fixture
def contents() -> Callable[[Path], dict[str, bytes]]:
    """`contents(folder)`: the content of every file of a folder."""
    return files_of


@pytest.fixture
def rounds() -> int:
    """How often a fault is tried."""
    return ROUNDS


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a file system of so many kilobytes."""
    mounted = []

    def make(size: int) -> Path:
        place = tmp_path / f"disk-{size}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine does not let a test mount a small disk: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", place], check=True)
