"""Refunds that people ask for and approve, what each takes from whom, holds, limits by role, and linked reversals."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0022"
down_revision = "0021"

LATE_PAYMENT = "The payment came when the booking could not take it any more."

CONSTRAINTS = (
    ("refunds", "ck_refunds_kind", "CHECK (kind IN ('standard', 'goodwill', 'owed_back'))"),
    (
        "refunds",
        "ck_refunds_shares",
        "CHECK (least(provider_minor, commission_minor, goodwill_minor) >= 0"
        " AND provider_minor + commission_minor + goodwill_minor"
        " = CASE WHEN submission = 0 OR kind = 'owed_back' THEN 0 ELSE amount_minor END)",
    ),
    ("refunds", "ck_refunds_held", "CHECK ((status = 'ON_HOLD') = (held_status IS NOT NULL))"),
    ("refunds", "fk_refunds_requested_by_id", "FOREIGN KEY (requested_by_id) REFERENCES users (id)"),
    ("refunds", "fk_refunds_decided_by_id", "FOREIGN KEY (decided_by_id) REFERENCES users (id)"),
    ("payments", "ck_payments_disputed", "CHECK (disputed_minor BETWEEN 0 AND amount_minor)"),
    ("ledger_entries", "fk_ledger_entries_reverses_id", "FOREIGN KEY (reverses_id) REFERENCES ledger_entries (id)"),
)


def upgrade() -> None:
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    # First, as it ends the transaction that is open; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for column in _refund_columns():
            op.add_column("refunds", column, if_not_exists=True)
        disputed = sa.Column("disputed_minor", sa.BigInteger(), server_default="0", nullable=False)
        op.add_column("payments", disputed, if_not_exists=True)
        op.add_column("ledger_entries", sa.Column("reverses_id", sa.BigInteger(), nullable=True), if_not_exists=True)
        for table, name, rule in CONSTRAINTS:
            op.execute(f"-- squawk-ignore ban-drop-constraint\nALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {rule} NOT VALID")
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        for name, table, columns, where in (
            ("uq_refunds_client_key", "refunds", ["payment_id", "client_key"], "client_key IS NOT NULL"),
            ("uq_ledger_entries_reverses_id", "ledger_entries", ["reverses_id"], "reverses_id IS NOT NULL"),
        ):
            op.create_index(
                name,
                table,
                columns,
                unique=True,
                postgresql_where=sa.text(where),
                postgresql_concurrently=True,
                if_not_exists=True,
            )
        op.create_index(
            "ix_refunds_status", "refunds", ["status", "id"], postgresql_concurrently=True, if_not_exists=True
        )
    op.create_table(
        "payment_holds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("placed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("placed_by", sa.Text(), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.Column("lifted_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_payment_holds_payment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_holds")),
    )
    op.create_index("ix_payment_holds_payment_id", "payment_holds", ["payment_id", "id"])
    op.create_index(
        "uq_payment_holds_source",
        "payment_holds",
        ["source"],
        unique=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "refund_limits",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_minor >= 0", name=op.f("ck_refund_limits_amount")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_limits")),
        sa.UniqueConstraint("role", "currency", name=op.f("uq_refund_limits_role_currency")),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON payment_holds TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE payment_holds_id_seq TO {app_role}")
    # Which roles have one is part of the program; how much, admins decide.
    op.execute(f"GRANT SELECT, UPDATE ON refund_limits TO {app_role}")
    op.execute(
        "INSERT INTO refund_limits (role, amount_minor, currency)"
        " VALUES ('finance', 50000, 'USD'), ('admin', 200000, 'USD')"
    )
    op.execute("INSERT INTO ledger_accounts (code, name, kind) VALUES ('goodwill', 'Goodwill', 'expense')")
    coded = sa.text("UPDATE refunds SET note = reason, reason = 'late_payment' WHERE reason = :words")
    op.execute(coded.bindparams(words=LATE_PAYMENT))


def downgrade() -> None:
    coded = sa.text("UPDATE refunds SET reason = :words WHERE reason = 'late_payment'")
    op.execute(coded.bindparams(words=LATE_PAYMENT))
    op.execute("DELETE FROM ledger_accounts WHERE code = 'goodwill'")
    op.drop_table("refund_limits")
    op.drop_table("payment_holds")
    op.drop_index("ix_refunds_status", table_name="refunds")
    op.drop_column("ledger_entries", "reverses_id")
    op.drop_column("payments", "disputed_minor")
    for column in _refund_columns():
        op.drop_column("refunds", column.name)


def _refund_columns() -> list[sa.Column]:
    return [
        # The version before this one still runs, and what it writes is owed back: it has no other refunds.
        sa.Column("kind", sa.Text(), server_default="owed_back", nullable=False),
        sa.Column("provider_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("commission_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("goodwill_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("submission", sa.Integer(), server_default="0", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("client_key", sa.Text(), nullable=True),
        sa.Column("requested_by_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_by_id", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("held_status", sa.Text(), nullable=True),
    ]
