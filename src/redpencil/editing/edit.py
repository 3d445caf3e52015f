"""Section 2.1 of the paper: ask an editor for a minimal edit of each response."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from redpencil.alignment.spacing import normalise_marked, normalise_spacing
from redpencil.alignment.words import kept_share
from redpencil.editing.answer import classify
from redpencil.editing.prompt import (
    FIGURE_2,
    EditTemplate,
    Primer,
    ask_again,
    place_primer,
    read_template,
    render_edit_prompt,
)
from redpencil.providers.base import Completion, Provider
from redpencil.providers.cache import ResponseCache, open_cache
from redpencil.providers.job import NEVER_ASKED, Conversation, Exchange, ProviderJob
from redpencil.records import HAS_TEXT, Edit, EditOutcome, Meta, Response, input_of, instruction_of, merge_meta

_RESERVED: Final = frozenset({"kept", "answer", "problem", "retry"})
"""Names in the `meta` of an edit that say how it was made."""


@dataclass(frozen=True, slots=True)
class EditStyle:
    """The way in which edits are asked for.

    Args:
        template: the request.
        primer: where the beginning of the answer goes, which the template has after `Assistant:`.
        min_kept: an edit that keeps a smaller share of the words, or is uncertain, is asked for once more; 0 for never.
        normalise_spacing: write white space in one way in responses, before they are asked about, and in their edits.
    """

    template: EditTemplate = FIGURE_2
    primer: Primer = "turn"
    min_kept: float = 0.0
    normalise_spacing: bool = False


def request_style(template: Path | None, *, hosted: bool, primer: Primer | None = None, **style: Any) -> EditStyle:
    """Return the style for a template's file, by default the paper's, whose primer is where the model wants it: hosted
    models do not continue an answer that they have not begun.

    Raises:
        RedpencilError: as `read_template`.
    """
    request = FIGURE_2 if template is None else read_template(template)
    return EditStyle(request, primer or ("text" if hosted else "turn"), **style)


def edit_job(
    responses: Iterable[Response], provider: Provider, style: EditStyle, cache: ResponseCache
) -> ProviderJob[Response, Edit]:
    """Make the job that asks for an edit of each response. Call its `ask` twice: the second call sends second requests.

    Every response gives one `Edit` with its id and its `meta`. `edited` is the original unless the outcome is EDITED.
    An empty response is EMPTY and is not asked about; one without an answer is FAILED. `meta` also gets

    - `kept`: share of the original's words that are kept;
    - `answer`: the text of an answer that could not be used; `problem`: why there is no answer;
    - `retry`: for an edit that was asked for twice, the outcome of the second answer and the share that each edit kept;
    - `model` and `finished: false` of the response.

    An entry of the response's own `meta` under one of these names is renamed, see `merge_meta`. The input of a prompt
    is `meta["input"]`. The job raises a `RedpencilError` that names the response, if its input is not a text or has no
    place in the template.
    """
    return ProviderJob(
        rows=responses,
        requests_of=lambda response: _requests(response, style),
        result_of=lambda response, exchanges: _edit(_read(response, style), exchanges, provider.name, style),
        answer_bytes=lambda response: len(response.response.encode()),
        provider=provider,
        cache=cache,
    )


def edit_responses(responses: Sequence[Response], provider: Provider, style: EditStyle | None = None) -> Iterator[Edit]:
    """Ask for edits and yield them, with a cache in memory; by default as the paper asked, and once."""
    with open_cache() as cache:
        job = edit_job(responses, provider, style or EditStyle(), cache)
        for _ in ("first", "second"):
            for _result in job.ask():
                pass
        yield from job.results()


def _requests(response: Response, style: EditStyle) -> Conversation:
    """Ask once, and again if the first edit keeps too little or is uncertain."""
    response = _read(response, style)
    original = response.response
    if not original.strip():
        return
    question, context = instruction_of(response.prompt, response.meta), input_of(response.id, response.meta)
    messages = place_primer(render_edit_prompt(question, original, context, template=style.template), style.primer)
    answer = yield messages
    if answer is None or not style.min_kept:
        return
    outcome, edited = classify(answer, original, response.prompt)
    if outcome is EditOutcome.UNCERTAIN or (
        outcome is EditOutcome.EDITED and kept_share(original, edited) < style.min_kept
    ):
        yield ask_again(messages, answer.text)


def _read(response: Response, style: EditStyle) -> Response:
    """The response as it is to be edited."""
    if not style.normalise_spacing:
        return response
    text, meta = normalise_marked(response.response, response.meta)
    return replace(response, response=text, meta=meta)


def make_edit(response: Response, edited: str, outcome: EditOutcome, editor: str, meta: Meta | None = None) -> Edit:
    """Make the edit of a response, with its id and its `meta`, to which `meta` is added, and what says how it was made:

    `kept`, if the outcome has a text, and `model` and `finished: false` of the response.
    """
    added: dict[str, Any] = {"model": response.model} if response.model else {}
    if not response.finished:
        added["finished"] = False
    added |= meta or {}
    if outcome in HAS_TEXT:
        added["kept"] = round(kept_share(response.response, edited), 4)
    merged = merge_meta(response.meta, added, _RESERVED)
    return Edit(response.id, response.prompt, response.response, edited, editor=editor, outcome=outcome, meta=merged)


def _edit(response: Response, exchanges: Sequence[Exchange], editor: str, style: EditStyle) -> Edit:
    original = response.response
    meta: dict[str, Any] = {}
    outcome, edited = EditOutcome.EMPTY, original
    if exchanges:
        first, *retries = exchanges
        if first.completion is None:
            outcome = EditOutcome.FAILED
            meta["problem"] = first.problem or NEVER_ASKED
        else:
            outcome, edited = classify(first.completion, original, response.prompt)
        for retry in retries:
            outcome, edited, meta["retry"] = _better_of_two(response, (outcome, edited), retry.completion)
        if first.completion is not None and outcome not in HAS_TEXT:
            meta["answer"] = first.completion.text
    if outcome is EditOutcome.EDITED and style.normalise_spacing:
        edited = normalise_spacing(edited)
        outcome = EditOutcome.UNCHANGED if edited == original else outcome
    return make_edit(response, edited, outcome, editor, meta)


def _better_of_two(
    response: Response, first: tuple[EditOutcome, str], completion: Completion | None
) -> tuple[EditOutcome, str, dict[str, object]]:
    """Take the second answer if it keeps more or finds that nothing needs a change, else the first; and note both."""
    note: dict[str, object] = {}
    kept = -1.0
    if first[0] in HAS_TEXT:
        kept = kept_share(response.response, first[1])
        note["first_kept"] = round(kept, 4)
    if completion is None:
        return *first, note | {"outcome": EditOutcome.FAILED.value}
    outcome, edited = classify(completion, response.response, response.prompt)
    note["outcome"] = outcome.value
    if outcome in HAS_TEXT:
        second_kept = kept_share(response.response, edited)
        note["second_kept"] = round(second_kept, 4)
        if second_kept > kept:
            return outcome, edited, note
    return *first, note
