"""Extract the edited response from an editor's answer, and classify the outcome.

What an answer is follows from its relation to the original, by alignment: the response is the part of it that keeps
what the whole keeps. Wrapping (`editing/wrapping.py`) and remarks (`editing/remarks.py`) around that part are taken
off; its white space is the original's. An answer that is the original, or the original with some words changed inside,
is never shortened. An answer that keeps almost nothing of a response of some length is no edit of it. What cannot be
decided is uncertain.
"""

import re
from dataclasses import dataclass
from typing import Final

from redpencil.alignment.spacing import restore_spacing
from redpencil.editing import vocabulary as say
from redpencil.editing.relation import Source, plain, terms
from redpencil.editing.remarks import is_remark, without_remarks
from redpencil.editing.wrapping import UnfinishedThoughtError, without_wrapping
from redpencil.providers.base import Completion, StopReason
from redpencil.records import EditOutcome

_ROUNDS: Final = 6
"""Layers of wrapping and remarks around a response."""
_LITTLE: Final = 0.4
"""A text that keeps a smaller share of the original's words may be a refusal, or talk about the response."""
_GLANCE: Final = 500
"""Characters that show what such a text is."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The response in an answer, and all that was said; `doubt`: something beside the response may be a remark."""

    text: str
    said: str
    doubt: bool


def strip_preamble(text: str, original: str = "", prompt: str = "") -> str:
    """Return the response in an editor's answer as the module says, with the original's white space.

    It is empty if there is none: also if the answer ends inside a thought.
    """
    try:
        return restore_spacing(original, _extract(text, Source(original, prompt)).text)
    except UnfinishedThoughtError:
        return ""


def classify(completion: Completion, original: str, prompt: str = "") -> tuple[EditOutcome, str]:
    """Return the outcome of an answer and the edited response, which is `original` unless the outcome is EDITED.

    An answer that equals the original or says that no change is needed is UNCHANGED, which is valid. A provider's
    stop reason decides TRUNCATED and REFUSED; an answer that ends inside a thought is TRUNCATED too. An answer that is
    no edit is REFUSED if it has words of a refusal, else UNCERTAIN; so is one with something beside the response that
    may be a remark.
    """
    if completion.stop_reason is StopReason.REFUSAL:
        return EditOutcome.REFUSED, original
    if completion.stop_reason is StopReason.LENGTH:
        return EditOutcome.TRUNCATED, original
    source = Source(original, prompt)
    try:
        found = _extract(completion.text, source)
    except UnfinishedThoughtError:
        return EditOutcome.TRUNCATED, original
    outcome = _outcome(found, source)
    if outcome is not EditOutcome.EDITED:
        return outcome, original
    edited = restore_spacing(original, found.text)
    return (EditOutcome.UNCHANGED if edited == original else outcome), edited


def _extract(text: str, source: Source) -> _Found:
    """Take off layer by layer what is around the response, until it is the original or nothing more is around it."""
    doubt = False
    if not source.words:
        return _Found(text.strip(), text, doubt)
    said = ""
    for _ in range(_ROUNDS):
        if source.is_same(text):
            break
        before = text
        text = without_wrapping(text.strip(), source)
        said = said or text
        if not source.is_same(text):
            prose = without_remarks(text, source)
            text, doubt = prose.text, doubt or prose.doubt
        if text == before:
            break
    return _Found(text.strip(), said, doubt)


def _outcome(found: _Found, source: Source) -> EditOutcome:
    if not any(map(str.isalnum, found.text)) and not source.kept(found.text):
        return EditOutcome.EMPTY
    if source.is_same(found.text):
        return EditOutcome.UNCERTAIN if found.doubt else EditOutcome.UNCHANGED
    own = found.text if '"' in source.original else re.sub(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d", " ", found.text)
    if source.kept(own) < _LITTLE * source.words and (outcome := _without_edit(found, source)):
        return outcome
    doubtful = found.doubt or source.is_foreign_script(found.text) or plain(found.text) == plain(source.prompt)
    return EditOutcome.UNCERTAIN if doubtful else EditOutcome.EDITED


def _without_edit(found: _Found, source: Source) -> EditOutcome | None:
    """Tell what an answer is that keeps little of the original; None if it may be an edit of it."""
    text = plain(found.said)
    if say.REFUSAL.search(text, 0, _GLANCE) and not say.REFUSAL.search(plain(source.original[:_GLANCE])):
        return EditOutcome.REFUSED
    remark, no_edit = is_remark(plain(found.text)[:_GLANCE], source), source.is_no_edit(found.text)
    if remark and text.endswith((":", "\uff1a")):
        return EditOutcome.EMPTY
    if (remark or no_edit or not terms(text) & source.terms) and say.NO_CHANGE.search(text, 0, _GLANCE):
        return EditOutcome.UNCERTAIN if found.doubt and source.kept(found.text) > 1 else EditOutcome.UNCHANGED
    return EditOutcome.UNCERTAIN if remark or no_edit else None
