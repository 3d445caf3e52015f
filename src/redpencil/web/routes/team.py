"""Operations of reviewers and admins: look at the work, settle disputes, invite people, change the project."""

import time
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from starlette.requests import Request

from redpencil.web import auth
from redpencil.web.agreement import Agreement, agreement
from redpencil.web.auth import Admin, Person, Reviewer, Visitor
from redpencil.web.dashboard import Progress, progress
from redpencil.web.database import Event, list_events, reading, writing
from redpencil.web.items import ListedPage, list_items
from redpencil.web.project import ProjectConfig, change_project, read_project
from redpencil.web.review import MOST_LISTED, Decided, Dispute, DisputeDetail, decide, dispute, disputes
from redpencil.web.routes import models

router = APIRouter(prefix="/api", tags=["reviewers and admins"], route_class=models.JsonRoute, responses=models.ALWAYS)


@router.get("/items")
def items(query: Annotated[models.ItemQuery, Query()], visitor: Reviewer) -> ListedPage:
    """List all items with their submissions, 50 at a time."""
    with reading(visitor.engine) as connection:
        return list_items(connection, **dict(query))


@router.get("/progress")
def show_progress(visitor: Reviewer) -> Progress:
    """Show how far the work is."""
    with reading(visitor.engine) as connection:
        return progress(connection)


@router.get("/agreement")
def show_agreement(visitor: Reviewer) -> Agreement:
    """Show how far editors agree (Krippendorff's alpha)."""
    with reading(visitor.engine) as connection:
        return agreement(connection)


@router.get("/disputes")
def list_disputes(
    visitor: Reviewer, limit: models.WholeNumber = MOST_LISTED, offset: models.WholeNumber = 0
) -> list[Dispute]:
    """List items on which editors differ, at most 100 at a time, after `offset` others."""
    with reading(visitor.engine) as connection:
        return disputes(connection, limit=min(limit, MOST_LISTED), offset=offset)


@router.get("/disputes/{id}", responses=models.refusals(404))
def show_dispute(id: models.PathId, visitor: Reviewer) -> DisputeDetail:
    """Show a response with its edits, the editors by letter; an admin sees their names after the decision."""
    with reading(visitor.engine) as connection:
        return dispute(connection, id, names=visitor.person.administers)


@router.post("/disputes/{id}", responses=models.OF_BODIES | models.refusals(404) | models.STALE)
def settle(id: models.PathId, body: models.DecisionBody, visitor: Reviewer) -> Decided:
    """Decide about an item."""
    decision = (body.version, body.text, body.outcome, body.reason, body.merged_from)
    return decide(visitor.engine, visitor.person.id, id, *decision, now=time.time())


@router.get("/project")
def show_project(visitor: Admin) -> models.ProjectAnswer:
    """Show the project's settings."""
    with reading(visitor.engine) as connection:
        return _settings(read_project(connection))


@router.put("/project", responses=models.OF_BODIES | models.refusals(409))
def replace_project(body: models.ProjectBody, visitor: Admin) -> models.ProjectAnswer:
    """Replace the project's settings; those that are left out get their default.

    409 if they have changed since the `version` that is sent; nothing is changed then.
    """
    config = ProjectConfig.model_validate(body.model_dump(exclude={"version"}))
    with writing(visitor.engine) as connection:
        change_project(connection, config, version=body.version, by=visitor.person.id, now=time.time())
    return _settings(config)


def _settings(config: ProjectConfig) -> models.ProjectAnswer:
    return models.ProjectAnswer.model_validate(config.model_dump() | {"version": config.fingerprint})


@router.get("/people", response_model=list[models.PersonAnswer])
def people(visitor: Admin) -> Sequence[Person]:
    """List all people, those without access included."""
    with reading(visitor.engine) as connection:
        return auth.list_people(connection)


@router.post("/people", responses=models.OF_BODIES | models.refusals(409))
def invite(request: Request, body: models.PersonBody, visitor: Admin) -> models.InviteAnswer:
    """Invite a person."""
    prefix = visitor.site.link(request, "/join/")
    token = auth.add_person(visitor.engine, body.name, body.role, by=visitor.person.id, now=time.time())
    return _invitation(visitor, prefix, token)


@router.put("/people/{id}", response_model=models.PersonAnswer, responses=models.OF_BODIES | models.refusals(404))
def change_person(id: models.PathId, body: models.PersonChangeBody, visitor: Admin) -> Person:
    """Change a person's name or role; what is left out stays."""
    _find(visitor, id)
    auth.change_person(visitor.engine, id, name=body.name, role=body.role, by=visitor.person.id, now=time.time())
    return _find(visitor, id)


@router.post("/people/{id}/revoke", response_model=models.PersonAnswer, responses=models.refusals(404))
def revoke(id: models.PathId, visitor: Admin) -> Person:
    """End a person's sessions and invite link."""
    _find(visitor, id)
    auth.revoke(visitor.engine, id, by=visitor.person.id, now=time.time())
    return _find(visitor, id)


@router.post("/people/{id}/invite", responses=models.refusals(404, 409))
def renew_invite(request: Request, id: models.PathId, visitor: Admin) -> models.InviteAnswer:
    """Make a new link for a person; the old one and its sessions end."""
    _find(visitor, id)
    prefix = visitor.site.link(request, "/join/")
    return _invitation(visitor, prefix, auth.renew_invite(visitor.engine, id, by=visitor.person.id, now=time.time()))


def _invitation(visitor: Visitor, prefix: str, token: str) -> models.InviteAnswer:
    """The answer with a new link. The caller asks for `prefix` first: it can fail, and the token is shown only once."""
    with reading(visitor.engine) as connection:
        person = auth.person_of_invite(connection, token)
    if person is None:
        raise HTTPException(409, "The invitation was revoked or renewed in the meantime.")
    return models.InviteAnswer(
        person=models.PersonAnswer.model_validate(person, from_attributes=True), link=prefix + token
    )


def _find(visitor: Visitor, person_id: int) -> Person:
    with reading(visitor.engine) as connection:
        person = auth.person_by_id(connection, person_id)
    if person is None:
        raise HTTPException(404, "There is no such person.")
    return person


@router.get("/events")
def events(visitor: Admin, before: models.WholeNumber | None = None, limit: models.WholeNumber = 100) -> list[Event]:
    """List the lines of the audit log, the newest first; `before` is the id of the last one seen."""
    with reading(visitor.engine) as connection:
        return list_events(connection, before=before, limit=limit)
