"""Stages that train or answer: which model, which data, which seed."""

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from redpencil.errors import RedpencilError
from redpencil.models.checkpoints import load_policy, load_reward_model
from redpencil.models.sampling import HFSampler, respond
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import execute
from redpencil.pipeline.plan import plan_run
from redpencil.pipeline.run import run_alarms, run_recipe
from redpencil.recipe import default_recipe, load_recipe
from redpencil.records import Comparison, Edit, Prompt, Response, read_jsonl
from redpencil.runs import derive_seed, read_metrics
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


def redo(recipe: Any, root: Path, *names: str) -> None:
    """Do some stages of a run anew."""
    plan = [spec for spec in plan_run(recipe, root, 3) if spec.name in names]
    execute(plan, jobs=1, listener=lambda _: None)


RTO = (
    "arms={d: {method: dpo, pairs: hunks, options: {max_steps: 4, learning_rate: 0.01, eval_steps: 1}}, "
    "r: {reward_model: rto}, "
    "t: {method: distill, options: {max_steps: 2, batch_size: 8, teacher_template: '{prompt} {original} {edited}'}}}",
    "reward_models={rto: {policy: d, reward: {reference_samples: 8}}}",
)


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
