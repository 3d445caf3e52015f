"""`edit`: ask an LLM, or the small world's scripted editor, for minimal edits (section 2.1 of the paper)."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from redpencil.cli.job_options import MODEL_PANEL, JobOptions, prepare
from redpencil.cli.llm_job import JobRun, run_job
from redpencil.cli.options import NORMALISE_HELP, examples, one_of, option, with_options
from redpencil.cli.output import say
from redpencil.editing.edit import edit_job, request_style
from redpencil.editing.prompt import PRIMERS
from redpencil.records import Edit, EditOutcome, JsonlFile, Response

app = typer.Typer()


@app.command(
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
@with_options
def edit(
    context: typer.Context,
    responses: Annotated[Path, option("JSONL", "Responses to edit.")],
    out: Annotated[Path, option("JSONL", "Where the edits go.")],
    provider: Annotated[
        str,
        option(
            "NAME",
            "anthropic; openai, for every OpenAI-compatible server; local, a Hugging Face folder; world, the "
            "small world's scripted editor.",
            panel=MODEL_PANEL,
        ),
    ],
    template: Annotated[
        Path | None, option("FILE", "Request with {question}, {input}, {response}. Default: the paper's Figure 2.")
    ] = None,
    primer: Annotated[
        str | None,
        option(
            "WHERE",
            "Where the template's beginning of the answer goes: turn, for models that continue it; text, at the "
            "end of the request; none. Default: text for hosted models, else turn.",
        ),
    ] = None,
    min_kept: Annotated[
        float,
        option(
            "SHARE", "Ask once more for an edit that keeps a smaller share of the words, or is uncertain.", min=0, max=1
        ),
    ] = 0.5,
    normalise_spacing: Annotated[bool, typer.Option("--normalise-spacing", help=NORMALISE_HELP)] = False,
    *,
    options: JobOptions,
) -> None:
    """Ask an editor for a minimal edit of each response (section 2.1).

    Answers are kept in a response cache. The same command again asks only for what is missing.

    Exit codes: 0 all was asked and OUT is written, rows that failed included;

    1 a mistake, or no answer at all; or --max-cost stopped it, and OUT is written;

    130 interrupted.
    """
    setup = prepare(context, provider, options, out=out, inputs=[responses], template=template)
    place = None if primer is None else one_of(primer, PRIMERS, "--primer", "place")
    hosted = setup.client is not None
    style = request_style(template, hosted=hosted, primer=place, min_kept=min_kept, normalise_spacing=normalise_spacing)
    rows, editor = JsonlFile(responses, Response), setup.make_provider()
    with setup.open_cache() as cache:
        run_job(EditRun(job=edit_job(rows, editor, style, cache), setup=setup, source=responses))


@dataclass(slots=True, kw_only=True)
class EditRun(JobRun[Response, Edit]):
    """One run of the command; counts the outcomes and the shares of words that edits keep."""

    noun = "response"
    rounds = ("edit", "second edits")
    beyond_estimate = "thinking and second requests cost extra"
    plan_keys = ("responses", "empty", "complete")
    plan_line = "{rows:,} responses: {complete:,} answered before, {skipped:,} empty, {to_ask:,} to ask"
    asking = "{to_ask:,} of {rows:,} responses"

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: list[float] = field(default_factory=list)
    asked_twice: int = 0

    def count(self, row: Edit) -> None:
        self.outcomes[row.outcome.value] += 1
        self.asked_twice += "retry" in row.meta
        if row.outcome is EditOutcome.EDITED:
            self.kept.append(row.meta["kept"])
        if row.outcome is EditOutcome.FAILED:
            self.unanswered += 1
            self.failures.add(row.meta["problem"])
        else:
            self.answered += bool(row.original.strip())

    def summary(self, rows: int) -> dict[str, Any]:
        return {
            "edits": str(self.setup.out),
            "rows": rows,
            "outcomes": dict(self.outcomes),
            "problems": self.failures.problems,
            "never_asked": self.failures.never_asked,
            "asked_twice": self.asked_twice,
            "kept": sum(self.kept) / len(self.kept) if self.kept else None,
            **self.totals(),
        }

    def say_summary(self, summary: Mapping[str, Any]) -> None:
        counts = ", ".join(f"{number:,} {outcome}" for outcome, number in self.outcomes.items())
        say(f"{summary['rows']:,} rows in {summary['edits']}: {counts}")
        if summary["kept"] is not None:
            were = "was" if self.asked_twice == 1 else "were"
            twice = f"; {self.asked_twice:,} {were} asked for twice" if self.asked_twice else ""
            say(f"edited responses keep {100 * summary['kept']:.0f} % of their words{twice}")

        if uncertain := self.outcomes[EditOutcome.UNCERTAIN.value]:
            say(f"{uncertain:,} uncertain, which nothing learns from: read `answer` in their `meta`")

    def say_truncated(self, limit: str) -> None:
        truncated = self.outcomes[EditOutcome.TRUNCATED.value]
        if truncated:
            say(f"{truncated:,} were cut off at {limit}; a run with a higher limit asks for all rows anew")

    def unsent_rows(self, rows: int) -> str:
        never = self.failures.never_asked
        return f"{never:,} of {rows:,}" if never else f"{self.unsent:,} second requests"
