"""The decode loop: the tokens of `generate`, and draws that depend on nothing but the row."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GenerationConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from redpencil.config.methods import SamplingConfig
from redpencil.models import decoding
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.decoding import Decoder, draw, greedy, why_not
from redpencil.models.forward import collate, response_logprobs
from redpencil.models.runtime import Runtime

Folder = Callable[..., Path]
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 5], [6, 6, 6, 6], [10], [7] * 11, [9, 8], [5, 6, 7, 8, 9]]
KINDS = ("llama", "qwen2", "qwen3", "gpt2")


def policy_of(folder: Folder, runtime: Runtime, kind: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    policy = load_policy(folder(kind), runtime, trained=False)
    policy.module.to(dtype)
    policy.module.generation_config = GenerationConfig()
    return policy


def decoded(policy: LanguageModel, prompts: list[list[int]], ends: set[int], **options: Any) -> list[list[int]]:
    config = SamplingConfig(**{"response_length": 20, "batch_size": 3, **options})
    return Decoder(policy, prompts, config, frozenset(ends), range(100, 100 + len(prompts))).run()


def generated(policy: LanguageModel, prompt: list[int], ends: set[int], length: int = 20) -> list[int]:
    """One row at a time, so that nothing is padded."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = policy.module.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=policy.codec.pad_id,
            eos_token_id=sorted(ends),
        )
    row: list[int] = out[0, len(prompt) :].tolist()
    return row


def often_drawn(policy: LanguageModel) -> set[int]:
    """Ends that some rows meet early, some late and some never."""
    rows = [generated(policy, prompt, {policy.codec.eos_id}) for prompt in PROMPTS]
    return {rows[0][4], rows[3][9], policy.codec.eos_id}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_generate_token_for_token(folder: Folder, runtime: Runtime, kind: str, dtype: torch.dtype) -> None:
    policy = policy_of(folder, runtime, kind, dtype)
    ends = often_drawn(policy)
    expected = [generated(policy, prompt, ends) for prompt in PROMPTS]
    assert len({len(row) for row in expected}) > 2
    for size in (1, 3, 4, 20):
        assert decoded(policy, PROMPTS, ends, temperature=0, batch_size=size) == expected


@pytest.mark.parametrize("unread", [1, 3, 8])
@pytest.mark.parametrize("block", [1, 2, 64])
def test_columns_and_looks_change_nothing(
    folder: Folder, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, block: int, unread: int
) -> None:
    """Buffers that grow and slide, and a GPU's way of looking at the tokens now and then."""
    policy = policy_of(folder, runtime, "llama", torch.float64)
    ends = often_drawn(policy)
    expected = [decoded(policy, [prompt], ends, temperature=0)[0] for prompt in PROMPTS]
    monkeypatch.setattr(decoding, "BLOCK", block)
    monkeypatch.setattr(decoding, "_UNREAD", {"cpu": unread})
    assert decoded(policy, PROMPTS, ends, temperature=0) == expected


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_draws_do_not_depend_on_the_other_rows(folder: Folder, runtime: Runtime, kind: str) -> None:
    """In float64, where rounding is far from what could change a draw."""
    policy = policy_of(folder, runtime, kind, torch.float64)
    config, ends, seeds = SamplingConfig(response_length=12), frozenset({policy.codec.eos_id, 6, 9}), [7, 8, 9] * 3
    alone = [Decoder(policy, [p], config, ends, [s]).run()[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    assert len({tuple(row) for row in alone}) == len(PROMPTS)  # the two prompts that are there twice too
    for size in (2, 5, 20):
        for order in (range(len(PROMPTS)), reversed(range(len(PROMPTS)))):
            rows = list(order)
            settled = config.model_copy(update={"batch_size": size})
            found = Decoder(policy, [PROMPTS[i] for i in rows], settled, ends, [seeds[i] for i in rows]).run()
            assert found == [alone[i] for i in rows]


def test_what_is_drawn_has_the_distribution_of_a_forward_pass(folder: Folder, runtime: Runtime) -> None:
    """Over two tokens, of which the second is read through the cache: log-probabilities by a teacher-forced pass."""
    policy, count = policy_of(folder, runtime, "llama"), 6000
    answers = decoded(policy, [PROMPTS[0]] * count, set(), response_length=2, batch_size=500, temperature=0.7)
    counts: dict[tuple[int, ...], int] = {}
    for answer in answers:
        counts[tuple(answer)] = counts.get(tuple(answer), 0) + 1
    pairs = sorted(counts, key=lambda pair: -counts[pair])[:8]
    batch = collate([PROMPTS[0]] * len(pairs), pairs, policy.codec.pad_id, runtime.device)
    with torch.no_grad():
        expected = response_logprobs(policy.module, batch, 0.7).sum(dim=1).exp()
    found = torch.tensor([counts[pair] / count for pair in pairs])
    error = (expected * (1 - expected) / count).sqrt()
    assert float(expected.sum()) > 0.1
    assert bool(((found - expected).abs() < 4 * error).all())


def by_hand(probabilities: list[float], number: float) -> int:
    """The first token at which the sum of probabilities is above the number."""
    total = 0.0
    for token, probability in enumerate(probabilities):
        total += probability
        if total > number:
            return token
    raise AssertionError


@pytest.mark.parametrize(
    ("number", "token"), [(0.0, 1), (0.249, 1), (0.25, 2), (0.749, 2), (0.751, 4), (1 - 2.0**-53, 4)]
)
def test_a_number_falls_into_a_token_by_hand(number: float, token: int) -> None:
    probabilities = torch.tensor([[0.0, 0.25, 0.5, 0.0, 0.25, 0.0]])
    numbers = torch.tensor([[number]], dtype=torch.float64)
    assert draw(probabilities.log(), numbers, 1.0, 1.0).tolist() == [token]
    assert by_hand(probabilities[0].tolist(), number) == token


def test_temperature_and_nucleus_by_hand() -> None:
    """At temperature 1/2 probabilities are squared: 1, 4 and 16 of 21. The nucleus of .8 of 1, 2 and 4 of 7 has two."""
    logits, numbers = torch.tensor([[1.0, 2.0, 4.0]]).log(), torch.tensor([[0.2]], dtype=torch.float64)
    assert draw(logits, numbers, 1.0, 1.0).tolist() == [1]  # 1/7 < .2 < 3/7
    assert draw(logits, numbers, 0.5, 1.0).tolist() == [1]  # 1/21 < .2 < 5/21
    assert draw(logits, numbers, 0.5, 0.7).tolist() == [2]
    assert draw(logits, torch.zeros(1, 1, dtype=torch.float64), 1.0, 0.8).tolist() == [1]
    assert draw(logits, torch.full((1, 1), 0.34, dtype=torch.float64), 1.0, 0.8).tolist() == [2]  # 2/6 < .34


@given(st.integers(1, 40), st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
@settings(max_examples=30)
def test_a_token_that_cannot_be_is_never_drawn(size: int, seed: int, number: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, size, generator=generator) * 20
    logits[:, torch.randperm(size, generator=generator)[: size // 2]] = -torch.inf
    numbers = torch.full((3, 1), number, dtype=torch.float64)
    chosen = draw(logits, numbers, 1.0, 1.0)
    assert bool(logits.gather(1, chosen[:, None]).isfinite().all())


def test_no_numbers_are_told() -> None:
    for logits in (torch.tensor([[torch.nan, 1.0]]), torch.tensor([[torch.inf, 1.0]])):
        assert draw(logits, torch.zeros(1, 1, dtype=torch.float64), 1.0, 1.0).tolist() == [-1]
        assert greedy(logits).tolist() == [-1]
    assert greedy(torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [1]


TINY = {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": 30, "intermediate_size": 16, "num_hidden_layers": 2}
MOVING = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MistralConfig(**TINY, num_key_value_heads=1, sliding_window=8), "attend to all"),
        (MistralConfig(**TINY, num_key_value_heads=1, sliding_window=None), None),
        (Gemma2Config(**TINY, num_key_value_heads=1, head_dim=8), "attend to all"),
        (Phi3Config(**TINY, num_key_value_heads=1, pad_token_id=0), "of its own"),
        (LlamaConfig(**TINY), None),
        (LlamaConfig(**TINY, rope_parameters=MOVING), "longest row"),
        (BloomConfig(hidden_size=16, n_head=2, n_layer=2, vocab_size=30), "positions"),
        (MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=30, state_size=4), "attend to all"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PretrainedConfig) else "",
)
def test_models_say_whether_the_loop_takes_them(config: PretrainedConfig, reason: str | None) -> None:
    with torch.device("meta"):
        found = why_not(AutoModelForCausalLM.from_config(config))
    assert found is None if reason is None else reason in str(found)


def test_an_encoder_with_a_decoder_is_not_taken() -> None:
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=16, d_ff=16, num_layers=1, num_heads=2, vocab_size=30))
    assert why_not(model) is not None


class Counting:
    """Stands around a module and counts the tokens that it reads."""

    def __init__(self, module: Any) -> None:
        self.module, self.config, self.read = module, module.config, []

    def __call__(self, **inputs: Any) -> Any:
        self.read.append(tuple(inputs["input_ids"].shape))
        return self.module(**inputs)


def test_no_work_for_rows_that_have_ended_or_for_a_prompt_read_twice(folder: Folder, runtime: Runtime) -> None:
    policy = policy_of(folder, runtime, "llama")
    ends = often_drawn(policy)
    expected = decoded(policy, PROMPTS, ends, temperature=0, batch_size=20)
    counting = Counting(policy.module)
    stand_in: Any = SimpleNamespace(module=counting, runtime=runtime, codec=policy.codec, name="")
    assert decoded(stand_in, PROMPTS, ends, temperature=0, batch_size=20) == expected
    unique = {tuple(prompt) for prompt in PROMPTS}
    assert counting.read[0] == (len(unique), 11)
    assert sum(rows for rows, _ in counting.read[1:]) == sum(len(row) - 1 for row in expected)


def test_mask_of_ones_only_where_tokens_are(folder: Folder, runtime: Runtime) -> None:
    """A slot that is used again must not attend to what its last row has left there."""
    policy = policy_of(folder, runtime, "gpt2", torch.float64)
    prompts = [[5, 6, 7, 8]] * 2 + [[9]] * 6
    seen: list[Tensor] = []
    module, read = policy.module, policy.module.forward

    def watched(**inputs: Any) -> Any:
        seen.append(torch.cat([inputs["attention_mask"].sum(dim=1, keepdim=True), inputs["position_ids"]], dim=1))
        return read(**inputs)

    module.forward = watched
    decoded(policy, prompts, {3, 4, 5, 6}, batch_size=2)
    del module.forward
    for mask_and_positions in seen:
        if mask_and_positions.shape[1] == 2:  # a step: as many columns count as tokens were read
            assert torch.equal(mask_and_positions[:, 0], mask_and_positions[:, 1] + 1)
