"""The world's word-level tokenizer and the configuration of its small language model, as Hugging Face files."""

import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from redpencil.config import WorldConfig
from redpencil.world.facts import World
from redpencil.world.oracle import STOP
from redpencil.world.prompts import PHRASINGS
from redpencil.world.wording import CLOSERS, FILLERS, HEDGE_HEADS, HEDGE_TAILS, OPENERS, RUDE_TAILS

PAD, UNK, BOS, EOS, ANSWER = SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>", "<answer>")
CONTEXT = 256
"""Most tokens of a prompt and its response together."""


def vocabulary(world: World) -> list[str]:
    """Special tokens, then every word that prompts, corpus and editor can write, sorted."""
    words = {STOP}
    for entity in world.entities:
        words |= {entity.name, *entity.facts, *entity.facts.values()}
    forms = [form for slots in world.slots.values() for slot in slots for form in (*slot.named, *slot.pronoun)]
    for text in (*forms, *PHRASINGS):
        words.update(re.sub(r"\{\w+\}", " ", text).split())
    for group in (OPENERS, CLOSERS, FILLERS, HEDGE_HEADS, HEDGE_TAILS, RUDE_TAILS):
        words.update(word for phrase in group for word in phrase)
    return [*SPECIALS, *sorted(words)]


def build_tokenizer(world: World) -> Tokenizer:
    """A word-level tokenizer that splits at white space and adds no special tokens by itself."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary(world))}, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return tokenizer


def save_model_folder(world: World, config: WorldConfig, folder: Path) -> None:
    """Write tokenizer files and `config.json` of a Llama model without weights."""
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    tokenizer = build_tokenizer(world)
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
