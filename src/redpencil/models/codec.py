"""Text to token ids and back.

A prompt and a response are tokenised separately, once each, because that is how generation sees them: the prompt's
ids are given, the response's ids follow. Text that was decoded is never tokenised again during training. Nothing that
a prompt, a message or a response says becomes a control token (`redpencil.alignment.encoding`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from redpencil.adapters import has_config, model_config
from redpencil.alignment.encoding import SafeEncoder
from redpencil.alignment.tokens import Tokens
from redpencil.config.recipe import CHAT_DATE
from redpencil.errors import RedpencilError
from redpencil.models.chat import ChatTemplate, mapped
from redpencil.models.end_tokens import control_ids, find_ends
from redpencil.models.tokenizer_files import load_tokenizer
from redpencil.text import read_json
from redpencil.turns import Asked, Turn, prompt_text, turns_of

CHAT = "chat"


@dataclass(frozen=True)
class Codec:
    """A tokenizer and the template around prompts.

    `template` holds `{prompt}`, or is `chat` for the tokenizer's own chat template, which gets `chat_template_kwargs`
    and takes `chat_template_date` for today. `eos_id` ends a response in data; `ends` are all ids that end one when a
    model answers. Padding is always carried in masks, so `pad_id` may equal `eos_id` where a tokenizer has no pad of
    its own. `context` is the most tokens that the model beside the tokenizer can read, prompt and response together;
    None where it does not say. `findings` tell what its parts contradict each other in.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    pad_id: int
    eos_id: int
    context: int | None = None
    ends: frozenset[int] = frozenset()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    chat_template_date: date = CHAT_DATE
    findings: tuple[str, ...] = ()

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The tokenizer's chat template; None if it has none."""
        return chat_template(self.tokenizer, self.chat_template_kwargs, self.chat_template_date)

    @property
    def chat_options(self) -> dict[str, Any]:
        """How the chat template is filled, as options of `load_codec`."""
        return {"chat_template_kwargs": self.chat_template_kwargs, "chat_template_date": self.chat_template_date}

    @cached_property
    def _control(self) -> Mapping[str, int]:
        return control_ids(self.tokenizer, self.ends | {self.eos_id}, self.template, self.chat)

    @cached_property
    def control_ids(self) -> frozenset[int]:
        """The control tokens: what a text says never becomes one, and they have no text in a response."""
        return frozenset(self._control.values())

    @cached_property
    def _encoder(self) -> SafeEncoder:
        return SafeEncoder(self.tokenizer.backend_tokenizer, self._control)

    def _hidden(self, value: Any, hide: Callable[[str], str] | None = None) -> Any:
        return mapped(value, hide or self._encoder.hide, self._encoder.hide_whole)

    @cached_property
    def _filled(self) -> ChatTemplate:
        """The chat template, with the texts among its variables as text; names of tokens stay what they are."""
        if self.chat is None:
            raise no_chat_template(self.tokenizer.name_or_path)
        variables = {
            key: value if key.endswith("_token") else self._hidden(value) for key, value in self.chat.variables.items()
        }
        return replace(self.chat, variables=variables)

    @property
    def forgeable(self) -> bool:
        """Whether a prompt can imitate where the response begins, since only plain text stands between them."""
        around, behind = self.template, self.template.rpartition("{prompt}")[2]
        if self.template == CHAT:
            around, behind = ("", "") if self.chat is None else (self.chat.frames, self.chat.behind_prompt)
        for marker in ("{prompt}", *self._control):
            around = around.replace(marker, "")
        return bool(around.strip()) and not any(marker in behind for marker in self._control)

    @property
    def remarks(self) -> list[str]:
        """What a user should know of the tokenizer and the template, in sentences."""
        remarks = list(self.findings)
        if self.forgeable:
            remarks.append("only plain text stands between a prompt and its response, so a prompt can imitate it")
        if self.template == CHAT and self.chat is not None:
            if self.chat.reads_clock:
                remarks.append(f"the chat template writes the date: {self.chat_template_date} (chat_template_date)")
            if not self.chat.takes_system:
                remarks.append("the chat template has no system messages: they go in front of the user's first turn")
        return remarks

    def unfit(self, prompt: Sequence[int], response: Sequence[int], max_length: int) -> str | None:
        """Return the reason why a row of token ids cannot be trained on, or None if it can."""
        length = len(prompt) + len(response)
        if not prompt:
            return "empty prompt"
        if length > max_length:
            return "longer than max_length"
        if self.context is not None and length > self.context:
            return "longer than the model's context"
        if self.eos_id in response[:-1]:  # the tokenizer has no other token for unknown words
            return "a word that only the end token stands for"
        return None

    def encode_prompts(self, prompts: Sequence[Asked]) -> list[list[int]]:
        """Tokenise prompts, texts or records, up to where the response begins.

        With the template `chat`, a record's conversation is written turn by turn (`redpencil.turns.turns_of`).

        Raises:
            RedpencilError: if the chat template fails, or a record's messages are not a conversation.
        """
        if self.template == CHAT:
            names = [None if isinstance(prompt, str) else prompt.id for prompt in prompts]
            return self.encode_conversations([turns_of(prompt) for prompt in prompts], names)
        return self._encoder.encode_prompts(self.template, [prompt_text(prompt) for prompt in prompts])

    def encode_conversations(
        self, conversations: Sequence[Sequence[Turn]], names: Sequence[str | None] | None = None
    ) -> list[list[int]]:
        """Tokenise conversations with the chat template, up to where the response begins or goes on.

        Raises:
            RedpencilError: if there is no chat template, or it fails; `names` name the rows.
        """
        texts = []
        for turns, name in zip(conversations, names or [None] * len(conversations), strict=True):
            texts.append(self._encoder.restore(self._written(turns, name)))
        return [list(encoding.ids) for encoding in self._encoder.encode(texts)]

    def _written(self, turns: Sequence[Turn], name: str | None) -> str:
        """Fill the chat template with turns whose texts are hidden.

        Templates look for marks such as "</think>" in a text, so only control tokens are masked in it, unless one
        comes about when the template takes something out of the text's middle.
        """
        encoder = self._encoder
        easy, strict = (
            [{**self._hidden(turn, hide), "role": turn["role"]} for turn in turns]
            for hide in (encoder.hide, encoder.hide_first)
        )
        written = self._filled.render(easy, name)
        if easy == strict:
            return written
        safe = self._filled.render(strict, name)
        return safe if encoder.count(safe) < encoder.count(written) else written

    def encode_responses(self, responses: Sequence[str], *, finished: bool | Sequence[bool] = True) -> list[Tokens]:
        """Tokenise responses, with character spans; a finished one ends with EOS.

        `finished` is one value for all of them, or one for each. No responses give an empty list.
        """
        ends = [finished] * len(responses) if isinstance(finished, bool) else finished
        tokens = []
        for text, encoding, has_end in zip(responses, self._encoder.encode(responses), ends, strict=True):
            ids, spans = tuple(encoding.ids), tuple(encoding.offsets)
            if has_end:
                tokens.append(Tokens((*ids, self.eos_id), (*spans, (len(text), len(text))), has_eos=True))
            else:
                tokens.append(Tokens(ids, spans, has_eos=False))
        return tokens

    def decode(self, responses: Sequence[Sequence[int]]) -> list[str]:
        """Decode responses, without control tokens; texts come back as they were encoded."""
        control = self.control_ids
        texts: list[str] = self.tokenizer.batch_decode(
            [[i for i in ids if i not in control] for ids in responses], clean_up_tokenization_spaces=False
        )
        return texts

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Decode each token by itself, for heat-maps and `--show`."""
        return [str(self.tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in ids]


def chat_template(tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any], today: date) -> ChatTemplate | None:
    """Return the chat template of a tokenizer; None if it has none."""
    return ChatTemplate(tokenizer, variables, today) if tokenizer.chat_template else None


def no_chat_template(folder: Path | str) -> RedpencilError:
    """The error of a tokenizer that lacks a chat template."""
    return RedpencilError(
        "the tokenizer has no chat template",
        file=folder,
        field="prompt_template",
        hint="write the template into the recipe, with {prompt} where the prompt goes",
    )


ENCODING_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "model")
"""What decides beside the added tokens which ids a text gets; padding, truncation and decoding do not."""


def same_tokenizer(one: Codec, other: Codec) -> bool:
    """Tell whether two tokenizers make the same ids of any text, and end responses with the same one.

    Vocabulary, normalisation, rules and added tokens count as they were loaded, names of folders do not.
    """
    if one.eos_id != other.eos_id:
        return False
    first, second = (codec.tokenizer.backend_tokenizer.to_str() for codec in (one, other))
    if first == second:
        return True
    left, right = (_encoding_parts(json.loads(text)) for text in (first, second))
    return left == right


def _encoding_parts(content: Mapping[str, Any]) -> list[Any]:
    # Whether a token is called special does not change ids: training marks an end token so that was not.
    added = [{**token, "special": None} for token in content["added_tokens"]]
    return [added, *(content.get(part) for part in ENCODING_PARTS)]


def same_encoding(one: Codec, other: Codec) -> bool:
    """Tell whether two codecs make the same ids of any prompt and response: template and tokenizer are the same."""
    if one.template != other.template:
        return False
    same_chat = one.template != CHAT or chat_of(one) == chat_of(other)
    return same_chat and same_tokenizer(one, other)


def chat_of(codec: Codec) -> list[Any]:
    """Return what decides how a chat template writes conversations; the date only if the template reads it."""
    dated = codec.chat is not None and codec.chat.reads_clock
    return [
        codec.tokenizer.chat_template,
        dict(codec.chat_template_kwargs),
        codec.chat_template_date if dated else None,
    ]


def load_codec(
    folder: str | Path,
    template: str | None = "{prompt}",
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    chat_template_date: date = CHAT_DATE,
    as_trained: bool = False,
) -> Codec:
    """Load the tokenizer of a local checkpoint folder.

    Args:
        folder: the checkpoint.
        template: the text around prompts, or `chat`; None for `chat` where the tokenizer has a chat template, and bare
            prompts elsewhere.
        chat_template_kwargs: variables of the chat template.
        chat_template_date: the date that the chat template takes for today.
        as_trained: responses end with the tokenizer's EOS, whatever the chat template writes.

    Raises:
        RedpencilError: if the folder does not hold a fast tokenizer, it has no EOS token, or the template does not fit.
    """
    folder = Path(folder)
    tokenizer = load_tokenizer(folder)
    if template is None:
        template = CHAT if tokenizer.chat_template else "{prompt}"
    if template == CHAT and not tokenizer.chat_template:
        raise no_chat_template(folder)
    if template != CHAT and "{prompt}" not in template:
        raise RedpencilError(
            "the template has no {prompt}", field="prompt_template", hint="write {prompt} where the prompt goes"
        )
    variables = chat_template_kwargs or {}
    chat = chat_template(tokenizer, variables, chat_template_date) if template == CHAT else None
    ends = find_ends(tokenizer, folder, chat, as_trained=as_trained)
    pad, context = _pad_id(tokenizer, ends.answer), _context(folder)
    return Codec(
        tokenizer, template, pad, ends.answer, context, ends.every, variables, chat_template_date, ends.findings
    )


def _pad_id(tokenizer: PreTrainedTokenizerBase, eos_id: int) -> int:
    for candidate in (tokenizer.pad_token_id, tokenizer.unk_token_id):
        if candidate is not None and candidate != eos_id:
            return int(candidate)
    return eos_id


def _context(folder: Path) -> int | None:
    config = model_config(folder) if has_config(folder) else {}
    limit = config.get("max_position_embeddings", config.get("n_positions"))
    return limit if isinstance(limit, int) and limit > 0 else None


def read_object(path: Path) -> Mapping[str, Any]:
    """Read a JSON file of a model folder.

    Raises:
        RedpencilError: if the file is missing or not a JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise RedpencilError("not a JSON object", file=path, hint="save the model folder again")
    return content
