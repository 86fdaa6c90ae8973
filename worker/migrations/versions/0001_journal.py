"""The journal: entries, deliveries, events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "entry",
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("calling_ae_title", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.JSON),
        sa.Column("algorithm_digest", sa.String(64)),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("rung_at", _TIME),
        sa.Column("purged_at", _TIME),
    )
    op.create_index("ix_entry_study_instance_uid", "entry", ["study_instance_uid"])
    op.create_index("ix_entry_status_due_at", "entry", ["status", "due_at"])
    op.create_table(
        "delivery",
        sa.Column(
            "sop_instance_uid",
            sa.String(64),
            sa.ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("destination", sa.String(300), primary_key=True),
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("rung_at", _TIME),
    )
    op.create_index("ix_delivery_status_due_at", "delivery", ["status", "due_at"])
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            "sop_instance_uid",
            sa.String(64),
            sa.ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("what", sa.Text, nullable=False),
    )
    op.create_index("ix_event_sop_instance_uid", "event", ["sop_instance_uid"])


def downgrade() -> None:
    """Drop the three tables."""
    for table in ("event", "delivery", "entry"):
        op.drop_table(table)
