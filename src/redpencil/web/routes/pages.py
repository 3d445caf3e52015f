"""The pages. Their content comes with the page; what people do there goes through the operations of the API."""

import contextlib
import hashlib
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import jinja2
import pydantic_core
from fastapi import APIRouter, Query
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

import redpencil
from redpencil.errors import RedpencilError
from redpencil.web import auth, review, work
from redpencil.web.browser_text import render_markdown
from redpencil.web.dashboard import preference_counts, progress
from redpencil.web.database import list_events, reading, record_event, writing
from redpencil.web.items import PAGE, list_items
from redpencil.web.project import OUTCOME_NAMES, ProjectConfig, read_project
from redpencil.web.routes.models import Id, ItemQuery, PathId, WholeNumber
from redpencil.web.security import address_of, limited

TEMPLATES = Path(__file__).parent.parent / "templates"
FORM_LIMIT = 64 * 1024
_LIMITS = ("kept_soft", "kept_hard", "distance_soft", "distance_hard")
EDITOR_SETTINGS = frozenset({*_LIMITS, "tags", "reason_required_for", "suggestions", "lease_s"})
"""The settings that the editors' pages need; editors must not learn how many gold items there are."""

router = APIRouter(include_in_schema=False)
_READ = ["GET", "HEAD"]


def message_page(
    request: Request, status: int, problem: str, hint: str | None, *, headers: Mapping[str, str] | None = None
) -> Response:
    """Render a plain page that says what is wrong and what to do."""
    context = {"status": status, "problem": problem, "hint": hint}
    visitor = None
    if status in (403, 404):
        with contextlib.suppress(SQLAlchemyError, RedpencilError):  # without the database there is no navigation
            visitor = auth.find_visitor(request)
    content = _environment().get_template("message.html.j2").render(**_common(request, visitor, None), **context)
    return HTMLResponse(content, status, headers=headers)


def signed_out_redirect() -> Response:
    """Redirect to the page that says how to sign in."""
    return RedirectResponse("/signed-out", 303)


def _render(request: Request, visitor: auth.Visitor, template: str, **context: Any) -> Response:
    with reading(auth.site_of(request).engine) as connection:
        project = read_project(connection)
    common = _common(request, visitor, project)
    return HTMLResponse(_environment().get_template(template).render(**common, **context))


def _common(request: Request, visitor: auth.Visitor | None, project: ProjectConfig | None) -> dict[str, Any]:
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
    """Convert dataclasses and models to plain values, ready for `tojson`; numbers that are not finite become null."""
    return pydantic_core.from_json(pydantic_core.to_json(content, inf_nan_mode="null"))


def to_duration(seconds: float | None) -> str:
    """Write a length of time as `42 s`, `1 min 47 s`, `12 min` or `3 h 5 min`, and None as a dash."""
    if seconds is None:
        return "\u2013"
    total = round(seconds)
    minutes, rest = divmod(total, 60)
    if total < 60:
        return f"{total} s"
    if total < 600:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (f"{hours} h" * bool(hours), f"{minutes} min" * bool(minutes)) if part)


@router.api_route("/", methods=_READ)
def start(request: Request, visitor: auth.SignedIn, assignment: Id | None = None) -> Response:
    """Show the page that a person most likely wants: editors come to work, reviewers and admins to oversee it."""
    if visitor.person.role in auth.REVIEWERS and assignment is None:
        return RedirectResponse("/dashboard", 303)
    return work_page(request, visitor, assignment)


@router.api_route("/work", methods=_READ, name="work")
def work_page(request: Request, visitor: auth.SignedIn, assignment: Id | None = None) -> Response:
    """Show the page for one task, or else for the next one. The page's script asks for the task: to look at the page
    takes no item from other people.
    """
    engine, person_id = visitor.engine, visitor.person.id
    if assignment is None:
        kind = work.peek_kind(engine, person_id)
    else:
        kind = work.task_of(engine, person_id, assignment, now=time.time()).kind
    with reading(engine) as connection:
        project = read_project(connection)
    desk = project.model_dump(mode="json", include=set(EDITOR_SETTINGS))
    digest = hashlib.sha256(project.guidelines.encode()).hexdigest()[:12]
    desk["guidelines"] = digest if project.guidelines.strip() else ""
    return _render(request, visitor, "compare.html.j2" if kind == "compare" else "edit.html.j2", desk=desk)


@router.api_route("/guidelines", methods=_READ)
def guidelines(request: Request, visitor: auth.SignedIn) -> Response:
    """Show the guidelines."""
    return _render(request, visitor, "guidelines.html.j2")


@router.api_route("/mine", methods=_READ)
def mine(request: Request, visitor: auth.SignedIn, before: WholeNumber | None = None) -> Response:
    """Show the person's drafts and submissions."""
    engine, person_id = visitor.engine, visitor.person.id
    history = work.history(engine, person_id, before=before, limit=work.HISTORY_PAGE + 1)
    return _render(
        request,
        visitor,
        "mine.html.j2",
        drafts=[] if before is not None else work.drafts(engine, person_id, now=time.time()),
        history=history[: work.HISTORY_PAGE],
        more=len(history) > work.HISTORY_PAGE,
        before=before,
    )


@router.api_route("/dashboard", methods=_READ)
def dashboard(request: Request, visitor: auth.Reviewer) -> Response:
    """Show how far the project is."""
    with reading(visitor.engine) as connection:
        preferences = preference_counts(connection) if visitor.person.role in auth.ADMINS else ()
        counts = progress(connection)
    return _render(request, visitor, "dashboard.html.j2", progress=counts, preferences=preferences)


@router.api_route("/disputes", methods=_READ)
def disputes(request: Request, visitor: auth.Reviewer) -> Response:
    """Show the disputes that wait, and those that were settled."""
    with reading(visitor.engine) as connection:
        waiting, settled = review.disputes(connection), review.settled_disputes(connection)
        count = review.count_disputes(connection, settled=False)
    return _render(request, visitor, "disputes.html.j2", disputes=waiting, settled=settled, waiting=count)


@router.api_route("/disputes/{id}", methods=_READ)
def dispute(request: Request, id: PathId, visitor: auth.Reviewer) -> Response:
    """Show one dispute."""
    with reading(visitor.engine) as connection:
        detail = review.dispute(connection, id, names=visitor.person.administers)
    return _render(request, visitor, "dispute.html.j2", dispute=detail)


@router.api_route("/items", methods=_READ)
def items(request: Request, query: Annotated[ItemQuery, Query()], visitor: auth.Reviewer) -> Response:
    """Show a page of items."""
    with reading(visitor.engine) as connection:
        listed, people = list_items(connection, **dict(query)), auth.list_people(connection)
    return _render(request, visitor, "items.html.j2", asked=query, found=listed, people=people, page_size=PAGE)


@router.api_route("/people", methods=_READ)
def people(request: Request, visitor: auth.Admin) -> Response:
    """Show all people."""
    with reading(visitor.engine) as connection:
        everyone = auth.list_people(connection)
    return _render(request, visitor, "people.html.j2", people=everyone)


@router.api_route("/project", methods=_READ)
def project(request: Request, visitor: auth.Admin) -> Response:
    """Show the settings and the audit log."""
    with reading(visitor.engine) as connection:
        events = list_events(connection)
    return _render(request, visitor, "project.html.j2", events=events)


@router.api_route("/signed-out", methods=_READ)
def signed_out(request: Request) -> Response:
    """Say how to sign in."""
    if auth.find_visitor(request) is not None:
        return RedirectResponse("/", 303)
    return message_page(
        request,
        200,
        "You are not signed in.",
        "Open your invite link. If you do not have it any more, ask an admin of the project for a new one.",
    )


@router.api_route("/join/{token}", methods=_READ)
def join_page(request: Request) -> Response:
    """Show a button. The link itself changes and reveals nothing, so that mail scanners and previews cannot use it."""
    return HTMLResponse(_environment().get_template("join.html.j2").render(**_common(request, None, None)))


@router.post("/join/{token}")
def sign_in(request: Request, token: str) -> Response:
    """Sign a person in by their link."""
    auth.check_origin(request)
    site, now = auth.site_of(request), time.time()
    try:
        person = auth.join(site.engine, site.secret, token, address_of(request), now)
    except auth.TooManyAttemptsError as error:
        return message_page(
            request,
            429,
            "This link opens nothing, and too many links that do not exist were tried from here.",
            "Ask an admin of the project for your link.",
            headers={"Retry-After": f"{error.wait_s:.0f}"},
        )
    if person is None:
        return message_page(
            request, 403, "This link opens nothing.", "It may have been renewed. Ask an admin of the project for yours."
        )
    with writing(site.engine) as connection:
        record_event(connection, "joined", at=now, person_id=person.id)
    response = RedirectResponse("/", 303)
    auth.set_session(request, response, auth.new_session(person, now))
    return response


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """Sign a person out on all their devices."""
    content = await limited(request, FORM_LIMIT).body()
    token = parse_qs(content.decode("utf-8", "replace")).get("csrf", [None])[0]
    return await run_in_threadpool(_leave, request, token or request.headers.get("x-csrf-token"))


def _leave(request: Request, token: str | None) -> Response:
    visitor = auth.admit(request)
    auth.check_origin(request)
    auth.check_token(request, visitor, token)
    response = signed_out_redirect()
    auth.end_session(request, response)
    return response
