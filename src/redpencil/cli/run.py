"""`quickstart`, `run`, `ablate` and `report`: a recipe from data to report, variants of it, and the report's page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from redpencil.cli.options import (
    DeviceOption,
    JsonOption,
    SetOption,
    VerifyOption,
    examples,
    option,
    runtime_of,
    with_options,
)
from redpencil.cli.output import Board, board_for, check_out_file, console, print_json, print_table, say
from redpencil.config.recipe import Recipe
from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.pipeline.execute import Event, Listener
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import load_ablations, load_recipe, shipped_recipe, with_flags
from redpencil.report import ablation
from redpencil.report.headline import headline
from redpencil.report.markdown import write_markdown
from redpencil.report.run_data import check_current, read_run
from redpencil.report.run_page import write_page
from redpencil.report.tables import Cell
from redpencil.results import AblationResults, parse_results
from redpencil.runs import check_layout
from redpencil.text import read_json

app = typer.Typer()
OutOption = Annotated[Path | None, option("FOLDER", "Run folder. Default: runs/ and the recipe's name.", "--out")]
JobsOption = Annotated[
    int | None,
    option(
        "N", "Stages that run at the same time. Default: CPU cores divided by compute.threads; one on a GPU.", min=1
    ),
]
SeedsOption = Annotated[list[int] | None, option("N", "Seed in place of the recipe's. Repeatable.", "--seed")]
MarkdownOption = Annotated[Path | None, option("FILE", "Also write the results as Markdown.")]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run."""

    out: OutOption = None
    jobs: JobsOption = None
    set_: SetOption = None
    seed: SeedsOption = None
    device: DeviceOption = None
    verify: VerifyOption = False
    dry_run: Annotated[
        bool, typer.Option(help="Say what would run, and what is chosen where the recipe leaves it open; run nothing.")
    ] = False
    wait: Annotated[
        bool, typer.Option(help="With people as the editor (editor.project): wait for their edits, do not stop.")
    ] = False


@app.command(
    epilog=examples("redpencil quickstart", "redpencil quickstart --seed 7 --out runs/seven --set ppo.kl_coef=0.1")
)
@with_options
def quickstart(options: RunOptions) -> None:
    """Run FIGA, APO and the whole paper on a small made-up world: minutes on two cores, no network."""
    _run(shipped_recipe("recommended"), options)


@app.command(
    epilog=examples(
        "redpencil run recipes/study.yaml",
        "redpencil run my.yaml --out runs/mine --jobs 2 --seed 1 --seed 2 --set arms.token.options.kl_coef=0.1",
        "redpencil run my.yaml --dry-run",
    )
)
@with_options
def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="The recipe; see `redpencil keys`.")],
    *,
    options: RunOptions,
) -> None:
    """Run a recipe from data to report.

    Stages that are complete with the same inputs are not run again, so the same command continues a run that was
    stopped.
    """
    _run(recipe, options)


def _run(path: Path, options: RunOptions) -> None:
    seeds = tuple(options.seed) if options.seed else None
    recipe = with_flags(load_recipe(path, options.set_ or ()), {"seeds": seeds, "device": options.device})
    if options.wait:
        recipe = _waiting(recipe)
    folder = options.out or Path("runs") / recipe.name
    say(f"{recipe.name}: {_seeds(recipe)}, in {folder}")
    if options.dry_run:
        from redpencil.pipeline.preview import preview

        for line in preview(recipe, folder):
            console.print(line, highlight=False, markup=False)
        return
    start = time.monotonic()
    runtime_of(recipe)  # A missing device is an error now, not in the first stage that trains.
    with _listening(sum(len(plan_run(recipe, folder, seed)) for seed in recipe.seeds)) as listener:
        page = run_recipe(recipe, folder, jobs=options.jobs, listener=listener, verify=options.verify)
    say(f"finished in {time.monotonic() - start:.0f} s")
    summary = headline(read_run(folder))
    console.print(summary.lead)
    for point in summary.points:
        console.print(f"- {point.topic}: {point.text}")
    console.print(f"results: {folder / 'results.json'}")
    console.print(f"report:  {page}")


def _waiting(recipe: Recipe) -> Recipe:
    if recipe.editor is None or recipe.editor.project is None:
        raise RedpencilError(
            "the recipe has no annotation project whose edits the run could wait for",
            field="--wait",
            hint="name one in editor.project, or leave --wait out",
        )
    return recipe.model_copy(update={"editor": recipe.editor.model_copy(update={"wait": True})})


def _seeds(recipe: Recipe) -> str:
    return f"seed{'s' if len(recipe.seeds) > 1 else ''} {', '.join(map(str, recipe.seeds))}"


@contextmanager
def _listening(total: int) -> Iterator[Listener]:
    with board_for(total) as board:
        yield listener_of(board)


def listener_of(board: Board) -> Listener:
    """Make a listener of the pipeline that shows its events on a board."""

    def listen(event: Event) -> None:
        if event.happening == "started":
            board.start(event.stage)
        elif event.happening == "progress":
            board.advance(event.stage, event.done, event.total, event.note)
        elif event.happening == "warning":
            board.warn(event.stage, event.note)
        elif event.happening == "note":
            board.tell(event.stage, event.note)
        else:
            board.end(event.stage, event.happening, event.note)

    return listen


@app.command(
    epilog=examples(
        "redpencil ablate recipes/ablations.yaml --markdown docs/results-ablations.md",
        "redpencil ablate recipes/ablations.yaml --only loss --only 'zero penalty' --seed 41 --jobs 2",
        "redpencil ablate mine.yaml --json > ablations.json",
    )
)
def ablate(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE.yaml", help="A base recipe, groups of variants, seeds; see recipes/ablations.yaml."
        ),
    ],
    out: Annotated[Path | None, option("FOLDER", "Folder of all runs. Default: runs/ and its name.", "--out")] = None,
    seed: SeedsOption = None,
    jobs: JobsOption = None,
    only: Annotated[list[str] | None, option("GROUP", "Only this group of variants. Repeatable.", "--only")] = None,
    json: JsonOption = False,
    markdown: MarkdownOption = None,
    verify: VerifyOption = False,
) -> None:
    """Run variants of one recipe and compare each with the first of its group, seed by seed.

    A stage that no change reaches is computed once and shared. Stages that are complete are not run again, so the same
    command continues ablations that were stopped.
    """
    ablations = load_ablations(recipe, seed)
    folder = out or Path("runs") / ablations.config.name
    if markdown is not None:
        check_out_file(markdown, recipe)
    say(f"{ablations.config.name}: {_seeds(ablations.base)}, in {folder}")
    start = time.monotonic()

    from redpencil.pipeline.ablation import run_ablations

    runtime_of(ablations.base)  # A missing device is an error now, not in the first stage that trains.
    results = run_ablations(ablations, folder, listening=_listening, jobs=jobs, only=only or (), verify=verify)
    say(f"finished in {time.monotonic() - start:.0f} s")
    ablation.write_html(results, folder / "report.html")
    if markdown is not None:
        command = f"redpencil ablate {_without_folders(recipe)} --markdown {_without_folders(markdown)}"
        ablation.write_markdown(results, markdown, command)
    if json:
        print_json(results.model_dump())
    else:
        _print_ablations(results)
    lacking = [group for group in ablations.groups if group not in results.groups]
    if lacking:
        say(f"without results here: {', '.join(lacking)}; the same command without --only has them")
    say(f"results: {folder / 'ablations.json'}")
    say(f"report:  {folder / 'report.html'}")


def _without_folders(path: Path) -> str:
    """Leave the folders of this machine out of a path."""
    return path.name if path.is_absolute() else path.as_posix()


def _print_ablations(results: AblationResults) -> None:
    console.print(ablation.lead(results), style="bold")
    for group in ablation.groups(results):
        for table in group.tables:
            console.print()
            print_table(table.header, (map(_cell, row) for row in table.rows), caption=table.caption)
        for finding in group.findings:
            console.print(finding)
    console.print()
    for note in ablation.notes(results):
        console.print(f"- {note}", style="dim")


def _cell(cell: Cell) -> Text:
    text = Text(cell.text, style="bold" if cell.kind == "own" else "")
    return text.append(f"\n{cell.small}", style="dim") if cell.small else text


@app.command(
    epilog=examples("redpencil report runs/quickstart", "redpencil report runs/study --markdown docs/results-study.md")
)
def report(
    run_folder: Annotated[
        Path, typer.Argument(metavar="RUN_FOLDER", help="Folder of a finished run, or of finished ablations.")
    ],
    markdown: MarkdownOption = None,
    _verify: VerifyOption = False,
) -> None:
    """Write the report.html of a finished run, or of finished ablations, again from the results.

    A run whose results are older than its stages, or whose stages were changed, gets no page.
    """
    of_ablations = any((run_folder / name).is_file() for name in ("ablations.json", "ablations.yaml"))
    if markdown is not None:
        check_out_file(markdown, run_folder / ("ablations.json" if of_ablations else "results.json"))
    if of_ablations:
        _report_ablations(run_folder, markdown)
        return
    run = read_run(run_folder)
    page = write_page(run, run_folder)
    console.print(headline(run).lead)
    console.print(f"report:   {page}")
    if markdown is not None:
        console.print(f"markdown: {write_markdown(run_folder, markdown)}")


def _report_ablations(folder: Path, markdown: Path | None) -> None:
    check_layout(folder)
    file, recipe = folder / "ablations.json", folder / "ablations.yaml"
    hint = f"finish them with `redpencil ablate {recipe} --out {folder}`"
    if not file.is_file():
        raise RedpencilError("these ablations are not finished", file=folder, hint=hint)
    results = parse_results(read_json(file), AblationResults, file)
    if recipe.is_file() and results.recipe_sha256 and results.recipe_sha256 != hash_input(recipe):
        raise RedpencilError("these results are older than ablations.yaml", file=folder, hint=hint)
    # Groups without results here may be of an earlier recipe, and have new stages that others share.
    for group in results.groups:
        for manifest in sorted((folder / group).glob("*/seed-*/manifest.json")):
            check_current(manifest.parent, hint=hint)
    ablation.write_html(results, folder / "report.html")
    console.print(ablation.lead(results))
    console.print(f"report:   {folder / 'report.html'}")
    if markdown is not None:
        command = f"redpencil report {_without_folders(folder)} --markdown {_without_folders(markdown)}"
        ablation.write_markdown(results, markdown, command)
        console.print(f"markdown: {markdown}")
