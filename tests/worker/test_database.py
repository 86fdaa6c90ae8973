"""A PostgreSQL that is stopped, cut off or restarted is noticed in bounded time and used again afterwards."""

from __future__ import annotations

import os
import signal
import time

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from worker.database import open_engine, transaction
from worker.errors import StorageError


def test_a_server_that_stopped_answering_is_left_for_a_fresh_connection(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url), answer_within_s=1.0)
    with transaction(engine) as session:
        backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def ask_a_stopped_server() -> None:
        with transaction(engine) as session:
            assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() == backend
            # As the whole server would be: its kernel still acknowledges, nobody answers.
            os.kill(backend, signal.SIGSTOP)
            session.execute(text("SELECT 1"))

    with pytest.raises(StorageError, match="no answer within 1 s") as caught:
        ask_a_stopped_server()
    os.kill(backend, signal.SIGCONT)
    assert caught.value.transient
    with transaction(engine) as session:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar_one() != backend
    engine.dispose()


def test_a_connection_that_died_in_the_pool_costs_no_transaction(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url))
    with transaction(engine) as session:
        backend = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as operator:
        operator.execute("SELECT pg_terminate_backend(%s)", [backend])
    with transaction(engine) as session:
        assert session.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_server_and_client_both_notice_a_cut_network(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url))
    wanted = {
        "tcp_keepalives_idle": "5",
        "tcp_user_timeout": "15000",
        "idle_in_transaction_session_timeout": "30s",
        "statement_timeout": "15s",
    }
    with transaction(engine) as session:
        assert {name: session.execute(text(f"SHOW {name}")).scalar() for name in wanted} == wanted
        connection = session.connection().connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        options = {option.keyword: option.val for option in connection.pgconn.info}
    assert options[b"tcp_user_timeout"] == b"15000"
    assert options[b"connect_timeout"] == b"5"
    engine.dispose()


def test_a_migration_may_take_as_long_as_it_takes(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url), answer_within_s=None)
    with transaction(engine) as session:
        assert session.execute(text("SHOW statement_timeout")).scalar() == "0"
    engine.dispose()


def test_what_the_url_says_counts(postgresql_url: str) -> None:
    engine = open_engine(make_url(f"{postgresql_url}?connect_timeout=9"))
    with transaction(engine) as session:
        connection = session.connection().connection.driver_connection
        assert isinstance(connection, psycopg.Connection)
        options = {option.keyword: option.val for option in connection.pgconn.info}
    assert options[b"connect_timeout"] == b"9"
    engine.dispose()


def test_an_error_of_the_server_is_its_own(postgresql_url: str) -> None:
    engine = open_engine(make_url(postgresql_url), answer_within_s=5.0)
    started = time.monotonic()
    with engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 100"))
        with pytest.raises(OperationalError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(30)"))
    assert time.monotonic() - started < 5
    engine.dispose()
