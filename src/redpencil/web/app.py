"""The application: its routes, and the answers to requests that fail."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

import redpencil
from redpencil.errors import RedpencilError
from redpencil.web import auth
from redpencil.web.database import check_file, meaning_of, reading
from redpencil.web.errors import BusyError, Forbidden, NotFound, OutdatedError, Stale, StorageError
from redpencil.web.routes import pages, team, transfers, work
from redpencil.web.routes.models import NOT_FOUND
from redpencil.web.routes.pages import message_page, signed_out_redirect
from redpencil.web.security import Allowance, SecurityHeaders, headers_for

STATIC = Path(__file__).parent / "static"
log = logging.getLogger("redpencil.web")


def create_app(engine: Engine, *, base_url: str | None = None) -> FastAPI:
    """Create the annotation service on one database.

    Args:
        engine: the database, from `open_database`.
        base_url: the address that people use if a proxy stands in front, such as `https://edits.example.org`.

    Raises:
        RedpencilError: if the pages cannot work at that address.
    """
    base_url = None if base_url is None else auth.checked_base_url(base_url)
    with reading(engine) as connection:
        address = auth.last_address(connection)
    app = FastAPI(
        openapi_url=None,  # served by `_openapi`, to people who are signed in
        docs_url=None,  # FastAPI's own pages load scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,  # it leads to where the header `Host` says, and behind a proxy to http
        middleware=[Middleware(SecurityHeaders, base_url=base_url)],
    )
    handlers: dict[type[Exception], Callable[[Request, Exception], Response]] = {
        HTTPException: _http_problem,
        RequestValidationError: _invalid,
        auth.DeniedError: _denied,
        RedpencilError: _users_mistake,
        DBAPIError: _database_problem,
        PoolTimeout: _busy,
        ClientDisconnect: _cut_off,
        Exception: _bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    for router in (work.router, team.router, transfers.router, pages.router):
        app.include_router(router)
    app.add_api_route("/api/openapi.json", _openapi, include_in_schema=False)
    app.add_api_route("/healthz", _healthz, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
    app.state.allowance = Allowance()
    app.state.site = auth.Site(engine, auth.server_secret(engine), base_url, address)
    return app


def openapi_document(app: FastAPI, *, cookie: str) -> dict[str, Any]:
    """Describe the operations of the API in OpenAPI 3.1; `cookie` is the name of the cookie that holds the session."""
    document = get_openapi(title="redpencil annotation service", version=redpencil.__version__, routes=app.routes)
    document["components"]["securitySchemes"] = {
        "session": {"type": "apiKey", "in": "cookie", "name": cookie},
        "csrf": {"type": "apiKey", "in": "header", "name": "X-CSRF-Token"},
    }
    for operations in document["paths"].values():
        for method, operation in operations.items():
            operation["security"] = [{"session": []} if method == "get" else {"session": [], "csrf": []}]
    return document


def _openapi(request: Request, _: auth.SignedIn) -> Response:
    return JSONResponse(openapi_document(request.app, cookie=auth.cookie_of(request)))


def _healthz(request: Request) -> Response:
    engine = auth.site_of(request).engine
    check_file(engine)
    with reading(engine) as connection:
        connection.execute(text("SELECT 1"))
    return JSONResponse({"status": "ok"})


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    own = {404: "There is nothing here.", 405: "This address does not take that method."}
    detail = str(error.detail)  # a sentence if it is one of ours, else a standard phrase such as "Not Found"
    problem = detail if detail.endswith(".") else own.get(error.status_code, detail)
    return _problem(request, error.status_code, problem, headers=error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    """Answer 404 for an id that cannot exist, and 422 for a query or a body that does not fit."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    part, *names = map(str, first["loc"])
    problem = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == NOT_FOUND:
        return _problem(request, 404, problem)
    if part == "query":
        return _problem(request, 422, f"{'.'.join(names)} {problem}.")
    return _problem(request, 422, problem, field=".".join(names) or None)


def _denied(request: Request, error: Exception) -> Response:
    assert isinstance(error, auth.DeniedError)
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
    more = {}
    if isinstance(error, Stale):
        more = {"text": error.text, "version": error.version, "reason": error.reason}
    return _problem(request, status, error.problem, field=error.field, hint=error.hint, more=more)


def _database_problem(request: Request, error: Exception) -> Response:
    """Answer that the database is busy, or what the server needs; any other error is a bug."""
    assert isinstance(error, DBAPIError)
    meaning = meaning_of(error)
    if meaning is None:
        raise error
    log.warning("the database says: %s", error.orig)
    return _users_mistake(request, meaning)


def _busy(request: Request, error: Exception) -> Response:
    """Answer that the database took too long: nothing was done, and the page may ask again."""
    log.warning("the database is busy or gone: %s", error)
    return _problem(request, 503, "The database is busy.", hint="Try again in a moment.", headers={"Retry-After": "2"})


def _cut_off(request: Request, error: Exception) -> Response:
    """Note in one line that a request ended before its body was whole: nothing was done, and nobody reads an answer."""
    del error
    log.warning("a request was cut off: %s %s", request.method, _route_of(request))
    return Response(status_code=400)


def _route_of(request: Request) -> str:
    """The path of the route, without ids and tokens."""
    return request.scope["route"].path if "route" in request.scope else ""


def _bug(request: Request, error: Exception) -> Response:
    """Answer with a number under which the server's log has the traceback, and with nothing else about the bug."""
    number = hashlib.sha256(repr(error).encode("utf-8", "replace")).hexdigest()[:8]
    log.error("error %s in %s %s", number, request.method, _route_of(request))
    response = _problem(
        request,
        500,
        f"Something went wrong on the server (error {number}).",
        hint="Your text is still in this page. Try again, and tell an admin if it stays.",
    )
    response.headers.update(headers_for(request.scope, auth.site_of(request).base_url))
    return response


def _problem(
    request: Request,
    status: int,
    problem: str,
    *,
    field: str | None = None,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    if _is_api(request):
        content = {"error": problem, "field": field, "hint": hint, **(more or {})}
        return JSONResponse(content, status, headers=headers)
    return message_page(request, status, problem, hint, headers=headers)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")
