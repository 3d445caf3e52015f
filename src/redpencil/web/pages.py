"""The pages that people see. What they show comes with the page; what they do goes through the API."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jinja2
import pydantic_core
from markupsafe import Markup
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

import redpencil
from redpencil.errors import RedpencilError
from redpencil.web import work
from redpencil.web.auth import (
    ADMINS,
    EVERYBODY,
    REVIEWERS,
    Person,
    Role,
    TooManyAttemptsError,
    Visitor,
    admit,
    check_origin,
    check_token,
    end_session,
    find_visitor,
    join,
    list_people,
    new_session,
    set_session,
    site_of,
)
from redpencil.web.bodies import LARGEST
from redpencil.web.database import list_events, reading, record_event, writing
from redpencil.web.operations import whole_number
from redpencil.web.project import OUTCOME_NAMES, ProjectConfig, read_project
from redpencil.web.security import address_of, limited
from redpencil.web.team import PAGE, asked_items, list_items
from redpencil.web.text import render_markdown

TEMPLATES = Path(__file__).parent / "templates"
FORM_LIMIT = 64 * 1024
DESK_SETTINGS = frozenset(
    (
        *("kept_soft", "kept_hard", "distance_soft", "distance_hard"),
        *("tags", "reason_required_for", "suggestions", "lease_s"),
    )
)
"""What of the project the working pages need; editors are not to know how many items have a known answer."""

Context = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who may see a page, and the request for it."""

    request: Request
    visitor: Visitor

    @property
    def engine(self) -> Engine:
        """The database."""
        return site_of(self.request).engine


def message_page(
    request: Request,
    status: int,
    problem: str,
    hint: str | None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A plain page that says what is wrong and what to do."""
    context = {"status": status, "problem": problem, "hint": hint}
    visitor = _reader(request) if status in (403, 404) else None
    content = _environment().get_template("message.html.j2").render(**_common(request, visitor, None), **context)
    return HTMLResponse(content, status, headers=headers)


def _reader(request: Request) -> Visitor | None:
    """Who is to find their way on from a message; nobody where the database does not say."""
    try:
        return find_visitor(request)
    except (SQLAlchemyError, RedpencilError):
        return None


def signed_out_redirect() -> Response:
    """To the page that says how to sign in."""
    return RedirectResponse("/signed-out", 303)


def _page(
    template: str, context: Callable[[Visit], Context], roles: frozenset[Role] = EVERYBODY
) -> Callable[[Request], Response]:
    """An endpoint that shows a template to whoever has one of the roles."""

    def endpoint(request: Request) -> Response:
        visitor = admit(request, roles)
        return _render(request, visitor, template, context(Visit(request, visitor)))

    return endpoint


def _render(request: Request, visitor: Visitor, template: str, context: Context) -> Response:
    with reading(site_of(request).engine) as connection:
        project = read_project(connection)
    common = _common(request, visitor, project)
    return HTMLResponse(_environment().get_template(template).render(**common, **context))


def _common(request: Request, visitor: Visitor | None, project: ProjectConfig | None) -> dict[str, Any]:
    return {
        "path": request.url.path,
        "person": None if visitor is None else visitor.person,
        "csrf": "" if visitor is None else visitor.csrf,
        "project": project,
        "version": redpencil.__version__,
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = lambda text: Markup(render_markdown(text))
    environment.filters["plain"] = to_plain
    environment.filters["duration"] = to_duration
    environment.globals["outcome_names"] = OUTCOME_NAMES
    return environment


def to_plain(content: Any) -> Any:
    """Dataclasses and models as plain values, ready for `tojson`; a number that is not finite becomes null."""
    return pydantic_core.from_json(pydantic_core.to_json(content, inf_nan_mode="null"))


def to_duration(seconds: float | None) -> str:
    """A length of time in words: `42 s`, `1 min 47 s`, `12 min`, `3 h 5 min`; a dash where there is none."""
    if seconds is None:
        return "\u2013"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes)) if part)


def _start(request: Request) -> Response:
    """The page that a person most likely wants: editors come to work, reviewers and admins to look after it."""
    visitor = admit(request)
    if visitor.person.reviews and "assignment" not in request.query_params:
        return RedirectResponse("/dashboard", 303)
    return _work_page(request)


def _work_page(request: Request) -> Response:
    """The page for the task that `?assignment=` names, else for the next one, which its script then asks for: to look
    at the page takes no item from anybody.
    """
    visitor = admit(request)
    engine, person_id = site_of(request).engine, visitor.person.id
    wanted = request.query_params.get("assignment")
    if wanted is None:
        kind = work.peek_kind(engine, person_id)
    else:
        if not (wanted.isascii() and wanted.isdigit()) or len(wanted) > 10 or int(wanted) > LARGEST:
            raise HTTPException(404, "There is no such task.")
        kind = work.task_of(engine, person_id, int(wanted), now=time.time()).kind
    with reading(engine) as connection:
        project = read_project(connection)
    desk = project.model_dump(mode="json", include=set(DESK_SETTINGS))
    desk["guidelines"] = (
        hashlib.sha256(project.guidelines.encode()).hexdigest()[:12] if project.guidelines.strip() else ""
    )
    return _render(request, visitor, "compare.html.j2" if kind == "compare" else "edit.html.j2", {"desk": desk})


def _mine(visit: Visit) -> Context:
    person_id, now = visit.visitor.person.id, time.time()
    before = whole_number("before", visit.request.query_params.get("before"))
    history = work.history(visit.engine, person_id, before=before, limit=work.HISTORY_PAGE + 1)
    return {
        "drafts": [] if before is not None else work.drafts(visit.engine, person_id, now=now),
        "history": history[: work.HISTORY_PAGE],
        "more": len(history) > work.HISTORY_PAGE,
        "before": before,
    }


def _dashboard(visit: Visit) -> Context:
    from redpencil.web.dashboard import preference_counts, progress

    with reading(visit.engine) as connection:
        preferences = preference_counts(connection) if visit.visitor.person.role in ADMINS else ()
        return {"progress": progress(connection), "preferences": preferences}


def _disputes(visit: Visit) -> Context:
    from redpencil.web.review import count_disputes, disputes, settled_disputes

    with reading(visit.engine) as connection:
        return {
            "disputes": disputes(connection),
            "settled": settled_disputes(connection),
            "waiting": count_disputes(connection, settled=False),
        }


def _dispute(visit: Visit) -> Context:
    from redpencil.web.review import dispute

    item_id: int = visit.request.path_params["id"]
    if item_id > LARGEST:
        raise HTTPException(404, "There is no such item.")
    with reading(visit.engine) as connection:
        return {"dispute": dispute(connection, item_id, names=visit.visitor.person.administers)}


def _items(visit: Visit) -> Context:
    asked = asked_items(visit.request.query_params)
    with reading(visit.engine) as connection:
        found, people = list_items(connection, asked), list_people(connection)
    return {"asked": asked, "found": found, "people": people, "page_size": PAGE}


def _people(visit: Visit) -> Context:
    with reading(visit.engine) as connection:
        return {"people": list_people(connection)}


def _project(visit: Visit) -> Context:
    with reading(visit.engine) as connection:
        return {"events": list_events(connection)}


def _signed_out(request: Request) -> Response:
    visitor = find_visitor(request)
    if visitor is not None:
        return RedirectResponse("/", 303)
    return message_page(
        request,
        200,
        "You are not signed in.",
        "Open your invite link. If you do not have it any more, ask an admin of the project for a new one.",
    )


def _join_page(request: Request) -> Response:
    """A button. Looking at the link does nothing and tells nothing, so previews and scanners of mail cannot use it."""
    content = _environment().get_template("join.html.j2").render(**_common(request, None, None))
    return HTMLResponse(content)


def _join(request: Request) -> Response:
    check_origin(request)
    site, now = site_of(request), time.time()
    try:
        person = join(site.engine, site.secret, request.path_params["token"], address_of(request), now)
    except TooManyAttemptsError as error:
        wait = f"{error.wait_s:.0f}"
        return message_page(
            request,
            429,
            "This link opens nothing, and too many such were tried from here.",
            "Ask an admin of the project for your link.",
            headers={"Retry-After": wait},
        )
    if person is None:
        return message_page(
            request, 403, "This link opens nothing.", "It may have been renewed. Ask an admin of the project for yours."
        )
    return _sign_in(request, person, now)


def _sign_in(request: Request, person: Person, now: float) -> Response:
    with writing(site_of(request).engine) as connection:
        record_event(connection, "joined", at=now, person_id=person.id)
    response = RedirectResponse("/", 303)
    set_session(request, response, new_session(person, now))
    return response


async def _sign_out(request: Request) -> Response:
    content = await limited(request, FORM_LIMIT).body()
    given = parse_qs(content.decode("utf-8", "replace")).get("csrf", [None])[0]
    return await run_in_threadpool(_leave, request, given or request.headers.get("x-csrf-token"))


def _leave(request: Request, given: str | None) -> Response:
    visitor = admit(request)
    check_origin(request)
    check_token(request, visitor, given)
    response = signed_out_redirect()
    end_session(request, response)
    return response


PAGES: tuple[Route, ...] = (
    Route("/", _start, name="start"),
    Route("/work", _work_page, name="work"),
    Route("/join/{token}", _join_page, name="join"),
    Route("/join/{token}", _join, methods=["POST"], name="joining"),
    Route("/signed-out", _signed_out, name="signed-out"),
    Route("/sign-out", _sign_out, methods=["POST"], name="sign-out"),
    Route("/guidelines", _page("guidelines.html.j2", lambda _: {}), name="guidelines"),
    Route("/mine", _page("mine.html.j2", _mine), name="mine"),
    Route("/dashboard", _page("dashboard.html.j2", _dashboard, REVIEWERS), name="dashboard"),
    Route("/disputes", _page("disputes.html.j2", _disputes, REVIEWERS), name="disputes"),
    Route("/disputes/{id:number}", _page("dispute.html.j2", _dispute, REVIEWERS), name="dispute"),
    Route("/items", _page("items.html.j2", _items, REVIEWERS), name="items"),
    Route("/people", _page("people.html.j2", _people, ADMINS), name="people"),
    Route("/project", _page("project.html.j2", _project, ADMINS), name="project"),
)
