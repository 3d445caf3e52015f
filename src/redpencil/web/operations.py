"""An operation of the API: one row of the table from which the routes, the checks and the OpenAPI document are made."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pydantic_core
from pydantic import BaseModel, ValidationError
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from redpencil.web.auth import (
    EVERYBODY,
    DeniedError,
    Person,
    Role,
    Site,
    Visitor,
    admit,
    check_origin,
    check_token,
    site_of,
)
from redpencil.web.bodies import LARGEST
from redpencil.web.convertors import NUMBER
from redpencil.web.security import BODY_LIMIT, limited


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in, with its body checked."""

    site: Site
    visitor: Visitor
    request: Request
    body: Any
    now: float

    @property
    def engine(self) -> Engine:
        """The database."""
        return self.site.engine

    @property
    def person(self) -> Person:
        """Who asks."""
        return self.visitor.person

    @property
    def id(self) -> int:
        """The number in the path.

        Raises:
            HTTPException: if it is larger than any that there can be.
        """
        found: int = self.request.path_params["id"]
        if found > LARGEST:
            raise HTTPException(404, "There is nothing here.")
        return found

    def number(self, name: str) -> int | None:
        """A whole number that the request may have after the question mark.

        Raises:
            HTTPException: if it is none.
        """
        return whole_number(name, self.request.query_params.get(name))


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Args:
        method: of HTTP.
        path: with `{id:int}` where a number goes.
        perform: does it; runs in a thread. Its result becomes JSON, None becomes 204; an answer is sent as it is.
        summary: one line for the document.
        roles: who may do it.
        body: what the request must hold, as JSON.
        answer: type of the JSON answer; None where there is none.
        errors: statuses, beyond 401 and 403, that the operation may end with.
        upload: the media type of a body that `receive` reads instead.
        receive: reads the body where it is no JSON; what it gives goes to `perform` as the body, or is told to
            `discard` itself.
        query: names and types, `int` or `str`, of what may stand after the question mark.
        download: the media type of an answer that is no JSON.
    """

    method: str
    path: str
    perform: Callable[[Call], Any]
    summary: str
    roles: frozenset[Role] = EVERYBODY
    body: type[BaseModel] | None = None
    answer: Any = None
    errors: tuple[int, ...] = ()
    upload: str | None = None
    receive: Callable[[Request], Any] | None = None
    query: Mapping[str, type] = field(default_factory=dict)
    download: str | None = None

    @property
    def changes(self) -> bool:
        """Whether the request must bring the CSRF token along."""
        return self.method != "GET"


def route_of(operation: Operation) -> Route:
    """The route that checks a request, performs the operation and answers."""

    async def endpoint(request: Request) -> Response:
        visitor = await run_in_threadpool(_let_in, operation, request)
        body = await _body_of(operation, request)
        call = Call(site_of(request), visitor, request, body, time.time())
        return await run_in_threadpool(_answer, operation, call)

    path = operation.path.replace(":int}", f":{NUMBER}}}")
    return Route(path, endpoint, methods=[operation.method], name=f"{operation.method} {operation.path}")


def whole_number(name: str, given: str | None) -> int | None:
    """A number that somebody wrote; None where there is nothing.

    Raises:
        HTTPException: if it is no whole number that the database holds.
    """
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or len(given) > 10 or int(given) > LARGEST:
        raise HTTPException(422, f"{name} is not a whole number.")
    return int(given)


def json_response(content: Any, status: int = 200) -> Response:
    """JSON of dataclasses, models and plain values; a number that is not finite becomes null."""
    body = pydantic_core.to_json(content, inf_nan_mode="null")
    return Response(body, status, media_type="application/json")


def _let_in(operation: Operation, request: Request) -> Visitor:
    visitor = admit(request, operation.roles)
    if operation.changes:
        check_origin(request)
        check_token(request, visitor, request.headers.get("x-csrf-token"))
    return visitor


def _still_let_in(operation: Operation, call: Call) -> Call:
    """The call of somebody who may do it also now that the body is there, which can take a while to come."""
    try:
        return replace(call, visitor=_let_in(operation, call.request))
    except DeniedError:
        if operation.receive is not None:
            call.body.discard()
        raise


async def _body_of(operation: Operation, request: Request) -> Any:
    if operation.receive is not None:
        return await operation.receive(request)
    if operation.body is None:
        return None
    content = await limited(request, BODY_LIMIT).body()
    try:
        return operation.body.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _invalid(first) from None


def _invalid(error: Any) -> HTTPException:
    if error["type"] == "json_invalid":
        return HTTPException(400, f"The body is not valid JSON: {error['ctx']['error']}.")
    field_name = ".".join(str(part) for part in error["loc"])
    return InvalidBody(str(error["msg"]).removeprefix("Value error, "), field_name or None)


class InvalidBody(HTTPException):
    """A body that is JSON, but not what the operation takes."""

    def __init__(self, problem: str, field_name: str | None) -> None:
        super().__init__(422, problem)
        self.field = field_name


def _answer(operation: Operation, call: Call) -> Response:
    if call.body is not None:
        call = _still_let_in(operation, call)
    result = operation.perform(call)
    if isinstance(result, Response):
        return result
    return Response(status_code=204) if result is None else json_response(result)
