"""Counting the providers that wait for their verification, on every page of the console, takes an index."""

from alembic import op

revision = "0019"
down_revision = "0017"


def upgrade() -> None:
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_providers_status",
            "providers",
            ["status", "id"],
            unique=False,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_providers_status", table_name="providers", if_exists=True, postgresql_concurrently=True)
