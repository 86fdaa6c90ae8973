"""A database for the journal: its engine, its transactions and its schema's version (Alembic)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, Engine, create_engine, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from worker.errors import SchemaError, StorageError

_T = TypeVar("_T")

ANSWER_WITHIN_S = 15.0
"""How long a PostgreSQL that has taken a question may think before it is taken for dead."""

_CONNECT_WITHIN_S = 5
# A network that is cut, or a host that lost its power, is noticed within 15 s on both sides; else a server
# keeps the locks of a host that is gone for hours.
_NOTICE_A_CUT = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_SERVER_NOTICES_A_CUT = (
    "SET tcp_keepalives_idle = 5",
    "SET tcp_keepalives_interval = 3",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 15000",
    "SET idle_in_transaction_session_timeout = 30000",
)
_MIGRATION_LOCK = 0x43585221
"""Key of the PostgreSQL advisory lock that lets one process migrate at a time."""


def open_engine(url: URL, answer_within_s: float | None = ANSWER_WITHIN_S) -> Engine:
    """Return an engine with the durability that the journal promises.

    Parameters
    ----------
    url : sqlalchemy.URL
        SQLite (WAL, synchronous FULL: a commit survives a power cut) or PostgreSQL.
    answer_within_s : float, optional
        How long PostgreSQL may take for one statement; None for a migration, which may take long.
    """
    if url.get_backend_name() == "postgresql":
        return _open_postgresql(url, answer_within_s)
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
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


def _open_postgresql(url: URL, answer_within_s: float | None) -> Engine:
    waiting = {"connect_timeout": _CONNECT_WITHIN_S, **_NOTICE_A_CUT}
    for name in waiting.keys() & url.query.keys():
        del waiting[name]
    engine = create_engine(url, pool_pre_ping=True, pool_timeout=10, connect_args=waiting)

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: Any, named: Any) -> Any:
        connection = ImpatientConnection.connect(*arguments, **named)
        connection.answer_within_s = answer_within_s
        return connection

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # As statements, not as start-up options: PgBouncer refuses those.
        for statement in _SERVER_NOTICES_A_CUT:
            connection.execute(statement)
        if answer_within_s is not None:
            connection.execute(f"SET statement_timeout = {int(answer_within_s * 1000)}")
        connection.commit()

    return engine


class ImpatientConnection(psycopg.Connection[Any]):
    """A connection whose server may not leave a statement unanswered for ever.

    Neither keepalive nor statement timeout ends the wait for a server process that is stopped or starved:
    its kernel still acknowledges, and its clock does not run.
    """

    answer_within_s: float | None = None

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Wait as psycopg does, and close the connection when the time is over.

        Raises
        ------
        psycopg.OperationalError
            When there is no answer in time.
        """
        limit_s = self.answer_within_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, limit_s)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            raise psycopg.OperationalError(f"no answer within {limit_s:g} s") from None


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
