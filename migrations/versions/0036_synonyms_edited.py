"""Words that mean the same, as search compares them, and when a group of them was changed last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0036"
down_revision = "0033"


def upgrade() -> None:
    op.add_column(
        "search_synonyms", sa.Column("folded", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)
    )
    op.add_column(
        "search_synonyms",
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    # By whatever statement they are written: a search must not fold a thousand groups to find the one it wants.
    op.execute(
        """
        CREATE FUNCTION fold_synonyms() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.folded := ARRAY(SELECT search_fold(word)
                                FROM unnest(NEW.words) WITH ORDINALITY AS given (word, number) ORDER BY number);
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER search_synonyms_folded BEFORE INSERT OR UPDATE OF words ON search_synonyms"
        " FOR EACH ROW EXECUTE FUNCTION fold_synonyms()"
    )
    op.execute("UPDATE search_synonyms SET words = words")


def downgrade() -> None:
    op.execute("DROP TRIGGER search_synonyms_folded ON search_synonyms")
    op.execute("DROP FUNCTION fold_synonyms()")
    op.drop_column("search_synonyms", "updated_at")
    op.drop_column("search_synonyms", "folded")
