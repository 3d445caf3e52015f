"""Sequences that begin alike in one row: the numbers and gradients of rows of their own."""

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
)

from redpencil.models.checkpoints import checkpoint_activations, disable_dropout
from redpencil.models.forward import (
    Batch,
    collate,
    hidden_states,
    response_scores,
    sequence_increments,
    sequence_rewards,
    token_rewards,
    token_values,
)
from redpencil.models.shared_rows import Plan, Row, fold, lay_out

CPU = torch.device("cpu")
VOCABULARY = 11


@cache
def model(kind: str, head: str) -> nn.Module:
    common = {"vocab_size": VOCABULARY, "num_labels": 1, "initializer_range": 0.3, "pad_token_id": 0} | dict.fromkeys(
        ("bos_token_id", "eos_token_id"), 1
    )
    small = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    configs: dict[str, PretrainedConfig] = {
        "llama": LlamaConfig(**small, num_key_value_heads=1, **common),
        "qwen3": Qwen3Config(**small, num_key_value_heads=2, head_dim=4, **common),
        "gpt2": GPT2Config(n_embd=8, n_layer=2, n_head=2, n_positions=64, **common),
    }
    auto = {
        "policy": AutoModelForCausalLM,
        "token": AutoModelForTokenClassification,
        "sequence": AutoModelForSequenceClassification,
    }[head]
    torch.manual_seed(5)
    made: nn.Module = auto.from_config(configs[kind]).double().eval()
    for parent in list(made.modules()):
        for name, norm in parent.named_children():
            if type(norm).__name__.endswith("RMSNorm"):  # those of transformers compute in float32
                own = nn.RMSNorm(len(norm.weight), eps=norm.variance_epsilon, dtype=torch.float64)
                own.load_state_dict(norm.state_dict())
                setattr(parent, name, own)
    return made


Read = Callable[[Any, Batch], Tensor]
READS: dict[str, tuple[str, Read]] = {
    "logprobs": ("policy", lambda model, batch: response_scores(model, batch, 0.7, entropy=False)[0]),
    "entropy": ("policy", lambda model, batch: response_scores(model, batch, 1.0)[1] * 1.0),  # type: ignore[operator]
    "rewards": ("token", token_rewards),
    "values": ("token", token_values),
    "states": ("token", hidden_states),
    "sequence": ("sequence", sequence_rewards),
    "increments": ("sequence", sequence_increments),
}

TOKENS = st.lists(st.integers(1, VOCABULARY - 1), max_size=5)


@st.composite
def groups(draw: st.DrawFn) -> list[tuple[list[int], list[list[int]]]]:
    """Prompts, each with answers that begin alike as far as it happens: not at all, or as a whole."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        prompt, beginning = draw(TOKENS.filter(len)), draw(TOKENS)
        answers = [beginning[: draw(st.integers(0, 5))] + draw(TOKENS) for _ in range(draw(st.integers(1, 3)))]
        found.append((prompt, answers))
    return found


def batches(texts: Sequence[tuple[list[int], list[list[int]]]], *, packed: bool) -> tuple[Batch, Batch]:
    """All answers in a row each, and those to one prompt together."""
    prompts = [prompt for prompt, answers in texts for _ in answers]
    answers = [answer for _, each in texts for answer in each]
    ends = [sum(len(each) for _, each in texts[: i + 1]) for i in range(len(texts))]
    members = [list(range(end - len(each), end)) for end, (_, each) in zip(ends, texts, strict=True)]
    rows = fold([a + b for a, b in zip(prompts, answers, strict=True)], members, lambda width: width)
    return collate(prompts, answers, 0, CPU), collate(
        prompts, answers, 0, CPU, Plan(rows, packed and sum(row.width for row in rows) > 1)
    )


def learned(read: Read, module: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """What a model gives for the tokens that count, and a gradient in which each has a weight of its own."""
    module.zero_grad()
    found = read(module, batch)
    if found.ndim > 1:
        found = found[batch.response_mask]
    (found * torch.arange(1, found.numel() + 1, dtype=found.dtype).view_as(found).cos()).sum().backward()
    return found.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("name", list(READS))
@settings(max_examples=12, deadline=None)
@given(packed=st.booleans(), texts=groups())
def test_numbers_and_gradients_are_those_of_rows_apart(
    kind: str, name: str, packed: bool, texts: list[tuple[list[int], list[list[int]]]]
) -> None:
    head, read = READS[name]
    module = model(kind, head)
    apart, together = batches(texts, packed=packed)
    (one, gradients), (other, others) = learned(read, module, apart), learned(read, module, together)
    torch.testing.assert_close(other, one, rtol=0, atol=1e-9)
    assert others.keys() == gradients.keys()
    for weight, gradient in gradients.items():
        torch.testing.assert_close(others[weight], gradient, rtol=0, atol=1e-9, msg=lambda m, w=weight: f"{w}: {m}")


def test_rows_by_hand() -> None:
    prompts, answers = [[1], [1], [2, 3]], [[4, 5], [4, 6, 7], [8]]
    rows = [Row((0, 1), 2, 5), Row((2,), 3, 3)]
    padded = lay_out(Plan(rows, packed=False), prompts, answers, 0, CPU)
    assert padded.input_ids.tolist() == [[1, 4, 5, 6, 7], [2, 3, 8, 0, 0]]
    assert padded.position_ids.tolist() == [[0, 1, 2, 2, 3], [0, 1, 2, 0, 0]]
    assert padded.places.tolist() == [[0, 0, 1, 2, 0], [0, 0, 1, 3, 4], [5, 6, 7, 0, 0]]
    # The 4 that both answers begin with counts once.
    assert padded.counted.tolist() == [1, 2, 3, 4, 7]
    assert padded.predictors.tolist() == [0, 1, 1, 3, 6]
    assert padded.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]
    assert padded.attention_mask.any(dim=-1).all()  # padding too reads something
    packed = lay_out(Plan(rows, packed=True), prompts, answers, 0, CPU)
    assert packed.input_ids.tolist() == [[1, 4, 5, 6, 7, 2, 3, 8]]
    assert packed.places.tolist() == [[0, 0, 1, 2, 0], [0, 0, 1, 3, 4], [5, 6, 7, 0, 0]]
    assert packed.attention_mask.shape == (1, 1, 8, 8)


def test_sequences_join_a_row_as_long_as_that_costs_less() -> None:
    texts = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 9, 9, 9], [6]]
    together = [Row((0, 1), 3, 5), Row((2,), 4, 4), Row((3,), 1, 1)]
    # The third would take what all share down to one token: 1 + 3 * 3 columns, and 5 + 4 apart.
    assert fold(texts, [(0, 1, 2), (3,)], lambda width: width) == together
    assert fold(texts[:2], [(0, 1)], lambda width: width**4) == [Row((0,), 4, 4), Row((1,), 4, 4)]
    assert fold([[1, 2], [1, 2]], [(0, 1)], lambda width: width) == [Row((0, 1), 2, 2)]
    assert fold([], [()], lambda width: width) == []


def test_gradients_come_through_layers_that_are_computed_again() -> None:
    module: Any = copy.deepcopy(model("llama", "token"))
    disable_dropout(module)
    batch = batches([([1, 2], [[3, 4, 5], [3, 4, 6, 7]]), ([8], [[9]])], packed=True)[1]
    once = learned(token_rewards, module, batch)[1]
    checkpoint_activations(module)
    module.train()
    again = learned(token_rewards, module, batch)[1]
    for name, gradient in once.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=1e-12)
