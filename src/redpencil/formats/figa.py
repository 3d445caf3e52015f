"""Edits as weights of tokens, after FIGA (Guo et al., "Beyond Imitation: Leveraging Fine-grained Quality Signals for
Alignment", ICLR 2024, https://github.com/RUCAIBox/FIGA).

FIGA trains a model on both texts of an edit. In the revised text an inserted or substituted token has the weight
alpha and a kept one gamma (here `kept`); in the original a deleted or substituted token has -beta and a kept one 0:

    loss = - sum over the tokens of both texts of weight * log p(token | prompt, tokens before it)

The defaults are those of the released code: alpha 1, beta 0.5, kept 0. As there, the end-of-sequence token of the
revised text has alpha and that of the original 0. The changed tokens come from redpencil's alignment, where FIGA uses
Levenshtein operations on token ids. The released code also gives weight 0 to tokens of the original whose
cross-entropy is outside 0.6 to 1; that needs a model, so it is left to the trainer.

A row has the column names of FIGA's data set SPA where it has one, so that its own training code reads it too:

    id                                          text
    instruction, input                          the prompt, and an empty text
    original_output, revised_output             the text before and after the edit
    original_spans, revised_spans               [[start, end], ...] in characters of that text, end excluded
    original_weights, revised_weights           one number a span
    prompt_ids, original_ids, revised_ids       token ids, only with a tokenizer; of the last two one a span
    editor, outcome                             text
    meta                                        the record's meta as one JSON text

Without a tokenizer the spans are stretches of words that tile the text, so the weights fit any tokenizer. With one they
are the tokens; an end-of-sequence token has the span [length, length].
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from redpencil.alignment.encoding import SafeEncoder
from redpencil.alignment.ends import finished_sides
from redpencil.alignment.tokens import Tokens, token_masks
from redpencil.alignment.words import Span, diff_visible
from redpencil.errors import RedpencilError
from redpencil.formats.base import Draft, Format, Kind, Reader, Row, Unfit, Values, no_correction, optional_text, text
from redpencil.formats.values import meta_text, read_meta
from redpencil.records import Edit, full_prompt, parse_record
from redpencil.text import read_json

_KEPT = ("equal", "space")
DERIVED = frozenset(
    (
        *("original_spans", "original_weights", "original_ids"),
        *("revised_spans", "revised_weights", "revised_ids", "prompt_ids"),
    )
)
"""Columns that are computed from the texts, so that reading a row ignores them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of tokens: `alpha` inserted or substituted, minus `beta` deleted or substituted, `kept` kept."""

    alpha: float = 1.0
    beta: float = 0.5
    kept: float = 0.0


@dataclass(frozen=True)
class Cutter:
    """A tokenizer for prompts and responses. `template` is the text around a prompt, with {prompt} in it."""

    tokenizer: Tokenizer
    eos_id: int
    template: str = "{prompt}"

    @cached_property
    def _encoder(self) -> SafeEncoder:
        added = self.tokenizer.get_added_tokens_decoder()
        control = [token.content for index, token in added.items() if token.special or index == self.eos_id]
        return SafeEncoder(self.tokenizer, control)

    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the token ids before the response."""
        with _naming_texts():
            return self._encoder.encode_prompts(self.template, [prompt])[0]

    def response(self, text: str, *, finished: bool = True) -> Tokens:
        """Return the tokens of a response; a finished one ends with the end-of-sequence token."""
        with _naming_texts():
            [encoded] = self._encoder.encode([text])
        ids, spans = tuple(encoded.ids), tuple(encoded.offsets)
        if not finished:
            return Tokens(ids, spans, has_eos=False)
        return Tokens((*ids, self.eos_id), (*spans, (len(text), len(text))), has_eos=True)


@contextmanager
def _naming_texts() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the library raises no narrower class
        message = next(iter(str(error).splitlines()), type(error).__name__)
        raise RedpencilError(
            f"the tokenizer cannot split a text ({message})",
            field="--tokenizer",
            hint="give one that has a token for any text, or leave it out for weights of words",
        ) from None


def load_cutter(folder: Path, template: str = "{prompt}") -> Cutter:
    """Load the tokenizer of a checkpoint folder from `tokenizer.json`, and the end-of-sequence token that
    `tokenizer_config.json` names.

    Raises:
        RedpencilError: if a file is missing or damaged, the end-of-sequence token is not named or unknown, or the
            template lacks {prompt}.
    """
    if "{prompt}" not in template:
        raise RedpencilError("the template has no {prompt}", hint="write {prompt} where the prompt goes")
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise RedpencilError("no such file", file=path, hint="give a folder with a fast tokenizer")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no narrower class
        raise RedpencilError(
            f"not a tokenizer ({str(error).splitlines()[0]})", file=path, hint="save the tokenizer again"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    name = _eos_token(folder / "tokenizer_config.json")
    eos_id = tokenizer.token_to_id(name)
    if eos_id is None:
        raise RedpencilError(
            f"the end-of-sequence token {name!r} is not a token of the tokenizer", file=path, hint="save it again"
        )
    return Cutter(tokenizer, eos_id, template)


def _eos_token(path: Path) -> str:
    config = read_json(path)
    for key in ("eos_token", "sep_token"):
        token = config.get(key) if isinstance(config, dict) else None
        name = token.get("content") if isinstance(token, dict) else token
        if isinstance(name, str):
            return name
    raise RedpencilError("no end-of-sequence token is named", file=path, field="eos_token", hint="set eos_token")


def figa_row(edit: Edit, weights: Weights, cutter: Cutter | None = None) -> Row | Unfit:
    """Turn an edit into a row of the layout above, or say why not: it has no correction to learn from."""
    unfit = no_correction(edit)
    if unfit is not None:
        return unfit
    weighed = _of_words(edit, weights) if cutter is None else _of_tokens(edit, weights, cutter)
    if isinstance(weighed, Unfit):
        return weighed
    return {
        "id": edit.id,
        "instruction": edit.prompt,
        "input": "",
        "original_output": edit.original,
        "revised_output": edit.edited,
        **weighed,
        "editor": edit.editor,
        "outcome": str(edit.outcome),
        "meta": meta_text(edit.meta),
    }


def _of_words(edit: Edit, weights: Weights) -> Row:
    blocks = diff_visible(edit.original, edit.edited)
    original = [block for block in blocks if block.original[0] < block.original[1]]
    revised = [block for block in blocks if block.edited[0] < block.edited[1]]
    losses = _original_weights([block.kind not in _KEPT for block in original], weights)
    gains = _revised_weights([block.kind not in _KEPT for block in revised], weights)
    return {
        **_columns("original", [block.original for block in original], losses),
        **_columns("revised", [block.edited for block in revised], gains),
    }


def _of_tokens(edit: Edit, weights: Weights, cutter: Cutter) -> Row | Unfit:
    ends = finished_sides(edit)
    original = cutter.response(edit.original, finished=ends[0])
    revised = cutter.response(edit.edited, finished=ends[1])
    if original.ids[: original.body] == revised.ids[: revised.body]:
        return Unfit("the same tokens")
    masks = token_masks(edit.original, edit.edited, original, revised)
    gains = _revised_weights(masks.chosen_changed[: revised.body], weights) + [weights.alpha] * revised.has_eos
    return {
        "prompt_ids": cutter.prompt_ids(edit.prompt),
        "original_ids": list(original.ids),
        "revised_ids": list(revised.ids),
        **_columns("original", original.offsets, _original_weights(masks.rejected_changed, weights)),
        **_columns("revised", revised.offsets, gains),
    }


def _original_weights(changed: Sequence[bool], weights: Weights) -> list[float]:
    return [0.0 - weights.beta if flag else 0.0 for flag in changed]  # 0.0 - 0.0 has no sign


def _revised_weights(changed: Sequence[bool], weights: Weights) -> list[float]:
    return [weights.alpha if flag else weights.kept for flag in changed]


def _columns(side: str, spans: Sequence[Span], weights: list[float]) -> Row:
    return {f"{side}_spans": [list(span) for span in spans], f"{side}_weights": weights}


def edit_of_row(row: Mapping[str, Any]) -> Edit:
    """Read a row of the layout above, or of SPA with an id, as an edit; weights and token ids are ignored.

    Columns outside the layout are kept in `meta`.

    Raises:
        RedpencilError: naming the field.
    """
    prompt, input_ = text(row, "instruction"), optional_text(row, "input")
    own = {"instruction", "input", "original_output", "revised_output", "meta"} | DERIVED
    record: Row = {key: value for key, value in row.items() if key not in own}
    record["prompt"] = full_prompt(prompt, input_)
    record["original"], record["edited"] = text(row, "original_output"), text(row, "revised_output")
    others = {key: row[key] for key in ("prompt", "original", "edited") if key in row}
    meta = read_meta(row.get("meta"))
    for key in others.keys() & meta.keys():
        raise RedpencilError("the key is both in the row and in its meta", field=key, hint="rename one of the two")
    record["meta"] = others | meta
    return parse_record(record, Edit)


def _edits(row: Values) -> Iterator[Draft]:
    edit = edit_of_row({**row, "id": ""})
    own = {f.name: getattr(edit, f.name) for f in fields(Edit) if f.name not in ("id", "meta")}
    yield Draft(own, frozenset(row) - {"id"}, edit.meta)


FIGA = Format(
    "figa",
    "FIGA token weights: instruction, input, original_output, revised_output",
    {Kind.EDITS: Reader((("instruction", "original_output", "revised_output"),), _edits)},
    natural=(((), Kind.EDITS),),
)
