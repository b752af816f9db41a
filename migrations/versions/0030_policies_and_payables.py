"""Cancellation policies as rows, each change a version; what is owed to providers, added up as it is earned."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0030"
down_revision = "0029"

# Beside running writes: (index, table, columns, where).
INDEXES = (
    ("ix_packages_cancellation_policy", "packages", ["cancellation_policy", "id"], None),
    # What was earned since a moment.
    ("ix_bookings_completed_at", "bookings", ["completed_at"], "completed_at IS NOT NULL"),
    ("ix_bookings_cancelled_at", "bookings", ["cancelled_at"], "cancelled_at IS NOT NULL"),
    ("ix_payment_holds_standing", "payment_holds", ["payment_id"], "lifted_at IS NULL"),
)

TIERS = {
    "flexible": ((1, 100), (0, 0)),
    "moderate": ((5, 100), (1, 50), (0, 0)),
    "strict": ((14, 100), (7, 50), (0, 0)),
}


def upgrade() -> None:
    # First, as it ends the transaction that is open; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for name, table, columns, where in INDEXES:
            op.create_index(
                name,
                table,
                columns,
                unique=False,
                postgresql_where=sa.text(where) if where else None,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "cancellation_policies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="ACTIVE", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("status IN ('ACTIVE', 'RETIRED')", name=op.f("ck_cancellation_policies_status")),
        sa.CheckConstraint("version > 0", name=op.f("ck_cancellation_policies_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cancellation_policies")),
        sa.UniqueConstraint("code", name=op.f("uq_cancellation_policies_code")),
    )
    op.create_index("uq_cancellation_policies_name", "cancellation_policies", [sa.text("lower(name)")], unique=True)
    op.create_table(
        "cancellation_policy_tiers",
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("days_before", sa.Integer(), nullable=False),
        sa.Column("refund_percent", sa.Integer(), nullable=False),
        sa.CheckConstraint("days_before BETWEEN 0 AND 365", name=op.f("ck_cancellation_policy_tiers_days")),
        sa.CheckConstraint("refund_percent BETWEEN 0 AND 100", name=op.f("ck_cancellation_policy_tiers_percent")),
        sa.ForeignKeyConstraint(
            ["policy_id"], ["cancellation_policies.id"], name=op.f("fk_cancellation_policy_tiers_policy_id")
        ),
        sa.PrimaryKeyConstraint("policy_id", "version", "days_before", name=op.f("pk_cancellation_policy_tiers")),
    )
    for code, tiers in TIERS.items():
        op.execute(f"INSERT INTO cancellation_policies (code, name) VALUES ('{code}', '{code.capitalize()}')")
        for days, percent in tiers:
            op.execute(
                "INSERT INTO cancellation_policy_tiers (policy_id, version, days_before, refund_percent)"
                f" SELECT id, version, {days}, {percent} FROM cancellation_policies WHERE code = '{code}'"
            )
    op.create_table(
        "provider_sums",
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payable_minor", sa.BigInteger(), nullable=False),
        sa.Column("earned_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["provider_id"], ["providers.id"], name=op.f("fk_provider_sums_provider_id")),
        sa.PrimaryKeyConstraint("provider_id", "currency", name=op.f("pk_provider_sums")),
    )
    # Nothing is added up here: the job does that, a month at a time, and until then the rows are read as they are.
    op.execute("INSERT INTO rollups (name, settled_until) VALUES ('provider_sums', '1970-01-01 00:00:00+00')")
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON cancellation_policies TO {app_role}")
    # The tiers of a version are never changed.
    op.execute(f"GRANT SELECT, INSERT ON cancellation_policy_tiers TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE cancellation_policies_id_seq TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON provider_sums TO {app_role}")


def downgrade() -> None:
    # The version before this one knows these three.
    custom = "cancellation_policy NOT IN ('flexible', 'moderate', 'strict')"
    op.execute(f"UPDATE packages SET cancellation_policy = 'moderate' WHERE {custom}")
    op.drop_table("provider_sums")
    op.execute("DELETE FROM rollups WHERE name = 'provider_sums'")
    op.drop_table("cancellation_policy_tiers")
    op.drop_table("cancellation_policies")
    for name, table, _columns, _where in reversed(INDEXES):
        op.drop_index(name, table_name=table)
