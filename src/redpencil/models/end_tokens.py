"""The token that ends a response: what tokenizer, chat template and generation configuration each say, as one fact."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transformers import PreTrainedTokenizerBase

from redpencil.adapters import CONFIG, SIDECAR, is_adapter, model_config
from redpencil.errors import RedpencilError
from redpencil.models.chat import ChatTemplate
from redpencil.text import read_json

GENERATION_CONFIG: Final = "generation_config.json"
_MARKER: Final = re.compile(r"[<\[].*[>\]]", re.DOTALL)
_MARK: Final = re.compile(r"[^\w\s\N{LOWER ONE EIGHTH BLOCK}]")
"""A character that words and runs of white space do not have."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The id that ends a response in data, all ids that end one when a model answers, and contradictions among them."""

    answer: int
    every: frozenset[int]
    findings: tuple[str, ...] = ()


def find_ends(
    tokenizer: PreTrainedTokenizerBase, folder: Path, chat: ChatTemplate | None, *, as_trained: bool = False
) -> Ends:
    """Find how responses end: as the chat template writes it, else with the tokenizer's EOS (in BERT's: SEP), else with
    the one token that the configuration names.

    Args:
        tokenizer: of the model.
        folder: the model folder; it may say more in `generation_config.json`, or else in `config.json`.
        chat: the chat template, where prompts are written with it.
        as_trained: the tokenizer's EOS is what the model was trained with, whatever the template writes.

    Raises:
        RedpencilError: if nothing says it, or a file names something else than token ids.
    """
    own = tokenizer.eos_token_id
    if own is None:
        own = getattr(tokenizer, "sep_token_id", None)
    source, named = _named_ends(folder)
    written = None
    if chat is not None and not as_trained:
        written = _written_end(tokenizer, chat.answer_end, named)
        behind = None if written is not None else _written_end(tokenizer, chat.around_answer[1], named)
        written = behind if behind in named else written  # or it only writes the end where another turn follows
    only = named[0] if len(named) == 1 and named[0] in tokenizer.added_tokens_decoder else None
    answer = next((end for end in (written, own, only) if end is not None), None)
    if answer is None:
        raise RedpencilError(
            "the tokenizer has no end-of-sequence token",
            file=folder,
            field="eos_token",
            hint="set eos_token in tokenizer_config.json",
        )
    others = []
    if own is not None and own != answer:
        others.append(f"the end token of the tokenizer is {_name(tokenizer, own)}")
    if named and answer not in named:
        others.append(f"{source} names {' and '.join(_name(tokenizer, end) for end in named)}")
    findings: tuple[str, ...] = ()
    if others:
        why = "" if written is None else ", as the chat template writes it"
        text = f"responses end with {_name(tokenizer, answer)}{why}, though {', and '.join(others)}"
        findings = (f"{text}; checkpoints that are written here agree in it",)
    return Ends(int(answer), frozenset({int(answer), *named} | ({own} - {None})), findings)


def _written_end(tokenizer: PreTrainedTokenizerBase, text: str, named: Sequence[int]) -> int | None:
    """Return the token at the beginning of what a template writes behind an answer; None if it is ordinary text."""
    tokens = {token.content: index for index, token in tokenizer.added_tokens_decoder.items()}
    tokens |= {str(tokenizer.convert_ids_to_tokens(end)): end for end in named}
    fitting = [content for content in tokens if content.strip() and text.lstrip().startswith(content.strip())]
    return tokens[max(fitting, key=len)] if fitting else None


def _name(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    content = tokenizer.convert_ids_to_tokens(token)
    return f"{'a token that it does not have' if content is None else repr(content)} ({token})"


def _named_ends(folder: Path) -> tuple[str, tuple[int, ...]]:
    """Read the ends that the configuration of a model names, and the name of the file that does."""
    for name in (GENERATION_CONFIG, CONFIG):
        path = folder / name
        content = read_json(path) if path.is_file() else None
        if name == CONFIG and is_adapter(folder):
            path, content = folder / SIDECAR, model_config(folder)
        if isinstance(content, Mapping) and "eos_token_id" in content:
            return name, end_ids(content["eos_token_id"], path)
    return "", ()


def end_ids(named: Any, file: Path) -> tuple[int, ...]:
    """Read `eos_token_id`: a token id, a list of them, or nothing.

    Raises:
        RedpencilError: naming the file, if it is something else.
    """
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(token, int) and not isinstance(token, bool) and token >= 0 for token in ids):
        raise RedpencilError(
            f"eos_token_id is {named!r}, not a token id or a list of them",
            file=file,
            field="eos_token_id",
            hint="correct the file, or delete it",
        )
    return tuple(ids)


def control_ids(
    tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], template: str, chat: ChatTemplate | None
) -> dict[str, int]:
    """Find the tokens that no text of a user or model may become, by their contents.

    These are special tokens, what ends a response, and added tokens that a template writes around turns. Other added
    tokens stay part of a text: runs of white space, a user's own words, and the marks of a model's own reasoning and
    tool calls ("<think>" and "</think>"), which responses hold and models learn from.
    """
    added = tokenizer.added_tokens_decoder
    control = {token.content: index for index, token in added.items() if token.special or index in ends}
    control |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    model = tokenizer.backend_tokenizer.model  # padding may be "!", which nothing else could spell
    control = {c: i for c, i in control.items() if len(c) > 1 or i in ends or model.token_to_id(c) is None}
    contents = {index: str(tokenizer.convert_ids_to_tokens(index)) for index in ends if index < len(tokenizer)}
    control |= {content: index for index, content in contents.items() if _MARKER.fullmatch(content)}
    marks = {token.content: index for index, token in added.items() if _MARK.search(token.content)}
    around, answer = template, ""
    if chat is not None:
        around, answer = f"{template} {chat.frames}", " ".join([*chat.around_answer, chat.opening])
    paired = {name for content in marks if content.startswith("</") for name in (content, content.replace("/", "", 1))}
    return control | {c: i for c, i in marks.items() if c in around or (c in answer and c not in paired)}
