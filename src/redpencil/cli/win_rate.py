"""`evaluate win-rate`: how often policies win, how sure that is, and how much of it is length (Table 1)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Column, Table

from redpencil.cli.names import short_names
from redpencil.cli.options import JsonOption, examples
from redpencil.cli.output import console, naming, print_json, say
from redpencil.errors import RedpencilError

if TYPE_CHECKING:
    from redpencil.evaluation.ranking import Ranked
    from redpencil.evaluation.statistics import Estimate, Paired
    from redpencil.evaluation.win_rate import Case, Interval, PolicyWinRate, VerdictFormat

app = typer.Typer(rich_markup_mode="rich")
RANKING_SHARE: Final = 10
"""The ranking is fitted anew for each sample, so it takes one in so many."""


@app.command(
    "win-rate",
    epilog=examples(
        "redpencil evaluate win-rate judgements.jsonl",
        "redpencil evaluate win-rate judge/token.jsonl judge/edits.jsonl judge/preference.jsonl --json",
        "redpencil evaluate win-rate annotations.json --format alpaca-eval --by dataset",
    ),
)
def win_rate(
    judgements: Annotated[list[Path], typer.Argument(metavar="JUDGEMENTS...", help="One file for each policy.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="redpencil: what `judge` writes, and the comparisons that people made; alpaca-eval: AlpacaEval's "
            "annotations.json.",
        ),
    ] = "redpencil",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Key of a row that says what kind of prompt it is. Default: category, dataset or subset, whichever is "
            "there.",
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, metavar="SHARE", help="Share of the intervals that cover the truth.")
    ] = 0.95,
    resamples: Annotated[
        int, typer.Option(min=100, metavar="N", help="Samples of the bootstrap; a tenth of them for the ranking.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the bootstrap.")] = 0,
    json: JsonOption = False,
) -> None:
    """Win rate of each policy against its reference, draws one half, with what it hides.

    The interval is the bootstrap's over prompts. LC is the rate at equal length, by a logistic regression after
    AlpacaEval 2. Several policies are compared prompt by prompt, with a sign test, and ranked by Bradley-Terry.
    """
    from redpencil.evaluation.win_rate import Interval, by_category, policy_win_rate, read_cases

    kind, how = _format(format_), Interval(confidence, resamples, seed)
    cases = {name: read_cases(path, kind) for name, path in short_names(judgements).items()}
    rates, kinds = {}, {}
    for name, path in short_names(judgements).items():
        with naming(path):
            rates[name] = policy_win_rate(cases[name], how)
        kinds[name] = by_category(cases[name], by)
        if by is not None and not kinds[name]:
            raise RedpencilError("no row has this key", file=path, field=by, hint="see which keys the rows have")
    warnings = [warning for name, rate in rates.items() for warning in _warnings(name, rate)]
    compared = {}
    for first, second in combinations(cases, 2):
        with _or_warning(f"{first} and {second} cannot be paired", warnings):
            compared[f"{first} minus {second}"] = _compare(cases[first], cases[second], how)
    ranking: list[Ranked] = []
    with _or_warning("no ranking", warnings):
        ranking = _ranking(cases, how) if len(cases) > 1 else []
    if json:
        _print_json(rates, kinds, compared, ranking, warnings)
    else:
        _print(rates, kinds, compared, ranking, confidence)
        for warning in warnings:
            say(f"warning: {warning}")


def _format(name: str) -> "VerdictFormat":
    from redpencil.evaluation.win_rate import VERDICT_FORMATS

    found = next((known for known in VERDICT_FORMATS if known == name), None)
    if found is None:
        raise RedpencilError(f"no such format: {name!r}", field="--format", hint=f"one of {', '.join(VERDICT_FORMATS)}")
    return found


@contextmanager
def _or_warning(what: str, warnings: list[str]) -> Iterator[None]:
    """What some files do not allow is said, and the rest is told all the same."""
    try:
        yield
    except RedpencilError as error:
        warnings.append(f"{what}: {error.problem}")


def _compare(first: "Sequence[Case]", second: "Sequence[Case]", how: "Interval") -> "Paired":
    from redpencil.evaluation.statistics import paired
    from redpencil.evaluation.win_rate import shared_scores

    return paired(*shared_scores(first, second), confidence=how.confidence, resamples=how.resamples, seed=how.seed)


def _ranking(cases: Mapping[str, "Sequence[Case]"], how: "Interval") -> "list[Ranked]":
    """Policies go by the names of their files. A reference is one of them where exactly one file, another than its own,
    has a policy of that name; else it is a player of its own.
    """
    from redpencil.evaluation.ranking import Match, rank

    files: dict[str, set[str]] = {}
    for name, rows in cases.items():
        for writer in {case.policy for case in rows if case.policy}:
            files.setdefault(writer, set()).add(name)

    def player(name: str, reference: str) -> str:
        same = files.get(reference, set())
        if len(same) == 1 and name not in same:
            return next(iter(same))
        return f"{reference} (reference)" if reference and reference != "reference" else "the reference"

    matches = [
        Match(name, player(name, case.reference), case.score, case.id)
        for name, rows in cases.items()
        for case in rows
        if case.score is not None and not (case.policy and case.policy == case.reference)
    ]
    return rank(matches, confidence=how.confidence, resamples=how.resamples // RANKING_SHARE, seed=how.seed)


def _warnings(name: str, rate: "PolicyWinRate") -> list[str]:
    found = []
    controlled = rate.length_controlled
    if controlled is not None and controlled.is_far_from(rate.win_rate):
        found.append(
            f"{name}: at equal length the win rate would be {controlled.value:.1f}, not {rate.win_rate:.1f}; its "
            f"responses have {rate.mean_length:.0f} characters, the reference's {rate.mean_length_reference:.0f}"
        )
    if rate.unparsed:
        found.append(f"{name}: {rate.unparsed:,} of {rate.n + rate.unparsed:,} comparisons have no verdict")
    return found


def _print_json(
    rates: Mapping[str, "PolicyWinRate"],
    kinds: Mapping[str, Mapping[str, "Estimate"]],
    compared: Mapping[str, "Paired"],
    ranking: "Sequence[Ranked]",
    warnings: Sequence[str],
) -> None:
    """One policy is one object; several stand under their names."""
    policies: dict[str, dict[str, Any]] = {
        name: {**asdict(rate), "categories": {kind: _estimate(found) for kind, found in kinds[name].items()}}
        for name, rate in rates.items()
    }
    if len(policies) == 1:
        print_json({**next(iter(policies.values())), "warnings": warnings})
        return
    print_json(
        {
            "policies": policies,
            "differences": {pair: asdict(found) for pair, found in compared.items()},
            "ranking": [asdict(row) for row in ranking],
            "warnings": warnings,
        }
    )


def _estimate(found: "Estimate") -> dict[str, float]:
    return {"win_rate": found.value, "standard_error": found.standard_error, "n": found.n}


def _print(
    rates: Mapping[str, "PolicyWinRate"],
    kinds: Mapping[str, Mapping[str, "Estimate"]],
    compared: Mapping[str, "Paired"],
    ranking: "Sequence[Ranked]",
    confidence: float,
) -> None:
    percent = f"{100 * confidence:g} %"
    table = Table(
        "policy", Column(f"win rate [{percent}]", no_wrap=True), "s.e.", "LC (s.e.)", "won/lost/drawn", "characters"
    )
    for name, rate in rates.items():
        lc = rate.length_controlled
        controlled = "-" if lc is None else f"{lc.value:.1f} ({lc.standard_error:.1f})"
        counts = "/".join(f"{count:,}" for count in (rate.wins, rate.losses, rate.draws))
        lengths = f"{rate.mean_length:.0f}/{rate.mean_length_reference:.0f}"
        interval = f"{rate.win_rate:.1f}" + ("" if isnan(rate.low) else f" [{rate.low:.1f}, {rate.high:.1f}]")
        table.add_row(name, interval, f"{rate.standard_error:.1f}", controlled, counts, lengths)
    console.print(table, soft_wrap=False)
    _print_kinds(kinds)
    for pair, found in compared.items():
        interval = "" if isnan(found.low) else f"{percent} {found.low:+.1f} to {found.high:+.1f}, "
        console.print(
            f"{pair}: {found.value:+.1f} points ({interval}paired; better on {found.better:,} prompts, worse on "
            f"{found.worse:,}, sign test p = {found.p_value:.2g})"
        )
    if ranking:
        table = Table("rank", "policy", Column(f"strength [{percent}]", no_wrap=True), "beats others %", "verdicts")
        for place, row in enumerate(ranking, start=1):
            strength = f"{row.strength:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
            table.add_row(str(place), row.name, strength, f"{row.beats_average:.1f}", f"{row.matches:,}")
        console.print(table, soft_wrap=False)
        console.print("Strengths are log-odds that add up to 0.")


def _print_kinds(kinds: Mapping[str, Mapping[str, "Estimate"]]) -> None:
    """A row for each kind of prompt, a column for each policy; nothing where rows name none."""
    names = list(dict.fromkeys(kind for found in kinds.values() for kind in found))
    if len(names) < 2:
        return
    table = Table("kind of prompt", *(f"{name} %" for name in kinds))
    for kind in names:
        table.add_row(kind, *(_cell(found.get(kind)) for found in kinds.values()))
    console.print(table, soft_wrap=False)


def _cell(found: "Estimate | None") -> str:
    return "-" if found is None else f"{found.value:.1f} (s.e. {found.standard_error:.1f}, n {found.n})"
