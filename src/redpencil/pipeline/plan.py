"""What a recipe's run consists of: stages, their inputs, and who waits for whom."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from redpencil.config import ArmConfig, Recipe
from redpencil.pipeline import results, stages
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import StageSpec, Work


class _Planner:
    def __init__(self, recipe: Recipe, root: Path, seed: int, prefix: str) -> None:
        self.recipe, self.seed, self.prefix = recipe, seed, prefix
        self.context = Context(recipe, root, seed)
        self.shared = {"prompt_template": recipe.prompt_template, "dtype": recipe.dtype}
        self.stages: list[StageSpec] = []

    def add(self, name: str, work: Work, *, needs: tuple[str, ...], config: Any, inputs: Mapping[str, Path]) -> None:
        self.stages.append(
            StageSpec(
                key=self.prefix + name,
                name=name,
                folder=self.context.root / name,
                seed=self.seed,
                needs=tuple(self.prefix + need for need in needs),
                config={**self.shared, name: config},
                inputs=inputs,
                work=work,
                context=self.context,
            )
        )


def plan_run(recipe: Recipe, root: Path, seed: int, prefix: str = "") -> list[StageSpec]:
    """The stages of one seed in an order that satisfies `needs`.

    A stage's `config` holds only what decides its work, and input files count by their content. So a stage that
    nothing has changed for is not run again.
    """
    planner = _Planner(recipe, root, seed, prefix)
    context, paths = planner.context, planner.context.paths
    first: tuple[str, ...] = ()
    if recipe.world is not None:
        planner.add("world", stages.make_world_data, needs=(), config=recipe.world.model_dump(), inputs={})
        first = ("world",)
    if context.trains_sft:
        inputs = {"model": paths.model, "examples": paths.sft_examples}
        planner.add("sft", stages.sft, needs=first, config=recipe.sft.model_dump(), inputs=inputs)
        first = (*first, "sft")
    sampling = recipe.sampling.model_dump()
    policy = {"policy": paths.sft_policy}
    prompts = {"evaluation_prompts": paths.evaluation_prompts}
    planner.add(
        "reference",
        stages.reference,
        needs=first,
        config=[_reference_config(recipe), sampling],
        inputs={
            **policy,
            **prompts,
            "validation_prompts": paths.validation_prompts,
            **context.reference_inputs,
        },
    )
    planner.add(
        "samples",
        stages.samples,
        needs=first,
        config=[stages.samples_wanted(recipe), sampling],
        inputs={**policy, "prompts": paths.prompts},
    )
    planner.add(
        "outputs-sft", partial(stages.outputs, policy="sft"), needs=first, config=sampling, inputs={**policy, **prompts}
    )
    planner.add(
        "annotations",
        stages.annotations,
        needs=("samples",),
        config=_annotation_config(recipe),
        inputs={"samples": paths.samples, **context.annotation_inputs},
    )
    planner.add(
        "align",
        stages.align,
        needs=("annotations", *first),
        config=recipe.align.model_dump(),
        inputs={**policy, "annotations": paths.annotations},
    )
    _plan_rewards(planner, policy)
    _plan_arms(planner, policy, prompts, sampling)
    return planner.stages


def _reference_config(recipe: Recipe) -> Any:
    if recipe.world is None:
        return None
    keys = {"reference_steps", "reference_learning_rate"}
    return [recipe.world.model_dump(include=keys), recipe.sft.model_dump()]


def _annotation_config(recipe: Recipe) -> Any:
    if recipe.files is not None:
        return recipe.files.test_share
    assert recipe.world is not None
    keys = {"domain", "facts_seed", "comparisons", "test_comparisons", "label_flip", "edit_repair", "edit_slip"}
    return recipe.world.model_dump(include=keys)


def _plan_rewards(planner: _Planner, policy: Mapping[str, Path]) -> None:
    recipe, paths = planner.recipe, planner.context.paths
    for name, model in recipe.reward_models.items():
        if model.folder is not None:
            planner.add(
                f"reward-{name}",
                partial(stages.ready_made_reward, name=name),
                needs=(),
                config=recipe.reward_config(name).level,
                inputs={"checkpoint": model.folder},
            )
            continue
        planner.add(
            f"reward-{name}",
            partial(stages.reward, name=name),
            needs=("align", "samples"),
            config=[recipe.reward_config(name).model_dump(), model.pairs],
            inputs={**policy, "pairs": paths.pairs(model.pairs, "train"), "samples": paths.samples},
        )


def _plan_arms(
    planner: _Planner, policy: Mapping[str, Path], prompts: Mapping[str, Path], sampling: Mapping[str, Any]
) -> None:
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    for arm, config in recipe.arms.items():
        if config.method == "best_of_n":
            _plan_best_of_n(planner, arm, policy, prompts, sampling)
            continue
        _plan_training(planner, arm, policy)
        planner.add(
            f"outputs-{arm}",
            partial(stages.outputs, policy=arm),
            needs=(paths.training(arm).name,),
            config=sampling,
            inputs={"policy": paths.policy(arm), **prompts},
        )
    policies = ("sft", *recipe.arms)
    outputs = {name: paths.outputs(name) for name in policies}
    planner.add(
        "judge",
        results.judge,
        needs=("reference", *(f"outputs-{name}" for name in policies)),
        config={},
        inputs={**outputs, "reference": paths.reference_outputs("evaluation"), **context.judge_inputs},
    )
    planner.add(
        "evaluate",
        results.evaluate,
        needs=("judge", "align", *(f"reward-{name}" for name in recipe.reward_models)),
        config=[list(recipe.arms), {name: results.pays_centred(recipe, name) for name in recipe.reward_models}],
        inputs={
            **outputs,
            "judgements": context.root / "judge",
            "align": context.root / "align",
            "annotations": paths.annotations,
            **{name: paths.reward_model(name) for name in recipe.reward_models},
            **{f"metrics-{arm}": paths.training(arm) / "metrics.jsonl" for arm in results.ppo_arms(recipe)},
        },
    )


def _watched(planner: _Planner) -> dict[str, Path]:
    """What a stage reads that judges answers to the validation prompts."""
    paths = planner.context.paths
    return {
        "validation_prompts": paths.validation_prompts,
        "reference": paths.reference_outputs("validation"),
        **planner.context.judge_inputs,
    }


def _plan_training(planner: _Planner, arm: str, policy: Mapping[str, Path]) -> None:
    """The stage that trains an arm: PPO waits for reward models, DPO and FIGA for pairs."""
    recipe, paths = planner.recipe, planner.context.paths
    config, name = recipe.arms[arm], paths.training(arm).name
    watched = _watched(planner)
    if config.method == "ppo":
        models = config.reward_model_names
        planner.add(
            name,
            partial(stages.ppo, arm=arm),
            needs=("reference", *(f"reward-{name}" for name in models)),
            config=[recipe.options(arm).model_dump(), _keys_of_ppo_arm(config)],
            inputs={
                **policy,
                **{name: paths.reward_model(name) for name in models},
                "prompts": paths.prompts,
                **watched,
            },
        )
        return
    pairs = config.learns_from
    assert pairs is not None
    works: dict[str, tuple[Work, Any]] = {
        "dpo": (partial(stages.dpo, arm=arm), recipe.options(arm).model_dump()),
        "figa": (partial(stages.figa, arm=arm), recipe.options(arm).model_dump()),
    }
    work, options = works[config.method]
    planner.add(
        name,
        work,
        needs=("reference", "align"),
        config=[options, pairs, recipe.sampling.model_dump()],
        inputs={**policy, "pairs": paths.pairs(pairs, "train"), **watched},
    )


def _keys_of_ppo_arm(arm: ArmConfig) -> Any:
    return arm.model_dump(include={"reward_model", "sequence_reward_model", "options"})


def _plan_best_of_n(
    planner: _Planner,
    arm: str,
    policy: Mapping[str, Path],
    prompts: Mapping[str, Path],
    sampling: Mapping[str, Any],
) -> None:
    recipe, paths = planner.recipe, planner.context.paths
    models = recipe.arms[arm].reward_model_names
    planner.add(
        paths.training(arm).name,
        partial(stages.best, arm=arm),
        needs=("reference", *(f"reward-{name}" for name in models)),
        config=[recipe.options(arm).model_dump(), sampling],
        inputs={
            **policy,
            **{name: paths.reward_model(name) for name in models},
            **prompts,
            **_watched(planner),
        },
    )
