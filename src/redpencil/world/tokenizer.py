"""The world's word-level tokenizer and the configuration of its small language model, as Hugging Face files."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from redpencil.config.data import WorldConfig
from redpencil.runs import write_json

PAD, UNK, BOS, EOS, ANSWER = SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<answer>")
CONTEXT = 256
"""The largest number of tokens of a prompt and its response together."""


def build_tokenizer(words: Sequence[str]) -> Tokenizer:
    """Build a word-level tokenizer that splits at white space and adds no special tokens by itself.

    The special tokens have the first ids, then the `words` in their order.
    """
    vocabulary = {word: i for i, word in enumerate((*SPECIALS, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return tokenizer


def save_model_folder(words: Sequence[str], config: WorldConfig, folder: Path) -> None:
    """Write the files of the tokenizer of `words` and the `config.json` of a Llama model without weights.

    A redpencil.json says that it has none on purpose.
    """
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    tokenizer = build_tokenizer(words)
    folder.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[ANSWER],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_attention_heads,
        initializer_range=config.initializer_range,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        attention_dropout=0.0,
        pad_token_id=tokenizer.token_to_id(PAD),
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
    ).save_pretrained(folder)
    write_json(folder / "redpencil.json", {"fresh": True})
