"""What reviewers and admins do over HTTP: look at the work, settle disputes, invite people, change the project."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Text, cast, exists, func, select
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from redpencil.web import auth
from redpencil.web.agreement import Agreement, agreement
from redpencil.web.auth import ADMINS, REVIEWERS, Person
from redpencil.web.bodies import (
    LARGEST,
    DecisionBody,
    EventAnswer,
    InviteAnswer,
    PersonAnswer,
    PersonBody,
    PersonChangeBody,
    ProjectAnswer,
    ProjectBody,
)
from redpencil.web.dashboard import Progress, progress
from redpencil.web.database import list_events, reading, writing
from redpencil.web.items import question_of
from redpencil.web.operations import Call, Operation, whole_number
from redpencil.web.project import CURRENT, DECIDED, ProjectConfig, change_project, read_project
from redpencil.web.review import MOST_LISTED, Decided, Dispute, DisputeDetail, decide, dispute, disputes
from redpencil.web.schema import adjudication, item, submission
from redpencil.web.text import unstorable


def _progress(call: Call) -> Progress:
    with reading(call.engine) as connection:
        return progress(connection)


def _agreement(call: Call) -> Agreement:
    with reading(call.engine) as connection:
        return agreement(connection)


def _disputes(call: Call) -> list[Dispute]:
    limit, offset = _whole_number(call, "limit"), _whole_number(call, "offset") or 0
    limit = MOST_LISTED if limit is None else min(limit, MOST_LISTED)
    with reading(call.engine) as connection:
        return disputes(connection, limit=limit, offset=offset)


def _dispute(call: Call) -> DisputeDetail:
    with reading(call.engine) as connection:
        return dispute(connection, call.id, names=call.person.administers)


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


def _project(call: Call) -> ProjectAnswer:
    with reading(call.engine) as connection:
        return _settings(read_project(connection))


def _change_project(call: Call) -> ProjectAnswer:
    body: ProjectBody = call.body
    config = ProjectConfig.model_validate(body.model_dump(exclude={"version"}))
    with writing(call.engine) as connection:
        change_project(connection, config, version=body.version, by=call.person.id, now=call.now)
    return _settings(config)


def _settings(config: ProjectConfig) -> ProjectAnswer:
    return ProjectAnswer.model_validate(config.model_dump() | {"version": config.fingerprint})


def _people(call: Call) -> list[PersonAnswer]:
    with reading(call.engine) as connection:
        return [_shown(person) for person in auth.list_people(connection)]


def _invite(call: Call) -> InviteAnswer:
    body: PersonBody = call.body
    door = _door(call)
    token = auth.add_person(call.engine, body.name, body.role, by=call.person.id, now=call.now)
    return _invitation(call, door, token)


def _renew(call: Call) -> InviteAnswer:
    _find(call)
    door = _door(call)
    return _invitation(call, door, auth.renew_invite(call.engine, call.id, by=call.person.id, now=call.now))


def _change_person(call: Call) -> PersonAnswer:
    body: PersonChangeBody = call.body
    _find(call)
    auth.change_person(call.engine, call.id, name=body.name, role=body.role, by=call.person.id, now=call.now)
    return _shown(_find(call))


def _revoke(call: Call) -> PersonAnswer:
    _find(call)
    auth.revoke(call.engine, call.id, by=call.person.id, now=call.now)
    return _shown(_find(call))


def _events(call: Call) -> list[EventAnswer]:
    before, limit = _whole_number(call, "before"), _whole_number(call, "limit")
    with reading(call.engine) as connection:
        events = list_events(connection, before=before, limit=100 if limit is None else limit)
    return [EventAnswer.model_validate(event, from_attributes=True) for event in events]


def _door(call: Call) -> str:
    """What links begin with; asked before one is made, which could not be shown otherwise."""
    return call.site.link(call.request, "/join/")


def _invitation(call: Call, door: str, token: str) -> InviteAnswer:
    with reading(call.engine) as connection:
        person = auth.person_of_invite(connection, token)
    if person is None:
        raise HTTPException(409, "The invitation was revoked or renewed in the meantime.")
    return InviteAnswer(person=_shown(person), link=door + token)


def _find(call: Call) -> Person:
    with reading(call.engine) as connection:
        person = auth.person_by_id(connection, call.id)
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
    Operation(
        "GET",
        "/api/disputes",
        _disputes,
        f"Items on which editors differ; {MOST_LISTED} at a time, after `offset` others",
        REVIEWERS,
        answer=list[Dispute],
        errors=(422,),
        query={"limit": int, "offset": int},
    ),
    Operation(
        "GET",
        "/api/disputes/{id:int}",
        _dispute,
        "One of them, its editors by letter; an admin learns their names after the decision",
        REVIEWERS,
        answer=DisputeDetail,
        errors=(404,),
    ),
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
    Operation("GET", "/api/project", _project, "The project's settings", ADMINS, answer=ProjectAnswer),
    Operation(
        "PUT",
        "/api/project",
        _change_project,
        "Change the project's settings; those that are left out get their default. 409 where somebody else has changed "
        "them since the `version` that is sent, and nothing is changed",
        ADMINS,
        body=ProjectBody,
        answer=ProjectAnswer,
        errors=(409,),
    ),
    Operation("GET", "/api/people", _people, "Everybody", ADMINS, answer=list[PersonAnswer]),
    Operation("POST", "/api/people", _invite, "Invite somebody", ADMINS, body=PersonBody, answer=InviteAnswer),
    Operation(
        "PUT",
        "/api/people/{id:int}",
        _change_person,
        "Give somebody another name or role; what is left out stays",
        ADMINS,
        body=PersonChangeBody,
        answer=PersonAnswer,
        errors=(404, 422),
    ),
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


PAGE: Final = 50
"""Items on one page."""
_LAST_PAGE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ItemQuery:
    """Which items to list; what is None asks for nothing. All that is asked of a submission is asked of the same one.

    Args:
        person: who handed something in for it.
        outcome: what somebody found.
        tag: what somebody called a change.
        id: a part of its id, in capitals or not.
        page: which page, from 1.
    """

    person: int | None = None
    outcome: str | None = None
    tag: str | None = None
    id: str | None = None
    page: int = 1


@dataclass(frozen=True, slots=True)
class Listed:
    """An item, with what was handed in for it and is not taken back, in that order, skips among it.

    `kept` is the share of the words that each kept, `decided` the outcome of a reviewer's decision. `known` says that
    its answer was known before. An item has a page of its own where `open` is true.
    """

    item_id: int
    external_id: str
    kind: str
    prompt: str
    outcomes: tuple[str, ...]
    kept: tuple[float, ...]
    tags: tuple[str, ...]
    decided: str | None
    known: bool
    open: bool


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of items, in the order in which they came in; `more` says that there is a next one."""

    items: tuple[Listed, ...]
    more: bool


def asked_items(given: QueryParams) -> ItemQuery:
    """Which items an address asks for; a field that was left empty asks for nothing.

    Raises:
        HTTPException: if something is asked for that there cannot be.
    """
    words = {name: given[name] for name in ("outcome", "tag", "id") if given.get(name)}
    for name, text in words.items():
        if problem := unstorable(text):
            raise HTTPException(422, f"{name} holds {problem}.")
    person = whole_number("person", given.get("person") or None)
    page = whole_number("page", given.get("page") or None)
    return ItemQuery(person=person, page=min(max(page or 1, 1), _LAST_PAGE), **words)


def list_items(connection: Connection, asked: ItemQuery) -> ListedPage:
    """A page of the items that were asked for.

    Responses on which people differ and nobody has decided are left out where a person is named: whoever decides is not
    to know whose text is whose.
    """
    query = (
        select(item, adjudication.c.outcome.label("decided"))
        .join(adjudication, adjudication.c.item_id == item.c.id, isouter=True)
        .where(*_conditions(asked))
        .order_by(item.c.position, item.c.id)
        .limit(PAGE + 1)
        .offset(PAGE * (asked.page - 1))
    )
    rows = connection.execute(query).all()
    shown = rows[:PAGE]
    handed_in = _handed_in(connection, [row.id for row in shown])
    return ListedPage(tuple(_listed(row, handed_in[row.id]) for row in shown), len(rows) > PAGE)


def _conditions(asked: ItemQuery) -> list[ColumnElement[bool]]:
    of_one: list[ColumnElement[bool]] = []
    if asked.person is not None:
        of_one.append(submission.c.person_id == asked.person)
    if asked.outcome is not None:
        of_one.append(submission.c.outcome == asked.outcome)
    if asked.tag is not None:
        # The driver writes JSON as Python does, on both databases.
        of_one.append(cast(submission.c.tags, Text).contains(f'"tag": {json.dumps(asked.tag)}}}', autoescape=True))
    found: list[ColumnElement[bool]] = []
    if of_one:
        here = submission.c.item_id == item.c.id
        found.append(exists().where(here, submission.c.undone.is_(None), *of_one).correlate(item))
    if asked.person is not None:
        found.append(~_waits_for_a_decision())
    if asked.id is not None:
        found.append(item.c.external_id.icontains(asked.id, autoescape=True))
    return found


def _waits_for_a_decision() -> ColumnElement[bool]:
    judged = select(submission.c.outcome, func.coalesce(submission.c.edited, "").label("edited")).where(CURRENT)
    distinct = judged.where(submission.c.item_id == item.c.id).correlate(item).distinct().subquery()
    ways = select(func.count()).select_from(distinct).scalar_subquery()
    return (item.c.kind == "edit") & item.c.known_answer.is_(None) & ~DECIDED & (ways > 1)


def _handed_in(connection: Connection, ids: list[int]) -> dict[int, list[Row[Any]]]:
    query = select(submission).where(submission.c.item_id.in_(ids), submission.c.undone.is_(None))
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query.order_by(submission.c.id)):
        found[row.item_id].append(row)
    return found


def _listed(row: Row[Any], handed_in: list[Row[Any]]) -> Listed:
    judged = [one for one in handed_in if one.outcome != "skipped"]
    return Listed(
        item_id=row.id,
        external_id=row.external_id,
        kind=row.kind,
        prompt=question_of(row.prompt, row.meta),
        outcomes=tuple(one.outcome for one in handed_in),
        kept=tuple(one.kept for one in handed_in),
        tags=tuple(sorted({tag["tag"] for one in handed_in for tag in one.tags})),
        decided=row.decided,
        known=row.known_answer is not None,
        open=row.kind == "edit" and bool(judged),
    )


def _items(call: Call) -> ListedPage:
    with reading(call.engine) as connection:
        return list_items(connection, asked_items(call.request.query_params))


LISTING_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/api/items",
        _items,
        f"All items with what was handed in for them, {PAGE} at a time",
        REVIEWERS,
        answer=ListedPage,
        errors=(422,),
        query={"person": int, "outcome": str, "tag": str, "id": str, "page": int},
    ),
)
