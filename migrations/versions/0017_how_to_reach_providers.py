"""How staff reach a provider."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

COLUMNS = ("contact_name", "email", "phone", "address", "country")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("providers", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("providers", name)
