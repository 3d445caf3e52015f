"""What the command `edit` asks, writes and tells."""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redpencil.cli.output import naming, print_json, say
from redpencil.cli.provider_run import Failures, ProviderRun
from redpencil.records import Edit, EditOutcome, JsonlFile, Response, write_jsonl

if TYPE_CHECKING:
    from redpencil.editing.edit import EditStyle, Plan
    from redpencil.providers.base import Provider, Result
    from redpencil.providers.cache import Answers, Journal


@dataclass(frozen=True, slots=True)
class EditWork:
    """Responses, and how edits of them are asked for."""

    responses: JsonlFile[Response]
    provider: "Provider"
    style: "EditStyle"
    journal: "Journal"
    noun: str = "response"

    def plan(self, asked: Set[str]) -> "Plan":
        """What is due now."""
        from redpencil.editing.edit import plan_edits

        return plan_edits(self.responses, self.provider, self.style, self.journal, asked)

    def share(self, plan: "Plan") -> str:
        """How many of the responses are due."""
        return f"{plan.to_ask:,} of {plan.responses:,} responses"

    def answers(self) -> "Answers":
        """Every request about the responses that is known now."""
        from redpencil.editing.edit import all_answers

        return all_answers(self.responses, self.provider, self.style, self.journal)

    def ask(self, asked: set[str], enough: Callable[[], bool]) -> "Iterator[Result]":
        """Ask what is due."""
        from redpencil.editing.edit import ask_for_edits

        return ask_for_edits(self.responses, self.provider, self.style, self.journal, asked, enough)

    def edits(self) -> Iterator[Edit]:
        """The edits that the journal's answers make."""
        from redpencil.editing.edit import read_edits

        return read_edits(self.responses, self.provider, self.style, self.journal)

    def naming(self) -> AbstractContextManager[None]:
        """Name the file of responses in an error about what it holds."""
        return naming(self.responses.path)


@dataclass(slots=True)
class Rows:
    """What became of the responses."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kept: list[float] = field(default_factory=list)
    asked_twice: int = 0
    answered: int = 0
    failures: Failures = field(default_factory=Failures)

    def add(self, row: Edit) -> None:
        """Count a row."""
        self.outcomes[row.outcome.value] += 1
        self.asked_twice += "retry" in row.meta
        if row.outcome is EditOutcome.EDITED:
            self.kept.append(row.meta["kept"])
        if row.outcome is EditOutcome.FAILED:
            self.failures.add(row.meta["problem"])
        else:
            self.answered += bool(row.original.strip())

    def check(self, out: Path) -> None:
        """Refuse to write a file without a single answer over what may be there.

        Raises:
            RedpencilError: saying why there is none.
        """
        if not self.answered and self.outcomes[EditOutcome.FAILED.value]:
            raise self.failures.nothing(out, "response", self.failures.never_asked)


@dataclass(slots=True, kw_only=True)
class EditRun:
    """One call of the command."""

    work: EditWork
    run: ProviderRun
    max_tokens: int

    def tell_plan(self, *, as_json: bool) -> None:
        """Say what would be asked, and an estimate of its cost."""
        with self.work.naming():
            plan = self.work.plan(self.run.asked)
        estimate = self.run.estimate(plan)
        if as_json:
            print_json({**asdict(plan), **estimate})
            return
        say(self.run.who)
        say(
            f"{plan.responses:,} responses: {plan.answered:,} answered before, {plan.empty:,} empty, "
            f"{plan.to_ask:,} to ask"
        )
        self.run.say_estimate(estimate, "thinking and second requests cost extra")

    def ask(self) -> None:
        """Ask for first edits, then for second ones where the first kept too little."""
        self.run.ask("edit", "second edits")

    def write(self, out: Path, *, as_json: bool, batch: bool) -> bool:
        """Write the edits and say what became of the responses and what it cost; whether all was asked that is due.

        Raises:
            RedpencilError: if there is not one answer; then nothing is written.
        """
        rows = Rows()

        def counted() -> Iterator[Edit]:
            for row in self.work.edits():
                rows.add(row)
                yield row
            rows.check(out)

        with self.work.naming():
            count = write_jsonl(out, counted())
        summary = {
            "edits": str(out),
            "rows": count,
            "outcomes": dict(rows.outcomes),
            "problems": rows.failures.problems,
            "never_asked": rows.failures.never_asked,
            "asked_twice": rows.asked_twice,
            "kept": sum(rows.kept) / len(rows.kept) if rows.kept else None,
            **self.run.totals(),
        }
        if as_json:
            print_json(summary)
        else:
            self._tell(summary)
        self._tell_what_is_missing(rows, count, batch=batch)
        return not self.run.unsent

    def _tell(self, summary: dict[str, Any]) -> None:
        told = ", ".join(f"{number:,} {outcome}" for outcome, number in summary["outcomes"].items())
        say(f"{summary['rows']:,} rows in {summary['edits']}: {told}")
        if summary["kept"] is not None:
            asked = summary["asked_twice"]
            twice = f"; {asked:,} {'was' if asked == 1 else 'were'} asked for twice" if asked else ""
            say(f"edited responses keep {100 * summary['kept']:.0f} % of their words{twice}")
        self.run.say_totals(summary)

    def _tell_what_is_missing(self, rows: Rows, count: int, *, batch: bool) -> None:
        if rows.outcomes[EditOutcome.TRUNCATED.value]:
            limit = f"--max-tokens {self.max_tokens}" + ("" if self.run.client else " or the model's context")
            say(f"{rows.outcomes['truncated']:,} ran into {limit}; a run with more tokens asks for all rows anew")
        rows.failures.say(batch=batch)
        if batch:
            self.run.say_missing_of_batch()
        if self.run.unsent:
            never = rows.failures.never_asked
            what = f"{never:,} of {count:,}" if never else f"{self.run.unsent:,} second requests"
            self.run.say_spent_up(what)
