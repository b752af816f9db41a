"""Migrations: up, down and up again; nothing forgotten; and what the app's role may and may not touch afterwards."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import inspect, text

from app.db import owner_engine
from app.extensions import db
from tests.conftest import ROOT

APPEND_ONLY = {"audit_entries", "audit_seals", "ledger_entries"}
FIXED = {"alembic_version", "ledger_accounts"}
# Each has its rows from the migration that made it.
NEVER_ADDED = {"refund_limits", "rollups"}
DELETABLE = {
    *("claims", "idempotency_keys", "password_reset_requests", "recent_records", "saved_views"),
    *("sign_in_throttles", "staff_roles", "import_mappings", "import_rejections"),
    *("ledger_days", "revenue_days", "revenue_months", "activity_days", "provider_sums"),
    *("package_changes", "search_words", "search_synonyms", "searched_words", "search_latencies"),
}
# Guarded by the app role's rights alone.
NEVER_CHANGED = {
    *("booking_notes", "bulk_problems", "cancellation_policy_tiers", "import_rejections", "name_words"),
    "package_changes",
}


def test_down_and_up_again_leaves_what_was_there(empty_app: Flask) -> None:
    folder = str(ROOT / "migrations")
    engine = owner_engine(empty_app.extensions["settings"].database_owner_url)
    before = _schema(engine)
    downgrade(folder, revision="base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    upgrade(folder)
    assert _schema(engine) == before
    engine.dispose()


def _schema(engine: Any) -> Any:
    look = """
        SELECT 'column', table_name,
               column_name || ' ' || data_type || ' ' || coalesce(column_default, '') || is_nullable
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname || ' ' || tgenabled::text FROM pg_trigger
        WHERE NOT tgisinternal
        UNION ALL SELECT 'grant', table_name, grantee || ' ' || privilege_type FROM information_schema.role_table_grants
        WHERE table_schema = 'public'
        UNION ALL SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        ORDER BY 1, 2, 3
    """
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(look))]


def test_the_models_and_the_migrations_agree(app: Flask) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []


def test_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory(str(ROOT / "migrations")).get_heads()) == 1


def test_the_app_may_do_no_more_to_a_table_than_it_needs(app: Flask) -> None:
    for table in inspect(db.engine).get_table_names():
        allowed = {"SELECT"}
        if table not in FIXED | NEVER_ADDED:
            allowed.add("INSERT")
        if table not in FIXED | APPEND_ONLY | NEVER_CHANGED:
            allowed.add("UPDATE")
        if table in DELETABLE:
            allowed.add("DELETE")
        rows = db.session.execute(
            text(
                "SELECT privilege FROM"
                " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])"
                " AS privilege WHERE has_table_privilege(:table, privilege)"
            ),
            {"table": table},
        )
        assert set(rows.scalars()) == allowed, table


def test_even_the_owner_cannot_change_what_is_append_only(empty_app: Flask) -> None:
    connection = psycopg2.connect(empty_app.extensions["settings"].database_owner_url)
    _one_row_each(connection)
    for table, column in {"audit_entries": "reason", "audit_seals": "digest", "ledger_entries": "kind"}.items():
        for statement in (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            with connection, connection.cursor() as cursor, pytest.raises(psycopg2.Error, match="append-only"):
                cursor.execute(statement)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {table}")
            assert cursor.fetchone() == (1,)
    connection.close()


def _one_row_each(connection: Any) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO users (email, name, password_hash) VALUES ('a@example.org', 'A', 'x');
            INSERT INTO providers (name) VALUES ('P');
            INSERT INTO packages (provider_id, type, name, city, country, time_zone, price_minor, capacity, units)
                VALUES (1, 'hotel', 'K', 'Oslo', 'Norway', 'Europe/Oslo', 100, 1, 1);
            INSERT INTO bookings (reference, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                time_zone, units, guests, nights, total_minor, currency, policy, expires_at)
                VALUES ('TD-1', 1, 1, 1, 'K', '2027-01-01', '2027-01-02', 'Europe/Oslo', 1, 1, '[]', 100, 'USD', '{}',
                now());
            INSERT INTO payments (booking_id, provider_id, amount_minor, commission_minor, currency, idempotency_key)
                VALUES (1, 1, 100, 15, 'USD', 'k');
            INSERT INTO ledger_entries (kind, debit_account, credit_account, amount_minor, currency, source_id,
                payment_id, booking_id, provider_id)
                VALUES ('t', 'stripe_balance', 'stripe_fees', 1, 'USD', 'ch_1', 1, 1, 1);
            INSERT INTO audit_entries (actor_kind, actor_label, action, object_type, object_id, request_id)
                VALUES ('system', 'T', 't', 'users', 1, 'req');
            INSERT INTO audit_seals (position, entry_id, digest) VALUES (1, 1, 'x');
            """
        )
