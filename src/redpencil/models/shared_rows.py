"""Sequences that begin alike in one row of a forward pass: what they share once, and behind it what is each one's own.

A token sees the tokens before it in its own sequence and no other ones, and stands at the position that it has there.
So a causal decoder computes for it what it computes in a row of its own, and gradients add up to the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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


def fold(sequences: Sequence[Ids], groups: Iterable[Sequence[int]], work: int) -> list[Row]:
    """Put sequences of a group into one row as long as that takes less work than a row for each.

    Args:
        sequences: prompts with their responses. Those of one group have the same prompt.
        groups: indices of sequences that may share a row.
        work: what a token costs outside of attention, in units of what attention to one column costs.
    """

    def cost(width: int) -> int:
        return width * (work + width)

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

    input_ids, position_ids: [R, S]. attention_mask: bool [R, 1, S, S]; True = the token of a row (third) reads that of
    a column (fourth). places: [B, P + T], where among the R * S columns the tokens of a padded batch are; 0 for padding.
    counted, predictors: [N], where the tokens of responses are, each once however many share it, and where those are
    from which they are predicted.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    places: Tensor
    counted: Tensor
    predictors: Tensor

    def unfold(self, columns: Tensor) -> Tensor:
        """Bring what a model gives for the columns, [R, S, ...], into the order of the padded batch, [B, P + T, ...]."""
        # By an index, and not by `gather` or `index_select`: their gradients add up in any order on a GPU.
        return columns.flatten(0, 1)[self.places]


def lay_out(
    rows: Sequence[Row], prompts: Sequence[Ids], responses: Sequence[Ids], pad_id: int, device: torch.device
) -> SharedRows:
    """Lay rows out side by side, padded on the right; each sequence is a prompt and its response."""
    prompt_width, response_width = max(map(len, prompts)), max(1, *map(len, responses))
    width = max(row.width for row in rows)
    ids, positions, branches = [], [], []
    places: list[list[int]] = [[]] * len(prompts)
    counted: list[int] = []
    predictors: list[int] = []
    for number, row in enumerate(rows):
        start, first = number * width, row.members[0]
        line = [*prompts[first], *responses[first]][: row.shared]
        position, branch = list(range(row.shared)), [0] * row.shared
        for index, member in enumerate(row.members):
            prompt, response = prompts[member], responses[member]
            own = [*prompt, *response][row.shared :]
            begin = start + len(line)
            where = [*range(start, start + row.shared), *range(begin, begin + len(own))]
            line += own
            position += range(row.shared, row.shared + len(own))
            branch += [index + 1] * len(own)
            left = prompt_width - len(prompt)
            places[member] = [0] * left + where + [0] * (prompt_width + response_width - left - len(where))
            new = range(max(len(prompt), row.shared if index else 0), len(where))
            counted += [where[i] for i in new]
            predictors += [where[i - 1] for i in new]
        rest = width - len(line)
        ids.append(line + [pad_id] * rest)
        positions.append(position + [0] * rest)
        branches.append(branch + [_PADDING] * rest)
    return SharedRows(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        _who_reads_what(torch.tensor(branches, device=device)),
        *(torch.tensor(each, dtype=torch.long, device=device) for each in (places, counted, predictors)),
    )


def _who_reads_what(branches: Tensor) -> Tensor:
    """The mask of rows by the branch of each column, 0 for what is shared: [R, S] -> [R, 1, S, S].

    Padding reads what is shared too, since a softmax over nothing is not a number.
    """
    earlier = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool, device=branches.device).tril()
    read, reader = branches[:, None, :], branches[:, :, None]
    return (((read == 0) | (read == reader)) & earlier)[:, None]
