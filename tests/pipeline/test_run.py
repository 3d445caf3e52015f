"""A recipe from start to report: the same twice, taken up where it was, on the world and on a user's own files."""

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.errors import RedpencilError
from redpencil.pipeline.run import locked_folder, recipe_sha256, run_recipe, time_covered
from redpencil.recipe import load_recipe

STAGES = (
    "world", "sft", "reference", "samples", "outputs-sft", "annotations", "align",
    "reward-token_edits", "reward-sequence_edits", "reward-sequence_comparisons",
    "ppo-token", "outputs-token", "ppo-edits", "outputs-edits", "ppo-preference", "outputs-preference",
    "judge", "needed", "evaluate",
)  # fmt: skip
PPO = {"ppo-token", "ppo-edits", "ppo-preference"}
OUTPUTS = {"outputs-token", "outputs-edits", "outputs-preference"}


def strict(path: Path) -> dict[str, Any]:
    """JSON as the standard has it, which knows no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path.name} holds {constant}")

    content: dict[str, Any] = json.loads(path.read_text(), parse_constant=refuse)
    return content


def test_a_run_leaves_results_a_manifest_its_recipe_and_a_report(tiny: Any, finished: Path) -> None:
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names == {*STAGES, "results.json", "manifest.json", "recipe.yaml", "report.html"}
    assert load_recipe(finished / "recipe.yaml") == tiny()
    results = strict(finished / "results.json")
    assert (results["name"], results["seed"]) == ("tiny", 3)
    assert tuple(results["stages"]) == STAGES
    assert all(stage["seconds"] >= 0 for stage in results["stages"].values())
    manifest = strict(finished / "manifest.json")
    assert manifest["seeds"] == [3]
    assert manifest["inputs"] == {}
    assert manifest["recipe"]["world"]["hidden_size"] == 16
    assert {"torch", "transformers", "redpencil"} <= set(manifest["versions"])
    starts = [strict(finished / stage / "manifest.json")["started"] for stage in STAGES]
    assert manifest["started"] == min(starts)
    assert manifest["finished"] >= max(starts)
    assert manifest["stage_seconds"] == pytest.approx(sum(s["seconds"] for s in results["stages"].values()), abs=0.1)
    assert 0 < manifest["wall_seconds"] <= manifest["stage_seconds"] + 1 * len(STAGES)  # starts are whole seconds
    assert "<html" in (finished / "report.html").read_text()


@pytest.mark.slow
def test_the_same_recipe_side_by_side_in_another_folder_gives_the_same_results(
    tiny: Any, finished: Path, tmp_path: Path, listener: Any, without_timings: Callable[[Any], Any]
) -> None:
    run_recipe(tiny(), tmp_path / "again", jobs=2, listener=listener)
    first, second = (strict(folder / "results.json") for folder in (finished, tmp_path / "again"))
    assert without_timings(first) == without_timings(second)
    assert sorted(listener.stages("done")) == sorted(STAGES)
    assert listener.of("sft") == ["started", "progress", "done"]


@pytest.mark.slow
def test_another_seed_gives_other_results_and_a_study_has_those_of_each_seed(
    tiny: Any, finished: Path, tmp_path: Path, without_timings: Callable[[Any], Any]
) -> None:
    recipe = tiny("seeds=[3,4]")
    report = run_recipe(recipe, tmp_path / "study", jobs=1, listener=lambda _: None)
    study = strict(tmp_path / "study" / "results.json")
    assert study["seeds"] == [3, 4]
    assert set(study["runs"]) == {"3", "4"}
    single = strict(finished / "results.json")
    assert without_timings(study["runs"]["3"]) == without_timings(single)
    assert study["runs"]["4"]["win_rate"] != single["win_rate"]
    assert study["runs"]["4"] == strict(tmp_path / "study" / "seed-4" / "results.json")
    assert study["recipe_sha256"] == single["recipe_sha256"]
    rates = [study["runs"][seed]["win_rate"]["token"]["value"] for seed in ("3", "4")]
    assert study["summary"]["win_rate"]["token"]["value"] == pytest.approx(sum(rates) / 2)
    assert report == tmp_path / "study" / "report.html"
    assert report.is_file()
    assert len(strict(tmp_path / "study" / "manifest.json")["seeds"]) == 2


def test_what_is_complete_is_not_run_again(tiny: Any, copied: Path, listener: Any) -> None:
    before = {name: (copied / name / "manifest.json").read_bytes() for name in STAGES}
    results = strict(copied / "results.json")
    run_recipe(tiny(), copied, jobs=1, listener=listener)
    assert listener.stages("already complete") == list(STAGES)
    assert {name: (copied / name / "manifest.json").read_bytes() for name in STAGES} == before
    assert strict(copied / "results.json") == results


def test_the_recipe_in_a_run_folder_continues_with_the_run(copied: Path, listener: Any) -> None:
    run_recipe(load_recipe(copied / "recipe.yaml"), copied, jobs=1, listener=listener)
    assert listener.stages("already complete") == list(STAGES)


def test_another_kl_coef_runs_ppo_again_and_nothing_before_it(tiny: Any, copied: Path, listener: Any) -> None:
    run_recipe(tiny("ppo.kl_coef=2"), copied, jobs=1, listener=listener)
    again = set(listener.stages("done"))
    # A policy that PPO could not better is the SFT policy again, and its outputs are complete.
    assert {*PPO, "evaluate"} <= again <= {*PPO, *OUTPUTS, "judge", "needed", "evaluate"}
    assert len(again) + len(listener.stages("already complete")) == len(STAGES)


def test_another_anchor_runs_align_again_and_what_reads_the_masks(tiny: Any, copied: Path, listener: Any) -> None:
    run_recipe(tiny("align.anchor=divergence"), copied, jobs=1, listener=listener)
    again = set(listener.stages("done"))
    assert {"align", "reward-token_edits", "ppo-token", "evaluate"} <= again
    # Comparisons have no masks: their pairs, and so their reward model and its arm, are what they were.
    complete = set(listener.stages("already complete"))
    assert {"world", "sft", "reference", "samples", "annotations", "reward-sequence_comparisons"} <= complete
    assert "ppo-preference" in complete


def test_another_name_is_in_the_results_though_no_stage_is_run_again(tiny: Any, copied: Path, listener: Any) -> None:
    run_recipe(tiny("name=other"), copied, jobs=1, listener=listener)
    assert listener.stages("done") == []
    assert strict(copied / "results.json")["name"] == "other"


def test_a_stage_that_was_cut_short_is_done_again(tiny: Any, copied: Path, listener: Any) -> None:
    (copied / "judge").rename(copied / "judge.partial")
    (copied / "judge.partial" / "manifest.json").rename(copied / "judge.partial" / ".fingerprint")
    run_recipe(tiny(), copied, jobs=1, listener=listener)
    assert listener.stages("done") == ["judge"]
    assert not (copied / "judge.partial").exists()


def test_the_digest_of_a_recipe_is_that_of_all_but_its_seeds_and_where_it_computes(tiny: Any, finished: Path) -> None:
    digest = recipe_sha256(tiny())
    assert strict(finished / "results.json")["recipe_sha256"] == digest
    assert recipe_sha256(tiny("seeds=[8]", "compute.jobs=3")) == digest
    assert recipe_sha256(tiny("ppo.kl_coef=.5")) != digest


def test_warnings_count_the_rows_that_no_pair_was_made_of_and_the_report_shows_them(finished: Path) -> None:
    lost = {}
    for path in sorted((finished / "annotations").glob("*.jsonl")):
        given, kept = (len(file.read_text().splitlines()) for file in (path, finished / "align" / path.name))
        lost[path.stem] = given - kept
    told: dict[str, int] = dict.fromkeys(lost, 0)
    warnings = strict(finished / "results.json")["warnings"]
    for sentence in warnings:
        assert sentence.startswith(("align skipped ", "needed: "))
        for count, name in re.findall(r"(\d+) of (\w+) \(", sentence):
            told[name] += int(count)
    assert told == lost
    assert sum(lost.values()) > 0
    assert all(sentence in (finished / "report.html").read_text() for sentence in warnings)


def test_a_folder_in_use_is_left_to_its_run(tiny: Any, copied: Path, listener: Any) -> None:
    with (
        locked_folder(copied),
        pytest.raises(RedpencilError, match=r"another run is using this folder \(process \d+\)") as caught,
    ):
        run_recipe(tiny(), copied, jobs=1, listener=listener)
    assert caught.value.file == str(copied)
    assert (copied / ".lock").stat().st_mode & 0o077 == 0
    assert listener.events == []
    run_recipe(tiny(), copied, jobs=1, listener=listener)
    assert len(listener.events) == len(STAGES)


@pytest.mark.parametrize("content", ["notes.txt", "recipe.yaml"])
def test_a_folder_with_anything_else_in_it_is_left_alone(content: str, tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / content).write_text("name: mine\n")
    with pytest.raises(RedpencilError, match="is not a run of redpencil"):
        run_recipe(tiny(), tmp_path / "out", jobs=1, listener=lambda _: None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [content]
    with pytest.raises(RedpencilError, match="is not a run of redpencil"):
        run_recipe(tiny(), tmp_path / "out" / content, jobs=1, listener=lambda _: None)


def test_a_folder_that_cannot_be_made_is_an_error(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RedpencilError, match="cannot make the folder"):
        run_recipe(tiny(), tmp_path / "file" / "out", jobs=1, listener=lambda _: None)


def test_a_users_own_files_go_the_whole_way(
    files_recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: Any
) -> None:
    """Demonstrations and reference outputs given; the paths of the recipe start at its folder, wherever one stands."""
    path = files_recipe()
    monkeypatch.chdir("/")
    out = tmp_path / "run"
    report = run_recipe(load_recipe(path), out, jobs=1, listener=listener)
    assert set(listener.stages("done")) == set(STAGES) - {"world", "needed"}  # nobody edits
    results = strict(out / "results.json")
    assert results["win_rate"]["token"]["n"] == 12
    assert set(results["reward_accuracy"]["token_edits"]) == {"comparisons", "edits"}
    assert set(results["localisation"]["token_edits"]) == {"edited_auroc"}
    assert results["flaws"] is None
    given = json.loads((tmp_path / "data" / "reference_outputs.jsonl").read_text().splitlines()[0])
    judged = json.loads((out / "judge" / "token.jsonl").read_text().splitlines()[0])
    assert (judged["id"], judged["second"]) == (given["id"], given["response"])
    assert judged["annotator"] == str(tmp_path / "data" / "judge")
    assert set(strict(out / "manifest.json")["inputs"]) == {str(file) for file in (tmp_path / "data").iterdir()}
    assert "<html" in report.read_text()

    listener.events.clear()
    run_recipe(load_recipe(out / "recipe.yaml"), out, jobs=1, listener=listener)
    assert listener.stages("done") == []


def test_files_that_move_with_the_same_content_are_the_same_files(
    files_recipe: Callable[..., Path], tmp_path: Path, listener: Any
) -> None:
    arms = {"only": {"reward_model": "token_edits"}}
    run_recipe(load_recipe(files_recipe("sft", arms=arms)), tmp_path / "run", jobs=1, listener=listener)
    (tmp_path / "data").rename(tmp_path / "moved")
    recipe = yaml.safe_load((tmp_path / "own.yaml").read_text())
    recipe["files"] = {k: str(v).replace("data/", "moved/") for k, v in recipe["files"].items() if k != "test_share"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**recipe, "files": {**recipe["files"], "test_share": 0.25}}))
    listener.events.clear()
    run_recipe(load_recipe(tmp_path / "own.yaml"), tmp_path / "run", jobs=1, listener=listener)
    assert listener.stages("done") == []


def test_a_trained_model_and_one_evaluation_prompt_give_a_report_without_not_a_number(
    files_recipe: Callable[..., Path], tmp_path: Path, listener: Any
) -> None:
    """A single prompt has no standard error: null, since JSON has no NaN."""
    path, data = files_recipe("sft", "reference_outputs"), tmp_path / "data"
    prompts = data / "evaluation_prompts.jsonl"
    prompts.write_text(prompts.read_text().splitlines()[0])
    out = tmp_path / "run"
    report = run_recipe(load_recipe(path), out, jobs=1, listener=listener)
    assert set(listener.stages("done")) == set(STAGES) - {"world", "sft", "needed"}
    results = strict(out / "results.json")
    for policy in ("sft", "token", "edits", "preference"):
        assert results["win_rate"][policy]["n"] == 1
        assert results["win_rate"][policy]["standard_error"] is None
    assert not re.search(r"\bnan\b", report.read_text(), re.IGNORECASE)


def test_a_users_missing_file_is_told_before_anything_is_made(
    files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe())
    shutil.rmtree(tmp_path / "data" / "judge")
    with pytest.raises(RedpencilError) as caught:
        run_recipe(recipe, tmp_path / "run", jobs=1, listener=lambda _: None)
    assert caught.value.field == "files.judge"
    assert not (tmp_path / "run").exists()


def test_a_run_of_an_earlier_version_is_refused_and_left_as_it_is(tiny: Any, copied: Path) -> None:
    recipe = copied / "recipe.yaml"
    first, rest = recipe.read_text().split("\n", 1)
    recipe.write_text(first.rpartition(" ")[0] + ".\n" + rest)  # version 0.1.0 did not say its version there
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(RedpencilError, match=r"redpencil 0\.1\.0 wrote this folder") as caught:
        run_recipe(tiny(), copied, jobs=1, listener=lambda _: None)
    assert caught.value.hint == "run its recipe.yaml into another --out, or install redpencil<0.2 to read it"
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("spans", "minutes"),
    [
        ([], 0),
        ([(0, 5)], 5),
        ([(0, 5), (5, 7)], 7),
        ([(0, 5), (2, 7)], 7),
        ([(0, 10), (2, 3), (4, 12)], 12),
        ([(100, 110), (0, 5), (3, 6), (105, 111)], 6 + 11),
    ],
)
def test_time_that_two_stages_share_counts_once(spans: list[tuple[int, int]], minutes: int) -> None:
    day = datetime(2026, 11, 30, tzinfo=UTC)
    covered = time_covered([(day + timedelta(minutes=start), day + timedelta(minutes=end)) for start, end in spans])
    assert covered == timedelta(minutes=minutes)
