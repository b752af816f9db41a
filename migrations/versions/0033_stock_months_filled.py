"""The stock by month of the days that were there before, some packages at a time."""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    # Bookings wait for a moment while some packages are read, so that no day changes between its reading and its
    # writing. What failed halfway is run again.
    with op.get_context().autocommit_block():
        op.execute(
            """
            DO $$
            DECLARE
                since bigint;
            BEGIN
                FOR since IN SELECT generate_series(min(id), max(id), 500) FROM packages LOOP
                    LOCK TABLE availability IN SHARE ROW EXCLUSIVE MODE;
                    INSERT INTO stock_months (package_id, month, prices, min_nights)
                    SELECT package_id, month, prices, min_nights FROM availability_months
                    WHERE package_id BETWEEN since AND since + 499
                    ON CONFLICT (month, package_id) DO UPDATE
                        SET prices = excluded.prices, min_nights = excluded.min_nights;
                    COMMIT;
                END LOOP;
            END $$
            """
        )


def downgrade() -> None:
    op.execute("DELETE FROM stock_months")
