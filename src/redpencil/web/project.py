"""The settings of a project: guidelines, limits, tags, the number of editors of an item."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args

import yaml
from pydantic import Field, field_validator, model_validator
from sqlalchemy import Connection, exists, func, select

from redpencil.errors import RedpencilError
from redpencil.sections import Section, load_yaml, parse_section
from redpencil.text import unstorable
from redpencil.web.database import read_value, record_event, store_value, store_value_once
from redpencil.web.errors import OutdatedError
from redpencil.web.schema import adjudication, asker, item, setting, submission

Decision = Literal["edited", "no_edit_needed", "cannot_be_fixed"]
"""Outcomes for a response that editors and reviewers can choose."""
EditorOutcome = Literal[Decision, "skipped"]
Choice = Literal["first", "second", "tie"]
"""Outcomes for a comparison: A, B, or neither."""
Outcome = Literal[EditorOutcome, Choice]

DECISIONS: Final[tuple[str, ...]] = get_args(Decision)
OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "edit": get_args(EditorOutcome),
    "compare": (*get_args(Choice), "skipped"),
}
"""Outcomes that can be submitted, by the kind of the item."""
OUTCOME_NAMES: Final[Mapping[str, str]] = {
    "edited": "Edited",
    "no_edit_needed": "No edit needed",
    "cannot_be_fixed": "Cannot be fixed",
    "skipped": "Skipped",
    "first": "A is better",
    "second": "B is better",
    "tie": "Tie",
}
"""Labels of the outcomes on pages."""
LONGEST_TEXT: Final = 2_000_000
"""Characters of a text that a person may send."""
LONGEST_REASON: Final = 10_000
MOST_TAGS: Final = 1_000

CURRENT: Final = submission.c.undone.is_(None) & (submission.c.outcome != "skipped")
"""Submissions that judge their item: not undone and not skipped."""
DECIDED: Final = exists().where(adjudication.c.item_id == item.c.id).correlate(item)
"""Items that a reviewer has settled; they need no more editors."""
_ASKED: Final = exists().where(asker.c.item_id == item.c.id)
WITHDRAWN: Final = _ASKED.correlate(item) & ~_ASKED.where(asker.c.withdrawn.is_(None)).correlate(item)
"""Items that runs put in and none of them needs any more; nobody is given them, and what was handed in stays."""
IS_GOLD: Final = item.c.known_answer.is_not(None)
_EDIT: Final = func.coalesce(submission.c.edited, "")
_JUDGED_DIFFERENTLY: Final = (
    select(submission.c.item_id)
    .where(CURRENT)
    .group_by(submission.c.item_id)
    .having((func.count(submission.c.outcome.distinct()) > 1) | (func.count(_EDIT.distinct()) > 1))
)
DISPUTED: Final = (item.c.kind == "edit") & ~IS_GOLD & item.c.id.in_(_JUDGED_DIFFERENTLY)
"""Responses, but not gold items, that at least two people have judged differently, decided or not."""

DEFAULT_TAGS = ("wrong fact", "irrelevant", "redundant", "rude", "unclear", "unsafe")
DEFAULT_TITLE = "Edits"
_KEY = "project"


class ProjectConfig(Section):
    """The settings of one project; a change counts from then on, also while people work."""

    title: str = Field(DEFAULT_TITLE, min_length=1, max_length=200, description="What the pages call the project.")
    guidelines: str = Field("", max_length=200_000, description="What editors should do, in Markdown.")
    kept_soft: float = Field(0.5, ge=0, le=1, description="The meter warns below this share of kept words.")
    kept_hard: float = Field(
        0.0, ge=0, le=1, description="An edit below this share of kept words is refused; 0 refuses none."
    )
    distance_soft: int | None = Field(None, ge=0, description="The meter warns above so many changed characters.")
    distance_hard: int | None = Field(
        None, ge=0, description="An edit with more changed characters is refused; none by default."
    )
    tags: tuple[str, ...] = Field(DEFAULT_TAGS, max_length=50, description="Names that a changed span may be given.")
    editors_per_item: int = Field(1, ge=1, le=100, description="Editors that work on an item, blind to each other.")
    lease_s: float = Field(
        900, ge=10, le=7 * 86400, description="Seconds without a saved draft until an item goes to another editor."
    )
    known_answer_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of gold items (items with a known answer, which show how well people do) among a person's "
        "items, drawn at random: 0.05 is one in twenty. With 0, the default, no gold item is shown.",
    )
    suggestions: bool = Field(True, description="Whether editors see an LLM's suggestion where there is one.")
    reason_required_for: tuple[Outcome, ...] = Field(
        ("cannot_be_fixed",), description="Outcomes that are taken only with a reason."
    )

    @property
    def fingerprint(self) -> str:
        """A hash of the settings, so that a person cannot overwrite settings that they have not seen."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @field_validator("tags", mode="after")
    @classmethod
    def _tags_are_names(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        named = tuple(tag.strip() for tag in tags)
        if not all(named) or len(set(named)) < len(named) or max(map(len, named), default=0) > 100:
            raise ValueError("tags are different names of up to 100 characters")
        return named

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kept_soft < self.kept_hard:
            raise ValueError("kept_soft is below kept_hard, so no editor would be warned before the limit")
        if None not in (self.distance_soft, self.distance_hard) and self.distance_soft > self.distance_hard:  # type: ignore[operator]
            raise ValueError("distance_soft is above distance_hard, so no editor would be warned before the limit")
        for text in (self.title, self.guidelines, *self.tags):
            if problem := unstorable(text):
                raise ValueError(f"{problem} cannot be stored")
        return self


def parse_project(data: Mapping[str, Any], *, file: str | Path | None = None) -> ProjectConfig:
    """Validate settings.

    Raises:
        RedpencilError: naming the key, and the nearest known one if the key is unknown.
    """
    try:
        return parse_section(data, ProjectConfig, file=file)
    except RedpencilError as error:
        unknown = error.hint is not None and error.hint.startswith("did you mean")
        raise RedpencilError(
            error.problem,
            file=error.file,
            field=error.field,
            hint=error.hint if unknown else "correct the value in the project's settings",
        ) from None


def load_project_file(path: str | Path) -> ProjectConfig:
    """Read a project's settings from YAML; settings that it leaves out have their defaults.

    Raises:
        RedpencilError: if the file cannot be read or a setting is invalid.
    """
    try:
        data = load_yaml(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="give a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RedpencilError(f"not valid YAML: {error}", file=path, hint="correct the YAML") from None
    if data is None:
        return ProjectConfig()
    if not isinstance(data, dict):
        raise RedpencilError(
            "a project is a mapping of keys to values", file=path, hint="write lines such as title: My project"
        )
    return parse_project(data, file=path)


def read_project(connection: Connection) -> ProjectConfig:
    """Read the project's settings; the defaults if none were stored."""
    value = read_value(connection, _KEY)
    return ProjectConfig() if value is None else parse_project(value)


def write_project(connection: Connection, config: ProjectConfig) -> None:
    """Replace the project's settings."""
    store_value(connection, _KEY, config.model_dump(mode="json"))


def call_untitled(connection: Connection, title: str) -> None:
    """Give a project a title if it still has the default one."""
    config = _locked_project(connection)
    if config.title == DEFAULT_TITLE:
        write_project(connection, config.model_copy(update={"title": title}))


def _locked_project(connection: Connection) -> ProjectConfig:
    """Read the settings under a lock; a transaction that changes them at the same time is awaited."""
    store_value_once(connection, _KEY, ProjectConfig().model_dump(mode="json"))
    connection.execute(select(setting.c.key).where(setting.c.key == _KEY).with_for_update())
    return read_project(connection)  # a separate statement sees commits made while this one waited for the lock


def change_project(
    connection: Connection, config: ProjectConfig, *, version: str | None = None, by: int | None = None, now: float
) -> list[str]:
    """Replace the settings, record the change in the log, and return the names of the changed settings.

    Args:
        connection: a writing one; simultaneous changes wait for it.
        version: the version of the settings that `config` was made from; None replaces any version.
        by: id of the person who makes the change.

    Raises:
        OutdatedError: if the settings were changed in the meantime.
    """
    before = _locked_project(connection)
    if version is not None and version != before.fingerprint:
        raise OutdatedError(
            "the settings have changed since you opened them", hint="reload the page and make your change again"
        )
    changed = [name for name in type(config).model_fields if getattr(config, name) != getattr(before, name)]
    if changed:
        write_project(connection, config)
        record_event(connection, "changed project", at=now, person_id=by, detail={"fields": changed})
    return changed
