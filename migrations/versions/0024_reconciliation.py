"""Days reconciled with Stripe, what its balance had of them, what differed, and the account for what is not placed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0024"
down_revision = "0023"


# What webhooks are searched by, and the few of them that are IGNORED or have an error.
WEBHOOKS = {
    "ix_webhook_events_object_id": ("object_id", None),
    "ix_webhook_events_ignored": ("id", "status = 'IGNORED'"),
    "ix_webhook_events_last_error": ("id", "last_error IS NOT NULL"),
}


def upgrade() -> None:
    # Beside running writes, and first, as it ends the transaction that is open; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for name, (column, where) in WEBHOOKS.items():
            op.create_index(
                name,
                "webhook_events",
                [column],
                unique=False,
                postgresql_where=sa.text(where) if where else None,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("by_id", sa.BigInteger(), nullable=True),
        sa.Column("step", sa.Text(), server_default="transactions", nullable=False),
        sa.Column("reached", sa.Text(), nullable=True),
        sa.Column("matched", sa.Integer(), server_default="0", nullable=False),
        sa.Column("differing", sa.Integer(), server_default="0", nullable=False),
        sa.Column("sums", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("compared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("status IN ('RUNNING', 'DONE', 'FAILED')", name=op.f("ck_reconciliations_status")),
        sa.CheckConstraint(
            "id = extract(year FROM day) * 10000 + extract(month FROM day) * 100 + extract(day FROM day)",
            name=op.f("ck_reconciliations_id"),
        ),
        sa.CheckConstraint("step IN ('transactions', 'postings', 'comparison')", name=op.f("ck_reconciliations_step")),
        sa.CheckConstraint("matched >= 0 AND differing >= 0", name=op.f("ck_reconciliations_counts")),
        sa.ForeignKeyConstraint(["by_id"], ["users.id"], name=op.f("fk_reconciliations_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        "ix_reconciliations_due_at", "reconciliations", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL")
    )
    op.create_index("ix_reconciliations_day", "reconciliations", ["day"], unique=True)
    op.create_table(
        "stripe_movements",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("booked_as", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_movements")),
    )
    op.create_index("ix_stripe_movements_created_at", "stripe_movements", ["created_at"])
    op.create_index("ix_stripe_movements_source", "stripe_movements", ["source_id", "booked_as"])
    op.create_table(
        "differences",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("reconciliation_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="OPEN", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("booked_as", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("stripe_payment_intent_id", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.BigInteger(), nullable=True),
        sa.Column("booking_id", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        *(
            sa.Column(amount, sa.BigInteger(), nullable=False)
            for amount in ("there_minor", "there_fee_minor", "here_minor", "here_fee_minor")
        ),
        sa.Column("assigned_to_id", sa.BigInteger(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("entry_id", sa.BigInteger(), nullable=True),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('OPEN', 'EXPLAINED', 'FIXED')", name=op.f("ck_differences_status")),
        sa.CheckConstraint(
            "kind IN ('missing_here', 'missing_there', 'amount', 'fee')", name=op.f("ck_differences_kind")
        ),
        sa.CheckConstraint("status <> 'EXPLAINED' OR explanation IS NOT NULL", name=op.f("ck_differences_explanation")),
        sa.ForeignKeyConstraint(
            ["reconciliation_id"], ["reconciliations.id"], name=op.f("fk_differences_reconciliation_id")
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_differences_payment_id")),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f("fk_differences_booking_id")),
        sa.ForeignKeyConstraint(["assigned_to_id"], ["users.id"], name=op.f("fk_differences_assigned_to_id")),
        sa.ForeignKeyConstraint(["entry_id"], ["ledger_entries.id"], name=op.f("fk_differences_entry_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_differences")),
    )
    op.create_index(
        "uq_differences_of_a_day", "differences", ["reconciliation_id", "source_id", "booked_as"], unique=True
    )
    op.create_index("ix_differences_source", "differences", ["source_id", "booked_as"])
    op.create_index(
        "ix_differences_open", "differences", ["reconciliation_id"], postgresql_where=sa.text("status = 'OPEN'")
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON reconciliations, stripe_movements, differences TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE differences_id_seq TO {app_role}")
    op.execute("INSERT INTO ledger_accounts (code, name, kind) VALUES ('suspense', 'Suspense', 'liability')")


def downgrade() -> None:
    for name in WEBHOOKS:
        op.drop_index(name, table_name="webhook_events")
    op.drop_table("differences")
    op.drop_table("stripe_movements")
    op.drop_table("reconciliations")
    op.execute("DELETE FROM ledger_accounts WHERE code = 'suspense'")
