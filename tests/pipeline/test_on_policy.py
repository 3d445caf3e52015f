"""Arms that start from arms and learn on their answers, in a real run of two rounds in the tiny world."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_reward_model
from redpencil.pipeline.annotations import align, annotations
from redpencil.pipeline.context import Context
from redpencil.pipeline.on_policy import own_samples
from redpencil.pipeline.run import run_recipe
from redpencil.recipe import load_recipe
from redpencil.records import Comparison, Edit, EditOutcome, Pair, Prompt, Response, read_jsonl, write_jsonl
from redpencil.rounds import unrolled
from redpencil.runs import Stage, open_stage, read_metrics
from redpencil.training.reward import measure
from redpencil.training.scoring import encode_samples


@pytest.fixture(scope="module")
def methods(two_rounds: Path) -> dict[str, Any]:
    """What the results say of each arm."""
    content: dict[str, Any] = json.loads((two_rounds / "results.json").read_text())["methods"]
    return content


def test_half_of_the_edits_are_of_the_first_policy_and_half_of_the_arms_own_answers(two_rounds: Path) -> None:
    first = list(read_jsonl(two_rounds / "annotations" / "edits_train.jsonl", Edit))
    assert len(first) == 12  # of 24
    for arm in ("figa", "warm"):
        folder = two_rounds / f"annotations-{arm}"
        edits = list(read_jsonl(folder / "edits_train.jsonl", Edit))
        rows = list(read_jsonl(folder / "comparisons_train.jsonl", Comparison))
        samples = list(read_jsonl(two_rounds / f"samples-{arm}" / "responses.jsonl", Response))
        assert (len(edits), len(rows), len(samples)) == (12, 12, 24)
        assert {row.model for row in samples} == {arm}
        assert {edit.original for edit in edits} <= {row.response for row in samples}
        for row, edit in zip(rows, edits, strict=True):
            assert edit.original in (row.first, row.second)


def test_an_arm_begins_exactly_where_the_one_before_it_ended(two_rounds: Path, methods: dict[str, Any]) -> None:
    first = read_metrics(two_rounds / "figa-figa_2")[0]
    kept = methods["figa"]
    assert kept["step"] > 0, "figa must have moved, or the test would not see where figa_2 starts"
    assert (first["step"], first["eval/kl"]) == (0, 0)  # the reference is the arm before
    before = {row["step"]: row for row in read_metrics(two_rounds / "figa-figa")}
    assert first["eval/win_rate"] == kept["validation_win_rate"] == before[kept["step"]]["eval/win_rate"]
    assert first["eval/length"] == before[kept["step"]]["eval/length"]
    assert before[kept["step"]]["eval/kl"] > 0


def test_ppo_begins_at_the_policy_that_it_starts_from_and_stays_close_to_it(
    two_rounds: Path, methods: dict[str, Any]
) -> None:
    for arm, before in (("warm", "figa"), ("warm_2", "warm")):
        first = read_metrics(two_rounds / f"ppo-{arm}")[0]
        assert first["eval/kl"] == 0
        assert first["eval/win_rate"] == methods[before]["validation_win_rate"]


def test_a_refreshed_reward_model_learns_from_old_and_new_pairs_at_the_scale_of_new_samples(two_rounds: Path) -> None:
    notes = json.loads((two_rounds / "reward-token_edits_warm_2" / "manifest.json").read_text())["notes"]
    counts = [
        sum(1 for _ in read_jsonl(two_rounds / folder / "edits_train.jsonl", Pair))
        for folder in ("align", "align-figa", "align-warm")
    ]
    assert notes["chosen"]["pairs"] == sum(counts)


def test_a_refreshed_reward_model_is_centred_on_the_answers_of_the_arm(
    two_rounds: Path, tiny: Any, rounds: tuple[str, ...]
) -> None:
    context = Context(unrolled(tiny(*rounds)), two_rounds, 3)
    model = load_reward_model(context.paths.reward_model("token_edits_warm_2"), context.runtime)
    config = context.recipe.reward_config("token_edits_warm_2")

    def centre_on(arm: str | None) -> float:
        rows = list(read_jsonl(context.paths.samples_of(arm), Response))[: config.reference_samples]
        return measure(model.model, config, encode_samples(rows, context.codec)).center

    assert centre_on("warm") == pytest.approx(model.card.center, abs=1e-6)
    assert centre_on(None) != pytest.approx(model.card.center, abs=1e-6)


def test_results_say_where_an_arm_started_and_on_whose_answers(two_rounds: Path, methods: dict[str, Any]) -> None:
    assert {arm: (row["start"], row["on"]) for arm, row in methods.items()} == {
        "figa": (None, None),
        "figa_2": ("figa", "figa"),
        "warm": ("figa", None),
        "warm_2": ("warm", "warm"),
    }
    assert methods["warm_2"]["train_pairs"] > methods["warm"]["train_pairs"]
    page = (two_rounds / "report.html").read_text()
    assert "PPO, from figa" in page
    assert "KL to start, nats" in page
    assert "to the SFT policy or the arm that it started from" in page


def test_the_recipe_in_the_folder_is_the_one_that_was_written(
    two_rounds: Path, tiny: Any, listener: Any, rounds: tuple[str, ...]
) -> None:
    assert "rounds: 2" in (two_rounds / "recipe.yaml").read_text()
    run_recipe(tiny(*rounds), two_rounds, jobs=1, listener=listener)
    assert not listener.stages("started")


def test_more_edits_of_an_arm_are_those_before_and_some_more(
    two_rounds: Path, tiny: Any, tmp_path: Path, listener: Any, rounds: tuple[str, ...]
) -> None:
    out = Path(shutil.copytree(two_rounds, tmp_path / "more"))
    arms = (
        "arms={figa: {method: figa, edits: 5}, next: {method: figa, start: figa, on: figa, replay: true}}",
        "world.comparisons=12",
    )
    run_recipe(tiny(*rounds[2:], *arms), out, jobs=1, listener=listener)
    assert "figa-figa" in listener.stages("already complete")
    edits = list(read_jsonl(out / "annotations-figa" / "edits_train.jsonl", Edit))
    assert len(edits) == 5
    results = json.loads((out / "results.json").read_text())["methods"]
    pairs = [sum(1 for _ in read_jsonl(out / name / "edits_train.jsonl", Pair)) for name in ("align", "align-figa")]
    assert results["next"]["train_pairs"] == sum(pairs)


def test_an_adapter_goes_on_from_that_of_the_arm_before(
    two_rounds: Path, tiny: Any, tmp_path: Path, rounds: tuple[str, ...]
) -> None:
    out = Path(shutil.copytree(two_rounds, tmp_path / "adapters"))
    recipe = tiny(*rounds, "rounds=1", "world.comparisons=12", "lora={r: 2}")
    run_recipe(recipe, out, jobs=1, listener=lambda _: None)
    paths = Context(unrolled(recipe), out, 3).paths
    assert (paths.policy("warm") / "adapter_config.json").is_file()
    first = read_metrics(out / "ppo-warm")[0]
    kept = json.loads((out / "results.json").read_text())["methods"]["figa"]
    assert first["eval/kl"] == 0
    assert kept["step"] > 0
    rows = {row["step"]: row for row in read_metrics(out / "figa-figa")}
    assert first["eval/length"] == rows[kept["step"]]["eval/length"]


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_second_round_ends_with_the_same_bytes(two_rounds: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(two_rounds, tmp_path / "killed"))
    for stage in ("reward-token_edits_warm_2", "ppo-warm_2", "outputs-warm_2", "judge", "needed", "evaluate"):
        shutil.rmtree(out / stage)
    command = [str(Path(sys.executable).parent / "redpencil"), "run", str(out / "recipe.yaml"), "--out", str(out)]
    command += ["--jobs", "1", "--set", "compute.save_every=1"]
    state = out / "ppo-warm_2.partial" / "state"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while not (state.is_dir() and any(state.iterdir())):
            assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
            time.sleep(0.01)
        process.kill()
    assert not (out / "ppo-warm_2").exists()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert _work_of(out) == _work_of(two_rounds)


def _work_of(run: Path) -> dict[str, bytes]:
    """What stages made, without what the clock or the place decides."""
    kept = (path for path in sorted(run.rglob("*")) if path.suffix in (".safetensors", ".jsonl"))
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in kept
        if path.name != "metrics.jsonl" and ".features" not in path.parts
    }


@pytest.fixture
def own_answers(files_recipe: Callable[..., Path]) -> Callable[..., Any]:
    """The recipe of a user's files, in which figa has two rounds."""
    return lambda *overrides: load_recipe(files_recipe(), ["rounds=2", "arms={figa: {method: figa}}", *overrides])


def test_a_users_held_out_prompts_are_not_answered_for_training(
    own_answers: Callable[..., Any], two_rounds: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    context = Context(unrolled(own_answers("editor={edits: later.jsonl}")), root, 3)
    files = context.recipe.files
    assert files is not None
    assert files.prompts is not None
    prompts = list(read_jsonl(files.prompts, Prompt))
    with open_stage(context.paths.annotations, "annotations", seed=3, config={}, inputs={}) as stage:
        assert stage is not None
        annotations(context, stage)
    edits = list(read_jsonl(root / "annotations" / "edits_train.jsonl", Edit))
    shutil.copytree(two_rounds / "figa-figa" / "checkpoint", context.paths.policy("figa"))
    with open_stage(root / "samples-figa", "samples-figa", seed=3, config={}, inputs={}) as stage:
        assert stage is not None
        own_samples(context, stage, arm="figa")
        assert any("prompts were left out, since they are held out" in text for text in stage.notes["remarks"])
    rows = list(read_jsonl(root / "samples-figa" / "responses.jsonl", Response))
    held = {row.prompt for row in read_jsonl(root / "annotations" / "edits_test.jsonl", Edit)}
    held |= {row.prompt for row in read_jsonl(root / "annotations" / "comparisons_test.jsonl", Comparison)}
    assert held & {prompt.prompt for prompt in prompts}
    assert not held & {row.prompt for row in rows}
    assert len(rows) == len(edits)  # one for each, as no reward model measures its scale on them
    assert len({row.prompt for row in rows}) == min(len(rows), len({p.prompt for p in prompts} - held))


def test_the_first_round_on_files_has_the_first_prompts_of_the_seed(
    own_answers: Callable[..., Any], tmp_path: Path
) -> None:
    edits = {}
    for rounds in (1, 2):
        recipe = unrolled(own_answers(f"rounds={rounds}", "editor={edits: later.jsonl}"))
        root = tmp_path / str(rounds)
        with open_stage(root / "annotations", "annotations", seed=3, config={}, inputs={}) as stage:
            assert stage is not None
            annotations(Context(recipe, root, 3), stage)
            if rounds == 2:
                assert any("edits are learned from" in text for text in stage.notes["remarks"])
        edits[rounds] = [
            [(row.prompt, row.original) for row in read_jsonl(root / "annotations" / f"edits_{split}.jsonl", Edit)]
            for split in ("train", "test")
        ]
    (whole, test), (part, same_test) = edits[1], edits[2]
    assert test == same_test
    assert len(part) == len(whole) // 2
    assert set(part) <= set(whole)
    order = list(dict.fromkeys(prompt for prompt, _ in whole))
    used = list(dict.fromkeys(prompt for prompt, _ in part))
    assert used == order[: len(used)]
    for prompt in used[:-1]:  # whole prompts, but for the last one
        assert [row for row in part if row[0] == prompt] == [row for row in whole if row[0] == prompt]


def test_own_answers_need_somebody_who_edits_them(own_answers: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="nobody edits the answers of 'figa'") as caught:
        run_recipe(own_answers(), tmp_path / "run", jobs=1, listener=lambda _: None)
    assert caught.value.field == "editor"
    with pytest.raises(RedpencilError, match="references") as caught:
        run_recipe(own_answers("editor={rule: references}"), tmp_path / "run", jobs=1, listener=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_answers_that_need_no_edit_end_in_an_error_that_says_what_to_do(
    two_rounds: Path, tiny: Any, rounds: tuple[str, ...], tmp_path: Path
) -> None:
    context = Context(unrolled(tiny(*rounds)), tmp_path, 3)
    for folder in ("world", "sft"):
        (tmp_path / folder).symlink_to(two_rounds / folder)
    (tmp_path / "annotations-figa").mkdir()
    edits = list(read_jsonl(two_rounds / "annotations-figa" / "edits_train.jsonl", Edit))
    standing = [replace(row, edited=row.original, outcome=EditOutcome.UNCHANGED) for row in edits]
    write_jsonl(tmp_path / "annotations-figa" / "edits_train.jsonl", standing)
    stage = Stage("align-figa", tmp_path, 3)
    with pytest.raises(RedpencilError, match="no pair is left") as caught:
        align(context, stage, arm="figa")
    assert "lower rounds" in str(caught.value.hint)
