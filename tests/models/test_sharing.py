"""Which models share rows, and why others do not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    FalconConfig,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
)
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from redpencil.models.checkpoints import load_policy
from redpencil.models.codec import load_codec
from redpencil.models.forward import READ_TWICE, response_logprobs
from redpencil.models.runtime import Runtime
from redpencil.models.shared_rows import Plan, Row
from redpencil.models.sharing import APART, Sharing, alike, sharing_of

CPU = torch.device("cpu")
SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 20, "pad_token_id": 0}
SMALL |= {"bos_token_id": 1, "eos_token_id": 2}
LLAMA = {"intermediate_size": 16, "num_key_value_heads": 1, **SMALL}
HEADED = {"head_dim": 4, **LLAMA}


def made(config: PretrainedConfig, auto: Any = AutoModelForCausalLM) -> nn.Module:
    torch.manual_seed(3)
    model: nn.Module = auto.from_config(config)
    return model


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**LLAMA), Qwen2Config(**LLAMA), MistralConfig(**LLAMA, sliding_window=None)],
    ids=lambda config: config.model_type,
)
def test_decoders_that_read_all_that_is_before_a_token_share(config: PretrainedConfig) -> None:
    model = made(config).train()
    assert sharing_of(model, CPU) == Sharing(8, packs=True)
    assert model.training
    assert sharing_of(model, torch.device("meta")) is sharing_of(model, CPU)  # it is found out once


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(**LLAMA, sliding_window=4), "layers with sliding_attention"),
        (Gemma2Config(**HEADED, sliding_window=4), "the attention eager takes no mask"),
        (
            Qwen2Config(**LLAMA, use_sliding_window=True, sliding_window=4, max_window_layers=1),
            "layers with sliding_attention",
        ),
        (LlamaConfig(**LLAMA, attn_implementation="eager"), "the attention eager takes no mask"),
        (LlamaConfig(**LLAMA, **{READ_TWICE: True}), "reads responses twice"),
    ],
    ids=["mistral", "gemma2", "qwen2", "eager", "read twice"],
)
def test_what_a_configuration_speaks_against(config: PretrainedConfig, reason: str) -> None:
    sharing = sharing_of(made(config), CPU)
    assert sharing.width is None
    assert reason in sharing.reason
    assert sharing.plan([(1, 2), (1, 3)], [(0, 1)]) is None


def test_a_model_that_looks_ahead_is_found_out() -> None:
    config = LlamaConfig(**LLAMA)
    config.is_causal = False
    model = made(config)
    for layer in model.model.layers:  # type: ignore[union-attr]
        layer.self_attn.is_causal = False
    free = sharing_of(model, CPU)
    assert free.width is None
    assert "gives other numbers" in free.reason


class PaysNoHeed(LlamaForCausalLM):
    """Computes its positions by itself, as some models do."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        self.model.register_forward_pre_hook(_own_positions, with_kwargs=True)


def _own_positions(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    mask = kwargs["attention_mask"]
    ids = (mask.cumsum(1) - 1).clamp(min=0) if mask.ndim == 2 else torch.arange(mask.shape[-1])[None]
    return args, {**kwargs, "position_ids": ids}


def test_a_model_with_positions_of_its_own_is_found_out() -> None:
    torch.manual_seed(3)
    sharing = sharing_of(PaysNoHeed(LlamaConfig(**LLAMA, initializer_range=0.3)), CPU)
    assert "gives other numbers" in sharing.reason


def test_a_model_that_does_not_take_a_mask_of_columns_is_found_out() -> None:
    sharing = sharing_of(made(FalconConfig(alibi=True, **SMALL)), CPU)
    assert "does not take a mask of columns (ValueError)" in sharing.reason


def test_an_encoder_reads_each_text_by_itself(folder: Callable[..., Path]) -> None:
    model = AutoModelForTokenClassification.from_pretrained(folder("bert", "token"))
    assert "gives other numbers" in sharing_of(model, CPU).reason


def test_a_plan_by_hand() -> None:
    texts = [(1, 2, 3), (1, 2, 4, 5), (7,), (1, 2, 3)]
    groups = [(0, 1, 3), (2,)]
    rows = [Row((0, 1, 3), 2, 6), Row((2,), 1, 1)]
    assert Sharing(8, packs=True).plan(texts, groups) == Plan(rows, packed=True)
    assert Sharing(8).plan(texts, groups) == Plan(rows, packed=False)
    # A width of 1 does 6 units of other work a column: 5 columns of one row cost 55, those of two rows 27 + 40.
    assert Sharing(1).plan(texts[:2], [(0, 1)]) == Plan([Row((0, 1), 2, 5)], packed=False)
    # 9 columns cost 135; rows of 5 cost 2 * 55.
    assert Sharing(1).plan([(1, 2, 3, 4, 5), (1, 6, 7, 8, 9)], [(0, 1)]) is None
    assert APART.plan(texts, groups) is None


def test_equal_prompts_are_grouped() -> None:
    assert alike([[1], (1, 2), (1,), [3]]) == [[0, 2], [1], [3]]


def test_a_batch_of_a_model_shares_what_answers_to_a_prompt_begin_with(
    folder: Callable[..., Path], runtime: Runtime
) -> None:
    path = folder("llama")
    model = load_policy(path, runtime, trained=False, codec=load_codec(path))
    prompts, responses = [[4, 5], [6], [4, 5]], [[7, 8, 9], [10], [7, 8, 11, 12]]
    batch = model.collate(prompts, responses)
    assert batch.shared is not None
    assert batch.shared.input_ids.tolist() == [[4, 5, 7, 8, 9, 11, 12, 6, 10]]
    apart = response_logprobs(model.module, type(batch)(*(getattr(batch, name) for name in batch.__slots__[:4])))
    torch.testing.assert_close(response_logprobs(model.module, batch), apart, rtol=0, atol=1e-5)
