"""Rewards of texts by reward models: raw ones for pairs and files, standardised ones on the tokens of a policy.

A reward model with the policy's tokenizer and prompt template reads the policy's token ids as they are
(`TokenScorer`). Any other one reads text (`TextScorer`): the prompt in its own template, the response through its own
tokenizer. Its rewards are standardised on its own tokens, for that is what its centre was measured on (a response of n
of its tokens loses n centres, however many tokens the policy took), and then projected onto the policy's tokens so that
their sum is kept.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from redpencil.alignment.projection import TokenRewards, project_rows
from redpencil.config.compute import RewardLevel
from redpencil.config.methods import RolloutConfig
from redpencil.errors import NotFiniteError, RedpencilError
from redpencil.maths.ppo import standardise
from redpencil.maths.reward_losses import join_heads
from redpencil.models.checkpoints import LanguageModel, RewardModel
from redpencil.models.codec import Codec, same_tokenizer
from redpencil.models.forward import (
    Batch,
    collate,
    reads_left_to_right,
    sequence_increments,
    sequence_rewards,
    token_rewards,
)
from redpencil.models.heads import head_of
from redpencil.models.log_ratio import parts_of
from redpencil.models.reward_server import RewardServer, connect_reward_model
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import Sample, check_context, check_vocabulary, place
from redpencil.models.shared_rows import lay_out
from redpencil.models.sharing import APART, Sharing, alike
from redpencil.models.sidecar import RewardCard
from redpencil.records import Pair, Response
from redpencil.runs import no_progress
from redpencil.training.batches import even_batches, neighbours, switch_of
from redpencil.training.features import hidden_rows, keeps_backbone
from redpencil.turns import Asked, prompt_text

BATCH_SIZE = 64

Ids = Sequence[Sequence[int]]


# Raw rewards, of prompts and responses in the model's own tokens.


def encode_samples(responses: Sequence[Response], codec: Codec) -> list[tuple[list[int], tuple[int, ...]]]:
    """Tokenise responses into (prompt ids, response ids); one that was cut off at the length limit has no EOS."""
    if not responses:
        return []
    prompts = codec.encode_prompts(responses)
    encoded = codec.encode_responses([row.response for row in responses], finished=[row.finished for row in responses])
    return [(prompt, tokens.ids) for prompt, tokens in zip(prompts, encoded, strict=True)]


def check_fits(
    context: int | None, readings: int, prompts: Ids, responses: Ids, names: Sequence[str] | None = None
) -> None:
    """Refuse texts that a reward model which reads `context` tokens, responses `readings` times, cannot read.

    Raises:
        RedpencilError: for the first row whose prompt and response are longer than its context; `names` names it.
    """
    for index, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        tokens = len(prompt) + readings * len(response)
        if context is not None and tokens > context:
            row = "a prompt and its response" if names is None else f"the prompt and response {names[index]!r}"
            raise RedpencilError(
                f"{row} have {tokens} tokens, the reward model reads {context}",
                hint="leave out the longest texts, or use a reward model with a longer context",
            )


def check_room(
    codec: Codec, context: int | None, readings: int, policy: Codec, prompts: Sequence[Asked], response_length: int
) -> None:
    """Refuse prompts that leave a reward model no room for the responses of a policy, before there are any.

    With another tokenizer than the policy's nobody knows how long they will be: then there must be room for a token.

    Args:
        codec: tokenizer and prompt template of the reward model.
        context: the most tokens that it reads.
        readings: how often it reads a response.
        policy: tokenizer of the policy.
        prompts: what the policy is asked.
        response_length: the most tokens of a response.

    Raises:
        RedpencilError: as `check_context`.
    """
    check_context(
        context, codec.encode_prompts(prompts), readings * (response_length if same_tokenizer(codec, policy) else 1)
    )


def _by_batches(
    model: LanguageModel, forward: Callable[[nn.Module, Batch], Tensor], prompts: Ids, responses: Ids
) -> list[Tensor]:
    """Run a model over texts: what it gives for each, of tokens of a response as many as there are, on the CPU.

    Texts of similar length, and those to one prompt, share a batch. One that occurs several times is read once, so
    that equal responses get equal rewards to the last bit.
    """
    check_fits(model.context, model.readings, prompts, responses)
    texts = [(tuple(prompt), tuple(response)) for prompt, response in zip(prompts, responses, strict=True)]
    distinct = list(dict.fromkeys(texts))
    order = neighbours(
        [prompt for prompt, _ in distinct], [len(prompt) + len(response) for prompt, response in distinct]
    )
    portions = [[distinct[i] for i in order[start : start + BATCH_SIZE]] for start in range(0, len(order), BATCH_SIZE)]

    def score(part: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
        batch = model.collate([prompt for prompt, _ in part], [response for _, response in part])
        with model.runtime.autocast():
            found = forward(model.module, batch).cpu()
        mask = batch.response_mask.cpu()
        return list(found) if found.ndim == 1 else [row[counts] for row, counts in zip(found, mask, strict=True)]

    parts = zip(portions, model.runtime.spread(portions, score), strict=True)
    scored = {text: row for part, rows in parts for text, row in zip(part, rows, strict=True)}
    return [scored[text] for text in texts]


@torch.no_grad()
def score_tokens(model: LanguageModel, prompts: Ids, responses: Ids, store: Path | None = None) -> list[Tensor]:
    """Compute the raw rewards of each response's tokens, one [T_i] tensor on the CPU for each.

    `store` is a folder of hidden states, which are read from there, and kept, for a model whose head alone was trained.
    """
    if store is not None and keeps_backbone(model):
        return [_by_head(model, states) for states in _kept_states(model, "token", prompts, responses, store)]
    return _by_batches(model, token_rewards, prompts, responses)


@torch.no_grad()
def score_sequences(model: LanguageModel, prompts: Ids, responses: Ids, store: Path | None = None) -> Tensor:
    """Compute the raw rewards of responses, [B] on the CPU; `store` as in `score_tokens`."""
    if store is not None and keeps_backbone(model):
        states = _kept_states(model, "sequence", prompts, responses, store)
        return torch.cat([_by_head(model, one) for one in states]) if states else torch.zeros(0)
    rewards = _by_batches(model, sequence_rewards, prompts, responses)
    return torch.stack(rewards) if rewards else torch.zeros(0)


def _kept_states(
    model: LanguageModel, level: RewardLevel, prompts: Ids, responses: Ids, store: Path
) -> Sequence[Tensor]:
    check_fits(model.context, model.readings, prompts, responses)
    return hidden_rows(model, level, list(zip(prompts, responses, strict=True)), store, no_progress)


def _by_head(model: LanguageModel, states: Tensor) -> Tensor:
    """The rewards [T] that the head of a model makes of hidden states [T, H]."""
    head = head_of(model.module)
    scores: Tensor = head(states.to(head.weight)).float()
    if scores.shape[-1] == 1:
        return scores[:, 0].cpu()
    mask = torch.ones(1, len(scores), dtype=torch.bool, device=scores.device)
    return join_heads(scores[None, :, 0], scores[None, :, 1], mask)[0].cpu()


def score_ids(reward: RewardModel, prompts: Ids, responses: Ids) -> list[float]:
    """Compute one raw reward for each response: that of a sequence model, or of a token model by Eq. 1."""
    if reward.card.level == "sequence":
        return [float(score) for score in score_sequences(reward.model, prompts, responses)]
    return [float(row.mean()) if len(row) else 0.0 for row in score_tokens(reward.model, prompts, responses)]


def pair_margins(reward: RewardModel, pairs: Sequence[Pair]) -> list[float]:
    """Compute R(chosen) - R(rejected) of each pair (Table 2 counts how often it is above 0)."""
    sides = [side for pair in pairs for side in (pair.chosen_ids, pair.rejected_ids)]
    scores = score_ids(reward, [pair.prompt_ids for pair in pairs for _ in range(2)], sides)
    return [better - worse for better, worse in zip(scores[::2], scores[1::2], strict=True)]


def check_rewards(
    reward: RewardModel, rewards: Tensor | Sequence[float], what: str = "a response", mask: Tensor | None = None
) -> None:
    """Refuse rewards that nothing can be learned, picked or measured by; `what` they are of.

    Raises:
        NotFiniteError: as `check_finite`.
    """
    numbers = rewards if isinstance(rewards, Tensor) else torch.tensor(rewards, dtype=torch.float64)
    check_finite(numbers, "the reward model", f"{what} the reward", reward.model.name, mask)


def check_finite(numbers: Tensor, who: str, what: str, folder: str, mask: Tensor | None = None) -> None:
    """Refuse numbers of rows, [B] or [B, T], that are NaN or infinite where `mask` counts.

    Raises:
        NotFiniteError: saying which model (`who`) gives what, and naming its folder and the rows.
    """
    wrong = ~numbers.isfinite() if mask is None else ~numbers.isfinite() & mask
    if bool(wrong.any()):
        error = NotFiniteError(
            f"{who} gives {what} {float(numbers[wrong][0])}",
            file=folder,
            hint=f"its weights are damaged, or training broke down: take another checkpoint of {who}",
        )
        error.rows = wrong.reshape(len(wrong), -1).any(dim=1).nonzero()[:, 0].tolist()
        raise error


# Standardised rewards, on the tokens of a policy.


@dataclass(frozen=True, slots=True)
class SampledBatch:
    """B responses of a policy: its token ids in a padded batch, and the prompts, texts or records."""

    batch: Batch
    samples: Sequence[Sample]
    prompts: Sequence[Asked]
    codec: Codec
    """The policy's."""


def sampled_batch(
    policy: LanguageModel, prompt_ids: Ids, samples: Sequence[Sample], prompts: Sequence[Asked]
) -> SampledBatch:
    """Collate samples for scoring.

    Raises:
        ValueError: if there is not one prompt for each response.
    """
    if len(prompts) != len(samples):
        raise ValueError(f"{len(samples)} responses to {len(prompts)} prompts")
    batch = collate(prompt_ids, [sample.ids for sample in samples], policy.codec.pad_id, policy.runtime.device)
    return SampledBatch(batch, samples, prompts, policy.codec)


def micro_batches(batch: Batch, size: int) -> Iterator[Batch]:
    """Cut a batch into parts of `size` rows, each of which is read by itself."""
    names = ("input_ids", "attention_mask", "position_ids", "response_mask")
    for start in range(0, len(batch.input_ids), size):
        yield Batch(**{name: getattr(batch, name)[start : start + size] for name in names})


def take(batch: Batch, rows: Sequence[int], sharing: Sharing = APART) -> Batch:
    """Take some rows, without the columns that only other rows need, as a model reads them."""
    index = torch.tensor(rows, device=batch.input_ids.device)
    mask, attention = batch.response_mask[index], batch.attention_mask[index]
    left, width = int(attention.argmax(dim=1).min()), max(1, int(mask.sum(dim=1).max()))
    columns = slice(left, batch.prompt_width + width)
    part = Batch(
        input_ids=batch.input_ids[index, columns],
        attention_mask=attention[:, columns],
        position_ids=batch.position_ids[index, columns],
        response_mask=mask[:, :width],
    )
    read = zip(part.input_ids.tolist(), part.attention_mask.tolist(), part.lengths.tolist(), strict=True)
    texts = [([i for i, counts in zip(ids, real, strict=True) if counts], length) for ids, real, length in read]
    prompts = [ids[: len(ids) - length] for ids, length in texts]
    plan = sharing.plan([ids for ids, _ in texts], alike(prompts))
    if plan is None:
        return part
    responses = [ids[len(ids) - length :] for ids, length in texts]
    return replace(part, shared=lay_out(plan, prompts, responses, 0, part.input_ids.device))


def widths_of(batch: Batch) -> list[int]:
    """Count the tokens of each row."""
    widths: list[int] = batch.attention_mask.sum(dim=1).tolist()
    return widths


Numbers = Sequence[Tensor | None]


def in_parts(
    batch: Batch, size: int, runtime: Runtime, work: Callable[[Batch], Numbers], sharing: Sharing = APART
) -> list[Tensor | None]:
    """Run models over the rows of a batch, `size` at most at a time, rows of similar length together.

    Args:
        batch: [B, P + T].
        size: rows of a part.
        runtime: its processes work on the parts.
        work: returns numbers of each row of a part, [b], or of each token of its responses, [b, T'].
        sharing: how the models read rows.

    Returns:
        For each that `work` returns, [B] or [B, T]; 0 on padding. None where `work` has None.
    """
    widths, mask = widths_of(batch), batch.response_mask
    size = min(size, -(-len(widths) // runtime.data_size))
    parts = even_batches(widths, size, switch_of(runtime.device))
    found: list[Tensor | None] = []
    for column in zip(*runtime.spread(parts, lambda rows: work(take(batch, rows, sharing))), strict=True):
        first = column[0]
        if first is None:
            found.append(None)
            continue
        whole = first.new_zeros((len(widths), *mask.shape[1:])[: first.ndim], device=runtime.device)
        for rows, part in zip(parts, column, strict=True):
            assert part is not None
            if part.ndim == 1:
                whole[rows] = part.to(runtime.device)
            else:
                whole[rows, : part.shape[1]] = part.to(runtime.device)
        found.append(whole if first.ndim == 1 else whole.masked_fill(~mask, 0))
    return found


@dataclass(frozen=True, slots=True)
class Standardise:
    """How raw rewards become those that a policy is paid: (r - center) / scale, clipped to +-clip."""

    center: float
    scale: float
    clip: float | None

    def __call__(self, rewards: Tensor) -> Tensor:
        rewards = standardise(rewards, self.center, self.scale)
        return rewards if self.clip is None else rewards.clamp(-self.clip, self.clip)


def standardise_by(card: RewardCard, config: RolloutConfig) -> Standardise:
    """Take centre and scale from a reward model's card, as far as the configuration asks for them.

    Increments have no centre: that of the response and that of its prompt alone cancel out.
    """
    center, scale = card.center, card.scale
    if config.reward == "token_mean_at_end":
        center, scale = card.trajectory_center, card.trajectory_scale
    if config.reward == "increments":
        center = 0.0
    return Standardise(
        center if config.center_rewards else 0.0, scale if config.scale_rewards else 1.0, config.reward_clip
    )


LARGEST_GAIN: Final = 100.0
"""Rewards that are divided by less than its inverse are said to be amplified."""
LEAST_SCALE: Final = 1e-6
"""The scale of rewards that do not differ, by which something is still divided."""
_CLEAR: Final = 30.0
"""Times that the scale of rewards should be above their rounding errors."""


def doubts(reward: RewardModel, config: RolloutConfig | None = None) -> list[str]:
    """Say what speaks against learning from a reward model, or choosing by it, as far as its card shows it.

    Args:
        config: how its rewards are paid; None where they are only compared.

    Raises:
        RedpencilError: if all its rewards are 0, as when the policy that it is made of learned nothing.
    """
    card, found = reward.card, list[str]()
    _check_pays(card, Path(reward.model.name))
    # Without the folders above, which differ between two runs of one recipe.
    name = f"the reward model {Path(*Path(reward.model.name).parts[-2:])}"
    if card.learned is False:
        ended = ""
        if card.training_loss is not None and card.constant_loss is not None:
            ended = f": its training ended at a loss of {card.training_loss:.4f}, where a model that rewards all alike "
            ended += f"has {card.constant_loss:.4f}"
        found.append(
            f"{name} has not learned{ended}. Train it at a higher reward.learning_rate, longer, or on more pairs"
        )
    if config is None or not config.scale_rewards:
        return found
    center, scale = card.center, card.scale
    if config.reward == "token_mean_at_end":
        center, scale = card.trajectory_center, card.trajectory_scale
    rounding = torch.finfo(reward.model.runtime.dtype).eps * abs(center)
    if card.level == "token" and config.reward != "token_mean_at_end":
        rounding *= math.sqrt(config.response_length)  # of a sum
    if scale * LARGEST_GAIN < 1 or scale < _CLEAR * rounding:
        found.append(
            f"{name} hardly tells responses apart: their rewards differ by {scale:.2g}, at rounding errors of "
            f"{rounding:.1g}, and are paid at unit variance. What is paid is {1 / scale:,.2g} times its output, noise "
            "as much as signal. Train the reward model further, or set scale_rewards to false"
        )
    return found


def _check_pays(card: RewardCard, folder: Path) -> None:
    if card.center or card.trajectory_center or max(card.scale, card.trajectory_scale) > LEAST_SCALE:
        return
    parts, problem = parts_of(folder), "all its rewards are 0, and nothing can be learned from them"
    hint = "train it at a higher learning rate, longer, or on more pairs; or name another reward model"
    if parts is not None:
        policy = parts.policy.resolve()
        name = policy.parent.name if policy.name == "checkpoint" else policy
        problem += f": {name} learned nothing, its best checkpoint is the policy that it started from"
        hint = (
            f"train {name} so that it becomes better than its start on the validation prompts (another learning rate "
        )
        hint += "or beta, more steps, more pairs), or name another reward model"
    raise RedpencilError(problem, file=folder, hint=hint)


@dataclass(frozen=True, slots=True)
class Scored:
    """Standardised rewards of B responses.

    rewards: [B, T] on the policy's tokens, 0 on padding if the model reads text; [B] of a sequence model, unless its
        increments are paid.
    truncated: bool [B], True = the model read the response only as far as its context goes; None if it always fits.
    """

    rewards: Tensor
    truncated: Tensor | None = None


class Scorer(Protocol):
    """A reward model that scores a policy's responses."""

    @property
    def reward(self) -> RewardModel:
        """The reward model."""

    def check_prompts(self, prompts: Sequence[Asked]) -> None:
        """Refuse prompts that it cannot score any response to.

        Raises:
            RedpencilError: naming the problem.
        """

    def score(self, sampled: SampledBatch) -> Scored:
        """Compute standardised rewards, on the policy's tokens or one for each response.

        Raises:
            RedpencilError: if a reward is not a finite number.
        """


def make_scorer(reward: RewardModel, config: RolloutConfig) -> Scorer:
    """Choose how a reward model reads a policy's responses: by their token ids, or as text.

    Raises:
        RedpencilError: if its increments are asked for, and it looks ahead, or a server computes it.
    """
    kind = TokenScorer if reward.same_encoding else TextScorer
    place = config.reward_servers.get(reward.card.level)
    increments = config.reward == "increments"
    if increments:
        _check_prefixes(reward, on_server=place is not None)
    return kind(
        reward,
        standardise_by(reward.card, config),
        # A server puts its batches together itself, of what it is asked at once.
        (config.micro_batch_size or config.batch_size) if place is None else place.concurrency,
        as_mean=config.reward == "token_mean_at_end",
        increments=increments,
        server=None if place is None else connect_reward_model(reward, place),
    )


def _check_prefixes(reward: RewardModel, *, on_server: bool) -> None:
    """Refuse a model of which one forward pass does not give the rewards of all prefixes."""
    if on_server:
        raise RedpencilError(
            "a server gives one reward for a response, and reward=increments needs that of every prefix",
            file=reward.model.name,
            field="compute.reward_servers.sequence",
            hint="leave it out, so that this process computes the rewards",
        )
    if not reads_left_to_right(reward.model.module, reward.model.runtime.device):
        raise RedpencilError(
            f"{type(reward.model.module).__name__} looks ahead, and reward=increments needs the rewards of all "
            "prefixes from one pass",
            file=reward.model.name,
            field="reward",
            hint="choose a reward model that is a causal decoder, or reward=sequence",
        )


def raw_rewards(reward: RewardModel, batch: Batch, server: RewardServer | None, *, increments: bool = False) -> Tensor:
    """Compute raw rewards, [B, T] of a token model or [B] of a sequence model, here or on the server that has it.

    With `increments` those of a sequence model are [B, T], as `sequence_increments`.
    """
    if server is not None:
        return server.rewards(batch)
    of_sequence = sequence_increments if increments else sequence_rewards
    forward = token_rewards if reward.card.level == "token" else of_sequence
    with reward.model.runtime.autocast():
        return forward(reward.model.module, batch)


def _standardised(scorer: "TokenScorer | TextScorer", batch: Batch) -> Tensor:
    """Standardised rewards of a batch in the tokens of the reward model: [B, T], 0 on padding, or [B]."""
    model = scorer.reward.model

    def score(part: Batch) -> Numbers:
        raw = raw_rewards(scorer.reward, part, scorer.server, increments=scorer.increments)
        return [scorer.standardise(raw)]

    sharing = model.sharing if scorer.server is None else APART
    [rewards] = in_parts(batch, scorer.batch_size, model.runtime, score, sharing)
    assert rewards is not None
    return rewards


@dataclass(frozen=True, slots=True)
class TokenScorer:
    """Scores the policy's token ids as they are, `batch_size` rows at a time."""

    reward: RewardModel
    standardise: Standardise
    batch_size: int
    as_mean: bool = False
    increments: bool = False
    server: RewardServer | None = None

    def check_prompts(self, prompts: Sequence[Asked]) -> None:
        """Accept them: a model with the policy's encoding reads what the policy reads."""

    @torch.no_grad()
    def score(self, sampled: SampledBatch) -> Scored:
        """Score the batch by parts."""
        rewards = _standardised(self, sampled.batch)
        check_rewards(self.reward, rewards, mask=sampled.batch.response_mask if rewards.ndim == 2 else None)
        return Scored(rewards)


@dataclass(frozen=True, slots=True)
class TextScorer:
    """Scores responses as text, through the reward model's own tokenizer and prompt template.

    Responses longer than its context are read as far as it goes. With `as_mean` (where the mean of the token rewards
    is paid) the mean is that over the model's own tokens, and each of the policy's tokens carries it.
    """

    reward: RewardModel
    standardise: Standardise
    batch_size: int
    as_mean: bool = False
    increments: bool = False
    server: RewardServer | None = None

    def check_prompts(self, prompts: Sequence[Asked]) -> None:
        """Refuse prompts that come out empty, fill the context, or have an unknown token."""
        check_reads(self.reward, prompts)

    @torch.no_grad()
    def score(self, sampled: SampledBatch) -> Scored:
        """Score the texts, and project token rewards onto the policy's tokens."""
        model = self.reward.model
        placed = place(sampled.codec, sampled.samples)
        texts = self._encode([row.text for row in placed], sampled)
        prompts, responses = [row.prompt for row in texts], [row.response for row in texts]
        batch = collate(prompts, responses, model.codec.pad_id, model.runtime.device)
        rewards = _standardised(self, batch)
        truncated = torch.tensor([row.truncated for row in texts], device=model.runtime.device)
        if self.reward.card.level == "sequence" and not self.increments:
            check_rewards(self.reward, rewards)
            return Scored(rewards, truncated)
        scored = [
            TokenRewards(text.text, text.offsets, row[: len(text.response)])
            for text, row in zip(texts, rewards.double().cpu().numpy(), strict=True)
        ]
        offsets = [row.offsets for row in placed]
        rewards = self._on_policy_tokens(scored, offsets, sampled.batch.response_width).to(model.runtime.device)
        check_rewards(self.reward, rewards, mask=sampled.batch.response_mask)
        return Scored(rewards, truncated)

    def _on_policy_tokens(self, scored: Sequence[TokenRewards], offsets: Sequence[Any], width: int) -> Tensor:
        if self.as_mean:
            means = [float(row.rewards.mean()) if len(row.rewards) else 0.0 for row in scored]
            rows: list[Any] = [np.full(len(spans), mean) for spans, mean in zip(offsets, means, strict=True)]
        else:
            rows = [row.rewards for row in project_rows(scored, offsets)]
        out = np.zeros((len(rows), width), np.float32)
        for target, row in zip(out, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(out)

    def _encode(self, responses: Sequence[str], sampled: SampledBatch) -> list["_EncodedText"]:
        model = self.reward.model
        prompts = model.codec.encode_prompts(sampled.prompts)
        finished = [sample.finished for sample in sampled.samples]
        encoded = model.codec.encode_responses(responses, finished=finished)
        rows = []
        for prompt, text, tokens in zip(prompts, responses, encoded, strict=True):
            length, room = len(tokens.ids), model.response_room(len(prompt))
            kept = length if room is None else min(length, room)
            rows.append(_EncodedText(prompt, tokens.ids[:kept], tokens.offsets[:kept], text, truncated=kept < length))
        return rows


@dataclass(frozen=True, slots=True)
class _EncodedText:
    """One prompt and response in a reward model's own tokens."""

    prompt: Sequence[int]
    response: Sequence[int]
    offsets: Sequence[tuple[int, int]]
    text: str
    truncated: bool


def check_reads(reward: RewardModel, prompts: Sequence[Asked]) -> None:
    """Refuse prompts that a reward model with an encoding of its own cannot score any response to.

    Raises:
        RedpencilError: if a prompt comes out empty, or fills its context, or has a token that it does not know.
    """
    if reward.same_encoding:
        return
    model = reward.model
    ids = model.codec.encode_prompts(prompts)
    shortest, longest = min(map(len, ids)), max(map(len, ids))
    if not shortest:
        raise RedpencilError(
            f"its tokenizer makes no tokens of the prompt {prompt_text(prompts[list(map(len, ids)).index(0)])!r}",
            file=model.name,
            hint="leave the prompt out, or choose another reward model",
        )
    if model.response_room(longest) == 0:
        raise RedpencilError(
            f"a prompt has {longest} of its tokens, and its context of {model.context} leaves no room for a response",
            file=model.name,
            hint="leave out the longest prompts, or choose a reward model with a longer context",
        )
    check_vocabulary(model, ids)
