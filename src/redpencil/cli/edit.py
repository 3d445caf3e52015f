"""`edit`: ask people's stand-ins, LLMs, for minimal edits (section 2.1 of the paper)."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redpencil.cli import providers
from redpencil.cli.edit_run import Run
from redpencil.cli.options import DeviceOption, JsonOption, RecipeOption, SeedOption, SetOption, examples, settings
from redpencil.cli.output import check_out_file, say
from redpencil.errors import RedpencilError
from redpencil.records import JsonlFile, Response

if TYPE_CHECKING:
    from redpencil.editing.edit import EditStyle
    from redpencil.editing.prompt import Primer
    from redpencil.providers.journal import Journal

INTERRUPTED = 130

app = typer.Typer(rich_markup_mode="rich")


@app.command(
    rich_help_panel="Data",
    epilog=examples(
        "redpencil edit --responses responses.jsonl --out edits.jsonl --provider anthropic --model claude-sonnet-5-5",
        "redpencil edit --responses r.jsonl --out e.jsonl --provider openai --model gpt-5-mini --dry-run",
        "redpencil edit --responses r.jsonl --out e.jsonl --provider openai --base-url http://localhost:8000/v1 "
        "--model Qwen/Qwen3-8B --concurrency 64",
        "redpencil edit --responses r.jsonl --out e.jsonl --provider local --model models/instruct",
        "redpencil edit --responses r.jsonl --out e.jsonl --provider anthropic --model claude-sonnet-5-5 "
        "--batch-out batches/edits.json",
    ),
)
def edit(
    context: typer.Context,
    responses: Annotated[Path, typer.Option(metavar="JSONL", help="Responses to edit.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the edits go.")],
    provider: providers.ProviderOption,
    model: providers.ModelOption = None,
    base_url: providers.BaseUrlOption = None,
    max_tokens: providers.MaxTokensOption = 4096,
    temperature: providers.TemperatureOption = None,
    length_parameter: providers.LengthParameterOption = None,
    extra: providers.ExtraOption = None,
    template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Request with {question}, {input}, {response}. Default: the paper's Figure 2."
        ),
    ] = None,
    primer: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Where the template's beginning of the answer goes: turn, for models that go on from it; text, at the "
            "end of the request; none. Default: text for hosted models, else turn.",
        ),
    ] = None,
    min_kept: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="SHARE", help="Ask once more for an edit that keeps a smaller share of the words."
        ),
    ] = 0.5,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="SQLite file that keeps every answer, so that none is paid for twice. Default: OUT with .journal "
            "behind it.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would be asked and what it would cost; ask nobody.")] = False,
    batch_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what is to be asked as the provider's batch files; ask nobody."),
    ] = None,
    batch_in: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Take answers from the results of a batch; ask nobody. Repeatable."),
    ] = None,
    concurrency: providers.ConcurrencyOption = 16,
    requests_per_minute: providers.RequestsPerMinuteOption = None,
    tokens_per_minute: providers.TokensPerMinuteOption = None,
    timeout: providers.TimeoutOption = 120.0,
    retries: providers.RetriesOption = 5,
    prices: providers.PricesOption = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DOLLARS",
            rich_help_panel=providers.LIMITS_PANEL,
            help="Ask nothing more when the answers of this run have cost so much.",
        ),
    ] = None,
    as_json: JsonOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
) -> None:
    """Ask an editor for a minimal edit of each response (section 2.1).

    Answers are kept in a journal. The same command again asks only for what is missing.

    Exit codes: 0 all was asked and OUT is written, rows that failed included;

    1 a mistake, or no answer at all; or --max-cost stopped it, and OUT is written;

    130 interrupted.
    """
    from redpencil.providers.limits import Limits
    from redpencil.providers.prices import load_prices

    config = settings(recipe, set_, seed=seed, device=device)
    length = providers.parse_length_parameter(
        length_parameter, provider, for_openai=batch_out is not None and base_url is None
    )
    choice = providers.Choice(provider, model, base_url, max_tokens, temperature, length, providers.parse_extra(extra))
    client = providers.hosted_client(choice)
    if client is None:
        providers.refuse_options_of_servers(context, provider)
    style = _style(template, primer, min_kept, hosted=client is not None)
    kept = None if provider == "world" and journal is None else journal or out.with_name(f"{out.name}.journal")
    _check_files(responses, [out, batch_out], kept, template, prices, *(batch_in or ()))
    if dry_run + (batch_out is not None) + bool(batch_in) > 1:
        raise RedpencilError(
            "--dry-run, --batch-out and --batch-in are three things to do", way_out="give one of them at a time"
        )
    if dry_run and kept is not None and not kept.exists():
        kept = None
    price = providers.price_of_choice(choice, load_prices(prices))
    if max_cost is not None and price is None:
        raise RedpencilError(
            f"no price is known for {model}", field="--max-cost", way_out="give its price with --prices"
        )
    limits = Limits(concurrency, requests_per_minute, tokens_per_minute, timeout, retries)
    answerer = providers.make_provider(choice, client, limits, config)
    with _journal(kept) as answers:
        run = Run(
            responses=JsonlFile(responses, Response),
            provider=answerer,
            client=client,
            style=style,
            journal=answers,
            price=price,
            max_cost=max_cost,
            max_tokens=max_tokens,
            who=providers.told(choice, client, answerer, limits),
        )
        if dry_run:
            run.tell_plan(as_json=as_json)
        elif batch_out is not None:
            run.write_batches(batch_out)
        else:
            if batch_in:
                run.read_batches(batch_in)
            else:
                _ask(run, kept)
            if not run.write(out, as_json=as_json, batch=bool(batch_in)):
                raise typer.Exit(1)


def _ask(run: Run, journal: Path | None) -> None:
    with _terminated_as_interrupted():
        try:
            run.ask()
        except KeyboardInterrupt:
            if journal is None:
                raise
            say(f"interrupted: {run.answers_known()} are in {journal}; the same command asks for the rest")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: what has come is kept."""

    def interrupt(*_: object) -> None:
        # As SIGINT, where it is not ignored, for asyncio has a handler of its own for that while it runs.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_files(responses: Path, outs: list[Path | None], journal: Path | None, *others: Path | None) -> None:
    """Refuse responses that can be read but once, and results that would be written over something else."""
    if responses.exists() and not responses.is_file():
        raise RedpencilError(
            "responses are read several times, and this is no plain file",
            file=responses,
            way_out="write them to a file first",
        )
    for path in filter(None, outs):
        if journal is not None and os.path.realpath(path) == os.path.realpath(journal):
            raise RedpencilError("it is also the journal", file=path, way_out="choose another file")
        check_out_file(path, responses, journal, *others)


def _style(template: Path | None, primer: str | None, min_kept: float, *, hosted: bool) -> "EditStyle":
    from redpencil.editing.edit import EditStyle
    from redpencil.editing.prompt import FIGURE_2, PRIMERS, read_template

    chosen: Primer | None = next((known for known in PRIMERS if known == primer), None)
    if primer is not None and chosen is None:
        raise RedpencilError(f"no such place: {primer!r}", field="--primer", way_out=f"one of {', '.join(PRIMERS)}")
    request = FIGURE_2 if template is None else read_template(template)
    return EditStyle(request, chosen or ("text" if hosted else "turn"), min_kept)


def _journal(path: Path | None) -> AbstractContextManager["Journal"]:
    from redpencil.providers.journal import open_journal

    return open_journal(path)
