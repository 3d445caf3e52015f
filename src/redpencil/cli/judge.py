"""`judge`: which of two responses is better, by an LLM, the small world's oracle, a reward model or a rule."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from redpencil.cli import providers
from redpencil.cli.judge_run import JudgeRun, JudgeWork, told_verdicts
from redpencil.cli.judges import JUDGE_HELP, check_judge, make_judge
from redpencil.cli.options import DeviceOption, JsonOption, RecipeOption, SeedOption, SetOption, examples, settings
from redpencil.cli.output import check_out_file, naming, print_json, say, working
from redpencil.cli.provider_run import ProviderRun
from redpencil.cli.provider_todo import Todo, carry_out, check_files, journal_beside
from redpencil.config import Recipe
from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Response, read_jsonl, write_jsonl

if TYPE_CHECKING:
    from redpencil.evaluation.judges import Pairing
    from redpencil.evaluation.llm_judge import JudgeStyle, Orders

LLM: Final = "llm"
_OF_LLMS: Final = (
    *("provider", "model", "template", "orders", "no_schema", "base_url", "max_tokens", "temperature"),
    *("length_parameter", "extra", "journal", "dry_run", "batch_out", "batch_in", "concurrency"),
    *("requests_per_minute", "tokens_per_minute", "timeout", "retries", "prices", "max_cost"),
)

app = typer.Typer(rich_markup_mode="rich")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the pairs come from: two files of responses, or one of comparisons."""

    policy: Path | None
    reference: Path | None
    comparisons: Path | None

    @property
    def files(self) -> list[Path]:
        """The files.

        Raises:
            RedpencilError: unless the one or the other is given.
        """
        given = [path for path in (self.policy, self.reference, self.comparisons) if path is not None]
        if len(given) != (1 if self.comparisons is not None else 2):
            raise RedpencilError(
                "a judge compares a policy with a reference, or the pairs of a file of comparisons",
                hint="give --policy and --reference, or --comparisons",
            )
        return given

    def read(self) -> "list[Pairing]":
        """The pairs."""
        from redpencil.evaluation.judges import pair_comparisons, pair_outputs

        if self.comparisons is not None:
            with naming(self.comparisons):
                return pair_comparisons(read_jsonl(self.comparisons, Comparison))
        ours, theirs = (list(read_jsonl(path, Response)) for path in self.files)
        with naming(self.files[0]):
            return pair_outputs(ours, theirs)


@app.command(
    rich_help_panel="Evaluation",
    epilog=examples(
        "redpencil judge --policy ours.jsonl --reference theirs.jsonl --judge world --out judgements.jsonl",
        "redpencil judge --policy ours.jsonl --reference theirs.jsonl --judge reward/checkpoint --out judgements.jsonl",
        "redpencil judge --policy ours.jsonl --reference theirs.jsonl --judge llm --provider anthropic "
        "--model claude-sonnet-5-5 --out judgements.jsonl",
        "redpencil judge --policy o.jsonl --reference t.jsonl --judge llm --provider openai --model gpt-5-mini "
        "--template alpaca-eval --out j.jsonl --dry-run",
        "redpencil judge --comparisons people.jsonl --judge llm --provider openai "
        "--base-url http://localhost:8000/v1 --model Qwen/Qwen3-8B --out judgements.jsonl",
    ),
)
def judge(
    context: typer.Context,
    judge: Annotated[str, typer.Option(metavar="JUDGE", help=f"llm, a large language model; {JUDGE_HELP}")],
    out: Annotated[Path, typer.Option(metavar="JSONL", help="Where the judgements go; first is the policy's.")],
    policy: Annotated[Path | None, typer.Option(metavar="JSONL", help="The policy's responses.")] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="JSONL", help="The reference's responses to the same prompts.")
    ] = None,
    comparisons: Annotated[
        Path | None,
        typer.Option(
            metavar="JSONL",
            help="Instead of these two: pairs that people or others have compared, to be compared anew; see "
            "`redpencil evaluate judge`.",
        ),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What an LLM is asked: default, alpaca-eval, alpaca-eval-mark, or a file with {instruction}, {input}, "
            "{output_1} and {output_2}.",
        ),
    ] = "default",
    orders: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="both: an LLM sees each pair in both orders, and disagreement is a tie; one: in one order, by lot.",
        ),
    ] = "both",
    no_schema: Annotated[
        bool,
        typer.Option("--no-schema", help="Do not send the JSON schema of the answer, for servers that refuse it."),
    ] = False,
    provider: providers.JudgeProviderOption = None,
    model: providers.ModelOption = None,
    base_url: providers.BaseUrlOption = None,
    max_tokens: providers.MaxTokensOption = 4096,
    temperature: providers.TemperatureOption = None,
    length_parameter: providers.LengthParameterOption = None,
    extra: providers.ExtraOption = None,
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
    """Compare a policy's responses with a reference's, matched by id.

    An LLM's answers are kept in a journal: the same command again asks only for what is missing. A row without a
    verdict has the preference none, and its meta says why.

    Exit codes: 0 all was asked and OUT is written, rows without a verdict included;

    1 a mistake, or no answer at all; or --max-cost stopped it, and OUT is written;

    130 interrupted.
    """
    inputs = Inputs(policy, reference, comparisons)
    config = settings(recipe, set_, seed=seed, device=device)
    if judge != LLM:
        _refuse_options_of_llms(context, judge)
        _judge_here(judge, inputs, out, config, as_json=as_json)
        return
    style = _style(template, orders, config.seeds[0])
    for_openai = batch_out is not None and base_url is None
    choice = providers.Choice(
        _provider(provider),
        model,
        base_url,
        max_tokens,
        temperature,
        providers.parse_length_parameter(length_parameter, _provider(provider), for_openai=for_openai),
        providers.parse_extra(extra),
        None if no_schema else style.template.answer.schema,
    )
    client = providers.hosted_client(choice)
    if client is None:
        providers.refuse_options_of_servers(context, choice.provider)
    kept = journal or journal_beside(out)
    todo = Todo(out, kept, dry_run, batch_out, tuple(batch_in or ()), as_json)
    check_files(inputs.files, todo, Path(template), prices)
    price = providers.known_price(choice, prices, max_cost)
    limits = providers.limits_of(concurrency, requests_per_minute, tokens_per_minute, timeout, retries)
    pairings = inputs.read()
    answerer = providers.make_provider(choice, client, limits, config)
    with todo.open_journal() as answers:
        work = JudgeWork(pairings, inputs.files[0], answerer, style, answers)
        run = ProviderRun(
            work=work,
            provider=answerer,
            client=client,
            journal=answers,
            price=price,
            max_cost=max_cost,
            who=providers.told(choice, client, answerer, limits),
        )
        held = choice.schema is not None
        carry_out(JudgeRun(work=work, run=run, max_tokens=max_tokens, held_to_schema=held), todo)


def _judge_here(judge: str, inputs: Inputs, out: Path, config: Recipe, *, as_json: bool) -> None:
    """Judge without asking anybody."""
    from redpencil.evaluation.judges import judge_pairings

    check_out_file(out, *inputs.files)
    check_judge(judge)
    pairings = inputs.read()
    judging = make_judge(judge, config, None)
    with working("judge"), naming(inputs.files[0]):
        rows = judge_pairings(judging, pairings)
    write_jsonl(out, rows)
    _tell(rows, judging.name, out, as_json=as_json)


def _tell(rows: Sequence[Comparison], name: str, out: Path, *, as_json: bool) -> None:
    verdicts = Counter(row.preference.value for row in rows)
    if as_json:
        print_json({"judgements": str(out), "judge": name, "rows": len(rows), "verdicts": dict(verdicts)})
        return
    say(f"{len(rows):,} judgements in {out}: {told_verdicts(verdicts)}")


def _refuse_options_of_llms(context: typer.Context, judge: str) -> None:
    for name in _OF_LLMS:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            flag = f"--{name.replace('_', '-')}"
            raise RedpencilError(
                f"the judge {judge!r} asks no LLM", field=flag, hint=f"leave {flag} out, or give --judge {LLM}"
            )


def _provider(name: str | None) -> str:
    if name is None or name == "world":
        raise RedpencilError(
            "the judge llm needs a provider" if name is None else "the provider 'world' edits and does not judge",
            field="--provider",
            hint="one of anthropic, openai, local; the small world's own judge is --judge world",
        )
    return name


def _style(template: str, orders: str, seed: int) -> "JudgeStyle":
    from redpencil.evaluation.judge_templates import find_template
    from redpencil.evaluation.llm_judge import ORDERS, JudgeStyle

    chosen: Orders | None = next((known for known in ORDERS if known == orders), None)
    if chosen is None:
        raise RedpencilError(f"no such orders: {orders!r}", field="--orders", hint=f"one of {', '.join(ORDERS)}")
    return JudgeStyle(find_template(template), chosen, seed)
