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
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

_NEVER = "(?!)"
"""A regular expression that matches nothing."""
_BYTE = re.compile("<0x[0-9A-F]{2}>")
_NEVER_CHOSEN = -1e6
"""Score of a piece that any other pieces are better than."""


class Encoded(NamedTuple):
    """Token ids of a text, and their spans in its characters, end excluded."""

    ids: list[int]
    offsets: list[tuple[int, int]]


class SafeEncoder:
    """Encodes texts and templates with a tokenizer; `control` are the contents of its control tokens."""

    def __init__(self, tokenizer: Tokenizer, control: Collection[str]) -> None:
        self._original = tokenizer
        self._names = {content: _secret() for content in sorted(control, key=len, reverse=True) if content}
        self._begin, self._end = _secret(), _secret()
        control_token = "|".join(map(re.escape, self._names)) or _NEVER
        self._control = re.compile(control_token)
        # A template may write what it is given in capitals.
        self._marked = re.compile(f"(?i:{self._begin}([a-p]*?){self._end})|{control_token}")
        first = "|".join(sorted({re.escape(content[0]) for content in self._names})) or _NEVER
        self._first = re.compile(f"{self._begin}[a-p]*?{self._end}|({first})")
        contents = list(self._names)
        self._heads = {content[:cut] for content in contents for cut in range(1, len(content))}
        self._tails = {content[cut:] for content in contents for cut in range(1, len(content))}
        self._longest = max(map(len, contents), default=0)

    @cached_property
    def _copy(self) -> tuple[Tokenizer, dict[int, int]]:
        """A tokenizer with other names of the control tokens, and which of its ids stand for which."""
        return _shared(self._original, self._names) or (_renamed(self._original, self._names), {})

    @cached_property
    def beginning(self) -> tuple[int, ...]:
        """The ids that the tokenizer itself puts before every text, such as its BOS."""
        encoding = self._copy[0].encode("a")
        added = takewhile(lambda pair: pair[1], zip(encoding.ids, encoding.special_tokens_mask, strict=True))
        return tuple(token for token, _ in added)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts, or what `markup` and `restore` made of templates, without the tokenizer's own additions."""
        copy, own = self._copy
        encodings = copy.encode_batch(list(texts), add_special_tokens=False)
        return [Encoded([own.get(i, i) for i in encoding.ids], encoding.offsets) for encoding in encodings]

    def encode_prompts(self, template: str, prompts: Sequence[str]) -> list[list[int]]:
        """Encode prompts in a template that has {prompt} where they go, with the tokenizer's own beginning once.

        A template may write BOS itself, which the tokenizer would put in front of it once more. What the tokenizer
        puts behind texts is left out: the response follows.
        """
        parts = template.split("{prompt}")
        around = [self.markup(part) for part in parts]
        written = {self._original.token_to_id(match[0]) for match in self._control.finditer(parts[0])}
        start = () if written.intersection(self.beginning) else self.beginning
        return [[*start, *encoding.ids] for encoding in self.encode([prompt.join(around) for prompt in prompts])]

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

    def hide_first(self, text: str) -> str:
        """Mask every character that a control token begins with too, so that no parts of the text make one."""
        return self._first.sub(lambda match: match[0] if match[1] is None else self._mask(match[1]), self.hide(text))

    def count(self, rendered: str) -> int:
        """Count the control tokens in a filled template."""
        return sum(1 for _ in self._control.finditer(rendered))

    def _part(self, parts: Set[str], piece: Callable[[int], str], longest: int) -> int:
        """Return the length of the longest piece that is one of the parts; 0 for none."""
        cuts = range(min(self._longest, longest), 0, -1)
        return next((cut for cut in cuts if piece(cut) in parts), 0)

    def restore(self, rendered: str) -> str:
        """Rename the control tokens in a filled template, and put back what `hide` masked in the texts in it."""

        def original(match: re.Match[str]) -> str:
            return self._names[match[0]] if match[1] is None else bytes.fromhex(_to_hex(match[1].lower())).decode()

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


def _shared(tokenizer: Tokenizer, names: Mapping[str, str]) -> tuple[Tokenizer, dict[int, int]] | None:
    """Make a tokenizer with other names of its control tokens around the same model, which takes no time.

    Its added tokens have other ids, so it comes with the original's id of each. None where the model itself could find
    a control token in a text. A BPE finds one only if it finds it in the token's own content: nothing but the merges
    within a piece makes it.
    """
    model = tokenizer.model
    if not isinstance(model, BPE) or model.end_of_word_suffix or model.continuing_subword_prefix:
        return None
    for content in names:
        index = model.token_to_id(content)
        if index is not None and index in {token.id for token in model.tokenize(content)}:
            return None
    copy = Tokenizer(model)
    for part in ("normalizer", "pre_tokenizer", "post_processor"):
        if getattr(tokenizer, part) is not None:
            setattr(copy, part, getattr(tokenizer, part))
    added = {index: _as_control(token, names) for index, token in sorted(tokenizer.get_added_tokens_decoder().items())}
    copy.add_tokens(list(added.values()))
    own: dict[int, int] = {}
    for index, token in added.items():
        new = copy.token_to_id(token.content)
        if new is None or new in own or (new != index and model.id_to_token(new) is not None):
            return None
        own[new] = index
    return copy, own


def _as_control(token: AddedToken, names: Mapping[str, str]) -> AddedToken:
    """Rename a control token, which is found wherever a template writes it: before letters, before normalisation."""
    name = names.get(token.content)
    return token if name is None else AddedToken(name, lstrip=token.lstrip, rstrip=token.rstrip, special=True)


def _renamed(tokenizer: Tokenizer, names: Mapping[str, str]) -> Tokenizer:
    """Copy a tokenizer, with other names of its control tokens; ids stay."""
    content: dict[str, Any] = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        if token["content"] in names:  # as in `_as_control`
            token.update(content=names[token["content"]], single_word=False, normalized=False)
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
