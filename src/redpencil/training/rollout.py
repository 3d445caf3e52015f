"""Rollouts: sample responses, score them, and turn scores into rewards, advantages and returns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from redpencil.config import PPOConfig, SamplingConfig
from redpencil.maths.masked import masked_mean, masked_sum, masked_whiten, token_logprobs
from redpencil.maths.ppo import entropy_from_logits, gae, kl_estimate, ppo_rewards
from redpencil.models.codec import Codec
from redpencil.models.forward import Batch, collate, response_logits, response_logprobs, token_values
from redpencil.models.loading import RewardModel
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample, sample_responses
from redpencil.training.scoring import (
    Dialogue,
    ForeignRewards,
    check_finite,
    dialogue_of,
    paid_foreign_sequences,
    paid_foreign_tokens,
    paid_sequences,
    paid_tokens,
)


@dataclass(frozen=True, slots=True)
class Actors:
    """The models of PPO. `token_reward` and `sequence_reward` are there as `PPOConfig.reward` needs them.

    `notes` say what was decided while they were loaded.
    """

    policy: PreTrainedModel
    reference: PreTrainedModel
    value: PreTrainedModel
    token_reward: RewardModel | None
    sequence_reward: RewardModel | None
    notes: tuple[str, ...] = ()

    @property
    def rewards(self) -> tuple[RewardModel, ...]:
        """The reward models that are there."""
        return tuple(filter(None, (self.token_reward, self.sequence_reward)))

    @property
    def read_text(self) -> bool:
        """Whether a reward model has a codec of its own, so that prompts and responses are needed as text."""
        return any(reward.codec is not None for reward in self.rewards)


@dataclass(frozen=True, slots=True)
class Scores:
    """What the frozen models say of sampled responses; every tensor [B, T] but `sequence_reward` and `cut`, [B].

    Rewards are standardised with the centre and scale of their reward model's card. `cut` is there if a reward model
    read texts through a codec of its own: True where the response did not fit into its context.
    """

    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    entropy: Tensor
    token_rewards: Tensor | None
    sequence_reward: Tensor | None
    cut: Tensor | None = None


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
    *,
    texts: Sequence[str] = (),
) -> tuple[Rollouts, dict[str, float]]:
    """Answer `prompts` with the policy and compute what PPO needs; also returns metrics of the batch.

    `texts` are the same prompts as text, for reward models with a codec of their own.
    """
    samples = sample_responses(actors.policy, codec, prompts, sampling_of(config), runtime)
    batch = collate(prompts, [sample.ids for sample in samples], codec.pad_id, runtime.device)
    dialogue = dialogue_of(codec, texts, samples) if actors.read_text else None
    scores = score(actors, batch, config, runtime, dialogue)
    return learn_from(scores, batch, samples, config, kl_coef)


@torch.no_grad()
def score(
    actors: Actors, batch: Batch, config: PPOConfig, runtime: Runtime, dialogue: Dialogue | None = None
) -> Scores:
    """Run every model over the responses, `micro_batch_size` rows at a time.

    Raises:
        RedpencilError: if a reward is not a finite number.
        ValueError: if a reward model has a codec of its own and there is no `dialogue` for it to read.
    """
    if actors.read_text and dialogue is None:
        raise ValueError("a reward model with a codec of its own needs the dialogue as text")
    size = config.micro_batch_size or config.batch_size
    parts = [_score_rows(actors, part, config, runtime) for part in _rows(batch, size)]

    def joined(name: str) -> Tensor | None:
        tensors = [getattr(part, name) for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    scores = Scores(**{name: joined(name) for name in Scores.__dataclass_fields__})  # type: ignore[arg-type]
    if dialogue is not None:
        scores = _with_foreign(scores, actors, dialogue, batch, config, runtime)
    if actors.token_reward is not None and scores.token_rewards is not None:
        check_finite(actors.token_reward, scores.token_rewards[batch.response_mask])
    if actors.sequence_reward is not None and scores.sequence_reward is not None:
        check_finite(actors.sequence_reward, scores.sequence_reward)
    return scores


def _with_foreign(
    scores: Scores, actors: Actors, dialogue: Dialogue, batch: Batch, config: PPOConfig, runtime: Runtime
) -> Scores:
    """The scores with the rewards of those models that read text."""
    found: dict[str, ForeignRewards] = {}
    token, sequence = actors.token_reward, actors.sequence_reward
    if token is not None and token.codec is not None:
        found["token_rewards"] = paid_foreign_tokens(token, dialogue, batch.response_width, config, runtime)
    if sequence is not None and sequence.codec is not None:
        found["sequence_reward"] = paid_foreign_sequences(sequence, dialogue, config, runtime)
    if not found:
        return scores
    cut = torch.stack([foreign.cut for foreign in found.values()]).any(dim=0)
    return replace(scores, cut=cut, **{name: foreign.rewards for name, foreign in found.items()})


def _rows(batch: Batch, size: int) -> list[Batch]:
    names = Batch.__dataclass_fields__
    return [
        Batch(**{name: getattr(batch, name)[start : start + size] for name in names})
        for start in range(0, len(batch.input_ids), size)
    ]


def _score_rows(actors: Actors, batch: Batch, config: PPOConfig, runtime: Runtime) -> Scores:
    token, sequence = actors.token_reward, actors.sequence_reward
    with runtime.autocast():
        logits = response_logits(actors.policy, batch, config.temperature)
        return Scores(
            logprobs=token_logprobs(logits, batch.response_ids),
            ref_logprobs=response_logprobs(actors.reference, batch, config.temperature),
            values=token_values(actors.value, batch),
            entropy=entropy_from_logits(logits),
            token_rewards=None if token is None or token.codec is not None else paid_tokens(token, batch, config),
            sequence_reward=(
                None if sequence is None or sequence.codec is not None else paid_sequences(sequence, batch, config)
            ),
        )


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
        "reward_std": float(earned.sum(dim=-1).std(correction=0)),
        "kl": float(k1.mean()),
        "length": float(batch.lengths.float().mean()),
        "finished": float(finished.float().mean()),
        "entropy": float(masked_mean(scores.entropy, response_mask)),
    }
    if scores.cut is not None:
        metrics["cut_for_reward_model"] = float(scores.cut.float().mean())
    return Rollouts(batch, scores.logprobs, scores.values, advantages, returns), metrics
