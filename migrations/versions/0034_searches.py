"""What the public searches for, how long the answers take, and rebuilds of the index."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.create_table(
        "searched_words",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("searches", "without_result", "degraded")),
        sa.Column("took_ms", sa.BigInteger(), nullable=False),
        sa.Column("slowest_ms", sa.Integer(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "without_result <= searches AND degraded <= searches", name=op.f("ck_searched_words_counts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searched_words")),
    )
    op.create_index("uq_searched_words_day", "searched_words", ["day", "words"], unique=True)
    op.create_table(
        "search_latencies",
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("under_ms", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("answers", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('search', 'suggestions')", name=op.f("ck_search_latencies_kind")),
        sa.PrimaryKeyConstraint("hour", "kind", "engine", "degraded", "under_ms", name=op.f("pk_search_latencies")),
    )
    op.create_table(
        "index_rebuilds",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("status", sa.Text(), server_default="RUNNING", nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), server_default="documents", nullable=False),
        sa.Column("reached", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        *(
            sa.Column(name, sa.Integer(), server_default="0", nullable=False)
            for name in ("total", "packages", "written", "sent")
        ),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.CheckConstraint("status IN ('RUNNING', 'DONE', 'FAILED')", name=op.f("ck_index_rebuilds_status")),
        sa.CheckConstraint(
            "step IN ('documents', 'words', 'second_index', 'sending', 'swap')", name=op.f("ck_index_rebuilds_step")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_index_rebuilds")),
    )
    op.create_index(
        "uq_index_rebuilds_running",
        "index_rebuilds",
        ["status"],
        unique=True,
        postgresql_where=sa.text("status = 'RUNNING'"),
    )
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON searched_words, search_latencies TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON index_rebuilds TO {app_role}")
    op.execute(f"GRANT USAGE ON SEQUENCE searched_words_id_seq, index_rebuilds_id_seq TO {app_role}")


def downgrade() -> None:
    op.drop_table("index_rebuilds")
    op.drop_table("search_latencies")
    op.drop_table("searched_words")
