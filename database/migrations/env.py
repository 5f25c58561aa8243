"""Alembic's environment: migrations run as the owner, and give up rather than block the proxy."""

from __future__ import annotations

from datetime import UTC, datetime

from alembic import context
from flask import current_app
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from app.audit import grants, partitions
from app.config.settings import DatabaseSettings
from app.extensions import services_of
from app.models import Base
from app.utils.exceptions import DatabaseUnavailableError

# A migration that cannot have its lock soon would make every query queue behind it.
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "60s"


def run_migrations() -> None:
    database = services_of(current_app).settings.database
    engine = create_engine(
        database.migration_url, hide_parameters=True, connect_args={"connect_timeout": 5}
    )
    with _connected(engine, database) as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            include_name=_is_of_a_model,
        )
        with context.begin_transaction():
            context.run_migrations()
        _make_partitions(connection)
        if database.migration_url != database.url:
            grants.grant(connection, database.url)
            connection.commit()
    engine.dispose()


def _is_of_a_model(name: str | None, kind: str, _parents: object) -> bool:
    """Leave out the partitions, which come and go with the months."""
    return kind != "table" or not (name or "").startswith(f"{partitions.TABLE}_")


def _make_partitions(connection: Connection) -> None:
    if connection.exec_driver_sql(partitions.EXISTS).scalar_one():
        partitions.make_partitions(connection.exec_driver_sql, datetime.now(UTC))
    connection.commit()


def _connected(engine: Engine, database: DatabaseSettings) -> Connection:
    """Raises: DatabaseUnavailableError."""
    try:
        return engine.connect()
    except OperationalError as fault:
        has_own = database.migration_url != database.url
        variable = "MIGRATION_DATABASE_URL" if has_own else "DATABASE_URL"
        raise DatabaseUnavailableError(retry_after_s=5, variable=variable) from fault


run_migrations()
