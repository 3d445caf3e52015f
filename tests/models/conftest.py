"""Real Hugging Face folders, built tiny from configurations, each with a small fast tokenizer."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
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


# Small tokenizers of the families that chat models use, each with the kind of rules, markers and template it has.

CHATML: Final = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
LLAMA3: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2: Final = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
GEMMA: Final = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}"
    "{{ message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI: Final = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
SPELLED: Final = ("hello", "world", "user", "end", "the")
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789<>|[]/_.,:!?\n"
SPACE: Final = "\N{LOWER ONE EIGHTH BLOCK}"


def _save(tokenizer: Tokenizer, folder: Path, template: str | None, ends: object = None, **roles: str) -> Path:
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)
    wrapped.chat_template = template
    wrapped.save_pretrained(folder)
    if ends is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folder


def _byte_level(specials: Sequence[str], *, ignore_merges: bool = False) -> Tokenizer:
    """Bytes and a few merges; the markers are in the vocabulary too, as in many a tokenizer.json."""
    vocabulary = {piece: i for i, piece in enumerate((*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    merges = []
    for word in (*SPELLED, "im_", "<|"):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not ignore_merges)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def chatml(folder: Path, *, eos: str = "<|im_end|>", ends: object = None, special: bool = True) -> Path:
    """Like SmolLM2 and Qwen; `special=False` leaves the turns' markers ordinary added tokens."""
    markers = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = _byte_level(markers)
    tokenizer.add_special_tokens(markers if special else markers[:1])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (*markers[1:], "<think>", "</think>")])
    roles = {"eos_token": eos, "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return _save(tokenizer, folder, CHATML, ends, **roles)


def llama3(folder: Path) -> Path:
    """A tokenizer that puts BOS in front of texts, and takes a whole word that is in its vocabulary before merging."""
    markers = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    tokenizer = _byte_level(markers, ignore_merges=True)
    tokenizer.add_special_tokens([*markers, "<|reserved_special_token_0|>"])
    begin = markers[0]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]),
        ]
    )
    return _save(tokenizer, folder, LLAMA3, [1, 4], bos_token=begin, eos_token="<|eot_id|>")


def _sentencepiece_bpe(folder: Path, *, metaspace: bool) -> Path:
    specials = ["<unk>", "<s>", "</s>"]
    pieces = (*specials, *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *LETTERS)
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    merges = []
    for word in (f"{SPACE}hello", "world", "<s", "/s", "</s"):
        for end in range(2, len(word) + 1):
            if word[:end] not in vocabulary:
                vocabulary[word[:end]] = len(vocabulary)
                merges.append((word[: end - 1], word[end - 1]))
    merges.append(("</s", ">"))  # it would spell the end token
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _save(tokenizer, folder, LLAMA2, 2, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama2(folder: Path) -> Path:
    return _sentencepiece_bpe(folder, metaspace=False)


def mistral(folder: Path) -> Path:
    return _sentencepiece_bpe(folder, metaspace=True)


def gemma(folder: Path) -> Path:
    """A Unigram model with its markers among the pieces; the tokenizer's end is not the one of turns."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    words = [(SPACE + word, -4.0) for word in SPELLED]
    pieces = [*((text, 0.0) for text in specials), *words, (SPACE, -5.0), *((letter, -6.0) for letter in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Replace(SPACE, " ")
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return _save(tokenizer, folder, GEMMA, [1, 5], **roles)


def bert(folder: Path) -> Path:
    """WordPiece that lowers letters and puts [CLS] and [SEP] around texts."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [letter for letter in LETTERS.lower() if letter != "\n"]
    pieces = dict.fromkeys((*specials, *SPELLED, *letters, *(f"##{letter}" for letter in letters)))
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return _save(tokenizer, folder, None, **roles)


def t5(folder: Path) -> Path:
    """Unigram that normalises letters (full-width ones become common ones) and puts </s> behind every text."""
    specials = ["<pad>", "</s>", "<unk>"]
    words = [(SPACE + word, -4.0) for word in SPELLED]
    pieces = [*((text, 0.0) for text in specials), *words, (SPACE, -5.0), *((letter, -6.0) for letter in LETTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE)
    tokenizer.add_special_tokens(specials)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return _save(tokenizer, folder, None, eos_token="</s>", unk_token="<unk>", pad_token="<pad>")


def phi(folder: Path) -> Path:
    """Markers that swallow the white space behind them, and ordinary added tokens for runs of spaces."""
    markers = ["<|endoftext|>", "<|end|>", "<|user|>", "<|system|>", "<|assistant|>"]
    tokenizer = _byte_level(markers[:1])
    tokenizer.add_special_tokens([AddedToken(text, rstrip=True, normalized=False, special=True) for text in markers])
    tokenizer.add_tokens(["  ", "    "])
    end = tokenizer.token_to_id("<|end|>")
    roles = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return _save(tokenizer, folder, PHI, [tokenizer.token_to_id("<|endoftext|>"), end], **roles)


FAMILIES: Final = {make.__name__: make for make in (chatml, llama3, llama2, mistral, gemma, bert, t5, phi)}


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`family(name, **options)`: a folder with a tokenizer of that family, made once; tests must not change it."""
    made: dict[tuple[object, ...], Path] = {}

    def find(name: str, **options: object) -> Path:
        key = (name, *sorted(map(str, options.items())))
        if key not in made:
            made[key] = FAMILIES[name](tmp_path_factory.mktemp(name), **options)
        return made[key]

    return find


@pytest.fixture(scope="session")
def chat_model(family: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """`chat_model(name, head="policy", **options)`: a new model folder around a tokenizer of a family."""

    def make(name: str, head: str = "policy", **options: object) -> Path:
        made = tmp_path_factory.mktemp(f"{name}-{head}")
        shutil.copytree(family(name, **options), made, dirs_exist_ok=True)
        size = len(PreTrainedTokenizerFast.from_pretrained(made))
        config = LlamaConfig(
            vocab_size=size,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            eos_token_id=0,
            num_labels=1,
        )
        torch.manual_seed(7)
        named_ends = made / "generation_config.json"
        kept = named_ends.read_bytes() if named_ends.exists() else None
        HEADS[head].from_config(config).save_pretrained(made)
        if kept is not None:
            named_ends.write_bytes(kept)
        return made

    return make
