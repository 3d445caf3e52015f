"""The tokenizer covers all that the world can write, and Hugging Face loads the model folder."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from redpencil.config.data import WorldConfig
from redpencil.world.domain import Domain, FlawRates
from redpencil.world.editor import minimal_edit
from redpencil.world.facts import FactsDomain, plan_response, prompt_texts
from redpencil.world.oracle import Oracle
from redpencil.world.summaries import SummariesDomain
from redpencil.world.tokenizer import SPECIALS, build_tokenizer, save_model_folder


def test_the_vocabulary_is_small_and_without_doubles(domain: Domain) -> None:
    tokenizer = build_tokenizer(domain.vocabulary())
    assert 240 <= tokenizer.get_vocab_size() == 5 + len(domain.vocabulary()) <= 320
    assert [tokenizer.id_to_token(i) for i in range(5)] == ["<pad>", "<unk>", "<bos>", "<eos>", "<answer>"]


def test_it_is_the_same_for_every_seed(facts: FactsDomain, summaries: SummariesDomain) -> None:
    assert FactsDomain(7).vocabulary() == facts.vocabulary()
    assert SummariesDomain(7).vocabulary() == summaries.vocabulary()


def test_all_that_the_facts_write_is_covered_and_comes_back_unchanged(facts: FactsDomain, oracle: Oracle) -> None:
    tokenizer, world = build_tokenizer(facts.vocabulary()), facts.world
    rng = random.Random(0)
    seen: set[int] = set()
    for prompt, request in prompt_texts(world).items():
        response = plan_response(world, request, rng, FlawRates(0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5)).text
        for text in (prompt, response, minimal_edit(oracle, prompt, response, rng, 0.7, 0.5)):
            ids = tokenizer.encode(text).ids
            assert len(ids) == len(text.split())
            assert tokenizer.decode(ids) == text
            seen.update(ids)
    unused = {word for word, i in tokenizer.get_vocab().items() if i not in seen}
    assert unused == set(SPECIALS)  # <unk> above all


def test_all_that_the_summaries_write_is_covered_and_comes_back_unchanged(summaries: SummariesDomain) -> None:
    tokenizer, oracle = build_tokenizer(summaries.vocabulary()), Oracle(summaries)
    rng = random.Random(0)
    seen: set[int] = set()
    for prompt in summaries.make_prompts(rng, (4000,))[0]:
        response = summaries.plan(prompt.prompt, rng, halved=False).text
        for text in (prompt.prompt, response, minimal_edit(oracle, prompt.prompt, response, rng, 0.7, 0.5)):
            ids = tokenizer.encode(text).ids
            assert len(ids) == len(text.split())
            assert tokenizer.decode(ids) == text
            seen.update(ids)
    assert {word for word, i in tokenizer.get_vocab().items() if i not in seen} == set(SPECIALS)


def test_no_special_token_is_added_unasked(facts: FactsDomain) -> None:
    tokenizer = build_tokenizer(facts.vocabulary())
    assert tokenizer.encode("<bos> france . <answer>").tokens == ["<bos>", "france", ".", "<answer>"]


def test_words_are_split_at_white_space_only(facts: FactsDomain) -> None:
    assert build_tokenizer(facts.vocabulary()).encode("atlantis . paris.").tokens == ["<unk>", ".", "<unk>"]


def test_hugging_face_loads_the_folder(facts: FactsDomain, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = WorldConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2)
    save_model_folder(facts.vocabulary(), config, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    special = (tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token)
    assert special == ("<pad>", "<unk>", "<bos>", "<eos>")
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id}) == 4
    assert "<answer>" in tokenizer.all_special_tokens
    assert tokenizer.model_max_length == 256
    text = "the capital of france is paris , or so i heard ."
    encoded = tokenizer(f"<bos> {text} <answer>", return_offsets_mapping=True)
    ids = encoded["input_ids"]
    assert (ids[0], len(ids)) == (tokenizer.bos_token_id, 2 + 12)
    assert tokenizer.decode(ids) == f"<bos> {text} <answer>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert encoded["offset_mapping"][1:4] == [(6, 9), (10, 17), (18, 20)]  # words without their spaces

    llama = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (llama.model_type, llama.vocab_size) == ("llama", 5 + len(facts.vocabulary()))
    assert (llama.hidden_size, llama.intermediate_size, llama.num_hidden_layers) == (32, 48, 3)
    assert (llama.num_attention_heads, llama.num_key_value_heads, llama.initializer_range) == (2, 2, 0.06)
    assert (llama.max_position_embeddings, llama.tie_word_embeddings, llama.attention_dropout) == (256, False, 0)
    assert (llama.pad_token_id, llama.bos_token_id, llama.eos_token_id) == (
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
    )


def test_importing_the_world_loads_no_torch() -> None:
    code = (
        "import sys, redpencil.world.build, redpencil.world.editor, redpencil.world.build;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
