"""`run` and `quickstart`: a recipe from start to report, in one run folder."""

import time
from pathlib import Path
from typing import Annotated

import typer

from redpencil.cli.options import DeviceOption, SetOption, examples, runtime_of
from redpencil.cli.output import console, say
from redpencil.cli.progress import board_for, listener_of
from redpencil.config import Recipe
from redpencil.recipe import load_recipe, shipped_recipe, with_flags

app = typer.Typer(rich_markup_mode="rich")
PANEL = "The whole paper"
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Run folder. Default: runs/ and the recipe's name.")
]
JobsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Stages that run side by side. Default: one a CPU core, one on a GPU."),
]
SeedsOption = Annotated[
    list[int] | None, typer.Option("--seed", metavar="N", help="Seed in place of the recipe's. Repeatable.")
]


@app.command(
    rich_help_panel=PANEL,
    epilog=examples("redpencil quickstart", "redpencil quickstart --seed 7 --out runs/seven --set ppo.kl_coef=0.1"),
)
def quickstart(
    out: OutOption = None,
    jobs: JobsOption = None,
    set_: SetOption = None,
    seed: SeedsOption = None,
    device: DeviceOption = None,
) -> None:
    """Run the whole paper on the small world: minutes on two cores, no network, no data."""
    _run(shipped_recipe("quickstart"), out, jobs, set_, seed, device)


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil run recipes/study.yaml",
        "redpencil run my.yaml --out runs/mine --jobs 2 --seed 1 --seed 2 --set arms.token.options.kl_coef=0.1",
    ),
)
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe; see `redpencil keys`.")],
    out: OutOption = None,
    jobs: JobsOption = None,
    set_: SetOption = None,
    seed: SeedsOption = None,
    device: DeviceOption = None,
) -> None:
    """Run a recipe from data to report.

    Stages that are complete with the same inputs are not run again, so a run that was stopped goes on where it was.
    """
    _run(recipe, out, jobs, set_, seed, device)


def _run(
    path: Path,
    folder: Path | None,
    jobs: int | None,
    overrides: list[str] | None,
    seeds: list[int] | None,
    device: str | None,
) -> None:
    recipe = load_recipe(path, overrides or ())
    recipe = with_flags(recipe, {"seeds": tuple(seeds) if seeds else None, "device": device})
    folder = folder or Path("runs") / recipe.name
    say(f"{recipe.name}: {_seeds(recipe)}, in {folder}")
    start = time.monotonic()

    from redpencil.pipeline.plan import plan_run
    from redpencil.pipeline.run import run_recipe

    runtime_of(recipe)  # A device that is not there is found out now, not in the first stage that trains.
    total = sum(len(plan_run(recipe, folder, seed)) for seed in recipe.seeds)
    with board_for(total) as board:
        report = run_recipe(recipe, folder, jobs=jobs, listener=listener_of(board))
    say(f"finished in {time.monotonic() - start:.0f} s")
    _headline(folder)
    console.print(f"results: {folder / 'results.json'}")
    console.print(f"report:  {report}")


def _seeds(recipe: Recipe) -> str:
    return f"seed{'s' if len(recipe.seeds) > 1 else ''} {', '.join(map(str, recipe.seeds))}"


def _headline(folder: Path) -> None:
    from redpencil.report.headline import headline
    from redpencil.report.run_data import read_run

    summary = headline(read_run(folder))
    console.print(summary.lead)
    for point in summary.points:
        console.print(f"- {point.topic}: {point.text}")
