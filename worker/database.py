"""A database for the journal: its engine, its transactions and its schema's version (Alembic)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from worker.errors import SchemaError, StorageError

_CONNECT_WITHIN_S = 10
_MIGRATION_LOCK = 0x43585221
"""Key of the PostgreSQL advisory lock that lets one process migrate at a time."""


def open_engine(url: URL) -> Engine:
    """Return an engine with the durability that the journal promises.

    Parameters
    ----------
    url : sqlalchemy.URL
        SQLite (WAL, synchronous FULL: a commit survives a power cut) or PostgreSQL.
    """
    if url.get_backend_name() != "sqlite":
        waiting = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_WITHIN_S}
        return create_engine(url, pool_pre_ping=True, connect_args=waiting)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # SQLAlchemy begins transactions itself; the driver's own late BEGIN would let two writers deadlock.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Run one transaction; what was read stays readable after it.

    Raises
    ------
    sqlalchemy.exc.IntegrityError
        As it is: the caller knows what it means.
    StorageError
        When the database cannot be reached or written.
    """
    try:
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise StorageError(
            f"the journal {engine.url.render_as_string()} cannot be used ({_first_line(error)}): "
            "check that the database runs and has space"
        ) from error


def migrate(engine: Engine) -> None:
    """Bring the database to the current schema; safe when several processes start at once.

    Raises
    ------
    StorageError
        When the database cannot be reached or written.
    """
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise StorageError(
            f"the database {engine.url.render_as_string()} cannot be migrated "
            f"({_first_line(error)}): check CXR_DATABASE_URL and that the server runs"
        ) from error


def require_current(engine: Engine) -> None:
    """Check that the database has the schema this version works with.

    Raises
    ------
    SchemaError
        When it has none, an older or a newer one.
    StorageError
        When the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            found = _revision(connection)
    except SQLAlchemyError as error:
        raise StorageError(
            f"the database {engine.url.render_as_string()} cannot be reached "
            f"({_first_line(error)}): check CXR_DATABASE_URL and that the server runs"
        ) from error
    wanted = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    if found != wanted:
        raise SchemaError(
            f"the database has schema {found or 'none'}, this version needs {wanted}: "
            "run `cxr-worker migrate`"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _first_line(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
