"""PPO on dense or terminal rewards: the three rows of Table 1 are this function with other switches.

One step, of which `training.loop.train_on_rollouts` does the first and the last part:
  1. answer a batch of prompts with the policy;
  2. score the responses: policy, reference, value and reward models;
  3. rewards (dense or terminal, less the KL penalty), advantages by GAE;
  4. `ppo_epochs` passes of clipped updates of policy and value model;
  5. now and then, answer the validation prompts and keep the best policy.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from redpencil.config.methods import PPOConfig
from redpencil.maths.masked import masked_whiten
from redpencil.maths.ppo import gae, next_kl_coef, value_loss
from redpencil.models.forward import token_values
from redpencil.models.sampling import EncodedPrompts
from redpencil.runs import Stage, derive_seed
from redpencil.training.loop import train_on_rollouts
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    Skip,
    optimization_for,
    policy_objective,
    refuse,
    rewards_of,
    score_rollouts,
    token_counts,
    update_on_rollouts,
)
from redpencil.training.scoring import SampledBatch
from redpencil.training.step import TrainingStep
from redpencil.training.update import Objective, Optimization
from redpencil.training.validation import Validation


def run_ppo(
    config: PPOConfig, *, actors: Actors, prompts: EncodedPrompts, validation: Validation, stage: Stage
) -> None:
    """Train the policy; write `checkpoint/` (the best on the validation prompts) into the stage's folder.

    Raises:
        RedpencilError: if a prompt does not fit a model, a reward is not a number, or training breaks down.
    """
    assert actors.value is not None
    optimizations = {
        "policy": optimization_for(actors.policy, config.learning_rate, config, config.value_warmup_steps),
        "value": optimization_for(actors.value, config.value_learning_rate or config.learning_rate, config),
    }

    def learn(sampled: SampledBatch, step: TrainingStep, kl_coef: float) -> dict[str, float]:
        with step.phase("score"):
            rollouts, metrics = compute_advantages(actors, sampled, config, kl_coef)
        seed, train_policy = derive_seed(stage.seed, "permute", step.number), step.number > config.value_warmup_steps
        with step.phase("update"):
            return metrics | ppo_update(
                actors, rollouts, config, optimizations, seed, train_policy=train_policy, skip=step.skip
            )

    def adapted(kl_coef: float, kl: float) -> float:
        assert config.kl_target is not None
        return next_kl_coef(kl_coef, kl, config.kl_target, config.kl_horizon, config.rollout_batch_size)

    train_on_rollouts(
        config,
        learn,
        actors=actors,
        optimizations=optimizations,
        prompts=prompts,
        validation=validation,
        stage=stage,
        next_kl_coef=None if config.kl_target is None else adapted,
    )


def compute_advantages(
    actors: Actors, sampled: SampledBatch, config: PPOConfig, kl_coef: float
) -> tuple[Rollouts, dict[str, float]]:
    """Score responses, and compute rewards, advantages and returns; also returns metrics of the batch."""
    scores = score_rollouts(actors, sampled, config)
    rewards, metrics = rewards_of(scores, sampled, config, kl_coef)
    response_mask = sampled.batch.response_mask
    if config.whiten_rewards:
        rewards = masked_whiten(rewards, response_mask, shift_mean=False)
    assert scores.values is not None
    advantages, returns = gae(rewards, scores.values, response_mask, config.gamma, config.gae_lambda)
    if config.whiten_advantages:
        advantages = masked_whiten(advantages, response_mask)
    return Rollouts(sampled.batch, scores.logprobs, advantages, scores.values, returns), metrics


def ppo_update(
    actors: Actors,
    rollouts: Rollouts,
    config: PPOConfig,
    optimizations: Mapping[str, Optimization],
    seed: int,
    *,
    train_policy: bool = True,
    skip: Skip = refuse,
) -> dict[str, float]:
    """Update value model and policy in `ppo_epochs` passes over one batch of rollouts; returns mean metrics."""
    assert actors.value is not None
    objectives = {"value": value_objective(actors.value.module, config)}
    if train_policy:
        objectives["policy"] = policy_objective(actors.policy.module, config)
    runtime = actors.policy.runtime
    return update_on_rollouts(
        *(rollouts, objectives, optimizations, config.ppo_epochs, config, runtime, seed, skip), sharing=actors.sharing
    )


def value_objective(value: nn.Module, config: PPOConfig) -> Objective[Rollouts]:
    """Return the clipped squared error of the values over response tokens."""

    def terms(item: Rollouts) -> dict[str, Tensor]:
        assert item.values is not None
        assert item.returns is not None
        values = token_values(value, item.batch)
        loss, clipped = value_loss(values, item.values, item.returns, item.batch.response_mask, config.cliprange_value)
        return {"value_loss": loss, "value_clip_fraction": clipped}

    return Objective({"value_loss": config.vf_coef}, token_counts("value_loss", "value_clip_fraction"), terms)
