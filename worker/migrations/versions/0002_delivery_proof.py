"""Destinations that rest, and storage commitment."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add what a destination has taken, whether it rests, and what it was asked to commit to."""
    op.add_column("delivery", sa.Column("stored", sa.JSON))
    op.add_column(
        "delivery", sa.Column("asks_commitment", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "destination",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("resting_until", _TIME),
        sa.Column("message", sa.Text),
        sa.Column("updated_at", _TIME, nullable=False),
    )
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.String(64), primary_key=True),
        sa.Column(
            "sop_instance_uid",
            sa.String(64),
            sa.ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("destination", sa.String(300), nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
    )
    op.create_index("ix_commitment_sop_instance_uid", "commitment", ["sop_instance_uid"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("commitment")
    op.drop_table("destination")
    op.drop_column("delivery", "asks_commitment")
    op.drop_column("delivery", "stored")
