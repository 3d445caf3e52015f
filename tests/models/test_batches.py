"""Padding, positions and batches of similar length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redpencil.models.batches import collate, flush_left, length_grouped, positions

CPU = torch.device("cpu")
PAD = 9


def test_prompts_are_padded_on_the_left_and_responses_on_the_right() -> None:
    batch = collate([[1], [2, 3, 4]], [[5, 6], [7]], PAD, CPU)
    assert batch.input_ids.tolist() == [[PAD, PAD, 1, 5, 6], [2, 3, 4, 7, PAD]]
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.position_ids.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 3]]
    assert batch.response_mask.tolist() == [[True, True], [True, False]]
    assert (batch.prompt_width, batch.response_width) == (3, 2)
    assert batch.response_ids.tolist() == [[5, 6], [7, PAD]]
    assert batch.lengths.tolist() == [2, 1]


def test_masks_come_from_lengths_and_not_from_the_pad_id() -> None:
    # 9 is the end-of-sequence token as well, and even stands inside the prompt
    batch = collate([[PAD, 1], [2]], [[5, PAD], [PAD]], PAD, CPU)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [0, 1, 1, 0]]
    assert batch.lengths.tolist() == [2, 1]


def test_without_responses_there_is_one_empty_column() -> None:
    batch = collate([[1, 2]], [[]], PAD, CPU)
    assert batch.input_ids.tolist() == [[1, 2, PAD]]
    assert batch.lengths.tolist() == [0]


def test_as_many_responses_as_prompts() -> None:
    with pytest.raises(ValueError, match="zip"):
        collate([[1]], [[2], [3]], PAD, CPU)


def test_positions_count_real_tokens() -> None:
    assert positions(torch.tensor([[0, 0, 1, 1, 1, 0]])).tolist() == [[0, 0, 0, 1, 2, 2]]


def test_flush_left_moves_all_padding_to_the_right_and_keeps_the_order() -> None:
    batch = collate([[1], [2, 3, 4]], [[5, 6], [7]], PAD, CPU)
    ids, attention = flush_left(batch)
    assert ids.tolist() == [[1, 5, 6, PAD, PAD], [2, 3, 4, 7, PAD]]
    assert attention.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=300), st.integers(1, 9), st.integers(0, 5))
def test_each_index_once_and_no_batch_too_large(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = length_grouped(lengths, batch_size, torch.Generator().manual_seed(seed))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    # only one batch may be short, or an epoch would have more steps than `steps_in` counts
    assert sorted(map(len, batches))[1:] == [batch_size] * (len(batches) - 1)


def test_batches_hold_similar_lengths_and_are_shuffled() -> None:
    lengths = [i % 20 for i in range(160)]
    generator = torch.Generator().manual_seed(0)
    first, second = (length_grouped(lengths, 10, generator) for _ in range(2))
    spreads = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in first]
    assert max(spreads) <= 2  # 160 rows are one pool of 16 batches: sorted, 10 rows span at most 2 of 20 lengths
    assert first != second
    assert [lengths[batch[0]] for batch in first] != sorted(lengths[batch[0]] for batch in first)
