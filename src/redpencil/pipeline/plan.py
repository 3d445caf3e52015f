"""The stages of a recipe's run: their work, their inputs, and the stages that each waits for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from redpencil.config.methods import Method
from redpencil.config.recipe import Recipe
from redpencil.pipeline.context import Context
from redpencil.pipeline.execute import StageSpec
from redpencil.rounds import unrolled

ALONE: Final = (
    *("make_world_data", "training_originals", "annotations", "own_annotations", "align", "ready_made_reward"),
    "needed",
)
"""Stages that neither train nor sample nor score, so that several processes have nothing to share."""


class _Planner:
    def __init__(self, recipe: Recipe, root: Path, seed: int, prefix: str) -> None:
        self.recipe, self.seed, self.prefix = recipe, seed, prefix
        self.context = Context(recipe, root, seed)
        chat = recipe.chat_options if recipe.prompt_template == "chat" else {}
        self.shared = {"prompt_template": recipe.prompt_template, **chat, **recipe.formats}
        self.trained = {} if recipe.lora is None else {"lora": recipe.lora.model_dump()}
        self.stages: list[StageSpec] = []

    def add(
        self,
        name: str,
        work: str,
        needs: tuple[str, ...],
        config: Any,
        inputs: Mapping[str, Path],
        /,
        *,
        trains: bool = False,
        **options: str,
    ) -> None:
        """Add a stage; `work` is `module:function` of this package. `lora` decides those that train."""
        function = work.partition(":")[2]
        by_no_model = function == "judge" and self.recipe.who_judges.folder is None
        self.stages.append(
            StageSpec(
                key=self.prefix + name,
                name=name,
                folder=self.context.root / name,
                seed=self.seed,
                needs=tuple(self.prefix + need for need in needs),
                config={**self.shared, **(self.trained if trains else {}), name: config},
                inputs=inputs,
                work=f"redpencil.pipeline.{work}",
                context=self.context,
                options=options,
                together=function not in ALONE and not by_no_model,
            )
        )


def plan_run(recipe: Recipe, root: Path, seed: int, prefix: str = "") -> list[StageSpec]:
    """Plan one seed; the stages are in an order that satisfies `needs`.

    A stage's `config` holds only what decides its work, and input files count by their content. So a stage that
    nothing has changed for is not run again.
    """
    recipe = unrolled(recipe)
    planner = _Planner(recipe, root, seed, prefix)
    context, paths = planner.context, planner.context.paths
    first: tuple[str, ...] = ()
    if recipe.world is not None:
        planner.add("world", "annotations:make_world_data", (), recipe.world.model_dump(), {})
        first = ("world",)
    if context.trains_sft:
        inputs = {"model": paths.model, "examples": paths.sft_examples}
        # The world's model has no weights to adapt: all of them are trained.
        planner.add("sft", "stages:sft", first, recipe.sft.model_dump(), inputs, trains=recipe.world is None)
        first = (*first, "sft")
    sampling = recipe.sampling.model_dump()
    unjudged = recipe.sampling.model_dump(exclude={"evaluation_temperature"})
    policy = {"policy": paths.sft_policy}
    prompts = {"evaluation_prompts": paths.evaluation_prompts, "validation_prompts": paths.validation_prompts}
    if recipe.arms:
        reference = {**policy, **prompts, **context.reference_inputs}
        decides = [_reference_config(recipe), sampling]
        planner.add("reference", "stages:reference", first, decides, reference, trains=recipe.world is not None)
    annotated = dict(context.annotation_inputs)
    if context.samples_policy:
        sampled = {**policy, "prompts": paths.prompts}
        planner.add("samples", "annotations:samples", first, [context.samples_needed, unjudged], sampled)
        annotated["samples"] = paths.samples
    if recipe.arms:
        _plan_outputs(planner, "sft", first, sampling)
    needs = ("samples",) if context.samples_policy else ()
    planner.add("annotations", "annotations:annotations", needs, _annotation_config(recipe), annotated)
    if not context.samples_policy:
        originals = {"annotations": paths.annotations}
        planner.add("samples", "annotations:training_originals", ("annotations",), context.samples_needed, originals)
    aligned = {**policy, "annotations": paths.annotations}
    planner.add("align", "annotations:align", ("annotations", *first), recipe.aligns, aligned)
    _plan_rewards(planner, policy)
    for arm in recipe.edited_arms:
        _plan_own_answers(planner, arm, unjudged)
    for arm in recipe.arms:
        _plan_arm(planner, arm, sampling)
    _plan_results(planner)
    return _in_order(planner.stages)


def _in_order(stages: list[StageSpec]) -> list[StageSpec]:
    """Move behind what it needs each stage that stands before it, as an arm that starts from one further down."""
    waiting, done, ordered = list(stages), set[str](), list[StageSpec]()
    while waiting:
        ordered.append(waiting.pop(next(place for place, spec in enumerate(waiting) if done.issuperset(spec.needs))))
        done.add(ordered[-1].key)
    return ordered


def _editor_config(planner: _Planner) -> Any:
    """What decides the edits of answers, besides the contents of files."""
    editor, world = planner.context.editor, planner.recipe.world
    assert editor is not None
    return [editor.decides, None if world is None else world.model_dump(include={"domain", "facts_seed"})]


def _reference_config(recipe: Recipe) -> Any:
    if recipe.world is None:
        return None
    keys = {"reference_steps", "reference_learning_rate"}
    return [recipe.world.model_dump(include=keys), recipe.sft.model_dump()]


def _annotation_config(recipe: Recipe) -> Any:
    if recipe.files is not None:
        share = recipe.files.train_share
        kept = {"by": "prompt", "test_share": recipe.files.test_share, "folds": recipe.files.folds}
        return kept if share == 1 else {**kept, "train_share": share}
    assert recipe.world is not None
    keys = {"domain", "facts_seed", "comparisons", "test_comparisons", "label_flip", "edit_repair", "edit_slip"}
    return recipe.world.model_dump(include=keys)


def _plan_outputs(planner: _Planner, policy: str, needs: tuple[str, ...], sampling: Mapping[str, Any]) -> None:
    paths = planner.context.paths
    inputs = {"policy": paths.policy(policy), "evaluation_prompts": paths.evaluation_prompts}
    planner.add(f"outputs-{policy}", "stages:outputs", needs, sampling, inputs, policy=policy)


def _plan_rewards(planner: _Planner, policy: Mapping[str, Path]) -> None:
    recipe, paths = planner.recipe, planner.context.paths
    for name, model in recipe.reward_models.items():
        stage, config = f"reward-{name}", recipe.reward_config(name)
        needs: tuple[str, ...]
        decides: list[Any]
        if model.folder is not None:
            planner.add(stage, "stages:ready_made_reward", (), config.level, {"checkpoint": model.folder}, name=name)
            continue
        if model.policy is not None:
            inputs = {"policy": paths.start(model.policy), "trained": paths.policy(model.policy)}
            decides = [config.reference_samples, recipe.beta_of(model.policy), model.pairs]
            needs = ("samples", paths.training(model.policy).name)
            inputs["samples"] = paths.samples
            planner.add(stage, "stages:policy_reward", needs, decides, inputs, name=name)
            continue
        aligned, pairs = _pairs(planner, model.pairs, recipe.sources(model))
        inputs = {**policy, **pairs, "samples": paths.samples_of(model.on)}
        needs = (*aligned, paths.samples_of(model.on).parent.name)
        if model.start is not None:
            inputs["start"] = paths.reward_model(model.start)
            needs = (*needs, f"reward-{model.start}")
        decides = [config.model_dump(), model.pairs]
        planner.add(stage, "stages:reward", needs, decides, inputs, trains=True, name=name)


def _pairs(planner: _Planner, kind: str, arms: Sequence[str | None]) -> tuple[tuple[str, ...], dict[str, Path]]:
    """The stages that make pairs of the answers of these policies, and their files as inputs."""
    paths = planner.context.paths
    names = ["pairs" if arm is None or len(arms) == 1 else f"pairs-{arm}" for arm in arms]
    files = dict(zip(names, paths.training_pairs(kind, arms), strict=True))
    return tuple(paths.aligned(arm).name for arm in arms), files


def _plan_own_answers(planner: _Planner, arm: str, sampling: Mapping[str, Any]) -> None:
    """Plan samples of an arm's policy, their annotations and the pairs of these."""
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    names = [path.name for path in (paths.samples_of(arm).parent, paths.annotations_of(arm), paths.aligned(arm))]
    edits = recipe.arms[arm].edits
    base = {"annotations": paths.annotations} if recipe.world is None else {}
    count = [edits, context.scale_samples(arm)] if recipe.world is None else [context.edits_needed(arm)]
    planner.add(
        *(names[0], "on_policy:own_samples", (paths.training(arm).name, *base), [*count, sampling]),
        {"policy": paths.policy(arm), "prompts": paths.prompts, **base},
        arm=arm,
    )
    decides = [
        count[0],
        None if recipe.world is None else _annotation_config(recipe),
        None if context.editor is None else context.editor.decides,
        *(["spacing"] if not recipe.align.restore_spacing else []),
    ]
    inputs = {"samples": paths.samples_of(arm), **(base if edits is None else {}), **context.editor_inputs}
    planner.add(names[1], "on_policy:own_annotations", (names[0],), decides, inputs, arm=arm)
    inputs = {"policy": paths.sft_policy, "annotations": paths.annotations_of(arm)}
    planner.add(names[2], "annotations:align", (names[1],), recipe.aligns, inputs, arm=arm)


def _plan_arm(planner: _Planner, arm: str, sampling: Mapping[str, Any]) -> None:
    """Plan the training of an arm and its outputs; a method that trains nothing makes the outputs itself."""
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    config = recipe.arms[arm]
    watch = recipe.who_judges.decides if recipe.who_judges.judges_training else None
    method, models = config.row, config.reward_model_names
    watched = {
        "validation_prompts": paths.validation_prompts,
        "reference": paths.reference_outputs("validation"),
        **context.judge_inputs,
    }
    kind = config.learns_from
    if kind is not None:
        needs, reads = _pairs(planner, kind, recipe.sources(config))
    else:
        needs = tuple(f"reward-{name}" for name in models)
        reads = {name: paths.reward_model(name) for name in models}
        reads["prompts"] = paths.prompts if method.trains else paths.evaluation_prompts
    if config.start is not None:
        needs = (*needs, paths.training(config.start).name)
    training = paths.training(arm).name
    planner.add(
        training,
        f"stages:{'train_arm' if method.trains else 'choose'}",
        ("reference", *needs),
        [recipe.options(arm).model_dump(), list(models), kind, _sampling_that_decides(recipe, method), watch],
        {"policy": paths.start(arm), **reads, **watched},
        trains=method.trains,
        arm=arm,
    )
    if method.trains:
        _plan_outputs(planner, arm, (training,), sampling)


def _sampling_that_decides(recipe: Recipe, method: Method) -> Any:
    """What of `sampling` decides a method's stage: one that samples while it trains has its own options otherwise."""
    if not method.trains:
        return recipe.sampling.model_dump(exclude={"evaluation_temperature"})
    return recipe.sampling.evaluation_temperature if method.samples else recipe.sampling.model_dump()


def _plan_results(planner: _Planner) -> None:
    recipe, paths, context = planner.recipe, planner.context.paths, planner.context
    policies = context.policies
    outputs = {name: paths.outputs(name) for name in policies}
    if policies:
        judged = {**outputs, "reference": paths.reference_outputs("evaluation"), **context.judge_stage_inputs}
        needs = ("reference", *(f"outputs-{name}" for name in policies))
        decides = recipe.who_judges.decides
        if recipe.who_judges.rule == "references":
            decides["arms"] = list(recipe.arms)  # whose GLEU is compared
        planner.add("judge", "results:judge", needs, decides, judged)
        if context.measures_needs:
            edited = {**outputs, **context.editor_inputs}
            edited_by = [_editor_config(planner), list(recipe.arms), not recipe.align.restore_spacing]
            planner.add("needed", "results:needed", needs[1:], edited_by, edited)
        outputs["judgements"] = context.root / "judge"
    planner.add(
        "evaluate",
        "results:evaluate",
        (*(("judge",) if policies else ()), "align", *(f"reward-{name}" for name in recipe.reward_models)),
        [list(recipe.arms), {name: context.pays_centred(name) for name in recipe.reward_models}],
        {
            **outputs,
            "align": context.root / "align",
            "annotations": paths.annotations,
            **{name: paths.reward_model(name) for name in recipe.reward_models},
            **{f"metrics-{arm}": paths.training(arm) / "metrics.jsonl" for arm in context.sampling_arms},
        },
    )
