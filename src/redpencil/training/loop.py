"""The two loops of training: over given rows (SFT, reward models, DPO, FIGA), and over rollouts (PPO, GRPO)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar, Unpack

import torch

from redpencil.config.methods import DistillConfig, DPOConfig, FIGAConfig, RolloutConfig
from redpencil.config.training import OptimizerConfig
from redpencil.errors import DivergedError, RedpencilError
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.codec import Codec
from redpencil.models.forward import length_grouped
from redpencil.models.lora import Bases
from redpencil.models.runtime import Runtime, forget_peak_memory
from redpencil.models.samplers import make_sampler
from redpencil.models.sampling import EncodedPrompts
from redpencil.records import Pair
from redpencil.runs import Stage, derive_seed
from redpencil.training.divergence import check_policy, watching
from redpencil.training.pairs import PairBatch, check_pairs, collate_pairs, pair_width
from redpencil.training.rollout import Actors, draw_prompts, mean_reward, sample_rollouts
from redpencil.training.scoring import SampledBatch
from redpencil.training.state import TrainState
from redpencil.training.step import Skips, TrainingStep, learning_rates
from redpencil.training.update import (
    LOWER,
    Objective,
    Optimization,
    check_loss,
    epochs_of,
    optimization_of,
    own_items,
    steps_in,
    update,
)
from redpencil.training.validation import BestCheckpoint, Validation

Row = TypeVar("Row")
Item = TypeVar("Item")
PairsConfig = DPOConfig | FIGAConfig | DistillConfig
Refresh = Callable[[int, Sequence[Row]], tuple[Sequence[Row], int]]
"""Renews the rows of a batch at a step, as answers that are sampled anew; also returns the tokens that they have."""


def train_supervised(
    model: LanguageModel,
    rows: Sequence[Row],
    *,
    names: Sequence[str],
    lengths: Sequence[int],
    collate: Callable[[Sequence[Row]], Item],
    objective: Objective[Item],
    config: OptimizerConfig,
    total_steps: int,
    stage: Stage,
    width: Callable[[Row], int] | None = None,
    best: BestCheckpoint | None = None,
    refresh: Refresh[Row] | None = None,
) -> None:
    """Train a model on rows until `total_steps`, and log every step.

    Args:
        model: trained in place.
        rows: what the batches are drawn from; each epoch sees every row once, rows of similar length together.
        names: the id of each row, for errors.
        lengths: tokens of each row.
        collate: makes a micro-batch of rows.
        objective: the loss of a micro-batch.
        config: optimiser and batch size.
        total_steps: optimiser steps.
        stage: where metrics, progress and saved states go.
        width: counts the columns that a row takes; with it rows of similar width share a micro-batch.
        best: evaluates the model now and then and keeps the best checkpoint; the caller saves the last one without it.
        refresh: renews the rows of each step.

    Raises:
        RedpencilError: if training breaks down, or every update was left out.
    """
    forget_peak_memory(model.runtime.device)
    optimization, skips = optimization_of(model.module, config, total_steps), Skips(stage, config.skip_nonfinite)
    optimizations = {"model": optimization}
    extra = {"left_out": skips.record, "num_tokens": 0}
    state = TrainState(
        *(stage, {"model": model.module}, optimizations, config.save_every, extra), runtime=model.runtime
    )
    if best is not None:
        state.extra["best"] = best.record
    if not state.resume() and best is not None and best.validation is not None:
        stage.log(0, **best.evaluate_if_due(0, total_steps))
    generator = torch.Generator().manual_seed(derive_seed(stage.seed, "batches"))
    batches = epochs_of(lambda: length_grouped(lengths, config.batch_size, generator), total_steps)
    for step, batch in zip(state.steps(total_steps), islice(batches, state.step, None), strict=False):
        metrics, watched = learning_rates(optimizations), TrainingStep(step, [names[i] for i in batch], skips)
        drawn: Sequence[Row] = [rows[i] for i in batch]
        tokens = sum(lengths[i] for i in batch)
        if refresh is not None:
            drawn, tokens = refresh(step, drawn)
        places = list(range(len(drawn)))
        make = partial(_collated, collate, drawn)
        widths = None if width is None else dict(enumerate(map(width, drawn)))
        items, idle = own_items(places, config.micro_batch_size, make, model.runtime, widths)
        with watching(watched, model, optimizations):
            try:
                metrics |= update(optimization, items, objective, model.runtime, idle=idle)
                if step == total_steps or (best is not None and best.is_due(step, total_steps)):
                    check_loss(items, objective, model.runtime)
            except DivergedError as error:
                error.rows = _without_loss([collate([row]) for row in drawn], objective, model.runtime)
                raise
        note = f"loss {metrics['loss']:.3f}" if "loss" in metrics else "left out"
        state.extra["num_tokens"] += tokens
        metrics |= {"num_tokens": state.extra["num_tokens"], **watched.costs(tokens, model.runtime.device)}
        if best is not None:
            metrics |= best.evaluate_if_due(step, total_steps)
            note += best.note
        stage.log(step, **metrics)
        stage.progress(step, total_steps, note)
    if len(skips.record) == total_steps:
        raise DivergedError(f"every update was left out; {skips.record['1']}", hint=LOWER)
    skips.finish()


def _collated(collate: Callable[[Sequence[Row]], Item], rows: Sequence[Row], part: Sequence[int]) -> Item:
    return collate([rows[i] for i in part])


def _without_loss(items: Sequence[Item], objective: Objective[Item], runtime: Runtime) -> list[int]:
    """The indices of the rows, each of which is an item, that have no finite loss."""
    found = []
    for index, item in enumerate(items):
        try:
            check_loss([item], objective, runtime)
        except DivergedError:
            found.append(index)
    return found


class PairsTraining(TypedDict):
    """The arguments of `train_on_pairs` that its methods pass on."""

    policy: Path
    pairs: Sequence[Pair]
    validation: Validation | None
    codec: Codec
    runtime: Runtime
    stage: Stage


def train_on_pairs(
    config: PairsConfig,
    objective: Callable[[LanguageModel, LanguageModel], Objective[PairBatch]],
    **training: Unpack[PairsTraining],
) -> None:
    """Train the SFT policy on pairs and write `checkpoint/` into the stage's folder.

    Args:
        config: optimiser, batch size and length.
        objective: makes the loss from the policy and the frozen reference.
        training: what the method was given.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read one.
    """
    pairs = training["pairs"]

    def prepared(model: LanguageModel, reference: LanguageModel) -> Objective[PairBatch]:
        if model.sharing.reason:
            training["stage"].tell(model.sharing.reason)
        return objective(model, reference)

    train_beside_start(
        config,
        Lessons(
            pairs,
            [len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs],
            lambda model, part: collate_pairs(part, model.codec.pad_id, model.runtime.device, model.sharing),
            prepared,
            lambda model, pair: pair_width(pair, model.sharing),
        ),
        **training,
    )


class Named(Protocol):
    """A row with an id, for errors."""

    @property
    def id(self) -> str:
        """What errors call it."""


Lesson = TypeVar("Lesson", bound=Named)


@dataclass(frozen=True, slots=True)
class Lessons(Generic[Lesson, Item]):
    """What a policy learns from beside the frozen policy that it starts from.

    objective: makes the loss from the policy and the frozen reference. The others are arguments of `train_supervised`,
    of which the functions take, or `refresh` is made for, the policy.
    """

    rows: Sequence[Lesson]
    lengths: Sequence[int]
    collate: Callable[[LanguageModel, Sequence[Lesson]], Item]
    objective: Callable[[LanguageModel, LanguageModel], Objective[Item]]
    width: Callable[[LanguageModel, Lesson], int] | None = None
    refresh: Callable[[LanguageModel], Refresh[Lesson]] | None = None


def train_beside_start(
    config: PairsConfig,
    lessons: Lessons[Lesson, Item],
    *,
    policy: Path,
    pairs: Sequence[Pair],
    validation: Validation | None,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Train the SFT policy on what was made of pairs and write `checkpoint/` into the stage's folder.

    Args:
        config: optimiser, batch size and length.
        lessons: what it learns from.
        policy: the checkpoint to start from; it is the reference too.
        pairs: tokenised pairs.
        validation: chooses the best checkpoint; None keeps the last one.
        codec: tokenizer and prompt template of the policy.
        runtime: device and number format.
        stage: where checkpoint, metrics and saved states go.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read one.
    """
    if not pairs:
        raise RedpencilError("there are no pairs to train on", hint="check the counts of skipped rows of `align`")
    bases, seed = Bases(), derive_seed(stage.seed, "weights")
    model, reference = (
        load_policy(
            *(policy, runtime),
            trained=trained,
            codec=codec,
            seed=seed,
            lora=config.lora,
            bases=bases,
            reference=not trained,
        )
        for trained in (True, False)
    )
    bases.shard(runtime)
    check_pairs(pairs, model.module.config.vocab_size, model.context)
    best = BestCheckpoint(
        model,
        make_sampler(model, config.sampler),
        validation,
        stage,
        reference=reference,
        micro_batch_size=config.micro_batch_size,
    )
    train_supervised(
        model,
        lessons.rows,
        names=[row.id for row in lessons.rows],
        lengths=lessons.lengths,
        collate=partial(lessons.collate, model),
        objective=lessons.objective(model, reference),
        width=None if lessons.width is None else partial(lessons.width, model),
        config=config,
        total_steps=steps_in(config.num_train_epochs, len(lessons.rows), config.batch_size, config.max_steps),
        stage=stage,
        best=best,
        refresh=None if lessons.refresh is None else lessons.refresh(model),
    )
    best.finish()


Learn = Callable[[SampledBatch, TrainingStep, float], dict[str, float]]
"""Learns from sampled responses at a step with a KL coefficient, by phases "score" and "update"; returns metrics.

`reward`, `kl` and `length` among them are of the responses, and so of the policy before it learned from them.
"""


def train_on_rollouts(
    config: RolloutConfig,
    learn: Learn,
    *,
    actors: Actors,
    optimizations: Mapping[str, Optimization],
    prompts: EncodedPrompts,
    validation: Validation,
    stage: Stage,
    answers: int = 1,
    next_kl_coef: Callable[[float, float], float] | None = None,
) -> None:
    """Sample responses and learn from them, step by step; the best policy on the validation prompts is kept.

    Args:
        config: sampling, steps and rewards.
        learn: the method.
        actors: the models; those with an optimisation are trained.
        optimizations: by the name of the model, `policy` or `value`.
        prompts: drawn without replacement until all have occurred.
        validation: chooses the best checkpoint, by win rate or, without a judge, by reward.
        stage: where checkpoint, metrics and saved states go.
        answers: responses to each prompt, which are neighbours in the batch.
        next_kl_coef: adapts the KL coefficient to the KL of a step.

    Raises:
        RedpencilError: if a prompt does not fit a model, a reward is not a number, or training breaks down.
    """
    device = actors.policy.runtime.device
    forget_peak_memory(device)
    actors.check_prompts([*prompts.records, *validation.prompts.records])
    asked_ids = [*prompts.ids, *validation.prompts.ids]
    actors.sampler.check(asked_ids, config.response_length)
    actors.check_context(asked_ids, config.response_length)
    stage.notes["skipped prompts"] = prompts.skipped
    if actors.notes:
        stage.notes["models"] = list(actors.notes)
    best = BestCheckpoint(
        *(actors.policy, actors.sampler, validation, stage),
        reference=actors.reference,
        reward=lambda samples: mean_reward(actors, validation.prompts.ids, validation.prompts.records, samples, config),
        micro_batch_size=config.micro_batch_size,
    )
    models = {name: getattr(actors, name).module for name in optimizations}
    skips = Skips(stage, config.skip_nonfinite)
    extra = {"kl_coef": config.kl_coef, "best": best.record, "left_out": skips.record, "num_tokens": 0}
    state = TrainState(*(stage, models, optimizations, config.save_every, extra), runtime=actors.policy.runtime)
    if state.resume():
        actors.sampler.sync(actors.policy, exact=True)
    else:
        stage.log(0, **best.evaluate(0))
    batches = draw_prompts(len(prompts.ids), config.rollout_batch_size, derive_seed(stage.seed, "prompts"))
    for step, drawn in zip(state.steps(config.total_steps), islice(batches, state.step, None), strict=False):
        rows, kl_coef = [i for i in drawn for _ in range(answers)], state.extra["kl_coef"]
        seed = derive_seed(stage.seed, "sample", step, 0)
        ids, asked = [prompts.ids[i] for i in rows], [prompts.records[i] for i in rows]
        watched = TrainingStep(step, [prompts.records[i].id for i in rows], skips)
        metrics, note, tokens = {"kl_coef": kl_coef, **learning_rates(optimizations)}, "left out", 0
        with watching(watched, actors.policy, optimizations):
            with watched.phase("sample"):
                sampled = sample_rollouts(actors, ids, asked, config, seed)
            tokens = int(sampled.batch.attention_mask.sum())
            metrics |= learn(sampled, watched, kl_coef)
            if best.is_due(step, config.total_steps):
                size = config.micro_batch_size or config.batch_size
                check_policy(actors.policy, sampled.batch, config.temperature, size)
            if next_kl_coef is not None:
                state.extra["kl_coef"] = next_kl_coef(kl_coef, metrics["kl"])
            note = "reward {reward:.2f}  kl {kl:.1f}  length {length:.0f}".format_map(metrics)
        actors.sampler.sync(actors.policy)
        state.extra["num_tokens"] += tokens
        metrics |= {"num_tokens": state.extra["num_tokens"], **watched.costs(tokens, device)}
        metrics |= best.evaluate_if_due(step, config.total_steps)
        stage.log(step, **metrics)
        stage.progress(step, config.total_steps, note + best.note)
    skips.finish()
    best.finish()
