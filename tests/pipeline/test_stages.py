"""Stages that train or answer: which model, which data, which seed."""

import json
import math
import shutil
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from redpencil.adapters import SIDECAR
from redpencil.alignment.ends import finished_sides
from redpencil.config.recipe import AlarmsConfig, Recipe
from redpencil.errors import RedpencilError
from redpencil.evaluation.judges import OracleJudge, Pairing, ScoreJudge
from redpencil.models.checkpoints import load_policy, load_reward_model
from redpencil.models.codec import Codec, load_codec
from redpencil.models.sampling import HFSampler, respond
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import execute
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import run_alarms, run_recipe
from redpencil.pipeline.stages import (
    _first_prompts,
    make_judge,
    repeated,
    reward_model_judge,
    watch_metrics,
)
from redpencil.recipe import default_recipe, load_recipe
from redpencil.records import Comparison, Edit, Pair, Preference, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed, read_metrics
from redpencil.training.scoring import encode_samples, score_ids, score_tokens
from redpencil.world.build import less_preferred
from redpencil.world.facts import FactsDomain
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import SummariesDomain

ARMS = ("token", "edits", "preference")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def notes(root: Path, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / stage / "manifest.json").read_text())["notes"]
    return found


def do(recipe: Any, root: Path, *names: str) -> None:
    plan = [spec for spec in plan_run(recipe, root, 3) if spec.name in names]
    execute(plan, jobs=1, listener=lambda _: None)


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    return all(one[name].equal(other[name]) for name in one if name in other)


def test_sft_learns_and_the_reference_continues_from_it(finished: Path) -> None:
    logged = [row["nll"] for row in read_metrics(finished / "sft")]
    assert len(logged) == 120
    assert sum(logged[-10:]) < 0.7 * sum(logged[:10])
    further = [row["nll"] for row in read_metrics(finished / "reference")]
    assert len(further) == 10
    assert max(further) < logged[0]
    assert not same_weights(finished / "sft" / "checkpoint", finished / "reference" / "checkpoint")


@pytest.mark.parametrize(
    ("name", "level", "trained_on"),
    [
        ("token_edits", "token", "edits"),
        ("sequence_edits", "sequence", "edits"),
        ("sequence_comparisons", "sequence", "comparisons"),
    ],
)
def test_a_reward_model_is_of_the_level_and_of_the_pairs_that_the_recipe_names(
    name: str, level: str, trained_on: str, context: Context
) -> None:
    card = load_reward_model(context.paths.reward_model(name), context.runtime).card
    assert (card.level, card.trained_on, card.prompt_template) == (level, trained_on, "<bos> {prompt} <answer>")
    assert card.scale > 0
    pairs = len(rows(context.paths.pairs(trained_on, "train")))
    assert len(read_metrics(context.root / f"reward-{name}")) == 5 * math.ceil(
        pairs / 8
    )  # five passes, as few pairs get


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_watched_on_the_validation_prompts_and_its_best_policy_kept(arm: str, finished: Path) -> None:
    folder = finished / f"ppo-{arm}"
    logged = read_metrics(folder)
    assert [row["step"] for row in logged] == [0, 1, 2, 3]
    rates = {row["step"]: row["eval/win_rate"] for row in logged}
    # A win rate over 8 prompts with draws of one half is a multiple of 100 / 16.
    assert all((rate * 16 / 100).is_integer() for rate in rates.values())
    best = notes(finished, f"ppo-{arm}")["best"]
    assert best["value"] == max(rates.values())
    assert rates[best["step"]] == best["value"]
    assert same_weights(folder / "checkpoint", finished / "sft" / "checkpoint") == (best["step"] == 0)


def test_the_arms_start_from_one_policy_and_see_the_same_rollouts_first(finished: Path) -> None:
    """The same seed and the same prompts: at step 1 the policies are still one, so their responses are as long."""
    first = {arm: read_metrics(finished / f"ppo-{arm}")[1] for arm in ARMS}
    starts = {arm: read_metrics(finished / f"ppo-{arm}")[0]["eval/win_rate"] for arm in ARMS}
    assert len({row["length"] for row in first.values()}) == 1
    assert len(set(starts.values())) == 1
    assert len({row["reward"] for row in first.values()}) == 3


def test_every_policy_answers_the_same_prompts_with_the_same_seed(finished: Path, context: Context) -> None:
    prompts = list(read_jsonl(context.paths.evaluation_prompts, Prompt))
    for name in ("sft", *ARMS):
        answers = list(read_jsonl(context.paths.outputs(name), Response))
        assert [(row.id, row.prompt, row.model) for row in answers] == [(p.id, p.prompt, name) for p in prompts]
        policy = load_policy(context.paths.policy(name), context.runtime, trained=False, codec=context.codec)
        again, skipped = respond(
            HFSampler(policy),
            prompts,
            config=context.recipe.sampling,
            seed=derive_seed(3, "outputs"),
            model_name=name,
        )
        assert (again, skipped) == (answers, 0)
    assert notes(finished, "outputs-sft") == {"skipped": {"prompt empty or too long": 0}}


def test_what_is_judged_has_a_temperature_of_its_own(tiny: Any, copied: Path) -> None:
    recipe = tiny("sampling.evaluation_temperature=0")
    redo(recipe, copied, "samples", "reference", "outputs-sft", "ppo-token")
    context, greedy = Context(recipe, copied, 3), recipe.sampling.model_copy(update={"temperature": 0.0})
    sampler = HFSampler(load_policy(context.paths.sft_policy, context.runtime, trained=False, codec=context.codec))

    def greedily(prompts: Path) -> list[str]:
        asked = list(read_jsonl(prompts, Prompt))
        return [row.response for row in respond(sampler, asked, config=greedy, seed=99, model_name="x")[0]]

    answers = [row.response for row in read_jsonl(context.paths.outputs("sft"), Response)]
    assert answers == greedily(context.paths.evaluation_prompts)
    # PPO is watched on greedy answers too, and its rollouts are drawn as before
    first = read_metrics(copied / "ppo-token")[0]
    encoded = context.codec.encode_responses(greedily(context.paths.validation_prompts))
    assert first["eval/length"] == pytest.approx(statistics.fmean(len(tokens.ids) for tokens in encoded), abs=1)
    assert "eval/kl" not in first  # greedy answers are no draws, so there is no KL to estimate by them


def test_an_arm_with_both_rewards_and_one_paid_at_the_end_are_added_to_a_finished_run(tiny: Any, copied: Path) -> None:
    arms = (
        "arms.both={reward_model: token_edits, sequence_reward_model: sequence_edits, options: {reward: both}}",
        "arms.end={reward_model: token_edits, options: {reward: token_mean_at_end}}",
    )
    do(tiny(*arms), copied, "ppo-both", "ppo-end")
    rewards = {arm: read_metrics(copied / f"ppo-{arm}")[1]["reward"] for arm in ("token", "edits", "both", "end")}
    # The first rollouts are the same, so the reward of `both` is the sum of the two.
    assert rewards["both"] == pytest.approx(rewards["token"] + rewards["edits"], abs=1e-4)
    assert rewards["end"] != pytest.approx(rewards["token"], abs=1e-4)


def build_foreign(folder: Path, level: str = "token") -> Path:
    """A reward model of other people: random weights, every byte a token, a chat template and no card."""
    pieces = ["<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    wrapped.chat_template = "{% for message in messages %}Q: {{ message['content'] }}\nA: {% endfor %}"
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    kind = LlamaForTokenClassification if level == "token" else LlamaForSequenceClassification
    kind(LlamaConfig(vocab_size=len(pieces), num_labels=1, pad_token_id=0, **shape)).save_pretrained(folder)
    return folder


def test_ready_made_reward_models_with_tokens_of_their_own_take_the_place_of_training(
    tiny: Any, copied: Path, tmp_path: Path
) -> None:
    token, sequence = build_foreign(tmp_path / "token"), build_foreign(tmp_path / "sequence", "sequence")
    recipe = tiny(
        f"reward_models.made={{pairs: edits, folder: {token}, reward: {{level: token}}}}",
        f"reward_models.whole={{pairs: comparisons, folder: {sequence}, reward: {{level: sequence}}}}",
        "arms.foreign={reward_model: made, sequence_reward_model: whole, options: {reward: both}}",
    )
    do(recipe, copied, "reward-made", "reward-whole", "ppo-foreign", "outputs-foreign", "judge", "evaluate")
    checkpoint = copied / "reward-made" / "checkpoint"
    for file in token.iterdir():
        assert (checkpoint / file.name).read_bytes() == file.read_bytes()
    rows = read_metrics(copied / "ppo-foreign")
    assert rows[-1]["cut_for_reward_model"] == 0
    assert rows[1]["reward"] != read_metrics(copied / "ppo-token")[1]["reward"]
    found = json.loads((copied / "evaluate" / "results.json").read_text())
    assert found["reward_accuracy"]["made"].keys() == found["reward_accuracy"]["token_edits"].keys()
    assert found["reward_accuracy"]["whole"]["edits"]["n"] > 0
    assert set(found["localisation"]["made"]) == set(found["localisation"]["token_edits"])
    shown = json.loads((copied / "evaluate" / "report_data.json").read_text())["heatmaps"]
    assert max(len(row["tokens"]) for row in shown if row["model"] == "made") > 100  # bytes


def test_a_ready_made_reward_model_of_another_level_is_refused(tiny: Any, copied: Path, tmp_path: Path) -> None:
    folder = build_foreign(tmp_path / "token")
    recipe = tiny(f"reward_models.made={{pairs: edits, folder: {folder}, reward: {{level: sequence}}}}")
    with pytest.raises(RedpencilError, match="a reward model of level sequence is needed"):
        do(recipe, copied, "reward-made")


def test_without_given_outputs_the_users_policy_is_its_own_reference(
    files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe("sft", "reference_outputs"))
    do(recipe, tmp_path / "run", "reference")
    assert not (tmp_path / "run" / "reference" / "checkpoint").exists()
    for split, count in (("validation", 8), ("evaluation", 12)):
        answers = rows(tmp_path / "run" / "reference" / f"{split}.jsonl")
        assert {row["model"] for row in answers} == {"reference"}
        assert len(answers) == count


def test_given_outputs_are_the_reference_for_the_prompts_that_the_policies_can_read(
    files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """One evaluation prompt is longer than a prompt may be: it is counted and left out on both sides."""
    recipe = load_recipe(files_recipe("sft"))
    data, root = tmp_path / "data", tmp_path / "run"
    for name in ("evaluation_prompts", "reference_outputs"):
        lines = (data / f"{name}.jsonl").read_text().splitlines()
        long = {**json.loads(lines[0]), "prompt": "france " * 200}
        (data / f"{name}.jsonl").write_text("\n".join([json.dumps(long), *lines[1:]]))
    do(recipe, root, "reference", "outputs-sft")
    given, answered = rows(data / "reference_outputs.jsonl"), rows(root / "outputs-sft" / "evaluation.jsonl")
    kept = rows(root / "reference" / "evaluation.jsonl")
    assert [(row["id"], row["response"]) for row in kept] == [(row["id"], row["response"]) for row in given[1:]]
    assert [row["id"] for row in kept] == [row["id"] for row in answered]
    assert notes(root, "outputs-sft") == {"skipped": {"prompt empty or too long": 1}}


def test_each_alarm_is_told_once_as_it_first_goes_off(tmp_path: Path) -> None:
    told: list[str] = []
    stage = Stage("ppo-token", tmp_path, 0, warn=told.append)
    stage.watch = watch_metrics(stage, AlarmsConfig())
    for step in range(1, 8):
        stage.log(step, kl=50.0 if step > 3 else 4.0, length=25.0, entropy=0.5)
        assert len(told) == (step > 3), step
    assert told[0].startswith(
        "kl at step 4: the policy is 0.77 nats a token from where it started, over 0.35. Raise ppo"
    )


def test_alarms_of_a_run_name_stage_value_threshold_and_advice(tmp_path: Path) -> None:
    recipe = default_recipe(["alarms.reward_accuracy=90"])
    for arm in ("token", "stranger"):
        (tmp_path / f"ppo-{arm}").mkdir()
        rows: list[dict[str, Any]] = [{"step": step, "kl": 50.0, "length": 25.0} for step in range(4)]
        (tmp_path / f"ppo-{arm}" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    accuracy = {
        "token_edits": {"edits": {"value": 85.0}},
        "sequence_comparisons": {"comparisons": {"value": 50.0}, "comparisons_clean": {"value": 95.0}},
    }
    found = run_alarms(recipe, tmp_path, {"reward_accuracy": accuracy, "win_rate": {}})
    assert [(row["name"], row["where"], row["threshold"], row["step"]) for row in found] == [
        ("reward_accuracy", "reward-token_edits", 90, None),
        ("kl", "ppo-token", 0.35, 2),
    ]
    assert found[0]["value"] == 85
    assert "redpencil evaluate reward" in found[0]["advice"]


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


@pytest.mark.slow
def test_the_second_domain_goes_through_the_whole_run_by_the_same_keys(tiny: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    run_recipe(tiny("world.domain=summaries"), root, jobs=1, listener=lambda _: None)
    results, oracle = json.loads((root / "results.json").read_text()), Oracle(SummariesDomain(0))
    assert set(results["win_rate"]) == {"sft", "token", "edits", "preference"}
    assert {"unsupported", "trivial", "missing"} <= set(results["flaws"]["sft"])
    assert "unsupported" not in FactsDomain(0).flaw_kinds
    edits = list(read_jsonl(root / "annotations" / "edits_train.jsonl", Edit))
    gains = [
        oracle.inspect(edit.prompt, edit.edited).utility - oracle.inspect(edit.prompt, edit.original).utility
        for edit in edits
    ]
    assert sum(gains) > 0
    judged = list(read_jsonl(root / "judge" / "token.jsonl", Comparison))
    assert all(row.preference is oracle.prefers(row.prompt, row.first, row.second) for row in judged)


RTO = (
    "arms={d: {method: dpo, pairs: hunks, options: {max_steps: 4, learning_rate: 0.01}}, r: {reward_model: rto}, "
    "t: {method: distill, options: {max_steps: 2, batch_size: 8, teacher_template: '{prompt} {original} {edited}'}}}",
    "reward_models={rto: {policy: d, reward: {reference_samples: 8}}}",
)


def test_an_arm_learns_from_another_arms_policy_as_its_reward_model_and_one_from_itself(
    tiny: Any, copied: Path
) -> None:
    recipe = tiny(*RTO)
    run_recipe(recipe, copied, jobs=1, listener=lambda _: None)
    results = json.loads((copied / "results.json").read_text())
    content = json.loads((copied / "reward-rto" / "checkpoint" / "redpencil.json").read_text())
    assert content["log_ratio"]["policy"] == "../../dpo-d/checkpoint"
    assert content["log_ratio"]["beta"] == 0.1
    assert content["reward"]["scale"] > 0
    assert len(read_metrics(copied / "ppo-r")) == 4
    assert 0 <= results["reward_accuracy"]["rto"]["edits"]["value"] <= 100
    assert 0 < results["localisation"]["rto"]["edited_auroc"] < 1
    assert "edited" in results["within"]["rto"]
    trained = json.loads((copied / "dpo-d" / "manifest.json").read_text())["seconds"]
    assert results["methods"]["r"]["reward_seconds"] > trained
    pairs = notes(copied, "align")["pairs"]
    assert {arm: (row["pairs"], row["train_pairs"]) for arm, row in results["methods"].items()} == {
        "d": ("hunks", pairs["hunks_train"]),
        "r": ("edits", pairs["hunks_train"]),
        "t": ("edit_texts", pairs["edit_texts_train"]),
    }
    assert results["methods"]["t"]["label"] == "self-distillation on originals"
    assert len(read_metrics(copied / "distill-t")) == 3


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


@pytest.fixture
def cases(context: Context) -> list[Pairing]:
    """The policy's responses and the reference's, of which two answer nothing and one is cut off."""
    ours = list(read_jsonl(context.paths.outputs("sft"), Response))
    theirs = list(read_jsonl(context.paths.reference_outputs("evaluation"), Response))
    rows = [Pairing(one.id, one.prompt, one.response, other.response) for one, other in zip(ours, theirs, strict=True)]
    silent, same, cut, *more = rows
    return [
        replace(silent, first=""),
        replace(same, second=same.first),
        replace(cut, second=cut.first, second_finished=False),
        *more,
    ]


def mean_rewards(folder: Path, context: Context, rows: list[tuple[str, str, bool]], codec: Codec) -> list[float]:
    """Eq. 1, worked out from the rewards of the tokens of (prompt, response, whether it was finished)."""
    prompts = codec.encode_prompts([prompt for prompt, _, _ in rows])
    tokens = [list(codec.encode_responses([text], finished=finished)[0].ids) for _, text, finished in rows]
    model = load_reward_model(folder, context.runtime, codec=codec).model
    return [sum(map(float, row)) / len(row) for row in score_tokens(model, prompts, tokens)]


def test_the_world_is_judged_by_its_oracle(context: Context, cases: list[Pairing]) -> None:
    judge = make_judge(context)
    assert isinstance(judge, OracleJudge)
    assert judge.compare(cases) == [judge.oracle.prefers(case.prompt, case.first, case.second) for case in cases]


def test_each_domain_is_judged_by_its_own_oracle(tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    judge = make_judge(Context(tiny("world.domain=summaries"), tmp_path, 3))
    assert isinstance(judge, OracleJudge)
    assert isinstance(judge.oracle.domain, SummariesDomain)


def test_a_token_level_model_judges_by_the_mean_of_its_rewards(context: Context, cases: list[Pairing]) -> None:
    folder = context.paths.reward_model("token_edits")
    firsts = mean_rewards(folder, context, [(c.prompt, c.first, True) for c in cases], context.codec)
    seconds = mean_rewards(folder, context, [(c.prompt, c.second, c.second_finished) for c in cases], context.codec)
    verdicts = reward_model_judge(str(folder), context.runtime).compare(cases)
    assert verdicts[1] is Preference.TIE
    # The same text, once with its end and once cut off: the end has a reward of its own.
    assert abs(firsts[2] - seconds[2]) > 1e-6
    for first, second, verdict in list(zip(firsts, seconds, verdicts, strict=True)):
        if abs(first - second) > 1e-6:
            assert (verdict is Preference.FIRST) == (first > second)
    assert len(set(verdicts)) == 3


def test_a_sequence_level_model_reads_no_end_of_what_was_cut_off(context: Context, cases: list[Pairing]) -> None:
    judge = reward_model_judge(str(context.paths.reward_model("sequence_edits")), context.runtime)
    whole, cut = cases[1], cases[2]
    assert judge.compare([whole, replace(cut, second_finished=True)]) == [Preference.TIE] * 2
    there, back = judge.compare([cut, replace(cut, first_finished=False, second_finished=True)])
    assert {there, back} == {Preference.FIRST, Preference.SECOND}


def test_a_judge_without_a_card_reads_prompts_as_its_tokenizer_makes_chats_or_as_the_policy_does(
    context: Context, cases: list[Pairing], tmp_path: Path
) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(context.paths.reward_model("token_edits"), folder)
    (folder / SIDECAR).unlink()
    rows = [Response(case.id, case.prompt, case.first) for case in cases]

    def scores(policy_codec: Codec | None = None) -> list[float]:
        judge = reward_model_judge(str(folder), context.runtime, policy_codec=policy_codec)
        assert isinstance(judge, ScoreJudge)
        return list(judge.score(rows))

    def wanted(template: str) -> list[float]:
        codec = load_codec(folder, template)
        return mean_rewards(folder, context, [(row.prompt, row.response, True) for row in rows], codec)

    plain, policys = wanted("{prompt}"), wanted(context.codec.template)
    assert plain != pytest.approx(policys, abs=1e-5)
    assert scores() == pytest.approx(plain, abs=1e-6)
    assert scores(context.codec) == pytest.approx(policys, abs=1e-6)  # it has the policy's own tokenizer
    tokenizer = load_codec(folder).tokenizer
    tokenizer.chat_template = "{% for message in messages %}<bos> {{ message['content'] }} . .{% endfor %}"
    tokenizer.save_pretrained(folder)
    chats = wanted("chat")
    assert chats != pytest.approx(plain, abs=1e-5)
    assert scores() == pytest.approx(chats, abs=1e-6)
    assert scores(context.codec) == pytest.approx(policys, abs=1e-6)
    (folder / SIDECAR).write_text('{"prompt_template": "{prompt}"}')  # it does say
    assert scores() == pytest.approx(plain, abs=1e-6)
    assert scores(context.codec) == pytest.approx(plain, abs=1e-6)


def test_with_a_users_files_the_named_model_judges_with_its_own_template(
    files_recipe: Callable[..., Path], context: Context, cases: list[Pairing], tmp_path: Path
) -> None:
    recipe = load_recipe(files_recipe(), ["prompt_template='{prompt}'"])
    judge = make_judge(Context(recipe, tmp_path / "run", 3))
    assert judge.name == str(tmp_path / "data" / "judge")
    original = reward_model_judge(str(context.paths.reward_model("sequence_edits")), context.runtime)
    assert judge.compare(cases) == original.compare(cases)
    assert len(set(judge.compare(cases))) > 1
    # One that does not say how it learned prompts gets the policy's template.
    (tmp_path / "data" / "judge" / SIDECAR).unlink()
    silent = make_judge(
        Context(load_recipe(files_recipe(), ["prompt_template='{prompt} <answer>'"]), tmp_path / "run", 3)
    )
    assert isinstance(silent, ScoreJudge)
    rows = [Response(case.id, case.prompt, case.first) for case in cases]
    codec = replace(context.codec, template="{prompt} <answer>")
    encoded = encode_samples(rows, codec)
    model = load_reward_model(context.paths.reward_model("sequence_edits"), context.runtime, codec=codec)
    expected = score_ids(model, [prompt for prompt, _ in encoded], [ids for _, ids in encoded])
    assert list(silent.score(rows)) == pytest.approx(expected, abs=1e-6)


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
