"""`respond` and `align`: from prompts to responses, and from edits to tokenised pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
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
from redpencil.cli.progress import watched, working
from redpencil.config import AlignConfig
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, Pair, Prompt, read_jsonl, write_jsonl
from redpencil.runs import Progress

if TYPE_CHECKING:
    from redpencil.models.codec import Codec

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

    from redpencil.models.checkpoints import load_policy
    from redpencil.models.sampling import HFSampler
    from redpencil.models.sampling import respond as answer

    codec, runtime = codec_of(config, policy), runtime_of(config)
    with working("respond") as progress, naming(prompts):
        responses, skipped = answer(
            HFSampler(load_policy(policy, runtime, trained=False, codec=codec)),
            wanted,
            config=config.sampling,
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
    source = edits or comparisons
    assert source is not None
    skipped: Counter[str] = Counter()
    with working("align") as progress, naming(source):
        pairs = _pairs(edits, comparisons, codec, config.align, skipped, progress)
        first = next(pairs, None)
        count = 0 if first is None else write_jsonl(out, chain([first], pairs))
    say_skipped(skipped)
    if first is None:
        raise RedpencilError("no pair is left", file=source, hint="check the rows, or align.max_length")
    say(f"{count} pairs in {out}")


def _pairs(
    edits: Path | None,
    comparisons: Path | None,
    codec: "Codec",
    config: AlignConfig,
    skipped: Counter[str],
    progress: Progress,
) -> Iterator[Pair]:
    """The pairs of a file, with progress in lines read."""
    from redpencil.training.pairs import pairs_of_comparisons, stream_pairs_of_edits

    if edits is not None:
        yield from stream_pairs_of_edits(watched(edits, Edit, progress), codec, config, skipped)
    elif comparisons is not None:
        pairs, reasons = pairs_of_comparisons(watched(comparisons, Comparison, progress), codec, config)
        skipped.update(reasons)
        yield from pairs


def _show(edits: Iterable[Edit], count: int, codec: "Codec", config: AlignConfig) -> None:
    """Print redline and masks of the first edits that can be learned from."""
    from redpencil.alignment.tokens import TokenMasks
    from redpencil.alignment.words import diff_words
    from redpencil.report.terminal import redline, redline_plain, show_masks
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
        raise RedpencilError("no edit can be shown: none has a changed text", hint="check the outcomes of the edits")
