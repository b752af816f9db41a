"""Indexes to find all payments of a booking, and what is rare or long ago in the lists that only grow."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Newest first is how the console lists them, so each ends with the id.
INDEXES = (
    ("ix_payments_booking_id", "payments", ["booking_id", "id"], {}),
    ("ix_webhook_events_type", "webhook_events", ["type", "id"], {}),
    ("ix_ledger_entries_posted_at", "ledger_entries", ["posted_at", "id"], {}),
    ("ix_audit_entries_at", "audit_entries", ["at", "id"], {}),
    ("ix_audit_entries_actor_id", "audit_entries", ["actor_id", "id"], {}),
    ("ix_audit_entries_actor_label", "audit_entries", ["actor_label", "id"], {}),
    # Also by the beginning of an action, whatever the database's collation.
    (
        "ix_audit_entries_action",
        "audit_entries",
        ["action", "id"],
        {"postgresql_ops": {"action": "text_pattern_ops"}},
    ),
)


def upgrade() -> None:
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for name, table, columns, more in INDEXES:
            op.create_index(
                name, table, columns, unique=False, postgresql_concurrently=True, if_not_exists=True, **more
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, table, _, _ in INDEXES:
            op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)
