"""A package's cancellation policy is one of those there are."""

from alembic import op

revision = "0031"
down_revision = "0030"

RULE = "fk_packages_cancellation_policy"


def upgrade() -> None:
    # Looking through the packages locks nobody out; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.execute(f"-- squawk-ignore ban-drop-constraint\nALTER TABLE packages DROP CONSTRAINT IF EXISTS {RULE}")
        op.execute(
            f"ALTER TABLE packages ADD CONSTRAINT {RULE} FOREIGN KEY (cancellation_policy)"
            " REFERENCES cancellation_policies (code) NOT VALID"
        )
        op.execute(f"ALTER TABLE packages VALIDATE CONSTRAINT {RULE}")


def downgrade() -> None:
    op.execute(f"-- squawk-ignore ban-drop-constraint\nALTER TABLE packages DROP CONSTRAINT {RULE}")
