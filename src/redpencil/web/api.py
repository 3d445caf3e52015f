"""What editors do over HTTP: get a task, keep drafts, hand in, take back; and the whole table of operations."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redpencil.web import work
from redpencil.web.bodies import (
    DiffAnswer,
    DiffBody,
    DraftBody,
    MeAnswer,
    PreviewAnswer,
    PreviewBody,
    SubmitBody,
    SubmittedAnswer,
    TagBody,
)
from redpencil.web.operations import Call, Operation
from redpencil.web.team import LISTING_OPERATIONS, TEAM_OPERATIONS
from redpencil.web.text import blocks_in_units, measure, render_markdown, to_characters, to_units
from redpencil.web.transfers import TRANSFER_OPERATIONS
from redpencil.web.work import Marks, Tally, Task, tally


def _me(call: Call) -> MeAnswer:
    return MeAnswer(id=call.person.id, name=call.person.name, role=call.person.role, csrf=call.visitor.csrf)


def _next(call: Call) -> Task | None:
    task = work.next_task(call.engine, call.person.id, now=call.now)
    return None if task is None else _sent(task)


def _task(call: Call) -> Task:
    return _sent(work.task_of(call.engine, call.person.id, call.id, now=call.now))


def _sent(task: Task) -> Task:
    """A task with its tags in code units."""
    place = to_units(task.response)
    tags = [{"start": place(tag["start"]), "end": place(tag["end"]), "tag": tag["tag"]} for tag in task.draft_tags]
    return replace(task, draft_tags=tags)


def _received(call: Call, tags: Sequence[TagBody]) -> list[dict[str, Any]]:
    """Tags with their places in characters."""
    if not tags:
        return []
    place = to_characters(work.response_of(call.engine, call.person.id, call.id))
    return [{"start": place(tag.start), "end": place(tag.end), "tag": tag.tag} for tag in tags]


def _draft(call: Call) -> work.Saved:
    body: DraftBody = call.body
    marks = Marks(body.outcome, body.reason, _received(call, body.tags))
    return work.save_draft(
        call.engine, call.person.id, call.id, body.text, body.version, body.active_s, marks, now=call.now
    )


def _submit(call: Call) -> dict[str, Any]:
    body: SubmitBody = call.body
    submission = work.Submission(
        outcome=body.outcome or body.preference or "",
        text=body.text,
        reason=body.reason,
        tags=_received(call, body.tags),
        active_s=body.active_s,
    )
    done = work.submit(call.engine, call.person.id, call.id, body.version, submission, now=call.now)
    return {
        "submission_id": done.submission_id,
        "kept": done.kept,
        "distance": done.distance,
        "blocks": blocks_in_units(done.blocks, done.original, done.edited),
    }


def _release(call: Call) -> None:
    work.release(call.engine, call.person.id, call.id, now=call.now)


def _take_up(call: Call) -> Task:
    return _sent(work.take_up(call.engine, call.person.id, call.id, now=call.now))


def _undo(call: Call) -> Task:
    return _sent(work.undo(call.engine, call.person.id, call.id, now=call.now))


def _history(call: Call) -> list[work.Done]:
    return work.history(call.engine, call.person.id, before=call.number("before"))


def _tally(call: Call) -> Tally:
    return tally(call.engine, call.person.id)


def _drafts(call: Call) -> list[work.Draft]:
    return work.drafts(call.engine, call.person.id, now=call.now)


def _diff(call: Call) -> dict[str, Any]:
    body: DiffBody = call.body
    found = measure(body.original, body.edited)
    blocks = blocks_in_units(found.blocks, body.original, body.edited)
    return {"blocks": blocks, "kept": found.kept, "distance": found.distance}


def _preview(call: Call) -> PreviewAnswer:
    body: PreviewBody = call.body
    return PreviewAnswer(html=render_markdown(body.text))


OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/api/me", _me, "Who is signed in, and the token for what changes something", answer=MeAnswer),
    Operation("POST", "/api/next", _next, "Your open task, else a new one; 204 where there is none", answer=Task),
    Operation("GET", "/api/assignments/{id:int}", _task, "One of your tasks", answer=Task, errors=(404,)),
    Operation(
        "PUT",
        "/api/assignments/{id:int}/draft",
        _draft,
        "Keep a draft; 409 with the server's text where another tab was faster",
        body=DraftBody,
        answer=work.Saved,
        errors=(404, 409),
    ),
    Operation(
        "POST",
        "/api/assignments/{id:int}/submit",
        _submit,
        "Hand a task in",
        body=SubmitBody,
        answer=SubmittedAnswer,
        errors=(404, 409),
    ),
    Operation(
        "POST", "/api/assignments/{id:int}/release", _release, "Give a task back to the others", errors=(404, 409)
    ),
    Operation(
        "POST",
        "/api/assignments/{id:int}/take-up",
        _take_up,
        "Go on with a task that you gave back or left, unless others have taken it",
        answer=Task,
        errors=(404, 409),
    ),
    Operation(
        "POST",
        "/api/submissions/{id:int}/undo",
        _undo,
        "Take back what you handed in",
        answer=Task,
        errors=(404, 409, 422),
    ),
    Operation("GET", "/api/drafts", _drafts, "Your edits that are not handed in", answer=list[work.Draft]),
    Operation(
        "GET",
        "/api/history",
        _history,
        f"What you have handed in, the newest first, {work.HISTORY_PAGE} at a time",
        answer=list[work.Done],
        errors=(422,),
        query={"before": int},
    ),
    Operation("GET", "/api/tally", _tally, "How many items you have done, and about how many are left", answer=Tally),
    Operation("POST", "/api/diff", _diff, "How two texts differ", body=DiffBody, answer=DiffAnswer),
    Operation("POST", "/api/preview", _preview, "Markdown as HTML", body=PreviewBody, answer=PreviewAnswer),
    *LISTING_OPERATIONS,
    *TEAM_OPERATIONS,
    *TRANSFER_OPERATIONS,
)
"""All of the API, but for its own description."""
