"""The charts of the microscope: places on a scale, every point, colours of wrong and right."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.evaluation.reward_eval import EditFeatures, Microscope, ModelReadings, Scores, TestSet, read, summarise
from redpencil.records import Edit, Pair
from redpencil.report.microscope_charts import MOST, Scale, legend, margin_charts, reliability_charts, size_chart


def microscope(count: int = 40, models: int = 2, **changes: Any) -> Microscope:
    edits = [Edit(str(n), "p", f"a {n}", f"b {n}") for n in range(count)]
    pairs = [Pair(str(n), (1,), (1, 2), (3, 4), (True, False), (True, False), ((1, 1),)) for n in range(count)]
    features = [EditFeatures("mixed", 0.1 + 0.02 * (n % 20), 2, "first third", 2, 0) for n in range(count)]
    held = TestSet(
        "held", "edits", pairs, **{"edits": edits, "features": features, "labels": [None] * count, **changes}
    )
    found = {}
    for number in range(models):
        rng = np.random.default_rng(number)
        scores = Scores(rng.normal(0.5, 1, count), np.zeros(count))
        found[f"m{number}"] = ModelReadings("sequence", "edits", {"held": read(held, scores, examples=2)})
    return Microscope(found, {"held": summarise(held)})


def test_a_scale_by_hand() -> None:
    scale = Scale(0, 10, 100, 200)
    assert [scale(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert scale.ticks() == [0, 2, 4, 6, 8, 10]
    assert Scale(50, 100, 0, 1).ticks() == [50, 60, 70, 80, 90, 100]
    assert Scale(-0.3, 0.9, 0, 1).ticks() == pytest.approx([0, 0.5])


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_on_the_scale(low: float, span: float) -> None:
    scale = Scale(low, low + span, 0, 1)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 6
    assert all(-0.01 <= scale(tick) <= 1.01 for tick in ticks)


def test_each_bin_and_model_has_a_mark() -> None:
    found = microscope()
    (chart,) = reliability_charts(found)
    for index, model in enumerate(found.models.values()):
        bins = model.readings["held"].calibration.bins_by_count
        assert len(re.findall(rf'fill="var\(--series-{index}\)"', chart.svg)) == len(bins)
        for one in bins:
            assert f"{100 * one.confidence:.1f} sure, {100 * one.accuracy:.1f} right" in chart.description
    assert chart.svg.count("stroke-dasharray") == 2  # the diagonal, and the second model's line


def test_wrong_margins_have_another_colour() -> None:
    found = microscope(models=1)
    (chart,) = margin_charts(found)
    histogram = found.models["m0"].readings["held"].margins
    wrong = sum(high <= 0 for high in histogram.edges[1:])
    assert chart.svg.count('fill="var(--series-1)"') == wrong > 0
    assert chart.svg.count('fill="var(--series-0)"') == len(histogram.counts) - wrong
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" fill', chart.svg)]
    most = max(histogram.counts)
    assert heights == pytest.approx([max(heights) * count / most for count in histogram.counts], abs=0.06)


def test_not_more_histograms_than_a_page_can_hold() -> None:
    assert len(margin_charts(microscope(models=MOST + 3))) == MOST


def test_accuracy_by_size() -> None:
    found = microscope()
    chart = size_chart(found, "held")
    assert chart is not None
    for group in found.models["m0"].readings["held"].by_size:
        assert f"{group.name} {group.accuracy.value:.1f}" in chart.description
        assert f">{group.name}</text>" in chart.svg
    same = [EditFeatures("mixed", 0.5, 2, "first third", 2, 0)] * 40
    assert size_chart(microscope(features=same), "held") is None


def test_a_legend_tells_more_than_six_models_apart() -> None:
    rows = legend([f"m{n}" for n in range(7)])
    assert len({(row["colour"], row["dashes"], row["mark"]) for row in rows}) == 6
    assert rows[6]["mark"] == rows[0]["mark"]


@pytest.mark.parametrize("margin", [0.0, 1e-9, 50.0])
def test_margins_that_are_all_alike(margin: float) -> None:
    pairs = [Pair(str(n), (1,), (1, 2), (3, 4)) for n in range(3)]
    held = TestSet("held", "pairs", pairs)
    reading = read(held, Scores(np.full(3, margin), np.zeros(3)), examples=0)
    found = Microscope({"m": ModelReadings("token", "x", {"held": reading})}, {"held": summarise(held)})
    for chart in (*reliability_charts(found), *margin_charts(found)):
        assert "nan" not in chart.svg
        assert "inf" not in chart.svg
