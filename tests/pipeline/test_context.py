"""Where things lie, for the world and for a user's files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from redpencil.pipeline.context import Context, Setup
from redpencil.recipe import load_recipe


def test_in_the_world_every_path_is_inside_the_run(tiny: Any, tmp_path: Path) -> None:
    context = Context(tiny(), tmp_path, 3)
    paths = context.paths
    for path in (paths.model, paths.sft_examples, paths.prompts, paths.validation_prompts, paths.evaluation_prompts):
        assert path.parent == tmp_path / "world"
    assert context.trains_sft
    assert paths.sft_policy == paths.policy("sft") == tmp_path / "sft" / "checkpoint"
    assert paths.policy("token") == tmp_path / "ppo-token" / "checkpoint"
    assert context.reference_inputs == {"examples": tmp_path / "world" / "reference.jsonl"}
    assert context.annotation_inputs == context.judge_inputs == {}


def test_the_paths_that_the_run_wrote_exist(context: Context) -> None:
    paths = context.paths
    names = ("sft", "token", "edits", "preference")
    written = [
        *(paths.pairs(kind, split) for kind in ("edits", "comparisons") for split in ("train", "test")),
        paths.pairs("comparisons_clean", "test"),
        *(paths.reward_model(name) for name in context.recipe.reward_models),
        *(paths.policy(name) for name in names),
        *(paths.outputs(name) for name in names),
        *(paths.reference_outputs(split) for split in ("validation", "evaluation")),
        paths.model, paths.sft_examples, paths.prompts, paths.validation_prompts, paths.evaluation_prompts,
        paths.samples, paths.annotations,
    ]  # fmt: skip
    assert [path for path in written if not path.exists()] == []


def test_a_users_files_lie_outside(files_recipe: Callable[..., Path], tmp_path: Path) -> None:
    context = Context(load_recipe(files_recipe()), tmp_path / "run", 3)
    data, paths = tmp_path / "data", context.paths
    assert (paths.model, paths.sft_examples, paths.prompts) == (
        data / "model",
        data / "sft.jsonl",
        data / "prompts.jsonl",
    )
    assert context.trains_sft
    assert paths.sft_policy == tmp_path / "run" / "sft" / "checkpoint"
    assert context.reference_inputs == {"reference_outputs": data / "reference_outputs.jsonl"}
    assert context.annotation_inputs == {"comparisons": data / "comparisons.jsonl", "edits": data / "edits.jsonl"}
    assert context.judge_inputs == {"judge": data / "judge"}


def test_without_demonstrations_the_users_model_is_the_sft_policy(
    files_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    context = Context(load_recipe(files_recipe("sft", "reference_outputs")), tmp_path / "run", 3)
    assert not context.trains_sft
    assert context.paths.sft_policy == context.paths.policy("sft") == tmp_path / "data" / "model"
    assert context.reference_inputs == {}


def test_runtime_and_codec_are_those_of_the_recipe(context: Context) -> None:
    assert (context.runtime.device, context.runtime.dtype) == (torch.device("cpu"), torch.float32)
    assert context.codec.template == "<bos> {prompt} <answer>"
    assert context.codec is context.codec


ARMS = (
    "arms={g: {method: grpo, reward_model: token_edits}, n: {method: best_of_n, reward_model: token_edits}, "
    "d: {method: dpo}}"
)


def test_an_arms_folder_is_named_after_its_method_and_one_that_trains_nothing_answers_by_the_sft_policy(
    tiny: Any, tmp_path: Path
) -> None:
    context = Context(tiny(ARMS), tmp_path, 3)
    names = {arm: context.paths.training(arm).name for arm in ("g", "n", "d")}
    assert names == {"g": "grpo-g", "n": "outputs-n", "d": "dpo-d"}
    assert context.paths.policy("g") == tmp_path / "grpo-g" / "checkpoint"
    assert context.paths.policy("n") == context.paths.sft_policy
    assert context.sampling_arms == ["g"]


def test_the_centre_counts_as_paid_unless_an_arm_that_samples_leaves_it_in(tiny: Any, tmp_path: Path) -> None:
    def paid(*overrides: str) -> bool:
        return Context(tiny(ARMS, *overrides), tmp_path, 3).pays_centred("token_edits")

    assert paid()
    assert not paid("grpo.center_rewards=false")
    assert paid("best_of_n.center_rewards=false")


def test_compute_says_how_many_prompts_are_answered_at_once(tiny: Any, context: Context) -> None:
    for size, override in ((64, "compute.threads=1"), (5, "compute.generation_batch_size=5")):
        assert Setup(tiny(override), context.codec, context.runtime).sampling.batch_size == size
