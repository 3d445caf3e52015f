"""Sampling: order, seeds, ends, and that the distribution is the policy's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, PreTrainedModel

from redpencil.config import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models.loading import load_policy
from redpencil.models.runtime import Runtime, set_seed
from redpencil.models.sampling import Sample, check_context, cut_at_end, end_tokens, sample_responses
from redpencil.models.text import Codec, load_codec

Folder = Callable[..., Path]
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 5], [6, 6, 6, 6]]
GREEDY = SamplingConfig(temperature=0, response_length=8)


@pytest.fixture
def policy(folder: Folder, runtime: Runtime) -> PreTrainedModel:
    return load_policy(folder("llama"), runtime, trained=True)


@pytest.fixture(scope="session")
def codec(folder: Folder) -> Codec:
    return load_codec(folder("llama"))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2"])
def test_a_padded_batch_answers_like_single_prompts_in_their_order(folder: Folder, runtime: Runtime, kind: str) -> None:
    model, codec = load_policy(folder(kind), runtime, trained=False), load_codec(folder(kind))
    together = sample_responses(model, codec, PROMPTS, GREEDY, runtime)
    alone = [sample_responses(model, codec, [prompt], GREEDY, runtime)[0] for prompt in PROMPTS]
    pairs = sample_responses(model, codec, PROMPTS, GREEDY.model_copy(update={"batch_size": 2}), runtime)
    assert together == alone == pairs
    assert len(set(alone)) > 1


def test_a_greedy_response_is_the_likeliest_token_each_time(policy: PreTrainedModel, codec: Codec) -> None:
    runtime = Runtime(torch.device("cpu"), torch.float32)
    [sample] = sample_responses(policy, codec, [PROMPTS[0]], GREEDY, runtime)
    ids = list(PROMPTS[0])
    for token in sample.ids:
        with torch.no_grad():
            assert int(policy(torch.tensor([ids])).logits[0, -1].argmax()) == token
        ids.append(token)


def test_the_seed_decides(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    def draw(seed: int) -> list[Sample]:
        set_seed(seed)
        return sample_responses(policy, codec, PROMPTS, SamplingConfig(response_length=8), runtime)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_samples_follow_the_policy(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    set_seed(0)
    config = SamplingConfig(response_length=1, batch_size=4000)
    samples = sample_responses(policy, codec, [PROMPTS[0]] * 4000, config, runtime)
    counts = torch.bincount(torch.tensor([sample.ids[0] for sample in samples]), minlength=len(codec.tokenizer))
    with torch.no_grad():
        expected = policy(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    # 4,000 draws: the standard error of a share is at most .008
    torch.testing.assert_close(counts / 4000, expected, rtol=0, atol=0.035)


@pytest.mark.parametrize(
    "habits",
    [{"repetition_penalty": 100.0}, {"min_new_tokens": 8}, {"no_repeat_ngram_size": 1}, {"suppress_tokens": [5]}],
    ids=lambda habits: next(iter(habits)),
)
def test_habits_of_a_checkpoint_do_not_shape_the_samples(
    policy: PreTrainedModel, codec: Codec, runtime: Runtime, habits: dict[str, object]
) -> None:
    def draw() -> list[Sample]:
        set_seed(3)
        return sample_responses(policy, codec, PROMPTS, SamplingConfig(response_length=12), runtime)

    before = draw()
    assert any(sample.finished for sample in before)
    assert any(5 in sample.ids for sample in before)
    policy.generation_config = GenerationConfig(eos_token_id=3, **habits)
    assert draw() == before
    assert getattr(policy.generation_config, next(iter(habits))) == next(iter(habits.values()))  # and it is kept


def test_training_mode_is_restored(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    for mode in (True, False):
        policy.train(mode)
        sample_responses(policy, codec, PROMPTS, GREEDY, runtime)
        assert policy.training is mode


def test_every_end_token_ends(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    policy.generation_config = GenerationConfig(eos_token_id=[3, 9])
    assert end_tokens(policy, codec) == {3, 9}
    policy.generation_config = GenerationConfig(eos_token_id=7)
    assert end_tokens(policy, codec) == {3, 7}
    policy.generation_config = GenerationConfig()
    assert end_tokens(policy, codec) == {3}
    # all tokens end: every response has one
    policy.generation_config = GenerationConfig(eos_token_id=list(range(len(codec.tokenizer))))
    samples = sample_responses(policy, codec, PROMPTS, SamplingConfig(response_length=8), runtime)
    assert all(sample.finished and len(sample.ids) == 1 for sample in samples)


def test_finished_and_cut_off(folder: Folder, runtime: Runtime) -> None:
    """Pad and end are one token here."""
    model, codec = load_policy(folder("gpt2"), runtime, trained=False), load_codec(folder("gpt2"))
    with torch.no_grad():
        model.transformer.ln_f.bias.add_(model.lm_head.weight[codec.eos_id] * 3)  # make the end likelier
    set_seed(0)
    samples = sample_responses(model, codec, PROMPTS * 12, SamplingConfig(response_length=8), runtime)
    assert len({len(sample.ids) for sample in samples}) > 2
    for sample in samples:
        assert sample.finished == (sample.ids[-1] == codec.eos_id)
        assert codec.eos_id not in sample.ids[:-1]
        assert sample.finished or len(sample.ids) == 8
    assert {sample.finished for sample in samples} == {True, False}


def test_cut_at_end_by_hand() -> None:
    ends = frozenset({3, 9})
    assert cut_at_end([5, 6, 3, 1, 1], ends) == Sample((5, 6, 3), finished=True)
    assert cut_at_end([5, 9, 3, 3], ends) == Sample((5, 9), finished=True)
    assert cut_at_end([5, 6], ends) == Sample((5, 6), finished=False)
    assert cut_at_end([], ends) == Sample((), finished=False)


@given(st.lists(st.integers(0, 4), max_size=12), st.frozensets(st.integers(0, 4)), st.integers(0, 4))
def test_what_follows_the_end_does_not_matter(ids: list[int], ends: frozenset[int], pad_id: int) -> None:
    sample = cut_at_end(ids, ends)
    assert list(sample.ids) == ids[: len(sample.ids)]
    assert sample.finished == any(token in ends for token in ids)
    if sample.finished:
        assert cut_at_end([*sample.ids, pad_id, pad_id], ends) == sample


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_prompt_and_response_must_fit_the_context(folder: Folder, runtime: Runtime, kind: str) -> None:
    model, codec = load_policy(folder(kind), runtime, trained=False), load_codec(folder(kind))
    prompts = [[5] * 40, [5]]
    check_context(model, prompts, 8)  # 40 + 8 = 48
    samples = sample_responses(model, codec, prompts, SamplingConfig(response_length=8), runtime)
    assert len(samples) == 2
    with pytest.raises(RedpencilError, match="40 tokens and a response of up to 9 exceed the model's context of 48"):
        sample_responses(model, codec, prompts, SamplingConfig(response_length=9), runtime)


def test_progress_counts_responses(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    seen = []
    config = SamplingConfig(response_length=2, batch_size=2)
    sample_responses(policy, codec, PROMPTS, config, runtime, lambda done, total, _: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_weights_that_are_no_numbers_are_told(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    with torch.no_grad():
        for weight in policy.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(RedpencilError, match="not finite"):
        sample_responses(policy, codec, PROMPTS, SamplingConfig(response_length=8), runtime)


def test_a_tokenizer_of_another_model_is_told(policy: PreTrainedModel, codec: Codec, runtime: Runtime) -> None:
    known = policy.get_input_embeddings().num_embeddings
    with pytest.raises(RedpencilError, match=f"gives token {known}, the model knows {known} tokens"):
        sample_responses(policy, codec, [[5, known]], GREEDY, runtime)


def test_an_end_token_that_is_no_id_is_told(policy: PreTrainedModel, codec: Codec) -> None:
    policy.generation_config = GenerationConfig()
    policy.generation_config.eos_token_id = "x"
    with pytest.raises(RedpencilError, match="not a token id") as raised:
        end_tokens(policy, codec)
    assert raised.value.field == "eos_token_id"
