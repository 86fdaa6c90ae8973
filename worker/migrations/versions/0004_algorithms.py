"""Several algorithms for one radiograph: a result of each; deliveries, reports and requests by algorithm."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_FIRST = "two-stage"
"""What scored everything until now."""
_RESULT = sa.table("result", *map(sa.column, ("sop_instance_uid", "algorithm", "algorithm_digest", "record")))
_ENTRY = sa.table("entry", *map(sa.column, ("sop_instance_uid", "algorithm_digest", "result")))
_DELIVERY_COLUMNS = (
    *("sop_instance_uid", "destination", "variant", "status", "attempts", "message", "created_at"),
    *("updated_at", "due_at", "rung_at", "stored", "asks_commitment"),
)


def upgrade() -> None:
    """Add what tells algorithms apart; all that is there was made by the only one there was."""
    op.create_table(
        "result",
        _entry_key(),
        sa.Column("algorithm", sa.String(64), primary_key=True),
        sa.Column("algorithm_digest", sa.String(64), nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
    )
    kept = sa.select(_ENTRY.c.sop_instance_uid, _first(), _ENTRY.c.algorithm_digest, _ENTRY.c.result).where(
        _ENTRY.c.algorithm_digest.is_not(None), _ENTRY.c.result.is_not(None)
    )
    op.execute(sa.insert(_RESULT).from_select(list(_RESULT.c.keys()), kept))
    op.drop_column("entry", "result")
    op.drop_column("entry", "algorithm_digest")
    for table in ("report", "commitment"):
        op.add_column(table, sa.Column("algorithm", sa.String(64), nullable=False, server_default=_FIRST))
    _rebuild_deliveries([sa.Column("algorithm", sa.String(64), primary_key=True)])


def downgrade() -> None:
    """Keep what the first algorithm made, and forget the others."""
    for name in ("delivery", "commitment", "report"):
        table = sa.table(name, sa.column("algorithm"))
        op.execute(sa.delete(table).where(table.c.algorithm != _FIRST))
    _rebuild_deliveries([])
    for name in ("commitment", "report"):
        op.drop_column(name, "algorithm")
    op.add_column("entry", sa.Column("result", sa.JSON))
    op.add_column("entry", sa.Column("algorithm_digest", sa.String(64)))
    for column, source in (("result", _RESULT.c.record), ("algorithm_digest", _RESULT.c.algorithm_digest)):
        found = sa.select(source).where(
            _RESULT.c.sop_instance_uid == _ENTRY.c.sop_instance_uid, _RESULT.c.algorithm == _FIRST
        )
        op.execute(sa.update(_ENTRY).values({column: found.scalar_subquery()}))
    op.drop_table("result")


def _entry_key() -> sa.Column[str]:
    reference = sa.ForeignKey("entry.sop_instance_uid", ondelete="CASCADE")
    return sa.Column("sop_instance_uid", sa.String(64), reference, primary_key=True)


def _first() -> sa.ColumnElement[str]:
    return sa.literal(_FIRST, sa.String(64)).label("algorithm")


def _rebuild_deliveries(more: list[sa.Column[str]]) -> None:
    """Copy the deliveries into a table with another primary key, which SQLite cannot change in place."""
    op.create_table(
        "delivery_rebuilt",
        _entry_key(),
        sa.Column("destination", sa.String(300), primary_key=True),
        *more,
        sa.Column("variant", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("message", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("due_at", _TIME),
        sa.Column("rung_at", _TIME),
        sa.Column("stored", sa.JSON),
        sa.Column("asks_commitment", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    found: list[sa.ColumnElement[str]] = [sa.column(name) for name in _DELIVERY_COLUMNS]
    rows = sa.select(*found, *([_first()] if more else [])).select_from(sa.table("delivery"))
    names = [*_DELIVERY_COLUMNS, *(column.name for column in more)]
    op.execute(sa.insert(sa.table("delivery_rebuilt", *map(sa.column, names))).from_select(names, rows))
    op.drop_table("delivery")
    op.rename_table("delivery_rebuilt", "delivery")
    op.create_index("ix_delivery_status_due_at", "delivery", ["status", "due_at"])
