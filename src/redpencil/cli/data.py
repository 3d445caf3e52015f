"""`respond`, `edit` and `align`: from prompts to tokenised pairs."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redpencil.cli.options import (
    DeviceOption,
    RecipeOption,
    SeedOption,
    SetOption,
    TemplateOption,
    codec_of,
    examples,
    runtime_of,
    settings,
)
from redpencil.cli.output import check_out_file, console, naming, say, say_skipped
from redpencil.cli.progress import working
from redpencil.config import AlignConfig, Recipe, WorldConfig
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, EditOutcome, Pair, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import derive_seed

if TYPE_CHECKING:
    from redpencil.models.text import Codec
    from redpencil.providers.base import Provider

app = typer.Typer(rich_markup_mode="rich")
PANEL = "Data"


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil respond --policy runs/q/sft/checkpoint --prompts prompts.jsonl --out responses.jsonl",
        "redpencil respond --policy sft --prompts p.jsonl --out r.jsonl --samples-per-prompt 2 --seed 7",
    ),
)
def respond(
    policy: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint of the policy.")],
    prompts: Annotated[Path, typer.Option(metavar="JSONL", help="Prompts.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the responses go.")],
    samples_per_prompt: Annotated[int, typer.Option(min=1, metavar="N", help="Responses to each prompt.")] = 1,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Let a policy answer prompts."""
    config = settings(recipe, set_, device=device, seed=seed, template=template)
    check_out_file(out, prompts)
    wanted = _repeated(list(read_jsonl(prompts, Prompt)), samples_per_prompt)

    from redpencil.models.respond import respond as answer

    codec, runtime = codec_of(config, policy), runtime_of(config)
    with working("respond") as progress, naming(prompts):
        responses, skipped = answer(
            policy,
            wanted,
            config=config.sampling,
            codec=codec,
            runtime=runtime,
            seed=config.seeds[0],
            model_name=str(policy),
            progress=progress,
        )
    say_skipped({"prompts longer than sampling.max_prompt_length": skipped})
    say(f"{write_jsonl(out, responses)} responses in {out}")


def _repeated(prompts: list[Prompt], times: int) -> list[Prompt]:
    """Each prompt `times` times, side by side; ids are numbered only where there are several."""
    if times == 1:
        return prompts
    return [Prompt(f"{row.id}-{number}", row.prompt, row.meta) for row in prompts for number in range(times)]


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil edit --responses responses.jsonl --provider world --out edits.jsonl",
        "redpencil edit --responses responses.jsonl --provider world --out edits.jsonl --set world.edit_slip=0",
    ),
)
def edit(
    responses: Annotated[Path, typer.Option(metavar="JSONL", help="Responses to edit.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the edits go.")],
    provider: Annotated[str, typer.Option(metavar="NAME", help="Who edits: world, the small world's scripted editor.")],
    template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Request with {question}, {input}, {response}. Default: the paper's Figure 2."
        ),
    ] = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
) -> None:
    """Ask an editor for a minimal edit of each response (section 2.1)."""
    from redpencil.editing.edit import edit_responses
    from redpencil.editing.prompt import FIGURE_2, read_template

    config = settings(recipe, set_, seed=seed)
    check_out_file(out, responses, template)
    request = FIGURE_2 if template is None else read_template(template)
    editor = _provider(provider, config)
    rows = list(read_jsonl(responses, Response))
    with working("edit") as progress, naming(responses):
        edits = list(edit_responses(rows, editor, request, progress))
    outcomes = Counter(row.outcome for row in edits)
    count = write_jsonl(out, edits)
    say(f"{count} edits in {out}: {', '.join(f'{number} {outcome}' for outcome, number in outcomes.items())}")
    kept = [row.meta["kept"] for row in edits if row.outcome is EditOutcome.EDITED]
    if kept:
        say(f"edited responses keep {100 * sum(kept) / len(kept):.0f} % of their words")


def _provider(name: str, config: Recipe) -> "Provider":
    from redpencil.providers.scripted import ScriptedProvider
    from redpencil.world.editor import scripted_editor
    from redpencil.world.facts import make_world

    if name != "world":
        raise RedpencilError(
            f"no provider called {name!r}",
            field="--provider",
            way_out="use `world`; for edits by people or other models, write them as JSONL and go on with `align`",
        )
    world = config.world or WorldConfig()
    seed = derive_seed(config.seeds[0], "editor")
    return ScriptedProvider(
        "world", scripted_editor(make_world(world.facts_seed), seed, world.edit_repair, world.edit_slip)
    )


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "redpencil align --edits edits.jsonl --tokenizer runs/q/sft/checkpoint --out pairs.jsonl",
        "redpencil align --edits edits.jsonl --tokenizer runs/q/sft/checkpoint --show 3 --set align.anchor=divergence",
        "redpencil align --comparisons comparisons.jsonl --tokenizer runs/q/sft/checkpoint --out pairs.jsonl",
    ),
)
def align(
    tokenizer: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint whose tokenizer cuts the texts.")],
    edits: Annotated[Path | None, typer.Option(metavar="JSONL", help="Edits.")] = None,
    comparisons: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="Preference pairs instead; they get no masks.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="JSONL", help="Where the pairs go.")] = None,
    show: Annotated[int, typer.Option(min=0, metavar="N", help="Print the first N edits with their masks.")] = 0,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
) -> None:
    """Turn edits into token masks: what changed (U1) and what did not (U0), on each side (section 2.2)."""
    if (edits is None) == (comparisons is None):
        raise typer.BadParameter("give exactly one of --edits and --comparisons")
    if out is None and not show:
        raise typer.BadParameter("give --out, --show or both")
    if show and edits is None:
        raise typer.BadParameter("--show needs --edits; comparisons have no masks")
    config = settings(recipe, set_, template=template)
    if out is not None:
        check_out_file(out, edits, comparisons)
    codec = codec_of(config, tokenizer)
    if edits is not None and show:
        _show(list(read_jsonl(edits, Edit)), show, codec, config.align)
    if out is None:
        return
    pairs, skipped = _pairs(edits, comparisons, codec, config.align)
    say_skipped(skipped)
    if not pairs:
        raise RedpencilError(
            "no pair is left", file=edits or comparisons, way_out="check the rows, or align.max_length"
        )
    say(f"{write_jsonl(out, pairs)} pairs in {out}")


def _pairs(
    edits: Path | None, comparisons: Path | None, codec: "Codec", config: AlignConfig
) -> tuple[list[Pair], Counter[str]]:
    from redpencil.training.pairs import pairs_of_comparisons, pairs_of_edits

    if edits is not None:
        return pairs_of_edits(read_jsonl(edits, Edit), codec, config)
    assert comparisons is not None
    return pairs_of_comparisons(read_jsonl(comparisons, Comparison), codec, config)


def _show(edits: Iterable[Edit], count: int, codec: "Codec", config: AlignConfig) -> None:
    """Print redline and masks of the first edits that can be learned from."""
    from redpencil.alignment.show import redline, redline_plain, show_masks
    from redpencil.alignment.tokens import TokenMasks
    from redpencil.alignment.words import diff_words
    from redpencil.training.pairs import pairs_of_edits

    shown = 0
    for row in edits:
        pairs, _ = pairs_of_edits([row], codec, config)
        if shown == count:
            break
        for pair in pairs:
            shown += 1
            blocks = diff_words(row.original, row.edited)
            masks = TokenMasks(pair.rejected_changed, pair.chosen_changed, pair.unchanged)
            drawn = redline if console.is_terminal else redline_plain
            console.print(f"{row.id}  {row.prompt}")
            console.print(drawn(row.original, row.edited, blocks))
            texts = (codec.token_texts(pair.rejected_ids), codec.token_texts(pair.chosen_ids))
            console.print(show_masks(*texts, masks), soft_wrap=False)
            console.print()
    if not shown:
        raise RedpencilError("no edit can be shown: none has a changed text", way_out="check the outcomes of the edits")
