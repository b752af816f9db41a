"""Which request asked to close a payment's intent, to pay a refund, or to reset a password: its trail goes on."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

TABLES = ("payments", "refunds", "password_reset_requests")


def upgrade() -> None:
    for table in TABLES:
        # "-" is outside a request. It stays the default: the version before this one still runs, and leaves it out.
        op.add_column(table, sa.Column("request_id", sa.Text(), server_default="-", nullable=False))


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_column(table, "request_id")
