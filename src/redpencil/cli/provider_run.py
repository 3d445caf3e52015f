"""What `edit` and `judge` share: the run of a command that asks a provider over a journal, and tells of it."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from redpencil.cli.output import say, working
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from redpencil.providers.base import Provider, Result
    from redpencil.providers.cache import Answers, Journal, Spent
    from redpencil.providers.hosted import Client
    from redpencil.providers.prices import Price

_REASONS_TOLD: Final = 5
_REFUSED: Final = re.compile(r"HTTP 4(?!08|09|29)\d\d\b")
"""How a problem begins that will come again until the request is another."""
_BAD_REQUEST: Final = re.compile(r"HTTP 4(00|22)\b")
"""With which servers refuse a request that has something in it which they do not take."""
_STATUS: Final = re.compile(r"^(HTTP \d+): (.*)$")
_BRACKETS: Final = r"\1 (\2)"


class Plan(Protocol):
    """What is due now, in requests and in bytes of UTF-8."""

    @property
    def answered(self) -> int:
        """How many have an answer."""

    @property
    def to_ask(self) -> int:
        """How many are to be asked."""

    @property
    def interrupted(self) -> int:
        """Those to ask that were under way when an earlier process ended."""

    @property
    def input_bytes(self) -> int:
        """Of the requests to ask."""

    @property
    def output_bytes(self) -> int:
        """Of their answers, by estimate."""


class Work(Protocol):
    """What a command asks about. A request that only an answer calls for is known only after that."""

    @property
    def noun(self) -> str:
        """What the rows are, in the singular: `response`."""

    def plan(self, asked: Set[str]) -> Plan:
        """What is due now, leaving out the keys that were asked before."""

    def share(self, plan: Any) -> str:
        """How much of all is due, in words."""

    def answers(self) -> "Answers":
        """Every request about the rows that is known now, with its answer where there is one."""

    def ask(self, asked: set[str], enough: Callable[[], bool]) -> "Iterator[Result]":
        """Ask what is due."""

    def naming(self) -> AbstractContextManager[None]:
        """Name the file of the rows in an error about what it holds."""


@dataclass(slots=True)
class Failures:
    """Why rows got no answer; `held_to_schema`: the requests sent the JSON schema of the answer."""

    held_to_schema: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    never_asked: int = 0

    def add(self, problem: str) -> None:
        """Count a row without an answer."""
        from redpencil.providers.cache import NEVER_ASKED
        from redpencil.providers.redact import reason_of

        if problem == NEVER_ASKED:
            self.never_asked += 1
            return
        reason = reason_of(problem)
        self.reasons[reason] += 1
        self.examples.setdefault(reason, problem)

    @property
    def problems(self) -> dict[str, int]:
        """How many failed for each reason, the most frequent first; told by the first problem of each."""
        return {self.examples[reason]: count for reason, count in self.reasons.most_common()}

    def told(self) -> str:
        """The same in a line."""
        shown = list(self.problems.items())
        parts = [f"{count:,} {_STATUS.sub(_BRACKETS, problem)}" for problem, count in shown[:_REASONS_TOLD]]
        rest = sum(count for _, count in shown[_REASONS_TOLD:])
        return ", ".join([*parts, f"{rest:,} for other reasons"] if rest else parts)

    def say(self, *, batch: bool) -> None:
        """Tell of them, and what the next run does about them."""
        if self.reasons:
            again = "" if batch else "; the same command asks for them again, and for nothing else"
            say(f"{self.reasons.total():,} failed: {self.told()}{again}")
        if self.refused:
            hint = "; a server that takes no JSON schema needs --no-schema" if self._may_be_the_schema else ""
            say(f"what was refused with HTTP 4xx will be refused again until the request is another{hint}")

    @property
    def refused(self) -> bool:
        """Whether a server refused a request for what it is."""
        return any(_REFUSED.match(problem) for problem in self.problems)

    @property
    def _may_be_the_schema(self) -> bool:
        return self.held_to_schema and any(_BAD_REQUEST.match(problem) for problem in self.problems)

    def nothing(self, out: Path, noun: str, rows: int) -> RedpencilError:
        """The error of a file without a single answer, which is not written over what may be there."""
        if not self.reasons:
            return RedpencilError(
                f"nothing to write: none of the {rows:,} {noun}s was asked about",
                file=out,
                hint="give the same command with a higher --max-cost, or results of their own batch",
            )
        options = "--model, --template, --max-tokens, --extra"
        if self._may_be_the_schema:
            options = f"--no-schema, if the server takes no JSON schema, {options}"
        return RedpencilError(
            f"nothing to write: no {noun} got an answer ({self.told()})",
            file=out,
            hint=f"change what is asked for: {options}"
            if self.refused
            else "see to that, and give the same command again",
        )


@dataclass(slots=True, kw_only=True)
class ProviderRun:
    """One call of a command: what it works with, and what it has met so far."""

    work: Work
    provider: "Provider"
    client: "Client | None"
    journal: "Journal"
    price: "Price | None"
    max_cost: float | None
    who: str
    asked: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    cost: float = 0.0
    unsent: int = 0
    known: tuple[int, int] = (0, 0)
    """Answers in the journal, and how many there would be with those that are due."""

    def plan(self) -> Plan:
        """What is due now."""
        with self.work.naming():
            return self.work.plan(self.asked)

    def estimate(self, plan: Plan) -> dict[str, Any]:
        """Tokens and US dollars that the requests to ask would take."""
        from redpencil.providers.base import Usage
        from redpencil.providers.hosted import BYTES_PER_TOKEN
        from redpencil.providers.prices import cost

        usage = Usage(plan.input_bytes // BYTES_PER_TOKEN, plan.output_bytes // BYTES_PER_TOKEN)
        costs = (None, None) if self.price is None else (cost(usage, self.price), cost(usage, self.price, batch=True))
        return {**asdict(usage), "bytes_per_token": BYTES_PER_TOKEN, "cost": costs[0], "batch_cost": costs[1]}

    def say_estimate(self, estimate: dict[str, Any], extra: str) -> None:
        """Tell of an estimate; `extra` is what it leaves out."""
        from redpencil.providers.prices import price_page, shown_dollars

        say(
            f"about {estimate['input_tokens']:,} tokens to ask with and {estimate['output_tokens']:,} in the answers, "
            f"at {estimate['bytes_per_token']} bytes a token"
        )
        live, batch = estimate["cost"], estimate["batch_cost"]
        if live is None or batch is None or self.price is None:
            say(f"no price is known for {self.provider.name}; --prices can give one")
            return
        say(f"about {shown_dollars(live)}, as a batch {shown_dollars(batch)}; {extra}")
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

    def ask(self, *rounds: str) -> None:
        """Ask what is due, once for each of the rounds: what is due in the second depends on answers of the first."""
        for name in rounds:
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
            say(f"{name}: {self.work.share(plan)}, {self.who}")
            # A hosted model's errors are not about the file; what the file holds was looked at by the plan.
            with nullcontext() if self.client else self.work.naming(), working(name) as progress:
                for done, note in enumerate(self._steps(), start=1):
                    progress(done, plan.to_ask, note)
        self.unsent = self.plan().to_ask if self._spent_up() else 0

    def answers_known(self) -> str:
        """How many answers the journal has of those that are wanted now."""
        return f"{self.known[0]:,} of {self.known[1]:,} answers"

    def _steps(self) -> Iterator[str]:
        from redpencil.providers.base import Failure
        from redpencil.providers.prices import cost, shown_dollars

        # What is under way when the money is spent is waited for: it may have to be paid for all the same.
        for result in self.work.ask(self.asked, self._spent_up):
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
                        hint="leave --max-cost out",
                    )
            notes = [f"{self.counts['failed']} failed" if self.counts["failed"] else ""]
            notes.append(shown_dollars(self.cost) if self.price is not None else "")
            yield ", ".join(note for note in notes if note)

    def _spent_up(self) -> bool:
        return self.max_cost is not None and self.cost >= self.max_cost

    def write_batches(self, path: Path) -> None:
        """Write what is due as batch files."""
        from redpencil.providers.batches import write_batches
        from redpencil.providers.cache import unanswered

        if self.client is None:
            raise RedpencilError(
                f"{self.provider.name} takes no batches", field="--batch-out", hint="leave --batch-out out"
            )
        with self.work.naming():
            written = write_batches(path, unanswered(self.work.answers()), self.client)
        for part in written:
            say(f"{part.requests:,} requests in {part.path}")
        if not written:
            say(f"every {self.work.noun} has its answer; nothing is to be asked")

    def read_batches(self, paths: Iterable[Path]) -> None:
        """Put the results of batches into the journal, and say if some are about something else."""
        from redpencil.providers.base import Failure
        from redpencil.providers.batches import read_batch_results
        from redpencil.providers.cache import foreign_keys

        if self.client is None:
            raise RedpencilError(
                f"{self.provider.name} gives no batches", field="--batch-in", hint="leave --batch-in out"
            )
        keys: set[str] = set()
        for path in paths:
            for key, result in read_batch_results(path, self.client):
                self.journal.record(key, self.provider.name, result, batch=True)
                self.counts["failed" if isinstance(result, Failure) else "answers"] += 1
                keys.add(key)
        with self.work.naming():
            foreign = foreign_keys(keys, self.work.answers())
        if foreign:
            say(
                f"{len(foreign)} of {len(keys)} results belong to none of these requests; the journal keeps them. Give "
                f"the {self.work.noun}s, the model and the options with which --batch-out wrote the files"
            )

    def totals(self) -> dict[str, Any]:
        """Answers of this run, and tokens and US dollars of all answers in the journal about these rows."""
        from redpencil.providers.cache import spent

        tokens = spent(self.work.answers(), self.journal)
        return {
            "answers_of_this_run": self.counts["answers"],
            "input_tokens": tokens.live.input_tokens + tokens.batch.input_tokens,
            "output_tokens": tokens.live.output_tokens + tokens.batch.output_tokens,
            "cost": self._cost_of(tokens),
        }

    def _cost_of(self, tokens: "Spent") -> float | None:
        from redpencil.providers.prices import cost

        if self.price is None:
            return None
        return cost(tokens.live, self.price) + cost(tokens.batch, self.price, batch=True)

    def say_totals(self, totals: dict[str, Any]) -> None:
        """Tell of the tokens and the money, if a server counted."""
        from redpencil.providers.prices import shown_dollars

        if totals["input_tokens"]:
            cost = "" if totals["cost"] is None else f", {shown_dollars(totals['cost'])}"
            say(
                f"all answers in the journal about these {self.work.noun}s: {totals['input_tokens']:,} tokens asked, "
                f"{totals['output_tokens']:,} answered{cost}"
            )
            self._warn_of_old_price()

    def say_missing_of_batch(self) -> None:
        """Tell how many requests the results of a batch have left without an answer."""
        missing = self.plan().to_ask
        if missing:
            say(f"{missing:,} requests are still without an answer; --batch-out writes them")

    def say_spent_up(self, what: str) -> None:
        """Tell what was not asked, as the money is spent."""
        say(
            f"{what} were not asked: --max-cost {self.max_cost:g} is spent; the same command goes on, with as much "
            "again"
        )
