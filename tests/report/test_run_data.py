"""Reading run folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.digests import hash_input
from redpencil.errors import RedpencilError
from redpencil.report.run_data import SeenDiagnostic, gather_diagnostics, mean_costs, read_run
from redpencil.report.tables import split_text
from redpencil.results import ArmCosts, Diagnostic, recipe_digest
from redpencil.runs import open_stage, write_json
from redpencil.text import read_json

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
    assert run.speeds["edits"].ratio == 0.5
    assert run.speeds["edits"].ratios == (0.5, 0.4, 0.7, 0.3, None)
    # every seed has the same lengths and stages, so the means are theirs
    assert run.win_rates["token"].mean_length == pytest.approx(26.3)
    assert run.stages["ppo-token"] == pytest.approx(71.3)
    assert run.warnings == ("edits: 12 rows skipped, their text did not change (seeds 11, 12, 13, 14, 15)",)


def test_a_token_arm_that_never_got_there_is_later_than_any_in_the_median(study_folder: Path) -> None:
    results = json.loads((study_folder / "results.json").read_text())
    for seed, (step, ratio) in zip(results["seeds"], [(5, 0.25), *[(None, None)] * 3, (10, 0.5)], strict=True):
        results["runs"][str(seed)]["efficiency"] |= {"token_step": step, "ratio": ratio, "token_seconds": step}
    (study_folder / "results.json").write_text(json.dumps(results))
    row = read_run(study_folder).speeds["edits"]
    # sorted: 5, 10, never, never, never; the third is never
    assert (row.token_step, row.ratio, row.token_seconds) == (None, None, None)
    assert row.sequence_step == 20


def test_missing_results_say_the_hint(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match=r"no results\.json") as caught:
        read_run(tmp_path)
    assert caught.value.hint is not None
    assert "redpencil run" in caught.value.hint


def test_a_folder_of_the_previous_version_is_refused(write_run: Write, results: dict[str, Any]) -> None:
    del results["format"]
    folder = write_run(results)
    with pytest.raises(RedpencilError, match="another format") as caught:
        read_run(folder)
    assert caught.value.file == str(folder / "results.json")
    assert caught.value.hint is not None
    assert "written by redpencil 0.1" in caught.value.hint


def test_heatmaps_of_unequal_lengths_name_their_row(run_folder: Path) -> None:
    file = run_folder / "evaluate" / "report_data.json"
    data = json.loads(file.read_text())
    data["heatmaps"][2]["rewards"].pop()
    file.write_text(json.dumps(data))
    with pytest.raises(RedpencilError, match="must be as many") as caught:
        read_run(run_folder)
    assert (caught.value.file, caught.value.field) == (str(file), "heatmaps.2")


def test_broken_metrics_name_their_file(run_folder: Path) -> None:
    file = run_folder / "ppo-edits" / "metrics.jsonl"
    file.write_text('{"step": 1, "sec')
    with pytest.raises(RedpencilError) as caught:
        read_run(run_folder)
    assert caught.value.file == str(file)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"heatmaps": 5}, "heatmaps"), ({"heatmaps": [{"tokens": 1}]}, "heatmaps.0.model"), ({"format": 1}, "format")],
)
def test_report_data_that_does_not_fit_names_file_and_field(run_folder: Path, change: Any, field: str) -> None:
    file = run_folder / "evaluate" / "report_data.json"
    file.write_text(json.dumps({"format": 2, **change}))
    with pytest.raises(RedpencilError) as caught:
        read_run(run_folder)
    assert (caught.value.file, caught.value.field) == (str(file), field)


def diagnostic(name: str, where: str, message: str, advice: str = "raise it", step: int | None = None) -> Diagnostic:
    return Diagnostic(name=name, where=where, message=message, advice=advice, step=step, value=9.0, threshold=1.0)


def test_seeds_are_gathered_by_name_and_place_with_the_first_ones_message() -> None:
    first, second = diagnostic("kl", "ppo-token", "4"), diagnostic("kl", "ppo-edits", "5", step=3)
    gathered = gather_diagnostics({11: (first,), 12: (second, diagnostic("kl", "ppo-token", "6"))})
    assert [(row.diagnostic.where, row.diagnostic.message, row.seeds) for row in gathered] == [
        ("ppo-token", "4", (11, 12)),
        ("ppo-edits", "5", (12,)),
    ]


def test_a_diagnostic_in_words() -> None:
    row = SeenDiagnostic(diagnostic("value_loss", "ppo-token", "it is 9", "lower it", 7), (1, 2))
    assert row.sentence == "Value loss: ppo-token, seeds 1, 2 (the first one's numbers), step 7: it is 9. Lower it."
    assert SeenDiagnostic(diagnostic("kl", "x", "m", "a")).sentence == "KL: x: m. A."


def test_costs_of_several_seeds_are_means_of_what_is_known(results: dict[str, Any]) -> None:
    runs = [
        {"a": ArmCosts.model_validate(results["methods"]["token"] | {"kl": kl, "training_seconds": seconds})}
        for kl, seconds in ((2.0, 10.0), (None, 30.0))
    ]
    costs = mean_costs([*runs, {}])["a"]
    assert (costs.kl, costs.training_seconds, costs.step, costs.kl_bound) == (2.0, 20.0, 28.0, None)
    assert (costs.label, costs.stage, costs.online) == ("PPO", "ppo-token", True)


def test_a_row_of_a_curve_is_of_one_policy(write_run: Callable[..., Path], results: dict[str, Any]) -> None:
    """Step 1 samples from the policy of step 0, step 2 from that of step 1; after step 2 nothing is sampled."""
    rows = [
        {"step": 0, "seconds": 0, "eval/win_rate": 40, "eval/kl": 0.0, "eval/length": 20},
        {"step": 1, "seconds": 1, "kl": 0.1, "length": 21, "reward": 0.5, "entropy": 1.0},
        {
            "step": 2,
            "seconds": 2,
            "kl": 2.5,
            "length": 22,
            "reward": 0.7,
            "eval/win_rate": 50,
            "eval/kl": 4.5,
            "eval/length": 23,
        },
    ]
    folder = write_run(results)
    path = folder / "ppo-token" / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (of_seed,) = read_run(folder).curves["token"].values()
    measured = [[row.get(name) for name in ("step", "kl", "length", "reward", "eval/win_rate")] for row in of_seed]
    assert measured == [[0, 0.1, 21, 0.5, 40], [1, 2.5, 22, 0.7, None], [2, 4.5, 23, None, 50]]
    assert of_seed[1]["entropy"] == 1.0
    path.write_text(json.dumps(rows[1]) + "\n", encoding="utf-8")
    (of_seed,) = read_run(folder).curves["token"].values()
    assert [row["step"] for row in of_seed] == [0, 1]


@pytest.fixture
def with_stages(run_folder: Path) -> Path:
    """The run folder with two stages that `open_stage` wrote, and the manifest of a run on them."""
    for name in ("samples", "judge"):
        shutil.rmtree(run_folder / name, ignore_errors=True)
        again(run_folder, name, seed=0)
    return finish(run_folder)


def again(run_folder: Path, name: str, seed: int) -> None:
    with open_stage(run_folder / name, name, seed=seed, config={}, inputs={}) as stage:
        assert stage is not None
        (stage.folder / "rows.jsonl").write_text(f"{seed}\n")
        stage.log(1, loss=0.5)


def finish(run_folder: Path) -> Path:
    stages = {name: read_json(run_folder / name / "manifest.json")["fingerprint"] for name in ("samples", "judge")}
    write_json(run_folder / "manifest.json", {"stages": stages, "results": hash_input(run_folder / "results.json")})
    return run_folder


def test_results_older_than_a_stage_give_no_page(with_stages: Path) -> None:
    read_run(with_stages)
    again(with_stages, "judge", seed=1)  # a change that was interrupted: results.json is still the old one
    with pytest.raises(RedpencilError, match="results are older than its stages: judge changed") as caught:
        read_run(with_stages)
    assert caught.value.file == str(with_stages)
    assert "redpencil run" in str(caught.value.hint)
    read_run(finish(with_stages))
    shutil.rmtree(with_stages / "samples")
    with pytest.raises(RedpencilError, match="older than its stages: samples"):
        read_run(with_stages)


@pytest.mark.parametrize("file", ["rows.jsonl", "metrics.jsonl"])
def test_a_stage_that_was_changed_gives_no_page(with_stages: Path, file: str) -> None:
    (with_stages / "judge" / file).write_text("")
    with pytest.raises(RedpencilError, match=f"not what the stage 'judge' wrote: {file} has changed"):
        read_run(with_stages)


def test_results_that_the_run_did_not_write_give_no_page(with_stages: Path) -> None:
    results = with_stages / "results.json"
    results.write_text(results.read_text().replace("52.", "92."))
    with pytest.raises(RedpencilError, match="not what the run wrote") as caught:
        read_run(with_stages)
    assert caught.value.file == str(results)


def test_a_recipe_that_has_changed_since_is_said(write_run: Write, results: dict[str, Any]) -> None:
    keys: dict[str, Any] = {"name": "quickstart", "ppo": {"kl_coef": 0.1}}
    results["recipe_sha256"] = recipe_digest({**keys, "seeds": [1], "compute": {"threads": 2}})
    folder = write_run(results)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**keys, "seeds": [1, 2]}))
    before = read_run(folder).warnings
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**keys, "ppo": {"kl_coef": 0.2}}))
    after = read_run(folder).warnings
    assert after == (*before, "recipe.yaml has changed since: these are the results of what it said before.")


SPLIT = {
    **{"by": "files", "test_share": 0.25, "folds": None, "fold": None, "own": ["edits"]},
    **{"test": {"edits": 9, "comparisons": 6}, "shared": {"edits": 2, "comparisons": 0}},
}


def test_rows_that_were_split_one_by_one_are_said(write_run: Write, results: dict[str, Any]) -> None:
    folder = write_run(results)
    assert not any("row by row" in warning for warning in read_run(folder).warnings)
    shutil.rmtree(folder / "world")  # now it is a run on a user's files
    (warning,) = [warning for warning in read_run(folder).warnings if "row by row" in warning]
    assert "their prompts may be in training too" in warning
    (folder / "results.json").write_text(json.dumps({**results, "split": SPLIT}))
    run = read_run(folder)
    assert not any("row by row" in warning for warning in run.warnings)
    assert split_text(run) == [
        "Held out: files of their own for edits; the others were held out by prompt. 2 of 15 held-out rows have a "
        "prompt that is in training."
    ]


@pytest.mark.parametrize(
    "text",
    [
        "ppo: {kl_coef: .1, kl_coef: .2}",  # a key that occurs twice
        "a: [b",
        "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)
        ),  # would fill memory
    ],
)
def test_a_recipe_that_is_no_yaml_any_more_is_said(write_run: Write, results: dict[str, Any], text: str) -> None:
    folder = write_run(results)
    (folder / "recipe.yaml").write_text(text)
    assert read_run(folder).warnings[-1].startswith("recipe.yaml is no longer YAML")
