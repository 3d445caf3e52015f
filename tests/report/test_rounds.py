"""The chart of rounds: which arms are rounds of one line, and what is drawn of them."""

import re
from dataclasses import replace
from typing import Any

import pytest

from redpencil.report.rounds import lines_of_rounds, round_charts
from redpencil.report.run_data import PolicyWinRate, Run
from redpencil.results import ArmCosts, Estimate, Ranged

NEEDED = {"sft": 9.0, "a": 6.0, "a_2": 5.0}


def costs(**places: tuple[str | None, str | None]) -> dict[str, ArmCosts]:
    """`costs(figa_2=("figa", "figa"))`: arms by where they started and on whose answers."""
    common: dict[str, Any] = {
        "method": "figa", "label": "FIGA", "stage": "s", "pairs": "edits", "train_pairs": 1, "reward_seconds": 0,
        "training_seconds": 1, "sampled_in_training": 0, "responses_per_prompt": 1, "answer_seconds": 1, "step": 1,
        "validation_win_rate": None, "kl": None, "kl_bound": None,
    }  # fmt: skip
    return {name: ArmCosts(**common, start=start, on=on) for name, (start, on) in places.items()}


@pytest.mark.parametrize(
    ("arms", "lines"),
    [
        ({"a": (None, None)}, []),
        ({"a": (None, None), "b": ("a", None)}, []),  # a warm start alone
        ({"a": (None, None), "b": (None, "a")}, []),  # a refreshed reward model alone
        ({"a": (None, None), "a_2": ("a", "a"), "a_3": ("a_2", "a_2")}, [("sft", "a", "a_2", "a_3")]),
        ({"a_2": ("a", "a"), "a": (None, None)}, [("sft", "a", "a_2")]),
        (
            {"f": (None, None), "p": ("f", None), "p_2": ("p", "p"), "f_2": ("f", "f")},
            [("f", "p", "p_2"), ("sft", "f", "f_2")],
        ),
        (
            {"a": (None, None), "b": ("a", "a"), "c": ("a", "a"), "d": ("b", "b")},
            [("sft", "a", "b", "d"), ("sft", "a", "c")],
        ),
    ],
)
def test_lines(arms: dict[str, tuple[str | None, str | None]], lines: list[tuple[str, ...]]) -> None:
    assert lines_of_rounds(costs(**arms)) == lines


@pytest.fixture
def run() -> Run:
    rates = {"sft": 40.0, "a": 50.0, "a_2": 60.0}
    shares = {arm: PolicyWinRate(Estimate(value=value, standard_error=2, n=100), 5.0) for arm, value in rates.items()}
    tables = (
        "differences",
        "accuracy",
        "speeds",
        "localisation",
        "flaws",
        "stages",
        "by_seed",
        "curves",
        "environment",
    )
    empty: dict[str, Any] = {name: {} for name in tables}
    empty |= dict.fromkeys(("warnings", "diagnostics", "edits", "heatmaps"), ())
    return Run(
        folder="f", name="n", seeds=(0,), of_several=False, recipe_sha256="0", world=True, first_arm="a",
        win_rates=shares, costs=costs(a=(None, None), a_2=("a", "a")), **empty,
    )  # fmt: skip


def test_what_is_drawn_is_what_the_results_say(run: Run) -> None:
    (chart,) = round_charts(run, lambda _: 1)
    assert chart.title == "Win rate by round"
    assert chart.description.endswith("from before the first round: a 40.0, 50.0, 60.0.")
    heights = [
        float(y)
        for y in re.findall(r"[ML][\d.]+ ([\d.]+)", str(re.search(r'd="(M[^V]*?L[^"]*)" fill="none"', chart.svg)))
    ]
    assert len(heights) == 3
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert chart.svg.count('stroke-width="1.2"') == 3  # an interval each
    assert all(text in chart.svg for text in ("before", "round 1", "round 2"))


def test_what_the_answers_still_need_is_drawn_before_the_win_rate(run: Run) -> None:
    needs = {arm: {"edits": Ranged(value=value, low=value - 1, high=value + 1)} for arm, value in NEEDED.items()}
    charts = round_charts(replace(run, needs=needs), lambda _: 1)
    assert [chart.title for chart in charts] == ["Edits still needed by round", "Win rate by round"]
    assert "a 9.0, 6.0, 5.0." in charts[0].description


def test_lines_that_begin_with_one_arm_are_told_apart(run: Run) -> None:
    rates = {**run.win_rates, "ppo": run.win_rates["a_2"]}
    both = replace(run, win_rates=rates, costs=costs(a=(None, None), a_2=("a", "a"), ppo=("a", "a")))
    asked: list[str] = []
    (chart,) = round_charts(both, lambda arm: asked.append(arm) or 1)  # type: ignore[func-returns-value]
    assert chart.description.endswith("a_2 40.0, 50.0, 60.0; ppo 40.0, 50.0, 60.0.")
    assert asked == ["a_2", "ppo"]


def test_nothing_is_drawn_without_rounds_or_where_a_round_was_not_judged(run: Run) -> None:
    assert round_charts(replace(run, costs=costs(a=(None, None))), lambda _: 1) == []
    lacking = {name: row for name, row in run.win_rates.items() if name != "a_2"}
    assert round_charts(replace(run, win_rates=lacking), lambda _: 1) == []
