"""Log-probabilities and entropy of response tokens, without the logits of a whole batch.

Logits are the largest tensor of a forward pass: 512 tokens of a vocabulary of 128,000 take 262 MB in float32, and
their gradient as much again. So the language-model head runs on response tokens only, not on prompts or padding, some
tokens at a time. Backward, a chunk's logits are computed anew; those of the last chunk, which goes first, are kept.

This happens in the place of the head and inside the model's own forward pass, so that what wraps it, as adapters and
sharded weights do, works as ever. What a model does to the logits behind its head (a cap, a factor) is found out by
letting it do that to a stand-in once, and is then done to each chunk.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from redpencil.maths.masked import at_least_float32, token_logprobs
from redpencil.maths.ppo import entropy_from_logits

CHUNK: Final = 2**25
"""Logits of a chunk: 128 MiB in float32."""
CHUNK_ON_GPU: Final = 2**26
"""There, larger products are faster."""

Operation = Callable[[Tensor], Tensor]
Score = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of a language-model head: the size of its vocabulary, and what its model does to its logits."""

    vocabulary: int
    operations: tuple[Operation, ...]


_known: WeakKeyDictionary[nn.Module, _Head | None] = WeakKeyDictionary()
"""None for heads whose model does something else to logits than to numbers one by one."""
_POINTWISE: Final = frozenset(
    (
        *("mul", "mul_", "__mul__", "__rmul__", "__imul__"),
        *("div", "div_", "true_divide", "__truediv__", "__itruediv__"),
        *("tanh", "tanh_", "float", "to", "contiguous"),
    )
)
_HARMLESS: Final = frozenset(("__get__", "size", "dim", "numel", "register_hook", "is_floating_point", "__hash__"))


class _StandIn(Tensor):
    """Passes for logits behind a head: it writes down what a model does to them, and stays as it is.

    `operations` is None once something else was done than numbers one by one.
    """

    operations: list[Operation] | None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self: _StandIn = next(arg for arg in args if isinstance(arg, _StandIn))
        name = func.__name__
        if name in _POINTWISE and self.operations is not None:
            rest, given = [None if arg is self else arg for arg in args], kwargs or {}
            self.operations.append(lambda logits: func(*[logits if arg is None else arg for arg in rest], **given))
            return self
        if name not in _HARMLESS:
            self.operations = None
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def _stand_in(values: Tensor) -> _StandIn:
    stand_in = values.as_subclass(_StandIn)
    stand_in.operations = []
    return stand_in


@contextmanager
def in_place_of(head: nn.Module, forward: Operation) -> Iterator[None]:
    """Let a module compute something else, behind the same hooks."""
    own = vars(head).get("forward")
    head.forward = forward
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _learn(policy: nn.Module, head: nn.Module) -> _Head | None:
    """Find out what a model does behind its head, by one token."""
    one = torch.zeros(1, 1, dtype=torch.long, device=next(policy.parameters()).device)
    own, vocabulary, stood = head.forward, 0, []

    def stand(hidden: Tensor) -> Tensor:
        nonlocal vocabulary
        logits = own(hidden)
        vocabulary = logits.shape[-1]
        stood.append(_stand_in(logits))
        return stood[-1]

    with torch.no_grad(), in_place_of(head, stand):
        logits = policy(input_ids=one, attention_mask=one + 1, position_ids=one, use_cache=False).logits
    if len(stood) != 1 or logits is not stood[0] or stood[0].operations is None:
        return None
    return _Head(vocabulary, tuple(stood[0].operations))


def score_rows_of(
    policy: nn.Module, forward: Callable[[], Any], predicting: Operation, of: Tensor, score: Score
) -> Tensor:
    """Compute numbers of the distributions from which tokens were drawn.

    Args:
        policy: a causal language model.
        forward: runs it.
        predicting: picks what predicts N tokens, [N, ...], of what `forward` computes for its columns, [B, S, ...].
        of: [N, ...], what `score` gets beside the logits of each of these tokens.
        score: computes [n, K] of logits [n, V] and rows [n, ...] of `of`, for some tokens at a time.

    Returns:
        [N, K].
    """
    head = known_head(policy)
    if head is None:
        logits = predicting(forward().logits)
        return in_chunks(logits, of, score, logits.shape[-1])
    to_logits = head.to_logits

    def score_states(states: Tensor, part: Tensor) -> Tensor:
        return score(to_logits(states), part)

    def chunked(states: Tensor) -> Tensor:
        return _stand_in(in_chunks(predicting(states), of, score_states, head.vocabulary))

    with in_place_of(head.module, chunked):
        logits = forward().logits
    with torch._C.DisableTorchFunctionSubclass():
        scores: Tensor = logits.as_subclass(Tensor)
    return scores


def states_of(
    policy: nn.Module, forward: Callable[[], Any], predicting: Operation, *, logits: bool = False
) -> tuple[Tensor, Operation]:
    """Compute what a head makes the logits of N tokens of, [N, H], and the function that does so.

    With `logits`, and for a head whose model does more than is known, these are the logits themselves, [N, V]. Other
    arguments as in `score_rows_of`.
    """
    head = None if logits else known_head(policy)
    if head is None:
        return predicting(forward().logits), lambda whole: whole
    to_logits, kept = head.to_logits, []

    def keep(states: Tensor) -> Tensor:
        kept.append(predicting(states))
        return _stand_in(kept[0])

    with in_place_of(head.module, keep):
        forward()
    return kept[0], to_logits


def before(mask: Tensor) -> Operation:
    """Return what picks the columns [B, S, H] that predict the tokens that count, [N, H].

    `mask` is bool [B, T], of the last T columns; there must be one before them.
    """
    rows, width = mask.flatten().nonzero().squeeze(1), mask.shape[1]
    return lambda columns: columns[:, -width - 1 : -1].flatten(0, 1).index_select(0, rows)


def placed(scores: Tensor, mask: Tensor) -> Tensor:
    """Put numbers of the tokens that count, [N, K], where they are in the batch, [B, T, K]; 0 where `mask` is False."""
    rows = mask.flatten().nonzero().squeeze(1)
    return scores.new_zeros(mask.numel(), scores.shape[-1]).index_copy(0, rows, scores).view(*mask.shape, -1)


@dataclass(frozen=True, slots=True)
class KnownHead:
    """A language-model head, the size of its vocabulary, and how it makes logits of hidden states."""

    module: nn.Module
    vocabulary: int
    to_logits: Operation


def known_head(policy: nn.Module) -> KnownHead | None:
    """Return the head of a causal language model; None if its model does to all logits what chunks cannot have."""
    find: Any = getattr(policy, "get_output_embeddings", lambda: None)
    head: nn.Module | None = find()
    if head is None:
        return None
    if head not in _known:
        _known[head] = _learn(policy, head)
    known, own = _known[head], head.forward
    if known is None:
        return None

    def to_logits(states: Tensor) -> Tensor:
        logits: Tensor = own(states)
        for operation in known.operations:
            logits = operation(logits)
        return logits

    return KnownHead(head, known.vocabulary, to_logits)


def score_logits(logits: Tensor, token_ids: Tensor, temperature: float, *, entropy: bool) -> Tensor:
    """Compute log-probabilities of tokens [N], and with `entropy` the entropies, from logits [N, V]: [N, 1 or 2]."""
    logits = at_least_float32(logits)
    logits = logits if temperature == 1 else logits / temperature
    columns = [token_logprobs(logits, token_ids)]
    return torch.stack([*columns, entropy_from_logits(logits)] if entropy else columns, dim=-1)


def in_chunks(states: Tensor, ids: Tensor, score: Score, vocabulary: int) -> Tensor:
    """Score rows [N, H] chunk by chunk, [N, K]; all chunks but the last are computed anew for the gradient."""
    size = chunk_rows(vocabulary, states.device.type)
    starts = range(0, max(1, len(ids)), size)
    parts = []
    for start in starts:
        part = states[start : start + size], ids[start : start + size]
        if torch.is_grad_enabled() and start != starts[-1]:
            parts.append(checkpoint(score, *part, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(score(*part))
    return torch.cat(parts)


def chunk_rows(vocabulary: int, device: str = "cpu") -> int:
    """Count the tokens of a chunk."""
    return max(1, (CHUNK if device == "cpu" else CHUNK_ON_GPU) // vocabulary)
