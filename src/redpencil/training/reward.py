"""Reward models: token-level on edits (Eq. 1-4), sequence-level Bradley-Terry on any pairs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from redpencil.config import FittedRewardConfig, RewardConfig
from redpencil.errors import DivergedError, RedpencilError
from redpencil.maths.reward_losses import (
    TOKEN_LOSSES,
    bradley_terry_loss,
    consistency_penalty,
    trajectory_reward,
    zero_penalty,
)
from redpencil.models.checkpoints import LanguageModel, RewardCard, export, head_of, load_head
from redpencil.models.codec import Codec
from redpencil.models.forward import sequence_rewards, token_rewards
from redpencil.models.runtime import Runtime
from redpencil.records import Pair
from redpencil.runs import Stage, derive_seed, read_metrics
from redpencil.training.learned import how_it_ended
from redpencil.training.loop import train_supervised
from redpencil.training.pairs import PairBatch, check_pairs, collate_pairs
from redpencil.training.reward_defaults import CHOSEN, fit, in_words, size_of
from redpencil.training.scoring import check_fits, score_sequences, score_tokens
from redpencil.training.update import LOWER, Objective, steps_in

MAIN_TERM: Final = "preference"
"""The term of the objectives that says whether anything was learned; the others are penalties."""


def token_objective(model: nn.Module, config: FittedRewardConfig) -> Objective[PairBatch]:
    """Return the loss of a token model, such as Eq. 3 or Eq. 4, with the options of the recipe.

    Logged with it: `accuracy`, the share of pairs that Eq. 1 ranks right, and `drift`, the consistency term unweighted.
    """

    def counts(item: PairBatch) -> dict[str, float]:
        tokens, pairs = float(item.unchanged_mask.sum()), float(len(item.unchanged_pairs))
        rows = float(len(item))
        return {"preference": rows, "zero": tokens, "consistency": pairs, "accuracy": rows, "drift": pairs}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        rewards = token_rewards(model, item.batch)
        chosen, rejected = rewards.chunk(2)
        chosen_mask, rejected_mask = item.batch.response_mask.chunk(2)
        changed = item.changed_mask.chunk(2)
        margin = TOKEN_LOSSES[config.loss].margin(chosen, rejected, changed[0], changed[1], chosen_mask, rejected_mask)
        ranked = trajectory_reward(chosen, chosen_mask) - trajectory_reward(rejected, rejected_mask)
        consistency = consistency_penalty(chosen, rejected, item.unchanged_pairs)
        return {
            "preference": bradley_terry_loss(config.scale * margin),
            "zero": zero_penalty(rewards, item.unchanged_mask),
            "consistency": consistency,
            "accuracy": (ranked > 0).float().mean(),
            "drift": consistency.detach(),
        }

    return Objective({"preference": 1.0, "zero": config.zero_penalty, "consistency": config.consistency}, counts, terms)


def sequence_objective(model: nn.Module, config: FittedRewardConfig) -> Objective[PairBatch]:
    """Return the Bradley-Terry loss (Eq. 2) on one reward for each response."""

    def counts(item: PairBatch) -> dict[str, float]:
        return {"preference": float(len(item)), "accuracy": float(len(item))}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        chosen, rejected = sequence_rewards(model, item.batch).chunk(2)
        margin = chosen - rejected
        return {
            "preference": bradley_terry_loss(config.scale * margin),
            "accuracy": (margin > 0).float().mean(),
        }

    return Objective({"preference": 1.0}, counts, terms)


def train_reward(
    config: RewardConfig,
    *,
    backbone: Path,
    pairs: Sequence[Pair],
    samples: Sequence[tuple[Sequence[int], Sequence[int]]],
    codec: Codec,
    trained_on: str,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Train a reward model from the checkpoint `backbone` and write `checkpoint/` into the stage's folder.

    What the recipe leaves open goes by pairs and backbone (`reward_defaults.fit`); the stage tells and notes it.
    `samples` are (prompt ids, response ids) of the SFT policy: centre and scale are measured on the first
    `reference_samples` of them, after training.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read them, there are fewer than two samples, or
            training breaks down.
    """
    if not pairs:
        raise RedpencilError("there are no pairs to train on", hint="check the align stage's counts of skipped rows")
    needs_changes = config.level == "token" and TOKEN_LOSSES[config.loss].needs_changes
    if needs_changes and not any(any(p.chosen_changed) or any(p.rejected_changed) for p in pairs):
        raise RedpencilError(
            "no pair marks a changed token: these are not edits",
            field="reward.level",
            hint="train on pairs that `redpencil align` made of edits, or set reward.level=sequence",
        )
    seed = derive_seed(stage.seed, "weights")
    model = load_head(backbone, config.level, runtime, trained=True, zero_head=True, codec=codec, seed=seed)
    check_pairs(pairs, model.module.config.vocab_size, model.context)
    check_samples(model, config, samples[: config.reference_samples])
    size = size_of(pairs, head_of(model.module).in_features)
    fitted = fit(config, size)
    chosen = in_words(config, fitted, size)
    if chosen is not None:
        stage.tell(chosen)
        stage.notes["chosen"] = {name: getattr(fitted, name) for name in CHOSEN} | asdict(size)
    train_supervised(
        model,
        pairs,
        names=[pair.id for pair in pairs],
        lengths=[len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs],
        collate=lambda part: collate_pairs(part, codec.pad_id, runtime.device),
        objective=(token_objective if config.level == "token" else sequence_objective)(model.module, fitted),
        config=fitted,
        total_steps=steps_in(fitted.num_train_epochs, len(pairs), fitted.batch_size, fitted.max_steps),
        stage=stage,
    )
    model.module.train(False)
    scales = measure(model, config, samples[: config.reference_samples])
    if not all(map(math.isfinite, asdict(scales).values())):
        raise DivergedError("the trained model's rewards of the samples are not finite numbers", hint=LOWER)
    stage.notes["reference"] = asdict(scales)
    ending = how_it_ended([row[MAIN_TERM] for row in read_metrics(stage.folder)], constant_loss(fitted))
    if not ending.learned:
        stage.warn(ending.in_words())
        stage.notes["remarks"] = [ending.in_words()]
    card = RewardCard(
        config.level,
        **asdict(scales),
        prompt_template=codec.template,
        trained_on=trained_on,
        training_loss=ending.loss,
        constant_loss=ending.constant,
        learned=ending.learned,
    )
    export(model, stage.folder / "checkpoint", card=card)


def constant_loss(config: FittedRewardConfig) -> float:
    """Return what a model that rewards every token and every response alike has as its `MAIN_TERM`."""
    del config  # Each loss is one of a margin, which is 0.
    return math.log(2)


@dataclass(frozen=True, slots=True)
class Scales:
    """Centre and scale of rewards; see `RewardCard`."""

    center: float
    scale: float
    trajectory_center: float
    trajectory_scale: float


def check_samples(
    model: LanguageModel, config: RewardConfig, samples: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> None:
    """Refuse samples that give no centre and scale, before anything is trained.

    Raises:
        RedpencilError: if there are fewer than two samples, or with a token, or the model cannot read one as a whole.
    """
    filled = [sample for sample in samples if config.level == "sequence" or len(sample[1])]
    if len(filled) < 2:
        empty = " with a token" if len(filled) < len(samples) else ""
        raise RedpencilError(
            f"centre and scale need at least 2 samples of the SFT policy{empty}, found {len(filled)}",
            field="reward.reference_samples",
            hint="answer some prompts with `redpencil respond` and pass them with --samples",
        )
    check_fits(model, [sample[0] for sample in samples], [sample[1] for sample in samples])


def measure(
    model: LanguageModel, config: RewardConfig, samples: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Scales:
    """Measure centre and scale of the rewards on samples of the SFT policy.

    Raises:
        RedpencilError: as `check_samples`.
    """
    check_samples(model, config, samples)
    prompts, responses = [s[0] for s in samples], [s[1] for s in samples]
    if config.level == "sequence":
        scores = score_sequences(model, prompts, responses).double()
        center, scale = float(scores.mean()), _spread(scores)
        return Scales(center, scale, center, scale)
    rows = [row.double() for row in score_tokens(model, prompts, responses)]
    center = float(torch.cat(rows).mean())
    sums = torch.stack([(row - center).sum() for row in rows])
    means = torch.stack([row.mean() for row in rows if len(row)])
    return Scales(center, _spread(sums), float(means.mean()), _spread(means))


def _spread(values: Tensor) -> float:
    """Return the standard deviation, kept above 0 so that it can divide."""
    return max(float(values.std()), 1e-6)
