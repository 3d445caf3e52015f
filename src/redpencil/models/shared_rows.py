"""Sequences that begin alike in one row of a forward pass: what they share once, and behind it what is each one's own.

A token sees the tokens before it in its own sequence and no other ones, and stands at the position that it has there.
So a causal decoder computes for it what it computes in a row of its own, and gradients add up to the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

Ids = Sequence[int]
_PADDING: Final = -1


@dataclass(frozen=True, slots=True)
class Row:
    """The indices of the sequences in a row, how many tokens they share, and the columns that it takes."""

    members: tuple[int, ...]
    shared: int
    width: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Which sequences share a row, and whether all rows are put behind each other, without padding (`SpanMask`)."""

    rows: Sequence[Row]
    packed: bool


def fold(sequences: Sequence[Ids], groups: Iterable[Sequence[int]], cost: Callable[[int], int]) -> list[Row]:
    """Put sequences of a group into one row as long as that costs less than a row for each.

    Args:
        sequences: prompts with their responses. Those of one group have the same prompt.
        groups: indices of sequences that may share a row.
        cost: what a row costs by its width.
    """
    rows = []
    for group in groups:
        open_row: Row | None = None
        for index in group:
            length = len(sequences[index])
            alone = Row((index,), length, length)
            if open_row is None:
                open_row = alone
                continue
            shared = min(open_row.shared, _alike(sequences[open_row.members[0]], sequences[index]))
            # Each member that is in the row already repeats what is shared no longer.
            width = open_row.width + (len(open_row.members) - 1) * (open_row.shared - shared) + length - shared
            if cost(width) < cost(open_row.width) + cost(length):
                open_row = Row((*open_row.members, index), shared, width)
            else:
                rows.append(open_row)
                open_row = alone
        rows += [] if open_row is None else [open_row]
    return rows


def _alike(one: Ids, other: Ids) -> int:
    """Count the tokens with which two sequences begin alike."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@dataclass(frozen=True, slots=True)
class SharedRows:
    """R rows that hold B sequences, for a model's forward pass, and where what it gives belongs.

    input_ids, position_ids: [R, S]; packed rows are one row, R = 1. attention_mask: bool [R, 1, S, S]; True = the token
    (third) reads that one (fourth). places: [B, P + T], where among the R * S columns the tokens of a padded batch are;
    0 for padding. counted, predictors: [N], where the tokens of responses are, each once however many share it, and
    where those are from which they are predicted.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    places: Tensor
    counted: Tensor
    predictors: Tensor

    def unfold(self, columns: Tensor) -> Tensor:
        """Bring what a model gives for the columns, [R, S, ...], into the order of the batch, [B, P + T, ...]."""
        # By an index, and not by `gather` or `index_select`: their gradients add up in any order on a GPU.
        return columns.flatten(0, 1)[self.places]


def lay_out(
    plan: Plan, prompts: Sequence[Ids], responses: Sequence[Ids], pad_id: int, device: torch.device
) -> SharedRows:
    """Lay rows out, padded on the right or one behind the other; each sequence is a prompt and its response."""
    prompt_width, response_width = max(map(len, prompts)), max(1, *map(len, responses))
    width = max(row.width for row in plan.rows)
    ids: list[int] = []
    positions: list[int] = []
    branches: list[int] = []
    spans: list[tuple[int, ...]] = []
    places: list[list[int]] = [[]] * len(prompts)
    counted: list[int] = []
    predictors: list[int] = []
    for row in plan.rows:
        start, first = len(ids), row.members[0]
        ids += [*prompts[first], *responses[first]][: row.shared]
        positions += range(row.shared)
        branches += [0] * row.shared
        span = [row.shared]
        for index, member in enumerate(row.members):
            prompt, response = prompts[member], responses[member]
            own = [*prompt, *response][row.shared :]
            where = [*range(start, start + row.shared), *range(len(ids), len(ids) + len(own))]
            ids += own
            positions += range(row.shared, row.shared + len(own))
            branches += [index + 1] * len(own)
            span.append(len(own))
            left = prompt_width - len(prompt)
            places[member] = [0] * left + where + [0] * (prompt_width + response_width - left - len(where))
            new = range(max(len(prompt), row.shared if index else 0), len(where))
            counted += [where[i] for i in new]
            predictors += [where[i - 1] for i in new]
        spans.append(tuple(span))
        rest = 0 if plan.packed else start + width - len(ids)
        ids += [pad_id] * rest
        positions += [0] * rest
        branches += [_PADDING] * rest

    def tensor(numbers: Sequence[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    shape = (1, -1) if plan.packed else (-1, width)
    return SharedRows(
        tensor(ids).view(shape),
        tensor(positions).view(shape),
        span_mask(spans, device) if plan.packed else _who_reads_what(tensor(branches).view(shape)),
        tensor(places),
        tensor(counted),
        tensor(predictors),
    )


def _who_reads_what(branches: Tensor) -> Tensor:
    """The mask of rows by the branch of each column, 0 for what is shared: [R, S] -> [R, 1, S, S].

    Padding reads what is shared too, since a softmax over nothing is not a number.
    """
    earlier = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool, device=branches.device).tril()
    read, reader = branches[:, None, :], branches[:, :, None]
    return (((read == 0) | (read == reader)) & earlier)[:, None]


class SpanMask(Tensor):
    """The mask of packed rows, [1, 1, S, S], that exists by the lengths of its spans alone.

    Attention that gets it computes what each row reads, and nothing of what it does not, by PyTorch's own kernels.
    Whoever reads its numbers finds that all may read all: `models.sharing` tries out whether a model passes it on.
    """

    spans: Sequence[tuple[int, ...]]
    """Of each row how many tokens it shares, and how many each of its sequences has of its own."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def span_mask(spans: Sequence[tuple[int, ...]], device: torch.device) -> SpanMask:
    """Make the mask of packed rows."""
    width = sum(map(sum, spans))
    mask = torch.ones(1, dtype=torch.bool, device=device).expand(1, 1, width, width).as_subclass(SpanMask)
    mask.spans = spans
    return mask


def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: SpanMask, *_: Any, **options: Any) -> Tensor:
    """Attention of packed rows: query, key and value are [1, heads, S, D].

    The first sequence of a row is read from its start, what the others have of their own behind what is shared.
    """
    attention = torch.nn.functional.scaled_dot_product_attention
    with torch._C.DisableTorchFunctionSubclass():
        lengths = [length for span in attn_mask.spans for length in span]
        parts = [iter(torch.split(each, lengths, dim=2)) for each in (query, key, value)]
        found = []
        for shared, *owns in attn_mask.spans:
            beginning = [next(each) for each in parts]
            for index, own in enumerate(owns):
                ends = [next(each) for each in parts]
                if index and not own:
                    continue
                q, k, v = (torch.cat(pair, dim=2) if own else pair[0] for pair in zip(beginning, ends, strict=True))
                if index:
                    reads = torch.ones(own, shared + own, dtype=torch.bool, device=q.device).tril(shared)
                    out = attention(ends[0], k, v, attn_mask=reads, scale=options.get("scale"))
                else:
                    out = attention(q, k, v, is_causal=True, scale=options.get("scale"))
                found.append(out.transpose(1, 2))
        return torch.cat(found, dim=1).transpose(1, 2)
