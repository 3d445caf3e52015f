"""What requests to the API hold and what they are answered, as types that check themselves and document themselves."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from redpencil.web.auth import LONGEST_NAME, Role
from redpencil.web.project import LONGEST_REASON, MOST_TAGS, Choice, Decision, EditorOutcome, Outcome, ProjectConfig
from redpencil.web.text import unstorable

LARGEST = 2**31 - 1
"""Of the whole numbers that both databases hold."""
LONGEST_TEXT = 2_000_000
LONGEST_LOOK = 200_000
"""Of texts that are only to be looked at: longer ones would keep the other people of this process waiting."""


def _storable(text: str) -> str:
    problem = unstorable(text)
    if problem is not None:
        raise ValueError(f"{problem} cannot be kept")
    return text


Text = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(_storable)]
Look = Annotated[str, Field(max_length=LONGEST_LOOK), AfterValidator(_storable)]
Reason = Annotated[str, Field(max_length=LONGEST_REASON), AfterValidator(_storable)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME), AfterValidator(_storable)]
Number = Annotated[int, Field(ge=0, le=LARGEST)]
Seconds = Annotated[float, Field(ge=0, le=1e8)]


class Body(BaseModel):
    """The base of what requests hold; what is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TagBody(Body):
    """A mark on a span of the original response, in UTF-16 code units; an insertion has an empty span."""

    start: Number
    end: Number
    tag: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_storable)]


Tags = Annotated[list[TagBody], Field(max_length=MOST_TAGS)]


class DraftBody(Body):
    """A draft to be kept, as a whole: what is left out is empty from then on. `outcome` is null until one is chosen;
    a comparison has its preference there.
    """

    text: Text
    version: Number
    active_s: Seconds = 0.0
    outcome: Outcome | None = None
    reason: Reason = ""
    tags: Tags = Field(default_factory=list)


class SubmitBody(Body):
    """What is handed in: an `outcome` for an edit, a `preference` for a comparison (which may also be skipped)."""

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
    """Markdown to be shown as a page would show it."""

    text: Look


class DecisionBody(Body):
    """A reviewer's decision about a response on which editors differ."""

    version: Number
    outcome: Decision
    text: Text | None = None
    reason: Reason = ""
    merged_from: Annotated[list[Number], Field(max_length=1_000)] = Field(default_factory=list)


class PersonBody(Body):
    """Somebody to invite."""

    name: Name
    role: Role = Role.EDITOR


class PersonChangeBody(Body):
    """What is to be another one; null leaves it as it is."""

    name: Name | None = None
    role: Role | None = None


class ProjectBody(ProjectConfig):
    """New settings, and the `version` of those that they were made from; null replaces whatever there is."""

    version: str | None = None


class ProjectAnswer(ProjectConfig):
    """The settings, and what tells them from others."""

    version: str


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    field: str | None = None
    hint: str | None = None


class StaleProblem(Problem):
    """Why a request came too late; `text` and `version` are what the server holds."""

    text: str
    version: int
    reason: str


class BlockAnswer(BaseModel):
    """A stretch of both texts, in UTF-16 code units, end excluded."""

    kind: Literal["equal", "replace", "delete", "insert"]
    original: tuple[int, int]
    edited: tuple[int, int]


class SubmittedAnswer(BaseModel):
    """A submission that is safe in the database."""

    submission_id: int
    kept: float
    distance: int
    blocks: list[BlockAnswer]


class DiffAnswer(BaseModel):
    """How two texts differ."""

    blocks: list[BlockAnswer]
    kept: float
    distance: int


class PreviewAnswer(BaseModel):
    """The Markdown as HTML, without anything that could run or load something."""

    html: str


class MeAnswer(BaseModel):
    """Who is signed in; `csrf` goes into the header X-CSRF-Token of every request that is no GET."""

    id: int
    name: str
    role: Role
    csrf: str


class PersonAnswer(BaseModel):
    """Somebody who works in the project."""

    id: int
    name: str
    role: Role
    created: float
    revoked: float | None


class InviteAnswer(BaseModel):
    """An invite link, which is shown only now."""

    person: PersonAnswer
    link: str


class EventAnswer(BaseModel):
    """A line of the audit log."""

    id: int
    at: float
    person_id: int | None
    person: str | None
    action: str
    item_id: int | None
    detail: dict[str, Any]
