"""Stages that train or answer: SFT, the reference, reward models, an arm by its method, outputs.

A stage of a run is a function of `(context, stage)`, with the paths that the context says. What it does with them is a
function of its own that takes explicit paths, in `redpencil.pipeline.training`, which the command line calls too.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from redpencil.adapters import base_of, is_adapter, point_to
from redpencil.config.training import SFTConfig
from redpencil.evaluation.matching import by_prompt, match_note
from redpencil.models.checkpoints import has_weights, load_reward_model
from redpencil.models.log_ratio import Parts, parts_of
from redpencil.models.runtime import slow_format
from redpencil.models.sampling import encode_prompts, respond
from redpencil.models.saving import write_log_ratio
from redpencil.models.sidecar import codec_of_checkpoint, read_card
from redpencil.pipeline.context import Context
from redpencil.pipeline.inputs import match_reference
from redpencil.pipeline.judging import make_judge
from redpencil.pipeline.training import (
    TrainingInputs,
    Watch,
    choose_answers,
    fine_tune,
    fit_reward,
    take_policy,
    train_policy,
)
from redpencil.records import Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed


def _warn_of_format(context: Context, stage: Stage) -> None:
    slow = slow_format(context.runtime)
    if slow is not None:
        stage.warn(slow)


def sft(context: Context, stage: Stage) -> None:
    """Fine-tune the base model on the demonstrations."""
    paths = context.paths
    _warn_of_format(context, stage)
    if context.recipe.files is not None and not has_weights(paths.model):
        stage.warn(f"{paths.model} has no weights: training starts from random ones")
    fine_tune(context.setup, stage, context.recipe.sft, model=paths.model, examples=paths.sft_examples)


def reference(context: Context, stage: Stage) -> None:
    """Make the reference policy and its outputs.

    In the world it is the SFT policy after a little training on a corpus with half of the flaws; with a user's files
    it is the SFT policy itself, or the model that wrote `files.reference_outputs`.
    """
    policy = context.paths.sft_policy
    for finding in context.codec.findings:
        stage.warn(f"{context.paths.model}: {finding}")
    world = context.recipe.world
    if world is not None:
        changes = {"learning_rate": world.reference_learning_rate, "max_steps": world.reference_steps}
        options = context.recipe.sft.model_dump() | changes | {"lr_scheduler_type": "constant"}
        config = SFTConfig.model_validate(options)
        fine_tune(context.setup, stage, config, model=policy, examples=context.reference_inputs["examples"])
        policy = stage.shared_folder / "checkpoint"
    stage.notes.setdefault("skipped", {})
    for split in ("validation", "evaluation"):
        prompts = list(read_jsonl(getattr(context.paths, f"{split}_prompts"), Prompt))
        if split == "evaluation" and "reference_outputs" in context.reference_inputs:
            write_jsonl(stage.folder / f"{split}.jsonl", _reference_outputs(context, stage, prompts))
            continue
        responses, skipped = _judged_answers(context, stage, policy, prompts, "reference", "reference", split)
        stage.notes["skipped"][f"{split} prompt empty or too long"] = skipped
        write_jsonl(stage.folder / f"{split}.jsonl", responses)


def _judged_answers(
    context: Context, stage: Stage, policy: Path, prompts: Sequence[Prompt], name: str, *seed: str
) -> tuple[list[Response], int]:
    """Answer prompts as the model `name`, to be judged; returns responses and the number of prompts left out."""
    return respond(
        context.setup.sampler(policy, stage.work),
        prompts,
        config=context.setup.judged_sampling,
        seed=derive_seed(stage.seed, *seed),
        model_name=name,
        progress=stage.progress,
    )


def _reference_outputs(context: Context, stage: Stage, prompts: Sequence[Prompt]) -> list[Response]:
    """The user's reference outputs for those prompts that the policies will answer, under the ids of the prompts."""
    file = context.reference_inputs["reference_outputs"]
    pairs = match_reference(file, prompts)
    note = match_note(by_prompt(pairs), len(pairs))
    if note:
        stage.warn(f"{file}: {note}")
        stage.notes["remarks"] = [f"of the reference outputs, {note}"]
    fitting = encode_prompts(prompts, context.codec, context.recipe.sampling.max_prompt_length).records
    answered = {prompt.id for prompt in fitting}
    return [replace(output, id=prompt.id) for prompt, output in pairs if prompt.id in answered]


def reward(context: Context, stage: Stage, *, name: str) -> None:
    """Train one of the recipe's reward models, from the SFT backbone or from another one."""
    _warn_of_format(context, stage)
    model, paths = context.recipe.reward_models[name], context.paths
    fit_reward(
        context.setup,
        stage,
        context.recipe.reward_config(name),
        policy=paths.sft_policy,
        pairs=paths.training_pairs(model.pairs, context.recipe.sources(model)),
        samples=paths.samples_of(model.on),
        trained_on=model.pairs,
        start=None if model.start is None else paths.reward_model(model.start),
        features=context.features,
    )


def policy_reward(context: Context, stage: Stage, *, name: str) -> None:
    """Make one of the recipe's reward models of an arm's policy and the one that it started from."""
    recipe, paths = context.recipe, context.paths
    model = recipe.reward_models[name]
    assert model.policy is not None
    parts = Parts(paths.policy(model.policy), paths.start(model.policy), recipe.beta_of(model.policy))
    take_policy(context.setup, stage, recipe.reward_config(name), parts, samples=paths.samples, trained_on=model.pairs)


def ready_made_reward(context: Context, stage: Stage, *, name: str) -> None:
    """Take a ready-made reward model into the run: copy its files, after checking that it loads."""
    folder = context.recipe.reward_models[name].folder
    assert folder is not None
    load_reward_model(folder, context.runtime.alone, level=context.recipe.reward_config(name).level)
    checkpoint = stage.folder / "checkpoint"
    parts = parts_of(folder)
    if parts is not None:
        write_log_ratio(checkpoint, parts, codec_of_checkpoint(folder), read_card(folder, "token"))
        return
    checkpoint.mkdir()
    for file in sorted(folder.iterdir()):
        if file.is_file():
            shutil.copy(file, checkpoint)
    if is_adapter(folder):
        point_to(checkpoint, base_of(folder))


def _watch(context: Context) -> Watch:
    """What training is watched by: a judge that answers at once, else the rewards alone."""
    paths = context.paths
    if not context.recipe.who_judges.judges_training:
        return Watch(paths.validation_prompts)
    return Watch(paths.validation_prompts, paths.reference_outputs("validation"), make_judge(context))


def train_arm(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm of Table 1 by its method; arms that sample see the same prompts in the same order."""
    _warn_of_format(context, stage)
    recipe, paths = context.recipe, context.paths
    config = recipe.arms[arm]
    kind = config.learns_from
    watch = _watch(context)
    inputs = TrainingInputs(
        paths.start(arm),
        # A method that learns from pairs has no rewards to choose a checkpoint by.
        None if watch.judge is None and config.row.learns_from == "pairs" else watch,
        pairs=() if kind is None else paths.training_pairs(kind, recipe.sources(config)),
        prompts=paths.prompts,
        reward_models=tuple(paths.reward_model(name) for name in config.reward_model_names),
    )
    train_policy(context.setup, stage, config.row, recipe.options(arm), inputs)


def choose(context: Context, stage: Stage, *, arm: str) -> None:
    """Answer the evaluation prompts by a method that trains nothing, and the validation prompts, which are judged."""
    recipe, paths = context.recipe, context.paths
    watch = _watch(context)
    (reward_model,) = recipe.arms[arm].reward_model_names
    counts: dict[str, dict[str, float]] = {}
    for split, prompts in (("validation", paths.validation_prompts), ("evaluation", paths.evaluation_prompts)):
        before = stage.seconds
        chosen = choose_answers(
            context.setup,
            recipe.arms[arm].row,
            recipe.options(arm),
            policy=paths.start(arm),
            reward_model=paths.reward_model(reward_model),
            prompts=prompts,
            seed=derive_seed(stage.seed, "outputs" if split == "evaluation" else "validation"),
            model_name=arm,
            progress=stage.progress,
            warn=stage.remark,
            kept=stage.work,
        )
        counts[split] = {"responses": len(chosen.responses), "sampled": chosen.sampled, "skipped": chosen.skipped}
        counts[split] |= {name: getattr(chosen, name) for name in ("best_score", "mean_score", "kl_bound")}
        counts[split]["seconds"] = round(stage.seconds - before, 3)
        write_jsonl(stage.folder / f"{split}.jsonl", chosen.responses)
        if split == "validation":
            counts[split] |= watch.evaluate(chosen.responses)
    stage.notes[recipe.arms[arm].method] = counts
    stage.notes["skipped"] = {"prompt empty or too long": counts["evaluation"]["skipped"]}


def outputs(context: Context, stage: Stage, *, policy: str) -> None:
    """Answer the evaluation prompts with a policy; the seed is the same for every policy."""
    prompts = list(read_jsonl(context.paths.evaluation_prompts, Prompt))
    responses, skipped = _judged_answers(context, stage, context.paths.policy(policy), prompts, policy, "outputs")
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "evaluation.jsonl", responses)
