"""Section 2.1 of the paper: ask an editor for a minimal edit of each response, and keep what can be learned from."""

from collections import Counter
from collections.abc import Iterable, Iterator
from operator import length_hint

from redpencil.alignment.words import kept_share
from redpencil.editing.answer import classify
from redpencil.editing.prompt import FIGURE_2, EditTemplate, render_edit_prompt
from redpencil.errors import RedpencilError
from redpencil.providers.base import Provider
from redpencil.records import Edit, EditOutcome, Response
from redpencil.runs import Progress, no_progress


def edit_responses(
    responses: Iterable[Response],
    provider: Provider,
    template: EditTemplate = FIGURE_2,
    progress: Progress = no_progress,
) -> Iterator[Edit]:
    """Edit responses one by one, as they come; every response gives one `Edit` with its id and its `meta`.

    `edited` is the original unless the outcome is EDITED; an answer that could not be used is kept in
    `meta["answer"]`. An empty response is EMPTY and never sent. `meta` also gets `kept` (see `minimality`), the
    response's `model`, and `finished: false` where the response was cut off. A prompt's input is `meta["input"]`.

    Raises:
        RedpencilError: naming the response, if its input is no text or has no place in the template.
    """
    total = length_hint(responses)
    for done, response in enumerate(responses, start=1):
        edit = _edit_one(response, provider, template)
        progress(done, total, edit.outcome.value)
        yield edit


def minimality(original: str, edited: str) -> float:
    """Share of the original's words that the edit keeps, between 0 and 1; the same for people and models."""
    return kept_share(original, edited)


def split_usable(edits: Iterable[Edit]) -> tuple[list[Edit], Counter[str]]:
    """The edits that a reward model can learn from, and why the others were skipped, with counts.

    Usable are edits with outcome EDITED whose texts differ and are not empty.
    """
    usable: list[Edit] = []
    skipped: Counter[str] = Counter()
    for edit in edits:
        reason = _skip_reason(edit)
        if reason is None:
            usable.append(edit)
        else:
            skipped[reason] += 1
    return usable, skipped


def _edit_one(response: Response, provider: Provider, template: EditTemplate) -> Edit:
    original = response.response
    meta = dict(response.meta)
    if response.model:
        meta["model"] = response.model
    if not response.finished:
        meta["finished"] = False
    outcome, edited = EditOutcome.EMPTY, original
    if original.strip():
        completion = provider.complete(
            render_edit_prompt(response.prompt, original, _input_of(response), template=template)
        )
        outcome, edited = classify(completion, original)
        if outcome in (EditOutcome.EDITED, EditOutcome.UNCHANGED):
            meta["kept"] = round(minimality(original, edited), 4)
        else:
            meta["answer"] = completion.text
    return Edit(response.id, response.prompt, original, edited, editor=provider.name, outcome=outcome, meta=meta)


def _input_of(response: Response) -> str:
    text = response.meta.get("input") or ""
    if not isinstance(text, str):
        raise RedpencilError(
            f"the input of response {response.id!r} is a {type(text).__name__}, not a text",
            field="input",
            way_out="write the input as a string, or leave it out",
        )
    return text


def _skip_reason(edit: Edit) -> str | None:
    if not edit.original.strip():
        return "empty response"
    if edit.outcome is not EditOutcome.EDITED:
        return edit.outcome.value
    if not edit.edited.strip():
        return "empty edit"
    if edit.edited == edit.original:
        return "equal to its original"
    return None
