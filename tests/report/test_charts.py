"""Charts as inline SVG."""

import json
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from redpencil.report.charts import (
    SVG_DASHES,
    _without_fonts,
    learning_curves,
    legend_lines,
    series_index,
    win_rate_chart,
)
from redpencil.report.run_data import read_run


def test_one_chart_for_each_quantity(run_folder: Path) -> None:
    charts = learning_curves(read_run(run_folder))
    assert [chart.title.split()[0] for chart in charts] == ["Win", "KL", "Length", "Reward"]
    for chart in charts:
        ET.fromstring(chart.svg)
        assert "token from" in chart.description


def test_ids_are_unique_among_charts_and_every_reference_is_met(run_folder: Path) -> None:
    run = read_run(run_folder)
    table_1 = win_rate_chart(run)
    assert table_1 is not None
    page = "".join(chart.svg for chart in [table_1, *learning_curves(run)])
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert references
    assert references <= set(ids)


def test_colours_and_type_are_the_page_s(study_folder: Path) -> None:
    for chart in learning_curves(read_run(study_folder)):
        assert not re.search(r"#[0-9a-f]{6}", re.sub(r"(?:href=\"|url\()#[^\")]+", "", chart.svg))
        assert "var(--series-0)" in chart.svg
        assert "var(--muted)" in chart.svg
        assert "<style" not in chart.svg
        assert "font-family" not in chart.svg
        assert "http" not in chart.svg


@pytest.mark.parametrize(
    ("style", "kept"),
    [
        ("font-size: 9px; font-family: 'A B', sans-serif; text-anchor: middle", "font-size: 9px; text-anchor: middle"),
        ("font: 9px 'A B', sans-serif; text-anchor: middle", "font-size: 9px; text-anchor: middle"),
        ("font: bold 9px 'A B', sans-serif", "font-weight: bold; font-size: 9px"),
        ("font: 700 9.5px 'A B'; fill: red", "font-weight: 700; font-size: 9.5px; fill: red"),
    ],
)
def test_fonts_go_and_sizes_stay(style: str, kept: str) -> None:
    assert _without_fonts(f'<text style="{style}"/>') == f'<text style="{kept}"/>'


def test_the_same_each_time(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert [chart.svg for chart in learning_curves(run)] == [chart.svg for chart in learning_curves(run)]


def test_arms_differ_in_line_as_well_as_colour() -> None:
    legend = legend_lines(["token", "edits", "preference", "mine"])
    assert len({line["dashes"] for line in legend}) == len({line["colour"] for line in legend}) == 4
    assert len(set(SVG_DASHES)) == 6
    assert series_index("preference", ["preference"]) == series_index("preference", ["token", "edits", "preference"])


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$", "\u6f22\u5b57", "a & b"])
def test_names_of_arms_may_be_anything(run_folder: Path, name: str) -> None:
    folder = run_folder / f"ppo-{name.replace('/', '|')}"
    (run_folder / "ppo-token").rename(folder)
    results = json.loads((run_folder / "results.json").read_text(encoding="utf-8"))
    results["win_rate"][name.replace("/", "|")] = results["win_rate"].pop("token")
    (run_folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    chart = learning_curves(read_run(run_folder))[0]
    root = ET.fromstring(chart.svg)
    assert name.replace("/", "|") in [element.text for element in root.iter() if element.tag.endswith("text")]


def test_labels_at_the_ends_do_not_touch(write_run: Any, results: dict[str, Any]) -> None:
    folder = write_run(results)
    for arm in ("token", "edits", "preference"):
        lines = [f'{{"step": {step}, "seconds": 1, "kl": {step}}}\n' for step in range(5)]
        (folder / f"ppo-{arm}" / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    (chart,) = learning_curves(read_run(folder))
    heights = {
        element.text: float(element.attrib["y"]) for element in ET.fromstring(chart.svg).iter() if "y" in element.attrib
    }
    places = sorted(heights[arm] for arm in ("token", "edits", "preference"))
    assert min(b - a for a, b in pairwise(places)) > 9


def test_nothing_to_draw(write_run: Any) -> None:
    folder = write_run({"name": "empty"})
    for arm in ("token", "edits", "preference"):
        (folder / f"ppo-{arm}" / "metrics.jsonl").write_text('{"step": 0, "seconds": 0, "kl": NaN}\n', encoding="utf-8")
    run = read_run(folder)
    assert learning_curves(run) == []
    assert win_rate_chart(run) is None
