"""`plan`: what the stages of a recipe will take in memory and time, before any of them runs."""

import math
import os
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redpencil.cli.options import DeviceOption, JsonOption, SetOption, examples, option
from redpencil.cli.output import print_json, print_table, say
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe, with_flags

if TYPE_CHECKING:
    from redpencil.pipeline.forecast import Forecast, Machine

app = typer.Typer()
GIB = 2**30
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
GPU_SPEED, GPU_BANDWIDTH = 125.0, 1500.0
"""TFLOP/s and GB/s that training and sampling reach on an A100 of 80 GB: 40 % and 75 % of what it is sold with."""
CPU_BANDWIDTH = 10.0
MARGIN = 0.9
"""The share of a device's memory that a plan may fill: estimates are within 15 %."""


@app.command(
    epilog=examples(
        "redpencil plan recipe.yaml",
        "redpencil plan alpacafarm-7b.yaml --device cuda --memory 80GB --config llama.json",
    )
)
def plan(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe.")],
    config: Annotated[
        Path | None,
        option("FILE", "The model's config.json. Default: that of files.model, or a shipped one of the folder's name."),
    ] = None,
    memory: Annotated[
        str | None, option("SIZE", "Memory of one device, such as 80GB. Default: this machine's GPU, or its memory.")
    ] = None,
    speed: Annotated[
        float | None, option("TFLOPS", "Speed that training reaches on one device. Default: 125, or as measured here.")
    ] = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    json: JsonOption = False,
) -> None:
    """Say what each stage takes in memory and time, and what to change where it does not fit; nothing is run.

    It reads the recipe and the model's configuration alone: no weights, no data, no network. Rows of data are taken to
    be as long as the recipe allows. Times leave out loading, judging and waiting. Exit code 1 if a stage does not fit.
    """
    from redpencil.pipeline.forecast import Machine, forecast, read_model_config

    chosen = with_flags(load_recipe(recipe, set_ or ()), {"device": device})
    folder = recipe.parent / "model" if chosen.files is None else chosen.files.model
    if chosen.files is None and config is None:
        raise RedpencilError(
            "a recipe of the small world makes its model when it runs, and needs no plan",
            file=recipe,
            field="files",
            hint="name the config.json of a model with --config to plan it all the same",
        )
    gpu = chosen.compute.device.startswith("cuda") or (chosen.compute.device == "auto" and _gpus() > 0)
    machine = Machine(
        gpu,
        _bytes(memory) if memory is not None else _memory(gpu=gpu),
        1e12 * (speed if speed is not None else GPU_SPEED if gpu else _measured_speed(chosen.compute.threads or 1)),
        1e9 * (GPU_BANDWIDTH if gpu else CPU_BANDWIDTH),
    )
    found = forecast(chosen, read_model_config(folder, config, recipe.parent / "configs"), machine, MARGIN)
    room = MARGIN * machine.memory
    fits = all(stage.total <= room for stage in found.stages)
    if json:
        print_json({"fits": fits, "memory": machine.memory, **asdict(found)})
    else:
        _show(found, machine, room)
    if not fits:
        raise typer.Exit(1)


def _bytes(size: str) -> float:
    """Read a size such as 80GB, 80 GiB or 512M; all letters count in powers of 1024, as GPUs are sold."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{size!r} is no size of a memory; write it like 80GB", param_hint="--memory")
    return float(match[1]) * UNITS[match[2].upper()]


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _memory(*, gpu: bool) -> float:
    """The memory of the first GPU, or of the machine."""
    import torch

    if gpu:
        if not torch.cuda.is_available():
            hint = "give the memory of the GPU that is meant, such as --memory 80GB"
            raise RedpencilError("there is no GPU here to read the memory of", field="memory", hint=hint)
        return float(torch.cuda.get_device_properties(0).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        hint = "give it, such as --memory 16GB"
        raise RedpencilError("the system does not say how much memory it has", field="memory", hint=hint) from None


def _measured_speed(threads: int) -> float:
    """Measure how many 10^12 operations a second this processor's products of matrices reach."""
    import torch

    torch.set_num_threads(threads)
    one, best = torch.ones(512, 512), math.inf
    for _ in range(3):
        start = time.perf_counter()
        one @ one
        best = min(best, time.perf_counter() - start)
    return 2 * 512**3 / best / 1e12


def _show(found: "Forecast", machine: "Machine", room: float) -> None:
    header = ("stage", "weights", "Adam", "pass", "cache", "total", "step", "all")
    rows = []
    for stage in found.stages:
        learned = stage.gradients + stage.optimizer + (0 if machine.gpu else stage.copy)
        sizes = (stage.weights + stage.gathered, learned, stage.activations, stage.kv_cache)
        total = f"{stage.total / GIB:.1f}" + ("" if stage.total <= room else " !")
        whole = "?" if stage.steps is None else _duration(stage.steps * stage.step_seconds)
        rows.append((stage.stage, *map(_size, sizes), total, _duration(stage.step_seconds), whole))
    notes = [
        "Adam: gradients, Adam's two averages"
        + ("." if machine.gpu else ", and the last good weights.")
        + " pass: the most that a forward and backward pass takes. cache: keys and values while responses are sampled, "
        "not at the same time as a pass.",
        f"GiB of one process, at {machine.memory / GIB:.0f} GiB, of which a plan fills {MARGIN:.0%}; times at "
        f"{machine.speed / 1e12:.3g} TFLOP/s. ?: data decides the number of steps, and is not there.",
    ]
    print_table(header, rows, notes=notes)
    for stage in found.stages:
        if stage.total > room:
            say(f"{stage.stage} does not fit: {stage.total / GIB:.1f} GiB")
            for name, change, after in found.advice:
                if name == stage.stage:
                    say(f"  with {change}: {after / GIB:.1f} GiB" + (", which fits" if after <= room else ""))
            if not any(name == stage.stage and after <= room for name, _, after in found.advice):
                say("  none of these is enough: train adapters (a section lora), or more processes with compute.fsdp")


def _size(size: float) -> str:
    return f"{size / GIB:.1f}" if size else "-"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
