"""Earlier results of a patient, reports that were made, and readers' assessments of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add them; what was requested of a destination names the report that it was about."""
    op.add_column("commitment", sa.Column("variant", sa.String(64), nullable=False, server_default=""))
    # What is asked for at present is about the report that the delivery names.
    op.execute(
        "UPDATE commitment SET variant = COALESCE((SELECT variant FROM delivery"
        " WHERE delivery.sop_instance_uid = commitment.sop_instance_uid"
        " AND delivery.destination = commitment.destination), '')"
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("pseudonym_key", sa.String(64), nullable=False),
    )
    op.create_table(
        "prior",
        sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
        sa.Column("algorithm", sa.String(64), primary_key=True),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("acquired_at", sa.DateTime, nullable=False),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("report_uid", sa.String(64)),
        sa.Column("source", sa.String(300), nullable=False),
        sa.Column("made_at", sa.String(32), nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
    )
    op.create_index("ix_prior_patient_acquired_at", "prior", ["patient", "acquired_at"])
    op.create_index("ix_prior_report_uid", "prior", ["report_uid"])
    op.create_table(
        "inquiry",
        sa.Column("patient", sa.String(64), primary_key=True),
        sa.Column("archive", sa.String(300), primary_key=True),
        sa.Column("asked_at", _TIME, nullable=False),
    )
    op.create_table(
        "report",
        sa.Column(
            "sop_instance_uid",
            sa.String(64),
            sa.ForeignKey("entry.sop_instance_uid", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("variant", sa.String(64), primary_key=True),
        sa.Column("algorithm_digest", sa.String(64), nullable=False),
        sa.Column("form_digest", sa.String(64), nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("report_uid", sa.String(64)),
        sa.Column("reference", sa.JSON),
        sa.Column("basis", sa.JSON, nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
    )
    op.create_index("ix_report_report_uid", "report", ["report_uid"])
    op.create_table(
        "assessment",
        sa.Column("document_uid", sa.String(64), primary_key=True),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("assessment", sa.JSON, nullable=False),
        sa.Column("received_at", _TIME, nullable=False),
    )
    op.create_index("ix_assessment_sop_instance_uid", "assessment", ["sop_instance_uid"])


def downgrade() -> None:
    """Drop them."""
    for table in ("assessment", "report", "inquiry", "prior", "installation"):
        op.drop_table(table)
    op.drop_column("commitment", "variant")
