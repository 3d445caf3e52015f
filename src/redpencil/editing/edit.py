"""Section 2.1 of the paper: ask an editor for a minimal edit of each response, and keep what can be learned from.

Asking and reading are apart, see `redpencil.providers.cache`.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redpencil.alignment.words import kept_share
from redpencil.editing.answer import classify
from redpencil.editing.prompt import FIGURE_2, EditTemplate, Primer, ask_again, place_primer, render_edit_prompt
from redpencil.errors import RedpencilError
from redpencil.providers import cache
from redpencil.providers.base import Completion, Message, Provider, Request, Result, request_key
from redpencil.providers.cache import NEVER_ASKED, Journal, Spent, open_journal
from redpencil.records import Edit, EditOutcome, Response


def beside(meta: Mapping[str, Any], told: Mapping[str, Any], reserved: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The response's own `meta` and what is told of its edit, so that neither is lost or taken for the other.

    What the response has under a name that is told, or `reserved`, goes on under `response_` and the name.
    """
    taken = reserved | told.keys()
    both = {name: value for name, value in meta.items() if name not in taken}
    for name in meta:
        if name in taken:
            free = f"response_{name}"
            while free in both:
                free = f"response_{free}"
            both[free] = meta[name]
    return {**both, **told}


_TOLD: Final = frozenset({"kept", "answer", "problem", "retry"})
"""What the `meta` of an edit tells of the asking."""


@dataclass(frozen=True, slots=True)
class EditStyle:
    """How edits are asked for.

    Args:
        template: the request.
        primer: where the beginning of the answer goes, which the template has after `Assistant:`.
        min_kept: an edit that keeps a smaller share of the words is asked for once more; 0 asks nobody twice.
    """

    template: EditTemplate = FIGURE_2
    primer: Primer = "turn"
    min_kept: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked. `input_bytes` and `output_bytes` are those of the requests still to be asked, in UTF-8;
    an answer is taken to be as long as the response. `interrupted` are those to ask that were under way when an earlier
    process ended.
    """

    responses: int
    empty: int
    answered: int
    to_ask: int
    interrupted: int
    input_bytes: int
    output_bytes: int


def plan_edits(
    responses: Iterable[Response],
    provider: Provider,
    style: EditStyle,
    journal: Journal,
    asked: Container[str] = frozenset(),
) -> Plan:
    """Count what `ask_for_edits` would ask now; a second request is known only after its first answer.

    Raises:
        RedpencilError: as `requests_due`.
    """
    counts: Counter[str] = Counter()
    due: set[str] = set()
    for response in responses:
        counts["responses"] += 1
        if not response.response.strip():
            counts["empty"] += 1
            continue
        request = _due(response, provider, style, journal)
        if request is None:
            counts["answered"] += 1
        elif request.key not in due and request.key not in asked:
            due.add(request.key)
            counts["interrupted"] += journal.under_way(request.key)
            counts["input"] += sum(len(turn.content.encode()) for turn in request.messages)
            counts["output"] += len(response.response.encode())
    return Plan(
        responses=counts["responses"],
        empty=counts["empty"],
        answered=counts["answered"],
        to_ask=len(due),
        interrupted=counts["interrupted"],
        input_bytes=counts["input"],
        output_bytes=counts["output"],
    )


def requests_due(
    responses: Iterable[Response], provider: Provider, style: EditStyle, journal: Journal
) -> Iterator[Request]:
    """The requests that have no answer yet: the first of each response, or the second where the first kept too little.

    Raises:
        RedpencilError: naming the response, if its input is no text or has no place in the template.
    """
    return cache.unanswered(all_answers(responses, provider, style, journal))


def ask_for_edits(
    responses: Iterable[Response],
    provider: Provider,
    style: EditStyle,
    journal: Journal,
    asked: set[str],
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Ask for what is due now and yield each result after the journal has it, as `asking.ask_due`.

    Call it twice, with the same set `asked`: the second time it asks for second edits.

    Raises:
        RedpencilError: as `requests_due`, or where no request can succeed.
    """
    return cache.ask_due(lambda: requests_due(responses, provider, style, journal), provider, journal, asked, enough)


def read_edits(responses: Iterable[Response], provider: Provider, style: EditStyle, journal: Journal) -> Iterator[Edit]:
    """Every response gives one `Edit` with its id and its `meta`, by the answers in the journal.

    `edited` is the original unless the outcome is EDITED. An empty response is EMPTY and never asked about; one
    without an answer is FAILED. `meta` also gets

    - `kept`: share of the original's words that are kept (see `minimality`);
    - `answer`: what was answered, where it could not be used; `problem`: why there is no answer;
    - `retry`: where the editor was asked twice, the outcome of the second answer and the share that each kept;
    - `model` and `finished: false` of the response.

    What the response's own `meta` has under one of these names goes on under `response_` and the name. A prompt's input
    is `meta["input"]`.
    """
    for response in responses:
        yield _edit_of(response, provider, style, journal)


def edit_responses(responses: Sequence[Response], provider: Provider, style: EditStyle | None = None) -> Iterator[Edit]:
    """Ask and read in one go, with a journal in memory; by default as the paper asked, and nobody twice."""
    style, asked = style or EditStyle(), set[str]()
    with open_journal() as journal:
        for _ in ("first", "second"):
            for _result in ask_for_edits(responses, provider, style, journal, asked):
                pass
        yield from read_edits(responses, provider, style, journal)


def spent(responses: Iterable[Response], provider: Provider, style: EditStyle, journal: Journal) -> Spent:
    """Tokens that all answers about these responses cost, each answer counted once."""
    return cache.spent(all_answers(responses, provider, style, journal), journal)


def foreign_keys(
    keys: Iterable[str], responses: Iterable[Response], provider: Provider, style: EditStyle, journal: Journal
) -> set[str]:
    """Those of the keys that belong to no request about these responses."""
    return cache.foreign_keys(keys, all_answers(responses, provider, style, journal))


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
        reason = skip_reason(edit)
        if reason is None:
            usable.append(edit)
        else:
            skipped[reason] += 1
    return usable, skipped


def skip_reason(edit: Edit) -> str | None:
    """Why nothing can be learned from an edit; None where something can."""
    if not edit.original.strip():
        return "empty response"
    if edit.outcome is not EditOutcome.EDITED:
        return edit.outcome.value
    if not edit.edited.strip():
        return "empty edit"
    if edit.edited == edit.original:
        return "equal to its original"
    return None


def _answers(
    response: Response, provider: Provider, style: EditStyle, journal: Journal
) -> Iterator[tuple[Request, Completion | None]]:
    """The first request about a response with its answer, then the second one if the first answer calls for it."""
    if not response.response.strip():
        return
    question, given = _question_and_input(response)
    turns = place_primer(render_edit_prompt(question, response.response, given, template=style.template), style.primer)
    first = _request(turns, provider)
    completion = journal.find(first.key)
    yield first, completion
    if completion is None or not style.min_kept:
        return
    outcome, edited = classify(completion, response.response)
    if outcome is EditOutcome.EDITED and minimality(response.response, edited) < style.min_kept:
        second = _request(ask_again(turns, completion.text), provider)
        yield second, journal.find(second.key)


def all_answers(
    responses: Iterable[Response], provider: Provider, style: EditStyle, journal: Journal
) -> Iterator[tuple[Request, Completion | None]]:
    """Every request about these responses that is known now, with its answer where there is one.

    Raises:
        RedpencilError: as `requests_due`.
    """
    for response in responses:
        yield from _answers(response, provider, style, journal)


def _due(response: Response, provider: Provider, style: EditStyle, journal: Journal) -> Request | None:
    for request, completion in _answers(response, provider, style, journal):
        if completion is None:
            return request
    return None


def _request(turns: list[Message], provider: Provider) -> Request:
    return Request(request_key(provider.identity, turns), tuple(turns))


def _edit_of(response: Response, provider: Provider, style: EditStyle, journal: Journal) -> Edit:
    original = response.response
    told: dict[str, Any] = {}
    if response.model:
        told["model"] = response.model
    if not response.finished:
        told["finished"] = False
    outcome, edited = EditOutcome.EMPTY, original
    for number, (request, completion) in enumerate(_answers(response, provider, style, journal)):
        if number == 0 and completion is None:
            outcome = EditOutcome.FAILED
            told["problem"] = journal.problem(request.key) or NEVER_ASKED
        elif number == 0 and completion is not None:
            outcome, edited = classify(completion, original)
            if outcome not in (EditOutcome.EDITED, EditOutcome.UNCHANGED):
                told["answer"] = completion.text
        else:
            outcome, edited, told["retry"] = _second(original, edited, completion)
    if outcome in (EditOutcome.EDITED, EditOutcome.UNCHANGED):
        told["kept"] = round(minimality(original, edited), 4)
    meta = beside(response.meta, told, _TOLD)
    return Edit(response.id, response.prompt, original, edited, editor=provider.name, outcome=outcome, meta=meta)


def _second(original: str, first: str, completion: Completion | None) -> tuple[EditOutcome, str, dict[str, object]]:
    """The better of two edits: the second if it keeps more, or finds that nothing needs a change; else the first."""
    kept = minimality(original, first)
    note: dict[str, object] = {"first_kept": round(kept, 4), "outcome": EditOutcome.FAILED.value}
    if completion is None:
        return EditOutcome.EDITED, first, note
    outcome, edited = classify(completion, original)
    note["outcome"] = outcome.value
    if outcome in (EditOutcome.EDITED, EditOutcome.UNCHANGED):
        second_kept = minimality(original, edited)
        note["second_kept"] = round(second_kept, 4)
        if second_kept > kept:
            return outcome, edited, note
    return EditOutcome.EDITED, first, note


def _question_and_input(response: Response) -> tuple[str, str]:
    """The prompt and its input; where the prompt holds both, `meta["instruction"]` is the question by itself."""
    given = response.meta.get("input") or ""
    if not isinstance(given, str):
        raise RedpencilError(
            f"the input of response {response.id!r} is a {type(given).__name__}, not a text",
            field="input",
            hint="write the input as a string, or leave it out",
        )
    instruction = response.meta.get("instruction")
    whole = isinstance(instruction, str) and bool(given) and response.prompt == f"{instruction}\n\n{given}"
    return (str(instruction) if whole else response.prompt), given
