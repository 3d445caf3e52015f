"""What the command `edit` does with its parts: plan, ask, read and write batches, write the edits, and tell."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from redpencil.cli.output import naming, print_json, say
from redpencil.cli.progress import working
from redpencil.errors import RedpencilError
from redpencil.records import Edit, EditOutcome, JsonlFile, Response, write_jsonl

if TYPE_CHECKING:
    from redpencil.editing.edit import EditStyle, Plan, Spent
    from redpencil.providers.base import Provider
    from redpencil.providers.hosted import Client
    from redpencil.providers.journal import Journal
    from redpencil.providers.prices import Price

_REASONS_TOLD: Final = 5
_REFUSED: Final = re.compile(r"HTTP 4(?!08|09|29)\d\d\b")
"""How a problem begins that will come again until the request is another."""
_STATUS: Final = re.compile(r"^(HTTP \d+): (.*)$")
_BRACKETS: Final = r"\1 (\2)"


@dataclass(slots=True)
class Rows:
    """What became of the responses."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: list[float] = field(default_factory=list)
    asked_twice: int = 0
    answered: int = 0
    never_asked: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, row: Edit) -> None:
        """Count a row."""
        from redpencil.editing.edit import NEVER_ASKED
        from redpencil.providers.shown import reason_of

        self.outcomes[row.outcome.value] += 1
        self.asked_twice += "retry" in row.meta
        if row.outcome is EditOutcome.EDITED:
            self.kept.append(row.meta["kept"])
        if row.outcome is not EditOutcome.FAILED:
            self.answered += bool(row.original.strip())
        elif row.meta["problem"] == NEVER_ASKED:
            self.never_asked += 1
        else:
            reason = reason_of(row.meta["problem"])
            self.reasons[reason] += 1
            self.examples.setdefault(reason, row.meta["problem"])

    @property
    def problems(self) -> dict[str, int]:
        """How many failed for each reason, the most frequent first; told by the first problem of each."""
        return {self.examples[reason]: count for reason, count in self.reasons.most_common()}

    def told_problems(self) -> str:
        """The same in a line."""
        shown = list(self.problems.items())
        parts = [f"{count:,} {_STATUS.sub(_BRACKETS, problem)}" for problem, count in shown[:_REASONS_TOLD]]
        rest = sum(count for _, count in shown[_REASONS_TOLD:])
        return ", ".join([*parts, f"{rest:,} for other reasons"] if rest else parts)

    def check(self, out: Path) -> None:
        """Refuse to write a file without a single answer over what may be there.

        Raises:
            RedpencilError: saying why there is none.
        """
        if self.answered or not self.outcomes[EditOutcome.FAILED.value]:
            return
        if not self.reasons:
            raise RedpencilError(
                f"nothing to write: none of the {self.never_asked:,} responses was asked about",
                file=out,
                way_out="give the same command with a higher --max-cost, or results of their own batch",
            )
        refused = any(_REFUSED.match(problem) for problem in self.problems)
        raise RedpencilError(
            f"nothing to write: no response got an answer ({self.told_problems()})",
            file=out,
            way_out="change what is asked for: --model, --template, --max-tokens, --extra"
            if refused
            else "see to that, and give the same command again",
        )


@dataclass(slots=True, kw_only=True)
class Run:
    """One call of the command: what it works with, and what it has met so far."""

    responses: JsonlFile[Response]
    provider: "Provider"
    client: "Client | None"
    style: "EditStyle"
    journal: "Journal"
    price: "Price | None"
    max_cost: float | None
    max_tokens: int
    who: str
    asked: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    unsent: int = 0
    known: tuple[int, int] = (0, 0)
    """Answers in the journal, and how many there would be with those that are due."""

    def plan(self) -> "Plan":
        """What is due now."""
        from redpencil.editing.edit import plan_edits

        with self._naming():
            return plan_edits(self.responses, self.provider, self.style, self.journal, self.asked)

    def _naming(self) -> AbstractContextManager[None]:
        """Name the file of responses in an error about what it holds."""
        return naming(self.responses.path)

    def tell_plan(self, *, as_json: bool) -> None:
        """Say what would be asked, and an estimate of its cost."""
        plan = self.plan()
        estimate = self._estimate(plan)
        if as_json:
            print_json({**asdict(plan), **estimate})
            return
        say(self.who)
        say(
            f"{plan.responses:,} responses: {plan.answered:,} answered before, {plan.empty:,} empty, "
            f"{plan.to_ask:,} to ask"
        )
        say(
            f"about {estimate['input_tokens']:,} tokens to ask with and {estimate['output_tokens']:,} in the answers, "
            f"at {estimate['bytes_per_token']} bytes a token"
        )
        self._tell_price(estimate["cost"], estimate["batch_cost"])

    def _estimate(self, plan: "Plan") -> dict[str, Any]:
        from redpencil.providers.base import Usage
        from redpencil.providers.limits import BYTES_PER_TOKEN
        from redpencil.providers.prices import cost

        usage = Usage(plan.input_bytes // BYTES_PER_TOKEN, plan.output_bytes // BYTES_PER_TOKEN)
        costs = (None, None) if self.price is None else (cost(usage, self.price), cost(usage, self.price, batch=True))
        return {**asdict(usage), "bytes_per_token": BYTES_PER_TOKEN, "cost": costs[0], "batch_cost": costs[1]}

    def _tell_price(self, live: float | None, batch: float | None) -> None:
        from redpencil.providers.prices import price_page, shown_dollars

        if live is None or batch is None or self.price is None:
            say(f"no price is known for {self.provider.name}; --prices can give one")
            return
        say(f"about {shown_dollars(live)}, as a batch {shown_dollars(batch)}; thinking and second requests cost extra")
        page = price_page(self.provider.name)
        if self.price.as_of is not None:
            say(f"price of {self.price.as_of}" + (f"; check the provider's page: {page}" if page else ""))
        self._warn_of_old_price()

    def _warn_of_old_price(self) -> None:
        from redpencil.providers.prices import days_too_old

        days = None if self.price is None else days_too_old(self.price, date.today())
        if days is not None:
            say(
                f"the price of {self.provider.name} was read {days} days ago and may have changed; --prices corrects it"
            )

    def ask(self) -> None:
        """Ask for first edits, then for second ones where the first kept too little."""
        for name in ("edit", "second edits"):
            plan = self.plan()
            self.known = (plan.answered, plan.answered + plan.to_ask)
            if not plan.to_ask:
                continue
            if self._spent_up():
                break
            if plan.interrupted:
                say(
                    f"{plan.interrupted} requests were under way when the last run ended; they are sent again, and "
                    "the provider may charge for both"
                )
            say(f"{name}: {plan.to_ask:,} of {plan.responses:,} responses, {self.who}")
            # A hosted model's errors are not about the file; what the file holds was looked at by the plan.
            with nullcontext() if self.client else self._naming(), working(name) as progress:
                for done, note in enumerate(self._steps(), start=1):
                    progress(done, plan.to_ask, note)
        self.unsent = self.plan().to_ask if self._spent_up() else 0

    def answers_known(self) -> str:
        """How many answers the journal has of those that are wanted now."""
        return f"{self.known[0]:,} of {self.known[1]:,} answers"

    def _steps(self) -> Iterator[str]:
        from redpencil.editing.edit import ask_for_edits
        from redpencil.providers.base import Failure
        from redpencil.providers.prices import cost, shown_dollars

        # What is under way when the money is spent is waited for: it may have to be paid for all the same.
        for result in ask_for_edits(
            self.responses, self.provider, self.style, self.journal, self.asked, self._spent_up
        ):
            if isinstance(result, Failure):
                self.counts["failed"] += 1
            else:
                self.counts["answers"] += 1
                self.known = (self.known[0] + 1, self.known[1])
                if self.price is not None and result.usage is not None:
                    self.cost += cost(result.usage, self.price)
                elif self.max_cost is not None:
                    raise RedpencilError(
                        "the server does not say how many tokens an answer took, so nobody knows what is spent",
                        field="--max-cost",
                        way_out="leave --max-cost out",
                    )
            notes = [f"{self.counts['failed']} failed" if self.counts["failed"] else ""]
            notes.append(shown_dollars(self.cost) if self.price is not None else "")
            yield ", ".join(note for note in notes if note)

    def _spent_up(self) -> bool:
        return self.max_cost is not None and self.cost >= self.max_cost

    def write_batches(self, path: Path) -> None:
        """Write what is due as batch files."""
        from redpencil.editing.edit import requests_due
        from redpencil.providers.batches import write_batches

        if self.client is None:
            raise RedpencilError(
                f"{self.provider.name} takes no batches", field="--batch-out", way_out="leave --batch-out out"
            )
        with self._naming():
            due = requests_due(self.responses, self.provider, self.style, self.journal)
            written = write_batches(path, due, self.client)
        for part in written:
            say(f"{part.requests:,} requests in {part.path}")
        if not written:
            say("every response has its answer; nothing is to be asked")

    def read_batches(self, paths: Iterable[Path]) -> None:
        """Put the results of batches into the journal, and say if some are about something else."""
        from redpencil.editing.edit import foreign_keys
        from redpencil.providers.base import Failure
        from redpencil.providers.batches import read_batch_results

        if self.client is None:
            raise RedpencilError(
                f"{self.provider.name} gives no batches", field="--batch-in", way_out="leave --batch-in out"
            )
        keys: set[str] = set()
        for path in paths:
            for key, result in read_batch_results(path, self.client):
                self.journal.record(key, self.provider.name, result, batch=True)
                self.counts["failed" if isinstance(result, Failure) else "answers"] += 1
                keys.add(key)
        with self._naming():
            foreign = foreign_keys(keys, self.responses, self.provider, self.style, self.journal)
        if foreign:
            say(
                f"{len(foreign)} of {len(keys)} results belong to none of these requests; the journal keeps them. Give "
                "the responses, the model and the options with which --batch-out wrote the files"
            )

    def write(self, out: Path, *, as_json: bool, batch: bool) -> bool:
        """Write the edits and say what became of the responses and what it cost; whether all was asked that is due.

        Raises:
            RedpencilError: if there is not one answer; then nothing is written.
        """
        from redpencil.editing.edit import read_edits, spent

        rows = Rows()

        def counted() -> Iterator[Edit]:
            for row in read_edits(self.responses, self.provider, self.style, self.journal):
                rows.add(row)
                yield row
            rows.check(out)

        with self._naming():
            count = write_jsonl(out, counted())
        tokens = spent(self.responses, self.provider, self.style, self.journal)
        summary = {
            "edits": str(out),
            "rows": count,
            "outcomes": dict(rows.outcomes),
            "problems": rows.problems,
            "never_asked": rows.never_asked,
            "asked_twice": rows.asked_twice,
            "kept": sum(rows.kept) / len(rows.kept) if rows.kept else None,
            "answers_of_this_run": self.counts["answers"],
            "input_tokens": tokens.live.input_tokens + tokens.batch.input_tokens,
            "output_tokens": tokens.live.output_tokens + tokens.batch.output_tokens,
            "cost": self._cost_of(tokens),
        }
        if as_json:
            print_json(summary)
        else:
            self._tell(summary)
        self._tell_what_is_missing(rows, count, batch=batch)
        return not self.unsent

    def _cost_of(self, tokens: "Spent") -> float | None:
        from redpencil.providers.prices import cost

        if self.price is None:
            return None
        return cost(tokens.live, self.price) + cost(tokens.batch, self.price, batch=True)

    def _tell(self, summary: dict[str, Any]) -> None:
        from redpencil.providers.prices import shown_dollars

        told = ", ".join(f"{number:,} {outcome}" for outcome, number in summary["outcomes"].items())
        say(f"{summary['rows']:,} rows in {summary['edits']}: {told}")
        if summary["kept"] is not None:
            twice = f"; {summary['asked_twice']:,} were asked for twice" if summary["asked_twice"] else ""
            say(f"edited responses keep {100 * summary['kept']:.0f} % of their words{twice}")
        if summary["input_tokens"]:
            cost = "" if summary["cost"] is None else f", {shown_dollars(summary['cost'])}"
            say(
                f"all answers in the journal about these responses: {summary['input_tokens']:,} tokens asked, "
                f"{summary['output_tokens']:,} answered{cost}"
            )
            self._warn_of_old_price()

    def _tell_what_is_missing(self, rows: Rows, count: int, *, batch: bool) -> None:
        if rows.outcomes[EditOutcome.TRUNCATED.value]:
            limit = f"--max-tokens {self.max_tokens}" + ("" if self.client else " or the model's context")
            say(f"{rows.outcomes['truncated']:,} ran into {limit}; a run with more tokens asks for all rows anew")
        if rows.reasons:
            again = "" if batch else "; the same command asks for them again, and for nothing else"
            say(f"{rows.reasons.total():,} failed: {rows.told_problems()}{again}")
        if any(_REFUSED.match(problem) for problem in rows.problems):
            say("what was refused with HTTP 4xx will be refused again until the request is another")
        missing = self.plan().to_ask if batch else 0
        if missing:
            say(f"{missing:,} requests are still without an answer; --batch-out writes them")
        if self.unsent:
            what = f"{rows.never_asked:,} of {count:,}" if rows.never_asked else f"{self.unsent:,} second requests"
            say(
                f"{what} were not asked: --max-cost {self.max_cost:g} is spent; the same command goes on, with as much "
                "again"
            )
