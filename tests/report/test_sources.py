"""Reading run folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.report.sources import read_run

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


def test_missing_results_say_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no results\.json") as caught:
        read_run(tmp_path)
    assert caught.value.way_out is not None
    assert "redpencil run" in caught.value.way_out


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
