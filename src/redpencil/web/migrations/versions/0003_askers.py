"""The stages of runs that asked for an item's edit, so that what nothing waits for any more can be withdrawn."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table; of the items that are there nobody knows who asked, and they stay as they are."""
    op.create_table(
        "asker",
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("withdrawn", sa.Float()),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name="fk_asker_item_id"),
        sa.PrimaryKeyConstraint("item_id", "name", name="pk_asker"),
    )
    op.create_index("ix_asker_name", "asker", ["name"])
