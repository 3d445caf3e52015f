"""`run`, `quickstart`, `ablate` and `report`: the whole paper, again, elsewhere, after a kill, and in variants."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from redpencil.recipe import load_recipe
from redpencil.records import Comparison, Edit, read_jsonl

ARMS = ("token", "edits", "preference")
STAGES = {
    "world", "sft", "reference", "samples", "outputs-sft", "annotations", "align", "reward-token_edits",
    "reward-sequence_edits", "reward-sequence_comparisons", "ppo-token", "ppo-edits", "ppo-preference",
    "outputs-token", "outputs-edits", "outputs-preference", "judge", "needed", "evaluate",
}  # fmt: skip


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def without_timings(content: Any) -> Any:
    if isinstance(content, dict):
        kept = {key: value for key, value in content.items() if "seconds" not in key and key != "stages"}
        return {key: without_timings(value) for key, value in kept.items()}
    return content


def test_a_run_ends_with_a_report_and_every_number(tiny_run: Any) -> None:
    results = read(tiny_run.folder / "results.json")
    for arm in ARMS:
        assert {"value", "standard_error", "n", "mean_length"} <= results["win_rate"][arm].keys()
        assert results["win_rate"][arm]["n"] == 16
    for trained in ("token_edits", "sequence_edits", "sequence_comparisons"):
        for tested in ("edits", "comparisons", "comparisons_clean"):
            assert {"value", "standard_error", "n"} == results["reward_accuracy"][trained][tested].keys()
    assert {"token_step", "sequence_step", "ratio"} <= results["efficiency"].keys()
    assert 0 <= results["localisation"]["token_edits"]["auroc"] <= 1
    assert results["stages"].keys() == STAGES
    assert all(cost["seconds"] > 0 for cost in results["stages"].values())
    page = (tiny_run.folder / "report.html").read_text(encoding="utf-8")
    assert "<h1" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_run_says_where_the_report_is_and_nothing_of_the_libraries(tiny_run: Any) -> None:
    *headline, results, report = tiny_run.outcome.out.splitlines()
    assert results == f"results: {tiny_run.folder / 'results.json'}"
    assert report == f"report:  {tiny_run.folder / 'report.html'}"
    assert headline[0].startswith("The paper's order of win rates")
    lines = [line for line in tiny_run.outcome.err.splitlines() if not line.startswith("[")]
    said = [line for line in lines if ": warning: " not in line]  # two dozen pairs may be too few to learn
    assert said == [f"tiny: seed 3, in {tiny_run.folder}", said[-1]]
    assert said[-1].startswith("finished in ")


def test_a_log_has_one_line_for_the_start_and_one_for_the_end_of_a_stage(tiny_run: Any) -> None:
    lines = [line.split("] ", 1)[1] for line in tiny_run.outcome.err.splitlines() if line.startswith("[")]
    assert sorted(line.split(":")[0] for line in lines if line.endswith(": started")) == sorted(STAGES)
    assert sorted(line.split(":")[0] for line in lines if ": done in " in line) == sorted(STAGES)
    (told,) = (line for line in lines if not line.endswith(": started") and ": done in " not in line)
    assert told.startswith("reward-token_edits: reward.scale=")  # which the recipe leaves open
    assert lines.index("sft: started") > next(i for i, line in enumerate(lines) if line.startswith("world: done"))


def test_edits_are_made_from_the_responses_that_lost(tiny_run: Any) -> None:
    comparisons = list(read_jsonl(tiny_run.folder / "annotations" / "comparisons_train.jsonl", Comparison))
    edits = list(read_jsonl(tiny_run.folder / "annotations" / "edits_train.jsonl", Edit))
    assert len(edits) == len(comparisons) == 24
    for comparison, edit in zip(comparisons, edits, strict=True):
        assert edit.original == (comparison.second if comparison.preference == "first" else comparison.first)


def test_a_second_run_finds_everything_complete(redpencil: Callable[..., Any], tiny_run: Any, tiny: Path) -> None:
    before = read(tiny_run.folder / "results.json")
    outcome = redpencil("run", tiny, "--out", tiny_run.folder, "--jobs", "1")
    lines = [line for line in outcome.err.splitlines() if line.startswith("[")]
    assert [line.split(": ")[1] for line in lines] == ["already complete"] * len(STAGES)
    assert read(tiny_run.folder / "results.json") == before


def test_a_dry_run_says_what_is_to_do_and_does_nothing(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    outcome = redpencil("run", tiny, "--out", tiny_run.folder, "--dry-run")
    said, planned = outcome.out.splitlines(), list(read(tiny_run.folder / "results.json")["stages"])
    assert said[: len(STAGES)] == [f"{stage}: already complete" for stage in planned]
    (scale,) = (line for line in said if "reward.scale=" in line)
    assert scale.split(": ", 1)[1] in tiny_run.outcome.err
    outcome = redpencil("run", tiny, "--out", tmp_path / "new", "--dry-run")
    assert outcome.out.splitlines()[: len(STAGES)] == [f"{stage}: to do" for stage in planned]
    assert not (tmp_path / "new").exists()


def test_the_recipe_in_the_run_folder_is_that_of_the_run(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path
) -> None:
    recipe = tiny_run.folder / "recipe.yaml"
    assert load_recipe(recipe) == load_recipe(tiny)
    outcome = redpencil("run", recipe, "--out", tiny_run.folder, "--jobs", "1")
    assert outcome.err.count("already complete") == len(STAGES)


def test_the_same_seed_gives_the_same_results_elsewhere(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    assert redpencil("run", tiny, "--out", tmp_path / "again", "--jobs", "1").code == 0
    first, again = read(tiny_run.folder / "results.json"), read(tmp_path / "again" / "results.json")
    assert without_timings(first) == without_timings(again)
    assert first["stages"].keys() == again["stages"].keys()


@pytest.fixture
def small(tiny: Path, tmp_path: Path) -> Path:
    """The tiny recipe with one arm, and an SFT stage that is long enough to be killed in."""
    content = yaml.safe_load(tiny.read_text())
    content["sft"]["max_steps"] = 400
    content["reward_models"] = {"token_edits": {"pairs": "edits"}}
    content["arms"] = {"token": {"reward_model": "token_edits"}}
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.slow
def test_a_killed_run_continues_where_it_was(
    redpencil: Callable[..., Any], start_run: Callable[..., Any], small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    run = start_run(small, "--jobs", "2")
    run.kill()
    assert run.wait() == -signal.SIGKILL
    time.sleep(0.3)
    metrics = folder / "sft.partial" / "metrics.jsonl"
    written = metrics.stat().st_size
    time.sleep(0.3)
    assert metrics.stat().st_size == written, "a worker has outlived the run"
    assert (folder / "world" / "manifest.json").is_file()
    assert not (folder / "sft").exists()

    outcome = redpencil("run", small, "--out", folder, "--jobs", "1")
    assert outcome.code == 0
    assert "world: already complete" in outcome.err
    assert "sft: done" in outcome.err
    assert not list(folder.glob("*.partial"))
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_several_seeds_are_runs_of_their_own_and_a_summary(
    redpencil: Callable[..., Any], small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    outcome = redpencil(
        *("run", small, "--out", folder, "--jobs", "1", "--seed", "1", "--seed", "2"),
        *("--set", "sft.max_steps=5", "--set", "ppo.total_steps=1"),
    )
    assert outcome.code == 0
    results = read(folder / "results.json")
    assert results["seeds"] == [1, 2]
    assert results["runs"].keys() == {"1", "2"}
    assert len(results["summary"]["win_rate"]["token"]["per_seed"]) == 2
    assert (folder / "seed-1" / "sft" / "manifest.json").is_file()
    assert "seed-2/evaluate: done" in outcome.err
    assert (folder / "report.html").is_file()


def test_a_folder_with_anything_else_in_it_is_left_alone(
    mistake: Callable[..., str], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    said = mistake("run", tiny, "--out", tmp_path)
    assert f"{tmp_path}: the output folder exists and is not a run of redpencil" in said
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_users_recipe_is_never_overwritten(mistake: Callable[..., str], tiny: Path, tmp_path: Path) -> None:
    mine = tmp_path / "recipe.yaml"
    mine.write_text("# years of comments\n" + tiny.read_text())
    said = mistake("run", mine, "--out", tmp_path)
    assert "is not a run of redpencil" in said
    assert mine.read_text().startswith("# years of comments")


def test_an_out_that_cannot_be_made(mistake: Callable[..., str], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = mistake("run", tiny, "--out", tmp_path / "file" / "run")
    assert "file/run: cannot make the folder (Not a directory) hint: choose another --out" in said
    assert "file: the output folder exists" in mistake("run", tiny, "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "ppo.kl_cof=1"], "[ppo.kl_cof]: unknown key hint: did you mean 'kl_coef'?"),
        (["--set", "ppo.kl_coef"], "--set takes key=value, not 'ppo.kl_coef'"),
        (["--set", "ppo.kl_coef=much"], "[ppo.kl_coef]: input should be a valid number"),
        (["--set", "arms.token.reward_model=other"], "names 'other'"),
        (["--device", "cuda:99"], "[device]: device 'cuda:99' is not on this machine"),
        (["--device", "gpu"], "[compute.device]: unknown device 'gpu'"),
    ],
)
def test_mistakes_in_options_are_named(
    mistake: Callable[..., str], tiny: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert said.lower() in mistake("run", tiny, "--out", tmp_path / "run", *arguments).lower()
    assert not (tmp_path / "run").exists()


def test_a_missing_file_of_the_recipe_is_found_before_any_work(mistake: Callable[..., str], tmp_path: Path) -> None:
    files = {name: str(tmp_path / "here.jsonl") for name in
             ("comparisons", "edits", "prompts", "validation_prompts", "evaluation_prompts")}  # fmt: skip
    files |= {"model": str(tmp_path), "judge": str(tmp_path / "nowhere")}
    (tmp_path / "here.jsonl").write_text("{}")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump({"files": files}))
    said = mistake("run", recipe, "--out", tmp_path / "run")
    assert "nowhere [files.judge]: no such file or folder" in said
    assert not (tmp_path / "run").exists()


def test_quickstart_is_the_shipped_recipe_in_its_own_folder(
    redpencil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from redpencil.cli import run

    seen: list[Any] = []

    def stop(recipe: Any, out: Path, **options: Any) -> Path:
        seen.append((recipe, out, options["jobs"]))
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_recipe", stop)
    monkeypatch.chdir(tmp_path)
    outcome = redpencil("quickstart", "--jobs", "2", "--seed", "5", "--set", "ppo.kl_coef=0.3", "--device", "cpu")
    assert outcome.code == 130
    ((recipe, out, jobs),) = seen
    assert (out, jobs) == (Path("runs/quickstart"), 2)
    assert (recipe.name, recipe.seeds, recipe.compute.device, recipe.ppo.kl_coef) == ("quickstart", (5,), "cpu", 0.3)


ONE_ARM = {
    "arms": {"token": {"reward_model": "token_edits"}},
    "reward_models": {"token_edits": {"pairs": "edits", "reward": {"level": "token"}}},
}


@pytest.fixture
def recipe(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    groups = {
        "loss": {"eq4": {}, "eq3": {"reward.loss": "eq3"}},
        "anchors": {"no": {}, "yes": {"align.anchor": "none"}},
    }
    content = {"base": str(tiny), "name": "mine", "overrides": ONE_ARM, "groups": groups}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.slow
def test_tables_in_the_terminal_on_pages_and_as_json(
    redpencil: Callable[..., Any], recipe: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "docs" / "page.md"
    first = redpencil("ablate", recipe, "--out", out, "--jobs", "1", "--only", "loss", "--markdown", page)
    assert first.code == 0, first
    assert "loss: the policy" in first.out
    assert "loss: its reward model" in first.out
    assert "anchors" not in first.out
    assert first.err.startswith(f"mine: seed 3, in {out}\n")
    assert f"report:  {out / 'report.html'}" in first.err
    assert "| eq3 (reward.loss=eq3) |" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").endswith("```\nredpencil ablate mine.yaml --markdown page.md\n```\n")
    assert "loss: the policy" in (out / "report.html").read_text(encoding="utf-8")

    again = redpencil("ablate", recipe, "--out", out, "--jobs", "1", "--json")
    assert again.code == 0, again
    results = json.loads(again.out)
    assert results == json.loads((out / "ablations.json").read_text(encoding="utf-8"))
    assert {name: list(rows) for name, rows in results["groups"].items()} == {
        "loss": ["eq4", "eq3"], "anchors": ["no", "yes"]
    }  # fmt: skip
    assert results["groups"]["anchors"]["yes"]["same_as"] == "base"
    assert "loss/eq3/seed-3/reward-token_edits: already complete" in again.err
    assert ": done in" not in again.err


def test_seeds_are_checked_before_anything_runs(mistake: Callable[..., str], recipe: Path, tmp_path: Path) -> None:
    assert "the same seed twice" in mistake("ablate", recipe, "--seed", "1", "--seed", "1", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_mistakes(mistake: Callable[..., str], recipe: Path, tmp_path: Path, tiny: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "no group called 'los'" in mistake("ablate", recipe, "--only", "los", *out)
    assert "cannot read the recipe" in mistake("ablate", tmp_path / "nowhere.yaml", *out)
    assert "[prompt_template]: unknown key" in mistake("ablate", tiny, *out)
    assert "would be overwritten" in mistake("ablate", recipe, "--markdown", recipe, *out)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    assert "holds no ablations" in mistake("ablate", recipe, *out)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_the_report_is_written_anew(redpencil: Callable[..., Any], tiny_run: Any, tmp_path: Path) -> None:
    page = tiny_run.folder / "report.html"
    before = page.read_text(encoding="utf-8")
    page.unlink()
    outcome = redpencil("report", tiny_run.folder, "--markdown", tmp_path / "docs" / "results.md")
    assert page.read_text(encoding="utf-8") == before
    lead, report, markdown = outcome.out.splitlines()
    assert lead == tiny_run.outcome.out.splitlines()[0]
    assert report == f"report:   {page}"
    assert markdown == f"markdown: {tmp_path / 'docs' / 'results.md'}"
    assert (tmp_path / "docs" / "results.md").read_text(encoding="utf-8").startswith("# Results: tiny\n")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_results(mistake: Callable[..., str], tmp_path: Path, name: str) -> None:
    assert "no results.json in this folder" in mistake("report", tmp_path / name)


@pytest.mark.slow
def test_a_group_that_is_not_asked_for_keeps_its_results_and_their_report(
    redpencil: Callable[..., Any], mistake: Callable[..., str], recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ablate = ("ablate", recipe, "--out", out, "--jobs", "1")
    first = redpencil(*ablate, "--only", "loss", "--json")
    assert "without results here: anchors; the same command without --only has them" in first.err
    assert list(json.loads(first.out)["groups"]) == ["loss"]
    second = redpencil(*ablate, "--only", "anchors", "--json")
    assert "without results" not in second.err
    both = read(out / "ablations.json")
    assert list(both["groups"]) == ["loss", "anchors"]
    assert both["groups"]["loss"] == json.loads(first.out)["groups"]["loss"]

    page = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    shown = redpencil("report", out, "--markdown", tmp_path / "page.md")
    assert shown.code == 0, shown
    assert (out / "report.html").read_text(encoding="utf-8") == page
    assert "2 groups" in shown.out
    assert f"report:   {out / 'report.html'}" in shown.out
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.endswith(f"```\nredpencil report {out.name} --markdown page.md\n```\n")
    assert "anchors: the policy" in text

    content = yaml.safe_load(recipe.read_text())
    content["overrides"]["sft.max_steps"] = 2  # what the other group has computed is of another recipe now
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    changed = redpencil(*ablate, "--only", "anchors", "--json")
    assert list(json.loads(changed.out)["groups"]) == ["anchors"]
    assert "without results here: loss" in changed.err
    spelled_out = (out / "ablations.yaml").read_text()
    (out / "ablations.yaml").write_text(spelled_out.replace("max_steps: 2", "max_steps: 3"))  # and was interrupted
    assert "older than ablations.yaml" in mistake("report", out)
    (out / "ablations.yaml").write_text(spelled_out)
    assert redpencil("report", out).code == 0
    (out / "ablations.json").unlink()
    said = mistake("report", out)
    assert f"redpencil ablate {out / 'ablations.yaml'} --out {out}" in said


def test_a_broken_results_file(mistake: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{")
    assert "results.json: not valid JSON" in mistake("report", tmp_path)
    (tmp_path / "results.json").write_text('{"win_rate": 3}')
    assert "results.json [format]: written in another format" in mistake("report", tmp_path)
    assert "it is a folder" in mistake("report", tmp_path, "--markdown", tmp_path)
    assert "it is also an input" in mistake("report", tmp_path, "--markdown", tmp_path / "results.json")


def test_waiting_is_for_people_alone(mistake: Callable[..., str], tiny: Path, tmp_path: Path) -> None:
    said = mistake("run", tiny, "--wait", "--out", tmp_path / "run")
    assert "[--wait]: the recipe has no annotation project" in said
    assert not (tmp_path / "run").exists()
