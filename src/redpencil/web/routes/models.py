"""Types of requests and responses: parsing of bodies, checks of parameters, descriptions of errors."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, Literal, Self

import pydantic_core
from fastapi import HTTPException, Path
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from redpencil.text import parse_json, unstorable
from redpencil.web.auth import LONGEST_NAME, Guard, Role
from redpencil.web.project import (
    LONGEST_REASON,
    LONGEST_TEXT,
    MOST_TAGS,
    Choice,
    Decision,
    EditorOutcome,
    Outcome,
    ProjectConfig,
)
from redpencil.web.security import BODY_LIMIT, limited

LARGEST = 2**31 - 1
"""The largest integer that both databases store."""
LONGEST_LOOK = 200_000
"""The most characters of a text to compare or preview; a longer one would block the other users of the process."""
_LAST_PAGE = 1_000_000
NOT_FOUND: Final = "not_found"
"""The type of the error for an id that cannot exist."""


class JsonRoute(APIRoute):
    """A route whose body is JSON, read only from a person who is signed in and within the limits of size and time.

    FastAPI reads a body before it calls the dependencies. Those check the person again, who may have been revoked while
    the body arrived.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_body(request: Request) -> Response:
            await run_in_threadpool(_SIGNED_IN, request)
            # `curl -d` and others call JSON a form, and FastAPI would not parse it then.
            headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
            scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
            body = _JsonRequest(scope, limited(request, BODY_LIMIT).receive)
            if not await body.body():
                raise HTTPException(400, "The body is not valid JSON: it is empty.")
            return await handle(body)

        return handle_body


_SIGNED_IN: Final = Guard()


class _JsonRequest(Request):
    async def json(self) -> Any:
        """Parse the body; unlike `json.loads` this refuses half surrogate pairs, and keys that an object has twice."""
        try:
            content = pydantic_core.from_json(await self.body())
            parse_json(await self.body())
            return content
        except ValueError as error:
            raise HTTPException(400, f"The body is not valid JSON: {error}.") from None


def _storable(text: str) -> str:
    problem = unstorable(text)
    if problem is not None:
        raise ValueError(f"{problem} cannot be stored")
    return text


def _is_number(value: Any) -> bool:
    """Return whether a text is a number that fits the database. Pydantic takes `1_000`, ` 7` and `7.0` too."""
    if not isinstance(value, str):
        return True
    return value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= LARGEST


def _whole_number(value: Any) -> Any:
    if not _is_number(value):
        raise ValueError("is not a whole number")
    return value


def _possible_id(value: Any) -> Any:
    if not _is_number(value):
        raise PydanticCustomError(NOT_FOUND, "There is nothing here.")
    return value


def _blank_as_none(value: Any) -> Any:
    return None if value == "" else value


def _searchable(text: str) -> str:
    if problem := unstorable(text):
        raise ValueError(f"holds {problem}")
    return text


Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_storable)]
Look = Annotated[str, Field(max_length=LONGEST_LOOK), AfterValidator(_storable)]
Reason = Annotated[str, Field(max_length=LONGEST_REASON), AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_storable)]
Number = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds = Annotated[float, Field(ge=0, le=1e8)]
WholeNumber = Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(_whole_number)]
"""A number in a query."""
Id = Annotated[int, Field(ge=0, le=LARGEST), BeforeValidator(_possible_id)]
"""An id in a path or a query; one that cannot exist is answered like one that does not, with 404."""
PathId = Annotated[Id, Path()]
_Filter = Annotated[str, AfterValidator(_searchable)]


class ItemQuery(BaseModel):
    """The arguments of `redpencil.web.items.list_items` in a query; a field that is left empty does not filter."""

    person: Annotated[WholeNumber | None, BeforeValidator(_blank_as_none)] = None
    outcome: Annotated[_Filter | None, BeforeValidator(_blank_as_none)] = None
    tag: Annotated[_Filter | None, BeforeValidator(_blank_as_none)] = None
    id: Annotated[_Filter | None, BeforeValidator(_blank_as_none)] = None
    page: Annotated[
        WholeNumber,
        BeforeValidator(lambda value: 1 if value == "" else value),
        AfterValidator(lambda page: min(max(page, 1), _LAST_PAGE)),
    ] = 1


class Body(BaseModel):
    """The base of request bodies; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TagBody(Body):
    """A tag on a span of the original response, in UTF-16 code units; an insertion has an empty span."""

    start: Number
    end: Number
    tag: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_storable)]


Tags = Annotated[list[TagBody], Field(max_length=MOST_TAGS)]


class DraftBody(Body):
    """A draft to save as a whole: a field that is left out is stored as empty. `outcome` is null until one is chosen; a
    comparison has its preference there.
    """

    text: Text
    version: Number
    active_s: Seconds = 0.0
    outcome: Outcome | None = None
    reason: Reason = ""
    tags: Tags = Field(default_factory=list)


class SubmitBody(Body):
    """A submission: an `outcome` for an edit, a `preference` for a comparison (which may also be skipped)."""

    version: Number
    outcome: EditorOutcome | None = None
    preference: Choice | None = None
    text: Text | None = None
    reason: Reason = ""
    tags: Tags = Field(default_factory=list)
    active_s: Seconds | None = None

    @model_validator(mode="after")
    def _one_decision(self) -> Self:
        if (self.outcome is None) == (self.preference is None):
            raise ValueError("give either an outcome or a preference")
        return self


class DiffBody(Body):
    """Two texts to compare."""

    original: Look
    edited: Look


class PreviewBody(Body):
    """Markdown to render as a page would."""

    text: Look


class DecisionBody(Body):
    """A reviewer's decision about a response on which editors differ."""

    version: Number
    outcome: Decision
    text: Text | None = None
    reason: Reason = ""
    merged_from: Annotated[list[Number], Field(max_length=1_000)] = Field(default_factory=list)


class PersonBody(Body):
    """A person to invite."""

    name: Name
    role: Role = Role.EDITOR


class PersonChangeBody(Body):
    """A new name or role; null leaves it as it is."""

    name: Name | None = None
    role: Role | None = None


class ProjectBody(ProjectConfig):
    """New settings, and the `version` of the settings that they were made from; null replaces any version."""

    version: str | None = None


class ProjectAnswer(ProjectConfig):
    """The settings and their version."""

    version: str


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    field: str | None = None
    hint: str | None = None


class StaleProblem(Problem):
    """Why a request came too late; `text` and `version` are those on the server."""

    text: str
    version: int
    reason: str


class BlockAnswer(BaseModel):
    """A range of both texts, in UTF-16 code units, end excluded."""

    kind: Literal["equal", "replace", "delete", "insert"]
    original: tuple[int, int]
    edited: tuple[int, int]


class DiffAnswer(BaseModel):
    """The difference of two texts: its blocks, the share of words kept, the characters deleted and inserted."""

    blocks: list[BlockAnswer]
    kept: float
    distance: int


class SubmittedAnswer(DiffAnswer):
    """A submission that is stored in the database, with the server's own diff."""

    submission_id: int


class PreviewAnswer(BaseModel):
    """The Markdown as HTML, without scripts and without anything that loads a file."""

    html: str


class MeAnswer(BaseModel):
    """The person who is signed in; `csrf` goes into the header X-CSRF-Token of every request except GET."""

    id: int
    name: str
    role: Role
    csrf: str


class PersonAnswer(BaseModel):
    """A person who works in the project."""

    id: int
    name: str
    role: Role
    created: float
    revoked: float | None


class InviteAnswer(BaseModel):
    """An invite link; the server shows it only this once."""

    person: PersonAnswer
    link: str


_MEANINGS: Final = {
    400: "The body is not JSON",
    401: "Nobody is signed in",
    403: "Not allowed, or without the CSRF token",
    404: "There is no such thing",
    409: "Another person or tab was faster; nothing was overwritten",
    413: "Too large",
    422: "The content cannot be accepted",
    429: "This person asks for too much at once; try again later",
    503: "Busy; try again",
}
Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int, problem: type[Problem] = Problem) -> Responses:
    """The entries of the OpenAPI document for requests that end with one of the statuses."""
    return {status: {"model": problem, "description": _MEANINGS[status]} for status in statuses}


ALWAYS: Final = refusals(401, 403, 422, 503)
"""Responses that any operation may answer with."""
OF_BODIES: Final = refusals(400, 413)
STALE: Final = refusals(409, problem=StaleProblem)
