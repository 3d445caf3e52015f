"""Reward models: token-level on edits (Eq. 1-4), sequence-level Bradley-Terry on any pairs."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from redpencil.config import RewardConfig
from redpencil.errors import RedpencilError
from redpencil.maths.reward_losses import (
    bradley_terry_loss,
    consistency_penalty,
    eq3_margin,
    eq4_margin,
    trajectory_reward,
    zero_penalty,
)
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, collate, length_grouped, sequence_rewards, token_rewards
from redpencil.models.loading import RewardCard, RewardModel, context_of, load_head, save_model
from redpencil.models.runtime import Runtime, set_seed
from redpencil.records import Pair, Response
from redpencil.runs import Stage
from redpencil.training.pairs import check_pairs
from redpencil.training.update import Objective, epochs_of, micro_batches_of, optimization_of, steps_in, update

SCORE_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class PairBatch:
    """B pairs in one batch of 2B rows: the chosen sides first, then the rejected ones.

    changed_mask (U1) and unchanged_mask (U0): [2B, T], each of its own side; unchanged_pairs: [N, 3], rows of
    (pair, rejected index, chosen index).
    """

    batch: Batch
    changed_mask: Tensor
    unchanged_mask: Tensor
    unchanged_pairs: Tensor

    def __len__(self) -> int:
        """B, the number of pairs."""
        return self.batch.input_ids.shape[0] // 2


def collate_pairs(pairs: Sequence[Pair], pad_id: int, device: torch.device) -> PairBatch:
    """Both sides of the pairs, side by side, so that one forward pass sees them all."""
    prompts = [pair.prompt_ids for pair in pairs]
    responses = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
    batch = collate(prompts + prompts, responses, pad_id, device)
    width = batch.response_width
    changed = [list(pair.chosen_changed) for pair in pairs] + [list(pair.rejected_changed) for pair in pairs]
    changed_mask = torch.tensor([row + [False] * (width - len(row)) for row in changed], device=device)
    index = [(i, rejected, chosen) for i, pair in enumerate(pairs) for rejected, chosen in pair.unchanged]
    unchanged_pairs = torch.tensor(index, dtype=torch.long, device=device).reshape(-1, 3)
    unchanged_mask = torch.zeros_like(batch.response_mask)
    unchanged_mask[unchanged_pairs[:, 0], unchanged_pairs[:, 2]] = True
    unchanged_mask[unchanged_pairs[:, 0] + len(pairs), unchanged_pairs[:, 1]] = True
    return PairBatch(batch, changed_mask, unchanged_mask, unchanged_pairs)


def token_objective(model: nn.Module, config: RewardConfig) -> Objective[PairBatch]:
    """Eq. 3 or Eq. 4 with the options of the recipe; `accuracy` is the share of pairs ranked right by Eq. 1."""

    def counts(item: PairBatch) -> dict[str, float]:
        tokens, pairs = float(item.unchanged_mask.sum()), float(len(item.unchanged_pairs))
        rows = float(len(item))
        return {"preference": rows, "zero": tokens, "consistency": pairs, "accuracy": rows, "drift": pairs}

    def terms(item: PairBatch) -> dict[str, Tensor]:
        rewards = token_rewards(model, item.batch)
        chosen, rejected = rewards.chunk(2)
        chosen_mask, rejected_mask = item.batch.response_mask.chunk(2)
        if config.loss == "eq3":
            margin = eq3_margin(chosen, rejected, chosen_mask, rejected_mask)
        else:
            changed = item.changed_mask.chunk(2)
            margin = eq4_margin(chosen, rejected, changed[0], changed[1], chosen_mask, rejected_mask)
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


def sequence_objective(model: nn.Module, config: RewardConfig) -> Objective[PairBatch]:
    """Bradley-Terry (Eq. 2) on one reward for each response."""

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

    `samples` are (prompt ids, response ids) of the SFT policy: centre and scale are measured on the first
    `reference_samples` of them, after training.

    Raises:
        RedpencilError: if there are no pairs, or the model cannot read them, or there are fewer than two samples.
    """
    set_seed(stage.seed)
    if not pairs:
        raise RedpencilError("there are no pairs to train on", hint="check the align stage's counts of skipped rows")
    needs_masks = config.level == "token" and config.loss == "eq4"
    if needs_masks and not any(any(p.chosen_changed) or any(p.rejected_changed) for p in pairs):
        raise RedpencilError(
            "no pair marks a changed token: these are not edits",
            field="reward.level",
            hint="train on pairs that `redpencil align` made of edits, or set reward.level=sequence",
        )
    model = load_head(backbone, config.level, runtime, trained=True, zero_head=True)
    check_pairs(pairs, model.config.vocab_size, context_of(model))
    total = steps_in(config.num_train_epochs, len(pairs), config.batch_size, config.max_steps)
    optimization = optimization_of(model, config, total)
    objective = (token_objective if config.level == "token" else sequence_objective)(model, config)
    lengths = [len(pair.prompt_ids) + len(pair.rejected_ids) + len(pair.chosen_ids) for pair in pairs]
    generator = torch.Generator().manual_seed(stage.seed)
    batches = epochs_of(lambda: length_grouped(lengths, config.batch_size, generator), total)
    for step, batch in enumerate(batches, start=1):
        items = [
            collate_pairs([pairs[i] for i in part], codec.pad_id, runtime.device)
            for part in micro_batches_of(batch, config.micro_batch_size)
        ]
        logged = update(optimization, items, objective, runtime)
        stage.log(step, **logged)
        stage.progress(step, total, f"loss {logged['loss']:.3f}")
    model.train(False)
    scales = measure(model, config, samples[: config.reference_samples], codec, runtime)
    stage.notes["reference"] = asdict(scales)
    card = RewardCard(config.level, **asdict(scales), prompt_template=codec.template, trained_on=trained_on)
    save_model(model, codec, stage.folder / "checkpoint", card=card)


@dataclass(frozen=True, slots=True)
class Scales:
    """Centre and scale of rewards; see `RewardCard`."""

    center: float
    scale: float
    trajectory_center: float
    trajectory_scale: float


def measure(
    model: nn.Module,
    config: RewardConfig,
    samples: Sequence[tuple[Sequence[int], Sequence[int]]],
    codec: Codec,
    runtime: Runtime,
) -> Scales:
    """Centre and scale of the rewards on samples of the SFT policy.

    Raises:
        RedpencilError: if there are fewer than two samples.
    """
    if len(samples) < 2:
        raise RedpencilError(
            f"centre and scale need at least 2 samples of the SFT policy, found {len(samples)}",
            field="reward.reference_samples",
            hint="answer some prompts with `redpencil respond` and pass them with --samples",
        )
    prompts, responses = [s[0] for s in samples], [s[1] for s in samples]
    if config.level == "sequence":
        scores = torch.cat(list(score_sequences(model, prompts, responses, codec, runtime))).double()
        center, scale = float(scores.mean()), _spread(scores)
        return Scales(center, scale, center, scale)
    rows = [row.double() for row in score_tokens(model, prompts, responses, codec, runtime)]
    center = float(torch.cat(rows).mean())
    sums = torch.stack([(row - center).sum() for row in rows])
    filled = [row.mean() for row in rows if len(row)]
    if len(filled) < 2:
        raise RedpencilError(
            f"centre and scale need at least 2 samples of the SFT policy with a token, found {len(filled)}",
            field="reward.reference_samples",
            hint="let the SFT policy answer with `redpencil respond`, and look at what it says",
        )
    means = torch.stack(filled)
    return Scales(center, _spread(sums), float(means.mean()), _spread(means))


def _spread(values: Tensor) -> float:
    """Standard deviation, kept off 0 so that it can divide."""
    return max(float(values.std()), 1e-6)


def encode_samples(responses: Sequence[Response], codec: Codec) -> list[tuple[list[int], tuple[int, ...]]]:
    """(prompt ids, response ids) of responses; one that was cut off at the length limit has no EOS."""
    if not responses:
        return []
    prompts = codec.encode_prompts([row.prompt for row in responses])
    encoded = codec.encode_responses([row.response for row in responses])
    return [
        (prompt, tokens.ids if row.finished else tokens.ids[:-1])
        for row, prompt, tokens in zip(responses, prompts, encoded, strict=True)
    ]


def check_fits(
    model: nn.Module, names: Sequence[str], prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> None:
    """Refuse texts that a reward model cannot read as a whole.

    Raises:
        RedpencilError: with the name of the first row whose prompt and response are longer than its context.
    """
    context = context_of(model)
    for name, prompt, response in zip(names, prompts, responses, strict=True):
        tokens = len(prompt) + len(response)
        if context is not None and tokens > context:
            raise RedpencilError(
                f"the prompt and response {name!r} have {tokens} tokens, the reward model reads {context}",
                hint="leave out the longest texts, or use a reward model with a longer context",
            )


def _batches(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    codec: Codec,
    runtime: Runtime,
) -> Iterable[Batch]:
    context = context_of(model)
    longest = max((len(p) + len(r) for p, r in zip(prompts, responses, strict=True)), default=0)
    if context is not None and longest > context:
        raise RedpencilError(
            f"a prompt and its response have {longest} tokens, the reward model reads {context}",
            hint="leave out the longest texts, or use a reward model with a longer context",
        )
    for start in range(0, len(prompts), SCORE_AT_ONCE):
        part = slice(start, start + SCORE_AT_ONCE)
        yield collate(prompts[part], responses[part], codec.pad_id, runtime.device)


@torch.no_grad()
def score_tokens(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    codec: Codec,
    runtime: Runtime,
) -> list[Tensor]:
    """Raw rewards of each response's tokens, one [T_i] tensor on the CPU for each."""
    rows: list[Tensor] = []
    for batch in _batches(model, prompts, responses, codec, runtime):
        with runtime.autocast():
            rewards = token_rewards(model, batch)
        rows += [row[counts] for row, counts in zip(rewards.cpu(), batch.response_mask.cpu(), strict=True)]
    return rows


@torch.no_grad()
def score_sequences(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    codec: Codec,
    runtime: Runtime,
) -> Iterable[Tensor]:
    """Raw rewards of responses, [B] on the CPU, batch by batch."""
    for batch in _batches(model, prompts, responses, codec, runtime):
        with runtime.autocast():  # and not around the `yield`, where it would hold in the caller too
            rewards = sequence_rewards(model, batch)
        yield rewards.cpu()


def score_ids(
    reward: RewardModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    codec: Codec,
    runtime: Runtime,
) -> list[float]:
    """One raw reward for each response: of the sequence model, or of the token model by Eq. 1."""
    if reward.card.level == "sequence":
        parts = score_sequences(reward.model, prompts, responses, codec, runtime)
        return [float(score) for part in parts for score in part]
    return [
        float(row.mean()) if len(row) else 0.0 for row in score_tokens(reward.model, prompts, responses, codec, runtime)
    ]


def pair_margins(reward: RewardModel, pairs: Sequence[Pair], codec: Codec, runtime: Runtime) -> list[float]:
    """R(chosen) - R(rejected) of each pair (Table 2 counts how often it is above 0)."""
    prompts = [pair.prompt_ids for pair in pairs]
    chosen = score_ids(reward, prompts, [pair.chosen_ids for pair in pairs], codec, runtime)
    rejected = score_ids(reward, prompts, [pair.rejected_ids for pair in pairs], codec, runtime)
    return [better - worse for better, worse in zip(chosen, rejected, strict=True)]
