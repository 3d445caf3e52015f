"""`plan`: what the stages of a recipe will take in memory and time, before any of them runs."""

import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli.options import DeviceOption, JsonOption, SetOption, examples, option
from redpencil.cli.output import console, memory_of, print_json, print_table
from redpencil.errors import RedpencilError
from redpencil.recipe import load_recipe, with_flags
from redpencil.report.tables import Cell

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
        "redpencil plan recipe.yaml", "redpencil plan alpacafarm-7b.yaml --device cuda --memory 80GB --config llama.json"
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
    from redpencil.pipeline.forecast import Forecast, Machine, forecast, read_model_config

    chosen = with_flags(load_recipe(recipe), set_, device=device)
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
    found: Forecast = forecast(chosen, read_model_config(folder, config, recipe.parent / "configs"), machine)
    room = MARGIN * machine.memory
    fits = all(stage.total <= room for stage in found.stages)
    if json:
        print_json({"fits": fits, "memory": machine.memory, **asdict(found)})
    else:
        _show(found, machine, room)
    if not fits:
        raise typer.Exit(1)
