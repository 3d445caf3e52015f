"""Reading run folders."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.report.run_data import (
    Estimate,
    ShownAlarm,
    duration,
    estimate,
    mapping,
    mean_arms,
    merged_alarms,
    percent_interval,
    plain,
    points,
    points_interval,
    read_alarms,
    read_arms,
    read_run,
    signed,
)

Write = Callable[[dict[str, Any]], Path]


def test_one_seed(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert (run.name, run.seeds, run.of_several, run.world) == ("quickstart", (0,), False, True)
    assert list(run.win_rates) == ["token", "edits", "preference", "sft"]
    assert list(run.curves) == ["token", "edits", "preference"]
    assert len(run.curves["token"][0]) == 41
    assert len(run.edits) == 5
    assert [heatmap.label for heatmap in run.heatmaps] == ["good", "bad", "good", "bad"]


def test_an_arm_that_an_earlier_recipe_left_behind_is_not_shown(run_folder: Path) -> None:
    shutil.copytree(run_folder / "ppo-token", run_folder / "ppo-old")
    assert list(read_run(run_folder).curves) == ["token", "edits", "preference"]


def test_several_seeds(study_folder: Path) -> None:
    run = read_run(study_folder)
    assert run.seeds == (11, 12, 13, 14, 15)
    assert list(run.curves["edits"]) == [11, 12, 13, 14, 15]
    # sorted: .3, .4, .5, .7, never
    assert run.efficiency["edits"].ratio == 0.5
    assert run.efficiency["edits"].ratios == (0.5, 0.4, 0.7, 0.3, None)
    # every seed has the same lengths and stages, so the means are theirs
    assert run.win_rates["token"].mean_length == pytest.approx(26.3)
    assert run.stages["ppo-token"] == pytest.approx(71.3)
    assert run.warnings == ("edits: 12 rows skipped, their text did not change (seeds 11, 12, 13, 14, 15)",)


def test_a_token_arm_that_never_got_there_is_later_than_any_in_the_median(study_folder: Path) -> None:
    results = json.loads((study_folder / "results.json").read_text())
    for seed, (step, ratio) in zip(results["seeds"], [(5, 0.25), *[(None, None)] * 3, (10, 0.5)], strict=True):
        results["runs"][str(seed)]["efficiency"] |= {"token_step": step, "ratio": ratio, "token_seconds": step}
    (study_folder / "results.json").write_text(json.dumps(results))
    row = read_run(study_folder).efficiency["edits"]
    # sorted: 5, 10, never, never, never; the third is never
    assert (row.token_step, row.ratio, row.token_seconds) == (None, None, None)
    assert row.sequence_step == 20


def test_results_of_the_seeds_are_read_from_their_folders(study_folder: Path) -> None:
    results = json.loads((study_folder / "results.json").read_text())
    del results["runs"]
    (study_folder / "results.json").write_text(json.dumps(results))
    assert list(read_run(study_folder).by_seed) == [11, 12, 13, 14, 15]


def test_missing_results_say_the_hint(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no results\.json") as caught:
        read_run(tmp_path)
    assert caught.value.hint is not None
    assert "redpencil run" in caught.value.hint


@pytest.mark.parametrize(
    ("results", "field"),
    [
        ({"win_rate": []}, "win_rate"),
        ({"win_rate": {"token": 5}}, "win_rate.token"),
        ({"reward_accuracy": {"token_edits": [1]}}, "reward_accuracy.token_edits"),
        ({"seeds": [1], "runs": {"1": {"flaws": 3}}}, "flaws"),
    ],
)
def test_results_of_another_shape_name_file_and_field(tmp_path: Path, results: Any, field: str) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(RedpencilError) as caught:
        read_run(tmp_path)
    assert caught.value.field == field
    assert caught.value.file == str(tmp_path / "results.json")


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_results_that_are_no_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RedpencilError) as caught:
        read_run(tmp_path)
    assert caught.value.file == str(tmp_path / "results.json")


def test_heatmaps_of_unequal_lengths_name_their_row(run_folder: Path) -> None:
    file = run_folder / "evaluate" / "report_data.json"
    data = json.loads(file.read_text())
    data["heatmaps"][2]["rewards"].pop()
    file.write_text(json.dumps(data))
    with pytest.raises(RedpencilError, match="must be as many") as caught:
        read_run(run_folder)
    assert (caught.value.file, caught.value.field) == (str(file), "heatmaps[2]")


def test_broken_metrics_name_their_file(run_folder: Path) -> None:
    file = run_folder / "ppo-edits" / "metrics.jsonl"
    file.write_text('{"step": 1, "sec')
    with pytest.raises(RedpencilError) as caught:
        read_run(run_folder)
    assert caught.value.file == str(file)


@pytest.mark.parametrize(
    ("file", "content", "field"),
    [
        ("evaluate/report_data.json", {"heatmaps": 5}, "heatmaps"),
        ("evaluate/report_data.json", {"heatmaps": [{"tokens": 1}]}, "heatmaps[0].tokens"),
        ("results.json", {"warnings": 5}, "warnings"),
        ("results.json", {"seeds": [None]}, "seeds"),
    ],
)
def test_a_list_that_is_none_names_file_and_field(run_folder: Path, file: str, content: Any, field: str) -> None:
    (run_folder / file).write_text(json.dumps(content))
    with pytest.raises(RedpencilError) as caught:
        read_run(run_folder)
    assert (caught.value.file, caught.value.field) == (str(run_folder / file), field)


ROW = {"name": "value_loss", "where": "ppo-token", "message": "it is 9", "advice": "lower it", "step": 7, "value": 9.0}


def test_alarms_are_read_and_what_is_none_is_passed_over() -> None:
    assert read_alarms({"alarms": [ROW, "x", {"name": "kl"}, {**ROW, "step": None}]}) == (
        ShownAlarm("value_loss", "ppo-token", "it is 9", "lower it", 7),
        ShownAlarm("value_loss", "ppo-token", "it is 9", "lower it", None),
    )
    assert read_alarms({}) == ()
    assert read_alarms({"alarms": {"kl": 1}}) == ()


def test_seeds_are_gathered_by_name_and_place_with_the_first_ones_message() -> None:
    first, second = ShownAlarm("kl", "ppo-token", "4", "raise"), ShownAlarm("kl", "ppo-edits", "5", "raise", 3)
    found = merged_alarms({11: (first,), 12: (second, ShownAlarm("kl", "ppo-token", "6", "raise"))})
    assert [(alarm.where, alarm.message, alarm.seeds) for alarm in found] == [
        ("ppo-token", "4", (11, 12)),
        ("ppo-edits", "5", (12,)),
    ]


def test_an_alarm_in_words() -> None:
    alarm = ShownAlarm("value_loss", "ppo-token", "it is 9", "lower it", 7, (1, 2))
    assert alarm.sentence == ("Value loss: ppo-token, seeds 1, 2 (the first's are shown), step 7: it is 9. Lower it.")
    assert ShownAlarm("kl", "x", "m", "a").sentence == "KL: x: m. A."


ROW_ARMS = {
    "method": "dpo",
    "pairs": "edits",
    "train_pairs": 400,
    "training_seconds": 30.0,
    "reward_seconds": 0,
    "sampled_in_training": 0,
    "responses_per_prompt": 1,
    "answer_seconds": 2.0,
    "validation_win_rate": 51.0,
    "step": 50,
    "kl": 3.5,
    "kl_bound": None,
}


def test_numbers_are_read_and_absent_ones_are_none() -> None:
    arm = read_arms({"a": ROW_ARMS, "b": {"method": "figa"}})
    assert (arm["a"].method, arm["a"].pairs, arm["a"].train_pairs, arm["a"].kl) == ("dpo", "edits", 400, 3.5)
    assert (arm["a"].kl_bound, arm["b"].training_seconds, arm["b"].pairs) == (None, None, "")


def test_a_run_without_the_entry_has_no_methods() -> None:
    assert read_arms(None) == {}


def test_what_is_no_mapping_is_named() -> None:
    with pytest.raises(RedpencilError) as caught:
        read_arms({"a": 5})
    assert caught.value.field == "methods.a"


@pytest.mark.parametrize(
    ("row", "label"),
    [
        (ROW_ARMS, "DPO"),
        ({"method": "best_of_n", "responses_per_prompt": 16}, "best of 16"),
        ({"method": "best_of_n"}, "best of n"),
        ({"method": "figa"}, "FIGA-style fine-tuning"),
        ({"method": "someones own"}, "someones own"),
    ],
)
def test_a_method_has_its_words(row: dict[str, object], label: str) -> None:
    assert read_arms({"a": row})["a"].label == label


def test_numbers_of_several_seeds_are_means_of_those_that_there_are() -> None:
    runs = [
        read_arms({"a": {**ROW_ARMS, "kl": kl, "training_seconds": seconds}}) for kl, seconds in ((2, 10), (None, 30))
    ]
    found = mean_arms([*runs, {}])["a"]
    assert (found.kl, found.training_seconds, found.step, found.kl_bound) == (2, 20, 50, None)


def test_interval_is_two_standard_errors_by_hand() -> None:
    # 51.6 -+ 1.959964 * 1.76 = 51.6 -+ 3.4495
    found = estimate({"value": 51.6, "standard_error": 1.76, "n": 805}, "win_rate.token")
    assert found is not None
    assert found.low == pytest.approx(48.1505, abs=1e-3)
    assert found.high == pytest.approx(55.0495, abs=1e-3)
    assert percent_interval(found) == "48.2 to 55.0"
    assert found.n == 805


def test_a_share_stays_within_0_and_100_but_a_difference_does_not() -> None:
    # 99 + 1.96 * 2 = 102.9; -1 - 3.9 = -4.9
    share = estimate({"value": 99.0, "standard_error": 2.0}, "x")
    gap = estimate({"value": -1.0, "standard_error": 2.0}, "x", whole=None)
    assert share is not None
    assert share.high == 100.0
    assert gap is not None
    assert gap.low == pytest.approx(-4.92, abs=0.01)
    over_two_seeds = estimate({"value": 0.8, "low": -0.1, "high": 1.7}, "x", whole=1.0)
    assert over_two_seeds == Estimate(0.8, 0.0, 1.0)


def test_given_ends_are_kept_and_nan_is_no_interval() -> None:
    assert estimate({"value": 1.0, "low": 0.5, "high": 2.0, "standard_error": 9.0}, "x") == Estimate(1.0, 0.5, 2.0)
    bare = estimate({"value": 1.0, "low": math.nan, "high": math.nan}, "x")
    assert bare == Estimate(1.0)
    assert percent_interval(bare) == ""
    assert estimate({"value": None}, "x") is None
    assert estimate(None, "x") is None


def test_zero_counts_as_covered_where_nothing_excludes_it() -> None:
    assert Estimate(2.0).covers_zero
    assert not Estimate(2.0).above_zero
    assert Estimate(2.0, 0.0, 4.0).covers_zero
    assert not Estimate(2.0, 0.0, 4.0).above_zero
    assert Estimate(2.0, 0.1, 4.0).above_zero
    assert not Estimate(-2.0, -4.0, -0.1).covers_zero


def test_signs() -> None:
    assert signed(1.26) == "+1.3"
    assert signed(-1.26) == "\N{MINUS SIGN}1.3"
    assert signed(-0.04) == "0.0"
    assert plain(-2.0) == "\N{MINUS SIGN}2.0"
    assert plain(None) == "\N{EN DASH}"
    assert points(Estimate(-1.0)) == "\N{MINUS SIGN}1.0"
    assert points_interval(Estimate(0.5, -0.5, 1.5)) == "\N{MINUS SIGN}0.5 to +1.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.13, "4.1 s"), (99.96, "1 min 40 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (None, "\N{EN DASH}")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_no_mapping_names_its_field() -> None:
    assert mapping(None, "flaws") == {}
    with pytest.raises(RedpencilError, match="found list") as caught:
        mapping([], "flaws")
    assert caught.value.field == "flaws"
