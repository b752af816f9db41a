"""The stock by month of the days that were there before, some packages at a time."""

from time import sleep

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import OperationalError

revision = "0033"
down_revision = "0032"

BATCH = 200
LOCK_NOT_AVAILABLE = "55P03"
MOST_TRIES = 60

_IDS = sa.text("SELECT id FROM packages WHERE id > :after ORDER BY id LIMIT :most")
_OF_SOME = "SELECT package_id, month, prices, min_nights FROM {table} WHERE package_id BETWEEN {first} AND {last}"  # nosec B608


def upgrade() -> None:
    # What failed halfway is run again, and goes on where it was.
    context = op.get_context()
    with context.autocommit_block():
        if context.as_sql:
            op.execute(_fill(0, 2**63 - 1))
            return
        after = 0
        while ids := op.get_bind().scalars(_IDS, {"after": after, "most": BATCH}).all():
            _filled(ids[0], ids[-1])
            after = ids[-1]


def downgrade() -> None:
    op.execute("DELETE FROM stock_months")


def _filled(first: int, last: int) -> None:
    """Fill the months of these packages, as often as others have the days."""
    for attempt in range(1, MOST_TRIES + 1):
        try:
            op.execute(_fill(first, last))
        except OperationalError as error:
            if getattr(error.orig, "pgcode", None) != LOCK_NOT_AVAILABLE or attempt == MOST_TRIES:
                raise
            sleep(1)  # for those who waited behind this one
        else:
            return


def _fill(first: int, last: int) -> str:
    """One statement, which is a transaction by itself: bookings wait while some packages are read, so that no day
    changes between its reading and its writing. Packages that are right already keep nobody waiting.
    """
    days = _OF_SOME.format(table="availability_months", first=first, last=last)
    months = _OF_SOME.format(table="stock_months", first=first, last=last)
    return f"""
        DO $$
        BEGIN
            IF EXISTS ({days} EXCEPT {months}) THEN
                PERFORM set_config('lock_timeout', '1s', true);
                LOCK TABLE availability IN SHARE ROW EXCLUSIVE MODE;
                INSERT INTO stock_months AS kept (package_id, month, prices, min_nights)
                {days}
                ON CONFLICT (month, package_id) DO UPDATE
                    SET prices = excluded.prices, min_nights = excluded.min_nights
                    WHERE (kept.prices, kept.min_nights) IS DISTINCT FROM (excluded.prices, excluded.min_nights);
            END IF;
        END $$
        """  # nosec B608 - our own numbers
