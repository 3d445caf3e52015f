"""`evaluate reward`: reward models under the microscope (Table 2, and what it leaves out)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table as RichTable
from rich.text import Text

from redpencil.cli.names import short_names
from redpencil.cli.options import (
    DeviceOption,
    JsonOption,
    RecipeOption,
    SetOption,
    examples,
    named_codec,
    runtime_of,
    settings,
)
from redpencil.cli.output import check_out_file, console, print_json, say
from redpencil.cli.progress import working
from redpencil.config import Recipe
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Pair, read_jsonl

if TYPE_CHECKING:
    from redpencil.evaluation.reward_eval import RewardEvals, TestKind, WorstPair
    from redpencil.models.checkpoints import RewardModel
    from redpencil.pipeline.reward_eval import Held
    from redpencil.report.tables import Table

SHOWN: Final = 3
"""Worst pairs of a model and test set in the terminal."""
_WORD: Final = 7
"""Characters of a word of a header that are kept on one line."""
_IN_TERMINAL: Final = ("type", "size")
_WITH_INTERVALS: Final = ("accuracy", "rewardbench", "localisation")

app = typer.Typer(rich_markup_mode="rich")
JsonlFiles = list[Path] | None


@app.command(
    epilog=examples(
        "redpencil evaluate reward --model reward/checkpoint --edits edits.jsonl --html microscope.html",
        "redpencil evaluate reward --model one/checkpoint --model two/checkpoint "
        "--edits edits.jsonl --comparisons comparisons.jsonl --json",
        "redpencil evaluate reward --model reward/checkpoint --rewardbench filtered.parquet",
        "redpencil evaluate reward --model reward/checkpoint --pairs align/edits_test.jsonl",
    ),
)
def reward(
    model: Annotated[list[Path], typer.Option(metavar="FOLDER", help="Reward checkpoint. Repeatable.")],
    edits: Annotated[JsonlFiles, typer.Option(metavar="JSONL", help="Held-out edits. Repeatable.")] = None,
    comparisons: Annotated[JsonlFiles, typer.Option(metavar="JSONL", help="Held-out comparisons. Repeatable.")] = None,
    rewardbench: Annotated[
        JsonlFiles, typer.Option(metavar="FILE", help="Rows of RewardBench: JSONL, JSON, CSV or Parquet. Repeatable.")
    ] = None,
    pairs: Annotated[
        JsonlFiles, typer.Option(metavar="JSONL", help="Held-out pairs that `align` wrote. Repeatable.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write it all as a page.")] = None,
    shown: Annotated[
        int,
        typer.Option("--examples", min=0, max=100, metavar="N", help="Worst pairs of each type of edit to keep."),
    ] = 5,
    json: JsonOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
) -> None:
    """Look into reward models on held-out edits and preferences.

    Accuracy of each model on each set, beside the rules that the shorter or the longer text wins; calibration;
    accuracy by type and size of the edit; whether low token rewards fall on what was edited away or marked as an error
    by people; drift of unchanged tokens; correlation with length; and the worst pairs.
    """
    from redpencil.pipeline.reward_eval import examine

    files: dict[TestKind, list[Path]] = {
        "edits": edits or [], "comparisons": comparisons or [], "pairs": pairs or [], "rewardbench": rewardbench or []
    }  # fmt: skip
    if not any(files.values()):
        raise typer.BadParameter("give --edits, --comparisons, --rewardbench or --pairs")
    config = settings(recipe, set_, device=device)
    if html is not None:
        check_out_file(html, *(path for paths in files.values() for path in paths))
    held = _held(files)
    loaders: dict[str, Callable[[], RewardModel]] = {
        name: partial(_load, folder, config) for name, folder in short_names(model).items()
    }
    with working("microscope") as progress:
        found = examine(loaders, held, config.align, examples=shown, progress=progress)
    if html is not None:
        from redpencil.report.reward_eval import write_reward_eval

        write_reward_eval(found, html)
        say(f"the page: {html}")
    if json:
        from redpencil.evaluation.reward_eval import to_json

        print_json(to_json(found))
    else:
        _print(found)


def _load(folder: Path, config: Recipe) -> "RewardModel":
    from redpencil.models.checkpoints import load_reward_model

    return load_reward_model(folder, runtime_of(config), codec=named_codec(config, folder))


def _held(files: "Mapping[TestKind, Sequence[Path]]") -> "list[Held]":
    from redpencil.pipeline.reward_eval import Held

    kinds = [(kind, path) for kind, paths in files.items() for path in paths]
    names = {path: name for name, path in short_names([path for _, path in kinds]).items()}
    return [Held(names[path], kind, _rows(kind, path), path) for kind, path in kinds]


def _rows(kind: "TestKind", path: Path) -> "list[Edit] | list[Comparison] | list[Pair]":
    if kind == "edits":
        return list(read_jsonl(path, Edit))
    if kind == "pairs":
        return list(read_jsonl(path, Pair))
    return list(read_jsonl(path, Comparison)) if kind == "comparisons" else _reward_bench(path)


def _reward_bench(path: Path) -> list[Comparison]:
    from redpencil.formats.base import Kind
    from redpencil.formats.datasets import open_source
    from redpencil.formats.reading import Tally, Wanted, read_records
    from redpencil.formats.rewardbench import REWARDBENCH

    # Its ids are numbers of a bigger collection and of no use here.
    wanted = Wanted(REWARDBENCH, Kind.COMPARISONS, drop=frozenset({"id"}))
    with open_source(str(path)) as source, _without_flags_of_imports():
        rows = list(read_records(source, wanted, Tally(), lambda _: None))
    return [row for row in rows if isinstance(row, Comparison)]


@contextmanager
def _without_flags_of_imports() -> Iterator[None]:
    """Another hint for an error that names flags of `import`, which this command does not have."""
    try:
        yield
    except RedpencilError as error:
        if "--" not in (error.hint or ""):
            raise
        hint = "give rows as RewardBench has them: prompt, chosen, chosen_model, rejected, rejected_model, subset"
        raise RedpencilError(error.problem, file=error.file, line=error.line, field=error.field, hint=hint) from None


def _print(found: "RewardEvals") -> None:
    from redpencil.report.reward_eval import edit_tests, group_table, reward_eval_tables

    for name, table in reward_eval_tables(found).items():
        if table is not None:
            _print_table(table, small=name in _WITH_INTERVALS)
    for test in edit_tests(found):
        for key in _IN_TERMINAL:
            _print_table(group_table(found, test, key), of=test)
        for name, model in found.models.items():
            errors = model.readings[test].errors
            worst = (
                sorted((p for pairs in errors.worst.values() for p in pairs), key=lambda p: p.margin) if errors else []
            )
            if worst:
                console.print(f"\nWorst pairs of {test} for {name}", style="bold")
            for pair in worst[:SHOWN]:
                _print_pair(pair)


def _print_table(table: "Table", *, of: str = "", small: bool = False) -> None:
    """A table; the second line of a cell stands in brackets, beyond the first column only if `small`."""
    console.print()
    console.print(f"{table.caption}: {of}" if of else table.caption, style="bold")
    shown = RichTable(box=None, pad_edge=False)
    for number, name in enumerate(table.header):
        longest = max((len(word) for word in name.split()), default=0)
        shown.add_column(
            Text(name), justify="right" if number else "left", overflow="fold", min_width=min(longest, _WORD)
        )
    for row in table.rows:
        cells = (
            f"{cell.text} ({cell.small})" if cell.small and (small or not column) else cell.text
            for column, cell in enumerate(row)
        )
        shown.add_row(*map(Text, cells))
    console.print(shown, soft_wrap=False)
    for note in table.notes:
        console.print(Text(note, style="dim"))


def _print_pair(pair: "WorstPair") -> None:
    from redpencil.alignment.words import diff_words
    from redpencil.report.reward_eval import about_pair
    from redpencil.report.terminal import redline, redline_plain

    drawn = redline if console.is_terminal else redline_plain
    blocks = diff_words(pair.original, pair.edited)
    console.print(Text(f"{pair.margin:+.3f}  {pair.prompt}", style="dim"))
    console.print(drawn(pair.original, pair.edited, blocks))
    console.print(Text(about_pair(pair), style="dim"))
