"""Operations of editors: get a task, save drafts, submit, undo."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from redpencil.web import work
from redpencil.web.auth import SignedIn, Visitor
from redpencil.web.browser_text import blocks_in_units, measure, render_markdown, to_characters, to_units
from redpencil.web.routes import models
from redpencil.web.work import Marks, Task

router = APIRouter(prefix="/api", tags=["editors"], route_class=models.JsonRoute, responses=models.ALWAYS)
_NOT_FOUND = models.refusals(404)
_TOO_MANY = models.refusals(429)


@router.get("/me")
def me(visitor: SignedIn) -> models.MeAnswer:
    """Show who is signed in, and the CSRF token for requests that change something."""
    person = visitor.person
    return models.MeAnswer(id=person.id, name=person.name, role=person.role, csrf=visitor.csrf)


@router.post("/next", response_model=Task, responses={204: {"description": "No task is left"}})
def next_task(visitor: SignedIn) -> Task | Response:
    """Get your open task, or a new one; 204 if there is none."""
    task = work.next_task(visitor.engine, visitor.person.id, now=time.time())
    return Response(status_code=204) if task is None else _in_units(task)


@router.get("/assignments/{id}", responses=_NOT_FOUND)
def task(id: models.PathId, visitor: SignedIn) -> Task:
    """Get one of your tasks."""
    return _in_units(work.task_of(visitor.engine, visitor.person.id, id, now=time.time()))


@router.put("/assignments/{id}/draft", responses=models.OF_BODIES | _NOT_FOUND | models.STALE)
def save_draft(id: models.PathId, body: models.DraftBody, visitor: SignedIn) -> work.Saved:
    """Save a draft; 409 with the server's text if another tab was faster."""
    marks = Marks(body.outcome, body.reason, _in_characters(visitor, id, body.tags))
    return work.save_draft(
        visitor.engine, visitor.person.id, id, body.text, body.version, body.active_s, marks, now=time.time()
    )


@router.post(
    "/assignments/{id}/submit",
    response_model=models.SubmittedAnswer,
    responses=models.OF_BODIES | _NOT_FOUND | models.STALE,
)
def submit(id: models.PathId, body: models.SubmitBody, visitor: SignedIn) -> dict[str, Any]:
    """Submit a task."""
    tags = _in_characters(visitor, id, body.tags)
    outcome = body.outcome or body.preference or ""
    submission = work.Submission(outcome, body.text, body.reason, tags, body.active_s)
    done = work.submit(visitor.engine, visitor.person.id, id, body.version, submission, now=time.time())
    return {
        "submission_id": done.submission_id,
        "kept": done.kept,
        "distance": done.distance,
        "blocks": blocks_in_units(done.blocks, done.original, done.edited),
    }


@router.post("/assignments/{id}/release", status_code=204, responses=_NOT_FOUND | models.STALE)
def release(id: models.PathId, visitor: SignedIn) -> None:
    """Give a task back to the others."""
    work.release(visitor.engine, visitor.person.id, id, now=time.time())


@router.post("/assignments/{id}/take-up", responses=_NOT_FOUND | models.STALE)
def take_up(id: models.PathId, visitor: SignedIn) -> Task:
    """Continue a task that you gave back or left, unless others have taken it."""
    return _in_units(work.take_up(visitor.engine, visitor.person.id, id, now=time.time()))


@router.post("/submissions/{id}/undo", responses=_NOT_FOUND | models.STALE)
def undo(id: models.PathId, visitor: SignedIn) -> Task:
    """Take back a submission."""
    return _in_units(work.undo(visitor.engine, visitor.person.id, id, now=time.time()))


@router.get("/drafts")
def drafts(visitor: SignedIn) -> list[work.Draft]:
    """List your edits that are not submitted."""
    return work.drafts(visitor.engine, visitor.person.id, now=time.time())


@router.get("/history")
def history(visitor: SignedIn, before: models.WholeNumber | None = None) -> list[work.Done]:
    """List your submissions, the newest first, 100 at a time; `before` is the id of the last one seen."""
    return work.history(visitor.engine, visitor.person.id, before=before)


@router.get("/tally")
def tally(visitor: SignedIn) -> work.OwnProgress:
    """Count the items that you have done, and about how many are left."""
    return work.own_progress(visitor.engine, visitor.person.id)


@router.post("/diff", response_model=models.DiffAnswer, responses=models.OF_BODIES | _TOO_MANY)
def diff(request: Request, body: models.DiffBody, visitor: SignedIn) -> dict[str, Any]:
    """Compare two texts; 429 where one person asks for too much at once."""
    with request.app.state.allowance.of(visitor.person.id):
        measured = measure(body.original, body.edited)
    blocks = blocks_in_units(measured.blocks, body.original, body.edited)
    return {"blocks": blocks, "kept": measured.kept, "distance": measured.distance}


@router.post("/preview", responses=models.OF_BODIES | _TOO_MANY)
def preview(request: Request, body: models.PreviewBody, visitor: SignedIn) -> models.PreviewAnswer:
    """Render Markdown as HTML; 429 where one person asks for too much at once."""
    with request.app.state.allowance.of(visitor.person.id):
        return models.PreviewAnswer(html=render_markdown(body.text))


def _in_units(task: Task) -> Task:
    """A task whose tags have their places in UTF-16 code units."""
    place = to_units(task.response)
    tags = [{"start": place(tag["start"]), "end": place(tag["end"]), "tag": tag["tag"]} for tag in task.draft_tags]
    return replace(task, draft_tags=tags)


def _in_characters(visitor: Visitor, assignment_id: int, tags: Sequence[models.TagBody]) -> list[dict[str, Any]]:
    """Tags with their places counted in characters."""
    if not tags:
        return []
    place = to_characters(work.response_of(visitor.engine, visitor.person.id, assignment_id))
    return [{"start": place(tag.start), "end": place(tag.end), "tag": tag.tag} for tag in tags]
