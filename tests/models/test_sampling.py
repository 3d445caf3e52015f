"""Sampling: order, seeds, ends, and that the distribution is the policy's own."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicLayer

from redpencil.config.methods import SamplingConfig
from redpencil.errors import RedpencilError
from redpencil.models import decoding
from redpencil.models.checkpoints import LanguageModel, load_policy
from redpencil.models.codec import CHAT, Codec, load_codec
from redpencil.models.runtime import Runtime
from redpencil.models.sampling import (
    HFSampler,
    Placed,
    Sample,
    cut_at_end,
    encode_prompts,
    end_tokens,
    place,
    respond,
    responses_of,
)
from redpencil.records import Prompt, Response

Folder = Callable[..., Path]
PROMPTS = [[5, 6, 7, 8, 9], [10], [11, 12, 13], [14, 5], [6, 6, 6, 6]]
GREEDY = SamplingConfig(temperature=0, response_length=8)


@pytest.fixture
def policy(folder: Folder, runtime: Runtime) -> LanguageModel:
    return load_policy(folder("llama"), runtime, trained=True)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gpt2"])
def test_a_padded_batch_answers_like_single_prompts_in_their_order(folder: Folder, runtime: Runtime, kind: str) -> None:
    policy = load_policy(folder(kind), runtime, trained=False)
    sampler = HFSampler(policy)
    together = sampler.sample(PROMPTS, GREEDY, seed=0)
    alone = [sampler.sample([prompt], GREEDY, seed=0)[0] for prompt in PROMPTS]
    pairs = sampler.sample(PROMPTS, GREEDY.model_copy(update={"batch_size": 2}), seed=0)
    assert together == alone == pairs
    assert len(set(alone)) > 1


def test_a_greedy_response_is_the_likeliest_token_each_time(policy: LanguageModel) -> None:
    [sample] = HFSampler(policy).sample([PROMPTS[0]], GREEDY, seed=0)
    ids = list(PROMPTS[0])
    for token in sample.ids:
        with torch.no_grad():
            assert int(policy.module(torch.tensor([ids])).logits[0, -1].argmax()) == token
        ids.append(token)


def test_a_seed_decides_alone_and_leaves_the_global_generator_as_it_was(policy: LanguageModel) -> None:
    def draw(seed: int) -> list[Sample]:
        return HFSampler(policy).sample(PROMPTS, SamplingConfig(response_length=8), seed=seed)

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = draw(1)
    assert torch.equal(torch.rand(3), expected)
    assert draw(1) == first  # wherever the global generator is
    assert draw(2) != first


def test_samples_follow_the_policy(policy: LanguageModel) -> None:
    config = SamplingConfig(response_length=1, batch_size=4000)
    samples = HFSampler(policy).sample([PROMPTS[0]] * 4000, config, seed=0)
    counts = torch.bincount(torch.tensor([sample.ids[0] for sample in samples]), minlength=len(policy.codec.tokenizer))
    with torch.no_grad():
        expected = policy.module(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    # 4,000 draws: the standard error of a share is at most .008
    torch.testing.assert_close(counts / 4000, expected, rtol=0, atol=0.035)


@pytest.mark.parametrize(
    "habits",
    [{"repetition_penalty": 100.0}, {"min_new_tokens": 8}, {"no_repeat_ngram_size": 1}, {"suppress_tokens": [5]}],
    ids=lambda habits: next(iter(habits)),
)
def test_habits_of_a_checkpoint_do_not_shape_the_samples(policy: LanguageModel, habits: dict[str, object]) -> None:
    def draw() -> list[Sample]:
        return HFSampler(policy).sample(PROMPTS, SamplingConfig(response_length=12), seed=3)

    before = draw()
    assert any(sample.finished for sample in before)
    assert any(5 in sample.ids for sample in before)
    policy.module.generation_config = GenerationConfig(eos_token_id=3, **habits)
    assert draw() == before
    assert getattr(policy.module.generation_config, next(iter(habits))) == next(iter(habits.values()))  # and it is kept


def test_training_mode_is_restored(policy: LanguageModel) -> None:
    for mode in (True, False):
        policy.module.train(mode)
        HFSampler(policy).sample(PROMPTS, GREEDY, seed=0)
        assert policy.module.training is mode


def test_other_models_are_sampled_by_generate_and_the_log_says_so(
    policy: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    config = MistralConfig(
        vocab_size=len(policy.codec.tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=4,
        initializer_range=0.3,
    )
    torch.manual_seed(3)
    other = replace(policy, module=MistralForCausalLM(config))
    for _ in range(2):
        [sample] = HFSampler(other).sample([PROMPTS[0]], GREEDY, seed=0)
    assert [record.getMessage() for record in caplog.records] == [
        "MistralForCausalLM is sampled by transformers' generate: not all of its layers attend to all that came before"
    ]
    with torch.no_grad():
        for length in range(len(sample.ids)):
            ids = torch.tensor([[*PROMPTS[0], *sample.ids[:length]]])
            assert int(other.module(ids).logits[0, -1].argmax()) == sample.ids[length]


def test_every_end_token_ends(policy: LanguageModel) -> None:
    policy.module.generation_config = GenerationConfig(eos_token_id=[3, 9])
    assert end_tokens(policy) == {3, 9}
    policy.module.generation_config = GenerationConfig(eos_token_id=7)
    assert end_tokens(policy) == {3, 7}
    policy.module.generation_config = GenerationConfig()
    assert end_tokens(policy) == {3}
    # all tokens end: every response has one
    policy.module.generation_config = GenerationConfig(eos_token_id=list(range(len(policy.codec.tokenizer))))
    samples = HFSampler(policy).sample(PROMPTS, SamplingConfig(response_length=8), seed=0)
    assert all(sample.finished and len(sample.ids) == 1 for sample in samples)


def test_finished_and_cut_off(folder: Folder, runtime: Runtime) -> None:
    """Pad and end are one token here."""
    policy = load_policy(folder("gpt2"), runtime, trained=False)
    module, codec = policy.module, policy.codec
    with torch.no_grad():
        module.transformer.ln_f.bias.add_(module.lm_head.weight[codec.eos_id] * 3)  # make the end likelier
    samples = HFSampler(policy).sample(PROMPTS * 12, SamplingConfig(response_length=8), seed=0)
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
    sampler = HFSampler(load_policy(folder(kind), runtime, trained=False))
    prompts = [[5] * 40, [5]]
    sampler.check(prompts, 8)  # 40 + 8 = 48
    assert len(sampler.sample(prompts, SamplingConfig(response_length=8), seed=0)) == 2
    for attempt in (
        lambda: sampler.sample(prompts, SamplingConfig(response_length=9), seed=0),
        lambda: sampler.check(prompts, 9),
    ):
        with pytest.raises(
            RedpencilError, match="40 tokens and a response of up to 9 exceed the model's context of 48"
        ):
            attempt()


def test_progress_counts_responses(policy: LanguageModel) -> None:
    seen = []
    config = SamplingConfig(response_length=2, batch_size=2)
    HFSampler(policy).sample(PROMPTS, config, seed=0, progress=lambda done, total, _: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (5, 5)
    assert len(seen) > 1


def test_weights_that_are_not_numbers_are_reported(policy: LanguageModel) -> None:
    with torch.no_grad():
        for weight in policy.module.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(RedpencilError, match="not finite"):
        HFSampler(policy).sample(PROMPTS, SamplingConfig(response_length=8), seed=0)


def test_a_tokenizer_of_another_model_is_reported(policy: LanguageModel) -> None:
    known = policy.module.get_input_embeddings().num_embeddings
    with pytest.raises(RedpencilError, match=f"gives token {known}, the model knows {known} tokens"):
        HFSampler(policy).sample([[5, known]], GREEDY, seed=0)
    with pytest.raises(RedpencilError, match=f"gives token {known}, the model knows {known} tokens"):
        HFSampler(policy).check([[5, known]], 1)


def test_an_end_token_that_is_not_an_id_is_reported(policy: LanguageModel) -> None:
    policy.module.generation_config = GenerationConfig()
    policy.module.generation_config.eos_token_id = "x"
    with pytest.raises(RedpencilError, match="not a token id") as raised:
        end_tokens(policy)
    assert raised.value.field == "eos_token_id"


PROMPTS_RESPOND = [
    Prompt("long", "the cat sat on the mat ."),
    Prompt("b", "France", meta={"topic": "countries"}),
    Prompt("empty", ""),
    Prompt("c", "a red dog"),
]
CONFIG = SamplingConfig(response_length=6, max_prompt_length=6, batch_size=1)


def test_prompts_that_do_not_fit_are_counted(folder: Folder) -> None:
    encoded = encode_prompts(PROMPTS_RESPOND, load_codec(folder("llama")), 6)
    assert [prompt.id for prompt in encoded.records] == ["b", "c"]
    assert [len(ids) for ids in encoded.ids] == [1, 3]
    assert encoded.skipped == 2  # one of 7 tokens, one of none


def test_prompts_of_which_none_fits_are_refused(folder: Folder) -> None:
    with pytest.raises(RedpencilError, match="none of 1 prompts has between 1 and 6 tokens") as raised:
        encode_prompts(PROMPTS_RESPOND[:1], load_codec(folder("llama")), 6)
    assert raised.value.field == "max_prompt_length"


def test_responses_keep_order_id_and_meta(folder: Folder, runtime: Runtime) -> None:
    sampler = HFSampler(load_policy(folder("llama"), runtime, trained=False))

    def answer(seed: int) -> tuple[list[object], int]:
        return respond(sampler, PROMPTS_RESPOND, config=CONFIG, seed=seed, model_name="tiny")

    responses, skipped = answer(5)
    assert skipped == 2
    assert [(row.id, row.prompt, row.model, row.meta) for row in responses] == [
        ("b", "France", "tiny", {"topic": "countries"}),
        ("c", "a red dog", "tiny", {}),
    ]
    for row in responses:
        assert "<" not in row.response  # no special token
        assert row.finished or len(row.response.split()) <= 6
    assert answer(5)[0] == responses
    assert any(answer(seed)[0] != responses for seed in (6, 7))


def test_samples_become_responses(folder: Folder) -> None:
    codec = load_codec(folder("llama"))
    words = codec.tokenizer.get_vocab()
    prompts = [PROMPTS_RESPOND[1], PROMPTS_RESPOND[3]]
    samples = [
        Sample((words["Paris"], codec.eos_id), finished=True),
        Sample((words["a"], words["mat"]), finished=False),
    ]
    assert responses_of(prompts, samples, codec, "tiny") == [
        Response("b", "France", "Paris", "tiny", finished=True, meta={"topic": "countries"}),
        Response("c", "a red dog", "a mat", "tiny", finished=False),
    ]


CORPUS = [
    "the quick brown fox was unbelievably quick , and the dog slept .",
    "le cafe\u0301 co\u00fbte 3 \u20ac",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002",
    "smile \N{GRINNING FACE} and \U0001f468\u200d\U0001f469\u200d\U0001f467",
]
EURO = "\u20ac".encode()  # three bytes


def as_codec(made: Tokenizer) -> Codec:
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="</s>", pad_token="<pad>", extra_special_tokens=["<sep>"]
    )
    return Codec(wrapped, "{prompt}", wrapped.pad_token_id, wrapped.eos_token_id)


SPECIALS = ["<pad>", "</s>", "<sep>", "<unk>"]


@cache
def codec_of(kind: str) -> Codec:
    if kind == "bpe":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIALS, show_progress=False
        )
    elif kind == "unigram":
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=120, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False
        )
    elif kind == "wordpiece":
        made = Tokenizer(models.WordPiece(unk_token="<unk>"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIALS, show_progress=False)
    else:  # as Llama 2 has it: characters, and bytes for those that it does not know
        pieces = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
        made = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
        made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        made.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        return as_codec(made)
    made.train_from_iterator(CORPUS, trainer)
    return as_codec(made)


KINDS = ("bpe", "unigram", "wordpiece", "bytes")


def ids_of(codec: Codec, *pieces: str) -> tuple[int, ...]:
    ids = tuple(codec.tokenizer.convert_tokens_to_ids(list(pieces)))
    assert None not in ids
    assert codec.tokenizer.convert_tokens_to_ids("<unk>") not in ids
    return ids


def byte_ids(data: bytes) -> tuple[int, ...]:
    """The tokens of single bytes in byte-level BPE, which shows bytes that print as themselves, others from 256 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return ids_of(codec_of("bpe"), *(chr(b if b in printable else 256 + others.index(b)) for b in data))


def placed(codec: Codec, ids: tuple[int, ...], finished: bool = False) -> Placed:
    return place(codec, [Sample(ids, finished)])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_tokenizer_would_write_has_its_offsets(kind: str) -> None:
    codec = codec_of(kind)
    text = "the quick dog" if kind != "bytes" else "the dog"
    tokens = codec.encode_responses([text])[0]
    found = placed(codec, tokens.ids, finished=True)
    assert found == Placed(text, tokens.offsets)
    assert placed(codec, tokens.ids[:-1]) == Placed(text, tokens.offsets[:-1])


def test_other_tokens_than_the_tokenizer_would_choose() -> None:
    codec = codec_of("bpe")
    letters = tuple(ids_of(codec, *"the"))
    assert codec.encode_responses(["the"], finished=False)[0].ids != letters
    assert placed(codec, letters) == Placed("the", ((0, 1), (1, 2), (2, 3)))
    assert placed(codec, (*letters, codec.eos_id), finished=True).offsets[-1] == (3, 3)


def test_as_many_tokens_as_the_tokenizer_would_choose_and_yet_others() -> None:
    codec = codec_of("bpe")
    pieces = [piece for piece in codec.tokenizer.get_vocab() if piece.isascii() and piece.isalpha()]
    seen = 0
    for first, second in product(sorted(pieces), repeat=2):
        canonical = codec.encode_responses([first + second], finished=False)[0]
        ids = ids_of(codec, first, second)
        if len(canonical.ids) == 2 and canonical.ids != ids:
            expected = ((0, len(first)), (len(first), len(first + second)))
            assert placed(codec, ids) == Placed(first + second, expected)
            seen += 1
    assert seen > 10


def test_the_bytes_of_a_character_share_its_span() -> None:
    codec = codec_of("bpe")
    ids = (*byte_ids(b"a" + EURO), *ids_of(codec, "b"))
    assert placed(codec, ids) == Placed("a\u20acb", ((0, 1), (1, 2), (1, 2), (1, 2), (2, 3)))


def test_bytes_that_are_no_character() -> None:
    codec = codec_of("bpe")
    # a character that is never finished shows as one replacement character, which both of its bytes are
    cut = placed(codec, byte_ids(b"a" + EURO[:2] + b"b"))
    assert cut == Placed("a\ufffdb", ((0, 1), (1, 2), (1, 2), (2, 3)))
    assert placed(codec, byte_ids(b"a" + EURO[:1])) == Placed("a\ufffd", ((0, 1), (1, 2)))
    assert placed(codec, byte_ids(EURO[1:])) == Placed("\ufffd\ufffd", ((0, 1), (1, 2)))


def test_bytes_beside_pieces() -> None:
    codec = codec_of("bytes")
    ids = ids_of(codec, "\u2581", "a", *(f"<0x{byte:02X}>" for byte in EURO), "b", "<0xE2>")
    assert placed(codec, ids) == Placed("a\u20acb\ufffd", ((0, 0), (0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 4)))


def test_special_tokens_and_unknown_ids_have_empty_spans_where_they_stand() -> None:
    codec = codec_of("bpe")
    the, dog = codec.encode_responses(["the", " dog"], finished=False)
    sep = codec.tokenizer.convert_tokens_to_ids("<sep>")
    found = placed(codec, (sep, *the.ids, sep, *dog.ids, codec.eos_id), finished=True)
    assert found.text == "the dog"
    start = len(the.ids) + 1
    assert found.offsets[0] == (0, 0)
    assert found.offsets[start] == (3, 3)
    assert found.offsets[-1] == (7, 7)
    # an end token that is not the tokenizer's own is one all the same
    assert placed(codec, (*the.ids, sep), finished=True).offsets == (*the.offsets, (3, 3))
    outside = len(codec.tokenizer) + 5
    assert placed(codec, (*the.ids, outside, *dog.ids)).offsets[len(the.ids)] == (3, 3)


def test_special_tokens_that_are_spelt_out() -> None:
    codec = codec_of("bpe")
    found = placed(codec, byte_ids(b"<sep>"))
    assert found == Placed("<sep>", tuple((i, i + 1) for i in range(5)))


def test_nothing_at_all() -> None:
    codec = codec_of("bpe")
    assert place(codec, []) == []
    assert placed(codec, ()) == Placed("", ())
    assert placed(codec, (codec.eos_id,), finished=True) == Placed("", ((0, 0),))


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_ids_at_all(kind: str, data: st.DataObject) -> None:
    codec = codec_of(kind)
    ids = st.lists(st.integers(0, len(codec.tokenizer) + 2), max_size=12).map(tuple)
    samples = [Sample(row, finished=bool(row) and f) for row, f in data.draw(st.lists(st.tuples(ids, st.booleans())))]
    found = place(codec, samples)
    for sample, got in zip(samples, found, strict=True):
        body = sample.ids[: len(sample.ids) - sample.finished]
        assert got.text == codec.decode([body])[0]
        assert len(got.offsets) == len(sample.ids)
        ends = [end for _, end in got.offsets]
        assert all(0 <= s <= e <= len(got.text) for s, e in got.offsets)
        assert ends == sorted(ends)
        starts = [start for start, end in got.offsets if start < end]
        assert starts == sorted(starts)
        if sample.finished:
            assert got.offsets[-1] == (len(got.text), len(got.text))
    assert found == [got for sample in samples for got in place(codec, [sample])]


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_bytewise_spans_are_the_characters(text: str) -> None:
    expected = tuple((i, i + 1) for i, character in enumerate(text) for _ in character.encode())
    assert placed(codec_of("bpe"), byte_ids(text.encode())) == Placed(text, expected)


def test_an_end_is_removed_by_its_place_and_not_by_a_mark(chat_model: Folder) -> None:
    source = chat_model("chatml", eos="<|endoftext|>", ends=[0, 2], special=False)
    codec = load_codec(source, CHAT)
    assert not codec.tokenizer.added_tokens_decoder[2].special
    text = "hello <|im_end|> world"
    [tokens] = codec.encode_responses([text])
    samples = [Sample(tokens.ids, finished=True), Sample((*tokens.ids[:-1], 0), finished=True)]
    samples.append(Sample(tokens.ids[:-1], finished=False))
    prompts = [Prompt(str(i), "x") for i in range(3)]
    responses = responses_of(prompts, samples, codec, "m")
    assert [row.response for row in responses] == [text] * 3
    assert [row.finished for row in responses] == [True, True, False]
    # What was decoded is what is encoded again, with the same spans.
    placed_rows = place(codec, samples)
    assert [row.text for row in placed_rows] == [text] * 3
    assert placed_rows[0].offsets == tokens.offsets
    assert codec.encode_responses([responses[0].response])[0].ids == samples[0].ids


def test_a_sample_ends_at_every_end_of_its_model(chat_model: Folder, runtime: Runtime) -> None:
    source = chat_model("chatml", eos="<|endoftext|>", ends=[0, 2])
    policy = load_policy(source, runtime, trained=False, codec=load_codec(source, CHAT))
    policy.module.generation_config = GenerationConfig()
    assert end_tokens(policy) == {0, 2}


def test_control_tokens_within_a_sample_have_no_text(chat_model: Folder) -> None:
    codec = load_codec(chat_model("chatml"), CHAT)
    hello, world = (codec.encode_responses([text], finished=False)[0].ids for text in ("hello", " world"))
    sample = Sample((*hello, 1, *world, codec.eos_id), finished=True)  # <|im_start|> in the middle
    [response] = responses_of([Prompt("1", "x")], [sample], codec, "m")
    [row] = place(codec, [sample])
    assert response.response == row.text == "hello world"
    assert row.offsets[len(hello)] == (5, 5)
    assert len(row.offsets) == len(sample.ids)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gpt2"])
def test_a_policy_in_training_caches_keys_and_values_in_the_format_that_attention_reads(
    folder: Callable[..., Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = Runtime(torch.device("cpu"), torch.bfloat16)
    policy = load_policy(folder(kind), half, trained=True)
    assert policy.module.dtype == torch.float32
    seen: list[torch.dtype] = []
    update = DynamicLayer.update

    def noted(self: DynamicLayer, *args: Any, **kwargs: Any) -> Any:
        out = update(self, *args, **kwargs)
        seen.extend(states.dtype for states in out)
        return out

    monkeypatch.setattr(DynamicLayer, "update", noted)
    prompts, config = [[5, 6], [7]], SamplingConfig(response_length=6)
    own = HFSampler(policy).sample(prompts, config, seed=1)
    assert set(seen) == {torch.bfloat16}
    monkeypatch.setattr(decoding, "cast_cache", lambda _: None)
    seen.clear()
    assert HFSampler(policy).sample(prompts, config, seed=1) == own  # attention casts them anyway
    if kind != "gpt2":  # which has no rotary embeddings
        assert torch.float32 in seen
