"""Real Hugging Face folders, built tiny from configurations, each with a small fast tokenizer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

from redpencil.models.runtime import Runtime

TEXT = "the a cat dog sat ran on mat rug . , red blue big small France Paris is capital of"
WORDS = TEXT.split()
CONTEXT = 48
HEADS = {
    "policy": AutoModelForCausalLM,
    "token": AutoModelForTokenClassification,
    "sequence": AutoModelForSequenceClassification,
}
logging.disable_progress_bar()

Folder = Callable[..., Path]


def word_tokenizer(folder: Path, *specials: str, **roles: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*specials, *WORDS))}, unk_token=specials[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if "cls_token" in roles:
        ends = [(token, tokenizer.token_to_id(token)) for token in (roles["cls_token"], roles["sep_token"])]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles).save_pretrained(folder)
    return tokenizer


def gpt2_tokenizer(folder: Path) -> Tokenizer:
    """Byte level, with one special token for everything and none for padding."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate((*alphabet, "<|endoftext|>"))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end).save_pretrained(
        folder
    )
    return tokenizer


def build(kind: str, head: str, folder: Path) -> None:
    """Weights are large, so that every token and position shows in the output."""
    common = {"initializer_range": 0.3, "num_labels": 1}
    if kind == "gpt2":
        vocab_size = gpt2_tokenizer(folder).get_vocab_size()
        ends = {"bos_token_id": vocab_size - 1, "eos_token_id": vocab_size - 1}
        config: PretrainedConfig = GPT2Config(
            vocab_size=vocab_size, n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT, **ends, **common
        )
    elif kind == "bert":
        roles = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        vocab_size = word_tokenizer(folder, *roles.values(), **roles).get_vocab_size()
        config = BertConfig(
            vocab_size=vocab_size,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=CONTEXT,
            pad_token_id=1,
            **common,
        )
    else:
        roles = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
        vocab_size = word_tokenizer(folder, *roles.values(), **roles).get_vocab_size()
        config = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}[kind](
            vocab_size=vocab_size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=CONTEXT,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
            **common,
        )
    torch.manual_seed(7)
    model = HEADS[head].from_config(config)
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`folder(kind, head="policy")`: a model folder, made once; tests must not change it."""
    made: dict[tuple[str, str], Path] = {}

    def find(kind: str, head: str = "policy") -> Path:
        if (kind, head) not in made:
            made[kind, head] = tmp_path_factory.mktemp(f"{kind}-{head}")
            build(kind, head, made[kind, head])
        return made[kind, head]

    return find


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """One CPU thread in float32."""
    torch.set_num_threads(1)
    return Runtime(torch.device("cpu"), torch.float32)
