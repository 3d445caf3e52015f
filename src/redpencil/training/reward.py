"""Reward models: token-level on edits (Eq. 1-4), sequence-level Bradley-Terry on any pairs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from redpencil.adapters import model_config
from redpencil.config.training import FittedRewardConfig, RewardConfig
from redpencil.errors import DivergedError, RedpencilError
from redpencil.maths.reward_losses import (
    blame_loss,
    bradley_terry_loss,
    consistency_penalty,
    contrast_loss,
    contrast_weights,
    eq3_margin,
    eq4_margin,
    join_heads,
    zero_penalty,
)
from redpencil.models.checkpoints import LanguageModel, load_head
from redpencil.models.codec import Codec
from redpencil.models.forward import READ_TWICE, reward_heads, sequence_rewards
from redpencil.models.heads import BACKBONE, HEADS, freeze_layers, head_of, keep_layers, standardise_head
from redpencil.models.runtime import Runtime
from redpencil.models.saving import export
from redpencil.models.sidecar import RewardCard, own_codec, read_card, reward_level
from redpencil.records import Pair
from redpencil.runs import Stage, derive_seed, read_metrics
from redpencil.training.features import backbone_of, hidden_rows, weights_file
from redpencil.training.learned import Learning, how_it_ended
from redpencil.training.loop import train_supervised
from redpencil.training.pairs import PairBatch, check_pairs, collate_pairs, pair_width
from redpencil.training.reward_defaults import CHOSEN, DataSize, fit, in_words, size_of
from redpencil.training.scoring import LEAST_SCALE, check_fits, score_sequences, score_tokens
from redpencil.training.update import LOWER, Objective, steps_in


def token_objective(model: nn.Module, config: FittedRewardConfig) -> Objective[PairBatch]:
    """Return the loss of a token model, such as Eq. 3 or Eq. 4, with the options of the recipe.

    Logged with it: `accuracy`, the share of pairs that Eq. 1 ranks right, and `drift`, the consistency term unweighted.
    """
    within = config.loss in WITHIN_TEXT
    weights = {"preference": config.ranking if within else 1.0, "zero": config.zero_penalty}
    weights |= {"consistency": config.consistency} | ({config.loss: 1.0} if within else {})

    def counts(item: PairBatch) -> dict[str, float]:
        tokens, pairs = float(item.unchanged_mask.sum()), float(len(item.unchanged_pairs))
        rows = float(len(item))
        counted = {"preference": rows, "zero": tokens, "consistency": pairs, "accuracy": rows, "drift": pairs}
        return counted | ({config.loss: WITHIN_TEXT[config.loss].count(item, config)} if within else {})

    def terms(item: PairBatch) -> dict[str, Tensor]:
        telling, overall = _heads(model, item)
        mask = item.batch.response_mask
        rewards = telling if overall is None else join_heads(telling, overall, mask)
        (chosen, rejected), masks, changed = rewards.chunk(2), mask.chunk(2), item.changed_mask.chunk(2)
        ranked = eq3_margin(chosen, rejected, *masks)
        margin = eq4_margin(chosen, rejected, *changed, *masks) if config.loss == "eq4" else ranked
        consistency = consistency_penalty(chosen, rejected, item.unchanged_pairs)
        found = {
            "preference": bradley_terry_loss(config.scale * margin),
            "zero": zero_penalty(rewards, item.unchanged_mask),
            "consistency": consistency,
            "accuracy": (ranked > 0).float().mean(),
            "drift": consistency.detach(),
        }
        return found | ({config.loss: WITHIN_TEXT[config.loss].loss(telling, item, config)} if within else {})

    return Objective(weights, counts, terms)


def _heads(model: nn.Module, item: PairBatch) -> tuple[Tensor, Tensor | None]:
    """What the heads give for each token: through the model, or of hidden states that are there already."""
    if item.hidden is None:
        return reward_heads(model, item.batch)
    scores = head_of(model)(item.hidden)
    return scores[..., 0], scores[..., 1] if scores.shape[-1] == 2 else None


@dataclass(frozen=True, slots=True)
class WithinText:
    """A loss that compares tokens of one text with each other, of the original and, by `edited_weight`, of the edit.

    loss: of the first head's rewards [2B, T], chosen sides first; a mean over `count` things of the batch.
    """

    loss: Callable[[Tensor, PairBatch, RewardConfig], Tensor]
    count: Callable[[PairBatch, RewardConfig], float]


def _blame_weights(item: PairBatch, config: RewardConfig) -> Tensor:
    chosen, rejected = item.batch.response_mask.float().chunk(2)
    return torch.cat([config.edited_weight * chosen, rejected])


def _blame(rewards: Tensor, item: PairBatch, config: RewardConfig) -> Tensor:
    changed = item.changed_mask.clone()
    changed[: len(item)] = False  # nothing of the edit was edited away
    return blame_loss(rewards, changed, _blame_weights(item, config))


def _contrast(rewards: Tensor, item: PairBatch, config: RewardConfig) -> Tensor:
    """What was edited away is worth less than what stayed, and of the edit what was put in is worth more."""
    signed = torch.cat([-rewards[: len(item)], rewards[len(item) :]])
    return contrast_loss(signed, *_contrast_options(item, config))


def _contrast_options(item: PairBatch, config: RewardConfig) -> tuple[Tensor, Tensor, Tensor, int | None]:
    weights = torch.ones(2 * len(item), device=item.changed_mask.device)
    weights[: len(item)] = config.edited_weight
    return item.changed_mask, item.batch.response_mask, weights, config.contrast_window


WITHIN_TEXT: Final[Mapping[str, WithinText]] = {
    "blame": WithinText(_blame, lambda item, config: float(_blame_weights(item, config).sum())),
    "contrast": WithinText(
        _contrast, lambda item, config: float(contrast_weights(*_contrast_options(item, config)).sum())
    ),
}
"""The values of `reward.loss` that compare tokens of one text. To add one, write its maths in
`redpencil.maths.reward_losses`, its row here, and its name in `RewardConfig.loss`."""


def sequence_objective(model: nn.Module, config: FittedRewardConfig) -> Objective[PairBatch]:
    """Return the Bradley-Terry loss (Eq. 2) on one reward for each response."""

    def counts(item: PairBatch) -> dict[str, float]:
        return {"preference": float(len(item)), "accuracy": float(len(item))}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        rewards = sequence_rewards(model, item.batch) if item.hidden is None else _heads(model, item)[0][:, 0]
        chosen, rejected = rewards.chunk(2)
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
    continues: bool = False,
    store: Path | None = None,
) -> None:
    """Train a reward model from the checkpoint `backbone` and write `checkpoint/` into the stage's folder.

    Heads start at 0. Where it `continues`, the backbone is a reward model's checkpoint, and its heads go on learning: a
    head that is good already hardly pulls at the layers below it, while one at random distorts them (Kumar et al.,
    "Fine-Tuning can Distort Pretrained Features", 2022, arXiv 2202.10054).
    What the recipe leaves open goes by pairs and backbone (`reward_defaults.fit`); the stage tells and notes it.
    `samples` are (prompt ids, response ids) of the SFT policy: centre and scale are measured on the first
    `reference_samples` of them, after training. `store` is a folder that keeps hidden states for other trainings of
    heads on the same backbone.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read them, there are fewer than two samples, or
            training breaks down.
    """
    if not pairs:
        raise RedpencilError("there are no pairs to train on", hint="check the align stage's counts of skipped rows")
    _check_marks(pairs, config)
    model = _new_model(config, backbone, runtime, codec, derive_seed(stage.seed, "weights"), continues=continues)
    check_pairs(pairs, model.module.config.vocab_size, model.context)
    for side in ("chosen_ids", "rejected_ids"):
        responses = [getattr(pair, side) for pair in pairs]
        check_fits(
            model.context, model.readings, [pair.prompt_ids for pair in pairs], responses, [pair.id for pair in pairs]
        )
    check_samples(model, config, samples[: config.reference_samples])
    if config.frozen_layers != "all" and model.sharing.reason:
        stage.tell(model.sharing.reason)
    fitted = _fitted(config, size_of(pairs, head_of(model.module).in_features), stage)
    train_supervised(
        model,
        range(len(pairs)),
        names=[pair.id for pair in pairs],
        lengths=[len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs],
        collate=_frozen_collate(model, config, pairs, store, stage)
        if config.frozen_layers == "all"
        else lambda part: collate_pairs([pairs[i] for i in part], codec.pad_id, runtime.device, model.sharing),
        objective=(token_objective if config.level == "token" else sequence_objective)(model.module, fitted),
        config=fitted if config.frozen_layers != "all" else fitted.model_copy(update={"save_every": None}),
        total_steps=steps_in(fitted.num_train_epochs, len(pairs), fitted.batch_size, fitted.max_steps),
        stage=stage,
        width=None if config.frozen_layers == "all" else lambda i: pair_width(pairs[i], model.sharing),
    )
    model.module.train(False)
    scales = measure(model, config, samples[: config.reference_samples], store)
    if not all(map(math.isfinite, asdict(scales).values())):
        raise DivergedError("the trained model's rewards of the samples are not finite numbers", hint=LOWER)
    stage.notes["reference"] = asdict(scales)
    ending = _ending(config, pairs, stage)
    card = RewardCard(
        config.level,
        **asdict(scales),
        prompt_template=codec.template,
        trained_on=trained_on,
        training_loss=ending.loss,
        constant_loss=ending.constant,
        learned=ending.learned,
    )
    shared = None if store is None or config.frozen_layers != "all" else weights_file(model, store)
    export(model, stage.folder / "checkpoint", card=card, shared=shared)


def _fitted(config: RewardConfig, size: DataSize, stage: Stage) -> FittedRewardConfig:
    """Choose what the recipe leaves open, and say so."""
    fitted = fit(config, size)
    chosen = in_words(config, fitted, size)
    if chosen is not None:
        stage.tell(chosen)
        stage.notes["chosen"] = {name: getattr(fitted, name) for name in CHOSEN} | asdict(size)
    return fitted


def _ending(config: RewardConfig, pairs: Sequence[Pair], stage: Stage) -> Learning:
    """Measure whether the model has learned, and warn if not."""
    losses = [row[main_term(config)] for row in read_metrics(stage.folder) if main_term(config) in row]
    # A batch in which nothing is to be compared has logged 0.
    ending = how_it_ended([loss for loss in losses if loss] or losses, constant_loss(config, pairs))
    if not ending.learned:
        stage.remark(ending.in_words())
    return ending


def main_term(config: RewardConfig) -> str:
    """Name the term of the objective that says whether anything was learned; the others are penalties, or a mixture."""
    return config.loss if config.level == "token" and config.loss in WITHIN_TEXT else "preference"


def constant_loss(config: RewardConfig, pairs: Sequence[Pair]) -> float:
    """Return the least `main_term` of a model that rewards every token and every response alike, in nats.

    ln 2 where two rewards are compared; with loss=blame the entropy of how often a token was edited away.
    """
    if main_term(config) != "blame":
        return math.log(2)
    tokens = sum(len(pair.rejected_ids) + config.edited_weight * len(pair.chosen_ids) for pair in pairs)
    share = sum(sum(pair.rejected_changed) for pair in pairs) / tokens
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)


def _check_marks(pairs: Sequence[Pair], config: RewardConfig) -> None:
    """Refuse pairs whose changed tokens are unknown, if the loss reads them."""
    if config.level == "sequence" or config.loss == "eq3":
        return
    hint = "train on pairs that `redpencil align` made of edits, or set reward.level=sequence"
    marks, of_edits = [pair.rejected_changed for pair in pairs], [pair.chosen_changed for pair in pairs]
    if not any(map(any, [*marks, *of_edits])):
        raise RedpencilError("no pair marks a changed token: these are not edits", field="reward.level", hint=hint)
    reads_edits = config.loss == "eq4" or (config.loss == "contrast" and config.edited_weight)
    if not (reads_edits or any(map(any, marks))):
        raise RedpencilError(
            f"the edits only put tokens in, and loss={config.loss} learns from what was edited away",
            field="reward.loss",
            hint="set align.anchor=divergence, which marks the token before which something was missing, or "
            "reward.loss=eq4",
        )
    unknown = [pair.id for pair in pairs if not pair.rejected_changed]
    if config.loss in WITHIN_TEXT and unknown:
        raise RedpencilError(
            f"pair {unknown[0]!r} does not say which tokens were changed", field="reward.loss", hint=hint
        )


def _new_model(
    config: RewardConfig, backbone: Path, runtime: Runtime, codec: Codec, seed: int, *, continues: bool
) -> LanguageModel:
    """The backbone, as much of it as the recipe keeps and trains, with heads that give 0, or its own ones."""
    heads = 2 if config.level == "token" and config.ranking else 1
    if continues:
        _check_start(config, backbone, codec, heads)
    model = load_head(
        backbone,
        config.level,
        runtime,
        trained=True,
        zero_head=not continues,
        codec=codec,
        seed=seed,
        heads=heads,
        lora=config.lora,
    )
    if config.layers is not None:
        keep_layers(model.module, config.layers)
    if config.frozen_layers:
        freeze_layers(model.module, config.frozen_layers)
    if config.frozen_layers != "all":
        setattr(model.module.config, BACKBONE, None)
    if config.level == "token" and config.read_twice:
        setattr(model.module.config, READ_TWICE, True)
    return model


def _check_start(config: RewardConfig, folder: Path, codec: Codec, heads: int) -> None:
    """Refuse to go on with a reward model of another shape, or one that reads other tokens."""
    card = read_card(folder, reward_level(folder, config.level))
    if own_codec(folder, card, codec) is not None:
        raise RedpencilError(
            "its tokenizer or prompt template is not that of the policy whose pairs are learned from",
            file=folder,
            hint="start from a reward model that was trained on the same policy",
        )
    names = model_config(folder)
    if config.level == "token" and len(names.get("id2label", HEADS[2])) != heads:
        one = heads == 1
        raise RedpencilError(
            f"it has {'two heads' if one else 'one head'}, and the recipe asks for {'one' if one else 'two'}",
            file=folder,
            field="reward.ranking",
            hint=f"{'raise reward.ranking above' if one else 'set reward.ranking to'} 0",
        )
    if config.level == "token" and bool(names.get(READ_TWICE)) != config.read_twice:
        raise RedpencilError(
            f"it reads a response {'twice' if names.get(READ_TWICE) else 'once'}",
            file=folder,
            field="reward.read_twice",
            hint=f"set it to {str(not config.read_twice).lower()}",
        )


def _frozen_collate(
    model: LanguageModel, config: RewardConfig, pairs: Sequence[Pair], store: Path | None, stage: Stage
) -> Callable[[Sequence[int]], PairBatch]:
    """Compute the hidden states of all pairs, let the head learn on standardised ones, and return how to collate some.

    Raises:
        RedpencilError: for a sequence model that has more between backbone and head, as encoders do.
    """
    if config.level == "sequence" and not hasattr(model.module, "score"):
        raise RedpencilError(
            f"the head of {type(model.module).__name__} is more than one layer",
            field="reward.frozen_layers",
            hint="train the whole model, or use a decoder",
        )
    setattr(model.module.config, BACKBONE, backbone_of(model))
    sides = [(p.prompt_ids, side) for p in pairs for side in (p.chosen_ids, p.rejected_ids)]
    rows = hidden_rows(model, config.level, sides, store, stage.progress)
    # Of distinct texts, so that an original that was edited several times counts once.
    seen = torch.cat(list({(tuple(a), tuple(b)): row for (a, b), row in zip(sides, rows, strict=True)}.values()))
    standardise_head(model.module, seen.mean(0), seen.std(0, correction=0).clamp(min=1e-3))

    def collated(part: Sequence[int]) -> PairBatch:
        item = collate_pairs([pairs[i] for i in part], model.codec.pad_id, model.runtime.device)
        found = [rows[2 * i + side] for side in (0, 1) for i in part]
        hidden = torch.nn.utils.rnn.pad_sequence(found, batch_first=True).to(model.runtime.device)
        return replace(item, hidden=hidden)

    return collated


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
    check_fits(model.context, model.readings, [sample[0] for sample in samples], [sample[1] for sample in samples])


def measure(
    model: LanguageModel,
    config: RewardConfig,
    samples: Sequence[tuple[Sequence[int], Sequence[int]]],
    store: Path | None = None,
) -> Scales:
    """Measure centre and scale of the rewards on samples of the SFT policy; `store` is that of `hidden_rows`.

    Raises:
        RedpencilError: as `check_samples`.
    """
    check_samples(model, config, samples)
    prompts, responses = [s[0] for s in samples], [s[1] for s in samples]
    if config.level == "sequence":
        scores = score_sequences(model, prompts, responses, store).double()
        center, scale = float(scores.mean()), _spread(scores)
        return Scales(center, scale, center, scale)
    rows = [row.double() for row in score_tokens(model, prompts, responses, store)]
    center = float(torch.cat(rows).mean())
    sums = torch.stack([(row - center).sum() for row in rows])
    means = torch.stack([row.mean() for row in rows if len(row)])
    return Scales(center, _spread(sums), float(means.mean()), _spread(means))


def _spread(values: Tensor) -> float:
    """Return the standard deviation, kept above 0 so that it can divide."""
    return max(float(values.std()), LEAST_SCALE)
