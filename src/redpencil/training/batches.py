"""How the rows of a step are cut into micro-batches."""

from collections.abc import Sequence
from typing import Final

import torch

SWITCH_ON_CPU: Final = 128
SWITCH_ON_GPU: Final = 8192
"""There, a pass that does not fill the device takes as long as one that does."""


def switch_of(device: torch.device) -> int:
    """What one more micro-batch costs on a device, in columns of a row."""
    return SWITCH_ON_CPU if device.type == "cpu" else SWITCH_ON_GPU


def even_batches(widths: Sequence[int], most: int | None, switch: int) -> list[list[int]]:
    """Cut rows into micro-batches of rows of similar width, so that the least is computed.

    Args:
        widths: the columns of each row; narrower rows are padded to the widest of their micro-batch.
        most: rows of a micro-batch; None sets no limit.
        switch: what one more micro-batch costs, in columns.

    Returns:
        The indices of the rows of each micro-batch. The widest come first: what has room for them has room for all.
    """
    order = sorted(range(len(widths)), key=lambda i: -widths[i])
    # The least cost of the first rows of the order, and where the last micro-batch of that begins.
    least: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(order) + 1):
        starts = range(0 if most is None else max(0, end - most), end)
        least.append(min((least[i][0] + switch + (end - i) * widths[order[i]], i) for i in starts))
    parts: list[list[int]] = []
    end = len(order)
    while end:
        start = least[end][1]
        parts.insert(0, order[start:end])
        end = start
    return parts


def neighbours(prompts: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[int]:
    """Order texts by length, those to one prompt behind each other at the place of the longest; returns indices."""
    longest: dict[tuple[int, ...], int] = {}
    for prompt, length in zip(prompts, lengths, strict=True):
        longest[tuple(prompt)] = max(length, longest.get(tuple(prompt), 0))
    return sorted(range(len(prompts)), key=lambda i: (longest[tuple(prompts[i])], tuple(prompts[i]), lengths[i]))
