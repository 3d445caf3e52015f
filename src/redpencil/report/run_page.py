"""`report.html`: one file to read and to show, that asks nothing of any host."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import redpencil
from redpencil.files import whole_file
from redpencil.report import charts, tables
from redpencil.report.headline import absences, headline, limits
from redpencil.report.paper import MODEL_LABELS, label
from redpencil.report.run_data import Heatmap, Run, read_run
from redpencil.report.tables import methods
from redpencil.report.text import HEATMAP_CSS, choose_edits, heatmap_html, redline_html, visible

TEMPLATES = Path(__file__).parent / "templates"
SHOWN_HEATMAPS = 8
"""Of each model, half of them good responses where there are as many."""


def write_report(run_folder: Path) -> Path:
    """Write `report.html` into a run folder, of one seed or of several, and return its path.

    Raises:
        RedpencilError: if the folder has no results.json, or a file in it is not what redpencil writes.
    """
    run_folder = Path(run_folder)
    page = render(read_run(run_folder))
    out = run_folder / "report.html"
    with whole_file(out) as file:
        file.write(page.encode("utf-8"))
    return out


def render(run: Run) -> str:
    """The page of a run."""
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8") + HEATMAP_CSS
    seed = next((seed for of_seed in run.curves.values() for seed in of_seed), None)
    return template("report.html.j2").render(
        run=run,
        style=Markup(style),
        headline=headline(run),
        tables={
            "win_rates": tables.win_rates(run),
            "gaps": tables.gaps(run),
            "methods": methods(run),
            "accuracy": tables.reward_accuracy(run),
            "localisation": tables.localisation(run),
            "efficiency": tables.efficiency(run),
            "flaws": tables.flaws(run),
            "stages": tables.stages(run),
            "seeds": tables.seeds(run),
            "curves": None if seed is None else tables.curve_table(run, seed),
        },
        win_rate_chart=safe_chart(charts.win_rate_chart(run)),
        curves=[safe_chart(chart) for chart in charts.learning_curves(run)],
        legend=charts.legend_lines(list(run.curves)),
        redlines=_redlines(run),
        heatmaps=_heatmaps(run),
        limits=limits(run),
        absences=absences(run),
        provenance=provenance(run),
        version=redpencil.__version__,
    )


def template(name: str) -> jinja2.Template:
    """A template of this room; all that is put into it is escaped but what is marked as safe, and shows its control
    characters.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    if isinstance(value, Markup):
        return Markup(visible(value))
    return visible(value) if isinstance(value, str) else value


def safe_chart(chart: charts.Chart | None) -> Mapping[str, Any] | None:
    """A chart for the templates, whose SVG is our own."""
    if chart is None:
        return None
    return {"svg": Markup(chart.svg), "title": chart.title, "description": chart.description}


def _redlines(run: Run) -> list[dict[str, Any]]:
    return [
        {"prompt": edit.prompt, "editor": edit.editor, "html": Markup(redline_html(edit.original, edit.edited))}
        for edit in choose_edits(run.edits)
    ]


def _heatmaps(run: Run) -> list[dict[str, Any]]:
    """By model; one scale of colour for all responses of a model, so that good and bad ones compare."""
    by_model: dict[str, list[Heatmap]] = {}
    for heatmap in run.heatmaps:
        by_model.setdefault(heatmap.model, []).append(heatmap)
    return [_heatmaps_of_model(model, found) for model, found in by_model.items()]


def _heatmaps_of_model(model: str, found: list[Heatmap]) -> dict[str, Any]:
    good = [heatmap for heatmap in found if heatmap.label == "good"]
    other = [heatmap for heatmap in found if heatmap.label != "good"]
    half = SHOWN_HEATMAPS // 2
    shown = good[: max(half, SHOWN_HEATMAPS - len(other))] + other[: max(half, SHOWN_HEATMAPS - len(good))]
    limit = max((abs(reward) for heatmap in shown for reward in heatmap.rewards), default=0.0)
    responses = [
        {
            "prompt": heatmap.prompt,
            "label": heatmap.label,
            "html": Markup(heatmap_html(heatmap.tokens, heatmap.rewards, limit=limit, flaws=heatmap.flaws)),
            "rows": list(zip(heatmap.tokens, heatmap.rewards, heatmap.flaws, strict=True)),
            "flawed": any(heatmap.flaws),
        }
        for heatmap in shown
    ]
    return {"model": label(model, MODEL_LABELS), "limit": limit, "responses": responses}


def provenance(run: Run) -> list[tuple[str, str]]:
    """What made the run: names, seeds, machine, versions. No paths."""
    about = run.environment
    versions = about.get("versions")
    versions = versions if isinstance(versions, dict) else {}
    rows = [
        ("Recipe", run.name + (f" (sha256 {run.recipe_sha256[:12]})" if run.recipe_sha256 else "")),
        ("Seeds" if run.of_several else "Seed", ", ".join(str(seed) for seed in run.seeds)),
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
