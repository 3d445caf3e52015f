"""Forward passes that return what the maths needs, for response tokens only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from redpencil.maths.masked import at_least_float32
from redpencil.maths.reward_losses import join_heads
from redpencil.models.logprobs import Operation, Score, before, placed, score_logits, score_rows_of, states_of
from redpencil.models.parallel import as_forward
from redpencil.models.shared_rows import Plan, SharedRows, lay_out


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and masks of B rows.

    input_ids, attention_mask, position_ids: [B, P + T]; positions count real tokens only, so that padding on the
    left changes nothing (trap of absolute positions). response_mask: [B, T], True on response tokens, EOS included.
    shared: the same rows as models read them that can share beginnings; None where each row is read by itself.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_mask: Tensor
    shared: SharedRows | None = None

    @property
    def response_width(self) -> int:
        """T, the columns of the longest response."""
        return self.response_mask.shape[1]

    @property
    def prompt_width(self) -> int:
        """P, the columns of the longest prompt."""
        return self.input_ids.shape[1] - self.response_width

    @property
    def response_ids(self) -> Tensor:
        """Token ids of the responses, [B, T]."""
        return self.input_ids[:, self.prompt_width :]

    @property
    def lengths(self) -> Tensor:
        """Response lengths, [B]."""
        return self.response_mask.sum(dim=1)


def collate(
    prompt_ids: Sequence[Sequence[int]],
    response_ids: Sequence[Sequence[int]],
    pad_id: int,
    device: torch.device,
    plan: Plan | None = None,
) -> Batch:
    """Pad rows into a batch. A prompt must hold at least one token: the first response token is predicted from it.

    `plan` says which of them a model reads in one row, if it can (`models.sharing`).
    """
    prompt_width = max(map(len, prompt_ids))
    response_width = max(1, *map(len, response_ids))
    ids, attention = [], []
    for prompt, response in zip(prompt_ids, response_ids, strict=True):
        left, right = prompt_width - len(prompt), response_width - len(response)
        ids.append([pad_id] * left + list(prompt) + list(response) + [pad_id] * right)
        attention.append([0] * left + [1] * (len(prompt) + len(response)) + [0] * right)
    input_ids = torch.tensor(ids, device=device)
    attention_mask = torch.tensor(attention, device=device)
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=positions(attention_mask),
        response_mask=attention_mask[:, prompt_width:].bool(),
        shared=None if plan is None else lay_out(plan, prompt_ids, response_ids, pad_id, device),
    )


def positions(attention_mask: Tensor) -> Tensor:
    """Index of each real token among its row's real tokens, 0 on padding; [B, S] -> [B, S]."""
    return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def flush_left(batch: Batch) -> tuple[Tensor, Tensor]:
    """The rows with all padding on the right, as models that read the first token want: (ids, attention), [B, S].

    S is the longest row's: prompts and responses padded apart can be wider together than the model's context.
    """
    longest = int(batch.attention_mask.sum(dim=1).max())
    order = torch.argsort(1 - batch.attention_mask, dim=1, stable=True)[:, :longest]
    return batch.input_ids.gather(1, order), batch.attention_mask.gather(1, order)


def length_grouped(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffled batches of indices whose rows have similar lengths, so that little is padded. Each index occurs once."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = batch_size * 16
    batches = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda i: lengths[i])
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in shuffled]


def response_logprobs(policy: nn.Module, batch: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probability of each response token, [B, T], at least float32; 0 on padding."""
    return response_scores(policy, batch, temperature, entropy=False)[0]


def response_scores(
    policy: nn.Module, batch: Batch, temperature: float, *, entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each response token and the entropy of what it was drawn from, each as `response_logprobs`."""

    def score(logits: Tensor, of: Tensor) -> Tensor:
        return score_logits(logits, of, temperature, entropy=entropy)

    mask, shared = batch.response_mask, batch.shared
    if shared is None:
        of = batch.response_ids.flatten()[mask.flatten()]
        scores = placed(score_rows_of(policy, partial(_run, policy, batch), before(mask), of, score), mask)
    else:

        def predicting(columns: Tensor) -> Tensor:
            return columns.flatten(0, 1)[shared.predictors]

        of = shared.input_ids.flatten()[shared.counted]
        counted = score_rows_of(policy, partial(_run, policy, batch), predicting, of, score)
        columns = counted.new_zeros(shared.input_ids.numel(), counted.shape[-1]).index_copy(0, shared.counted, counted)
        scores = columns[shared.places[:, -mask.shape[1] :]].masked_fill(~mask[..., None], 0.0)
    return scores[..., 0], scores[..., 1] if entropy else None


def hinted_scores(
    policy: nn.Module, batch: Batch, teacher: nn.Module, hints: Sequence[Batch], score: Score, *, in_parts: bool
) -> Tensor:
    """Compare the distributions of a policy's response tokens with those of a teacher that reads other prompts.

    Args:
        policy: gets the gradient.
        batch: the responses behind the policy's prompts.
        teacher: a causal language model, perhaps another view of the same base.
        hints: the same responses behind prompts of the teacher's.
        score: computes one number for each token, [n], of logits [n, V]: the policy's, and the teacher's of each hint.
        in_parts: whether the teacher's head may be used apart, for some tokens at a time, as it may where its weights
            are not sharded; else the teacher's logits of the whole batch exist at once.

    Returns:
        [B, T]; 0 on padding.
    """
    mask = batch.response_mask
    with torch.no_grad():
        read = [states_of(teacher, partial(_run, teacher, hint), before(mask), logits=not in_parts) for hint in hints]
    to_logits = read[0][1]

    def compare(logits: Tensor, states: Tensor) -> Tensor:
        with torch.no_grad():
            hinted = [as_forward(teacher, _apply, to_logits, part) for part in states.unbind(dim=1)]
        return score(logits, *hinted)[:, None]

    states = torch.stack([states for states, _ in read], dim=1)
    return placed(score_rows_of(policy, partial(_run, policy, batch), before(mask), states, compare), mask)[..., 0]


def _apply(_: nn.Module, function: Operation, values: Tensor) -> Tensor:
    return function(values)


def _read(model: Any, batch: Batch, **options: Any) -> Any:
    """Run a model, or its backbone, over the rows of a batch as it reads them."""
    rows = batch.shared or batch
    return model(
        input_ids=rows.input_ids,
        attention_mask=rows.attention_mask,
        position_ids=rows.position_ids,
        use_cache=False,
        **options,
    )


def _unfolded(columns: Tensor, batch: Batch) -> Tensor:
    """What a model gives for the rows as it reads them, in the order of the batch: [B, P + T, ...]."""
    return columns if batch.shared is None else batch.shared.unfold(columns)


def _run(policy: nn.Module, batch: Batch) -> Any:
    return _read(policy, batch, **({} if batch.shared else {"logits_to_keep": batch.response_width + 1}))


def _token_scores(model: nn.Module, batch: Batch) -> Tensor:
    """The numbers of each column, one for each head: [B, P + T, heads], at least float32."""
    return _unfolded(at_least_float32(_read(model, batch).logits), batch)


READ_TWICE: Final = "read_twice"
"""A key of a reward model's config.json: whether it reads a response twice, see `read_twice`."""


def reads_twice(model: nn.Module) -> bool:
    """Tell whether a reward model reads each response twice."""
    return bool(getattr(model.config, READ_TWICE, False))


def read_twice(batch: Batch) -> Batch:
    """The batch with each response behind its prompt and itself: at its tokens a decoder has seen all of it.

    Springer et al., "Repetition Improves Language Model Embeddings", 2024 (arXiv 2402.15449).
    """
    first = batch.response_mask.to(batch.attention_mask.dtype)
    attention = torch.cat([batch.attention_mask, first], dim=1)
    return Batch(
        torch.cat([batch.input_ids, batch.response_ids], dim=1), attention, positions(attention), batch.response_mask
    )


def reward_heads(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """What the heads of a token reward model give for each token: rewards within a response, and overall, [B, T].

    The second is None for a model with one head. Both are read where the model has consumed the token (see
    `maths.ppo`).
    """
    made: Callable[[Batch], Tensor] | None = getattr(model, "token_rewards", None)  # of policies, `models.log_ratio`
    if made is not None:
        return made(batch), None
    read = read_twice(batch) if reads_twice(model) else batch
    scores = _token_scores(model, read)[:, -batch.response_width :]
    return scores[..., 0], scores[..., 1] if scores.shape[-1] == 2 else None


def token_rewards(model: nn.Module, batch: Batch) -> Tensor:
    """r_t = r_phi(s_t, a_t), [B, T]; of a model with two heads as `join_heads` makes them."""
    within, overall = reward_heads(model, batch)
    return within if overall is None else join_heads(within, overall, batch.response_mask)


def token_values(model: nn.Module, batch: Batch) -> Tensor:
    """V(s_t), [B, T]: read one position before a_t, so it cannot see the action it is the baseline of."""
    return _token_scores(model, batch)[:, batch.prompt_width - 1 : -1, 0]


def sequence_rewards(model: nn.Module, batch: Batch) -> Tensor:
    """One reward for each response, [B], at least float32.

    Decoder classes read it at the last real token, found by the attention mask and never by looking for a pad id;
    encoder classes (BERT) pool their first token, so their rows are padded on the right.
    """
    if getattr(model, "score", None) is None:
        ids, attention = flush_left(batch)
        pooled: Tensor = model(input_ids=ids, attention_mask=attention).logits
        return at_least_float32(pooled.squeeze(-1))
    return at_least_float32(as_forward(model, _by_head, batch).squeeze(-1))


def sequence_increments(model: nn.Module, batch: Batch) -> Tensor:
    """By how much each token raises the reward of the response so far, [B, T]; 0 on padding.

    A causal decoder's reward of every prefix is in one forward pass: at each column it has read the text up to there.
    A row sums to `sequence_rewards` less the reward of its prompt with an empty response.
    """
    prefixes = at_least_float32(as_forward(model, _prefixes_by_head, batch)[..., 0])
    return prefixes.diff(dim=1).masked_fill(~batch.response_mask, 0.0)


def _prefixes_by_head(model: nn.Module, batch: Batch) -> Tensor:
    head: Any = model.score
    rewards: Tensor = head(_unfolded(_hidden(model, batch), batch)[:, batch.prompt_width - 1 :])
    return rewards


@torch.no_grad()
def reads_left_to_right(model: nn.Module, device: torch.device) -> bool:
    """Tell whether a model reads no token before its turn, by trying: another second token must change no first one.

    False for an encoder, and for a decoder whose configuration lets it look ahead.
    """
    if getattr(model, "score", None) is None:
        return False
    one, other = (as_forward(model, _hidden, collate([[0]], [[second]], 0, device))[:, 0] for second in (0, 1))
    return torch.equal(one, other)


def _by_head(model: nn.Module, batch: Batch) -> Tensor:
    head: Any = model.score
    rewards: Tensor = head(_last_hidden(model, batch))
    return rewards


def hidden_states(model: nn.Module, batch: Batch) -> Tensor:
    """What the head of a token reward model reads at each token of the responses, [B, T, H]."""
    read = read_twice(batch) if reads_twice(model) else batch
    return _unfolded(as_forward(model, _hidden, read), read)[:, -batch.response_width :]


def last_hidden(model: nn.Module, batch: Batch) -> Tensor:
    """What the head of a sequence reward model reads: the hidden state at the last real token, [B, H]."""
    return as_forward(model, _last_hidden, batch)


def _last_hidden(model: nn.Module, batch: Batch) -> Tensor:
    hidden = _hidden(model, batch)
    columns = torch.arange(batch.attention_mask.shape[1], device=hidden.device)
    last = (columns * batch.attention_mask).argmax(dim=1)
    rows = torch.arange(len(last), device=hidden.device)
    return hidden[rows, last] if batch.shared is None else hidden.flatten(0, 1)[batch.shared.places[rows, last]]


def _hidden(model: nn.Module, batch: Batch) -> Tensor:
    """The hidden states of the rows as the model reads them, [B, P + T, H] or, of shared rows, [R, S, H]."""
    backbone: Any = model.base_model
    states: Tensor = _read(backbone, batch).last_hidden_state
    return states
