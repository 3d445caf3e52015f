"""`ablate`: a recipe with one thing changed at a time, and what each change does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table as RichTable
from rich.text import Text

from redpencil.cli.options import JsonOption, examples, runtime_of
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.cli.progress import board_for, listener_of
from redpencil.recipe import load_ablations

if TYPE_CHECKING:
    from redpencil.pipeline.execute import Listener
    from redpencil.report.tables import Cell, Table
    from redpencil.results import AblationResults

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    rich_help_panel="The whole paper",
    epilog=examples(
        "redpencil ablate recipes/ablations.yaml --markdown docs/results-ablations.md",
        "redpencil ablate recipes/ablations.yaml --only loss --only 'zero penalty' --seed 41 --jobs 2",
        "redpencil ablate mine.yaml --json > ablations.json",
    ),
)
def ablate(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RECIPE.yaml", help="Base, groups of variants, seeds; see recipes/ablations.yaml."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder of all runs. Default: runs/ and its name.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", help="Seed in place of the recipe's. Repeatable.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Stages that run side by side. Default: one a CPU core, one on a GPU."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="GROUP", help="Only this group of variants. Repeatable.")
    ] = None,
    json: JsonOption = False,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the tables as Markdown.")] = None,
) -> None:
    """Run variants of one recipe and compare each with the first of its group, seed by seed.

    A stage that no change reaches is computed once and shared. Stages that are complete are not run again, so ablations
    that were stopped go on where they were.
    """
    ablations = load_ablations(recipe, seed)
    folder = out or Path("runs") / ablations.config.name
    if markdown is not None:
        check_out_file(markdown, recipe)
    seeds = ablations.base.seeds
    say(f"{ablations.config.name}: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, in {folder}")
    start = time.monotonic()

    from redpencil.pipeline.ablation import run_ablations
    from redpencil.report.ablation import write_html, write_markdown

    runtime_of(ablations.base)  # A device that is not there is found out now, not in the first stage that trains.
    results = run_ablations(ablations, folder, listening=_listening, jobs=jobs, only=only or ())
    say(f"finished in {time.monotonic() - start:.0f} s")
    write_html(results, folder / "report.html")
    if markdown is not None:
        write_markdown(results, markdown, f"redpencil ablate {_shown(recipe)} --markdown {_shown(markdown)}")
    if json:
        print_json(results.model_dump())
    else:
        _print(results)
    say(f"results: {folder / 'ablations.json'}")
    say(f"report:  {folder / 'report.html'}")


def _shown(path: Path) -> str:
    """A path without the folders of this machine."""
    return path.name if path.is_absolute() else path.as_posix()


@contextmanager
def _listening(total: int) -> Iterator["Listener"]:
    with board_for(total) as board:
        yield listener_of(board)


def _print(results: "AblationResults") -> None:
    from redpencil.report.ablation import groups, lead, notes

    console.print(lead(results), style="bold")
    for group in groups(results):
        for table in group.tables:
            console.print()
            console.print(table.caption, style="bold")
            console.print(_table(table), soft_wrap=False)
        for finding in group.findings:
            console.print(finding)
    console.print()
    for note in notes(results):
        console.print(f"- {note}", style="dim")


def _table(table: "Table") -> RichTable:
    shown = RichTable(box=None, pad_edge=False)
    for number, name in enumerate(table.header):
        justify: Literal["left", "right"] = "right" if number else "left"
        shown.add_column(Text(name), justify=justify, overflow="fold", min_width=0 if number else 12)
    for row in table.rows:
        shown.add_row(*map(_cell, row))
    return shown


def _cell(cell: "Cell") -> Text:
    text = Text(cell.text, style="bold" if cell.kind == "own" else "")
    return text.append(f"\n{cell.small}", style="dim") if cell.small else text
