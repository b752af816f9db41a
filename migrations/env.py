"""Runs migrations as the owner's role, with timeouts: a migration that can't get its lock fails, instead of stopping
everybody behind it.
"""

from __future__ import annotations

from alembic import context

from app.config import settings
from app.db import engine_url, owner_engine
from app.extensions import db

LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "10min"

_TIMEOUTS = f"SET lock_timeout = '{LOCK_TIMEOUT}'; SET statement_timeout = '{STATEMENT_TIMEOUT}'"


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
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = owner_engine(settings().database_owner_url)
    with engine.connect() as connection:
        connection.exec_driver_sql(_TIMEOUTS)
        connection.commit()
        _configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()
