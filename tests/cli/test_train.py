"""The commands that train, and `best-of-n`, on the files of the tiny run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForTokenClassification, PreTrainedTokenizerFast

from redpencil.config.methods import METHODS
from redpencil.records import Prompt, Response, read_jsonl
from redpencil.runs import read_metrics
from redpencil.text import read_json


@pytest.fixture
def policy(tiny_run: Any) -> Path:
    return tiny_run.folder / "sft" / "checkpoint"


def test_each_stage_leaves_a_checkpoint_a_manifest_and_metrics(chain: Any) -> None:
    for name, steps in (("sft", 2), ("reward-token", 3), ("reward-sequence", 3), ("ppo-token", 3)):
        folder = chain.folder / name
        assert (folder / "checkpoint" / "model.safetensors").is_file()
        assert (folder / "checkpoint" / "tokenizer.json").is_file()
        assert len(read_metrics(folder)) == steps  # ppo: step 0 and two more
        manifest = read_json(folder / "manifest.json")
        assert manifest["stage"] == name.split("-")[0]
        assert manifest["seed"] == 3
        assert {"versions", "inputs", "seconds", "config"} <= manifest.keys()
        assert f"checkpoint: {folder / 'checkpoint'}" in "\n".join(o.err for o in chain.outcomes.values())


def test_the_options_are_those_of_the_recipes_entry(chain: Any) -> None:
    token = read_json(chain.folder / "reward-token" / "manifest.json")["config"]["reward"]
    sequence = read_json(chain.folder / "reward-sequence" / "manifest.json")["config"]["reward"]
    assert (token["level"], sequence["level"]) == ("token", "sequence")
    assert token["batch_size"] == sequence["batch_size"] == 8
    ppo = read_json(chain.folder / "ppo-sequence" / "manifest.json")["config"]["ppo"]
    assert ppo[0]["reward"] == "sequence"
    card = read_json(chain.folder / "reward-token" / "checkpoint" / "redpencil.json")
    assert card["reward"]["trained_on"] == "pairs.jsonl"
    assert card["prompt_template"] == "<bos> {prompt} <answer>"


def test_ppo_is_watched_by_the_judge(chain: Any) -> None:
    rows = read_metrics(chain.folder / "ppo-token")
    assert [row["step"] for row in rows if "eval/win_rate" in row] == [0, 1, 2]
    assert all(0 <= row["eval/win_rate"] <= 100 for row in rows)


def test_training_from_random_weights_is_said(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    world, trained = tiny_run.folder / "world", tiny_run.folder / "sft" / "checkpoint"
    rest = ("--data", world / "sft.jsonl", "--recipe", tiny, "--set", "sft.max_steps=1")
    note = "has no weights: training starts from random ones"
    assert note in redpencil("sft", "--model", world / "model", "--out", tmp_path / "new", *rest).err
    assert note not in redpencil("sft", "--model", trained, "--out", tmp_path / "more", *rest).err


def test_a_stage_that_is_complete_is_not_run_again(
    redpencil: Callable[..., Any], chain: Any, tiny_run: Any, tiny: Path
) -> None:
    world = tiny_run.folder / "world"
    out = chain.folder / "sft"
    before = (out / "manifest.json").stat().st_mtime_ns
    arguments = ("sft", "--model", world / "model", "--data", world / "sft.jsonl", "--out", out, "--recipe", tiny)
    outcome = redpencil(*arguments, "--set", "sft.max_steps=2")
    assert outcome.err.splitlines() == [
        "sft: already complete",
        f"{out} is complete with the same inputs, so nothing was done",
    ]
    assert (out / "manifest.json").stat().st_mtime_ns == before


def test_another_template_makes_another_stage(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    world = tiny_run.folder / "world"
    arguments = ("sft", "--model", world / "model", "--data", world / "sft.jsonl", "--out", tmp_path / "sft")
    options = ("--recipe", tiny, "--set", "sft.max_steps=1")
    redpencil(*arguments, *options)
    outcome = redpencil(*arguments, *options, "--template", "{prompt} <answer>")
    assert "sft: done" in outcome.err
    assert read_json(tmp_path / "sft" / "checkpoint" / "redpencil.json")["prompt_template"] == "{prompt} <answer>"


def test_ppo_without_a_judge_keeps_the_best_reward(
    redpencil: Callable[..., Any], chain: Any, tiny_run: Any, policy: Path, tiny: Path, tmp_path: Path
) -> None:
    world = tiny_run.folder / "world"
    outcome = redpencil(
        *("ppo", "--policy", policy, "--reward-model", chain.folder / "reward-token" / "checkpoint"),
        *("--sequence-reward-model", chain.folder / "reward-sequence" / "checkpoint", "--set", "ppo.reward=both"),
        *("--prompts", world / "prompts.jsonl", "--validation-prompts", world / "validation_prompts.jsonl"),
        *("--out", tmp_path / "ppo", "--recipe", tiny),
    )
    assert outcome.code == 0, outcome.err
    assert not any("eval/win_rate" in row for row in read_metrics(tmp_path / "ppo"))
    assert (tmp_path / "ppo" / "checkpoint" / "model.safetensors").is_file()


def test_every_reference_output_has_its_counterpart_though_ppo_takes_shorter_prompts(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    answers = tiny_run.folder / "reference" / "validation.jsonl"
    lengths = [len(json.loads(line)["prompt"].split()) + 2 for line in answers.read_text().splitlines()]
    assert min(lengths) < max(lengths)
    arguments = ppo_with(tiny_run, tiny, tmp_path / "ppo", judge="world", reference_outputs=answers)
    outcome = redpencil(*arguments, "--set", f"ppo.max_prompt_length={min(lengths)}")
    assert outcome.code == 0, outcome.err
    assert all("eval/win_rate" in row for row in read_metrics(tmp_path / "ppo"))


def test_bad_demonstrations(mistake: Callable[..., str], tiny_run: Any, tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "demos.jsonl"
    data.write_text(json.dumps({"id": "1", "prompt": "a", "response": " "}))
    start = ("sft", "--out", tmp_path / "sft", "--recipe", tiny)
    world, reward = tiny_run.folder / "world", tiny_run.folder / "reward-token_edits" / "checkpoint"
    said = mistake(*start, "--model", world / "model", "--data", data)
    assert "demos.jsonl [sft.max_length]: no example is left to train on" in said
    assert "is not a policy" in mistake(*start, "--model", reward, "--data", world / "sft.jsonl")
    assert not (tmp_path / "sft").exists()


def test_bad_out_folders(mistake: Callable[..., str], tiny_run: Any, tiny: Path, tmp_path: Path) -> None:
    world = tiny_run.folder / "world"
    start = ("sft", "--model", world / "model", "--data", world / "sft.jsonl", "--recipe", tiny, "--out")
    (tmp_path / "thesis.tex").write_text("years")
    assert "exists and was not written by redpencil" in mistake(*start, tmp_path)
    assert "cannot make the folder" in mistake(*start, tmp_path / "thesis.tex" / "sft")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_tokenizer_without_an_end_token(
    mistake: Callable[..., str], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    world = tiny_run.folder / "world"
    shutil.copytree(world / "model", tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    config = read_json(path)
    del config["eos_token"]
    path.write_text(json.dumps(config))
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**read_json(path), "eos_token_id": None}))
    said = mistake(
        *("sft", "--model", tmp_path / "model", "--data", world / "sft.jsonl", "--out", tmp_path / "o"),
        *("--recipe", tiny),
    )
    assert "model [eos_token]: the tokenizer has no end-of-sequence token" in said


def test_a_tokenizer_without_a_pad_token_will_do(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    world = tiny_run.folder / "world"
    shutil.copytree(world / "model", tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    config = read_json(path)
    del config["pad_token"]
    path.write_text(json.dumps(config))
    outcome = redpencil(
        *("sft", "--model", tmp_path / "model", "--data", world / "sft.jsonl", "--out", tmp_path / "o"),
        *("--recipe", tiny, "--set", "sft.max_steps=1"),
    )
    assert outcome.code == 0, outcome.err


def test_bad_pairs_and_samples(
    mistake: Callable[..., str], chain: Any, policy: Path, tiny: Path, tmp_path: Path
) -> None:
    samples, here = chain.folder / "responses.jsonl", chain.folder
    start = ("reward", "--model", policy, "--out", tmp_path / "reward", "--recipe", tiny)
    good = ("--pairs", here / "pairs.jsonl", "--samples", samples)
    assert "no pair marks a changed token" in mistake(
        *start, "--pairs", here / "comparison_pairs.jsonl", "--samples", samples
    )
    assert "the recipe has no entry 'mine' hint: one of: token_edits, sequence_edits" in mistake(
        *start, *good, "--entry", "mine"
    )
    one = tmp_path / "one.jsonl"
    one.write_text(samples.read_text().splitlines()[0])
    assert "need at least 2 samples" in mistake(*start, "--pairs", here / "pairs.jsonl", "--samples", one)
    foreign = tmp_path / "foreign.jsonl"
    foreign.write_text(json.dumps({"id": "x", "prompt_ids": [1], "rejected_ids": [9999], "chosen_ids": [2]}))
    said = mistake(*start, "--pairs", foreign, "--samples", samples)
    assert "foreign.jsonl: pair 'x': it has token ids outside the model's vocabulary" in said


def test_a_reward_model_is_made_of_a_policy(
    redpencil: Callable[..., Any], chain: Any, policy: Path, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    out, moved = tmp_path / "reward", tiny_run.folder / "reference" / "checkpoint"
    samples = ("--samples", chain.folder / "responses.jsonl", "--recipe", tiny, "--out", out)
    done = redpencil("reward", "--model", policy, "--policy", moved, *samples, "--set", "reward.level=sequence")
    assert done.code == 0, done
    content = read_json(out / "checkpoint" / "redpencil.json")
    assert (content["reward"]["level"], content["log_ratio"]["beta"]) == ("token", 0.1)
    assert (out / "checkpoint" / content["log_ratio"]["policy"]).resolve() == moved.resolve()
    scored = redpencil(
        "score", "--model", out / "checkpoint", "--prompt", "describe france .", "--response", "it is big ."
    )
    assert scored.code == 0, scored
    both = redpencil("reward", "--model", policy, "--policy", moved, "--pairs", "p.jsonl", *samples)
    assert "exactly one of --pairs and --policy" in " ".join(both.err.replace("│", " ").split())


def ppo_with(tiny_run: Any, tiny: Path, out: Path, method: str = "ppo", **changes: str | Path) -> list[str | Path]:
    world = tiny_run.folder / "world"
    flags: dict[str, str | Path] = {
        "policy": tiny_run.folder / "sft" / "checkpoint",
        "reward-model": tiny_run.folder / "reward-token_edits" / "checkpoint",
        "prompts": world / "prompts.jsonl",
        "validation-prompts": world / "validation_prompts.jsonl",
        "out": out,
        "recipe": tiny,
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [method, *(part for name, value in flags.items() for part in (f"--{name}", value))]


def test_bad_models_for_ppo(
    mistake: Callable[..., str], tiny_run: Any, policy: Path, tiny: Path, tmp_path: Path
) -> None:
    out, run = tmp_path / "ppo", tiny_run.folder
    sequence = run / "reward-sequence_edits" / "checkpoint"
    assert "is not a reward model" in mistake(*ppo_with(tiny_run, tiny, out, reward_model=policy))
    assert "is not a policy" in mistake(
        *ppo_with(tiny_run, tiny, out, policy=run / "reward-token_edits" / "checkpoint")
    )
    assert "a reward model of level token is needed" in mistake(*ppo_with(tiny_run, tiny, out, reward_model=sequence))
    assert "ppo.reward=token takes one reward model" in mistake(
        *ppo_with(tiny_run, tiny, out, sequence_reward_model=sequence)
    )
    assert "needs a sequence-level reward model hint: name its checkpoint with --sequence-reward-model" in mistake(
        *ppo_with(tiny_run, tiny, out, set="ppo.reward=both")
    )
    assert not out.exists()


def build_foreign(folder: Path) -> Path:
    """A reward model of other people: random weights, every byte a token, a chat template and no card."""
    pieces = ["<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")
    wrapped.chat_template = "{% for message in messages %}Q: {{ message['content'] }}\nA: {% endfor %}"
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForTokenClassification(
        LlamaConfig(vocab_size=len(pieces), num_labels=1, pad_token_id=0, **shape)
    ).save_pretrained(folder)
    return folder


def test_a_reward_model_with_another_tokenizer_and_chat_template(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    reward = build_foreign(tmp_path / "reward")
    outcome = redpencil(*ppo_with(tiny_run, tiny, tmp_path / "ppo", reward_model=reward, set="ppo.value_init=reward"))
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.err.split())
    assert "the token reward model reads text with a tokenizer of its own, and the prompt template 'chat'" in said
    assert "it has no card, so its rewards are paid as they are" in said
    assert "the value model starts from the policy" in said
    rows = read_metrics(tmp_path / "ppo")
    assert [row["cut_for_reward_model"] for row in rows[1:]] == [0.0] * (len(rows) - 1)
    assert read_json(tmp_path / "ppo" / "manifest.json")["notes"]["models"]


def test_a_reward_model_whose_template_is_named_beside_it(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    reward = build_foreign(tmp_path / "reward")
    (reward / "redpencil.json").write_text('{"prompt_template": "Human: {prompt}"}')
    outcome = redpencil(*ppo_with(tiny_run, tiny, tmp_path / "ppo", reward_model=reward))
    assert outcome.code == 0, outcome.err
    assert "the prompt template 'Human: {prompt}'" in outcome.err


def test_bad_prompts_and_references_for_ppo(
    mistake: Callable[..., str], tiny_run: Any, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    out, long = tmp_path / "ppo", tmp_path / "long.jsonl"
    long.write_text(json.dumps({"id": "1", "prompt": "france " * 300}))
    assert "long.jsonl [max_prompt_length]: none of 1 prompts" in mistake(*ppo_with(tiny_run, tiny, out, prompts=long))
    foreign = chain.folder / "outputs.jsonl"
    said = mistake(*ppo_with(tiny_run, tiny, out, judge="world", reference_outputs=foreign))
    assert "outputs.jsonl [id]: no reference response has the id" in said
    assert "no judge called 'nobody'" in mistake(
        *ppo_with(tiny_run, tiny, out, judge="nobody", reference_outputs=foreign)
    )


def quick(method: str) -> tuple[str, ...]:
    keys = ("max_steps=2", "batch_size=8", "learning_rate=.001", "eval_steps=1", "warmup_ratio=0")
    return tuple(word for key in keys for word in ("--set", f"{method}.{key}"))


@pytest.mark.parametrize("method", ["dpo", "figa"])
def test_a_policy_is_trained_on_pairs_and_watched_by_the_judge(
    method: str, redpencil: Callable[..., Any], policy: Path, chain: Any, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / method
    watched = (
        *("--validation-prompts", tiny_run.folder / "world" / "validation_prompts.jsonl"),
        *("--reference-outputs", tiny_run.folder / "reference" / "validation.jsonl", "--judge", "world"),
    )
    common = (method, "--policy", policy, "--pairs", chain.folder / "pairs.jsonl", "--out", out, "--recipe", tiny)
    outcome = redpencil(*common, *watched, *quick(method))
    assert outcome.code == 0, outcome
    assert f"checkpoint: {out / 'checkpoint'}" in outcome.err
    rows = read_metrics(out)
    assert [row["step"] for row in rows if "eval/win_rate" in row] == [0, 1, 2]
    manifest = read_json(out / "manifest.json")
    assert manifest["stage"] == method
    assert manifest["notes"]["best"]["step"] in (0, 1, 2)
    assert (out / "checkpoint" / "model.safetensors").is_file()
    again = redpencil(*common, *watched, *quick(method))
    assert "nothing was done" in again.err
    # Another world makes another judge, and so another training; what the judge does not look at is the same to it.
    other = redpencil(*common, *watched, *quick(method), "--set", "world.facts_seed=7")
    assert "nothing was done" not in other.err
    assert read_json(out / "manifest.json")["fingerprint"] != manifest["fingerprint"]


def test_a_policy_is_taught_by_itself_with_the_edit_in_its_prompt(
    redpencil: Callable[..., Any], mistake: Callable[..., str], policy: Path, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "distill"
    common = ("distill", "--policy", policy, "--recipe", tiny, "--out", out)
    plain = mistake(*common, "--pairs", chain.folder / "pairs.jsonl")
    assert "redpencil align --texts" in plain
    redpencil(
        *("align", "--edits", chain.folder / "edits.jsonl", "--texts", "--tokenizer", policy),
        *("--recipe", tiny, "--out", pairs),
    )
    template = "distill.teacher_template='{prompt} {original} {edited}'"
    done = redpencil(*common, "--pairs", pairs, *quick("distill"), "--set", template, "--set", "distill.guidance=1")
    assert done.code == 0, done
    assert [row["step"] for row in read_metrics(out)] == [1, 2]
    assert all(row["distill"] > 0 for row in read_metrics(out))


def test_without_a_judge_the_last_checkpoint_is_kept(
    redpencil: Callable[..., Any], policy: Path, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "figa"
    pairs = chain.folder / "pairs.jsonl"
    done = redpencil("figa", "--policy", policy, "--pairs", pairs, "--out", out, "--recipe", tiny, *quick("figa"))
    assert done.code == 0, done
    assert not any("eval/win_rate" in row for row in read_metrics(out))
    assert "best" not in read_json(out / "manifest.json")["notes"]


def test_a_judge_comes_with_prompts_and_a_reference(
    redpencil: Callable[..., Any], policy: Path, tmp_path: Path
) -> None:
    outcome = redpencil("figa", "--policy", policy, "--pairs", "p.jsonl", "--out", tmp_path / "f", "--judge", "world")
    assert outcome.code == 2
    assert "go together" in " ".join(outcome.err.replace("│", " ").split())


def test_pairs_that_are_not_edits_are_named(
    mistake: Callable[..., str], policy: Path, chain: Any, tiny: Path, tmp_path: Path
) -> None:
    pairs = chain.folder / "comparison_pairs.jsonl"
    said = mistake("figa", "--policy", policy, "--pairs", pairs, "--out", tmp_path / "f", "--recipe", tiny)
    assert "these are not edits" in said


def test_the_best_of_n_answers_every_prompt(
    redpencil: Callable[..., Any], policy: Path, chain: Any, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    prompts = tiny_run.folder / "world" / "evaluation_prompts.jsonl"
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for out in files:
        outcome = redpencil(
            *("best-of-n", "--policy", policy, "--reward-model", chain.folder / "reward-token" / "checkpoint"),
            *("--prompts", prompts, "--out", out, "--recipe", tiny, "--set", "best_of_n.n=3"),
        )
        assert outcome.code == 0, outcome
        assert f"16 responses in {out}, picked from 48" in outcome.err
        assert "KL to the policy at most 0.43 nats" in outcome.err  # ln 3 - 2/3
    assert files[0].read_bytes() == files[1].read_bytes()
    ids = [row.id for row in read_jsonl(files[0], Response)]
    assert ids == [row.id for row in read_jsonl(prompts, Prompt)]


def test_a_reward_model_that_has_not_learned_is_told_before_the_first_step(
    redpencil: Callable[..., Any], chain: Any, policy: Path, tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    doubtful = Path(shutil.copytree(chain.folder / "reward-token" / "checkpoint", tmp_path / "doubtful"))
    card = read_json(doubtful / "redpencil.json")
    card["reward"] |= {"learned": False, "training_loss": 0.6931, "constant_loss": 0.6931}
    (doubtful / "redpencil.json").write_text(json.dumps(card))
    ending = "has not learned: its training ended at a loss of 0.6931"
    prompts = tiny_run.folder / "world" / "evaluation_prompts.jsonl"
    outcome = redpencil(
        *("best-of-n", "--policy", policy, "--reward-model", doubtful, "--prompts", prompts),
        *("--out", tmp_path / "o.jsonl", "--recipe", tiny, "--set", "best_of_n.n=2"),
    )
    assert outcome.code == 0, outcome
    assert outcome.err.count(f"warning: the reward model {doubtful.parent.name}/doubtful {ending}") == 1
    out = tmp_path / "ppo"
    outcome = redpencil(*ppo_with(tiny_run, tiny, out, reward_model=doubtful), "--set", "ppo.total_steps=1")
    assert outcome.code == 0, outcome
    assert outcome.err.count(f"warning: the reward model {doubtful.parent.name}/doubtful {ending}") == 1
    (remark,) = read_json(out / "manifest.json")["notes"]["remarks"]
    assert ending in remark


def test_an_arm_of_another_method_is_refused(
    mistake: Callable[..., str], policy: Path, tiny: Path, tmp_path: Path
) -> None:
    said = mistake(
        *("best-of-n", "--policy", policy, "--reward-model", policy, "--prompts", "p.jsonl"),
        *("--out", tmp_path / "o.jsonl", "--recipe", tiny, "--arm", "token"),
    )
    assert "the arm 'token' is one of the method ppo" in said


def test_grpo_is_trained_on_groups_of_answers(
    redpencil: Callable[..., Any], tiny_run: Any, tiny: Path, tmp_path: Path
) -> None:
    answers = tiny_run.folder / "reference" / "validation.jsonl"
    arguments = ppo_with(tiny_run, tiny, tmp_path / "grpo", "grpo", judge="world", reference_outputs=answers)
    keys = (
        *("total_steps=2", "rollout_batch_size=3", "group_size=2", "batch_size=3", "response_length=40"),
        *("eval_steps=1", "learning_rate=.001"),
    )
    outcome = redpencil(*arguments, *(word for key in keys for word in ("--set", f"grpo.{key}")))
    assert outcome.code == 0, outcome.err
    assert [row["step"] for row in read_metrics(tmp_path / "grpo") if "eval/win_rate" in row] == [0, 1, 2]
    assert read_json(tmp_path / "grpo" / "manifest.json")["stage"] == "grpo"
    assert (tmp_path / "grpo" / "checkpoint" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_command_that_explains_itself(name: str, redpencil: Callable[..., Any]) -> None:
    command = name.replace("_", "-")
    text = " ".join(redpencil(command, "--help").out.split())
    assert f"$ redpencil {command} --policy" in text
    assert " ".join((METHODS[name].config.__doc__ or "").split())[:40] in text
