"""`respond`, `align` and `audit`: responses of a policy, edits as token masks, and a survey of a set of edits."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from redpencil.alignment.spacing import respaced_note
from redpencil.alignment.tokens import TokenMasks
from redpencil.audit.audit import Audit, Example, audit_edits
from redpencil.audit.findings import findings
from redpencil.audit.rules import MIN_KEPT
from redpencil.cli.options import (
    JsonOption,
    ModelOptions,
    RecipeOption,
    SetOption,
    TemplateOption,
    VerifyOption,
    codec_of,
    examples,
    option,
    settings,
    setup_of,
    warn_of,
    with_options,
)
from redpencil.cli.output import (
    DASH,
    check_out_file,
    console,
    print_json,
    print_redline,
    print_table,
    say,
    say_skipped,
    watched,
    working,
)
from redpencil.config.data import PairKind
from redpencil.config.training import AlignConfig
from redpencil.digests import check_written
from redpencil.errors import RedpencilError, naming
from redpencil.files import work_beside
from redpencil.pipeline.group import first_writes
from redpencil.records import Comparison, Edit, Pair, Prompt, count_lines, read_jsonl, write_jsonl
from redpencil.report.audit import EXAMPLE_TITLES, audit_tables, lead, summary, write_audit
from redpencil.report.tables import Cell
from redpencil.report.terminal import masks_legend, show_masks
from redpencil.runs import Progress

if TYPE_CHECKING:  # loads torch
    from redpencil.models.codec import Codec

app = typer.Typer()


@app.command(
    epilog=examples(
        "redpencil respond --policy runs/q/sft/checkpoint --prompts prompts.jsonl --out responses.jsonl",
        "redpencil respond --policy sft --prompts p.jsonl --out r.jsonl --samples-per-prompt 2 --seed 7",
    )
)
@with_options
def respond(
    policy: Annotated[Path, option("FOLDER", "Checkpoint of the policy.")],
    prompts: Annotated[Path, option("JSONL", "Prompts.")],
    out: Annotated[Path, option("JSONL", "Where the responses go.")],
    samples_per_prompt: Annotated[int, option("N", "Responses to each prompt.", min=1)] = 1,
    *,
    options: ModelOptions,
) -> None:
    """Let a policy answer prompts."""
    config = options.settings()
    out = first_writes(out)
    check_out_file(out, prompts)
    rows = _repeated(list(read_jsonl(prompts, Prompt)), samples_per_prompt)

    from redpencil.models import sampling

    setup = setup_of(config, policy)
    with work_beside(out) as kept:
        with working("respond") as progress, naming(prompts):
            responses, skipped = sampling.respond(
                setup.sampler(policy, kept),
                rows,
                config=setup.sampling,
                seed=config.seeds[0],
                model_name=str(policy),
                progress=progress,
            )
        say_skipped({"prompts longer than sampling.max_prompt_length": skipped})
        say(f"{write_jsonl(out, responses)} responses in {out}")


def _repeated(prompts: list[Prompt], times: int) -> list[Prompt]:
    """Repeat each prompt `times` times in a row, with numbered ids if there are several."""
    if times == 1:
        return prompts
    return [Prompt(f"{row.id}-{number}", row.prompt, row.meta) for row in prompts for number in range(times)]


@app.command(
    epilog=examples(
        "redpencil align --edits edits.jsonl --tokenizer runs/q/sft/checkpoint --out pairs.jsonl",
        "redpencil align --edits edits.jsonl --tokenizer runs/q/sft/checkpoint --show 3 --set align.anchor=divergence",
        "redpencil align --comparisons comparisons.jsonl --tokenizer runs/q/sft/checkpoint --out pairs.jsonl",
    )
)
def align(
    tokenizer: Annotated[Path, option("FOLDER", "Checkpoint whose tokenizer is used.")],
    edits: Annotated[Path | None, option("JSONL", "Edits.")] = None,
    comparisons: Annotated[
        Path | None, option("JSONL", "Preference pairs instead of edits; they get no masks.")
    ] = None,
    out: Annotated[Path | None, option("JSONL", "Where the pairs go.")] = None,
    show: Annotated[int, option("N", "Print the first N edits with their masks.", min=0)] = 0,
    hunks: Annotated[
        bool, typer.Option("--hunks", help="A pair of each change of an edit, the text before it and behind it.")
    ] = False,
    texts: Annotated[
        bool, typer.Option("--texts", help="Keep the texts in the pairs too, for `redpencil distill`.")
    ] = False,
    template: TemplateOption = None,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    _verify: VerifyOption = False,
) -> None:
    """Turn edits into pairs of token sequences, with masks that mark which tokens an edit changed.

    Each side of a pair, the original and the edited text, has a mask of its own. The paper (section 2.2) and --show
    call the changed tokens U1, and the unchanged ones, which both sides share, U0.
    """
    if (edits is None) == (comparisons is None):
        raise typer.BadParameter("give exactly one of --edits and --comparisons")
    if out is None and not show:
        raise typer.BadParameter("give --out, --show or both")
    if show and edits is None:
        raise typer.BadParameter("--show needs --edits; comparisons have no masks")
    if edits is None and (hunks or texts):
        raise typer.BadParameter("--hunks and --texts need --edits")
    if hunks and texts:
        raise typer.BadParameter("give one of --hunks and --texts")
    config = settings(recipe, set_, template=template)
    if out is not None:
        check_out_file(out, edits, comparisons)
    check_written(tokenizer)
    codec = codec_of(config, tokenizer)
    warn_of(codec)
    if edits is not None and show:
        _show(list(read_jsonl(edits, Edit)), show, codec, config.align)
    if out is None:
        return
    source = edits or comparisons
    assert source is not None
    kind: PairKind = "hunks" if hunks else "edit_texts" if texts else "edits"
    skipped: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    with working("align") as progress, naming(source):
        pairs = _pairs(edits, comparisons, codec, config.align, skipped, progress, kind)
        first = next(pairs, None)
        count = 0 if first is None else write_jsonl(out, _counted(chain([first], pairs), counts))
    say_skipped(skipped)
    if counts["respaced"]:
        say(f"{respaced_note(counts['respaced'])} (--set align.restore_spacing=false leaves it)")
    if first is None:
        raise RedpencilError("no pair is left", file=source, hint="check the rows, or align.max_length")
    say(f"{count} pairs in {out}")


def _counted(pairs: Iterable[Pair], counts: Counter[str]) -> Iterator[Pair]:
    """Pass pairs on, and count those whose edit got back white space of its original."""
    from redpencil.training.pairs import is_respaced

    for pair in pairs:
        counts["respaced"] += is_respaced(pair)
        yield pair


def _pairs(
    edits: Path | None,
    comparisons: Path | None,
    codec: "Codec",
    config: AlignConfig,
    skipped: Counter[str],
    progress: Progress,
    kind: PairKind,
) -> Iterator[Pair]:
    """Read the pairs of a file, with progress in lines."""
    from redpencil.training.pairs import pairs_of_comparisons, stream_pairs_of_edits

    if edits is not None:
        yield from stream_pairs_of_edits(watched(edits, Edit, progress), codec, config, skipped, kind)
    elif comparisons is not None:
        pairs, reasons = pairs_of_comparisons(watched(comparisons, Comparison, progress), codec, config)
        skipped.update(reasons)
        yield from pairs


def _show(edits: Iterable[Edit], count: int, codec: "Codec", config: AlignConfig) -> None:
    """Print the first `count` edits that give a pair, with redline and masks."""
    from redpencil.training.pairs import pairs_of_edits

    printed = 0
    skipped: Counter[str] = Counter()
    for row in edits:
        pairs, reasons = pairs_of_edits([row], codec, config)
        skipped.update(reasons)
        if printed == count:
            break
        if pairs and not printed:
            say(masks_legend(config.anchor))
        for pair in pairs:
            printed += 1
            masks = TokenMasks(pair.rejected_changed, pair.chosen_changed, pair.unchanged)
            console.print(f"{row.id}  {row.prompt}")
            print_redline(row.original, row.edited)
            texts = (codec.token_texts(pair.rejected_ids), codec.token_texts(pair.chosen_ids))
            console.print(show_masks(*texts, masks), soft_wrap=False)
            console.print()
    if not printed:
        every = ", ".join(f"{count:,} {reason}" for reason, count in skipped.items())
        raise RedpencilError(f"no edit can be shown: none gives a pair ({every})", hint="check the edits")


@app.command(
    epilog=examples(
        "redpencil audit edits.jsonl",
        "redpencil audit first.jsonl second.jsonl --html audit.html",
        "redpencil audit edits.jsonl --json --examples 0 > audit.json",
    )
)
def audit(
    edits: Annotated[list[Path], typer.Argument(metavar="EDITS...", help="Files of edits, taken together.")],
    html: Annotated[Path | None, option("FILE", "Also write the audit as a page.")] = None,
    json: JsonOption = False,
    min_kept: Annotated[
        float | None,
        option(
            "SHARE", "Count an edit as rewritten if it keeps a smaller share of the words. Default: 0.25.", min=0, max=1
        ),
    ] = None,
    shown: Annotated[
        int, option("N", "Examples to show of each finding; 0 shows none.", "--examples", min=0, max=100)
    ] = 2,
) -> None:
    """Check a set of edits before a model learns from them.

    Reports how much edits keep, where they change a response, how lengths change, which edits contradict each other,
    and the habits of each editor.
    """
    for path in edits:
        _check_file(path)
    if html is not None:
        check_out_file(html, *edits)
    limit = MIN_KEPT if min_kept is None else min_kept
    with working("audit") as progress:
        result = audit_edits(
            lambda: chain.from_iterable(read_jsonl(path, Edit) for path in edits),
            min_kept=limit,
            examples=shown,
            total=sum(map(count_lines, edits)),
            progress=progress,
        )
    if html is not None:
        write_audit(result, html, [path.name for path in edits])
        say(f"the page: {html}")
    if json:
        print_json({"findings": [asdict(finding) for finding in findings(result)], **asdict(result)})
    else:
        _print_audit(result)


def _check_file(path: Path) -> None:
    """Refuse a pipe, as rows are read twice."""
    if path.exists() and not path.is_file():
        raise RedpencilError("it is not a plain file", file=path, hint="write the edits into a file and give that")


def _print_audit(result: Audit) -> None:
    sentences = findings(result)
    console.print(summary(result))
    console.print(lead(sentences), style="bold")
    for finding in sentences:
        console.print(Text.assemble(("! ", "bold yellow") if finding.attention else "- ", finding.sentence))
        if finding.attention:
            console.print(Text(f"  {finding.advice}", style="dim"))
    for table in audit_tables(result).values():
        rows = [] if table is None else [_texts(row) for row in table.rows if _has_figures(row)]
        if table is not None and rows:
            console.print()
            print_table(table.header, rows, caption=table.caption)
    for name, title in EXAMPLE_TITLES.items():
        for number, case in enumerate(result.examples.get(name, ())):
            if not number:
                console.print()
                console.print(title, style="bold")
            for example in case:
                _print_example(example)


def _has_figures(row: Sequence[Cell]) -> bool:
    """Return whether a row has any figure but zeros."""
    return any(cell.text.strip("0.% ") not in ("", DASH) for cell in row[1:])


def _texts(row: Sequence[Cell]) -> list[str]:
    first, *others = row
    return [f"{first.text} ({first.small})" if first.small else first.text, *(cell.text for cell in others)]


def _print_example(example: Example) -> None:
    by = f", {example.editor}" if example.editor else ""
    console.print(Text(f"{example.id} ({example.outcome}{by})  {example.prompt}", style="dim"))
    print_redline(example.original, example.edited)
