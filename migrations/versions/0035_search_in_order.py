"""The stock of a month is read from its index alone, in the order of the packages."""

from alembic import op

revision = "0035"
down_revision = "0034"

# A search reads a whole month: rows lie where their packages do, twelve months beside each other. What it sees in the
# index alone needs pages that nobody has written since the last vacuum, so that comes more often.
COVERING = "(month, package_id) INCLUDE (prices, min_nights) WITH (fillfactor = 80)"
PLAIN = "(month, package_id)"


def upgrade() -> None:
    _key(COVERING)
    op.execute(
        "ALTER TABLE stock_months SET (fillfactor = 100,"
        " autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.02)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE stock_months SET (fillfactor = 80)")
    op.execute("ALTER TABLE stock_months RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor)")
    _key(PLAIN)


def _key(columns: str) -> None:
    """Make the primary key anew beside running writes, and then put it in the place of the one that was."""
    with op.get_context().autocommit_block():
        # What was interrupted has left an index that nothing reads and that counts as being there.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS stock_months_key")
        op.execute(f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS stock_months_key ON stock_months {columns}")
    # In the same statement the other one takes its place.
    op.execute(
        "-- squawk-ignore ban-drop-constraint\nALTER TABLE stock_months DROP CONSTRAINT pk_stock_months,"
        " ADD CONSTRAINT pk_stock_months PRIMARY KEY USING INDEX stock_months_key"
    )
