"""Forward passes: what is read where, and that padding changes nothing."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from redpencil.models.checkpoints import load_head, load_policy, load_reward_model
from redpencil.models.forward import (
    READ_TWICE,
    Batch,
    collate,
    flush_left,
    length_grouped,
    positions,
    read_twice,
    reads_left_to_right,
    response_logprobs,
    sequence_increments,
    sequence_rewards,
    token_rewards,
    token_values,
)
from redpencil.models.heads import head_of
from redpencil.models.runtime import Runtime

DECODERS = ("llama", "qwen2", "qwen3", "gpt2")
PROMPTS = [[5], [6, 7, 8, 9, 10, 11], [12, 13, 14]]
RESPONSES = [[15, 16, 17, 3], [18, 3], [19, 20, 21, 22, 20, 3]]
PAD = 1

Folder = Callable[..., Path]
Read = Callable[[PreTrainedModel, Batch], Tensor]


def batch_of(prompts: list[list[int]], responses: list[list[int]], pad_id: int = PAD) -> Batch:
    return collate(prompts, responses, pad_id, torch.device("cpu"))


def alone_and_together(read: Read, model: PreTrainedModel, pad_id: int = PAD) -> list[tuple[Tensor, Tensor]]:
    """What `read` says of each row by itself, without any padding, and in a padded batch."""
    batch = batch_of(PROMPTS, RESPONSES, pad_id)
    with torch.no_grad():
        together = read(model, batch)
        rows = [read(model, batch_of([p], [r]))[0] for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    if together.ndim == 1:
        return list(zip(rows, together, strict=True))
    return [(row, both[mask]) for row, both, mask in zip(rows, together, batch.response_mask, strict=True)]


@pytest.mark.parametrize("pad_id", [PAD, 3, 17], ids=["pad", "pad-is-eos", "pad-is-a-word"])
@pytest.mark.parametrize("kind", DECODERS)
def test_padding_changes_no_logprob(folder: Folder, runtime: Runtime, kind: str, pad_id: int) -> None:
    model = load_policy(folder(kind), runtime, trained=False).module
    for alone, together in alone_and_together(response_logprobs, model, pad_id):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_id", [PAD, 3, 17], ids=["pad", "pad-is-eos", "pad-is-a-word"])
@pytest.mark.parametrize("kind", [*DECODERS, "bert"])
def test_padding_changes_no_token_reward_and_no_value(folder: Folder, runtime: Runtime, kind: str, pad_id: int) -> None:
    model = load_reward_model(folder(kind, "token"), runtime).model.module
    for read in (token_rewards, token_values):
        for alone, together in alone_and_together(read, model, pad_id):
            torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pad_id", [PAD, 3, 17], ids=["pad", "pad-is-eos", "pad-is-a-word"])
@pytest.mark.parametrize("kind", [*DECODERS, "bert"])
def test_padding_changes_no_sequence_reward(folder: Folder, runtime: Runtime, kind: str, pad_id: int) -> None:
    model = load_reward_model(folder(kind, "sequence"), runtime).model.module
    pairs = alone_and_together(sequence_rewards, model, pad_id)
    for alone, together in pairs:
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert len({round(float(reward), 4) for _, reward in pairs}) == 3


def test_a_response_token_is_predicted_from_what_precedes_it(folder: Folder, runtime: Runtime) -> None:
    model = load_policy(folder("llama"), runtime, trained=False).module
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7]])).logits[0].log_softmax(-1)
        logprobs = response_logprobs(model, batch_of([[5]], [[6, 7]]))[0]
    torch.testing.assert_close(logprobs, torch.stack([logits[0, 6], logits[1, 7]]))


def changed(read: Read, model: PreTrainedModel, position: int) -> list[bool]:
    """Which columns differ after the response token at `position` was replaced."""
    response = [15, 16, 17, 18, 3]
    other = [*response[:position], 20, *response[position + 1 :]]
    with torch.no_grad():
        before, after = (read(model, batch_of([[5, 6]], [ids]))[0] for ids in (response, other))
    return (~torch.isclose(before, after, atol=1e-6)).tolist()


@pytest.mark.parametrize("kind", DECODERS)
def test_the_reward_of_a_token_is_read_where_it_is_consumed(folder: Folder, runtime: Runtime, kind: str) -> None:
    model = load_reward_model(folder(kind, "token"), runtime).model.module
    # changing a_2 (0-based) changes r_2 and what comes after it, and nothing before
    assert changed(token_rewards, model, 2) == [False, False, True, True, True]
    assert changed(token_rewards, model, 4) == [False, False, False, False, True]


@pytest.mark.parametrize("kind", DECODERS)
def test_the_value_is_read_one_token_before_its_action(folder: Folder, runtime: Runtime, kind: str) -> None:
    model = load_reward_model(folder(kind, "token"), runtime).model.module
    # V(s_2) must not know a_2; V(s_3) does
    assert changed(token_values, model, 2) == [False, False, False, True, True]
    assert changed(token_values, model, 0) == [False, True, True, True, True]
    assert changed(token_values, model, 4) == [False] * 5


@pytest.mark.parametrize("kind", DECODERS)
def test_the_sequence_reward_is_read_at_the_last_real_token(folder: Folder, runtime: Runtime, kind: str) -> None:
    model = load_reward_model(folder(kind, "sequence"), runtime).model.module
    batch = batch_of(PROMPTS, RESPONSES, pad_id=3)  # padding looks like the end-of-sequence token
    with torch.no_grad():
        rewards = sequence_rewards(model, batch)
        for prompt, response, reward in zip(PROMPTS, RESPONSES, rewards, strict=True):
            hidden = model.base_model(torch.tensor([prompt + response])).last_hidden_state[0, -1]
            torch.testing.assert_close(reward, model.score(hidden)[0], rtol=1e-4, atol=1e-5)
        cut = sequence_rewards(model, batch_of([PROMPTS[0]], [RESPONSES[0][:-1]], pad_id=3))
    assert not torch.isclose(cut[0], rewards[0], atol=1e-4)  # the end-of-sequence token counts


def test_an_encoder_pools_its_first_real_token(folder: Folder, runtime: Runtime) -> None:
    model = load_reward_model(folder("bert", "sequence"), runtime).model.module
    with torch.no_grad():
        rewards = sequence_rewards(model, batch_of(PROMPTS, RESPONSES))
        for prompt, response, reward in zip(PROMPTS, RESPONSES, rewards, strict=True):
            torch.testing.assert_close(reward, model(torch.tensor([prompt + response])).logits[0, 0])


def test_everything_is_float32_under_bfloat16(folder: Folder) -> None:
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    policy = load_policy(folder("llama"), half, trained=False).module
    assert next(policy.parameters()).dtype == torch.bfloat16
    batch = batch_of(PROMPTS, RESPONSES)
    with torch.no_grad(), half.autocast():
        read = [response_logprobs(policy, batch)]
        for level, forward in (("token", token_rewards), ("token", token_values), ("sequence", sequence_rewards)):
            model = load_head(folder("llama", level), level, half, trained=False, zero_head=False)
            read.append(forward(model.module, batch))
    assert {tensor.dtype for tensor in read} == {torch.float32}
    assert all(bool(tensor.isfinite().all()) for tensor in read)


def test_padding_columns_stay_finite(folder: Folder, runtime: Runtime) -> None:
    model = load_policy(folder("gpt2"), runtime, trained=False).module
    with torch.no_grad():
        assert bool(response_logprobs(model, batch_of(PROMPTS, RESPONSES)).isfinite().all())


CPU = torch.device("cpu")
PAD_BATCHES = 9


def test_prompts_are_padded_on_the_left_and_responses_on_the_right() -> None:
    batch = collate([[1], [2, 3, 4]], [[5, 6], [7]], PAD_BATCHES, CPU)
    assert batch.input_ids.tolist() == [[PAD_BATCHES, PAD_BATCHES, 1, 5, 6], [2, 3, 4, 7, PAD_BATCHES]]
    assert batch.attention_mask.tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 0]]
    assert batch.position_ids.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 3]]
    assert batch.response_mask.tolist() == [[True, True], [True, False]]
    assert (batch.prompt_width, batch.response_width) == (3, 2)
    assert batch.response_ids.tolist() == [[5, 6], [7, PAD_BATCHES]]
    assert batch.lengths.tolist() == [2, 1]


def test_masks_come_from_lengths_and_not_from_the_pad_id() -> None:
    # 9 is the end-of-sequence token as well, and even stands inside the prompt
    batch = collate([[PAD_BATCHES, 1], [2]], [[5, PAD_BATCHES], [PAD_BATCHES]], PAD_BATCHES, CPU)
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [0, 1, 1, 0]]
    assert batch.lengths.tolist() == [2, 1]


def test_without_responses_there_is_one_empty_column() -> None:
    batch = collate([[1, 2]], [[]], PAD_BATCHES, CPU)
    assert batch.input_ids.tolist() == [[1, 2, PAD_BATCHES]]
    assert batch.lengths.tolist() == [0]


def test_as_many_responses_as_prompts() -> None:
    with pytest.raises(ValueError, match="zip"):
        collate([[1]], [[2], [3]], PAD_BATCHES, CPU)


def test_positions_count_real_tokens() -> None:
    assert positions(torch.tensor([[0, 0, 1, 1, 1, 0]])).tolist() == [[0, 0, 0, 1, 2, 2]]


def test_flush_left_moves_all_padding_to_the_right_and_keeps_no_more_than_the_longest_row_needs() -> None:
    batch = collate([[1], [2, 3, 4]], [[5, 6], [7]], PAD_BATCHES, CPU)
    ids, attention = flush_left(batch)
    assert ids.tolist() == [[1, 5, 6, PAD_BATCHES], [2, 3, 4, 7]]
    assert attention.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_an_encoder_reads_rows_that_fit_though_their_paddings_together_do_not(folder: Folder, runtime: Runtime) -> None:
    model = load_reward_model(folder("bert", "sequence"), runtime).model.module
    context = model.config.max_position_embeddings
    long, short = [5] * (context - 1), [6]
    together = sequence_rewards(model, batch_of([long, short], [short, long]))
    for reward, prompt, response in zip(together, (long, short), (short, long), strict=True):
        torch.testing.assert_close(reward[None], sequence_rewards(model, batch_of([prompt], [response])))


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


@pytest.mark.parametrize("kind", DECODERS)
def test_a_response_read_twice_is_seen_whole_at_each_of_its_tokens(folder: Folder, runtime: Runtime, kind: str) -> None:
    model = load_head(folder(kind), "token", runtime, trained=False, zero_head=True).module
    torch.manual_seed(0)
    torch.nn.init.normal_(head_of(model).weight)
    setattr(model.config, READ_TWICE, True)
    for alone, together in alone_and_together(token_rewards, model):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        with torch.no_grad():
            found = token_rewards(model, batch_of([prompt], [response]))
            setattr(model.config, READ_TWICE, False)
            longer = token_rewards(model, batch_of([prompt + response], [response]))
            setattr(model.config, READ_TWICE, True)
            other = token_rewards(model, batch_of([prompt], [[*response[:-1], 22]]))
        torch.testing.assert_close(found, longer, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found[0, 0], other[0, 0], rtol=1e-3)  # the last token is seen at the first


def test_a_batch_read_twice_by_hand() -> None:
    twice = read_twice(batch_of([[5], [6, 7]], [[8, 9], [10]]))
    assert twice.input_ids.tolist() == [[1, 5, 8, 9, 8, 9], [6, 7, 10, 1, 10, 1]]
    assert twice.attention_mask.tolist() == [[0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 0]]
    assert twice.position_ids.tolist() == [[0, 0, 1, 2, 3, 4], [0, 1, 2, 2, 3, 3]]
    assert twice.response_mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("pad_id", [PAD, 3], ids=["pad", "pad-is-eos"])
@pytest.mark.parametrize("kind", DECODERS)
def test_increments_are_differences_of_the_rewards_of_prefixes(
    folder: Folder, runtime: Runtime, kind: str, pad_id: int
) -> None:
    model = load_reward_model(folder(kind, "sequence"), runtime).model.module
    batch = batch_of(PROMPTS, RESPONSES, pad_id)
    with torch.no_grad():
        increments = sequence_increments(model, batch)
        for prompt, response, row in zip(PROMPTS, RESPONSES, increments, strict=True):
            lengths = range(len(response) + 1)
            prefixes = [float(sequence_rewards(model, batch_of([prompt], [response[:n]], pad_id))) for n in lengths]
            gains = [after - before for before, after in pairwise(prefixes)]
            assert row.tolist()[: len(gains)] == pytest.approx(gains, abs=1e-4)
            assert float(row.sum()) + prefixes[0] == pytest.approx(prefixes[-1], abs=1e-4)
    assert not increments[~batch.response_mask].any()
    assert float(increments.abs().max()) > 0.1


def test_what_reads_from_left_to_right_is_told_from_what_looks_ahead(folder: Folder, runtime: Runtime) -> None:
    for kind in DECODERS:
        model = load_reward_model(folder(kind, "sequence"), runtime).model.module
        assert reads_left_to_right(model, runtime.device), kind
    ahead = load_reward_model(folder("llama", "sequence"), runtime).model.module
    ahead.config.is_causal = False
    for model in (ahead, load_reward_model(folder("bert", "sequence"), runtime).model.module):
        assert not reads_left_to_right(model, runtime.device)
