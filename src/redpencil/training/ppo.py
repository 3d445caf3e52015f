"""PPO on dense or terminal rewards: the three rows of Table 1 are this function with other switches.

One step, read from top to bottom in `run_ppo`:
  1. answer a batch of prompts with the policy;
  2. score the responses: policy, reference, value and reward models;
  3. rewards (dense or terminal, less the KL penalty), advantages by GAE;
  4. `ppo_epochs` passes of clipped updates of policy and value model;
  5. now and then, answer the validation prompts and keep the best policy.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from redpencil.config import PPOConfig
from redpencil.maths.masked import masked_whiten
from redpencil.maths.ppo import gae, next_kl_coef, value_loss
from redpencil.models.checkpoints import LanguageModel
from redpencil.models.forward import token_values
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import EncodedPrompts
from redpencil.runs import Stage, derive_seed
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    draw_prompts,
    mean_reward,
    policy_objective,
    rewards_of,
    sample_rollouts,
    score_rollouts,
    token_counts,
)
from redpencil.training.scoring import SampledBatch
from redpencil.training.state import TrainState
from redpencil.training.update import Objective, Optimization, make_optimization, micro_batches_of, update
from redpencil.training.validation import BestCheckpoint, Validation


def run_ppo(
    config: PPOConfig, *, actors: Actors, prompts: EncodedPrompts, validation: Validation, stage: Stage
) -> None:
    """Train the policy; write `checkpoint/` (the best on the validation prompts) into the stage's folder.

    Raises:
        RedpencilError: if a prompt does not fit a model, a reward is not a number, or training breaks down.
    """
    set_seed(stage.seed)
    policy, value = actors.policy, actors.value
    assert value is not None
    actors.check_prompts([row.prompt for row in (*prompts.records, *validation.prompts.records)])
    actors.sampler.check([*prompts.ids, *validation.prompts.ids], config.response_length)
    stage.notes["skipped prompts"] = prompts.skipped
    if actors.notes:
        stage.notes["models"] = list(actors.notes)
    optimizations = {
        "policy": _optimization(policy, config.learning_rate, config, config.value_warmup_steps),
        "value": _optimization(value, config.value_learning_rate or config.learning_rate, config),
    }
    best = best_checkpoint(actors, validation, config, stage)
    state = TrainState(stage, {"policy": policy.module, "value": value.module}, optimizations)
    state.extra = {"kl_coef": config.kl_coef, "best": best.record}
    if not state.resume():
        stage.log(0, **best.evaluate(0))
    batches = draw_prompts(len(prompts.ids), config.rollout_batch_size, derive_seed(stage.seed, "prompts"))
    for _ in range(state.step):
        next(batches)
    for step in state.steps(config.total_steps):
        drawn, kl_coef = next(batches), state.extra["kl_coef"]
        ids, texts = [prompts.ids[i] for i in drawn], [prompts.records[i].prompt for i in drawn]
        sampled = sample_rollouts(actors, ids, texts, config)
        rollouts, metrics = compute_advantages(actors, sampled, config, kl_coef)
        metrics["kl_coef"] = kl_coef
        metrics |= ppo_update(
            actors, rollouts, config, optimizations, train_policy=step > config.value_warmup_steps
        )
        if config.kl_target is not None:
            adapted = next_kl_coef(kl_coef, metrics["kl"], config.kl_target, config.kl_horizon, len(drawn))
            state.extra["kl_coef"] = adapted
        actors.sampler.sync(policy)
        metrics |= best.evaluate_if_due(step, config.total_steps)
        stage.log(step, **metrics)
        note = f"reward {metrics['reward']:.2f}  kl {metrics['kl']:.1f}  length {metrics['length']:.0f}"
        stage.progress(step, config.total_steps, note + best.note)
    best.finish()


def best_checkpoint(actors: Actors, validation: Validation, config: PPOConfig, stage: Stage) -> BestCheckpoint:
    """Keep the policy of the highest win rate or, without a judge, of the highest reward on the validation prompts."""
    texts = [prompt.prompt for prompt in validation.prompts.records]
    return BestCheckpoint(
        actors.policy,
        actors.sampler,
        validation,
        stage,
        reward=lambda samples: mean_reward(actors, validation.prompts.ids, texts, samples, config),
    )


def _optimization(model: LanguageModel, learning_rate: float, config: PPOConfig, idle: int = 0) -> Optimization:
    """Make an optimisation whose schedule counts PPO steps without the `idle` first.

    All updates of one batch of rollouts share a rate.
    """
    return make_optimization(
        model.module,
        learning_rate=learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        total_steps=max(config.total_steps - idle, 0) + 1,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
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
    *,
    train_policy: bool = True,
) -> dict[str, float]:
    """Update value model and policy in `ppo_epochs` passes over one batch of rollouts; returns mean metrics."""
    assert actors.value is not None
    objectives = {"value": value_objective(actors.value.module, config)}
    if train_policy:
        objectives["policy"] = policy_objective(actors.policy.module, config)
    runtime = actors.policy.runtime
    return update_on_rollouts(rollouts, objectives, optimizations, config.ppo_epochs, config, runtime)


def update_on_rollouts(
    rollouts: Rollouts,
    objectives: Mapping[str, Objective[Rollouts]],
    optimizations: Mapping[str, Optimization],
    epochs: int,
    config: PPOConfig,
    runtime: Runtime,
) -> dict[str, float]:
    """Update models in shuffled passes over one batch of rollouts; each schedule advances once.

    Returns:
        The mean of each metric over the updates.
    """
    logged: list[dict[str, float]] = []
    for _ in range(epochs):
        order = torch.randperm(len(rollouts.logprobs)).tolist()
        for start in range(0, len(order), config.batch_size):
            batch = runtime.share(order[start : start + config.batch_size])
            items = [rollouts.select(part) for part in micro_batches_of(batch, config.micro_batch_size)]
            row: dict[str, float] = {}
            for name, objective in objectives.items():
                metrics = update(optimizations[name], items, objective, runtime, advance_schedule=False)
                row |= {key if key not in ("loss", "grad_norm") else f"{name}_{key}": v for key, v in metrics.items()}
            logged.append(row)
    for name in objectives:
        optimizations[name].scheduler.step()
    return {name: sum(row[name] for row in logged) / len(logged) for name in logged[0]}


def value_objective(value: nn.Module, config: PPOConfig) -> Objective[Rollouts]:
    """Return the clipped squared error of the values over response tokens."""

    def terms(item: Rollouts) -> dict[str, Tensor]:
        assert item.values is not None
        assert item.returns is not None
        values = token_values(value, item.batch)
        loss, clipped = value_loss(values, item.values, item.returns, item.batch.response_mask, config.cliprange_value)
        return {"value_loss": loss, "value_clip_fraction": clipped}

    return Objective({"value_loss": config.vf_coef}, token_counts("value_loss", "value_clip_fraction"), terms)
