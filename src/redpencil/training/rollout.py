"""Rollouts: sample responses, score them, and turn scores into rewards; shared by the methods that learn from rewards.

PPO and GRPO differ in how rewards become advantages (`training.ppo`, `training.grpo`). All else is here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from redpencil.adapters import model_config
from redpencil.config.compute import RewardLevel
from redpencil.config.methods import RolloutConfig, SamplingConfig
from redpencil.errors import DivergedError, NotFiniteError, RedpencilError, naming
from redpencil.maths.masked import masked_mean, masked_sum
from redpencil.maths.ppo import approx_kl, kl_estimate, policy_loss, ppo_rewards
from redpencil.models.checkpoints import LanguageModel, RewardModel, load_head, load_policy, load_reward_model
from redpencil.models.codec import Codec, same_tokenizer
from redpencil.models.forward import Batch, response_logprobs, response_scores, token_values
from redpencil.models.log_ratio import parts_of
from redpencil.models.lora import Bases
from redpencil.models.runtime import Runtime
from redpencil.models.samplers import make_sampler
from redpencil.models.sampling import Sample, Sampler, check_context
from redpencil.models.sharing import APART, Sharing
from redpencil.models.sidecar import UNKNOWN
from redpencil.runs import derive_seed
from redpencil.training.scoring import (
    SampledBatch,
    Scorer,
    check_finite,
    in_parts,
    make_scorer,
    sampled_batch,
    take,
    widths_of,
)
from redpencil.training.update import Objective, Optimization, make_optimization, own_items, update
from redpencil.turns import Asked


@dataclass(frozen=True, slots=True)
class Actors:
    """The models of a method that learns from rewards.

    scorers: the reward models, as `config.reward` needs them: a token-level one, a sequence-level one, or both.
    value: the critic; None for methods without one.
    notes: decisions that were made while they were loaded, in sentences.
    """

    policy: LanguageModel
    reference: LanguageModel
    scorers: tuple[Scorer, ...]
    sampler: Sampler
    value: LanguageModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def sharing(self) -> Sharing:
        """How policy, reference and value model read rows; apart unless all of them can share."""
        models = (self.policy, self.reference, *([] if self.value is None else [self.value]))
        ways = [model.sharing for model in models]
        return next((way for way in ways if way.width is None), ways[0])

    def check_prompts(self, prompts: Sequence[Asked]) -> None:
        """Refuse prompts that a reward model cannot score any response to.

        Raises:
            RedpencilError: naming the problem.
        """
        for scorer in self.scorers:
            scorer.check_prompts(prompts)

    def check_context(self, prompt_ids: Sequence[Sequence[int]], response_length: int) -> None:
        """Refuse prompts that a model which reads the policy's tokens cannot read with a response.

        Raises:
            RedpencilError: naming the model's folder.
        """
        models = [scorer.reward.model for scorer in self.scorers if scorer.reward.same_encoding]
        for model in (*models, *([] if self.value is None else [self.value])):
            with naming(Path(model.name)):
                check_context(model.context, prompt_ids, model.readings * response_length)


def load_actors(
    config: RolloutConfig,
    policy: Path,
    token_reward: Path | None,
    sequence_reward: Path | None,
    runtime: Runtime,
    codec: Codec,
    seed: int = 0,
) -> Actors:
    """Load the models that a method needs; the head of a value model starts at 0, and so do new adapters.

    With `config.lora` all models that are, or adapt, the same base share it in memory. `seed` is that of new adapters.

    A reward model with another tokenizer or prompt template than `codec` reads text, and no value model starts from it
    if its tokenizer differs.

    Raises:
        RedpencilError: if a reward model is missing or of another level, or if the value model would start from another
            architecture than the policy's.
    """
    bases, lora = Bases(), config.lora
    model = load_policy(
        policy, runtime, trained=True, codec=codec, seed=derive_seed(seed, "policy"), lora=lora, bases=bases
    )
    needs_token, needs_sequence = (level in config.reward_levels for level in ("token", "sequence"))
    token = _reward_model(token_reward, "token", config, runtime, codec, bases) if needs_token else None
    sequence = _reward_model(sequence_reward, "sequence", config, runtime, codec, bases) if needs_sequence else None
    rewards = [reward for reward in (token, sequence) if reward is not None]
    notes = [_encoding_note(reward, codec) for reward in rewards if not reward.same_encoding]
    value = None
    if config.value_backbone is not None:
        backbone = _value_backbone(config, policy, token_reward if needs_token else sequence_reward, rewards[0], codec)
        if backbone is None:
            backbone = policy
            notes.append("the value model starts from the policy: the reward model cannot read the policy's tokens")
        value = load_head(
            *(backbone, "token", runtime),
            trained=True,
            zero_head=True,
            codec=codec,
            seed=derive_seed(seed, "value"),
            lora=lora,
            bases=bases,
        )
    reference = load_policy(policy, runtime, trained=False, codec=codec, lora=lora, bases=bases, reference=True)
    bases.shard(runtime)
    return Actors(
        policy=model,
        reference=reference,
        scorers=tuple(make_scorer(reward, config) for reward in rewards),
        sampler=make_sampler(model, config.sampler),
        value=value,
        notes=tuple(notes),
    )


def _reward_model(
    folder: Path | None, level: RewardLevel, config: RolloutConfig, runtime: Runtime, codec: Codec, bases: Bases
) -> RewardModel:
    if folder is None:
        raise RedpencilError(
            f"reward={config.reward} needs a {level}-level reward model",
            field="reward",
            hint=f"name its checkpoint with --{'sequence-' if config.reward == 'both' else ''}reward-model",
        )
    return load_reward_model(
        folder,
        runtime,
        level=level,
        policy_codec=codec,
        lora=config.lora,
        bases=bases,
        weights=level not in config.reward_servers,
    )


def _encoding_note(reward: RewardModel, codec: Codec) -> str:
    """Say how a reward model with an encoding of its own reads text."""
    own = f"the prompt template {reward.model.codec.template!r}"
    if not same_tokenizer(reward.model.codec, codec):
        own = f"a tokenizer of its own, and {own}"
    card = "" if reward.card.trained_on != UNKNOWN else "; it has no card, so its rewards are paid as they are"
    return f"the {reward.card.level} reward model reads text with {own}{card}"


def _value_backbone(
    config: RolloutConfig, policy: Path, reward_folder: Path | None, reward: RewardModel, codec: Codec
) -> Path | None:
    """Choose the checkpoint that the value model starts from; None if it is a reward model that reads other tokens.

    A value is a baseline only if it cannot see the action; an encoder such as BERT would see it. A reward model that is
    made of policies has no backbone of its own.
    """
    if config.value_backbone == "policy" or reward_folder is None or parts_of(reward_folder) is not None:
        return policy
    if not reward.same_encoding and not same_tokenizer(reward.model.codec, codec):
        return None
    policy_type, reward_type = (model_config(path).get("model_type") for path in (policy, reward_folder))
    if policy_type != reward_type:
        raise RedpencilError(
            f"the value model cannot start from a {reward_type} reward model for a {policy_type} policy",
            file=reward_folder,
            field="ppo.value_init",
            hint="set ppo.value_init=policy",
        )
    return reward_folder


@dataclass(frozen=True, slots=True)
class Scores:
    """The frozen models' numbers on sampled responses; every tensor [B, T] but `sequence_reward` and `truncated`, [B].

    Rewards are standardised with the centre and scale of their reward model's card. `truncated` is there if a reward
    model read texts: True where the response did not fit into its context.
    """

    logprobs: Tensor
    ref_logprobs: Tensor
    entropy: Tensor
    values: Tensor | None
    token_rewards: Tensor | None
    sequence_reward: Tensor | None
    truncated: Tensor | None


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A batch of sampled responses, ready to learn from; tensors are [B, T] and 0 on padding.

    `values` and `returns` are there for methods with a value model.
    """

    batch: Batch
    logprobs: Tensor
    advantages: Tensor
    values: Tensor | None = None
    returns: Tensor | None = None

    def select(self, rows: Sequence[int], sharing: Sharing = APART) -> "Rollouts":
        """Take some rows, without the columns that only other rows need, as models read them."""
        index, batch = torch.tensor(rows, device=self.logprobs.device), take(self.batch, rows, sharing)
        kept = (self.logprobs, self.advantages, self.values, self.returns)
        parts = (None if tensor is None else tensor[index, : batch.response_width] for tensor in kept)
        return Rollouts(batch, *parts)  # type: ignore[arg-type]


def sampling_of(config: RolloutConfig) -> SamplingConfig:
    """Sample rollouts from the policy itself: no nucleus, so that log-probabilities are those of the sampler."""
    return SamplingConfig(
        temperature=config.temperature,
        response_length=config.response_length,
        max_prompt_length=config.max_prompt_length,
        batch_size=config.generation_batch_size or config.rollout_batch_size,
    )


def draw_prompts(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Draw batches of prompt indices for ever; all prompts occur before one occurs again."""
    generator = torch.Generator().manual_seed(seed)
    pool: list[int] = []
    while True:
        while len(pool) < batch_size:
            pool += torch.randperm(count, generator=generator).tolist()
        yield pool[:batch_size]
        pool = pool[batch_size:]


def sample_rollouts(
    actors: Actors,
    prompt_ids: Sequence[Sequence[int]],
    prompts: Sequence[Asked],
    config: RolloutConfig,
    seed: int,
) -> SampledBatch:
    """Answer prompts, given as token ids and as text, with the policy."""
    size = config.generation_batch_size or len(prompt_ids)
    sampling = sampling_of(config).model_copy(update={"batch_size": size})
    samples = actors.sampler.sample(prompt_ids, sampling, seed=seed)
    return sampled_batch(actors.policy, prompt_ids, samples, prompts)


@torch.no_grad()
def score_rollouts(actors: Actors, sampled: SampledBatch, config: RolloutConfig) -> Scores:
    """Run every model over the responses, `micro_batch_size` rows at a time.

    Raises:
        NotFiniteError: if a reward, a value or a log-probability is not a finite number.
    """
    logprobs, ref_logprobs, entropy, values = in_parts(
        sampled.batch,
        config.micro_batch_size or config.batch_size,
        actors.policy.runtime,
        lambda part: _score_rows(actors, part, config),
        actors.sharing,
    )
    assert logprobs is not None
    assert ref_logprobs is not None
    assert entropy is not None
    mask = sampled.batch.response_mask
    check_finite(logprobs, "the policy", "a response the log-probability", actors.policy.name, mask)
    check_finite(ref_logprobs, "the reference", "a response the log-probability", actors.reference.name, mask)
    if values is not None and actors.value is not None:
        check_finite(values, "the value model", "a response the value", actors.value.name, mask)
    token_rewards, sequence_reward, truncated = score_rewards(actors, sampled)
    return Scores(logprobs, ref_logprobs, entropy, values, token_rewards, sequence_reward, truncated)


def _score_rows(actors: Actors, batch: Batch, config: RolloutConfig) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return logprobs, ref_logprobs, entropy and values."""
    with actors.policy.runtime.autocast():
        logprobs, entropy = response_scores(actors.policy.module, batch, config.temperature)
        assert entropy is not None
        return (
            logprobs,
            response_logprobs(actors.reference.module, batch, config.temperature),
            entropy,
            None if actors.value is None else token_values(actors.value.module, batch),
        )


def score_rewards(actors: Actors, sampled: SampledBatch) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Run the reward models over the responses: (token rewards [B, T], sequence reward [B], truncated [B])."""
    token_rewards = sequence_reward = truncated = None
    for scorer in actors.scorers:
        scored = scorer.score(sampled)
        if scored.rewards.ndim == 2:
            token_rewards = scored.rewards
        else:
            sequence_reward = scored.rewards
        if scored.truncated is not None:
            truncated = scored.truncated if truncated is None else truncated | scored.truncated
    return token_rewards, sequence_reward, truncated


def rewards_of(
    scores: Scores, sampled: SampledBatch, config: RolloutConfig, kl_coef: float
) -> tuple[Tensor, dict[str, float]]:
    """Turn scores into the reward of each token, [B, T], less its KL penalty; also returns metrics of the batch."""
    response_mask = sampled.batch.response_mask
    finished = _finished(sampled)
    kl = kl_estimate(scores.logprobs, scores.ref_logprobs, config.kl_estimator)
    rewards = ppo_rewards(
        config.reward,
        token_rewards=scores.token_rewards,
        sequence_reward=scores.sequence_reward,
        kl=kl,
        kl_coef=kl_coef,
        kl_term=config.kl_term,
        response_mask=response_mask,
        finished=finished,
        missing_eos_penalty=config.missing_eos_penalty,
    )
    earned = _earned(scores.token_rewards, scores.sequence_reward, sampled, config)
    k1 = masked_sum(kl_estimate(scores.logprobs, scores.ref_logprobs, "k1"), response_mask, dim=-1)
    metrics = {
        "reward": float(earned.mean()),
        "reward_std": float(earned.std(correction=0)),
        "kl": float(k1.mean()),
        "length": float(sampled.batch.lengths.float().mean()),
        "finished": float(finished.float().mean()),
        "entropy": float(masked_mean(scores.entropy, response_mask)),
    }
    stale = [sample.staleness for sample in sampled.samples]
    if any(stale):
        metrics["staleness"] = sum(stale) / len(stale)
    if scores.truncated is not None:
        metrics["cut_for_reward_model"] = float(scores.truncated.float().mean())
    return rewards, metrics


def mean_reward(
    actors: Actors,
    prompt_ids: Sequence[Sequence[int]],
    prompts: Sequence[Asked],
    samples: Sequence[Sample],
    config: RolloutConfig,
) -> float:
    """Average the rewards of responses, without a KL penalty."""
    sampled = sampled_batch(actors.policy, prompt_ids, samples, prompts)
    token_rewards, sequence_reward, _ = score_rewards(actors, sampled)
    return float(_earned(token_rewards, sequence_reward, sampled, config).mean())


def _finished(sampled: SampledBatch) -> Tensor:
    return torch.tensor([sample.finished for sample in sampled.samples], device=sampled.batch.response_mask.device)


def _earned(
    token_rewards: Tensor | None, sequence_reward: Tensor | None, sampled: SampledBatch, config: RolloutConfig
) -> Tensor:
    """Sum the rewards of each response without the KL penalty, [B]."""
    mask = sampled.batch.response_mask
    rewards = ppo_rewards(
        config.reward,
        token_rewards=token_rewards,
        sequence_reward=sequence_reward,
        kl=torch.zeros(mask.shape, device=mask.device),
        kl_coef=0.0,
        kl_term="none",
        response_mask=mask,
        finished=_finished(sampled),
        missing_eos_penalty=config.missing_eos_penalty,
    )
    return rewards.sum(dim=-1)


def token_counts(*names: str) -> Callable[[Rollouts], dict[str, float]]:
    """Make the counts of an objective whose terms are all means over response tokens."""

    def counts(item: Rollouts) -> dict[str, float]:
        return dict.fromkeys(names, float(item.batch.response_mask.sum()))

    return counts


def policy_objective(policy: nn.Module, config: RolloutConfig) -> Objective[Rollouts]:
    """Return the clipped surrogate over response tokens."""

    def terms(item: Rollouts) -> dict[str, Tensor]:
        logprobs = response_logprobs(policy, item.batch, config.temperature)
        response_mask = item.batch.response_mask
        loss, clipped = policy_loss(logprobs, item.logprobs, item.advantages, response_mask, config.cliprange)
        moved = approx_kl(logprobs.detach(), item.logprobs, response_mask)
        return {"policy_loss": loss, "clip_fraction": clipped, "approx_kl": moved}

    return Objective({"policy_loss": 1.0}, token_counts("policy_loss", "clip_fraction", "approx_kl"), terms)


def optimization_for(model: LanguageModel, learning_rate: float, config: RolloutConfig, idle: int = 0) -> Optimization:
    """Make an optimisation whose schedule counts batches of rollouts, without the `idle` first.

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


Skip = Callable[[NotFiniteError], None]


def refuse(error: NotFiniteError) -> None:
    """Let no update be left out."""
    raise error


def update_on_rollouts(
    rollouts: Rollouts,
    objectives: Mapping[str, Objective[Rollouts]],
    optimizations: Mapping[str, Optimization],
    epochs: int,
    config: RolloutConfig,
    runtime: Runtime,
    seed: int,
    skip: Skip = refuse,
    sharing: Sharing = APART,
) -> dict[str, float]:
    """Update models in shuffled passes over one batch of rollouts; each schedule advances once.

    The seed decides the order of the rollouts, and is the same in all processes of a stage. `skip` hears of updates
    whose numbers are not finite, and raises what it does not let be left out. A schedule stays where all updates of its
    model are left out. `sharing` says how all of the models read rows.

    Returns:
        The mean of each metric over the updates.

    Raises:
        DivergedError: as `update`, with the indices of the rollouts.
    """
    logged: list[dict[str, float]] = []
    widths = dict(enumerate(widths_of(rollouts.batch)))
    make = partial(rollouts.select, sharing=sharing)
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(derive_seed(seed, epoch))
        order = torch.randperm(len(rollouts.logprobs), generator=generator).tolist()
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            items, idle = own_items(batch, config.micro_batch_size, make, runtime, widths)
            row: dict[str, float] = {}
            for name, objective in objectives.items():
                try:
                    metrics = update(optimizations[name], items, objective, runtime, advance_schedule=False, idle=idle)
                except DivergedError as error:
                    error.rows = batch
                    if not isinstance(error, NotFiniteError):
                        raise
                    skip(error)
                    continue
                metrics[f"{name}_grad_norm"] = metrics.pop("grad_norm")
                del metrics["loss"]  # The weighted sum of the terms, which are logged as they are.
                row |= metrics
            logged.append(row)
    found: dict[str, list[float]] = {}
    for row in logged:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    for name in objectives:
        if f"{name}_grad_norm" in found:
            optimizations[name].scheduler.step()
    return {name: sum(values) / len(values) for name, values in found.items()}
