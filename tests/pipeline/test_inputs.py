"""A user's files: each mistake is told at once, with its file, its field and a hint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.pipeline.annotations import annotations
from redpencil.pipeline.context import Context
from redpencil.pipeline.inputs import check_files, check_inputs, check_reward_models, match_reference
from redpencil.recipe import load_recipe
from redpencil.records import Prompt, count_lines, read_jsonl
from redpencil.runs import open_stage, write_json

Write = Callable[..., Path]
TEMPLATE = "<bos> {prompt} <answer>"


def check(recipe: Path, template: str = TEMPLATE) -> None:
    files = load_recipe(recipe).files
    assert files is not None
    check_files(files, template)


def mistake(recipe: Path, template: str = TEMPLATE) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        check(recipe, template)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("left_out", [(), ("sft",), ("reference_outputs",), ("sft", "reference_outputs")])
def test_sound_files_pass(left_out: tuple[str, ...], files_recipe: Write) -> None:
    check(files_recipe(*left_out))


@pytest.mark.parametrize(
    "key",
    [
        "model", "sft", "comparisons", "edits", "prompts", "validation_prompts", "evaluation_prompts",
        "reference_outputs", "judge",
    ],
)  # fmt: skip
def test_a_missing_file_is_named_with_its_key(key: str, files_recipe: Write, tmp_path: Path) -> None:
    recipe = files_recipe()
    path = next((tmp_path / "data").glob(f"{key}*"))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    error = mistake(recipe)
    assert (error.problem, error.file, error.field) == ("no such file or folder", str(path), f"files.{key}")


JSONL = ["sft", "comparisons", "edits", "prompts", "validation_prompts", "evaluation_prompts", "reference_outputs"]


@pytest.mark.parametrize("key", JSONL)
def test_an_empty_file_is_named(key: str, files_recipe: Write, tmp_path: Path) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / f"{key}.jsonl"
    path.write_text("\n")
    error = mistake(recipe)
    assert error.file == str(path)
    assert "the file holds no" in error.problem


@pytest.mark.parametrize("key", JSONL)
def test_a_row_without_a_field_is_named_with_its_line(key: str, files_recipe: Write, tmp_path: Path) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / f"{key}.jsonl"
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    del row["prompt"]
    path.write_text("\n".join([*lines[:2], json.dumps(row), *lines[3:]]))
    error = mistake(recipe)
    assert (error.file, error.line, error.field) == (str(path), 3, "prompt")


@pytest.mark.parametrize("own", [(), ("test_edits",)])
def test_more_rounds_than_edits_are_found_before_the_run(
    own: tuple[str, ...], files_recipe: Write, tmp_path: Path
) -> None:
    figa = {"arms": {"figa": {"method": "figa"}}, "reward_models": {}, "editor": {"edits": "later.jsonl"}}
    recipe = files_recipe("comparisons", **figa)
    # 24 edits, of which about a quarter is held out if there is no file of test edits.
    few = [f"files.{key}={tmp_path / 'data' / 'edits.jsonl'}" for key in own]
    check_inputs([load_recipe(recipe, [*few, f"rounds={24 if own else 12}"])])
    with pytest.raises(RedpencilError, match="no edits are left to learn from") as caught:
        check_inputs([load_recipe(recipe, [*few, "rounds=25"])])
    assert caught.value.field == "files.train_share"
    assert "lower rounds" in str(caught.value.hint)


def test_a_share_may_leave_no_comparisons_where_nothing_learns_from_them(files_recipe: Write, tmp_path: Path) -> None:
    figa = {"arms": {"figa": {"method": "figa"}}, "reward_models": {}}
    path = tmp_path / "data" / "comparisons.jsonl"
    plain = files_recipe(**figa)
    path.write_text("\n".join(path.read_text().splitlines()[:3]) + "\n")
    recipe = load_recipe(plain, ["files.train_share=0.3"])
    check_inputs([recipe])
    with open_stage(tmp_path / "run" / "annotations", "annotations", seed=3, config={}, inputs={}) as stage:
        assert stage is not None
        annotations(Context(recipe, tmp_path / "run", 3), stage)
    names = ("comparisons_train", "comparisons_test", "edits_train")
    left, held, edits = (count_lines(tmp_path / "run" / "annotations" / f"{name}.jsonl") for name in names)
    assert edits == 5, "of 18 edits .3 are learned from"
    assert left == 3 - held > 0, "nothing learns from the comparisons, which all stay"
    dpo = ["arms={dpo: {method: dpo, pairs: comparisons}}", "files.train_share=0.3"]
    with pytest.raises(RedpencilError, match="no comparisons are left to learn from"):
        check_inputs([load_recipe(plain, dpo)])


@pytest.mark.parametrize("key", ["comparisons", "edits"])
def test_one_row_cannot_be_split(key: str, files_recipe: Write, tmp_path: Path) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / f"{key}.jsonl"
    path.write_text(path.read_text().splitlines()[0])
    error = mistake(recipe)
    assert (error.file, error.problem) == (
        str(path),
        f"{key} of 1 prompt cannot be split into train and test by prompt",
    )


@pytest.mark.parametrize("key", ["validation_prompts", "evaluation_prompts", "reference_outputs"])
def test_an_id_that_stands_twice_is_told_before_responses_are_matched_by_it(
    key: str, files_recipe: Write, tmp_path: Path
) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / f"{key}.jsonl"
    first = path.read_text().splitlines()[0]
    path.write_text(f"{path.read_text()}{first}\n")
    error = mistake(recipe)
    assert (error.file, error.field) == (str(path), "id")
    assert repr(json.loads(first)["id"]) in error.problem


def change(path: Path, **fields: Any) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(lines[0]), **fields}), *lines[1:]]))


def test_reference_outputs_must_answer_the_evaluation_prompts(files_recipe: Write, tmp_path: Path) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / "reference_outputs.jsonl"
    whole = path.read_text()
    name = json.loads(whole.splitlines()[0])["id"]
    change(path, prompt="something else")
    error = mistake(recipe)
    assert error.problem == f"different prompts under the id {name!r} (evaluation prompt and reference output)"
    assert (error.file, error.field) == (str(path), "prompt")
    path.write_text("\n".join(whole.splitlines()[1:]))
    count = len(whole.splitlines())
    assert mistake(recipe).problem == f"no reference output has the id {name!r} or its prompt (1 of {count} missing)"


def test_reference_outputs_may_have_other_ids(files_recipe: Write, tmp_path: Path) -> None:
    recipe, path = files_recipe(), tmp_path / "data" / "reference_outputs.jsonl"
    given = [json.loads(line) for line in path.read_text().splitlines()]
    others = [{**row, "id": f"theirs-{n}"} for n, row in enumerate(reversed(given))]
    path.write_text("\n".join(json.dumps(row) for row in [*others, {**given[0], "id": "extra", "prompt": "more"}]))
    check(recipe)
    prompts = list(read_jsonl(tmp_path / "data" / "evaluation_prompts.jsonl", Prompt))
    found = match_reference(path, prompts)
    assert [(prompt.id, output.response) for prompt, output in found] == [(row["id"], row["response"]) for row in given]
    assert all(output.id.startswith("theirs-") for _, output in found)


def test_a_policy_cannot_judge(files_recipe: Write, tmp_path: Path) -> None:
    recipe, judge = files_recipe(), tmp_path / "data" / "judge"
    shutil.rmtree(judge)
    shutil.copytree(tmp_path / "data" / "model", judge)
    error = mistake(recipe)
    assert (error.file, error.field) == (str(judge), "files.judge")
    assert "LlamaForCausalLM is not a reward model" in error.problem


def test_without_demonstrations_the_model_must_have_weights(files_recipe: Write, tmp_path: Path) -> None:
    recipe, model = files_recipe("sft"), tmp_path / "data" / "model"
    (model / "model.safetensors").unlink()
    error = mistake(recipe)
    assert (error.file, error.field) == (str(model), "files.model")
    error = mistake(files_recipe())
    assert 'write {"fresh": true} into redpencil.json' in str(error.hint)
    write_json(model / "redpencil.json", {"prompt_template": TEMPLATE, "fresh": True})
    assert mistake(files_recipe("sft")).problem == "it holds no weights"
    check(files_recipe())


def test_a_judge_has_weights(files_recipe: Write, tmp_path: Path) -> None:
    recipe, judge = files_recipe(), tmp_path / "data" / "judge"
    (judge / "model.safetensors").unlink()
    error = mistake(recipe)
    assert (error.file, error.field, error.problem) == (str(judge), "files.judge", "it holds no weights")


def test_without_demonstrations_the_template_is_the_one_the_model_was_trained_with(files_recipe: Write) -> None:
    error = mistake(files_recipe("sft"), "{prompt}")
    assert error.field == "prompt_template"
    assert repr(TEMPLATE) in error.problem
    check(files_recipe(), "{prompt}")


def context(folder: Path, tokens: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": tokens}))


def longest(data: Path, *keys: str) -> int:
    """Tokens of the longest prompt of some files, by splitting: a token of the world is a word."""
    rows = [json.loads(line) for key in keys for line in (data / f"{key}.jsonl").read_text().splitlines()]
    return max(len(TEMPLATE.format(prompt=row["prompt"]).split()) for row in rows)


def twice(folder: Path, tokens: int) -> None:
    context(folder, tokens)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "read_twice": True}))


def too_small(data: Path, model: str, *keys: str) -> None:
    context(data / model, longest(data, *keys) + RESPONSE - 1)


def long_answer(data: Path) -> None:
    rows = [json.loads(line) for line in (data / "reference_outputs.jsonl").read_text().splitlines()]
    rows[3]["response"] = " ".join(["the"] * 300)
    (data / "reference_outputs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


RESPONSE = 32
"""Tokens that a response has at most."""
WATCHED = ("validation_prompts", "evaluation_prompts")
TOO_LONG: dict[str, tuple[Callable[[Path], None], dict[str, Any], str, str]] = {
    "the judge's context": (lambda data: too_small(data, "judge", *WATCHED), {}, "judge", "context of"),
    "the context of a judge that reads twice": (
        lambda data: twice(data / "judge", longest(data, *WATCHED) + 2 * RESPONSE - 1),
        {},
        "judge",
        "context of",
    ),
    "the model's context": (lambda data: too_small(data, "model", "prompts", *WATCHED), {}, "model", "context of"),
    "a reference output": (long_answer, {}, "reference_outputs.jsonl", "the reward model reads 256"),
    "every prompt": (lambda _: None, {"sampling.max_prompt_length": 3}, "prompts.jsonl", "between 1 and 3 tokens"),
    "every prompt for PPO": (lambda _: None, {"ppo.max_prompt_length": 3}, "prompts.jsonl", "between 1 and 3 tokens"),
    "a response": (lambda _: None, {"sampling.response_length": 250}, "model", "context of 256"),
    "a response in PPO": (lambda _: None, {"ppo.response_length": 250}, "model", "context of 256"),
}


@pytest.mark.parametrize("what", TOO_LONG)
def test_what_is_too_long_for_a_model_is_told_before_anything_is_trained(
    what: str, files_recipe: Write, tmp_path: Path
) -> None:
    damage, keys, file, problem = TOO_LONG[what]
    recipe = files_recipe()
    check_inputs([load_recipe(recipe)])
    damage(tmp_path / "data")
    with pytest.raises(RedpencilError, match=problem) as caught:
        check_inputs([load_recipe(recipe, [f"{key}={value}" for key, value in keys.items()])])
    assert caught.value.file == str(tmp_path / "data" / file)
    assert caught.value.hint


def test_a_context_that_just_suffices_passes(files_recipe: Write, tmp_path: Path) -> None:
    recipe = files_recipe()
    context(tmp_path / "data" / "judge", longest(tmp_path / "data", *WATCHED) + RESPONSE)
    check_inputs([load_recipe(recipe, ["files.reference_outputs=null"])])


def test_a_ready_made_reward_model_has_room(files_recipe: Write, finished: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(finished / "reward-token_edits" / "checkpoint", own)
    models = load_recipe(files_recipe()).reward_models
    entries = {name: {"pairs": model.pairs, "reward": dict(model.reward)} for name, model in models.items()}
    recipe = files_recipe(reward_models={**entries, "token_edits": {**entries["token_edits"], "folder": str(own)}})
    check_inputs([load_recipe(recipe)])
    context(own, longest(tmp_path / "data", "prompts") + RESPONSE - 1)
    with pytest.raises(RedpencilError, match="context of") as caught:
        check_inputs([load_recipe(recipe)])
    assert caught.value.file == str(own)


def test_a_judge_with_another_tokenizer_needs_room_for_the_prompts(files_recipe: Write, tmp_path: Path) -> None:
    recipe = files_recipe("reference_outputs")
    judge = tmp_path / "data" / "judge"
    tokenizer = json.loads((judge / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}  # the same ids of this text, as nobody can know
    (judge / "tokenizer.json").write_text(json.dumps(tokenizer))
    context(judge, longest(tmp_path / "data", *WATCHED) + 1)
    check_inputs([load_recipe(recipe)])
    context(judge, longest(tmp_path / "data", *WATCHED))
    with pytest.raises(RedpencilError, match="context of"):
        check_inputs([load_recipe(recipe)])


def test_ready_made_reward_models_are_looked_at_first(files_recipe: Write, finished: Path, tmp_path: Path) -> None:
    ready_made = shutil.copytree(finished / "reward-token_edits" / "checkpoint", tmp_path / "ready")

    def refused(folder: Path, level: str = "token") -> RedpencilError:
        recipe = load_recipe(
            files_recipe(), [f"reward_models.made={{pairs: edits, folder: {folder}, reward: {{level: {level}}}}}"]
        )
        with pytest.raises(RedpencilError) as caught:
            check_reward_models(recipe)
        return caught.value

    recipe = load_recipe(files_recipe(), [f"reward_models.made={{pairs: edits, folder: {ready_made}}}"])
    check_reward_models(recipe)
    assert refused(tmp_path / "nowhere").field == "reward_models.made.folder"
    assert "level sequence is needed" in refused(ready_made, "sequence").problem
    assert "is not a reward model" in refused(finished / "sft" / "checkpoint").problem
    (ready_made / "tokenizer.json").unlink()
    assert refused(ready_made).file == str(ready_made)
    (ready_made / "model.safetensors").unlink()
    error = refused(ready_made)
    assert (error.problem, error.field) == ("it holds no weights", "reward_models.made.folder")
