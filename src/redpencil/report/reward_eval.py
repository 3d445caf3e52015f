"""The page of a reward-model evaluation: one HTML file, which loads nothing from anywhere; its tables also for the
terminal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from redpencil.audit.findings import counted
from redpencil.audit.trivial_rules import STRAY
from redpencil.evaluation.localisation import Localisation
from redpencil.evaluation.margin_groups import MarginGroup
from redpencil.evaluation.reward_eval import (
    ARTEFACTS,
    RULE_TITLES,
    RewardEval,
    RewardEvals,
    WorstPair,
    cautions,
)
from redpencil.evaluation.statistics import Accuracy
from redpencil.files import whole_file
from redpencil.report.markup import DASH, MINUS, plain, redline_html, signed
from redpencil.report.run_page import render_page
from redpencil.report.tables import ABSENT, TOKEN_KINDS, Cell, Row, Table, number_text
from redpencil.svg import Axis, Chart, Plot, Point, swatch

DRAWN_HISTOGRAMS: Final = 12
_GROUPINGS: Final[Mapping[str, tuple[str, str, Callable[[RewardEval], Sequence[MarginGroup]]]]] = {
    "type": ("Type", "By type of edit", lambda r: r.by_type),
    "size": ("Words changed", "By share of the words of both texts that the edit changes", lambda r: r.by_size),
    "tokens": ("Tokens changed", "By number of tokens that the edit changes, on both sides", lambda r: r.by_tokens),
    "position": ("First change in", "By place of the first change", lambda r: r.by_position),
    "length": ("Words", "By words of the original", lambda r: r.by_length),
}


def write_reward_eval(results: RewardEvals, path: Path) -> None:
    """Write the page."""
    with whole_file(path) as out:
        out.write(render_reward_eval(results).encode("utf-8", "replace"))


def render_reward_eval(results: RewardEvals) -> str:
    """Write the page as text."""
    return render_page(
        "reward_eval.html.j2",
        ("report.css", "audit.css", "reward_eval.css"),
        models=list(results.models),
        summary=summary(results),
        lead=lead(results).replace(" %", "\u00a0%"),
        cautions=cautions(results),
        legend=[{"name": name, "line": swatch(series)} for series, name in enumerate(results.models)],
        tables=reward_eval_tables(results),
        reliability=calibration_charts(results),
        histograms=margin_charts(results),
        edits=[_edits_of(results, test) for test in edit_tests(results)],
    )


def calibration_charts(results: RewardEvals) -> list[Chart]:
    """Accuracy by confidence on each test set, in bins of equally many pairs."""
    return [_calibration_chart(results, test) for test in results.tests]


def _calibration_chart(results: RewardEvals, test: str) -> Chart:
    lines = {
        name: [
            Point(100 * b.confidence, 100 * b.accuracy, 100 * b.accuracy_low, 100 * b.accuracy_high)
            for b in model.readings[test].calibration.bins_by_count
        ]
        for name, model in results.models.items()
    }
    points = [point for line in lines.values() for point in line]
    most = max(point.x for point in points)
    right = next(edge for edge in (55, 60, 70, 80, 90, 100) if most <= edge + 1e-9)
    plot = Plot(
        Axis.between(50, right, "how sure the model is, %"),
        Axis.between(_low_end(points), 100, "pairs ranked right, %"),
        height=250,
    )
    plot.rule(50, 50, right, right)
    for series, line in enumerate(lines.values()):
        plot.line(line, series)
    story = ". ".join(
        f"{name}: {'; '.join(f'{p.x:.1f} sure, {p.y:.1f} right' for p in line)}" for name, line in lines.items()
    )
    description = f"Percent of pairs ranked right by confidence in percent. {story}."
    return Chart(plot.svg(), f"Calibration on {test}", description)


def _low_end(points: Sequence[Point]) -> float:
    """The round percentage below all intervals, at most 50."""
    return 10 * math.floor(min(50.0, *(point.y if point.low is None else point.low for point in points)) / 10)


def margin_charts(results: RewardEvals) -> list[Chart]:
    """A histogram of the margins for each model and test set; of the first `DRAWN_HISTOGRAMS`."""
    return [_histogram(*names, reading) for names, reading in _readings(results)[:DRAWN_HISTOGRAMS]]


def _histogram(name: str, test: str, reading: RewardEval) -> Chart:
    edges, counts = reading.margins.edges, reading.margins.counts
    x = Axis.between(edges[0], edges[-1], f"reward of the chosen response {MINUS} reward of the rejected one")
    y = Axis.upwards(counts, "pairs", whole=True)
    plot = Plot(x, y)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        plot.bar(low, high, count, 1 if (low + high) / 2 < 0 else 0, gap=1)
    if edges[0] < 0 < edges[-1]:
        plot.rule(0, 0, 0, y.high)
    return Chart(
        plot.svg(),
        f"Margins of {name} on {test}",
        f"Margins from {edges[0]:.3g} to {edges[-1]:.3g}, {reading.mean_margin:.3g} on average; "
        f"{reading.accuracy.value:.1f} percent of pairs are ranked right.",
    )


def size_chart(results: RewardEvals, test: str) -> Chart | None:
    """Accuracy of each model by the share of words that the edit changes; None where that does not vary."""
    groups = {name: model.readings[test].by_size for name, model in results.models.items()}
    names = list(dict.fromkeys(group.name for of_model in groups.values() for group in of_model))
    if len(names) < 2:
        return None
    lines = {
        name: [Point(names.index(g.name), g.accuracy.value, g.accuracy.low, g.accuracy.high) for g in of_model]
        for name, of_model in groups.items()
    }
    x = Axis.named(names, "share of the words that the edit changes")
    low = _low_end([point for line in lines.values() for point in line])
    plot = Plot(x, Axis.between(low, 100, "edits ranked right, %"), height=250)
    plot.rule(x.low, 50, x.high, 50)
    for series, line in enumerate(lines.values()):
        plot.line(line, series, shift=5 * (series - (len(lines) - 1) / 2))
    story = ". ".join(
        f"{name}: {'; '.join(f'{names[int(p.x)]} {p.y:.1f}' for p in line)}" for name, line in lines.items()
    )
    return Chart(
        plot.svg(),
        f"Accuracy by size of the edit on {test}",
        f"Percent of edits ranked right by share of words changed. {story}.",
    )


def _edits_of(results: RewardEvals, test: str) -> dict[str, Any]:
    """Chart, tables and worst pairs of one set of edits."""
    readings = {model: evals.readings[test] for model, evals in results.models.items()}
    return {
        "test": test,
        "chart": size_chart(results, test),
        "tables": {key: group_table(results, test, key) for key in _GROUPINGS},
        "worst": [{"model": model, "groups": _worst_of(reading)} for model, reading in readings.items()],
    }


def _worst_of(reading: RewardEval) -> list[dict[str, Any]]:
    worst = reading.worst or {}
    return [{"type": kind, "cards": [_card(pair) for pair in pairs]} for kind, pairs in worst.items()]


def _card(pair: WorstPair) -> dict[str, Any]:
    html = Markup(redline_html(pair.original, pair.edited))
    return {"prompt": pair.prompt, "html": html, "margin": signed(pair.margin, 3), "about": about_pair(pair)}


def about_pair(pair: WorstPair) -> str:
    """Write rewards of both sides, place of the first change, and length in one line."""
    features = pair.features
    return (
        f"original {signed(pair.original_reward, 3)}, edit {signed(pair.edited_reward, 3)}; first change in the "
        f"{features.first_change}; {features.words} words, {signed(features.growth, 0)}; id {pair.id}"
    )


def edit_tests(results: RewardEvals) -> list[str]:
    """The test sets that are edits."""
    return [name for name, test in results.tests.items() if test.kind == "edits"]


def summary(results: RewardEvals) -> str:
    """Models and test sets, in one sentence."""
    pairs = sum(test.pairs for test in results.tests.values())
    return f"{counted(len(results.models), 'model')}, {counted(len(results.tests), 'test set')}, {pairs:,} pairs."


def lead(results: RewardEvals) -> str:
    """Name the best model on each test set, and compare it with the best of the rules that read nothing."""
    sentences = []
    for test, about in results.tests.items():
        name, best = max(
            ((name, m.readings[test].accuracy) for name, m in results.models.items()), key=lambda one: one[1].value
        )
        rule, rule_text = about.rules[about.best_rule], RULE_TITLES[about.best_rule]
        sentences.append(
            f"{name} ranks {best.value:.1f} % of {test} right ({_interval(best)}); the rule that "
            f"{rule_text[0].lower()}{rule_text[1:]} is right for {rule.value:.1f} %."
        )
    return " ".join(sentences)


def _interval(share: Accuracy) -> str:
    return f"{share.low:.1f} to {share.high:.1f}"


def reward_eval_tables(results: RewardEvals) -> dict[str, Table | None]:
    """The tables of all models and test sets by name; None where there is nothing to show."""
    tables = {
        "accuracy": _accuracies,
        "rewardbench": _reward_bench,
        "rewardbench2": _reward_bench_2,
        "calibration": _calibrations,
        "tokens": _token_calibrations,
        "localisation": _localisations,
        "drift": _drifts,
        "correlation": _correlations,
    }
    return {name: make(results) for name, make in tables.items()}


def _ranked(share: Accuracy) -> Cell:
    return Cell(f"{share.value:.1f}", _interval(share))


def _accuracies(results: RewardEvals) -> Table:
    rows = []
    for name, model in results.models.items():
        own = "edits" if model.trained_on == "hunks" else model.trained_on
        cells = [
            replace(_ranked(model.readings[test].accuracy), kind="own" if own == about.kind else "")
            for test, about in results.tests.items()
        ]
        rows.append((Cell(name, f"{model.level} model, trained on {model.trained_on}"), *cells))
    named = [name for name in RULE_TITLES if any(name in about.rules for about in results.tests.values())]
    for name in named:
        shares = [about.rules.get(name) for about in results.tests.values()]
        rows.append((Cell(RULE_TITLES[name]), *(ABSENT if share is None else _ranked(share) for share in shares)))
    header = ("Model", *(f"{name} ({about.pairs:,} {about.kind})" for name, about in results.tests.items()))
    notes = ["95 % intervals after Wilson; pairs of one prompt count as one cluster. Equal rewards count one half."]
    if any(name.startswith("white_space") for name in named):
        notes.append(STRAY)
    if ARTEFACTS in named:
        notes.append(
            "Artefacts: white space, length, punctuation, casing, first and last words; fitted to the training edits "
            "if these are known, else cross-validated by prompt on the test's own pairs."
        )
    if any(cell.kind == "own" for row in rows for cell in row):
        notes.append("Shaded: tested on the kind of pairs that the model was trained on.")
    for name, about in results.tests.items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in about.skipped.items() if count)
        if reasons:
            notes.append(f"Left out of {name}: {reasons}.")
    return Table.of("Pairs ranked right, %", header, rows, notes)


def _readings(results: RewardEvals) -> list[tuple[tuple[str, str], RewardEval]]:
    """The first two cells of each row, and the evaluation that the row is about."""
    return [
        ((name, test), reading) for name, model in results.models.items() for test, reading in model.readings.items()
    ]


def _reward_bench(results: RewardEvals) -> Table | None:
    benches = {names: r.reward_bench for names, r in _readings(results) if r.reward_bench is not None}
    if not benches:
        return None
    several = len({test for _, test in benches}) > 1
    rows: list[Row] = [
        ("RewardBench score", *(number_text(one.score) for one in benches.values())),
        ("Plain mean of the subsets", *(f"{one.mean_of_subsets:.1f}" for one in benches.values())),
    ]
    for section in dict.fromkeys(name for one in benches.values() for name in one.sections):
        rows.append((Cell(section, "section"), *(number_text(one.sections.get(section)) for one in benches.values())))
    for subset in dict.fromkeys(name for one in benches.values() for name in one.subsets):
        accuracies = [one.subsets.get(subset) for one in benches.values()]
        count = next(one.n for one in accuracies if one is not None)
        cells = (None if one is None else _ranked(one) for one in accuracies)
        rows.append((Cell(subset or "(no subset)", counted(count, "pair")), *cells))
    header = ("Of", *(f"{name}, {test}" if several else name for name, test in benches))
    note = (
        "A section is the mean over its pairs; in Reasoning, mathematics counts as much as all programming. The score "
        "is the mean of the four sections, without RewardBench's Prior Sets, which are a different data set."
    )
    return Table.of("RewardBench, % of pairs ranked right", header, rows, [note])


def _reward_bench_2(results: RewardEvals) -> Table | None:
    benches = {names: r.reward_bench_2 for names, r in _readings(results) if r.reward_bench_2 is not None}
    if not benches:
        return None
    several = len({test for _, test in benches}) > 1
    rows: list[Row] = [("RewardBench 2 score", *(number_text(one.score) for one in benches.values()))]
    for subset in dict.fromkeys(name for one in benches.values() for name in one.subsets):
        accuracies = [one.subsets.get(subset) for one in benches.values()]
        count = next(one.n for one in accuracies if one is not None)
        cells = (None if one is None else _ranked(one) for one in accuracies)
        rows.append((Cell(subset or "(no subset)", counted(count, "row")), *cells))
    ties = [one.ties for one in benches.values()]
    if any(one is not None for one in ties):
        for name, field in (
            ("Ties", "score"),
            ("Ties: several right answers", "tied"),
            ("Ties: one right answer", "ref"),
            ("Ties: gap to the wrong ones above the spread", "preferred"),
            ("Ties: the smaller gap above the spread", "hard"),
        ):
            rows.append((name, *(None if one is None else number_text(getattr(one, field)) for one in ties)))
    header = ("Of", *(f"{name}, {test}" if several else name for name, test in benches))
    notes = [
        "A row is right if every right answer has a higher reward than every wrong one. The score is the mean of the "
        "six subsets, Ties by its own formula of accuracies and margins, as the benchmark's code computes them."
    ]
    incomplete = max(one.incomplete for one in benches.values())
    if incomplete:
        notes.append(f"Left out: {counted(incomplete, 'row')} with answers that could not be scored.")
    return Table.of("RewardBench 2, % of rows ranked right", header, rows, notes)


def _calibrations(results: RewardEvals) -> Table:
    rows = []
    for names, reading in _readings(results):
        one = reading.calibration
        figures = (one.expected_error, one.expected_error_by_count, one.brier, one.negative_log_likelihood)
        likeliest = (one.temperature, one.negative_log_likelihood_at_temperature)
        rows.append((*names, *(number_text(value, 3) for value in (*figures, *likeliest))))
    header = ("Model", "Test set", "ECE", "ECE by count", "Brier score", "NLL", "Best T", "NLL at T")
    notes = (
        f"Of the probability sigma(R chosen {MINUS} R rejected). Expected calibration error (ECE): |accuracy {MINUS} "
        "confidence|, averaged over ten bins of equal width, and over ten with as many pairs each. "
        "Tossing a coin has a Brier score of .25 and a negative log-likelihood (NLL) of .693 nats.",
        "The temperature T is fitted on these same pairs: below 1 the model is not sure enough, above 1 too sure. It "
        f"is {DASH} where no temperature is best: all pairs ranked right, or margins of 0 or less on average.",
    )
    return Table.of("Calibration", header, rows, notes)


def _token_calibrations(results: RewardEvals) -> Table | None:
    rows: list[Row] = []
    for names, reading in _readings(results):
        one = reading.token_calibration
        if one is not None:
            figures = (one.expected_error, one.brier, one.brier_of_rate, one.slope, one.offset)
            rows.append((*names, *(number_text(value, 3) for value in figures), f"{one.tokens:,}"))
    header = ("Model", "Test set", "ECE", "Brier score", "Brier of the rate", "Slope", "Offset", "Tokens")
    note = (
        f"Of the probability sigma(offset {MINUS} slope r) that a token of an original is edited away, fitted on one "
        "half of the prompts and measured on the other. Brier of the rate: that of one probability for every token."
    )
    return Table.of("Calibration of tokens", header, rows, [note]) if rows else None


def _localisations(results: RewardEvals) -> Table | None:
    rows: list[Row] = []
    for names, reading in _readings(results):
        for field, what in TOKEN_KINDS.items():
            one = getattr(reading, field)
            if one is not None:
                rows.append((*names, what, *_localised(one)))
        rows += [(*names, f"marked as {name}", *_localised(one)) for name, one in (reading.error_types or {}).items()]
    for test, about in results.tests.items():
        if about.people is not None and rows:
            rows.append(("A person", test, "changed by two others", *_localised(about.people)))
    header = (
        *("Model", "Test set", "Tokens that were", "AUROC", "Within a response", "Later is worse", "Average precision"),
        *("Base rate", "Tokens", "Responses"),
    )
    note = (
        "How well low token rewards find the faulty tokens of originals. An AUROC of .5 and an average precision equal "
        "to the base rate are chance. Within a response: only tokens of one response are compared; the 95 % interval "
        "is by bootstrap over prompts. Later is worse: the same for the rule that a token is the worse the later it "
        "stands; the opposite rule has 1 minus this. Of a type of error: its tokens against those that nobody marked."
    )
    return Table.of("Localisation", header, rows, [note]) if rows else None


def _localised(one: Localisation) -> Row:
    within = _with_interval(one.within_auroc, one.low, one.high)
    later = _with_interval(one.later, one.later_low, one.later_high)
    others = (number_text(one.average_precision, 3), number_text(one.base_rate, 3))
    return (number_text(one.auroc, 3), within, later, *others, f"{one.tokens:,}", f"{one.responses:,}")


def _with_interval(value: float | None, low: float | None, high: float | None) -> Cell | str | None:
    if value is None or low is None or high is None:
        return number_text(value, 3)
    return Cell(plain(value, 3), f"{low:.3f} to {high:.3f}")


def _drifts(results: RewardEvals) -> Table | None:
    rows = []
    for names, reading in _readings(results):
        one = reading.drift
        if one is not None:
            figures = (one.mean, one.relative, one.spread, one.mean_behind)
            rows.append((*names, *(number_text(value, 3) for value in figures), f"{one.pairs:,}"))
    header = (
        "Model",
        "Test set",
        "Mean change",
        "In spreads",
        "Spread of rewards",
        "After a change",
        "Pairs of tokens",
    )
    note = (
        f"Mean |r original {MINUS} r edit| of tokens that the edit left unchanged. A spread is the standard "
        "deviation of all token rewards. The rewards of a model that reads from left to right cannot change before the "
        "first edit."
    )
    return Table.of("Drift of unchanged tokens", header, rows, [note]) if rows else None


def _correlations(results: RewardEvals) -> Table:
    rows: list[Row] = []
    for names, reading in _readings(results):
        for name, one in (
            ("reward and length of all responses", reading.length),
            ("margin and difference of the lengths", reading.length_difference),
            ("reward of a token and its place in the original", reading.position),
        ):
            if one is not None:
                pairs = ((one.pearson, one.pearson_p), (one.spearman, one.spearman_p))
                cells = (Cell(signed(v, 3), "" if one is reading.position else _p_value(p)) for v, p in pairs)
                rows.append((*names, name, *cells, f"{one.n:,}"))
    note = (
        "Lengths in tokens. p is two-sided, for independent cases; tokens of one response are not independent, so "
        "their p is left out."
    )
    header = ("Model", "Test set", "Between", "Pearson", "Spearman", "Cases")
    return Table.of("Correlation with length and place", header, rows, [note])


def _p_value(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"


def group_table(results: RewardEvals, test: str, key: str) -> Table:
    """Accuracy and margin of each model by a property of edits: type, size, tokens, position or length."""
    first, caption, pick = _GROUPINGS[key]
    by_model = [{group.name: group for group in pick(m.readings[test])} for m in results.models.values()]
    rows = []
    for name in dict.fromkeys(name for groups in by_model for name in groups):
        groups = [of_model.get(name) for of_model in by_model]
        count = next(group.accuracy.n for group in groups if group is not None)
        rows.append((Cell(name, counted(count, "edit")), *(cell for group in groups for cell in _grouped(group))))
    header = (first, *(title for model in results.models for title in (model, "Margin")))
    return Table.of(caption, header, rows)


def _grouped(group: MarginGroup | None) -> tuple[Cell | None, Cell | None]:
    if group is None:
        return None, None
    interval = f"{signed(group.margin_low, 3)} to {signed(group.margin_high, 3)}" if group.accuracy.n > 1 else ""
    return Cell(f"{group.accuracy.value:.1f} %", _interval(group.accuracy)), Cell(signed(group.margin, 3), interval)
