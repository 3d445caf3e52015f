"""Text to token ids, where nothing that a text says becomes a control token.

A tokenizer finds its added tokens, such as "<|im_end|>" or "</s>", in any text, and some find them in their vocabulary
too. So whoever writes them could end a turn or an answer. Here a copy of the tokenizer knows its control tokens under
secret names only: a text is encoded as it is, and what a template writes is renamed before texts are put into it. All
is encoded in one piece, so ordinary text gets the ids that it always had.
"""

import json
import re
import secrets
import string
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from functools import cached_property
from itertools import takewhile
from typing import Any

from tokenizers import Encoding, Tokenizer

_NEVER = "(?!)"
"""A regular expression that matches nothing."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_NEVER_CHOSEN = -1e6
"""Score of a piece that any other pieces are better than."""


class SafeEncoder:
    """Encodes texts and templates with a tokenizer; `control` are the contents of its control tokens."""

    def __init__(self, tokenizer: Tokenizer, control: Collection[str]) -> None:
        self._original = tokenizer
        self._names = {content: _secret() for content in sorted(control, key=len, reverse=True) if content}
        self._begin, self._end = _secret(), _secret()
        control_token = "|".join(map(re.escape, self._names)) or _NEVER
        self._control = re.compile(control_token)
        self._marked = re.compile(f"{self._begin}([a-p]*?){self._end}|{control_token}")
        contents = list(self._names)
        self._heads = {content[:cut] for content in contents for cut in range(1, len(content))}
        self._tails = {content[cut:] for content in contents for cut in range(1, len(content))}
        self._longest = max(map(len, contents), default=0)

    @cached_property
    def _copy(self) -> Tokenizer:
        return _renamed(self._original, self._names)

    @cached_property
    def beginning(self) -> tuple[int, ...]:
        """The ids that the tokenizer itself puts before every text, such as its BOS."""
        encoding = self._copy.encode("a")
        added = takewhile(lambda pair: pair[1], zip(encoding.ids, encoding.special_tokens_mask, strict=True))
        return tuple(token for token, _ in added)

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """Encode texts, or what `markup` and `restore` made of templates, without the tokenizer's own additions."""
        encodings: list[Encoding] = self._copy.encode_batch(list(texts), add_special_tokens=False)
        return encodings

    def encode_prompts(self, template: str, prompts: Sequence[str]) -> list[list[int]]:
        """Encode prompts in a template that has {prompt} where they go, with the tokenizer's own beginning once.

        A template may write BOS itself, which the tokenizer would put in front of it once more. What the tokenizer
        puts behind texts is left out: the response follows.
        """
        around = [self.markup(part) for part in template.split("{prompt}")]
        rows = [list(encoding.ids) for encoding in self.encode([prompt.join(around) for prompt in prompts])]
        start = self.beginning
        return [row if tuple(row[: len(start)]) == start else [*start, *row] for row in rows]

    def markup(self, template: str) -> str:
        """Rename the control tokens in a part of a template, so that they become control tokens."""
        return self._control.sub(lambda match: self._names[match[0]], template)

    def hide(self, text: str) -> str:
        """Mask what could be a control token in a text that goes into a chat template, until `restore`.

        That is a control token, and at the text's ends a part of one, which the template or the next text could make
        whole. White space at the ends does not protect: many templates trim it.
        """
        hidden = self.hide_whole(text)
        start, stop = len(hidden) - len(hidden.lstrip()), len(hidden.rstrip())
        if not hidden.startswith(self._begin, start):
            cut = self._part(self._tails, lambda cut: hidden[start : start + cut], stop - start)
            hidden = hidden[:start] + self._mask(hidden[start : start + cut]) + hidden[start + cut :]
        stop = len(hidden.rstrip())
        if not hidden.endswith(self._end, 0, stop):
            cut = self._part(self._heads, lambda cut: hidden[stop - cut : stop], stop - start)
            hidden = hidden[: stop - cut] + self._mask(hidden[stop - cut : stop]) + hidden[stop:]
        return hidden

    def hide_whole(self, text: str) -> str:
        """Mask only whole control tokens, in a text that a template asks for by name."""
        return self._control.sub(lambda match: self._mask(match[0]), text)

    def _part(self, parts: Set[str], piece: Callable[[int], str], longest: int) -> int:
        """Return the length of the longest piece that is one of the parts; 0 for none."""
        cuts = range(min(self._longest, longest), 0, -1)
        return next((cut for cut in cuts if piece(cut) in parts), 0)

    def restore(self, rendered: str) -> str:
        """Rename the control tokens in a filled template, and put back what `hide` masked in the texts in it."""

        def original(match: re.Match[str]) -> str:
            return self._names[match[0]] if match[1] is None else bytes.fromhex(_to_hex(match[1])).decode()

        return self._marked.sub(original, rendered)

    def _mask(self, text: str) -> str:
        return text and self._begin + _to_letters(text.encode().hex()) + self._end


_HEX, _LETTERS = string.hexdigits[:16], string.ascii_lowercase[:16]


def _to_letters(digits: str) -> str:
    return digits.translate(str.maketrans(_HEX, _LETTERS))


def _to_hex(letters: str) -> str:
    return letters.translate(str.maketrans(_LETTERS, _HEX))


def _secret() -> str:
    """Make a name that no text holds: small letters only, which no normalizer changes and no rule splits."""
    return _to_letters(secrets.token_hex(16))


def _renamed(tokenizer: Tokenizer, names: Mapping[str, str]) -> Tokenizer:
    """Copy a tokenizer, with other names of its control tokens; ids stay."""
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): index for piece, index in vocabulary.items()}
    else:  # Unigram: pieces and their scores
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        if model.get("byte_fallback"):  # "<0x0A>" is a byte only where a letter is unknown, not where a text says it
            model["vocab"] = [[piece, _NEVER_CHOSEN if _BYTE.fullmatch(piece) else s] for piece, s in model["vocab"]]
    if "unk_token" in model:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        model["merges"] = [merge for merge in merges if names.keys().isdisjoint((*merge, "".join(merge)))]
    copy = Tokenizer.from_str(json.dumps(content))
    copy.no_truncation()
    copy.no_padding()
    return copy
