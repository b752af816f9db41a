"""Runs migrations as the owner's role, with timeouts: one that can't get its lock fails, and stops nobody behind it."""

from __future__ import annotations

from alembic import context

from app.config import settings
from app.db import engine_url, owner_engine
from app.extensions import db

_TIMEOUTS = ("SET lock_timeout = '4s'", "SET statement_timeout = '10min'")


def _configure(**options: object) -> None:
    context.configure(
        target_metadata=db.metadata,
        compare_type=True,
        compare_server_default=False,
        transaction_per_migration=True,
        **options,
    )


if not settings().database_owner_url:
    raise SystemExit("DATABASE_OWNER_URL is not set: migrations run as the owner's role.")
if context.is_offline_mode():
    _configure(url=engine_url(settings().database_owner_url), literal_binds=True, dialect_opts={"paramstyle": "named"})
    for timeout in _TIMEOUTS:
        context.execute(timeout)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = owner_engine(settings().database_owner_url)
    with engine.connect() as connection:
        for timeout in _TIMEOUTS:
            connection.exec_driver_sql(timeout)
        connection.commit()
        _configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
