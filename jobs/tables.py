"""The database: SQLite or PostgreSQL by its address. Beside DBOS' own tables it has jobs, workers and totals."""

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

BUSY_MILLISECONDS = 30_000  # a writer of SQLite waits as long for another
POOL = 20  # connections of one process
POSTGRES = {
    # A process that is stopped within a transaction, or a machine that is gone, must not hold its locks.
    "options": "-c idle_in_transaction_session_timeout=5000",
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}

metadata = sa.MetaData()

jobs = sa.Table(
    "ocr_jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("own_id", sa.Text),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("batch", sa.Text),
    sa.Column("reader", sa.Text, nullable=False),
    sa.Column("source", sa.JSON, nullable=False),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("deliver", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("priority", sa.Text, nullable=False),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("pages_total", sa.Integer),
    sa.Column("pages_done", sa.Integer, nullable=False),
    sa.Column("failure", sa.JSON),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("finished_at", sa.Float),
    sa.Column("traceparent", sa.Text),
    sa.UniqueConstraint("owner", "own_id"),
    sa.Index("ocr_jobs_turns", "status", "priority", "client", "turn"),
    sa.Index("ocr_jobs_listed", "owner", "created_at", "id"),
    sa.Index("ocr_jobs_listed_by_status", "owner", "status", "created_at", "id"),
    sa.Index("ocr_jobs_batches", "batch"),
    sa.Index("ocr_jobs_kept", "status", "finished_at"),
)

workers = sa.Table(
    "ocr_workers",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("beat", sa.BigInteger, nullable=False),  # rises while the worker lives; no clock is compared
    sa.Column("version", sa.Text, nullable=False),
)

totals = sa.Table(
    "ocr_totals",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
)


def connect(address: str) -> sa.Engine:
    """The database, with all tables. Raises sqlalchemy.exc.SQLAlchemyError, OSError."""
    url = sa.make_url(address)
    if url.get_backend_name() == "sqlite":
        if url.database:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, pool_size=POOL)
        event.listen(engine, "connect", _set_up_sqlite)
    else:
        engine = sa.create_engine(url, pool_size=POOL, pool_pre_ping=True, connect_args=POSTGRES)
    return engine


def migrate(engine: sa.Engine) -> None:
    """Create what is missing of our tables and DBOS' own; several processes may do so at once."""
    address = engine.url.render_as_string(hide_password=False)
    DBOS.migrate(address.replace("postgresql+psycopg://", "postgresql://"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('ocr_tables'))"))
        metadata.create_all(connection)


def comes_back(error: SQLAlchemyError) -> bool:
    """Whether a database may be asked again.

    It is gone, has ended this session, such as one that was idle, or all connections of the pool are in use.
    """
    invalidated = isinstance(error, DBAPIError) and error.connection_invalidated
    return invalidated or isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError))


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"  # a transaction that begins by reading would fail where it writes
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for writers
    connection.execute("PRAGMA foreign_keys=ON")
