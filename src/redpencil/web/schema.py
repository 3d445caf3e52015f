"""The tables of one project's database. Times are seconds since 1970 in UTC; offsets in texts count characters."""

from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION = "0003"
"""The newest migration, which leads to these tables."""

_JSON = JSON(none_as_null=True)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _where(condition: str) -> dict[str, Any]:
    """The options of an index on the rows that meet a condition."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


setting = Table("setting", metadata, Column("key", Text, primary_key=True), Column("value", _JSON))
"""A key-value store with the project's settings (key `project`), the server's secret and so on; values are JSON. The
key `draws` holds the secret that the draws of gold items depend on, so that people cannot predict them."""

person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("invite_hash", Text, unique=True),
    Column("session_epoch", Integer, nullable=False, server_default="0"),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    CheckConstraint("role IN ('editor', 'reviewer', 'admin')", name="role"),
)
"""People with access; `invite_hash` is the SHA-256 of the invite's token."""

item = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("external_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("context", Text, nullable=False, server_default=""),
    Column("response", Text, nullable=False),
    Column("second", Text),
    Column("model", Text, nullable=False, server_default=""),
    Column("second_model", Text),
    Column("swapped", Integer, nullable=False, server_default="0"),
    Column("suggestion", Text),
    Column("known_answer", _JSON),
    Column("meta", _JSON, nullable=False),
    Column("added", Float, nullable=False),
    Column("done", Integer, nullable=False, server_default="0"),
    UniqueConstraint("kind", "external_id"),
    CheckConstraint("kind IN ('edit', 'compare')", name="kind"),
)
"""Responses to edit and pairs to compare.

`prompt` is the full prompt of the record, `context` the part of it that pages fold. In a comparison `response` is
shown as A and `second` as B; `swapped` is 1 if A comes from the second file. `known_answer` of a gold item is
{"outcome", "edited"}, otherwise null. `done` counts the assignments of the item in the state `done`.
"""
Index("ix_item_done_position", item.c.done, item.c.position)
Index("ix_item_known", item.c.position, **_where("known_answer IS NOT NULL"))

asker = Table(
    "asker",
    metadata,
    Column("item_id", ForeignKey("item.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("withdrawn", Float),
)
"""The stages of runs that put an item in to have it edited, by their folders; `withdrawn` if they need it no more."""
Index("ix_asker_name", asker.c.name)

assignment = Table(
    "assignment",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("draft", Text, nullable=False, server_default=""),
    Column("draft_saved", Float),
    Column("opened", Float, nullable=False),
    Column("active_s", Float, nullable=False, server_default="0"),
    Column("draft_outcome", Text),
    Column("draft_reason", Text, nullable=False, server_default=""),
    Column("draft_tags", _JSON, nullable=False, server_default="[]"),
    UniqueConstraint("item_id", "person_id"),
    CheckConstraint("state IN ('open', 'done', 'skipped', 'released')", name="state"),
)
"""One person's work on one item.

`skipped` leaves the item to others, and so does an `open` assignment whose lease has run out. If `draft_saved` is null
the person begins with the response instead of `draft`; `draft_outcome`, `draft_reason` and `draft_tags` are the other
choices so far. `version` grows with every draft, submission, undo and release.
"""
Index("ix_assignment_person_state", assignment.c.person_id, assignment.c.state)

submission = Table(
    "submission",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("assignment_id", ForeignKey("assignment.id"), nullable=False),
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("edited", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("tags", _JSON, nullable=False),
    Column("kept", Float, nullable=False),
    Column("distance", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("submitted", Float, nullable=False),
    Column("undone", Float),
    CheckConstraint(
        "outcome IN ('edited', 'no_edit_needed', 'cannot_be_fixed', 'skipped', 'first', 'second', 'tie')",
        name="outcome",
    ),
)
"""Submissions; those with a null `undone` are current, at most one for each assignment.

`edited` is set only for the outcome `edited`. `first` prefers A of a comparison, `second` B, as they were shown.
`tags` is a list of {"start", "end", "tag"}, offsets in the original response; an insertion has an empty span there.
`kept` is the share of the original's words that were kept, `distance` the characters struck out and written in.
`version` is the version that the page sent.
"""
Index("ix_submission_current", submission.c.assignment_id, unique=True, **_where("undone IS NULL"))
Index("ix_submission_item_id", submission.c.item_id)
Index("ix_submission_person_id_submitted", submission.c.person_id, submission.c.submitted)

adjudication = Table(
    "adjudication",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", ForeignKey("item.id"), nullable=False, unique=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("outcome", Text, nullable=False),
    Column("edited", Text),
    Column("reason", Text, nullable=False, server_default=""),
    Column("merged_from", _JSON, nullable=False),
    Column("decided", Float, nullable=False),
    Column("version", Integer, nullable=False),
)
"""Decisions of reviewers on items where editors differ; an export has them in place of the submissions."""

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("person_id", ForeignKey("person.id")),
    Column("action", Text, nullable=False),
    Column("item_id", ForeignKey("item.id")),
    Column("detail", _JSON, nullable=False),
)
"""The audit log; rows are never changed or deleted."""
Index("ix_event_at", event.c.at)

login_attempt = Table(
    "login_attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address_hash", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("ok", Integer, nullable=False),
)
"""Attempts to join, for the rate limit; `ok` is 1 or 0."""
Index("ix_login_attempt_at", login_attempt.c.at)
Index("ix_login_attempt_address_hash_at", login_attempt.c.address_hash, login_attempt.c.at)
