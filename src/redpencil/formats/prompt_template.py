r"""Prompts made of the columns of a row, such as `{passages}\n\n{question}`, where data keeps the evidence apart."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from redpencil.errors import RedpencilError
from redpencil.formats.base import Draft, Values, expected

_PLACE = re.compile(r"\{([^{}]+)\}")
_ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def check_template(template: str) -> str:
    r"""Read a template as it was typed, where `\n` is a line break.

    Raises:
        RedpencilError: if it is empty.
    """
    if not template.strip():
        raise RedpencilError(
            "the template is empty", field="--prompt-template", hint="write text with {column} or {prompt} in it"
        )
    return re.sub(r"\\[nt\\]", lambda found: _ESCAPES[found[0]], template)


def with_prompt(draft: Draft, row: Values, template: str) -> Draft:
    """A draft whose prompt is made of the columns of its row; `{prompt}` is the prompt that the format gives.

    Raises:
        RedpencilError: if the row lacks a column, a value is not text, or the prompt is a conversation.
    """
    if "messages" in draft.meta:
        raise RedpencilError(
            "the prompt is a conversation, which a template would make one text",
            field="--prompt-template",
            hint="leave --prompt-template out, or --drop the column of messages",
        )
    values = {"prompt": draft.fields["prompt"]} | dict(row)
    prompt = _PLACE.sub(lambda place: _text(values, place[1]), template)
    return replace(draft, fields={**draft.fields, "prompt": prompt})


def _text(values: Mapping[str, Any], column: str) -> str:
    if column not in values:
        raise RedpencilError(
            "the row has no such column", field=column, hint=f"--prompt-template can name {', '.join(sorted(values))}"
        )
    return _flat(values[column], column)


def _flat(value: Any, column: str) -> str:
    """Texts in a list get a line each, and lists in a list a paragraph each."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        nested = any(isinstance(part, list) for part in value)
        return ("\n\n" if nested else "\n").join(_flat(part, column) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise expected("text, a number, or lists of them", value, column)
