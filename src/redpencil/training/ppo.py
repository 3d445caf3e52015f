"""PPO on dense or terminal rewards: the three rows of Table 1 are this function with other switches.

One step, read from top to bottom in `run_ppo`:
  1. answer a batch of prompts with the policy;
  2. score the responses: policy, reference, value and reward models;
  3. rewards (dense or terminal, less the KL penalty), advantages by GAE;
  4. `ppo_epochs` passes of clipped updates of policy and value model;
  5. now and then, answer the validation prompts and keep the best policy.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from redpencil.config import PPOConfig
from redpencil.errors import RedpencilError
from redpencil.maths.ppo import approx_kl, next_kl_coef, policy_loss, value_loss
from redpencil.models.codec import Codec, cut_alike, load_codec
from redpencil.models.forward import collate, response_logprobs, token_values
from redpencil.models.loading import (
    UNKNOWN,
    RewardModel,
    load_head,
    load_policy,
    load_reward_model,
    save_model,
    template_of,
)
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import EncodedPrompts, Sample, check_context, sample_responses
from redpencil.records import Response
from redpencil.runs import Stage, derive_seed, read_json
from redpencil.training.rollout import Actors, Rollouts, learn_from, roll_out, sampling_of, score
from redpencil.training.scoring import check_reads, dialogue_of
from redpencil.training.update import Objective, Optimization, make_optimization, micro_batches_of, update

Evaluate = Callable[[Sequence[Response]], dict[str, float]]
"""Judges the policy's responses to the validation prompts; the entry `win_rate` chooses the best policy, and without
one the reward on these prompts does."""


def policy_objective(policy: nn.Module, config: PPOConfig) -> Objective[Rollouts]:
    """The clipped surrogate over response tokens."""

    def terms(item: Rollouts) -> dict[str, Tensor]:
        logprobs = response_logprobs(policy, item.batch, config.temperature)
        response_mask = item.batch.response_mask
        loss, clipped = policy_loss(logprobs, item.logprobs, item.advantages, response_mask, config.cliprange)
        moved = approx_kl(logprobs.detach(), item.logprobs, response_mask)
        return {"policy_loss": loss, "clip_fraction": clipped, "approx_kl": moved}

    return Objective({"policy_loss": 1.0}, _tokens("policy_loss", "clip_fraction", "approx_kl"), terms)


def value_objective(value: nn.Module, config: PPOConfig) -> Objective[Rollouts]:
    """The clipped squared error of the values over response tokens."""

    def terms(item: Rollouts) -> dict[str, Tensor]:
        values = token_values(value, item.batch)
        loss, clipped = value_loss(values, item.values, item.returns, item.batch.response_mask, config.cliprange_value)
        return {"value_loss": loss, "value_clip_fraction": clipped}

    return Objective({"value_loss": config.vf_coef}, _tokens("value_loss", "value_clip_fraction"), terms)


def _tokens(*names: str) -> Callable[[Rollouts], dict[str, float]]:
    def counts(item: Rollouts) -> dict[str, float]:
        return dict.fromkeys(names, float(item.batch.response_mask.sum()))

    return counts


def load_actors(
    config: PPOConfig,
    policy: Path,
    token_reward: Path | None,
    sequence_reward: Path | None,
    runtime: Runtime,
    codec: Codec | None = None,
) -> Actors:
    """Load the models that `config.reward` needs; the value model's head starts at 0.

    A reward model with another tokenizer or prompt template than `codec` (by default the policy's own) gets a codec of
    its own, and no value model starts from it if its tokenizer differs.

    Raises:
        RedpencilError: if a reward model is missing or of another level, or if the value model would start from another
            architecture than the policy's.
    """
    codec = codec or load_codec(policy, template_of(policy))
    needs_token, needs_sequence = config.reward != "sequence", config.reward in ("sequence", "both")
    token = _reward_model(token_reward, "token", config, runtime, codec) if needs_token else None
    sequence = _reward_model(sequence_reward, "sequence", config, runtime, codec) if needs_sequence else None
    notes = [_read_otherwise(reward, codec) for reward in (token, sequence) if reward is not None and reward.codec]
    first, reward = (token_reward, token) if needs_token else (sequence_reward, sequence)
    backbone = policy if config.value_init == "policy" or first is None else first
    if backbone != policy and reward is not None and reward.codec and not cut_alike(reward.codec, codec):
        backbone = policy
        notes.append("the value model starts from the policy: it cannot read the policy's tokens as the reward model")
    _check_causal(policy, backbone)
    return Actors(
        policy=load_policy(policy, runtime, trained=True),
        reference=load_policy(policy, runtime, trained=False),
        value=load_head(backbone, "token", runtime, trained=True, zero_head=True),
        token_reward=token,
        sequence_reward=sequence,
        notes=tuple(notes),
    )


def _read_otherwise(reward: RewardModel, codec: Codec) -> str:
    """What a reward model with a codec of its own does otherwise, for the person who started the run."""
    assert reward.codec is not None
    same = cut_alike(reward.codec, codec)
    own = (
        f"the prompt template {reward.codec.template!r}" if same else "a tokenizer of its own, and the prompt template "
    )
    own += "" if same else repr(reward.codec.template)
    card = "" if reward.card.trained_on != UNKNOWN else "; it has no card, so its rewards are paid as they are"
    return f"the {reward.card.level} reward model reads text with {own}{card}"


def _check_causal(policy: Path, backbone: Path) -> None:
    """A value is a baseline only if it cannot see the action; an encoder such as BERT would see it."""
    ours, theirs = (read_json(folder / "config.json").get("model_type") for folder in (policy, backbone))
    if ours != theirs:
        raise RedpencilError(
            f"the value model cannot start from a {theirs} reward model for a {ours} policy",
            file=backbone,
            field="ppo.value_init",
            hint="set ppo.value_init=policy",
        )


def _reward_model(folder: Path | None, level: str, config: PPOConfig, runtime: Runtime, codec: Codec) -> RewardModel:
    if folder is None:
        raise RedpencilError(
            f"ppo.reward={config.reward} needs a {level}-level reward model",
            field="ppo.reward",
            hint=f"name its checkpoint with --{'sequence-' if config.reward == 'both' else ''}reward-model",
        )
    return load_reward_model(folder, runtime, level="token" if level == "token" else "sequence", reads=codec)


def _check_readers(actors: Actors, codec: Codec, prompts: Sequence[str]) -> None:
    """Every reward model can read the prompts: the ids that `codec` makes of them, or their text."""
    for reward in actors.rewards:
        if reward.codec is not None:
            check_reads(reward, prompts)
        elif reward.card.trained_on != UNKNOWN and reward.card.prompt_template != codec.template:
            raise ValueError("load_actors was given another codec than run_ppo")


def run_ppo(
    config: PPOConfig,
    *,
    actors: Actors,
    prompts: EncodedPrompts,
    validation: EncodedPrompts,
    evaluate: Evaluate,
    codec: Codec,
    runtime: Runtime,
    stage: Stage,
) -> None:
    """Train the policy; write `checkpoint/` (the best on the validation prompts) into the stage's folder."""
    set_seed(stage.seed)
    _check_readers(actors, codec, [row.prompt for row in (*prompts.records, *validation.records)])
    check_context(actors.policy, [*prompts.ids, *validation.ids], config.response_length)
    stage.notes["skipped prompts"] = prompts.skipped
    if actors.notes:
        stage.notes["models"] = list(actors.notes)
    optimizations = {
        "policy": _optimization(actors.policy, config.learning_rate, config, config.value_warmup_steps),
        "value": _optimization(actors.value, config.value_learning_rate or config.learning_rate, config),
    }
    draw = draw_prompts(len(prompts.ids), config.rollout_batch_size, derive_seed(stage.seed, "prompts"))
    watcher = Watcher(config, actors, validation, evaluate, codec, runtime, stage)
    stage.log(0, **watcher.look(0))
    kl_coef = config.kl_coef
    for step in range(1, config.total_steps + 1):
        drawn = next(draw)
        chosen, texts = [prompts.ids[i] for i in drawn], [prompts.records[i].prompt for i in drawn]
        rollouts, metrics = roll_out(actors, chosen, config, kl_coef, codec, runtime, texts=texts)
        metrics["kl_coef"] = kl_coef
        metrics |= learn(
            actors, rollouts, config, optimizations, runtime, train_policy=step > config.value_warmup_steps
        )
        if config.kl_target is not None:
            kl_coef = next_kl_coef(kl_coef, metrics["kl"], config.kl_target, config.kl_horizon, len(chosen))
        if step % config.eval_steps == 0 or step == config.total_steps:
            metrics |= watcher.look(step)
        stage.log(step, **metrics)
        note = f"reward {metrics['reward']:.2f}  kl {metrics['kl']:.1f}  length {metrics['length']:.0f}"
        stage.progress(step, config.total_steps, note + watcher.note)
    stage.notes["best"] = {"step": watcher.best_step, "value": watcher.best}


def _optimization(model: PreTrainedModel, learning_rate: float, config: PPOConfig, idle: int = 0) -> Optimization:
    """The schedule counts PPO steps without the `idle` first; all updates of one batch of rollouts share a rate."""
    return make_optimization(
        model,
        learning_rate=learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        total_steps=max(config.total_steps - idle, 0) + 1,
        weight_decay=config.weight_decay,
        adam_epsilon=config.adam_epsilon,
        max_grad_norm=config.max_grad_norm,
    )


def draw_prompts(count: int, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Batches of prompt indices for ever; all prompts occur before one occurs again."""
    generator = torch.Generator().manual_seed(seed)
    pool: list[int] = []
    while True:
        while len(pool) < batch_size:
            pool += torch.randperm(count, generator=generator).tolist()
        yield pool[:batch_size]
        pool = pool[batch_size:]


def learn(
    actors: Actors,
    rollouts: Rollouts,
    config: PPOConfig,
    optimizations: dict[str, Optimization],
    runtime: Runtime,
    *,
    train_policy: bool = True,
) -> dict[str, float]:
    """`ppo_epochs` passes of updates over one batch of rollouts; returns the mean of each metric."""
    objectives = {"value": value_objective(actors.value, config)}
    if train_policy:
        objectives["policy"] = policy_objective(actors.policy, config)
    logged: list[dict[str, float]] = []
    for _ in range(config.ppo_epochs):
        order = torch.randperm(len(rollouts.logprobs)).tolist()
        for start in range(0, len(order), config.batch_size):
            parts = micro_batches_of(order[start : start + config.batch_size], config.micro_batch_size)
            items = [rollouts.select(part) for part in parts]
            row: dict[str, float] = {}
            for name, objective in objectives.items():
                got = update(optimizations[name], items, objective, runtime, advance_schedule=False)
                row |= {key if key not in ("loss", "grad_norm") else f"{name}_{key}": v for key, v in got.items()}
            logged.append(row)
    for name in objectives:
        optimizations[name].scheduler.step()
    return {name: sum(row[name] for row in logged) / len(logged) for name in logged[0]}


class Watcher:
    """Answers the validation prompts now and then, has them judged, and keeps the best policy so far."""

    def __init__(
        self,
        config: PPOConfig,
        actors: Actors,
        validation: EncodedPrompts,
        evaluate: Evaluate,
        codec: Codec,
        runtime: Runtime,
        stage: Stage,
    ) -> None:
        self.config, self.actors, self.validation = config, actors, validation
        self.evaluate, self.codec, self.runtime, self.stage = evaluate, codec, runtime, stage
        self.best, self.best_step, self.note = -math.inf, 0, ""

    def look(self, step: int) -> dict[str, float]:
        """Metrics named `eval/...`. The best policy is the one of the highest win rate or, without a judge, of the
        highest reward on the validation prompts.
        """
        device = self.runtime.device
        # Without `devices` the generators of every GPU of the machine are kept, with a warning where there are several.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(self.stage.seed, "validation"))
            sampling = sampling_of(self.config)
            samples = sample_responses(self.actors.policy, self.codec, self.validation.ids, sampling, self.runtime)
        texts = self.codec.decode([sample.ids for sample in samples])
        responses = [
            Response(prompt.id, prompt.prompt, text, self.stage.name, sample.finished)
            for prompt, text, sample in zip(self.validation.records, texts, samples, strict=True)
        ]
        judged = self.evaluate(responses)
        if "win_rate" not in judged:
            judged["reward"] = self._reward(samples)
        value = judged["win_rate" if "win_rate" in judged else "reward"]
        if value > self.best or step == 0:
            self.best, self.best_step = value, step
            folder = self.stage.folder / "checkpoint"
            shutil.rmtree(folder, ignore_errors=True)
            save_model(self.actors.policy, self.codec, folder)
        if "win_rate" in judged:
            self.note = f"  win rate {judged['win_rate']:.1f}"
        length = sum(len(sample.ids) for sample in samples) / len(samples)
        return {"eval/length": length, **{f"eval/{name}": number for name, number in judged.items()}}

    def _reward(self, samples: Sequence[Sample]) -> float:
        batch = collate(self.validation.ids, [s.ids for s in samples], self.codec.pad_id, self.runtime.device)
        texts = [prompt.prompt for prompt in self.validation.records]
        dialogue = dialogue_of(self.codec, texts, samples) if self.actors.read_text else None
        scores = score(self.actors, batch, self.config, self.runtime, dialogue)
        return learn_from(scores, batch, samples, self.config, kl_coef=0.0)[1]["reward"]
