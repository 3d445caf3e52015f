"""Samples, annotations of both kinds split into train and test, and the pairs made of them."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.alignment.ends import finished_sides
from redpencil.errors import RedpencilError
from redpencil.pipeline.annotations import _first_prompts, repeated
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import execute
from redpencil.pipeline.plan import plan_run
from redpencil.recipe import load_recipe
from redpencil.records import Comparison, Edit, Pair, Preference, Prompt, Response, read_jsonl, write_jsonl
from redpencil.world.build import less_preferred
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def notes(root: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / stage / "manifest.json").read_text())["notes"]
    return found


def do(recipe: Any, root: Path, *names: str) -> None:
    plan = [spec for spec in plan_run(recipe, root, 3) if spec.name in names]
    execute(plan, jobs=1, listener=lambda _: None)


def redo(recipe: Any, root: Path, *names: str) -> None:
    """Do some stages of a run anew."""
    plan = [spec for spec in plan_run(recipe, root, 3) if spec.name in names]
    execute(plan, jobs=1, listener=lambda _: None)


@given(st.integers(1, 7), st.integers(0, 20), st.integers(0, 5))
def test_prompts_come_in_pairs_and_all_come_before_one_comes_again(prompts: int, pairs: int, seed: int) -> None:
    given_prompts = [Prompt(f"p{i}", f"text {i}", {"i": i}) for i in range(prompts)]
    picked = repeated(given_prompts, 2 * pairs, seed)
    assert len({prompt.id for prompt in picked}) == len(picked) == 2 * pairs
    drawn = [prompt.prompt for prompt in picked[::2]]
    assert drawn == [prompt.prompt for prompt in picked[1::2]]
    counts = Counter(drawn)
    assert max(counts.values(), default=0) <= -(-pairs // prompts)
    assert all(prompt.meta == {"i": int(prompt.prompt.split()[1])} for prompt in picked)


def test_the_world_samples_two_responses_for_each_comparison(context: Context) -> None:
    # 24 comparisons to train on and 16 to test on: 2 x 40 = 80 responses.
    assert context.samples_needed == len(rows(context.paths.samples)) == 80


def test_with_a_users_files_the_largest_wish_of_a_reward_model_counts(files_recipe: Callable[..., Path]) -> None:
    recipe = load_recipe(files_recipe(), ["reward_models.token_edits.reward.reference_samples=99"])
    assert Context(recipe, Path(), 3).samples_needed == 99
    assert Context(load_recipe(files_recipe()), Path(), 3).samples_needed == 16


@pytest.mark.parametrize(("split", "count"), [("train", 24), ("test", 16)])
def test_what_is_edited_is_the_very_response_that_lost(split: str, count: int, context: Context) -> None:
    folder = context.paths.annotations
    comparisons = list(read_jsonl(folder / f"comparisons_{split}.jsonl", Comparison))
    edits = list(read_jsonl(folder / f"edits_{split}.jsonl", Edit))
    sampled = {row.id: row for row in read_jsonl(context.paths.samples, Response)}
    following = dict(pairwise(sampled))
    assert len(comparisons) == len(edits) == count
    for row in comparisons:
        assert finished_sides(row) == (sampled[row.id].finished, sampled[following[row.id]].finished)
    for comparison, edit in zip(comparisons, edits, strict=True):
        assert (edit.prompt, edit.original) == (comparison.prompt, less_preferred(comparison))
        assert edit.original == sampled[edit.id].response
        assert edit.meta.get("finished", True) == sampled[edit.id].finished
        assert comparison.preference is not Preference.TIE


def test_train_and_test_pairs_are_of_different_responses(context: Context) -> None:
    folder = context.paths.annotations
    ids = [{row["id"] for row in rows(folder / f"comparisons_{split}.jsonl")} for split in ("train", "test")]
    assert not ids[0] & ids[1]


def test_the_clean_test_set_is_the_same_pairs_judged_by_the_oracle(context: Context) -> None:
    folder, oracle = context.paths.annotations, Oracle(FactsDomain(0))
    noisy = list(read_jsonl(folder / "comparisons_test.jsonl", Comparison))
    clean = list(read_jsonl(folder / "comparisons_clean_test.jsonl", Comparison))
    assert [(row.id, row.first, row.second) for row in clean] == [(row.id, row.first, row.second) for row in noisy]
    for row in clean:
        assert row.preference is oracle.prefers(row.prompt, row.first, row.second)


@pytest.mark.parametrize(("flip", "agree"), [("0.0", True), ("0.49", False)])
def test_labels_flip_only_where_the_recipe_says_so(flip: str, agree: bool, tiny: Any, copied: Path) -> None:
    redo(tiny(f"world.label_flip={flip}"), copied, "annotations")
    folder = copied / "annotations"
    noisy = [row["preference"] for row in rows(folder / "comparisons_test.jsonl")]
    clean = [row["preference"] for row in rows(folder / "comparisons_clean_test.jsonl")]
    decided = [(a, b) for a, b in zip(noisy, clean, strict=True) if b != "tie"]
    assert len(decided) >= 5
    assert all(a == b for a, b in decided) is agree


def test_prompts_that_are_cut_off_by_the_recipe_are_an_error_and_not_a_shorter_world(tiny: Any, copied: Path) -> None:
    lengths = sorted(len(row["prompt"].split()) for row in rows(copied / "samples" / "responses.jsonl"))
    shortest = lengths[0] + 2
    with pytest.raises(RedpencilError, match="of 80 prompts were answered") as caught:
        redo(tiny(f"sampling.max_prompt_length={shortest}"), copied, "samples", "annotations")
    assert caught.value.field == "sampling.max_prompt_length"
    assert 0 < len(rows(copied / "samples" / "responses.jsonl")) < 80


def test_align_counts_what_it_skips(context: Context) -> None:
    folder = context.root / "align"
    notes = json.loads((folder / "manifest.json").read_text())["notes"]
    names = {path.stem for path in context.paths.annotations.glob("*.jsonl")}
    assert set(notes["pairs"]) == set(notes["skipped"]) == names
    for name in names:
        given_rows, pairs = (
            len(rows(place / f"{name}.jsonl")) for place in (context.paths.annotations, folder)
        )  # fmt: skip
        assert notes["pairs"][name] == pairs
        assert sum(notes["skipped"][name].values()) == given_rows - pairs


def test_edits_have_masks_and_comparisons_have_none(context: Context) -> None:
    edits = list(read_jsonl(context.paths.pairs("edits", "train"), Pair))
    assert all(any(pair.rejected_changed) or any(pair.chosen_changed) for pair in edits)
    comparisons = read_jsonl(context.paths.pairs("comparisons", "train"), Pair)
    assert not any(pair.rejected_changed or pair.chosen_changed or pair.unchanged for pair in comparisons)


def test_edits_that_all_teach_nothing_are_an_error_that_says_why(tiny: Any, copied: Path) -> None:
    file = copied / "annotations" / "edits_test.jsonl"
    (copied / "annotations" / "manifest.json").unlink()  # the rows are a user's now, not what the stage wrote
    same = [Edit(row["id"], row["prompt"], row["original"], row["original"]) for row in rows(file)]
    write_jsonl(file, same)
    with pytest.raises(RedpencilError, match=r"no pair is left \(skipped: \{'equal to its original': 16\}\)") as caught:
        redo(tiny(), copied, "align")
    assert caught.value.file == str(file)


def test_a_users_rows_are_split_once_into_train_and_test(
    files_recipe: Callable[..., Path], finished: Path, tmp_path: Path
) -> None:
    recipe, root = load_recipe(files_recipe("sft")), tmp_path / "run"
    redo(recipe, root, "samples", "annotations")
    learned: set[str] = set()
    held: set[str] = set()
    for kind in ("comparisons", "edits"):
        parts = [rows(root / "annotations" / f"{kind}_{split}.jsonl") for split in ("train", "test")]
        # 24 rows, of which test_share = .25 is held out: 18 and 6, or as near as whole prompts come.
        assert 6 <= len(parts[1]) <= 9
        whole = rows(finished / "annotations" / f"{kind}_train.jsonl")
        assert sorted(parts[0] + parts[1], key=lambda row: str(row["id"])) == sorted(whole, key=lambda r: str(r["id"]))
        learned |= {row["prompt"] for row in parts[0]}
        held |= {row["prompt"] for row in parts[1]}
    assert not learned & held
    assert len(rows(root / "samples" / "responses.jsonl")) == 16


def test_training_edits_become_a_pair_for_each_change_where_something_learns_from_that(
    tiny: Any, copied: Path, context: Context
) -> None:
    do(tiny("arms.d={method: dpo, pairs: hunks}", "arms.t={method: distill}"), copied, "align")
    whole, hunks = (list(read_jsonl(copied / "align" / f"{kind}_train.jsonl", Pair)) for kind in ("edits", "hunks"))
    assert whole == list(read_jsonl(context.paths.pairs("edits", "train"), Pair))
    assert notes(copied, "align")["pairs"]["hunks_train"] == len(hunks) > len(whole)
    steps: dict[str, list[Pair]] = {}
    for pair in hunks:
        steps.setdefault(pair.id.partition("#")[0], []).append(pair)
    for pair in whole:
        chain = steps[pair.id]
        assert (chain[0].rejected_ids, chain[-1].chosen_ids) == (pair.rejected_ids, pair.chosen_ids)
        assert all(one.chosen_ids == other.rejected_ids for one, other in pairwise(chain))
    with_texts = list(read_jsonl(copied / "align" / "edit_texts_train.jsonl", Pair))
    assert [replace(pair, meta={}) for pair in with_texts] == whole
    edits = {edit.id: edit for edit in read_jsonl(context.paths.annotations / "edits_train.jsonl", Edit)}
    for pair in with_texts:
        edit = edits[pair.id]
        assert pair.meta["texts"] == {"prompt": edit.prompt, "original": edit.original, "edited": edit.edited}
    assert not (copied / "align" / "hunks_test.jsonl").exists()
    assert not (context.root / "align" / "hunks_train.jsonl").exists()


def test_some_of_the_rows_are_those_of_the_first_prompts() -> None:
    rows = [Prompt(str(n), prompt) for n, prompt in enumerate(["b", "a", "c", "b", "a", "b", "d"])]
    kept = {count: "".join(row.id for row in _first_prompts(rows, count)) for count in (7, 6, 3, 2)}
    # By prompt: b is rows 0, 3 and 5, a is 1 and 4.
    assert kept == {7: "0123456", 6: "035142", 3: "035", 2: "03"}
