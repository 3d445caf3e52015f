"""Reward models under the microscope: the tables, for the terminal too, and one page that asks nothing of any host."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

import redpencil
from redpencil.evaluation.localisation import Drift, Localisation
from redpencil.evaluation.reward_eval import MarginGroup, Microscope, Reading, RewardBench, WorstPair
from redpencil.evaluation.statistics import Accuracy, Correlation
from redpencil.files import whole_file
from redpencil.report import microscope_charts
from redpencil.report.run_data import DASH, plain, signed
from redpencil.report.run_page import TEMPLATES, safe_chart, template
from redpencil.report.tables import ABSENT, Cell, Table
from redpencil.report.text import redline_html

TO: Final = "to"
_GROUPINGS: Final[Mapping[str, tuple[str, str, Callable[[Reading], Sequence[MarginGroup]]]]] = {
    "type": ("Type", "By type of edit", lambda r: r.by_type),
    "size": ("Words changed", "By share of the words of both texts that the edit changes", lambda r: r.by_size),
    "tokens": ("Tokens changed", "By number of tokens that the edit changes, on both sides", lambda r: r.by_tokens),
    "position": ("First change in", "By place of the first change", lambda r: r.by_position),
    "length": ("Words", "By words of the original", lambda r: r.by_length),
}


def write_microscope(found: Microscope, path: Path) -> None:
    """Write the page."""
    with whole_file(path) as out:
        out.write(render_microscope(found).encode("utf-8", "replace"))


def render_microscope(found: Microscope) -> str:
    """The page as a text."""
    style = "".join(
        (TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "audit.css", "microscope.css")
    )
    return template("microscope.html.j2").render(
        style=Markup(style),
        models=list(found.models),
        summary=summary(found),
        lead=lead(found).replace(" %", "\u00a0%"),
        legend=microscope_charts.legend(list(found.models)),
        tables=microscope_tables(found),
        reliability=[safe_chart(chart) for chart in microscope_charts.reliability_charts(found)],
        histograms=[safe_chart(chart) for chart in microscope_charts.margin_charts(found)],
        edits=[_edits_of(found, test) for test in edit_tests(found)],
        version=redpencil.__version__,
    )


def _edits_of(found: Microscope, test: str) -> dict[str, Any]:
    """What the page shows of one set of edits."""
    return {
        "test": test,
        "chart": safe_chart(microscope_charts.size_chart(found, test)),
        "tables": {key: group_table(found, test, key) for key in _GROUPINGS},
        "worst": [
            {"model": model, "groups": _worst_of(readings.readings[test])} for model, readings in found.models.items()
        ],
    }


def _worst_of(reading: Reading) -> list[dict[str, Any]]:
    if reading.errors is None:
        return []
    return [{"type": kind, "cards": [_card(pair) for pair in pairs]} for kind, pairs in reading.errors.worst.items()]


def _card(pair: WorstPair) -> dict[str, Any]:
    return {
        "prompt": pair.prompt,
        "html": Markup(redline_html(pair.original, pair.edited)),
        "margin": signed(pair.margin, 3),
        "about": about_pair(pair),
    }


def about_pair(pair: WorstPair) -> str:
    """Rewards of both sides, where the first change stands, and the length, in one line."""
    features = pair.features
    return (
        f"original {signed(pair.original_reward, 3)}, edit {signed(pair.edited_reward, 3)}; first change in the "
        f"{features.first_change}; {features.words} words, {signed(features.growth, 0)}; id {pair.id}"
    )


def edit_tests(found: Microscope) -> list[str]:
    """The test sets that are edits."""
    return [name for name, test in found.tests.items() if test.kind == "edits"]


def summary(found: Microscope) -> str:
    """Models and test sets, in one sentence."""
    pairs = sum(test.pairs for test in found.tests.values())
    return f"{_counted(len(found.models), 'model')}, {_counted(len(found.tests), 'test set')}, {pairs:,} pairs."


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def lead(found: Microscope) -> str:
    """For each test set the best model and the better of the two rules of length."""
    sentences = []
    for test, about in found.tests.items():
        name, best = max(
            ((name, m.readings[test].accuracy) for name, m in found.models.items()), key=lambda one: one[1].value
        )
        rule = max((about.shorter_wins, "shorter"), (about.longer_wins, "longer"), key=lambda one: one[0].value)
        sentences.append(
            f"{name} ranks {best.value:.1f} % of {test} right ({_interval(best)}); that the {rule[1]} text wins is "
            f"right for {rule[0].value:.1f} %."
        )
    return " ".join(sentences)


def _interval(found: Accuracy) -> str:
    return f"{found.low:.1f} {TO} {found.high:.1f}"


def microscope_tables(found: Microscope) -> dict[str, Table | None]:
    """The tables of all models and test sets by name; None where there is nothing to show."""
    return {
        "accuracy": _accuracies(found),
        "rewardbench": _reward_bench(found),
        "calibration": _calibrations(found),
        "localisation": _localisations(found),
        "drift": _drifts(found),
        "correlation": _correlations(found),
    }


def _accuracies(found: Microscope) -> Table:
    rows = []
    for name, model in found.models.items():
        cells = []
        for test, about in found.tests.items():
            one = model.readings[test].accuracy
            cells.append(Cell(f"{one.value:.1f}", _interval(one), "own" if model.trained_on == about.kind else ""))
        rows.append((Cell(name, f"{model.level} model, trained on {model.trained_on}"), *cells))
    for title, rule in (("The shorter text wins", "shorter_wins"), ("The longer text wins", "longer_wins")):
        baseline = [getattr(about, rule) for about in found.tests.values()]
        rows.append((Cell(title), *(Cell(f"{one.value:.1f}", _interval(one)) for one in baseline)))
    header = ("Model", *(f"{name} ({about.pairs:,} {about.kind})" for name, about in found.tests.items()))
    notes = ["95 % intervals after Wilson, which take the pairs as independent. Equal rewards count one half."]
    if any(model.trained_on == about.kind for model in found.models.values() for about in found.tests.values()):
        notes.append("Shaded: tested on the kind of pairs that the model was trained on.")
    for name, about in found.tests.items():
        if any(about.skipped.values()):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in about.skipped.items() if count)
            notes.append(f"Left out of {name}: {reasons}.")
    return Table("Pairs ranked right, %", header, tuple(rows), tuple(notes))


def _readings(found: Microscope) -> list[tuple[tuple[Cell, Cell], Reading]]:
    """The first two cells of each row, and what it is about."""
    return [
        ((Cell(name), Cell(test)), reading)
        for name, model in found.models.items()
        for test, reading in model.readings.items()
    ]  # fmt: skip


def _reward_bench(found: Microscope) -> Table | None:
    benches: dict[tuple[str, str], RewardBench] = {
        (name, test): reading.reward_bench
        for name, model in found.models.items()
        for test, reading in model.readings.items()
        if reading.reward_bench is not None
    }
    if not benches:
        return None
    several = len({test for _, test in benches}) > 1
    rows: list[tuple[Cell, ...]] = [
        (Cell("RewardBench score"), *(_number(one.score, 1) for one in benches.values())),
        (Cell("Plain mean of the subsets"), *(Cell(f"{one.mean_of_subsets:.1f}") for one in benches.values())),
    ]
    for section in dict.fromkeys(name for one in benches.values() for name in one.sections):
        rows.append((Cell(section, "section"), *(_number(one.sections.get(section), 1) for one in benches.values())))
    for subset in dict.fromkeys(name for one in benches.values() for name in one.subsets):
        accuracies = [one.subsets.get(subset) for one in benches.values()]
        cells = (ABSENT if one is None else Cell(f"{one.value:.1f}", _interval(one)) for one in accuracies)
        count = next(one.n for one in accuracies if one is not None)
        rows.append((Cell(subset or "(no subset)", _counted(count, "pair")), *cells))
    header = ("Of", *(f"{name}, {test}" if several else name for name, test in benches))
    notes = (
        "A section is the mean over its pairs; in Reasoning, mathematics weighs as much as all programming. The score "
        "is the mean of the four sections, without RewardBench's Prior Sets, which are another data set.",
    )
    return Table("RewardBench, % of pairs ranked right", header, tuple(rows), notes)


def _calibrations(found: Microscope) -> Table:
    rows = []
    for names, reading in _readings(found):
        one = reading.calibration
        figures = (one.expected_error, one.expected_error_by_count, one.brier, one.negative_log_likelihood)
        likeliest = (one.temperature, one.negative_log_likelihood_at_temperature)
        rows.append((*names, *(_number(value, 3) for value in (*figures, *likeliest))))
    header = ("Model", "Test set", "ECE", "ECE by count", "Brier score", "NLL", "Best T", "NLL at T")
    notes = (
        "Of the probability sigma(R chosen \N{MINUS SIGN} R rejected). Expected calibration error (ECE): |accuracy "
        "\N{MINUS SIGN} confidence|, averaged over ten bins of equal width, and over ten with as many pairs each. "
        "Tossing a coin has a Brier score of .25 and a negative log-likelihood (NLL) of .693 nats.",
        "The temperature T is fitted on these very pairs: under 1 the model is not sure enough, above 1 too sure. It "
        f"is {DASH} where none is best: all pairs ranked right, or margins of 0 or less on average.",
    )
    return Table("Calibration", header, tuple(rows), notes)


def _localisations(found: Microscope) -> Table | None:
    rows = []
    for names, reading in _readings(found):
        for name, one in (("edited away", reading.edited), ("marked as errors by people", reading.error_spans)):
            if one is not None:
                rows.append((*names, Cell(name), *_localised(one)))
    header = (
        *("Model", "Test set", "Tokens that were", "AUROC", "Within a response", "Average precision"),
        *("Base rate", "Tokens", "Responses"),
    )
    notes = (
        "Whether minus the reward of a token finds the tokens of originals that were at fault. AUROC .5 and an average "
        "precision of the base rate are chance. Within a response: only tokens of one response are compared; the 95 % "
        "interval is by bootstrap over responses.",
    )
    return Table("Localisation", header, tuple(rows), notes) if rows else None


def _localised(one: Localisation) -> tuple[Cell, ...]:
    within = _number(one.within_auroc, 3)
    if one.within_auroc is not None and one.low is not None and one.high is not None:
        within = Cell(within.text, f"{one.low:.3f} {TO} {one.high:.3f}")
    return (
        _number(one.auroc, 3),
        within,
        _number(one.average_precision, 3),
        _number(one.base_rate, 3),
        Cell(f"{one.tokens:,}"),
        Cell(f"{one.responses:,}"),
    )


def _drifts(found: Microscope) -> Table | None:
    rows = [(*names, *_drifted(reading.drift)) for names, reading in _readings(found) if reading.drift is not None]
    header = (
        "Model",
        "Test set",
        "Mean change",
        "In spreads",
        "Spread of rewards",
        "Behind a change",
        "Pairs of tokens",
    )
    notes = (
        "Mean |r original \N{MINUS SIGN} r edit| of tokens that the edit left alone (U0). A spread is the standard "
        "deviation of all token rewards. A model that reads from left to right cannot change before the first change.",
    )
    return Table("Drift of unchanged tokens", header, tuple(rows), notes) if rows else None


def _drifted(one: Drift) -> tuple[Cell, ...]:
    figures = (_number(value, 3) for value in (one.mean, one.relative, one.spread, one.mean_behind))
    return (*figures, Cell(f"{one.pairs:,}"))


def _correlations(found: Microscope) -> Table:
    rows = []
    for names, reading in _readings(found):
        for name, one in (
            ("reward and length of all responses", reading.length),
            ("margin and difference of the lengths", reading.length_difference),
            ("reward of a token and its place in the original", reading.position),
        ):
            if one is not None:
                rows.append((*names, Cell(name), *_correlated(one, tokens=one is reading.position)))
    notes = (
        "Lengths in tokens. p is two-sided, for independent cases; tokens of one response are not, so their p is left "
        "out.",
    )
    header = ("Model", "Test set", "Between", "Pearson", "Spearman", "Cases")
    return Table("Correlation with length and place", header, tuple(rows), notes)


def _correlated(one: Correlation, *, tokens: bool) -> tuple[Cell, ...]:
    pairs = ((one.pearson, one.pearson_p), (one.spearman, one.spearman_p))
    return (*(Cell(signed(value, 3), "" if tokens else _p_value(p)) for value, p in pairs), Cell(f"{one.n:,}"))


def _p_value(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"


def group_table(found: Microscope, test: str, key: str) -> Table:
    """Accuracy and margin of each model by one quality of edits: type, size, tokens, position or length."""
    first, caption, pick = _GROUPINGS[key]
    by_model = [{group.name: group for group in pick(m.readings[test])} for m in found.models.values()]
    rows = []
    for name in dict.fromkeys(name for groups in by_model for name in groups):
        groups = [of_model.get(name) for of_model in by_model]
        count = next(group.accuracy.n for group in groups if group is not None)
        rows.append((Cell(name, _counted(count, "edit")), *(cell for group in groups for cell in _grouped(group))))
    header = [first]
    for model in found.models:
        header += [model, "Margin"]
    return Table(caption, tuple(header), tuple(rows))


def _grouped(group: MarginGroup | None) -> tuple[Cell, Cell]:
    if group is None:
        return ABSENT, ABSENT
    interval = f"{signed(group.margin_low, 3)} {TO} {signed(group.margin_high, 3)}" if group.accuracy.n > 1 else ""
    return Cell(f"{group.accuracy.value:.1f} %", _interval(group.accuracy)), Cell(signed(group.margin, 3), interval)


def _number(value: float | None, digits: int) -> Cell:
    return ABSENT if value is None else Cell(plain(value, digits))
