"""`edit`: ask people's stand-ins, LLMs, for minimal edits (section 2.1 of the paper)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from redpencil.cli import providers
from redpencil.cli.options import DeviceOption, JsonOption, RecipeOption, SeedOption, SetOption, examples, settings
from redpencil.cli.output import check_out_file, naming, print_json, say
from redpencil.cli.progress import working
from redpencil.errors import RedpencilError
from redpencil.records import Edit, EditOutcome, JsonlFile, Response, write_jsonl

if TYPE_CHECKING:
    from redpencil.editing.edit import EditStyle, Plan
    from redpencil.editing.prompt import Primer
    from redpencil.providers.base import Provider, Usage
    from redpencil.providers.hosted import Client
    from redpencil.providers.journal import Journal
    from redpencil.providers.prices import Price

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
    responses: Annotated[Path, typer.Option(metavar="JSONL", help="Responses to edit.")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the edits go.")],
    provider: providers.ProviderOption,
    model: providers.ModelOption = None,
    base_url: providers.BaseUrlOption = None,
    max_tokens: providers.MaxTokensOption = 4096,
    temperature: providers.TemperatureOption = None,
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
    """
    from redpencil.providers.limits import Limits
    from redpencil.providers.prices import load_prices

    config = settings(recipe, set_, seed=seed, device=device)
    choice = providers.Choice(provider, model, base_url, max_tokens, temperature)
    client = providers.hosted_client(choice)
    style = _style(template, primer, min_kept, hosted=client is not None)
    check_out_file(out, responses, template, journal, prices, *(batch_in or ()))
    kept = None if provider == "world" and journal is None else journal or out.with_name(f"{out.name}.journal")
    if dry_run and kept is not None and not kept.exists():
        kept = None
    price = providers.price_of_choice(choice, load_prices(prices))
    if max_cost is not None and price is None:
        raise RedpencilError(
            f"no price is known for {model}", field="--max-cost", way_out="give its price with --prices"
        )
    limits = Limits(concurrency, requests_per_minute, tokens_per_minute, timeout, retries)
    with naming(responses), _journal(kept) as answers:
        run = Run(
            JsonlFile(responses, Response),
            providers.make_provider(choice, client, limits, config),
            style,
            answers,
            price,
            max_cost,
        )
        if dry_run:
            run.tell_plan(as_json=as_json)
        elif batch_out is not None:
            run.write_batches(batch_out, client)
        else:
            if batch_in:
                run.read_batches(batch_in, client)
            else:
                run.ask()
            run.write(out, as_json=as_json, batch=bool(batch_in))


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


@dataclass(slots=True)
class Run:
    """One call of the command: what it works with, and what it has met so far."""

    responses: JsonlFile[Response]
    provider: "Provider"
    style: "EditStyle"
    journal: "Journal"
    price: "Price | None"
    max_cost: float | None
    asked: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0

    def plan(self) -> "Plan":
        """What is due now."""
        from redpencil.editing.edit import plan_edits

        return plan_edits(self.responses, self.provider, self.style, self.journal, self.asked)

    def tell_plan(self, *, as_json: bool) -> None:
        """Say what would be asked, and an estimate of its cost."""
        plan = self.plan()
        estimate = self._estimate(plan)
        if as_json:
            print_json({**asdict(plan), **estimate})
            return
        say(f"{plan.responses} responses: {plan.answered} answered before, {plan.empty} empty, {plan.to_ask} to ask")
        say(
            f"about {estimate['input_tokens']:,} tokens to ask with and {estimate['output_tokens']:,} in the answers, "
            f"at {estimate['bytes_per_token']} bytes a token"
        )
        say(self._price_told(estimate["cost"], estimate["batch_cost"]))

    def _estimate(self, plan: "Plan") -> dict[str, Any]:
        from redpencil.providers.base import Usage
        from redpencil.providers.limits import BYTES_PER_TOKEN
        from redpencil.providers.prices import cost

        usage = Usage(plan.input_bytes // BYTES_PER_TOKEN, plan.output_bytes // BYTES_PER_TOKEN)
        costs = (None, None) if self.price is None else (cost(usage, self.price), cost(usage, self.price, batch=True))
        return {**asdict(usage), "bytes_per_token": BYTES_PER_TOKEN, "cost": costs[0], "batch_cost": costs[1]}

    def _price_told(self, live: float | None, batch: float | None) -> str:
        if live is None or batch is None or self.price is None:
            return f"no price is known for {self.provider.name}; --prices can give one"
        dated = f"; price of {self.price.as_of}, see {self.price.source}" if self.price.as_of else ""
        return f"about ${live:.2f}, as a batch ${batch:.2f}{dated}. Thinking and second requests cost extra"

    def ask(self) -> None:
        """Ask for first edits, then for second ones where the first kept too little."""
        if self.journal.interrupted:
            say(
                f"{self.journal.interrupted} requests were under way when the last run ended; they are sent again, and "
                "the provider may charge for both"
            )
        for name in ("edit", "second edits"):
            total = self.plan().to_ask
            if total:
                with working(name) as progress:
                    for done, note in enumerate(self._steps(), start=1):
                        progress(done, total, note)
            if self._spent_up():
                break

    def _steps(self) -> Iterator[str]:
        from redpencil.editing.edit import ask_for_edits
        from redpencil.providers.base import Failure
        from redpencil.providers.prices import cost

        for result in ask_for_edits(self.responses, self.provider, self.style, self.journal, self.asked):
            if isinstance(result, Failure):
                self.counts["failed"] += 1
            else:
                self.counts["answers"] += 1
                if self.price is not None and result.usage is not None:
                    self.cost += cost(result.usage, self.price)
            notes = [f"{self.counts['failed']} failed" if self.counts["failed"] else ""]
            notes.append(f"${self.cost:.2f}" if self.price is not None else "")
            yield ", ".join(note for note in notes if note)
            if self._spent_up():
                say(f"stopped: --max-cost {self.max_cost} is spent; the same command with more of it goes on")
                return

    def _spent_up(self) -> bool:
        return self.max_cost is not None and self.cost >= self.max_cost

    def write_batches(self, path: Path, client: "Client | None") -> None:
        """Write what is due as batch files."""
        from redpencil.editing.edit import requests_due
        from redpencil.providers.batches import write_batches

        if client is None:
            raise RedpencilError(
                f"{self.provider.name} takes no batches", field="--batch-out", way_out="leave --batch-out out"
            )
        check_out_file(path, self.responses.path)
        written = write_batches(path, requests_due(self.responses, self.provider, self.style, self.journal), client)
        for part in written:
            say(f"{part.requests} requests in {part.path}")
        if not written:
            say("every response has its answer; nothing is to be asked")

    def read_batches(self, paths: Iterable[Path], client: "Client | None") -> None:
        """Put the results of batches into the journal."""
        from redpencil.providers.base import Failure
        from redpencil.providers.batches import read_batch_results

        if client is None:
            raise RedpencilError(
                f"{self.provider.name} gives no batches", field="--batch-in", way_out="leave --batch-in out"
            )
        for path in paths:
            for key, result in read_batch_results(path, client):
                self.journal.record(key, self.provider.name, result)
                self.counts["failed" if isinstance(result, Failure) else "answers"] += 1

    def write(self, out: Path, *, as_json: bool, batch: bool) -> None:
        """Write the edits and say what became of the responses and what it cost."""
        from redpencil.editing.edit import read_edits, spent

        outcomes: Counter[str] = Counter()
        kept: list[float] = []

        def counted() -> Iterator[Edit]:
            for row in read_edits(self.responses, self.provider, self.style, self.journal):
                outcomes[row.outcome.value] += 1
                outcomes["asked twice"] += "retry" in row.meta
                if row.outcome is EditOutcome.EDITED:
                    kept.append(row.meta["kept"])
                yield row

        count = write_jsonl(out, counted())
        twice = outcomes.pop("asked twice")
        share = sum(kept) / len(kept) if kept else None
        usage = spent(self.responses, self.provider, self.style, self.journal)
        summary = {
            "edits": str(out),
            "rows": count,
            "outcomes": dict(outcomes),
            "asked_twice": twice,
            "kept": share,
            "answers_of_this_run": self.counts["answers"],
            **asdict(usage),
            "cost": self._cost_of(usage, batch=batch),
        }
        if as_json:
            print_json(summary)
        else:
            self._tell(summary, share)
        if batch and self.plan().to_ask:
            say(f"{self.plan().to_ask} requests are still without an answer; --batch-out writes them")
        elif outcomes["failed"]:
            say(f"{outcomes['failed']} failed; the same command asks for them again, and for nothing else")

    def _cost_of(self, usage: "Usage", *, batch: bool) -> float | None:
        from redpencil.providers.prices import cost

        return None if self.price is None else cost(usage, self.price, batch=batch)

    def _tell(self, summary: dict[str, Any], share: float | None) -> None:
        told = ", ".join(f"{number} {outcome}" for outcome, number in summary["outcomes"].items())
        say(f"{summary['rows']} edits in {summary['edits']}: {told}")
        if share is not None:
            twice = f"; {summary['asked_twice']} were asked for twice" if summary["asked_twice"] else ""
            say(f"edited responses keep {100 * share:.0f} % of their words{twice}")
        if summary["input_tokens"]:
            cost = "" if summary["cost"] is None else f", ${summary['cost']:.2f}"
            say(
                f"all answers together: {summary['input_tokens']:,} tokens asked, {summary['output_tokens']:,} "
                f"answered{cost}"
            )
