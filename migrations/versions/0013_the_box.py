"""What the search box needs: the words that names are made of, and what each of the staff opened last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0013"
down_revision = "0012"

# The columns whose words are kept, by table.
NAMED = {"users": "name", "providers": "name", "packages": "name, place, city"}
_WORDS = """
SELECT DISTINCT word FROM (
  SELECT btrim(part, '.,;:!?()[]&''"/-') AS word
  FROM {source}, LATERAL string_to_table(lower(concat_ws(' ', {columns})), ' ') AS part
) AS parts
WHERE length(word) BETWEEN 3 AND 40
"""


def upgrade() -> None:
    op.create_table(
        "name_words",
        sa.Column("word", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("word", name=op.f("pk_name_words")),
    )
    op.create_index(
        "ix_name_words_word_words",
        "name_words",
        ["word"],
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
    )
    op.create_table(
        "recent_records",
        sa.Column("person_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("record_id", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["users.id"], name=op.f("fk_recent_records_person_id")),
        sa.PrimaryKeyConstraint("person_id", "kind", "record_id", name=op.f("pk_recent_records")),
    )
    # In one order and only what is new: two transactions that bring the same words don't wait for each other in a ring.
    op.execute(
        f"""
        CREATE FUNCTION keep_name_words() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          EXECUTE format($words$
            INSERT INTO name_words (word)
            SELECT word FROM ({_WORDS.format(source="written", columns="%s")}) AS found
            WHERE NOT EXISTS (SELECT FROM name_words AS known WHERE known.word = found.word)
            ORDER BY word ON CONFLICT DO NOTHING
          $words$, TG_ARGV[0]);
          RETURN NULL;
        END $$
        """
    )
    for table, columns in NAMED.items():
        for event in ("insert", "update"):
            op.execute(
                f"CREATE TRIGGER {table}_{event}_name_words AFTER {event.upper()} ON {table}"
                " REFERENCING NEW TABLE AS written"
                f" FOR EACH STATEMENT EXECUTE FUNCTION keep_name_words('{columns}')"
            )
        op.execute(
            f"INSERT INTO name_words (word) {_WORDS.format(source=table, columns=columns)}"  # nosec B608 - our own names
            " ON CONFLICT DO NOTHING"
        )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT ON name_words TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON recent_records TO {app_role}")


def downgrade() -> None:
    for table in NAMED:
        for event in ("insert", "update"):
            op.execute(f"DROP TRIGGER {table}_{event}_name_words ON {table}")
    op.execute("DROP FUNCTION keep_name_words()")
    op.drop_table("recent_records")
    op.drop_table("name_words")
