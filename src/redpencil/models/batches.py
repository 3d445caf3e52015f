"""Padded batches of prompts and responses.

Prompts are padded on the left and responses on the right, so that in every row the response begins at the same
column:

      pad pad  x1  x2 | a1  a2  EOS pad          P = prompt width (left of |)
       x1  x2  x3  x4 | a1  a2  a3  EOS          T = response width (right of |)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and masks of B rows.

    input_ids, attention_mask, position_ids: [B, P + T]; positions count real tokens only, so that padding on the
    left changes nothing (trap of absolute positions). response_mask: [B, T], True on response tokens, EOS included.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    response_mask: Tensor

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
    prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> Batch:
    """Pad rows into a batch. A prompt must hold at least one token: the first response token is predicted from it."""
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
    )


def positions(attention_mask: Tensor) -> Tensor:
    """Index of each real token among its row's real tokens, 0 on padding; [B, S] -> [B, S]."""
    return (attention_mask.cumsum(dim=1) - 1).clamp(min=0)


def flush_left(batch: Batch) -> tuple[Tensor, Tensor]:
    """The rows with all padding on the right, as models that read the first token want: (ids, attention), [B, S]."""
    order = torch.argsort(1 - batch.attention_mask, dim=1, stable=True)
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
