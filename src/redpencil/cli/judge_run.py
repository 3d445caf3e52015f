"""What the command `judge` asks an LLM, writes and tells."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redpencil.cli.output import naming, print_json, say
from redpencil.cli.provider_run import Failures, ProviderRun
from redpencil.records import Comparison, Preference, write_jsonl

if TYPE_CHECKING:
    from redpencil.evaluation.judges import Pairing
    from redpencil.evaluation.llm_judge import JudgeStyle, Plan
    from redpencil.providers.base import Provider, Result
    from redpencil.providers.cache import Answers, Journal
    from redpencil.providers.prices import Price


@dataclass(frozen=True, slots=True)
class JudgeWork:
    """Pairs, and how they are judged; `file` is where they came from."""

    pairings: "Sequence[Pairing]"
    file: Path
    provider: "Provider"
    style: "JudgeStyle"
    journal: "Journal"
    noun: str = "pair"

    def plan(self, asked: Set[str]) -> "Plan":
        """What is due now."""
        from redpencil.evaluation.llm_judge import plan_judgements

        return plan_judgements(self.pairings, self.provider, self.style, self.journal, asked)

    def share(self, plan: "Plan") -> str:
        """How many requests are due."""
        return f"{plan.to_ask:,} requests about {plan.pairs:,} pairs"

    def answers(self) -> "Answers":
        """Every request about the pairs."""
        from redpencil.evaluation.llm_judge import all_answers

        return all_answers(self.pairings, self.provider, self.style, self.journal)

    def ask(self, asked: set[str], enough: Callable[[], bool]) -> "Iterator[Result]":
        """Ask what is due."""
        from redpencil.evaluation.llm_judge import ask_for_judgements

        return ask_for_judgements(self.pairings, self.provider, self.style, self.journal, asked, enough)

    def judgements(self, price: "Price | None") -> Iterator[Comparison]:
        """The judgements that the journal's answers make."""
        from redpencil.evaluation.llm_judge import read_judgements

        return read_judgements(self.pairings, self.provider, self.style, self.journal, price)

    def naming(self) -> AbstractContextManager[None]:
        """Name the file of the pairs in an error about what it holds."""
        return naming(self.file)


@dataclass(slots=True)
class Rows:
    """What became of the pairs."""

    verdicts: Counter[str] = field(default_factory=lambda: Counter({one.value: 0 for one in Preference}))
    same_text: int = 0
    flipped: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    failures: Failures = field(default_factory=Failures)

    def add(self, row: Comparison) -> None:
        """Count a row."""
        self.verdicts[row.preference.value] += 1
        self.same_text += "same_text" in row.meta
        self.flipped += bool(row.meta.get("flipped"))
        if "problem" in row.meta:
            self.problems[row.meta["problem"]] += 1
        for order in row.meta.get("verdicts", ()):
            if "why" in order:
                self.failures.add(order["why"])
            else:
                self.answered += 1

    def check(self, out: Path) -> None:
        """Refuse to write a file without a single answer over what may be there.

        Raises:
            RedpencilError: saying why there is none.
        """
        pairs = self.verdicts[Preference.NONE.value]
        if pairs and not self.answered:
            raise self.failures.nothing(out, "pair", pairs)


def told_verdicts(verdicts: Counter[str]) -> str:
    """Counts of verdicts in words."""
    names = {"first": "for the first", "second": "for the second", "tie": "ties", "none": "without a verdict"}
    return ", ".join(f"{verdicts[key]:,} {name}" for key, name in names.items() if verdicts[key] or key != "none")


@dataclass(slots=True, kw_only=True)
class JudgeRun:
    """One call of the command."""

    work: JudgeWork
    run: ProviderRun
    max_tokens: int
    held_to_schema: bool = False
    seconds: float = 0.0

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
            f"{plan.pairs:,} pairs, {plan.same:,} of them with the same text on both sides: {plan.answered:,} requests "
            f"answered before, {plan.to_ask:,} to ask"
        )
        self.run.say_estimate(estimate, "thinking costs extra")

    def ask(self) -> None:
        """Ask about every pair, in each of its orders."""
        began = time.monotonic()
        self.run.ask("judge")
        self.seconds = time.monotonic() - began

    def write(self, out: Path, *, as_json: bool, batch: bool) -> bool:
        """Write the judgements and say what became of the pairs; whether all was asked that is due.

        Raises:
            RedpencilError: if there is not one answer; then nothing is written.
        """
        from redpencil.evaluation.llm_judge import judge_name

        rows = Rows(failures=Failures(held_to_schema=self.held_to_schema))

        def counted() -> Iterator[Comparison]:
            for row in self.work.judgements(self.run.price):
                rows.add(row)
                yield row
            rows.check(out)

        with self.work.naming():
            count = write_jsonl(out, counted())
        summary = {
            "judgements": str(out),
            "judge": judge_name(self.work.provider, self.work.style),
            "rows": count,
            "verdicts": dict(rows.verdicts),
            "same_text": rows.same_text,
            "flipped": rows.flipped,
            "problems": dict(rows.problems),
            "failures": rows.failures.problems,
            "never_asked": rows.failures.never_asked,
            **self.run.totals(),
            "seconds": round(self.seconds, 3),
        }
        if as_json:
            print_json(summary)
        else:
            self._tell(summary, rows)
        self._tell_what_is_missing(rows, batch=batch)
        return not self.run.unsent

    def _tell(self, summary: dict[str, Any], rows: Rows) -> None:
        say(f"{summary['rows']:,} judgements in {summary['judgements']}: {told_verdicts(rows.verdicts)}")
        if rows.flipped:
            say(f"{rows.flipped:,} of the ties are flips: the verdict changed with the order")
        if rows.problems:
            told = ", ".join(f"{count:,} {problem}" for problem, count in rows.problems.items())
            say(f"without a verdict: {told}; meta.verdicts of these rows says why")
        self.run.say_totals(summary)

    def _tell_what_is_missing(self, rows: Rows, *, batch: bool) -> None:
        if rows.problems["truncated"]:
            limit = f"--max-tokens {self.max_tokens}" + ("" if self.run.client else " or the model's context")
            say(f"answers ran into {limit}; a run with more tokens asks about all pairs anew")
        rows.failures.say(batch=batch)
        if batch:
            self.run.say_missing_of_batch()
        if self.run.unsent:
            self.run.say_spent_up(f"{self.run.unsent:,} requests")
