"""One run of a command over a provider job: plan it, ask, write batch files or read their results, write the rows."""

import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeVar

import typer

from redpencil.cli.job_options import Setup
from redpencil.cli.output import INTERRUPTED, print_json, say, working
from redpencil.errors import RedpencilError, naming
from redpencil.providers.base import Failure, Usage
from redpencil.providers.batches import read_batch_results, write_batches
from redpencil.providers.client import Client
from redpencil.providers.hosted import BYTES_PER_TOKEN
from redpencil.providers.job import NEVER_ASKED, Plan, ProviderJob
from redpencil.providers.prices import cost, days_too_old, format_dollars, price_page
from redpencil.providers.redact import reason_of
from redpencil.records import Record, write_jsonl

_MOST_REASONS: Final = 5
_REFUSED: Final = re.compile(r"HTTP 4(?!08|09|29)\d\d\b")
"""Start of a problem that will come again as long as the request is the same."""
_BAD_REQUEST: Final = re.compile(r"HTTP 4(00|22)\b")
"""Status of a request that holds something which the server does not support."""
_STATUS: Final = re.compile(r"^(HTTP \d+): (.*)$")
_STATUS_FIRST: Final = r"\1 (\2)"


@dataclass(slots=True)
class Failures:
    """Reasons why rows got no answer; `sent_schema`: the requests had the JSON schema of the answer."""

    sent_schema: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    never_asked: int = 0

    def add(self, problem: str) -> None:
        """Count a row without an answer."""
        if problem == NEVER_ASKED:
            self.never_asked += 1
            return
        reason = reason_of(problem)
        self.reasons[reason] += 1
        self.examples.setdefault(reason, problem)

    @property
    def problems(self) -> dict[str, int]:
        """Counts of the reasons, the most frequent first; each is represented by its first problem."""
        return {self.examples[reason]: count for reason, count in self.reasons.most_common()}

    @property
    def refused(self) -> bool:
        """True if a server refused a request for its content."""
        return any(_REFUSED.match(problem) for problem in self.problems)

    @property
    def _may_be_the_schema(self) -> bool:
        return self.sent_schema and any(_BAD_REQUEST.match(problem) for problem in self.problems)

    def summary(self) -> str:
        """Format the reasons with their counts in one line."""
        problems = list(self.problems.items())
        parts = [f"{count:,} {_STATUS.sub(_STATUS_FIRST, problem)}" for problem, count in problems[:_MOST_REASONS]]
        rest = sum(count for _, count in problems[_MOST_REASONS:])
        return ", ".join([*parts, f"{rest:,} for other reasons"] if rest else parts)

    def say(self, *, batch: bool) -> None:
        """Print the reasons, and what the next run does about these rows."""
        if self.reasons:
            again = "" if batch else "; run the same command again to ask for these rows only"
            say(f"{self.reasons.total():,} failed: {self.summary()}{again}")
        if self.refused:
            hint = "; for a server without JSON schemas give --no-schema" if self._may_be_the_schema else ""
            say(
                "requests refused with HTTP 4xx will be refused again until the model, the template or the parameters "
                f"change{hint}"
            )

    def no_answer_error(self, out: Path, noun: str, rows: int) -> RedpencilError:
        """Make the error for results without a single answer, which must not overwrite an earlier file."""
        if not self.reasons:
            return RedpencilError(
                f"nothing to write: none of the {rows:,} {noun}s was asked about",
                file=out,
                hint="give the same command with a higher --max-cost, or the results of its own batch",
            )
        options = "--model, --template, --max-tokens, --extra"
        if self._may_be_the_schema:
            options = f"--no-schema, if the server takes no JSON schema, {options}"
        return RedpencilError(
            f"nothing to write: no {noun} got an answer ({self.summary()})",
            file=out,
            hint=f"change the request: {options}" if self.refused else "solve that, and run the same command again",
        )


Row = TypeVar("Row")
Output = TypeVar("Output", bound=Record)


@dataclass(slots=True, kw_only=True)
class JobRun(ABC, Generic[Row, Output]):
    """One run of a command over a job: plan it, ask, write batch files or read their results, write the rows.

    A command has a subclass that counts its results and words its messages.

    Args:
        job: the job.
        setup: the checked options.
        source: the file of the rows, which errors about their content name.
        failures: reasons why rows got no answer.
        counts: answers and failures of this run.
        dollars: cost of this run's answers.
        unsent: requests that --max-cost left out.
        due: answers that the cache would hold if every request of this round had one.
        answered: rows, or orders of a pair, that got an answer.
        unanswered: rows that got none.
        seconds: time spent asking.
    """

    noun: ClassVar[str]
    """Name of a row in the singular."""
    rounds: ClassVar[tuple[str, ...]]
    """Names of the calls of `ProviderJob.ask`; requests of the second depend on answers of the first."""
    beyond_estimate: ClassVar[str]
    """Costs that an estimate leaves out."""
    plan_keys: ClassVar[tuple[str, str, str]]
    """Names in JSON of a plan's rows, of those without a request, and the field with what is answered already."""
    plan_line: ClassVar[str]
    """The plan in words, with its fields in braces."""
    asking: ClassVar[str]
    """The share of all that is to be asked, likewise."""

    job: ProviderJob[Row, Output]
    setup: Setup
    source: Path
    failures: Failures = field(default_factory=Failures)
    counts: Counter[str] = field(default_factory=Counter)
    dollars: float = 0.0
    unsent: int = 0
    due: int = 0
    answered: int = 0
    unanswered: int = 0
    seconds: float = 0.0

    @abstractmethod
    def count(self, row: Output) -> None:
        """Count a result: its outcome in the subclass, `answered`, `unanswered` and `failures` here."""

    @abstractmethod
    def summary(self, rows: int) -> dict[str, Any]:
        """Return the summary of the written rows as JSON."""

    @abstractmethod
    def say_summary(self, summary: Mapping[str, Any]) -> None:
        """Print the outcomes of the rows."""

    @abstractmethod
    def say_truncated(self, limit: str) -> None:
        """Print how many answers were cut off at a limit of tokens, if there are any."""

    @abstractmethod
    def unsent_rows(self, rows: int) -> str:
        """Return in words what --max-cost left out."""

    @property
    def who(self) -> str:
        """The provider, its server, and the number of requests in progress at once."""
        client, provider = self.setup.client, self.job.provider
        if client is None:
            return f"{provider.name}, in this process"
        from_variable = self.setup.options.base_url is None and bool(os.environ.get(client.address_variable))
        source = f" (from {client.address_variable})" if from_variable else ""
        return f"{provider.name} at {client.server}{source}, {self.setup.limits.concurrency} at once"

    def plan(self) -> Plan:
        """Count what is to be asked now."""
        with naming(self.source):
            return self.job.plan()

    def say_plan(self) -> None:
        """Print what would be asked, and an estimate of its cost."""
        plan = self.plan()
        usage = Usage(plan.input_bytes // BYTES_PER_TOKEN, plan.output_bytes // BYTES_PER_TOKEN)
        price = self.setup.price
        live, batch = (None, None) if price is None else (cost(usage, price), cost(usage, price, batch=True))
        if self.setup.options.as_json:
            estimate = {**asdict(usage), "bytes_per_token": BYTES_PER_TOKEN, "cost": live, "batch_cost": batch}
            rows, skipped, answered = self.plan_keys
            counts = {rows: plan.rows, skipped: plan.skipped, "answered": getattr(plan, answered)}
            rest = {name: getattr(plan, name) for name in ("to_ask", "interrupted", "input_bytes", "output_bytes")}
            print_json({**counts, **rest, **estimate})
            return
        say(self.who)
        say(self.plan_line.format(**asdict(plan)))
        say(
            f"about {usage.input_tokens:,} tokens in the requests and {usage.output_tokens:,} in the answers, at "
            f"{BYTES_PER_TOKEN} bytes a token"
        )
        name = self.job.provider.name
        if price is None or live is None or batch is None:
            say(f"no price is known for {name}; --prices can give one")
            return
        say(f"about {format_dollars(live)}, as a batch {format_dollars(batch)}; {self.beyond_estimate}")
        page = price_page(name)
        if price.as_of is not None:
            say(f"price of {price.as_of}" + (f"; check the provider's page: {page}" if page else ""))
        self._warn_of_old_price()

    def _warn_of_old_price(self) -> None:
        price = self.setup.price
        days = None if price is None else days_too_old(price, date.today())
        if days is not None:
            say(f"the price of {self.job.provider.name} is {days} days old and may have changed; --prices corrects it")

    def ask(self) -> None:
        """Ask in rounds until all rows are done, --max-cost is used up, or no request can succeed."""
        began = time.monotonic()
        for name in self.rounds:
            plan = self.plan()
            self.due = plan.answered + plan.to_ask
            if not plan.to_ask:
                continue
            if self._budget_spent():
                break
            if plan.interrupted:
                say(
                    f"{plan.interrupted} requests were in progress when the last run ended; they are sent again, and "
                    "the provider may charge for both"
                )
            say(f"{name}: {self.asking.format(**asdict(plan))}, {self.who}")
            # An error of a hosted model is not about the file; the plan has checked what the file holds.
            with nullcontext() if self.setup.client else naming(self.source), working(name) as progress:
                for done, note in enumerate(self._steps(), start=1):
                    progress(done, plan.to_ask, note)
        self.seconds = time.monotonic() - began
        self.unsent = self.plan().to_ask if self._budget_spent() else 0

    def _steps(self) -> Iterator[str]:
        price, max_cost = self.setup.price, self.setup.options.max_cost
        # Requests in progress when the budget is spent are waited for: they may have to be paid for anyway.
        for result in self.job.ask(self._budget_spent):
            if isinstance(result, Failure):
                self.counts["failed"] += 1
            else:
                self.counts["answers"] += 1
                if price is not None and result.usage is not None:
                    self.dollars += cost(result.usage, price)
                elif max_cost is not None:
                    raise RedpencilError(
                        "the server does not report how many tokens an answer took, so its cost is unknown",
                        field="--max-cost",
                        hint="leave --max-cost out",
                    )
            notes = [f"{self.counts['failed']} failed" if self.counts["failed"] else ""]
            notes.append(format_dollars(self.dollars) if price is not None else "")
            yield ", ".join(note for note in notes if note)

    def _budget_spent(self) -> bool:
        max_cost = self.setup.options.max_cost
        return max_cost is not None and self.dollars >= max_cost

    def _client_for(self, flag: str) -> Client:
        if self.setup.client is None:
            raise RedpencilError(
                f"{self.job.provider.name} does not take batches", field=flag, hint=f"leave {flag} out"
            )
        return self.setup.client

    def write_batches(self, path: Path) -> None:
        """Write the requests without an answer as batch files."""
        client = self._client_for("--batch-out")
        with naming(self.source):
            parts = write_batches(path, self.job.unanswered(), client)
        for part in parts:
            say(f"{part.requests:,} requests in {part.path}")
        if not parts:
            say(f"every {self.noun} has its answer; there is nothing to ask")

    def read_batches(self, paths: Sequence[Path]) -> None:
        """Store the results of batches in the cache, and say if some belong to other requests."""
        client = self._client_for("--batch-in")
        keys: set[str] = set()
        for path in paths:
            for key, result in read_batch_results(path, client):
                self.job.cache.store(key, self.job.provider.name, result, batch=True)
                self.counts["failed" if isinstance(result, Failure) else "answers"] += 1
                keys.add(key)
        with naming(self.source):
            foreign = self.job.foreign_keys(keys)
        if foreign:
            say(
                f"{len(foreign)} of {len(keys)} results belong to none of these requests; the response cache keeps "
                f"them. Give the {self.noun}s, the model and the options with which --batch-out wrote the files"
            )

    def write(self) -> bool:
        """Write the results and print a summary. Returns False if --max-cost left requests out.

        Raises:
            RedpencilError: if there is not one answer; then nothing is written.
        """
        setup = self.setup

        def counted() -> Iterator[Output]:
            for row in self.job.results():
                self.count(row)
                yield row
            if self.unanswered and not self.answered:
                raise self.failures.no_answer_error(setup.out, self.noun, self.unanswered)

        with naming(self.source):
            rows = write_jsonl(setup.out, counted())
        summary = self.summary(rows)
        if setup.options.as_json:
            print_json(summary)
        else:
            self.say_summary(summary)
            self._say_totals(summary)
        self.say_truncated(
            f"--max-tokens {setup.options.max_tokens}" + ("" if setup.client else " or the model's context")
        )
        self.failures.say(batch=bool(setup.options.batch_in))
        missing = self.plan().to_ask if setup.options.batch_in else 0
        if missing:
            say(f"{missing:,} requests are still without an answer; --batch-out writes them")
        if self.unsent:
            say(
                f"{self.unsent_rows(rows)} were not asked: --max-cost {setup.options.max_cost:g} is spent; the same "
                "command continues, with as much again"
            )
        return not self.unsent

    def totals(self) -> dict[str, Any]:
        """Return the number of answers of this run, and tokens and US dollars of all answers about these rows."""
        tokens, price = self.job.spent(), self.setup.price
        dollars = None if price is None else cost(tokens.live, price) + cost(tokens.batch, price, batch=True)
        return {
            "answers_of_this_run": self.counts["answers"],
            "input_tokens": tokens.live.input_tokens + tokens.batch.input_tokens,
            "output_tokens": tokens.live.output_tokens + tokens.batch.output_tokens,
            "cost": dollars,
        }

    def _say_totals(self, totals: Mapping[str, Any]) -> None:
        if totals["input_tokens"]:
            dollars = "" if totals["cost"] is None else f", {format_dollars(totals['cost'])}"
            say(
                f"all answers about these {self.noun}s: {totals['input_tokens']:,} tokens in, "
                f"{totals['output_tokens']:,} out{dollars}"
            )
            self._warn_of_old_price()


def run_job(run: JobRun[Any, Any]) -> None:
    """Do what the options of the command say: plan, ask, write batch files, or read their results.

    Raises:
        typer.Exit: 1 if --max-cost stopped it, 130 if it was interrupted.
    """
    options = run.setup.options
    if options.dry_run:
        run.say_plan()
    elif options.batch_out is not None:
        run.write_batches(options.batch_out)
    else:
        if options.batch_in:
            run.read_batches(options.batch_in)
        else:
            _ask(run)
        if not run.write():
            raise typer.Exit(1)


def _ask(run: JobRun[Any, Any]) -> None:
    file = run.setup.cache_file
    with _sigterm_as_interrupt():
        try:
            run.ask()
        except KeyboardInterrupt:
            if file is None:
                raise
            have = run.plan().answered if run.due else 0
            say(f"interrupted: {have:,} of {run.due:,} answers are in {file}; the same command asks for the rest")
            raise typer.Exit(INTERRUPTED) from None


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """End the work on SIGTERM as on Ctrl-C: the answers that have come are kept."""

    def interrupt(*_: object) -> None:
        # As SIGINT, unless that is ignored, because asyncio has its own handler for SIGINT while it runs.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)  # which asyncio looks for
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
