"""`evaluate`: win rates, judges, reward models and efficiency, with one command for each."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from redpencil.cli.options import (
    DeviceOption,
    JsonOption,
    RecipeOption,
    SetOption,
    VerifyOption,
    examples,
    named_codec,
    one_of,
    option,
    runtime_of,
    settings,
)
from redpencil.cli.output import (
    DASH,
    check_out_file,
    console,
    print_json,
    print_redline,
    print_table,
    say,
    short_names,
    working,
)
from redpencil.config.recipe import Recipe
from redpencil.errors import RedpencilError, naming
from redpencil.evaluation.edits_needed import MEASURES, EditsNeeded, Ranged, edits_needed, needs_difference
from redpencil.evaluation.judge_quality import JudgeQuality, Kappa, Share, judge_quality
from redpencil.evaluation.matching import match_note
from redpencil.evaluation.ranking import Match, Ranked, rank
from redpencil.evaluation.reward_eval import RewardEvals, TestKind, WorstPair, cautions, to_json
from redpencil.evaluation.statistics import Estimate, Paired, paired
from redpencil.evaluation.win_rate import (
    VERDICT_FORMATS,
    Case,
    Interval,
    PolicyWinRate,
    by_category,
    policy_win_rate,
    read_cases,
    shared_scores,
    time_to_reach,
    under_ids_of,
)
from redpencil.formats.base import Kind
from redpencil.formats.datasets import open_source
from redpencil.formats.reading import Tally, Wanted, read_records
from redpencil.formats.rewardbench import ANSWERS, REWARDBENCH
from redpencil.formats.text_files import OTHER_ENCODING
from redpencil.records import Comparison, Edit, Pair, read_jsonl
from redpencil.report.reward_eval import about_pair, edit_tests, group_table, reward_eval_tables, write_reward_eval
from redpencil.report.tables import Table
from redpencil.runs import read_metrics

if TYPE_CHECKING:  # loads torch
    from redpencil.models.checkpoints import RewardModel
    from redpencil.pipeline.reward_eval import Held

RANKING_SHARE: Final = 10
"""The ranking is fitted again for each bootstrap sample, so it takes one sample in ten."""
WORST: Final = 3
"""Worst pairs of a model and test set that the terminal shows."""
_SHARES: Final = (
    ("agreement with people %", "agreement"),
    ("the same without ties % (chance 50)", "agreement_without_ties"),
    ("ties %", "ties"),
    ("flips when swapped %", "flip_rate"),
    ("for the one shown first % (fair 50)", "first_position"),
    ("for the longer %", "longer"),
    ("people for the longer %", "people_longer"),
    ("unparsed %", "unparsed"),
    ("failed %", "failed"),
)
_IN_TERMINAL: Final = ("type", "size")
_WITH_INTERVALS: Final = ("accuracy", "rewardbench", "rewardbench2", "localisation")
JsonlFiles = list[Path] | None

app = typer.Typer(
    name="evaluate",
    no_args_is_help=True,
    help="Measure policies, judges and reward models (Tables 1 to 3 of the paper).",
)


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
        option(
            "NAME",
            "redpencil: what `judge` writes, and the comparisons that people made; alpaca-eval: AlpacaEval's "
            "annotations.json.",
            "--format",
        ),
    ] = "redpencil",
    by: Annotated[
        str | None,
        option(
            "KEY",
            "Key of a row that holds the kind of its prompt. Default: category, dataset or subset, whichever the "
            "rows have.",
        ),
    ] = None,
    confidence: Annotated[float, option("SHARE", "Confidence of the intervals.", min=0.5, max=0.999)] = 0.95,
    resamples: Annotated[int, option("N", "Bootstrap samples; the ranking takes a tenth of them.", min=100)] = 10_000,
    seed: Annotated[int, option("N", "Seed of the bootstrap.", min=0)] = 0,
    json: JsonOption = False,
) -> None:
    """Show how often each policy was preferred to its reference; a tie counts one half (Table 1).

    The interval is a bootstrap interval over prompts. LC is the win rate at equal length, by a logistic regression
    as in AlpacaEval 2. Several policies are compared prompt by prompt, with a sign test, and ranked by Bradley-Terry.
    """
    kind, how = one_of(format_, VERDICT_FORMATS, "--format", "format"), Interval(confidence, resamples, seed)
    files = dict(zip(short_names(judgements), judgements, strict=True))
    cases = {name: read_cases(path, kind) for name, path in files.items()}
    rates, kinds, warnings = {}, {}, []
    first, *others = cases
    for name in others:
        cases[name], changed = under_ids_of(cases[first], cases[name])
        if changed:
            warnings.append(f"{first} and {name}: {match_note(changed, len(cases[name]))}")
    for name, path in files.items():
        with naming(path):
            rates[name] = policy_win_rate(cases[name], how)
        kinds[name] = by_category(cases[name], by)
        if by is not None and not kinds[name]:
            raise RedpencilError("no row has this key", file=path, field=by, hint="see which keys the rows have")
    warnings += [warning for name, rate in rates.items() for warning in _rate_warnings(name, rate)]
    compared = {}
    for first, second in combinations(cases, 2):
        with _or_warning(f"{first} and {second} cannot be paired", warnings):
            compared[f"{first} minus {second}"] = _compare(cases[first], cases[second], how)
    ranking: list[Ranked] = []
    with _or_warning("no ranking", warnings):
        ranking = _ranking(cases, how) if len(cases) > 1 else []
    if json:
        _print_rates_as_json(rates, kinds, compared, ranking, warnings)
    else:
        _print_rates(rates, kinds, compared, ranking, confidence)
        for warning in warnings:
            say(f"warning: {warning}")


@contextmanager
def _or_warning(what: str, warnings: list[str]) -> Iterator[None]:
    """Turn an error into a warning: what the files do not allow is left out of the results."""
    try:
        yield
    except RedpencilError as error:
        warnings.append(f"{what}: {error.problem}")


def _compare(first: Sequence[Case], second: Sequence[Case], how: Interval) -> Paired:
    return paired(*shared_scores(first, second), **asdict(how))


def _ranking(cases: Mapping[str, Sequence[Case]], how: Interval) -> list[Ranked]:
    """Rank policies, by the names of their files, and their references.

    A reference is the policy of another file if exactly one other file has a policy of that name; else it is a player
    of its own.
    """
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


def _rate_warnings(name: str, rate: PolicyWinRate) -> list[str]:
    warnings = []
    controlled = rate.length_controlled
    if controlled is not None and controlled.is_far_from(rate.win_rate):
        warnings.append(
            f"{name}: at equal length the win rate would be {controlled.value:.1f}, not {rate.win_rate:.1f}; its "
            f"responses have {rate.mean_length:.0f} characters, the reference's {rate.mean_length_reference:.0f}"
        )
    if rate.unparsed:
        warnings.append(f"{name}: {rate.unparsed:,} of {rate.n + rate.unparsed:,} comparisons have no verdict")
    return warnings


def _print_rates_as_json(
    rates: Mapping[str, PolicyWinRate],
    kinds: Mapping[str, Mapping[str, Estimate]],
    compared: Mapping[str, Paired],
    ranking: Sequence[Ranked],
    warnings: Sequence[str],
) -> None:
    """Print one object for one policy, or an object for each policy under its name."""
    policies: dict[str, dict[str, Any]] = {
        name: {
            **asdict(rate),
            "categories": {
                kind: {"win_rate": one.value, "standard_error": one.standard_error, "n": one.n}
                for kind, one in kinds[name].items()
            },
        }
        for name, rate in rates.items()
    }
    if len(policies) == 1:
        print_json({**next(iter(policies.values())), "warnings": warnings})
        return
    print_json(
        {
            "policies": policies,
            "differences": {pair: asdict(difference) for pair, difference in compared.items()},
            "ranking": [asdict(row) for row in ranking],
            "warnings": warnings,
        }
    )


def _print_rates(
    rates: Mapping[str, PolicyWinRate],
    kinds: Mapping[str, Mapping[str, Estimate]],
    compared: Mapping[str, Paired],
    ranking: Sequence[Ranked],
    confidence: float,
) -> None:
    percent = f"{100 * confidence:g} %"
    print_table(
        ("policy", f"win rate [{percent}]", "s.e.", "LC (s.e.)", "won/lost/tied", "characters"),
        [(name, *_rate_cells(rate)) for name, rate in rates.items()],
    )
    groups = list(dict.fromkeys(kind for estimates in kinds.values() for kind in estimates))
    if len(groups) > 1:
        print_table(
            ("kind of prompt", *(f"{name} %" for name in kinds)),
            [(kind, *(_estimate_cell(estimates.get(kind)) for estimates in kinds.values())) for kind in groups],
        )
    for pair, difference in compared.items():
        low, high = difference.low, difference.high
        interval = "" if math.isnan(low) else f"{percent} {low:+.1f} to {high:+.1f}, "
        console.print(
            f"{pair}: {difference.value:+.1f} points ({interval}paired; better on {difference.better:,} prompts, worse "
            f"on {difference.worse:,}, sign test p = {difference.p_value:.2g})"
        )
    if ranking:
        print_table(
            ("policy", "rank", f"strength [{percent}]", "beats others %", "verdicts"),
            [
                (
                    row.name,
                    str(place),
                    f"{row.strength:+.2f} [{row.low:+.2f}, {row.high:+.2f}]",
                    f"{row.beats_average:.1f}",
                    f"{row.matches:,}",
                )
                for place, row in enumerate(ranking, start=1)
            ],
            notes=["Strengths are log-odds that add up to 0."],
        )


def _rate_cells(rate: PolicyWinRate) -> list[str]:
    controlled = rate.length_controlled
    return [
        f"{rate.win_rate:.1f}" + ("" if math.isnan(rate.low) else f" [{rate.low:.1f}, {rate.high:.1f}]"),
        f"{rate.standard_error:.1f}",
        DASH if controlled is None else f"{controlled.value:.1f} ({controlled.standard_error:.1f})",
        "/".join(f"{count:,}" for count in (rate.wins, rate.losses, rate.draws)),
        f"{rate.mean_length:.0f}/{rate.mean_length_reference:.0f}",
    ]


def _estimate_cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return DASH
    return f"{estimate.value:.1f} (s.e. {estimate.standard_error:.1f}, n {estimate.n})"


@app.command(
    "judge",
    epilog=examples(
        "redpencil import feedback.json --format qa-feedback --as comparisons --out people.jsonl",
        "redpencil judge --comparisons people.jsonl --judge llm --provider openai --model gpt-5-mini --out gpt.jsonl",
        "redpencil evaluate judge gpt.jsonl --against people.jsonl",
        "redpencil evaluate judge one.jsonl two.jsonl --against people.jsonl --json",
    ),
)
def judge(
    judgements: Annotated[list[Path], typer.Argument(metavar="JUDGEMENTS...", help="One file for each judge.")],
    against: Annotated[Path | None, option("JSONL", "People's comparisons of the same pairs, matched by id.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure judges: agreement with people, bias for order and length, missing verdicts, cost.

    Standard errors and 95 % intervals are clustered: comparisons of answers to the same prompt count as one group.
    """
    people = [] if against is None else list(read_jsonl(against, Comparison))
    judges = {}
    for name, path in zip(short_names(judgements), judgements, strict=True):
        with naming(path):
            judges[name] = judge_quality(list(read_jsonl(path, Comparison)), people)
    if json:
        content = {name: asdict(quality) for name, quality in judges.items()}
        print_json(next(iter(content.values())) if len(content) == 1 else {"judges": content})
        return
    _print_judges(judges)
    for name, quality in judges.items():
        if quality.matched_by_text:
            say(f"{name}: {quality.matched_by_text:,} verdicts of {against} were matched by text, as their ids differ")
        if against is not None and not quality.compared:
            say(f"warning: {name}: no verdict can be compared with a person's: other pairs, or there is no verdict")
        elif quality.only_by_people:
            say(f"{name}: {quality.only_by_people:,} pairs of {against} were not judged")


def _print_judges(judges: Mapping[str, JudgeQuality]) -> None:
    qualities = judges.values()
    rows = [["comparisons", *(f"{quality.comparisons:,}" for quality in qualities)]]
    for label, name in _SHARES:
        rows.append([label, *(_share(getattr(quality, name)) for quality in qualities)])
        if name == "agreement_without_ties":
            rows.append(["Cohen's kappa", *(_kappa(quality.kappa) for quality in qualities)])
    rows.append(["$ for 1,000", *(_number(quality.cost_per_1000) for quality in qualities)])
    rows.append(["seconds each", *(_number(quality.seconds) for quality in qualities)])
    print_table(("judge", *judges), rows)


def _share(share: Share | None) -> str:
    return DASH if share is None else f"{share.value:.1f} ({share.low:.1f} to {share.high:.1f}, n {share.n:,})"


def _kappa(kappa: Kappa | None) -> str:
    if kappa is None or kappa.value is None:
        return DASH
    interval = "" if kappa.low is None or kappa.high is None else f" ({kappa.low:.2f} to {kappa.high:.2f})"
    return f"{kappa.value:.2f}{interval}"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


@app.command(
    epilog=examples(
        "redpencil evaluate reward --model reward/checkpoint --edits edits.jsonl --html reward-models.html",
        "redpencil evaluate reward --model one/checkpoint --model two/checkpoint "
        "--edits edits.jsonl --comparisons comparisons.jsonl --json",
        "redpencil evaluate reward --model reward/checkpoint --rewardbench filtered.parquet",
        "redpencil evaluate reward --model reward/checkpoint --pairs align/edits_test.jsonl",
    ),
)
def reward(
    model: Annotated[list[Path], option("FOLDER", "Reward checkpoint. Repeatable.")],
    edits: Annotated[JsonlFiles, option("JSONL", "Held-out edits. Repeatable.")] = None,
    comparisons: Annotated[JsonlFiles, option("JSONL", "Held-out comparisons. Repeatable.")] = None,
    rewardbench: Annotated[
        JsonlFiles, option("FILE", "Rows of RewardBench or RewardBench 2: JSONL, JSON or Parquet. Repeatable.")
    ] = None,
    pairs: Annotated[JsonlFiles, option("JSONL", "Held-out pairs that `align` wrote. Repeatable.")] = None,
    training_edits: Annotated[
        JsonlFiles,
        option(
            "JSONL",
            "Edits that the models were trained on, to which the classifier of artefacts is fitted. Default: it is "
            "cross-validated on the held-out pairs. Repeatable.",
        ),
    ] = None,
    html: Annotated[Path | None, option("FILE", "Also write the results as a page.")] = None,
    shown: Annotated[int, option("N", "Worst pairs of each type of edit to keep.", "--examples", min=0, max=100)] = 5,
    json: JsonOption = False,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    device: DeviceOption = None,
    _verify: VerifyOption = False,
) -> None:
    """Evaluate reward models on held-out edits and preferences (Table 2, and more).

    Shows the accuracy of each model on each test set, next to rules that read nothing, such as that the shorter text
    wins; calibration; accuracy by type and size of the edit; whether low token rewards fall on the tokens that were
    edited away or that people marked as errors, next to the rule that later tokens are worse; how far the rewards of
    unchanged tokens drift; correlation with length; and the worst pairs. Warns of a model that points the wrong way, or
    that knows no more than such a rule.
    """
    files: dict[TestKind, list[Path]] = {
        "edits": edits or [], "comparisons": comparisons or [], "pairs": pairs or [], "rewardbench": rewardbench or []
    }  # fmt: skip
    if not any(files.values()):
        raise typer.BadParameter("give --edits, --comparisons, --rewardbench or --pairs")
    config = settings(recipe, set_, device=device)
    if html is not None:
        check_out_file(html, *(path for paths in files.values() for path in paths))

    from redpencil.pipeline.reward_eval import examine

    held = _held(files)
    loaders: dict[str, Callable[[], RewardModel]] = {
        name: partial(_load, folder, config) for name, folder in zip(short_names(model), model, strict=True)
    }
    with working("evaluate reward") as progress:
        learned = [row for path in training_edits or () for row in read_jsonl(path, Edit)]
        evaluation = examine(loaders, held, config.align, training=learned, examples=shown, progress=progress)
    if html is not None:
        write_reward_eval(evaluation, html)
        say(f"the page: {html}")
    if json:
        print_json(to_json(evaluation))
    else:
        _print_reward_models(evaluation)
    for caution in cautions(evaluation):
        say(f"{'WARNING' if caution.loud else 'warning'}: {caution.sentence}")


def _load(folder: Path, config: Recipe) -> "RewardModel":
    from redpencil.models.checkpoints import load_reward_model

    return load_reward_model(folder, runtime_of(config), codec=named_codec(config, folder))


def _held(files: Mapping[TestKind, Sequence[Path]]) -> "list[Held]":
    from redpencil.pipeline.reward_eval import Held

    kinds = [(kind, path) for kind, paths in files.items() for path in paths]
    names = short_names([path for _, path in kinds])
    return [Held(name, kind, _rows(kind, path), path) for name, (kind, path) in zip(names, kinds, strict=True)]


def _rows(kind: TestKind, path: Path) -> list[Edit] | list[Comparison] | list[Pair]:
    records: dict[TestKind, type[Any]] = {"edits": Edit, "pairs": Pair, "comparisons": Comparison}
    return list(read_jsonl(path, records[kind])) if kind in records else _reward_bench(path)


def _reward_bench(path: Path) -> list[Comparison]:
    # Its ids are numbers in a bigger collection, and no use here.
    request = Wanted(REWARDBENCH, Kind.COMPARISONS, own_ids=False)
    with open_source(str(path)) as source, _without_flags_of_import():
        rows = list(read_records(source, request, Tally(), lambda _: None))
    comparisons = [row for row in rows if isinstance(row, Comparison)]
    if len({ANSWERS in row.meta for row in comparisons}) > 1:
        raise RedpencilError(
            "some rows have lists of answers, as in RewardBench 2, and others single ones",
            file=path,
            hint="put the rows of the two into files of their own",
        )
    return comparisons


@contextmanager
def _without_flags_of_import() -> Iterator[None]:
    """Replace the hint of an error that names flags of `import`, which this command does not have."""
    try:
        yield
    except RedpencilError as error:
        if "--" not in (error.hint or ""):
            raise
        hint = (
            "give rows as RewardBench has them: prompt, chosen, chosen_model, rejected, rejected_model, subset; or as "
            "RewardBench 2 has: prompt, lists of chosen and rejected, subset, id"
        )
        if error.hint == OTHER_ENCODING:
            hint = "convert the file to UTF-8"
        raise RedpencilError(error.problem, file=error.file, line=error.line, field=error.field, hint=hint) from None


def _print_reward_models(evaluation: RewardEvals) -> None:
    for name, table in reward_eval_tables(evaluation).items():
        if table is not None:
            _print_report_table(table, small=name in _WITH_INTERVALS)
    for test in edit_tests(evaluation):
        for key in _IN_TERMINAL:
            _print_report_table(group_table(evaluation, test, key), of=test)
        for name, model in evaluation.models.items():
            by_type = model.readings[test].worst or {}
            worst = sorted(chain(*by_type.values()), key=lambda pair: pair.margin)
            if worst:
                console.print(f"\nWorst pairs of {test} for {name}", style="bold")
            for pair in worst[:WORST]:
                _print_pair(pair)


def _print_report_table(table: Table, *, of: str = "", small: bool = False) -> None:
    """Print a table of a report; the second line of a cell goes into brackets, beyond the first column if `small`."""
    rows = [
        [
            f"{cell.text} ({cell.small})" if cell.small and (small or not column) else cell.text
            for column, cell in enumerate(row)
        ]
        for row in table.rows
    ]
    console.print()
    print_table(table.header, rows, caption=f"{table.caption}: {of}" if of else table.caption, notes=table.notes)


def _print_pair(pair: WorstPair) -> None:
    console.print(Text(f"{pair.margin:+.3f}  {pair.prompt}", style="dim"))
    print_redline(pair.original, pair.edited)
    console.print(Text(about_pair(pair), style="dim"))


@app.command(
    "edits",
    epilog=examples(
        "redpencil evaluate edits runs/quickstart/needed/sft.jsonl runs/quickstart/needed/token.jsonl",
        "redpencil evaluate edits before.jsonl after.jsonl --json",
    ),
)
def count_edits(
    files: Annotated[list[Path], typer.Argument(metavar="EDITS...", help="Edits of one policy's answers in each.")],
    confidence: Annotated[float, option("SHARE", "Confidence of the intervals.", min=0.5, max=0.999)] = 0.95,
    recipe: RecipeOption = None,
    set_: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Count the edits that answers still need: what an editor changed in them, and how many stand as they are.

    Intervals are over prompts. Each file is compared with those before it on the prompts that both have.
    White space within a text counts with --set align.restore_spacing=false.
    """
    spacing = not settings(recipe, set_).align.restore_spacing
    rows = {name: list(read_jsonl(path, Edit)) for name, path in zip(short_names(files), files, strict=True)}
    needs: dict[str, EditsNeeded] = {}
    for (name, of_file), path in zip(rows.items(), files, strict=True):
        with naming(path):
            needs[name] = edits_needed(of_file, spacing=spacing, confidence=confidence)
    compared, warnings = {}, [*_needs_warnings(needs), *_edited_again(rows)]
    for before, after in combinations(rows, 2):
        difference = needs_difference(rows[after], rows[before], spacing=spacing, confidence=confidence)
        if difference is None:
            warnings.append(f"{after} and {before} cannot be paired: they share no prompt")
        else:
            compared[f"{after} minus {before}"] = difference
    if json:
        policies = {name: asdict(row) for name, row in needs.items()}
        differences = {pair: asdict(row) for pair, row in compared.items()}
        print_json({"policies": policies, "differences": differences, "warnings": warnings})
        return
    percent = f"{100 * confidence:g} %"
    measured = (f"accepted % [{percent}]", "edits in 100", "words in 100")
    print_table(
        ("edits", *measured, "answers"),
        [(name, *(_ranged(getattr(row, key)) for key in MEASURES), f"{row.answers:,}") for name, row in needs.items()],
        notes=[
            "Accepted: answers in which nothing was changed. Edits and changed words are in 100 words of the answers."
        ],
    )
    if compared:
        print_table(
            ("difference", *measured, "prompts"),
            [
                (pair, *(_ranged(getattr(row, key), "+") for key in MEASURES), f"{row.prompts:,}")
                for pair, row in compared.items()
            ],
        )
    for warning in warnings:
        say(f"warning: {warning}")


def _edited_again(rows: Mapping[str, Sequence[Edit]]) -> list[str]:
    """Say of which files several edits are of one answer, as where several people edit it."""
    again = {
        name: len(edits) - len({(row.id, row.prompt, row.original) for row in edits}) for name, edits in rows.items()
    }
    return [
        f"{name}: {count:,} of {len(rows[name]):,} edits are further ones of an answer, and count as if of another"
        for name, count in again.items()
        if count
    ]


def _ranged(figure: Ranged | None, sign: str = "") -> str:
    if figure is None:
        return DASH
    interval = "" if math.isnan(figure.low) else f" [{figure.low:{sign}.1f}, {figure.high:{sign}.1f}]"
    return f"{figure.value:{sign}.1f}{interval}"


def _needs_warnings(needs: Mapping[str, EditsNeeded]) -> list[str]:
    counted = (
        ("unedited", "have no edit and count nowhere"),
        ("cut_off", "were cut off and are not accepted"),
        ("empty", "have no word and are not accepted"),
    )
    return [
        f"{name}: {count:,} of {row.answers + row.unedited:,} answers {what}"
        for name, row in needs.items()
        for key, what in counted
        if (count := getattr(row, key))
    ]


@app.command(epilog=examples("redpencil evaluate efficiency --token runs/q/ppo-token --sequence runs/q/ppo-edits"))
def efficiency(
    token: Annotated[Path, option("FOLDER", "PPO stage folder of the policy with token rewards.")],
    sequence: Annotated[Path, option("FOLDER", "PPO stage folder of the policy with one reward at the end.")],
    json: JsonOption = False,
) -> None:
    """Find when PPO on token rewards first reaches the best win rate of PPO on sequence rewards (Table 3)."""
    result = time_to_reach(_curve(token), _curve(sequence))
    if json:
        print_json({"efficiency": asdict(result)})
        return
    goal = f"the best win rate of sequence rewards, which these have at step {result.sequence_step}"
    when = f"{result.sequence_seconds:.0f} s"
    if result.ratio is None:
        console.print(f"PPO on token rewards never reaches {goal} ({when}).")
        return
    console.print(
        f"PPO on token rewards reaches {goal} ({when}), at step {result.token_step} ({result.token_seconds:.0f} s): "
        f"in {result.ratio:.2f} of the steps."
    )


def _curve(folder: Path) -> list[tuple[int, float, float]]:
    """Read (step, seconds, win rate) at each evaluation of a PPO stage."""
    if not folder.is_dir():
        raise RedpencilError("no such folder", file=folder, hint="give the folder that `redpencil ppo` wrote")
    key = "eval/win_rate"
    curve = []
    for line, row in enumerate(read_metrics(folder), start=1):
        if key in row:
            for field in ("step", "seconds", key):
                if not isinstance(row.get(field), int | float) or not math.isfinite(row[field]):
                    raise RedpencilError(
                        "it is not a number",
                        file=folder / "metrics.jsonl",
                        line=line,
                        field=field,
                        hint="run the stage again",
                    )
            curve.append((int(row["step"]), row["seconds"], row[key]))
    if not curve:
        raise RedpencilError(
            "its metrics.jsonl holds no win rate",
            file=folder,
            field=key,
            hint="give a PPO stage folder that was trained with --judge and --reference-outputs",
        )
    return curve
