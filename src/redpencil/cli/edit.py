"""`edit`: ask people's stand-ins, LLMs, for minimal edits (section 2.1 of the paper)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redpencil.cli import providers
from redpencil.cli.edit_run import EditRun, EditWork
from redpencil.cli.options import DeviceOption, JsonOption, RecipeOption, SeedOption, SetOption, examples, settings
from redpencil.cli.provider_run import ProviderRun
from redpencil.cli.provider_todo import Todo, carry_out, check_files, journal_beside
from redpencil.errors import RedpencilError
from redpencil.records import JsonlFile, Response

if TYPE_CHECKING:
    from redpencil.editing.edit import EditStyle
    from redpencil.editing.prompt import Primer

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
    journal: providers.JournalOption = None,
    dry_run: providers.DryRunOption = False,
    batch_out: providers.BatchOutOption = None,
    batch_in: providers.BatchInOption = None,
    concurrency: providers.ConcurrencyOption = 16,
    requests_per_minute: providers.RequestsPerMinuteOption = None,
    tokens_per_minute: providers.TokensPerMinuteOption = None,
    timeout: providers.TimeoutOption = 120.0,
    retries: providers.RetriesOption = 5,
    prices: providers.PricesOption = None,
    max_cost: providers.MaxCostOption = None,
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
    config = settings(recipe, set_, seed=seed, device=device)
    length = providers.parse_length_parameter(
        length_parameter, provider, for_openai=batch_out is not None and base_url is None
    )
    choice = providers.Choice(provider, model, base_url, max_tokens, temperature, length, providers.parse_extra(extra))
    client = providers.hosted_client(choice)
    if client is None:
        providers.refuse_options_of_servers(context, provider)
    style = _style(template, primer, min_kept, hosted=client is not None)
    kept = None if provider == "world" and journal is None else journal or journal_beside(out)
    todo = Todo(out, kept, dry_run, batch_out, tuple(batch_in or ()), as_json)
    check_files([responses], todo, template, prices)
    price = providers.known_price(choice, prices, max_cost)
    limits = providers.limits_of(concurrency, requests_per_minute, tokens_per_minute, timeout, retries)
    answerer = providers.make_provider(choice, client, limits, config)
    with todo.open_journal() as answers:
        work = EditWork(JsonlFile(responses, Response), answerer, style, answers)
        run = ProviderRun(
            work=work,
            provider=answerer,
            client=client,
            journal=answers,
            price=price,
            max_cost=max_cost,
            who=providers.told(choice, client, answerer, limits),
        )
        carry_out(EditRun(work=work, run=run, max_tokens=max_tokens), todo)


def _style(template: Path | None, primer: str | None, min_kept: float, *, hosted: bool) -> "EditStyle":
    from redpencil.editing.edit import EditStyle
    from redpencil.editing.prompt import FIGURE_2, PRIMERS, read_template

    chosen: Primer | None = next((known for known in PRIMERS if known == primer), None)
    if primer is not None and chosen is None:
        raise RedpencilError(f"no such place: {primer!r}", field="--primer", hint=f"one of {', '.join(PRIMERS)}")
    request = FIGURE_2 if template is None else read_template(template)
    return EditStyle(request, chosen or ("text" if hosted else "turn"), min_kept)
