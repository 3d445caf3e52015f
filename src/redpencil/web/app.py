"""The application: routes, checks and what people are told when something goes wrong."""

import hashlib
import logging
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from redpencil.errors import RedpencilError
from redpencil.web.api import OPERATIONS
from redpencil.web.auth import (
    DeniedError,
    Site,
    admit,
    checked_base_url,
    cookie_name,
    last_address,
    server_secret,
    site_of,
)
from redpencil.web.database import check_file, meaning_of, reading
from redpencil.web.errors import BusyError, Forbidden, NotFound, OutdatedError, Stale, StorageError
from redpencil.web.openapi import openapi_document
from redpencil.web.operations import InvalidBody, route_of
from redpencil.web.pages import PAGES, message_page, signed_out_redirect
from redpencil.web.security import HEADERS, SecurityHeaders

STATIC = Path(__file__).parent / "static"
log = logging.getLogger("redpencil.web")


def create_app(engine: Engine, *, base_url: str | None = None) -> Starlette:
    """The annotation service on one database.

    Args:
        engine: the database, from `open_database`.
        base_url: where people find the service, such as `https://edits.example.org`, where a proxy stands before it.

    Raises:
        RedpencilError: if that is no address that the pages could work at.
    """
    base_url = None if base_url is None else checked_base_url(base_url)
    with reading(engine) as connection:
        address = last_address(connection)
    site = Site(engine, server_secret(engine), base_url, address)
    app = Starlette(
        routes=[
            *(route_of(operation) for operation in OPERATIONS),
            Route("/api/openapi.json", _openapi, name="openapi"),
            Route("/healthz", _healthz, name="healthz"),
            *PAGES,
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static"),
        ],
        middleware=[Middleware(SecurityHeaders)],
        exception_handlers={
            HTTPException: _http_problem,
            DeniedError: _denied,
            RedpencilError: _users_mistake,
            DBAPIError: _database_problem,
            PoolTimeout: _busy,
            Exception: _our_mistake,
        },
    )
    app.state.site = site
    return app


def _openapi(request: Request) -> Response:
    admit(request)
    return JSONResponse(openapi_document(OPERATIONS, cookie=cookie_name(site_of(request).secret)))


def _healthz(request: Request) -> Response:
    engine = site_of(request).engine
    check_file(engine)
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    return JSONResponse({"status": "ok"})


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    field = error.field if isinstance(error, InvalidBody) else None
    problem = error.detail if error.detail.endswith(".") else _in_words(error)
    return _problem(request, error.status_code, problem, field=field, headers=error.headers)


def _in_words(error: HTTPException) -> str:
    return {404: "There is nothing here.", 405: "This address does not take that method."}.get(
        error.status_code, error.detail
    )


def _denied(request: Request, error: Exception) -> Response:
    assert isinstance(error, DeniedError)
    if error.status == 401 and not _is_api(request) and request.method in ("GET", "HEAD"):
        return signed_out_redirect()
    return _problem(request, error.status, str(error), hint=error.hint)


def _users_mistake(request: Request, error: Exception) -> Response:
    assert isinstance(error, RedpencilError)
    if isinstance(error, BusyError):
        return _busy(request, error)
    if isinstance(error, StorageError):
        log.error("%s (%s)", error.problem, error.hint)
    status = {Stale: 409, OutdatedError: 409, Forbidden: 403, NotFound: 404, StorageError: 500}.get(type(error), 422)
    if isinstance(error, Stale) and _is_api(request):
        content = {
            "error": error.problem,
            "field": error.field,
            "hint": error.hint,
            "text": error.text,
            "version": error.version,
            "reason": error.reason,
        }
        return JSONResponse(content, status)
    return _problem(request, status, error.problem, field=error.field, hint=error.hint)


def _database_problem(request: Request, error: Exception) -> Response:
    """That it is busy, or what the server needs; all else is a mistake of ours."""
    assert isinstance(error, DBAPIError)
    meaning = meaning_of(error)
    if meaning is None:
        raise error
    log.warning("the database says: %s", error.orig)
    return _users_mistake(request, meaning)


def _busy(request: Request, error: Exception) -> Response:
    """The database did not answer in time: nothing was done, and the page may ask again."""
    log.warning("the database is busy or gone: %s", error)
    return _problem(request, 503, "The database is busy.", hint="Try again in a moment.", headers={"Retry-After": "2"})


def _our_mistake(request: Request, error: Exception) -> Response:
    """Nobody outside learns more than a number to find the traceback by, which is in the server's log."""
    number = hashlib.sha256(repr(error).encode("utf-8", "replace")).hexdigest()[:8]
    log.error(
        "error %s in %s %s", number, request.method, request.scope["route"].path if "route" in request.scope else ""
    )
    response = _problem(
        request,
        500,
        f"Something went wrong on the server (error {number}).",
        hint="Your text is still in this page. Try again, and tell an admin if it stays.",
    )
    response.headers.update(HEADERS)
    return response


def _problem(
    request: Request,
    status: int,
    problem: str,
    *,
    field: str | None = None,
    hint: str | None = None,
    headers: object = None,
) -> Response:
    extra = dict(headers) if isinstance(headers, dict) else None
    if _is_api(request):
        return JSONResponse({"error": problem, "field": field, "hint": hint}, status, headers=extra)
    return message_page(request, status, problem, hint, headers=extra)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
