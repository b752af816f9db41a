"""What Stripe pays out to our bank, and fees of its own: entries of no payment, and the account of the bank; and when
bookings were confirmed or ran out, as the charts' bars lead to them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"

OF_A_PAYMENT = ("payment_id", "booking_id", "provider_id")
RULE = "ck_ledger_entries_of_a_payment"
BECAME = ("confirmed_at", "expired_at")


def upgrade() -> None:
    # First, as it ends the transaction that is open; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.execute(f"-- squawk-ignore ban-drop-constraint\nALTER TABLE ledger_entries DROP CONSTRAINT IF EXISTS {RULE}")
        op.execute(
            f"ALTER TABLE ledger_entries ADD CONSTRAINT {RULE} CHECK (num_nonnulls({', '.join(OF_A_PAYMENT)})"
            " = CASE WHEN kind LIKE 'payout.%' OR kind LIKE 'account.%' THEN 0 ELSE 3 END) NOT VALID"
        )
        op.execute(f"ALTER TABLE ledger_entries VALIDATE CONSTRAINT {RULE}")
        for column in BECAME:
            op.create_index(
                f"ix_bookings_{column}",
                "bookings",
                [column],
                unique=False,
                postgresql_where=sa.text(f"{column} IS NOT NULL"),
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    for column in OF_A_PAYMENT:
        # Nothing without them is written before the code that knows of it runs.
        op.execute(
            f"-- squawk-ignore ban-drop-not-null\nALTER TABLE ledger_entries ALTER COLUMN {column} DROP NOT NULL"
        )
    op.execute("INSERT INTO ledger_accounts (code, name, kind) VALUES ('bank', 'Bank', 'asset')")


def downgrade() -> None:
    # Refused by the database once something was paid out: no entry can be taken back.
    op.execute("DELETE FROM ledger_accounts WHERE code = 'bank'")
    for column in OF_A_PAYMENT:
        op.alter_column("ledger_entries", column, nullable=False)
    op.drop_constraint(RULE, "ledger_entries")
    for column in BECAME:
        op.drop_index(f"ix_bookings_{column}", table_name="bookings")
