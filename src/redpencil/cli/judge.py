"""`judge`: which of two responses is better, by an LLM, the small world's oracle, a reward model or a rule."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from redpencil.cli.job_options import (
    MODEL_PANEL,
    OF_ALL_COMMANDS,
    JobOptions,
    given_flag,
    prepare,
)
from redpencil.cli.llm_job import Failures, JobRun, run_job
from redpencil.cli.options import examples, one_of, option, runtime_of, with_options
from redpencil.cli.output import check_out_file, print_json, say, working
from redpencil.config.data import WorldConfig
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.judge_templates import find_template
from redpencil.evaluation.judges import (
    RULES,
    Judge,
    OracleJudge,
    Pairing,
    judge_pairings,
    matched_by_prompt,
    pair_comparisons,
    pair_outputs,
)
from redpencil.evaluation.llm_judge import ORDERS, JudgeStyle, judge_job, judge_name
from redpencil.evaluation.matching import match_note
from redpencil.records import Comparison, Preference, Response, read_jsonl, write_jsonl
from redpencil.world.build import make_oracle

if TYPE_CHECKING:
    from redpencil.models.runtime import Runtime

LLM: Final = "llm"
WORLD: Final = "world"
JUDGE_HELP: Final = (
    "world (the small world's oracle), the folder of a reward model, or a rule: longer and shorter, which look at the "
    "number of characters alone, or references, GLEU against the references of the prompt."
)

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of the pairs: two files of responses, or one of comparisons."""

    policy: Annotated[Path | None, option("JSONL", "The policy's responses.")] = None
    reference: Annotated[Path | None, option("JSONL", "The reference's responses to the same prompts.")] = None
    comparisons: Annotated[
        Path | None,
        option(
            "JSONL",
            "Instead of these two: pairs that people or others have compared, to be compared anew; see "
            "`redpencil evaluate judge`.",
        ),
    ] = None

    @property
    def files(self) -> list[Path]:
        """The files that were given.

        Raises:
            RedpencilError: unless they are the two, or the one.
        """
        paths = [path for path in (self.policy, self.reference, self.comparisons) if path is not None]
        if len(paths) != (1 if self.comparisons is not None else 2):
            raise RedpencilError(
                "a judge compares a policy with a reference, or the pairs of a file of comparisons",
                hint="give --policy and --reference, or --comparisons",
            )
        return paths

    def read(self) -> list[Pairing]:
        """Read the pairs."""
        if self.comparisons is not None:
            with naming(self.comparisons):
                return pair_comparisons(read_jsonl(self.comparisons, Comparison))
        policy, reference = (list(read_jsonl(path, Response)) for path in self.files)
        with naming(self.files[0]):
            pairings = pair_outputs(policy, reference)
        note = match_note(matched_by_prompt(pairings), len(pairings))
        if note:
            say(note)
        return pairings


@dataclass(frozen=True, slots=True)
class LLMOptions:
    """The options of a judge that is an LLM."""

    template: Annotated[
        str,
        option(
            "NAME",
            "The request to an LLM: default, alpaca-eval, alpaca-eval-mark, or a file with {instruction}, "
            "{input}, {output_1} and {output_2}.",
        ),
    ] = "default"
    orders: Annotated[
        str,
        option(
            "HOW",
            "both: an LLM sees each pair in both orders, and disagreement is a tie; one: in one order, drawn at "
            "random.",
        ),
    ] = "both"
    no_schema: Annotated[
        bool,
        typer.Option("--no-schema", help="Do not send the JSON schema of the answer, for servers that refuse it."),
    ] = False
    provider: Annotated[
        str | None,
        option(
            "NAME",
            "Provider of an LLM: anthropic; openai, for every OpenAI-compatible server; local, a Hugging Face folder.",
            panel=MODEL_PANEL,
        ),
    ] = None

    def style(self, seed: int) -> JudgeStyle:
        """Return how the LLM is asked."""
        return JudgeStyle(find_template(self.template), one_of(self.orders, ORDERS, "--orders", "orders"), seed)

    def checked_provider(self) -> str:
        """Return the name of the provider, which is checked later, but must be one that judges."""
        if self.provider is None or self.provider == WORLD:
            raise RedpencilError(
                "the judge llm needs a provider"
                if self.provider is None
                else "the provider 'world' edits and does not judge",
                field="--provider",
                hint="one of anthropic, openai, local; the small world's own judge is --judge world",
            )
        return self.provider


_OF_LLMS: Final = (
    *(one.name for one in fields(LLMOptions)),
    *(one.name for one in fields(JobOptions) if one.name not in OF_ALL_COMMANDS),
)


@app.command(
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
@with_options
def judge(
    context: typer.Context,
    judge: Annotated[str, option("JUDGE", f"llm, a large language model; {JUDGE_HELP}")],
    out: Annotated[Path, option("JSONL", "Where the judgements go; first is the policy's.")],
    inputs: Inputs,
    llm: LLMOptions,
    options: JobOptions,
) -> None:
    """Compare a policy's responses with a reference's, matched by id, or by prompt where the ids differ.

    An LLM's answers are kept in a response cache: the same command again asks only for what is missing. A row without
    a verdict has the preference none, and its meta says why.

    Exit codes: 0 all was asked and OUT is written, rows without a verdict included;

    1 a mistake, or no answer at all; or --max-cost stopped it, and OUT is written;

    130 interrupted.
    """
    if judge != LLM:
        flag = given_flag(context, _OF_LLMS)
        if flag is not None:
            hint = f"leave {flag} out, or give --judge {LLM}"
            raise RedpencilError(f"the judge {judge!r} is not an LLM", field=flag, hint=hint)
        _judge_here(judge, inputs, out, options)
        return
    style = llm.style(options.settings().seeds[0])
    schema = None if llm.no_schema else style.template.answer.schema
    setup = prepare(
        context,
        llm.checked_provider(),
        options,
        out=out,
        inputs=inputs.files,
        template=Path(llm.template),
        schema=schema,
    )
    pairings, provider_ = inputs.read(), setup.make_provider()
    with setup.open_cache() as cache:
        run_job(
            JudgeRun(
                job=judge_job(pairings, provider_, style, cache, setup.price),
                setup=setup,
                source=inputs.files[0],
                judge=judge_name(provider_, style),
                failures=Failures(sent_schema=schema is not None),
            )
        )


def _judge_here(judge: str, inputs: Inputs, out: Path, options: JobOptions) -> None:
    """Judge without an LLM."""
    check_out_file(out, *inputs.files)
    check_judge(judge)
    pairings = inputs.read()
    judging = make_judge(judge, options.settings(), None)
    with working("judge"), naming(inputs.files[0]):
        rows = judge_pairings(judging, pairings)
    write_jsonl(out, rows)
    verdicts = Counter(row.preference.value for row in rows)
    if options.as_json:
        print_json({"judgements": str(out), "judge": judging.name, "rows": len(rows), "verdicts": dict(verdicts)})
        return
    say(f"{len(rows):,} judgements in {out}: {_verdicts_in_words(verdicts)}")


def check_judge(judge: str) -> Path | None:
    """Return the folder of a judging reward model; None for the oracle and the rules.

    Raises:
        RedpencilError: if there is no such folder.
    """
    if judge == WORLD or judge in RULES:
        return None
    if not Path(judge).is_dir():
        raise RedpencilError(
            f"no judge called {judge!r}",
            field="--judge",
            hint=f"`world`, or the folder of a reward model; {', '.join(RULES)} are rules",
        )
    return Path(judge)


def make_judge(judge: str, recipe: Recipe, runtime: "Runtime | None") -> Judge:
    """Make the judge of a name that `check_judge` accepts; only a reward model needs a runtime."""
    folder = check_judge(judge)
    if folder is not None:
        from redpencil.pipeline.judging import reward_model_judge

        return reward_model_judge(str(folder), runtime or runtime_of(recipe))
    if judge in RULES:
        return RULES[judge]
    return OracleJudge(make_oracle(recipe.world or WorldConfig()))


@dataclass(slots=True, kw_only=True)
class JudgeRun(JobRun[Pairing, Comparison]):
    """One run of the command with an LLM; counts the verdicts and why others are missing."""

    noun = "pair"
    rounds = ("judge",)
    beyond_estimate = "thinking costs extra"
    plan_keys = ("pairs", "same", "answered")
    plan_line = (
        "{rows:,} pairs, {skipped:,} of them with the same text on both sides: {answered:,} requests answered before, "
        "{to_ask:,} to ask"
    )
    asking = "{to_ask:,} requests about {rows:,} pairs"

    judge: str
    verdicts: Counter[str] = field(default_factory=lambda: Counter({one.value: 0 for one in Preference}))
    same_text: int = 0
    flipped: int = 0
    problems: Counter[str] = field(default_factory=Counter)

    def count(self, row: Comparison) -> None:
        self.verdicts[row.preference.value] += 1
        self.unanswered += row.preference is Preference.NONE
        self.same_text += "same_text" in row.meta
        self.flipped += bool(row.meta.get("flipped"))
        if "problem" in row.meta:
            self.problems[row.meta["problem"]] += 1
        for order in row.meta.get("verdicts", ()):
            if "why" in order:
                self.failures.add(order["why"])
            else:
                self.answered += 1

    def summary(self, rows: int) -> dict[str, Any]:
        return {
            "judgements": str(self.setup.out),
            "judge": self.judge,
            "rows": rows,
            "verdicts": dict(self.verdicts),
            "same_text": self.same_text,
            "flipped": self.flipped,
            "problems": dict(self.problems),
            "failures": self.failures.problems,
            "never_asked": self.failures.never_asked,
            **self.totals(),
            "seconds": round(self.seconds, 3),
        }

    def say_summary(self, summary: Mapping[str, Any]) -> None:
        say(f"{summary['rows']:,} judgements in {summary['judgements']}: {_verdicts_in_words(self.verdicts)}")
        if self.flipped:
            say(f"{self.flipped:,} of the ties are flips: the verdict changed with the order")
        if self.problems:
            reasons = ", ".join(f"{count:,} {problem}" for problem, count in self.problems.items())
            say(f"without a verdict: {reasons}; meta.verdicts of these rows says why")

    def say_truncated(self, limit: str) -> None:
        if self.problems["truncated"]:
            say(f"answers were cut off at {limit}; a run with a higher limit asks about all pairs anew")

    def unsent_rows(self, rows: int) -> str:
        del rows
        return f"{self.unsent:,} requests"


def _verdicts_in_words(verdicts: Mapping[str, int]) -> str:
    names = {"first": "for the first", "second": "for the second", "tie": "ties", "none": "without a verdict"}
    counts = {key: verdicts.get(key, 0) for key in names}
    return ", ".join(f"{counts[key]:,} {name}" for key, name in names.items() if counts[key] or key != "none")
