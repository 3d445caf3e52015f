"""What editors do over HTTP: get a task, keep drafts, hand in, take back; and the whole table of operations."""

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
)
from redpencil.web.offsets import blocks_in_units, to_characters
from redpencil.web.operations import Call, Operation
from redpencil.web.preview import render_markdown
from redpencil.web.team import TEAM_OPERATIONS
from redpencil.web.texts import measure, restore_line_ends
from redpencil.web.transfers import TRANSFER_OPERATIONS


def _me(call: Call) -> MeAnswer:
    return MeAnswer(id=call.person.id, name=call.person.name, role=call.person.role, csrf=call.visitor.csrf)


def _next(call: Call) -> work.Task | None:
    return work.next_task(call.engine, call.person.id, now=call.now)


def _task(call: Call) -> work.Task:
    return work.task_of(call.engine, call.person.id, call.id, now=call.now)


def _draft(call: Call) -> work.Saved:
    body: DraftBody = call.body
    return work.save_draft(call.engine, call.person.id, call.id, body.text, body.version, body.active_s, now=call.now)


def _submit(call: Call) -> dict[str, Any]:
    body: SubmitBody = call.body
    task = work.task_of(call.engine, call.person.id, call.id, now=call.now)
    place = to_characters(task.response)
    submission = work.Submission(
        outcome=body.outcome or body.preference or "",
        text=body.text,
        reason=body.reason,
        tags=[{"start": place(tag.start), "end": place(tag.end), "tag": tag.tag} for tag in body.tags],
        active_s=body.active_s,
    )
    done = work.submit(call.engine, call.person.id, call.id, body.version, submission, now=call.now)
    edited = restore_line_ends(task.response, body.text or "") if body.outcome == "edited" else task.response
    return {
        "submission_id": done.submission_id,
        "kept": done.kept,
        "distance": done.distance,
        "blocks": blocks_in_units(done.blocks, task.response, edited),
    }


def _release(call: Call) -> None:
    work.release(call.engine, call.person.id, call.id, now=call.now)


def _undo(call: Call) -> work.Task:
    return work.undo(call.engine, call.person.id, call.id, now=call.now)


def _history(call: Call) -> list[work.Done]:
    return work.history(call.engine, call.person.id)


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
    Operation("POST", "/api/next", _next, "Your open task, else a new one; 204 where there is none", answer=work.Task),
    Operation("GET", "/api/assignments/{id:int}", _task, "One of your tasks", answer=work.Task, errors=(404,)),
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
        "/api/submissions/{id:int}/undo",
        _undo,
        "Take back what you handed in",
        answer=work.Task,
        errors=(404, 409, 422),
    ),
    Operation("GET", "/api/history", _history, "What you have handed in, the newest first", answer=list[work.Done]),
    Operation("POST", "/api/diff", _diff, "How two texts differ", body=DiffBody, answer=DiffAnswer),
    Operation("POST", "/api/preview", _preview, "Markdown as HTML", body=PreviewBody, answer=PreviewAnswer),
    *TEAM_OPERATIONS,
    *TRANSFER_OPERATIONS,
)
"""All of the API, but for its own description."""
