"""What reward models say of the policy's responses, token by token of the policy.

A reward model with the policy's tokenizer and prompt template reads the policy's token ids as they are. Any other one
reads text: the prompt in its own template, the response through its own tokenizer. Its rewards are standardised on its
own tokens, for that is what its centre was measured on (a response of n of its tokens loses n centres, however many
tokens the policy took), and then laid onto the policy's tokens so that their sum is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redpencil.alignment.projection import TokenRewards, project_rows
from redpencil.config import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.maths.ppo import standardise
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, collate, sequence_rewards, token_rewards
from redpencil.models.loading import RewardCard, RewardModel, context_of
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Placed, Sample, place


@dataclass(frozen=True, slots=True)
class Dialogue:
    """B prompts and responses as text, with the spans of the policy's tokens in each response."""

    prompts: Sequence[str]
    responses: Sequence[Placed]
    finished: Sequence[bool]


def dialogue_of(codec: Codec, prompts: Sequence[str], samples: Sequence[Sample]) -> Dialogue:
    """What the policy with `codec` wrote, for models that read text.

    Raises:
        ValueError: if there is not one prompt for each response.
    """
    if len(prompts) != len(samples):
        raise ValueError(f"{len(samples)} responses to {len(prompts)} prompts")
    return Dialogue(prompts, place(codec, samples), [sample.finished for sample in samples])


@dataclass(frozen=True, slots=True)
class ForeignRewards:
    """What a reward model that reads text says of B responses.

    rewards: [B, T] on the policy's tokens, 0 on padding, or [B] of a sequence model; standardised.
    cut: bool [B], True = it read the response only as far as its context goes.
    """

    rewards: Tensor
    cut: Tensor


def paid_tokens(reward: RewardModel, batch: Batch, config: PPOConfig) -> Tensor:
    """Standardised rewards of the tokens of a batch that the model reads as it is, [B, T]."""
    return _standardised(token_rewards(reward.model, batch), *_centre_and_scale(reward.card, config), config)


def paid_sequences(reward: RewardModel, batch: Batch, config: PPOConfig) -> Tensor:
    """Standardised rewards of the responses of a batch that the model reads as it is, [B]."""
    return _standardised(sequence_rewards(reward.model, batch), reward.card.center, reward.card.scale, config)


def _centre_and_scale(card: RewardCard, config: PPOConfig) -> tuple[float, float]:
    if config.reward == "token_mean_at_end":
        return card.trajectory_center, card.trajectory_scale
    return card.center, card.scale


def _standardised(rewards: Tensor, center: float, scale: float, config: PPOConfig) -> Tensor:
    rewards = standardise(rewards, center if config.center_rewards else 0.0, scale if config.scale_rewards else 1.0)
    return rewards if config.reward_clip is None else rewards.clamp(-config.reward_clip, config.reward_clip)


def check_finite(reward: RewardModel, rewards: Tensor) -> None:
    """Refuse rewards that nothing can be learnt or picked by.

    Raises:
        RedpencilError: naming the reward model's folder, if one is NaN or infinite.
    """
    wrong = rewards[~rewards.isfinite()]
    if len(wrong):
        raise RedpencilError(
            f"the reward model says {float(wrong[0])} of a response",
            file=reward.model.name_or_path,
            hint="its weights are damaged, or training broke down: take another checkpoint of the reward model",
        )


@torch.no_grad()
def paid_foreign_tokens(
    reward: RewardModel, dialogue: Dialogue, width: int, config: PPOConfig, runtime: Runtime
) -> ForeignRewards:
    """Rewards of a token model that reads text, laid onto `width` columns of the policy's tokens.

    Where `config.reward` pays the mean of the token rewards, the mean is the one over the model's own tokens, and each
    of the policy's tokens carries it.
    """
    readings = _read(reward, dialogue)
    scored: list[TokenRewards] = []
    for part, batch in _batches(reward, readings, config, runtime):
        with runtime.autocast():
            paid = paid_tokens(reward, batch, config)
        for reading, row in zip(part, paid.double().cpu().numpy(), strict=True):
            scored.append(TokenRewards(reading.text, reading.offsets, row[: len(reading.response)]))
    if config.reward == "token_mean_at_end":
        means = [float(row.rewards.mean()) if len(row.rewards) else 0.0 for row in scored]
        laid = [np.full(len(placed.offsets), mean) for placed, mean in zip(dialogue.responses, means, strict=True)]
    else:
        laid = [row.rewards for row in project_rows(scored, [placed.offsets for placed in dialogue.responses])]
    rewards = np.zeros((len(laid), width), np.float32)
    for row, found in zip(rewards, laid, strict=True):
        row[: len(found)] = found
    return ForeignRewards(torch.from_numpy(rewards).to(runtime.device), _cut(readings, runtime))


@torch.no_grad()
def paid_foreign_sequences(
    reward: RewardModel, dialogue: Dialogue, config: PPOConfig, runtime: Runtime
) -> ForeignRewards:
    """Rewards of a sequence model that reads text."""
    readings, parts = _read(reward, dialogue), []
    for _, batch in _batches(reward, readings, config, runtime):
        with runtime.autocast():
            parts.append(paid_sequences(reward, batch, config))
    return ForeignRewards(torch.cat(parts), _cut(readings, runtime))


def check_reads(reward: RewardModel, prompts: Sequence[str]) -> None:
    """Refuse prompts that a reward model with a codec of its own cannot score any response to.

    Longer responses than its context has room for are another matter: they are read as far as it goes, and counted.

    Raises:
        RedpencilError: if a prompt is nothing to it, or fills its context, or has a token that it does not know.
    """
    if reward.codec is None:
        return
    folder, context = reward.model.name_or_path, context_of(reward.model)
    ids = reward.codec.encode_prompts(prompts)
    shortest, longest = min(map(len, ids)), max(map(len, ids))
    if not shortest:
        raise RedpencilError(
            f"its tokenizer makes nothing of the prompt {prompts[list(map(len, ids)).index(0)]!r}",
            file=folder,
            hint="leave the prompt out, or choose another reward model",
        )
    if context is not None and longest >= context:
        raise RedpencilError(
            f"a prompt has {longest} of its tokens, and its context of {context} leaves no room for a response",
            file=folder,
            hint="leave out the longest prompts, or choose a reward model with a longer context",
        )
    embeddings: Any = reward.model.get_input_embeddings()
    known, largest = embeddings.num_embeddings, max(map(max, ids))
    if largest >= known:
        raise RedpencilError(
            f"its tokenizer gives token {largest}, the model knows {known} tokens",
            file=folder,
            field="vocab_size",
            hint="put the tokenizer that the model was trained with beside it",
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """One prompt and response in a reward model's own tokens."""

    prompt: Sequence[int]
    response: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    text: str
    cut: bool


def _read(reward: RewardModel, dialogue: Dialogue) -> list[_Reading]:
    assert reward.codec is not None
    context = context_of(reward.model)
    prompts = reward.codec.encode_prompts(dialogue.prompts)
    texts = [placed.text for placed in dialogue.responses]
    readings = []
    for prompt, text, tokens, finished in zip(
        prompts, texts, reward.codec.encode_responses(texts), dialogue.finished, strict=True
    ):
        whole = len(tokens.ids) if finished else tokens.body
        kept = whole if context is None else min(whole, max(0, context - len(prompt)))
        readings.append(_Reading(prompt, tokens.ids[:kept], tokens.offsets[:kept], text, cut=kept < whole))
    return readings


def _batches(
    reward: RewardModel, readings: Sequence[_Reading], config: PPOConfig, runtime: Runtime
) -> Iterator[tuple[Sequence[_Reading], Batch]]:
    assert reward.codec is not None
    size = config.micro_batch_size or config.batch_size
    for start in range(0, len(readings), size):
        part = readings[start : start + size]
        prompts, responses = [row.prompt for row in part], [row.response for row in part]
        yield part, collate(prompts, responses, reward.codec.pad_id, runtime.device)


def _cut(readings: Sequence[_Reading], runtime: Runtime) -> Tensor:
    return torch.tensor([reading.cut for reading in readings], device=runtime.device)
