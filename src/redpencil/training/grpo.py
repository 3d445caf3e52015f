"""GRPO (Shao et al., "DeepSeekMath", 2024): PPO without a value model, on dense or terminal rewards.

Several answers to one prompt form a group, and an answer is good if it is better than its group (`maths.ppo.
group_advantages`). With token rewards each token is compared by the rewards that come after it. It departs from the
paper where PPO here does: the KL penalty is part of the reward, and the loss is a mean over all response tokens of a
batch, so that long answers are not weighed down.
"""

from redpencil.config.methods import GRPOConfig
from redpencil.maths.ppo import group_advantages
from redpencil.models.sampling import EncodedPrompts
from redpencil.runs import Stage, derive_seed
from redpencil.training.loop import train_on_rollouts
from redpencil.training.rollout import (
    Actors,
    Rollouts,
    optimization_for,
    policy_objective,
    rewards_of,
    score_rollouts,
    update_on_rollouts,
)
from redpencil.training.scoring import SampledBatch
from redpencil.training.step import TrainingStep
from redpencil.training.validation import Validation


def run_grpo(
    config: GRPOConfig, *, actors: Actors, prompts: EncodedPrompts, validation: Validation, stage: Stage
) -> None:
    """Train the policy; write `checkpoint/` (the best on the validation prompts) into the stage's folder.

    Raises:
        RedpencilError: if a prompt does not fit a model, a reward is not a number, or training breaks down.
    """
    optimizations = {"policy": optimization_for(actors.policy, config.learning_rate, config)}
    objectives = {"policy": policy_objective(actors.policy.module, config)}
    runtime = actors.policy.runtime

    def learn(sampled: SampledBatch, step: TrainingStep, kl_coef: float) -> dict[str, float]:
        with step.phase("score"):
            rollouts, metrics = compare_in_groups(actors, sampled, config, kl_coef)
        order = derive_seed(stage.seed, "permute", step.number)
        with step.phase("update"):
            return metrics | update_on_rollouts(
                *(rollouts, objectives, optimizations, config.grpo_epochs, config, runtime, order, step.skip),
                sharing=actors.sharing,
            )

    train_on_rollouts(
        config,
        learn,
        actors=actors,
        optimizations=optimizations,
        prompts=prompts,
        validation=validation,
        stage=stage,
        answers=config.group_size,
    )


def compare_in_groups(
    actors: Actors, sampled: SampledBatch, config: GRPOConfig, kl_coef: float
) -> tuple[Rollouts, dict[str, float]]:
    """Score responses and compute advantages within the groups of `group_size` neighbours; also returns metrics."""
    scores = score_rollouts(actors, sampled, config)
    rewards, metrics = rewards_of(scores, sampled, config, kl_coef)
    advantages = group_advantages(
        rewards,
        sampled.batch.response_mask,
        config.group_size,
        kind=config.advantage,
        gamma=config.gamma,
        normalise_std=config.normalise_std,
    )
    return Rollouts(sampled.batch, scores.logprobs, advantages), metrics
