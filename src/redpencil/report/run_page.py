"""The report of a run as one HTML page, which loads nothing from anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import redpencil
from redpencil.files import whole_file
from redpencil.report import tables
from redpencil.report.headline import absences, headline, limits
from redpencil.report.markup import bounds, choose_edits, heatmap_html, plain, redline_html, visible
from redpencil.report.paper import ARM_LABELS, ARMS, MODEL_LABELS, TABLE_1, label
from redpencil.report.rounds import round_charts
from redpencil.report.run_data import Rows, Run, number, read_run
from redpencil.results import NORMAL_95, Heatmap
from redpencil.svg import SERIES, Axis, Chart, Plot, Point, swatch

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_HEATMAPS = 8
"""Of each model, half of them good responses where there are as many."""


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder, of one seed or of several, and return its path.

    Raises:
        RedpencilError: if the folder has no results.json, or a file in it does not fit.
    """
    return write_page(read_run(run_folder), run_folder)


def write_page(run: Run, run_folder: Path) -> Path:
    """Write the page of a run into its folder, and return its path."""
    page = render(run)
    out = run_folder / "report.html"
    with whole_file(out) as file:
        file.write(page.encode("utf-8"))
    return out


def render(run: Run) -> str:
    """Write the page of a run as text."""
    seed = next((seed for of_seed in run.curves.values() for seed in of_seed), None)
    return render_page(
        "report.html.j2",
        ("report.css", "heatmap.css"),
        run=run,
        headline=headline(run),
        tables={name: make(run) for name, (_, make) in tables.OF_RUN.items()},
        curve_table=None if seed is None else tables.curve_table(run, seed),
        win_rate_chart=win_rate_chart(run),
        rounds=round_charts(run, lambda arm: series_of(arm, list(run.win_rates))),
        curves=learning_curves(run),
        legend=legend(list(run.curves)),
        redlines=_redlines(run),
        heatmaps=_heatmaps(run),
        limits=limits(run),
        absences=absences(run),
        provenance=provenance(run),
    )


def render_page(name: str, styles: Sequence[str], /, **values: Any) -> str:
    """Write a page from the template of that name and its style sheets."""
    style = Markup("".join((TEMPLATES / sheet).read_text(encoding="utf-8") for sheet in styles))
    return template(name).render(style=style, version=redpencil.__version__, **values)


def template(name: str) -> jinja2.Template:
    """Load a template. It escapes texts that are not `Markup`, and makes control characters visible in all of them."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    if isinstance(value, Markup):
        return Markup(visible(value))
    return visible(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of the metrics of training, and how to draw it; `reference` is a value that gets a dotted line."""

    key: str
    title: str
    axis: str
    reference: float | None = None


QUANTITIES = (
    Quantity("eval/win_rate", "Win rate on the validation prompts", "%", 50),
    Quantity("eval/gleu", "GLEU on the validation prompts", "GLEU"),
    Quantity("kl", "KL to the policy at the start", "nats a response", 0),
    Quantity("length", "Length of the sampled responses", "tokens"),
    Quantity("reward", "Reward of a response", "scaled", 0),
)
MARKED = 20
"""Points of a line up to which each is marked."""


def series_of(arm: str, arms: Sequence[str]) -> int:
    """Return the number of an arm's colour, dashes and mark: fixed for the paper's arms, in order for others."""
    if arm in ARMS:
        return ARMS.index(arm)
    others = [name for name in arms if name not in ARMS]
    return (len(ARMS) + others.index(arm)) % SERIES


def learning_curves(run: Run) -> list[Chart]:
    """Draw a chart for each quantity that at least one arm logged."""
    charts = (_curve(run.curves, quantity) for quantity in QUANTITIES)
    return [chart for chart in charts if chart is not None]


def _curve(curves: Mapping[str, Mapping[int, Rows]], quantity: Quantity) -> Chart | None:
    every = {arm: _lines(of_seed, quantity.key) for arm, of_seed in curves.items()}
    lines = {arm: of_arm for arm, of_arm in every.items() if of_arm}
    if not lines:
        return None
    points = [point for of_arm in lines.values() for line in of_arm for point in line.items()]
    y = Axis.around(
        [value for _, value in points] + ([] if quantity.reference is None else [quantity.reference]), quantity.axis
    )
    x = Axis.between(0, max(step for step, _ in points) or 1, "training step")
    plot = Plot(x, y, names=lines)
    if quantity.reference is not None:
        plot.rule(x.low, quantity.reference, x.high, quantity.reference)
    ends, story = [], []
    for arm, of_arm in lines.items():
        series, mean = series_of(arm, list(curves)), _mean_line(of_arm)
        for line in of_arm if len(of_arm) > 1 else ():
            plot.line(_points(line), series, faint=True)
        plot.line(_points(mean), series, marks=len(mean) <= MARKED)
        last = max(mean)
        ends.append((last, mean[last], arm, series))
        story.append(f"{arm} from {mean[min(mean)]:.3g} to {mean[last]:.3g}")
    plot.name_ends(ends)
    averaged = " Means over seeds." if any(len(of_arm) > 1 for of_arm in lines.values()) else ""
    description = f"{quantity.title} ({quantity.axis}) by training step: {'; '.join(story)}.{averaged}"
    return Chart(plot.svg(), quantity.title, description)


def _lines(of_seed: Mapping[int, Rows], key: str) -> list[dict[float, float]]:
    """Value by step, for each seed that has values."""
    lines = [
        {row["step"]: value for row in rows if (value := number(row.get(key))) is not None} for rows in of_seed.values()
    ]
    return [line for line in lines if line]


def _mean_line(lines: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Mean over seeds at the steps that all of them have."""
    shared = sorted(set.intersection(*(set(line) for line in lines)))
    steps = shared or sorted(lines[0])
    used = lines if shared else lines[:1]
    return {step: sum(line[step] for line in used) / len(used) for step in steps}


def _points(line: Mapping[float, float]) -> list[Point]:
    return [Point(step, value) for step, value in line.items()]


def legend(arms: Sequence[str]) -> list[dict[str, Any]]:
    """List name, label and line of each arm, for the legend of the page."""
    return [{"arm": arm, "label": label(arm, ARM_LABELS), "line": swatch(series_of(arm, arms))} for arm in arms]


ROW_HEIGHT = 50


def win_rate_chart(run: Run) -> Chart | None:
    """Draw Table 1 as marks with intervals; hollow diamonds are the paper's figures."""
    arms = [arm for arm in run.win_rates if arm != "reference"]
    if not arms:
        return None
    shares = {arm: run.win_rates[arm].share for arm in arms}
    ends = {arm: bounds(share) or (share.value, share.value) for arm, share in shares.items()}
    printed = {arm: (figure.value, NORMAL_95 * (figure.spread or 0)) for arm in arms if (figure := TABLE_1.get(arm))}
    values = [50.0, *(end for both in ends.values() for end in both)]
    values += [value + sign * error for value, error in printed.values() for sign in (-1, 1)]
    plot = Plot(Axis.around(values, "win rate, %", most=6), Axis(0, 1), height=48 + ROW_HEIGHT * len(arms), grid="x")
    plot.rule(50, 0, 50, 1)
    for place, arm in enumerate(arms):
        y = plot.top + ROW_HEIGHT * place + 26
        plot.text(0, y - 12, label(arm, ARM_LABELS), colour="var(--ink)")
        if arm in printed:
            value, error = printed[arm]
            plot.span(value - error, value + error, value, y + 13, hollow=True)
        plot.span(*ends[arm], shares[arm].value, y, series=None if arm == "sft" else series_of(arm, arms))
    story = "; ".join(f"{arm} {plain(share.value)} percent" for arm, share in shares.items())
    return Chart(plot.svg(), "Win rates with 95 % intervals", f"Win rates with 95 percent intervals: {story}.")


def _redlines(run: Run) -> list[dict[str, Any]]:
    return [
        {"prompt": edit.prompt, "editor": edit.editor, "html": Markup(redline_html(edit.original, edit.edited))}
        for edit in choose_edits(run.edits)
    ]


def _heatmaps(run: Run) -> list[dict[str, Any]]:
    """List responses by model; all of a model share one scale of colour, so that good and bad ones compare."""
    by_model: dict[str, list[Heatmap]] = {}
    for heatmap in run.heatmaps:
        by_model.setdefault(heatmap.model, []).append(heatmap)
    return [_heatmaps_of_model(model, heatmaps) for model, heatmaps in by_model.items()]


def _heatmaps_of_model(model: str, heatmaps: list[Heatmap]) -> dict[str, Any]:
    good = [heatmap for heatmap in heatmaps if heatmap.label == "good"]
    other = [heatmap for heatmap in heatmaps if heatmap.label != "good"]
    half = SHOWN_HEATMAPS // 2
    chosen = good[: max(half, SHOWN_HEATMAPS - len(other))] + other[: max(half, SHOWN_HEATMAPS - len(good))]
    limit = max((abs(reward or 0.0) for heatmap in chosen for reward in heatmap.rewards), default=0.0)
    responses = [_response(heatmap, limit) for heatmap in chosen]
    return {"model": label(model, MODEL_LABELS), "limit": limit, "responses": responses}


def _response(heatmap: Heatmap, limit: float) -> dict[str, Any]:
    rewards = [reward or 0.0 for reward in heatmap.rewards]
    flaws = [None if flaw is None else flaw.replace("_", " ") for flaw in heatmap.flaws]
    return {
        "prompt": heatmap.prompt,
        "label": heatmap.label,
        "html": Markup(heatmap_html(heatmap.tokens, rewards, limit=limit, flaws=flaws)),
        "rows": list(zip(heatmap.tokens, rewards, flaws, strict=True)),
        "flawed": any(flaws),
    }


def provenance(run: Run) -> list[tuple[str, str]]:
    """List recipe, seeds, machine and versions, without paths."""
    return [
        ("Recipe", f"{run.name} (sha256 {run.recipe_sha256[:12]})"),
        ("Seeds" if run.of_several else "Seed", ", ".join(str(seed) for seed in run.seeds)),
        *machine_rows(run.environment),
    ]


def machine_rows(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List machine, versions, commit and start, as far as a manifest has them."""
    versions = about.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    rows = [
        ("Machine", _machine(about)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Commit", str(about.get("git_commit") or "")),
        ("Started", str(about.get("started") or "")),
    ]
    return [(name, text) for name, text in rows if text]


def _machine(about: Mapping[str, Any]) -> str:
    cpus, platform = about.get("cpus"), about.get("platform")
    parts = [f"{cpus} CPU core{'' if cpus == 1 else 's'}" if cpus else "", str(platform or "")]
    return ", ".join(part for part in parts if part)
