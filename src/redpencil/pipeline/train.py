"""Stages that train or answer: SFT, the reference, reward models, PPO, outputs."""

from collections.abc import Sequence
from itertools import islice

from redpencil.config import SFTConfig
from redpencil.evaluation.judges import judge_outputs
from redpencil.evaluation.statistics import win_rate
from redpencil.models.respond import encode_prompts, respond
from redpencil.pipeline.context import Context
from redpencil.pipeline.judging import make_judge
from redpencil.records import Example, Pair, Prompt, Response, read_jsonl, write_jsonl
from redpencil.runs import Stage, derive_seed
from redpencil.training.ppo import load_actors, run_ppo
from redpencil.training.reward import encode_samples, train_reward
from redpencil.training.sft import train_sft


def sft(context: Context, stage: Stage) -> None:
    """Fine-tune the base model on the demonstrations."""
    train_sft(
        context.recipe.sft,
        model=context.paths.model,
        examples=read_jsonl(context.paths.sft_examples, Example),
        codec=context.codec,
        runtime=context.runtime,
        stage=stage,
    )


def reference(context: Context, stage: Stage) -> None:
    """The reference policy and its outputs.

    In the world it is the SFT policy after a little training on a corpus with half of the flaws; with a user's files
    it is the SFT policy itself, or whatever wrote `files.reference_outputs`.
    """
    policy = context.paths.sft_policy
    world = context.recipe.world
    if world is not None:
        changes = {
            "learning_rate": world.reference_learning_rate,
            "max_steps": world.reference_steps,
            "lr_scheduler_type": "constant",
        }
        train_sft(
            SFTConfig.model_validate({**context.recipe.sft.model_dump(), **changes}),
            model=policy,
            examples=read_jsonl(context.reference_inputs["examples"], Example),
            codec=context.codec,
            runtime=context.runtime,
            stage=stage,
        )
        policy = stage.folder / "checkpoint"
    stage.notes.setdefault("skipped", {})
    for split in ("validation", "evaluation"):
        prompts = list(read_jsonl(getattr(context.paths, f"{split}_prompts"), Prompt))
        if split == "evaluation" and "reference_outputs" in context.reference_inputs:
            write_jsonl(stage.folder / f"{split}.jsonl", _given_outputs(context, prompts))
            continue
        responses, skipped = respond(
            policy,
            prompts,
            config=context.recipe.sampling,
            codec=context.codec,
            runtime=context.runtime,
            seed=derive_seed(stage.seed, "reference", split),
            model_name="reference",
            progress=stage.progress,
        )
        stage.notes["skipped"][f"{split} prompt empty or too long"] = skipped
        write_jsonl(stage.folder / f"{split}.jsonl", responses)


def _given_outputs(context: Context, prompts: Sequence[Prompt]) -> list[Response]:
    """The user's reference outputs for those prompts that the policies will answer."""
    fitting = encode_prompts(prompts, context.codec, context.recipe.sampling.max_prompt_length).records
    given = {row.id: row for row in read_jsonl(context.reference_inputs["reference_outputs"], Response)}
    return [given[prompt.id] for prompt in fitting]


def reward(context: Context, stage: Stage, *, name: str) -> None:
    """Train one of the recipe's reward models from the SFT backbone."""
    recipe, codec = context.recipe, context.codec
    config, kind = recipe.reward_config(name), recipe.reward_models[name].pairs
    samples = list(islice(read_jsonl(context.paths.samples, Response), config.reference_samples))
    train_reward(
        config,
        backbone=context.paths.sft_policy,
        pairs=list(read_jsonl(context.paths.pairs(kind, "train"), Pair)),
        samples=encode_samples(samples, codec),
        codec=codec,
        trained_on=kind,
        runtime=context.runtime,
        stage=stage,
    )


def ppo(context: Context, stage: Stage, *, arm: str) -> None:
    """Train one arm of Table 1 with PPO; every arm sees the same prompts in the same order."""
    recipe, paths, codec, runtime = context.recipe, context.paths, context.codec, context.runtime
    config, models = recipe.ppo_config(arm), recipe.arms[arm]
    first = paths.reward_model(models.reward_model)
    second = paths.reward_model(models.sequence_reward_model) if models.sequence_reward_model else None
    token, sequence = (None, first) if config.reward == "sequence" else (first, second)
    actors = load_actors(config, paths.sft_policy, token, sequence, runtime)
    judge = make_judge(context)
    answers = list(read_jsonl(paths.reference_outputs("validation"), Response))

    def evaluate(responses: Sequence[Response]) -> dict[str, float]:
        verdicts = judge_outputs(judge, responses, answers)
        rate = win_rate([v.preference for v in verdicts], [len(v.first.split()) for v in verdicts])
        return {"win_rate": rate.value, "win_rate_standard_error": rate.standard_error}

    run_ppo(
        config,
        actors=actors,
        prompts=encode_prompts(list(read_jsonl(paths.prompts, Prompt)), codec, config.max_prompt_length),
        validation=encode_prompts(
            list(read_jsonl(paths.validation_prompts, Prompt)), codec, recipe.sampling.max_prompt_length
        ),
        evaluate=evaluate,
        codec=codec,
        runtime=runtime,
        stage=stage,
    )


def outputs(context: Context, stage: Stage, *, policy: str) -> None:
    """A policy's responses to the evaluation prompts; the seed is the same for every policy."""
    responses, skipped = respond(
        context.paths.policy(policy),
        list(read_jsonl(context.paths.evaluation_prompts, Prompt)),
        config=context.recipe.sampling,
        codec=context.codec,
        runtime=context.runtime,
        seed=derive_seed(stage.seed, "outputs"),
        model_name=policy,
        progress=stage.progress,
    )
    stage.notes["skipped"] = {"prompt empty or too long": skipped}
    write_jsonl(stage.folder / "evaluation.jsonl", responses)
