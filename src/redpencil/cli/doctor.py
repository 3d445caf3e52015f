"""`doctor`: what this machine has, and whether it is enough."""

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import console, print_json
from redpencil.errors import RedpencilError
from redpencil.recipe import is_ablation, load_ablations, load_recipe, shipped_recipe

app = typer.Typer(rich_markup_mode="rich")
GIB = 2**30
ENOUGH_DISK, ENOUGH_MEMORY = 1.0, 2.0
"""GiB that the quickstart can do with."""
EXTRAS = ("llm", "data", "web")
"""What people may want; the other extras are for work on redpencil itself."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `ok` is False where redpencil cannot work like this; what is `optional` may be missing."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""
    optional: bool = False


@app.command(
    rich_help_panel="Help",
    epilog=examples("redpencil doctor", "redpencil doctor my-recipe.yaml", "redpencil doctor --json"),
)
def doctor(
    recipes: Annotated[
        list[Path] | None, typer.Argument(metavar="RECIPE.yaml...", help="Recipes to check beside the shipped ones.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Look at versions, device, threads, memory, disk and recipes. Exit code 1 if something needed is missing."""
    checks = [*_versions(), *_torch(), *_machine(), *_recipes(recipes or [])]
    healthy = all(check.ok for check in checks)
    if json:
        print_json({"ok": healthy, "checks": [asdict(check) for check in checks]})
    else:
        table = Table.grid(padding=(0, 2))
        for check in checks:
            mark = Text("-", "dim") if check.optional else Text("ok", "green") if check.ok else Text("BAD", "bold red")
            table.add_row(mark, check.name, check.value + (f"\n{check.hint}" if check.hint else ""))
        console.print(table, soft_wrap=False)
    if not healthy:
        raise typer.Exit(1)


def _versions() -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Check("python", platform.python_version(), supported, "" if supported else "use Python 3.11 to 3.13")
    yield Check("redpencil", metadata.version("redpencil"))
    for requirement in metadata.requires("redpencil") or []:
        name = re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0]
        extra = re.search(r"""extra == ["'](\w+)["']""", requirement)
        if extra is not None and extra[1] not in EXTRAS:
            continue
        try:
            yield Check(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            if extra is None:
                yield Check(name, "missing", ok=False, hint=f"pip install '{requirement}'")
            else:
                yield Check(name, f"not installed: pip install 'redpencil[{extra[1]}]'", optional=True)


def _torch() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Check("torch loads", f"no: {error}", ok=False, hint="install torch anew")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(count))
    yield Check("GPUs that torch sees", names or "none")
    yield Check("device `auto`", "cuda in bfloat16" if count else "cpu in float32")
    set_by_user = os.environ.get("OMP_NUM_THREADS")
    asked = f", OMP_NUM_THREADS={set_by_user}" if set_by_user else ""
    yield Check("torch threads", f"{torch.get_num_threads()} by default{asked}; stages use the recipe's `threads`")


def _machine() -> Iterator[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("CPU cores", f"{usable} usable of {os.cpu_count()}")
    memory = _memory()
    if memory is not None:
        enough = memory >= ENOUGH_MEMORY
        hint = "" if enough else f"the quickstart wants {ENOUGH_MEMORY:g} GiB; try --jobs 1"
        yield Check("memory", f"{memory:.1f} GiB", enough, hint)
    free = shutil.disk_usage(Path.cwd()).free / GIB
    enough = free >= ENOUGH_DISK
    yield Check(
        "disk", f"{free:.1f} GiB free here", enough, "" if enough else f"free {ENOUGH_DISK:g} GiB, or use --out"
    )


def _memory() -> float | None:
    """Memory of the machine in GiB, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    except (AttributeError, ValueError, OSError):
        return None


def _recipes(given: Sequence[Path]) -> Iterator[Check]:
    try:
        shipped = sorted(shipped_recipe("quickstart").parent.glob("*.yaml"))
    except RedpencilError as error:
        yield Check("recipe quickstart", "missing", ok=False, hint=str(error))
        shipped = []
    for path in (*shipped, *given):
        name = f"recipe {path.stem if path in shipped else path}"
        try:
            yield Check(name, _contents(path))
        except RedpencilError as error:
            yield Check(name, "does not validate", ok=False, hint=str(error))


def _contents(path: Path) -> str:
    """What a recipe holds.

    Raises:
        RedpencilError: if it does not validate.
    """
    if is_ablation(path):
        ablations = load_ablations(path)
        seeds, rest = ablations.base.seeds, f"{sum(map(len, ablations.groups.values()))} variants"
    else:
        recipe = load_recipe(path)
        seeds, rest = recipe.seeds, f"{len(recipe.arms)} arms"
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}, {rest}"
