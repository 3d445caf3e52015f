"""Rollouts: sample responses, score them, and turn scores into rewards, advantages and returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from redpencil.config import PPOConfig, SamplingConfig
from redpencil.maths.gae import gae
from redpencil.maths.kl import kl_estimate
from redpencil.maths.logprobs import token_logprobs
from redpencil.maths.masked import masked_mean, masked_sum, masked_whiten
from redpencil.maths.ppo import entropy_from_logits
from redpencil.maths.rewards import ppo_rewards, standardise
from redpencil.models.batches import Batch, collate
from redpencil.models.forward import response_logits, response_logprobs, sequence_rewards, token_rewards, token_values
from redpencil.models.loading import RewardModel
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample, sample_responses
from redpencil.models.text import Codec


@dataclass(frozen=True, slots=True)
class Actors:
    """The models of PPO. `token_reward` and `sequence_reward` are there as `PPOConfig.reward` needs them."""

    policy: PreTrainedModel
    reference: PreTrainedModel
    value: PreTrainedModel
    token_reward: RewardModel | None
    sequence_reward: RewardModel | None


@dataclass(frozen=True, slots=True)
class Scores:
    """What the frozen models say of sampled responses; every tensor [B, T] but `sequence_reward` [B].

    Rewards are standardised with the centre and scale of their reward model's card.
    """

    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    token_rewards: Tensor | None
    sequence_reward: Tensor | None


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A batch of sampled responses, ready to learn from; tensors are [B, T] and 0 on padding."""

    batch: Batch
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def select(self, rows: Sequence[int]) -> "Rollouts":
        """Some rows, without the columns that only other rows need."""
        index = torch.tensor(rows, device=self.logprobs.device)
        mask = self.batch.response_mask[index]
        attention = self.batch.attention_mask[index]
        width = max(1, int(mask.sum(dim=1).max()))
        left = int((attention.argmax(dim=1)).min())
        columns = slice(left, self.batch.prompt_width + width)
        batch = replace(
            self.batch,
            input_ids=self.batch.input_ids[index, columns],
            attention_mask=attention[:, columns],
            position_ids=self.batch.position_ids[index, columns],
            response_mask=mask[:, :width],
        )
        kept = (self.logprobs, self.values, self.advantages, self.returns)
        return Rollouts(batch, *(tensor[index, :width] for tensor in kept))


def sampling_of(config: PPOConfig) -> SamplingConfig:
    """Rollouts are sampled from the policy itself: no nucleus, so that log-probabilities are those of the sampler."""
    return SamplingConfig(
        temperature=config.temperature,
        response_length=config.response_length,
        max_prompt_length=config.max_prompt_length,
        batch_size=config.rollout_batch_size,
    )


def roll_out(
    actors: Actors,
    prompts: Sequence[Sequence[int]],
    config: PPOConfig,
    kl_coef: float,
    codec: Codec,
    runtime: Runtime,
) -> tuple[Rollouts, dict[str, float]]:
    """Answer `prompts` with the policy and compute what PPO needs; also returns metrics of the batch."""
    samples = sample_responses(actors.policy, codec, prompts, sampling_of(config), runtime)
    batch = collate(prompts, [sample.ids for sample in samples], codec.pad_id, runtime.device)
    scores = score(actors, batch, config, runtime)
    return learn_from(scores, batch, samples, config, kl_coef)


@torch.no_grad()
def score(actors: Actors, batch: Batch, config: PPOConfig, runtime: Runtime) -> Scores:
    """Run every model over the responses, `micro_batch_size` rows at a time."""
    size = config.micro_batch_size or config.batch_size
    parts = [_score_rows(actors, part, config, runtime) for part in _rows(batch, size)]

    def joined(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    return Scores(**{name: joined(name) for name in Scores.__dataclass_fields__})  # type: ignore[arg-type]


def _rows(batch: Batch, size: int) -> list[Batch]:
    names = Batch.__dataclass_fields__
    return [
        Batch(**{name: getattr(batch, name)[start : start + size] for name in names})
        for start in range(0, len(batch.input_ids), size)
    ]


def _score_rows(actors: Actors, batch: Batch, config: PPOConfig, runtime: Runtime) -> Scores:
    with runtime.autocast():
        logits = response_logits(actors.policy, batch, config.temperature)
        return Scores(
            logprobs=token_logprobs(logits, batch.response_ids),
            ref_logprobs=response_logprobs(actors.reference, batch, config.temperature),
            values=token_values(actors.value, batch),
            entropy=entropy_from_logits(logits),
            token_rewards=_token_rewards(actors.token_reward, batch, config),
            sequence_reward=_sequence_reward(actors.sequence_reward, batch, config),
        )


def _token_rewards(reward: RewardModel | None, batch: Batch, config: PPOConfig) -> Tensor | None:
    if reward is None:
        return None
    card = reward.card
    if config.reward == "token_mean_at_end":
        center, scale = card.trajectory_center, card.trajectory_scale
    else:
        center, scale = card.center, card.scale
    return _standardised(token_rewards(reward.model, batch), center, scale, config)


def _sequence_reward(reward: RewardModel | None, batch: Batch, config: PPOConfig) -> Tensor | None:
    if reward is None:
        return None
    return _standardised(sequence_rewards(reward.model, batch), reward.card.center, reward.card.scale, config)


def _standardised(rewards: Tensor, center: float, scale: float, config: PPOConfig) -> Tensor:
    rewards = standardise(rewards, center if config.center_rewards else 0.0, scale if config.scale_rewards else 1.0)
    return rewards if config.reward_clip is None else rewards.clamp(-config.reward_clip, config.reward_clip)


def learn_from(
    scores: Scores, batch: Batch, samples: Sequence[Sample], config: PPOConfig, kl_coef: float
) -> tuple[Rollouts, dict[str, float]]:
    """Rewards, advantages and returns of scored responses, and the metrics of the batch."""
    response_mask = batch.response_mask
    finished = torch.tensor([sample.finished for sample in samples], device=response_mask.device)
    kl = kl_estimate(scores.logprobs, scores.ref_logprobs, config.kl_estimator)
    options = {
        "token_rewards": scores.token_rewards,
        "sequence_reward": scores.sequence_reward,
        "response_mask": response_mask,
        "finished": finished,
        "missing_eos_penalty": config.missing_eos_penalty,
    }
    rewards = ppo_rewards(config.reward, kl=kl, kl_coef=kl_coef, kl_term=config.kl_term, **options)  # type: ignore[arg-type]
    earned = ppo_rewards(config.reward, kl=kl, kl_coef=0.0, kl_term="none", **options)  # type: ignore[arg-type]
    if config.whiten_rewards:
        rewards = masked_whiten(rewards, response_mask, shift_mean=False)
    advantages, returns = gae(rewards, scores.values, response_mask, config.gamma, config.gae_lambda)
    if config.whiten_advantages:
        advantages = masked_whiten(advantages, response_mask)
    k1 = masked_sum(kl_estimate(scores.logprobs, scores.ref_logprobs, "k1"), response_mask, dim=-1)
    metrics = {
        "reward": float(earned.sum(dim=-1).mean()),
        "kl": float(k1.mean()),
        "length": float(batch.lengths.float().mean()),
        "finished": float(finished.float().mean()),
        "entropy": float(masked_mean(scores.entropy, response_mask)),
    }
    return Rollouts(batch, scores.logprobs, scores.values, advantages, returns), metrics
