"""The stages of a recipe's run: their work, their inputs, and the stages that each waits for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redpencil.config import Recipe
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import StageSpec

STAGES = "redpencil.pipeline.stages"
RESULTS = "redpencil.pipeline.results"


class _Planner:
    def __init__(self, recipe: Recipe, root: Path, seed: int, prefix: str) -> None:
        self.recipe, self.seed, self.prefix = recipe, seed, prefix
        self.context = Context(recipe, root, seed)
        self.shared = {"prompt_template": recipe.prompt_template, "dtype": recipe.dtype}
        self.stages: list[StageSpec] = []

    def add(
        self,
        name: str,
        work: str,
        /,
        *,
        needs: tuple[str, ...],
        config: Any,
        inputs: Mapping[str, Path],
        **options: str,
    ) -> None:
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
                options=options,
            )
        )


def plan_run(recipe: Recipe, root: Path, seed: int, prefix: str = "") -> list[StageSpec]:
    """Plan one seed; the stages are in an order that satisfies `needs`.

    A stage's `config` holds only what decides its work, and input files count by their content. So a stage that
    nothing has changed for is not run again.
    """
    planner = _Planner(recipe, root, seed, prefix)
    context, paths = planner.context, planner.context.paths
    first: tuple[str, ...] = ()
    if recipe.world is not None:
        planner.add("world", f"{STAGES}:make_world_data", needs=(), config=recipe.world.model_dump(), inputs={})
        first = ("world",)
    if context.trains_sft:
        inputs = {"model": paths.model, "examples": paths.sft_examples}
        planner.add("sft", f"{STAGES}:sft", needs=first, config=recipe.sft.model_dump(), inputs=inputs)
        first = (*first, "sft")
    sampling = recipe.sampling.model_dump()
    policy = {"policy": paths.sft_policy}
    prompts = {"evaluation_prompts": paths.evaluation_prompts}
    planner.add(
        "reference",
        f"{STAGES}:reference",
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
        f"{STAGES}:samples",
        needs=first,
        config=[context.samples_needed, sampling],
        inputs={**policy, "prompts": paths.prompts},
    )
    _plan_outputs(planner, "sft", first, sampling)
    planner.add(
        "annotations",
        f"{STAGES}:annotations",
        needs=("samples",),
        config=_annotation_config(recipe),
        inputs={"samples": paths.samples, **context.annotation_inputs},
    )
    planner.add(
        "align",
        f"{STAGES}:align",
        needs=("annotations", *first),
        config=recipe.align.model_dump(),
        inputs={**policy, "annotations": paths.annotations},
    )
    _plan_rewards(planner, policy)
    for arm in recipe.arms:
        _plan_arm(planner, arm, sampling)
    _plan_results(planner)
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


def _plan_outputs(planner: _Planner, policy: str, needs: tuple[str, ...], sampling: Mapping[str, Any]) -> None:
    paths = planner.context.paths
    planner.add(
        f"outputs-{policy}",
        f"{STAGES}:outputs",
        needs=needs,
        config=sampling,
        inputs={"policy": paths.policy(policy), "evaluation_prompts": paths.evaluation_prompts},
        policy=policy,
    )


def _plan_rewards(planner: _Planner, policy: Mapping[str, Path]) -> None:
    recipe, paths = planner.recipe, planner.context.paths
    for name, model in recipe.reward_models.items():
        if model.folder is not None:
            planner.add(
                f"reward-{name}",
                f"{STAGES}:ready_made_reward",
                needs=(),
                config=recipe.reward_config(name).level,
                inputs={"checkpoint": model.folder},
                name=name,
            )
            continue
        planner.add(
            f"reward-{name}",
            f"{STAGES}:reward",
            needs=("align", "samples"),
            config=[recipe.reward_config(name).model_dump(), model.pairs],
            inputs={**policy, "pairs": paths.pairs(model.pairs, "train"), "samples": paths.samples},
            name=name,
        )


def _plan_arm(planner: _Planner, arm: str, sampling: Mapping[str, Any]) -> None:
    """Plan the training of an arm and its outputs; a method that trains nothing makes the outputs itself."""
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    config = recipe.arms[arm]
    method, models = config.row, config.reward_model_names
    watched = {
        "validation_prompts": paths.validation_prompts,
        "reference": paths.reference_outputs("validation"),
        **context.judge_inputs,
    }
    kind = config.learns_from
    if kind is not None:
        needs: tuple[str, ...] = ("align",)
        reads = {"pairs": paths.pairs(kind, "train")}
    else:
        needs = tuple(f"reward-{name}" for name in models)
        reads = {name: paths.reward_model(name) for name in models}
        reads["prompts"] = paths.prompts if method.trains else paths.evaluation_prompts
    training = paths.training(arm).name
    planner.add(
        training,
        f"{STAGES}:{'train_arm' if method.trains else 'choose'}",
        needs=("reference", *needs),
        # A method that samples while it trains has its own sampling options.
        config=[recipe.options(arm).model_dump(), list(models), kind, None if method.samples else sampling],
        inputs={"policy": paths.sft_policy, **reads, **watched},
        arm=arm,
    )
    if method.trains:
        _plan_outputs(planner, arm, (training,), sampling)


def _plan_results(planner: _Planner) -> None:
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    policies = ("sft", *recipe.arms)
    outputs = {name: paths.outputs(name) for name in policies}
    planner.add(
        "judge",
        f"{RESULTS}:judge",
        needs=("reference", *(f"outputs-{name}" for name in policies)),
        config={},
        inputs={**outputs, "reference": paths.reference_outputs("evaluation"), **context.judge_inputs},
    )
    planner.add(
        "evaluate",
        f"{RESULTS}:evaluate",
        needs=("judge", "align", *(f"reward-{name}" for name in recipe.reward_models)),
        config=[list(recipe.arms), {name: context.pays_centred(name) for name in recipe.reward_models}],
        inputs={
            **outputs,
            "judgements": context.root / "judge",
            "align": context.root / "align",
            "annotations": paths.annotations,
            **{name: paths.reward_model(name) for name in recipe.reward_models},
            **{f"metrics-{arm}": paths.training(arm) / "metrics.jsonl" for arm in context.sampling_arms},
        },
    )
