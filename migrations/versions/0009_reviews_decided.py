"""Who decided on a review and until when that can be undone; how often each star was given to a package."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0009"
down_revision = "0008"

INDEXES = (
    ("ix_reviews_not_shown", ["package_id", "rating"], "status = 'APPROVED' AND undo_until IS NOT NULL"),
    ("ix_reviews_undo_until", ["undo_until"], "undo_until IS NOT NULL"),
)
# What demo data said in words is a code from here on.
CODES = {
    "Names a private person": "private",
    "About something else than the stay": "off_topic",
    "Insults": "offensive",
    "Advertises another provider": "advertising",
}


def upgrade() -> None:
    # First, as it ends the transaction that is open; what follows has one of its own again. What failed halfway is run
    # again.
    with op.get_context().autocommit_block():
        op.add_column("reviews", sa.Column("moderated_by", sa.BigInteger(), nullable=True), if_not_exists=True)
        op.add_column("reviews", sa.Column("undo_until", sa.DateTime(timezone=True), nullable=True), if_not_exists=True)
        op.execute(
            "-- squawk-ignore ban-drop-constraint\n"
            "ALTER TABLE reviews DROP CONSTRAINT IF EXISTS fk_reviews_moderated_by"
        )
        op.execute(
            "ALTER TABLE reviews ADD CONSTRAINT fk_reviews_moderated_by"
            " FOREIGN KEY (moderated_by) REFERENCES users (id) NOT VALID"
        )
        op.execute("ALTER TABLE reviews VALIDATE CONSTRAINT fk_reviews_moderated_by")
        for name, columns, where in INDEXES:
            op.create_index(
                name,
                "reviews",
                columns,
                unique=False,
                postgresql_where=sa.text(where),
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    op.create_table(
        "rating_counts",
        sa.Column("package_id", sa.BigInteger(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=False),
        sa.Column("reviews", sa.Integer(), nullable=False),
        sa.CheckConstraint("rating BETWEEN 1 AND 5", name=op.f("ck_rating_counts_rating")),
        sa.CheckConstraint("reviews >= 0", name=op.f("ck_rating_counts_reviews")),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_rating_counts_package_id")),
        sa.PrimaryKeyConstraint("package_id", "rating", name=op.f("pk_rating_counts")),
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON rating_counts TO {app_role}")
    # Nothing decided on reviews before this, so these are the counts to start from.
    op.execute(
        "INSERT INTO rating_counts (package_id, rating, reviews)"
        " SELECT package_id, rating, count(*) FROM reviews WHERE status = 'APPROVED' GROUP BY package_id, rating"
    )
    for words, code in CODES.items():
        coded = sa.text("UPDATE reviews SET moderation_reason = :code WHERE moderation_reason = :words")
        op.execute(coded.bindparams(code=code, words=words))


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name, _, _ in INDEXES:
            op.drop_index(name, table_name="reviews", if_exists=True, postgresql_concurrently=True)
    op.drop_table("rating_counts")
    op.drop_column("reviews", "undo_until")
    op.drop_column("reviews", "moderated_by")
