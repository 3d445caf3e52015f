"""What reviewers and admins do over HTTP: look at the work, settle disputes, invite people, change the project."""

from starlette.exceptions import HTTPException

from redpencil.web import people
from redpencil.web.access import ADMINS, REVIEWERS
from redpencil.web.adjudication import Decided, Dispute, DisputeDetail, decide, dispute, disputes
from redpencil.web.agreement import Agreement, agreement
from redpencil.web.bodies import LARGEST, DecisionBody, EventAnswer, InviteAnswer, PersonAnswer, PersonBody
from redpencil.web.dashboard import Progress, progress
from redpencil.web.database import reading, writing
from redpencil.web.events import list_events, record_event
from redpencil.web.operations import Call, Operation
from redpencil.web.people import Person
from redpencil.web.project import ProjectConfig, read_project, write_project


def _progress(call: Call) -> Progress:
    with reading(call.engine) as connection:
        return progress(connection)


def _agreement(call: Call) -> Agreement:
    with reading(call.engine) as connection:
        return agreement(connection)


def _disputes(call: Call) -> list[Dispute]:
    with reading(call.engine) as connection:
        return disputes(connection)


def _dispute(call: Call) -> DisputeDetail:
    with reading(call.engine) as connection:
        return dispute(connection, call.id)


def _decide(call: Call) -> Decided:
    body: DecisionBody = call.body
    return decide(
        call.engine,
        call.person.id,
        call.id,
        body.version,
        body.text,
        body.outcome,
        body.reason,
        body.merged_from,
        now=call.now,
    )


def _project(call: Call) -> ProjectConfig:
    with reading(call.engine) as connection:
        return read_project(connection)


def _change_project(call: Call) -> ProjectConfig:
    config: ProjectConfig = call.body
    with writing(call.engine) as connection:
        before = read_project(connection)
        write_project(connection, config)
        changed = [name for name in type(config).model_fields if getattr(config, name) != getattr(before, name)]
        detail = {"fields": changed}
        record_event(connection, "changed project", at=call.now, person_id=call.person.id, detail=detail)
    return config


def _people(call: Call) -> list[PersonAnswer]:
    with reading(call.engine) as connection:
        return [_shown(person) for person in people.list_people(connection)]


def _invite(call: Call) -> InviteAnswer:
    body: PersonBody = call.body
    token = people.add_person(call.engine, body.name, body.role, by=call.person.id, now=call.now)
    return _invitation(call, token)


def _renew(call: Call) -> InviteAnswer:
    _find(call)
    return _invitation(call, people.renew_invite(call.engine, call.id, by=call.person.id, now=call.now))


def _revoke(call: Call) -> PersonAnswer:
    _find(call)
    people.revoke(call.engine, call.id, by=call.person.id, now=call.now)
    return _shown(_find(call))


def _events(call: Call) -> list[EventAnswer]:
    before, limit = _whole_number(call, "before"), _whole_number(call, "limit")
    with reading(call.engine) as connection:
        events = list_events(connection, before=before, limit=100 if limit is None else limit)
    return [EventAnswer.model_validate(event, from_attributes=True) for event in events]


def _invitation(call: Call, token: str) -> InviteAnswer:
    with reading(call.engine) as connection:
        person = people.person_of_invite(connection, token)
    if person is None:
        raise HTTPException(409, "The invitation was revoked or renewed in the meantime.")
    return InviteAnswer(person=_shown(person), link=call.site.link(call.request, f"/join/{token}"))


def _find(call: Call) -> Person:
    with reading(call.engine) as connection:
        person = people.person_by_id(connection, call.id)
    if person is None:
        raise HTTPException(404, "There is no such person.")
    return person


def _shown(person: Person) -> PersonAnswer:
    return PersonAnswer(
        id=person.id, name=person.name, role=person.role, created=person.created, revoked=person.revoked
    )


def _whole_number(call: Call, name: str) -> int | None:
    given = call.request.query_params.get(name)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 10 or int(given) > LARGEST:
        raise HTTPException(422, f"{name} is not a whole number.")
    return int(given)


TEAM_OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/api/progress", _progress, "How far the work is", REVIEWERS, answer=Progress),
    Operation("GET", "/api/agreement", _agreement, "How far editors agree", REVIEWERS, answer=Agreement),
    Operation("GET", "/api/disputes", _disputes, "Items on which editors differ", REVIEWERS, answer=list[Dispute]),
    Operation("GET", "/api/disputes/{id:int}", _dispute, "One of them", REVIEWERS, answer=DisputeDetail, errors=(404,)),
    Operation(
        "POST",
        "/api/disputes/{id:int}",
        _decide,
        "Decide about an item",
        REVIEWERS,
        body=DecisionBody,
        answer=Decided,
        errors=(404, 409),
    ),
    Operation("GET", "/api/project", _project, "The project's settings", ADMINS, answer=ProjectConfig),
    Operation(
        "PUT",
        "/api/project",
        _change_project,
        "Change the project's settings; those that are left out get their default",
        ADMINS,
        body=ProjectConfig,
        answer=ProjectConfig,
    ),
    Operation("GET", "/api/people", _people, "Everybody", ADMINS, answer=list[PersonAnswer]),
    Operation("POST", "/api/people", _invite, "Invite somebody", ADMINS, body=PersonBody, answer=InviteAnswer),
    Operation(
        "POST",
        "/api/people/{id:int}/revoke",
        _revoke,
        "End somebody's sessions and link",
        ADMINS,
        answer=PersonAnswer,
        errors=(404, 422),
    ),
    Operation(
        "POST",
        "/api/people/{id:int}/invite",
        _renew,
        "A new link for somebody; the old one and its sessions end",
        ADMINS,
        answer=InviteAnswer,
        errors=(404, 409),
    ),
    Operation(
        "GET",
        "/api/events",
        _events,
        "The audit log, the newest first",
        ADMINS,
        answer=list[EventAnswer],
        errors=(422,),
        query={"before": int, "limit": int},
    ),
)
