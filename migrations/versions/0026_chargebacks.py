"""Disputes, and the accounts of what they hold and what is lost by them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0026"
down_revision = "0024"

ACCOUNTS = (("disputes_held", "Disputes held", "asset"), ("dispute_losses", "Dispute losses", "expense"))

EVIDENCE = (
    *("customer_name", "customer_email_address", "service_date", "product_description"),
    *("cancellation_policy_disclosure", "cancellation_rebuttal", "refund_policy_disclosure"),
    *("refund_refusal_explanation", "uncategorized_text"),
)


def upgrade() -> None:
    op.create_table(
        "disputes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="OPEN", nullable=False),
        sa.Column("payment_id", sa.BigInteger(), nullable=False),
        sa.Column("booking_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("stripe_dispute_id", sa.Text(), nullable=True),
        sa.Column("stripe_status", sa.Text(), nullable=True),
        sa.Column("is_charge_refundable", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("evidence_due_by", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer_by", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            for name in ("withdrawn_minor", "reinstated_minor", "fee_minor", "fee_returned_minor")
        ),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in EVIDENCE),
        sa.Column("evidence_at_stripe", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("asked", sa.Text(), nullable=True),
        sa.Column("asked_by_id", sa.BigInteger(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("hold_lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminded_hours", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "status IN ('OPEN', 'UNDER_REVIEW', 'EVIDENCE_SUBMITTED', 'WON', 'LOST', 'REFUNDED', 'REJECTED',"
            " 'WITHDRAWN')",
            name=op.f("ck_disputes_status"),
        ),
        sa.CheckConstraint("source IN ('GUEST', 'CHARGEBACK')", name=op.f("ck_disputes_source")),
        sa.CheckConstraint(
            "(source = 'CHARGEBACK') = (stripe_dispute_id IS NOT NULL AND stripe_status IS NOT NULL)",
            name=op.f("ck_disputes_at_stripe"),
        ),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_disputes_amount")),
        sa.CheckConstraint("asked IN ('STAGE', 'SUBMIT', 'ACCEPT')", name=op.f("ck_disputes_asked")),
        sa.ForeignKeyConstraint(["payment_id"], ["payments.id"], name=op.f("fk_disputes_payment_id")),
        sa.ForeignKeyConstraint(["booking_id"], ["bookings.id"], name=op.f("fk_disputes_booking_id")),
        sa.ForeignKeyConstraint(["asked_by_id"], ["users.id"], name=op.f("fk_disputes_asked_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_disputes_idempotency_key")),
    )
    for column in ("payment_id", "booking_id", "stripe_dispute_id", "status", "answer_by"):
        op.create_index(f"ix_disputes_{column}", "disputes", [column, "id"])
    op.create_index(
        "uq_disputes_undecided",
        "disputes",
        ["stripe_dispute_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('OPEN', 'UNDER_REVIEW', 'EVIDENCE_SUBMITTED')"),
    )
    op.create_index("ix_disputes_due_at", "disputes", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON disputes TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE disputes_id_seq TO {app_role}")
    for code, name, kind in ACCOUNTS:
        op.execute(f"INSERT INTO ledger_accounts (code, name, kind) VALUES ('{code}', '{name}', '{kind}')")


def downgrade() -> None:
    for code, _, _ in ACCOUNTS:
        op.execute(f"DELETE FROM ledger_accounts WHERE code = '{code}'")
    op.drop_table("disputes")
