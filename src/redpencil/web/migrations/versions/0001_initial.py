"""The tables of the first version."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    """Make every table; those that others refer to come first."""
    _item()
    _login_attempt()
    _person()
    _setting()
    _adjudication()
    _assignment()
    _event()
    _submission()


def _item() -> None:
    op.create_table(
        "item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False, server_default=""),
        sa.Column("response", sa.Text(), nullable=False),
        sa.Column("second", sa.Text()),
        sa.Column("model", sa.Text(), nullable=False, server_default=""),
        sa.Column("second_model", sa.Text()),
        sa.Column("swapped", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("suggestion", sa.Text()),
        sa.Column("known_answer", JSON),
        sa.Column("meta", JSON, nullable=False),
        sa.Column("added", sa.Float(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_item"),
        sa.UniqueConstraint("kind", "external_id", name="uq_item_kind_external_id"),
        sa.CheckConstraint("kind IN ('edit', 'compare')", name=op.f("ck_item_kind")),
    )
    op.create_index("ix_item_done_position", "item", ["done", "position"])
    known = sa.text("known_answer IS NOT NULL")
    op.create_index("ix_item_known", "item", ["position"], sqlite_where=known, postgresql_where=known)


def _login_attempt() -> None:
    op.create_table(
        "login_attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("address_hash", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("ok", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_login_attempt"),
    )
    op.create_index("ix_login_attempt_address_hash_at", "login_attempt", ["address_hash", "at"])
    op.create_index("ix_login_attempt_at", "login_attempt", ["at"])


def _person() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("invite_hash", sa.Text()),
        sa.Column("session_epoch", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("revoked", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.UniqueConstraint("invite_hash", name="uq_person_invite_hash"),
        sa.UniqueConstraint("name", name="uq_person_name"),
        sa.CheckConstraint("role IN ('editor', 'reviewer', 'admin')", name=op.f("ck_person_role")),
    )


def _setting() -> None:
    op.create_table(
        "setting",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", JSON),
        sa.PrimaryKeyConstraint("key", name="pk_setting"),
    )


def _adjudication() -> None:
    op.create_table(
        "adjudication",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("edited", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("merged_from", JSON, nullable=False),
        sa.Column("decided", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_adjudication"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_adjudication_item_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_adjudication_person_id"),
        sa.UniqueConstraint("item_id", name="uq_adjudication_item_id"),
    )


def _assignment() -> None:
    op.create_table(
        "assignment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("draft", sa.Text(), nullable=False, server_default=""),
        sa.Column("draft_saved", sa.Float()),
        sa.Column("opened", sa.Float(), nullable=False),
        sa.Column("active_s", sa.Float(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_assignment"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_assignment_item_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_assignment_person_id"),
        sa.UniqueConstraint("item_id", "person_id", name="uq_assignment_item_id_person_id"),
        sa.CheckConstraint("state IN ('open', 'done', 'skipped', 'released')", name=op.f("ck_assignment_state")),
    )
    op.create_index("ix_assignment_person_state", "assignment", ["person_id", "state"])


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("person_id", sa.Integer()),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Integer()),
        sa.Column("detail", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_event_person_id"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_event_item_id"),
    )
    op.create_index("ix_event_at", "event", ["at"])


def _submission() -> None:
    op.create_table(
        "submission",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("assignment_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("person_id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("edited", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("kept", sa.Float(), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("submitted", sa.Float(), nullable=False),
        sa.Column("undone", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_submission"),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignment.id"], name="fk_submission_assignment_id"),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_submission_item_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_submission_person_id"),
        sa.CheckConstraint(
            "outcome IN ('edited', 'no_edit_needed', 'cannot_be_fixed', 'skipped', 'first', 'second', 'tie')",
            name=op.f("ck_submission_outcome"),
        ),
    )
    op.create_index(
        "ix_submission_current",
        "submission",
        ["assignment_id"],
        unique=True,
        sqlite_where=sa.text("undone IS NULL"),
        postgresql_where=sa.text("undone IS NULL"),
    )
    op.create_index("ix_submission_item_id", "submission", ["item_id"])
    op.create_index("ix_submission_person_id_submitted", "submission", ["person_id", "submitted"])
