"""Text to token ids and back.

A prompt and a response are tokenised separately, once each, because that is how generation sees them: the prompt's
ids are given, the response's ids follow. Text that was decoded is never tokenised again during training.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from redpencil.alignment.tokens import Tokens
from redpencil.errors import RedpencilError
from redpencil.runs import read_json

CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Codec:
    """A tokenizer and the template around prompts.

    `template` holds `{prompt}`, or is `chat` for the tokenizer's own chat template. Padding is always carried in
    masks, so `pad_id` may equal `eos_id` where a tokenizer has no pad of its own. `context` is the most tokens that
    the model beside the tokenizer can read, prompt and response together; None where it does not say.
    """

    tokenizer: PreTrainedTokenizerBase
    template: str
    pad_id: int
    eos_id: int
    context: int | None = None

    def unfit(self, prompt: Sequence[int], response: Sequence[int], max_length: int) -> str | None:
        """Return the reason why a row of token ids cannot be trained on, or None if it can."""
        length = len(prompt) + len(response)
        if not prompt:
            return "empty prompt"
        if length > max_length:
            return "longer than max_length"
        if self.context is not None and length > self.context:
            return "longer than the model's context"
        return None

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Tokenise prompts, up to where the response begins."""
        if self.template == CHAT:
            chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
            try:
                rendered: Any = self.tokenizer.apply_chat_template(
                    chats, add_generation_prompt=True, tokenize=True, return_dict=True
                )
            except Exception as error:  # a template is a program, and may raise anything
                raise RedpencilError(
                    f"the tokenizer's chat template fails ({first_line(error)})",
                    file=self.tokenizer.name_or_path,
                    field="chat_template",
                    hint="correct it, or give a prompt template with {prompt} where the prompt goes",
                ) from error
            return [list(ids) for ids in rendered["input_ids"]]
        texts = [self.template.replace("{prompt}", prompt) for prompt in prompts]
        encoded: Any = self.tokenizer(texts, add_special_tokens=True)["input_ids"]
        return [self._without_final_eos(list(ids)) for ids in encoded]

    def _without_final_eos(self, ids: list[int]) -> list[int]:
        """Drop the EOS that some tokenizers put behind every text: after a prompt the response is yet to come."""
        return ids[:-1] if len(ids) > 1 and ids[-1] == self.eos_id else ids

    def encode_responses(self, responses: Sequence[str], *, finished: bool | Sequence[bool] = True) -> list[Tokens]:
        """Tokenise responses, with character spans; a finished one ends with EOS.

        `finished` is one value for all of them, or one for each. No responses give an empty list.
        """
        if not responses:
            return []
        ends = [finished] * len(responses) if isinstance(finished, bool) else finished
        encoded = self.tokenizer(list(responses), add_special_tokens=False, return_offsets_mapping=True)
        tokens = []
        columns = (responses, encoded["input_ids"], encoded["offset_mapping"], ends)
        for text, ids, offsets, has_end in zip(*columns, strict=True):
            spans = tuple(offsets)
            if has_end:
                tokens.append(Tokens((*ids, self.eos_id), (*spans, (len(text), len(text))), has_eos=True))
            else:
                tokens.append(Tokens(tuple(ids), spans, has_eos=False))
        return tokens

    def decode(self, responses: Sequence[Sequence[int]]) -> list[str]:
        """Decode responses, without special tokens."""
        texts: list[str] = self.tokenizer.batch_decode([list(ids) for ids in responses], skip_special_tokens=True)
        return texts

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Decode each token by itself, for heat-maps and `--show`."""
        return [str(self.tokenizer.decode([i])) for i in ids]


ENCODING_PARTS = ("normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens")
"""The parts of a tokenizer that decide which ids a text gets; padding, truncation and decoding do not."""


def same_tokenizer(one: Codec, other: Codec) -> bool:
    """Tell whether two tokenizers make the same ids of any text, and end responses with the same one.

    Vocabulary, normalisation, rules and special tokens count as they were loaded, names of folders do not.
    """
    if one.eos_id != other.eos_id:
        return False
    first, second = (codec.tokenizer.backend_tokenizer.to_str() for codec in (one, other))
    if first == second:
        return True
    left, right = json.loads(first), json.loads(second)
    return all(left.get(part) == right.get(part) for part in ENCODING_PARTS)


def same_encoding(one: Codec, other: Codec) -> bool:
    """Tell whether two codecs make the same ids of any prompt and response: template and tokenizer are the same."""
    if one.template != other.template:
        return False
    same_chat = one.template != CHAT or one.tokenizer.chat_template == other.tokenizer.chat_template
    return same_chat and same_tokenizer(one, other)


def load_codec(folder: str | Path, template: str = "{prompt}") -> Codec:
    """Load the tokenizer of a local checkpoint folder.

    Raises:
        RedpencilError: if the folder does not hold a fast tokenizer, it has no EOS token, or the template does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RedpencilError("no such model folder", file=folder, hint="give a folder that Hugging Face saved")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # a damaged file makes the libraries raise nearly anything
        raise RedpencilError(
            f"no tokenizer can be loaded ({first_line(error)})",
            file=folder,
            hint="copy tokenizer.json and tokenizer_config.json into the model folder",
        ) from error
    if not tokenizer.is_fast:
        raise RedpencilError(
            "the tokenizer gives no character offsets, which token masks need",
            file=folder,
            hint="use a fast tokenizer",
        )
    if tokenizer.eos_token_id is None:
        eos = getattr(tokenizer, "sep_token_id", None)
        if eos is None:
            raise RedpencilError(
                "the tokenizer has no end-of-sequence token",
                file=folder,
                field="eos_token",
                hint="set eos_token in tokenizer_config.json",
            )
    else:
        eos = tokenizer.eos_token_id
    if template == CHAT and not tokenizer.chat_template:
        raise RedpencilError(
            "the tokenizer has no chat template",
            file=folder,
            field="prompt_template",
            hint="write the template into the recipe, with {prompt} where the prompt goes",
        )
    if template != CHAT and "{prompt}" not in template:
        raise RedpencilError(
            "the template has no {prompt}", field="prompt_template", hint="write {prompt} where the prompt goes"
        )
    return Codec(tokenizer, template, _pad_id(tokenizer, eos), eos, _context(folder))


def _pad_id(tokenizer: PreTrainedTokenizerBase, eos_id: int) -> int:
    for candidate in (tokenizer.pad_token_id, tokenizer.unk_token_id):
        if candidate is not None and candidate != eos_id:
            return int(candidate)
    return eos_id


def _context(folder: Path) -> int | None:
    path = folder / "config.json"
    config = read_object(path) if path.is_file() else {}
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


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, without its advice."""
    return (str(error) or type(error).__name__).splitlines()[0]
