"""Indexes to find people, providers and packages by a part of their name, and a provider's bookings."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Found by any part of these.
WORDS = (
    ("users", "email"),
    ("users", "name"),
    ("providers", "name"),
    ("packages", "name"),
    ("packages", "place"),
    ("packages", "city"),
    ("packages", "country"),
)


def upgrade() -> None:
    # Here rather than with the column, whose transaction keeps everybody out. Nothing is lost by running it twice.
    op.execute(
        "-- squawk-ignore prefer-robust-stmts\nALTER TABLE availability VALIDATE CONSTRAINT ck_availability_min_nights"
    )
    # A trusted extension: the database's owner may add it. It stays when this is undone, as it may have been there.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.create_index(
            "ix_bookings_provider_id",
            "bookings",
            ["provider_id", "id"],
            unique=False,
            postgresql_concurrently=True,
            if_not_exists=True,
        )
        for table, column in WORDS:
            op.create_index(
                f"ix_{table}_{column}_words",
                table,
                [column],
                unique=False,
                postgresql_using="gin",
                postgresql_ops={column: "gin_trgm_ops"},
                postgresql_concurrently=True,
                if_not_exists=True,
            )


def downgrade() -> None:
    for table, column in WORDS:
        op.drop_index(f"ix_{table}_{column}_words", table_name=table)
    op.drop_index("ix_bookings_provider_id", table_name="bookings")
