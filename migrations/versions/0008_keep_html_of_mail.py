"""The HTML of a mail, kept as it was sent: the templates change, what somebody was told does not."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("html", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("notifications", "html")
