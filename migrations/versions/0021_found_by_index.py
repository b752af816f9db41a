"""The order of the review queue as an index, the words that reviews are found by, and what is rare in the ledger."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0021"
down_revision = "0020"

URGENT_AT = r"""(timezone('UTC', created_at) - make_interval(0, 0, 0, 0,
    CASE WHEN content ~ 'https?://|www\.|[[:alnum:]._-]+@[[:alnum:]-]+\.|\+?\d[\d ()/-]{7,}\d' THEN 48 ELSE 0 END
    + CASE WHEN rating = 1 THEN 24 ELSE 0 END + CASE WHEN rating = 2 THEN 12 ELSE 0 END))"""
LEDGER = ("kind", "debit_account", "credit_account")


def upgrade() -> None:
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    # Beside running writes; what failed halfway is run again.
    with op.get_context().autocommit_block():
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_reviews_urgent ON reviews"
            f" ({URGENT_AT}, id) WHERE status = 'PENDING'"
        )
        op.create_index(
            "ix_reviews_approved",
            "reviews",
            ["id"],
            unique=False,
            postgresql_where=sa.text("status = 'APPROVED'"),
            postgresql_concurrently=True,
            if_not_exists=True,
        )
        for column in LEDGER:
            op.create_index(
                f"ix_ledger_entries_{column}",
                "ledger_entries",
                [column, "id"],
                unique=False,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
        op.create_table(
            "review_texts",
            sa.Column("review_id", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("words", sa.Text(), nullable=False),
            sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name=op.f("fk_review_texts_review_id")),
            sa.PrimaryKeyConstraint("review_id", name=op.f("pk_review_texts")),
            if_not_exists=True,
        )
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON review_texts TO {app_role}")
        # With the space, the content's first word begins one; the line between keeps the two apart.
        op.execute(
            r"""
            CREATE OR REPLACE FUNCTION keep_review_text() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
              INSERT INTO review_texts (review_id, words) VALUES (NEW.id, NEW.title || E'\n ' || NEW.content)
              ON CONFLICT (review_id) DO UPDATE SET words = excluded.words;
              RETURN NULL;
            END $$
            """
        )
        op.execute(
            "CREATE OR REPLACE TRIGGER reviews_text AFTER INSERT OR UPDATE OF title, content ON reviews"
            " FOR EACH ROW EXECUTE FUNCTION keep_review_text()"
        )
        # What comes from now on the trigger keeps; this is what was there.
        op.execute(
            r"INSERT INTO review_texts (review_id, words) SELECT id, title || E'\n ' || content FROM reviews"
            " ON CONFLICT DO NOTHING"
        )
        op.create_index(
            "ix_review_texts_words_words",
            "review_texts",
            ["words"],
            unique=False,
            postgresql_using="gin",
            postgresql_ops={"words": "gin_trgm_ops"},
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def downgrade() -> None:
    op.execute("DROP TRIGGER reviews_text ON reviews")
    op.execute("DROP FUNCTION keep_review_text()")
    op.drop_table("review_texts")
    for column in LEDGER:
        op.drop_index(f"ix_ledger_entries_{column}", table_name="ledger_entries")
    op.drop_index("ix_reviews_approved", table_name="reviews")
    op.drop_index("ix_reviews_urgent", table_name="reviews")
