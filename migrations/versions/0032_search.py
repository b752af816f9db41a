"""Search: what of the catalogue has changed, the documents that are searched, their words, and the stock by month."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import make_url
from sqlalchemy.dialects import postgresql

from app.config import settings

revision = "0032"
down_revision = "0031"

# What a document is made of; anything else about a package may change without one being written.
OF_A_PACKAGE = (
    *("provider_id", "type", "status", "name", "description", "place", "city", "country"),
    *("latitude", "longitude", "price_minor", "currency", "capacity", "amenities"),
)
# Of a document; description and words are stored elsewhere.
KEPT_AT_HAND = (
    *("type", "provider", "name", "place", "city", "country", "currency"),
    *("amenities", "title", "place_keys"),
)
SYNONYMS = (
    ("apartment", "flat", "apt", "condo"),
    ("studio", "bedsit"),
    ("house", "home", "villa"),
    ("cabin", "hut", "chalet", "lodge"),
    ("hostel", "dorm", "dormitory"),
    ("hotel", "inn"),
    ("bike", "bicycle", "cycling"),
    ("sea", "ocean"),
    ("seaside", "beachfront", "oceanfront"),
    ("tour", "trip", "excursion"),
    ("hike", "hiking", "trek", "trekking"),
    ("boat", "cruise", "sailing"),
    ("centre", "center", "downtown", "central"),
    ("wifi", "wi fi", "internet"),
    ("parking", "garage"),
    ("pool", "swimming pool"),
    ("tv", "television"),
    ("ac", "air conditioning", "aircon"),
)


# Which packages aren't on sale, or only for longer stays, are few: they are looked up, and not those that are. Beside
# running writes: (index, columns, where).
INDEXES = (
    ("ix_packages_min_nights", ["min_nights", "id"], None),
    ("ix_packages_off_sale", ["id"], "status <> 'PUBLISHED'"),
)


def upgrade() -> None:
    # First, as it ends the transaction that is open; what failed halfway is run again.
    with op.get_context().autocommit_block():
        for name, columns, where in INDEXES:
            # What was interrupted has left an index that nothing reads and that counts as being there.
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.create_index(
                name,
                "packages",
                columns,
                unique=False,
                postgresql_where=sa.text(where) if where else None,
                postgresql_concurrently=True,
                if_not_exists=True,
            )
    _words()
    _changes()
    _documents()
    _stock()
    app_role = postgresql.dialect().identifier_preparer.quote(make_url(settings().database_url).username or "")
    op.execute(f"GRANT SELECT ON availability_months TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON search_documents, stock_months TO {app_role}")
    # A change is never changed: it is taken.
    op.execute(f"GRANT SELECT, INSERT, DELETE ON package_changes TO {app_role}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON search_words, search_synonyms TO {app_role}")
    op.execute(
        "GRANT USAGE ON SEQUENCE package_changes_id_seq, search_synonyms_id_seq, search_document_versions"
        f" TO {app_role}"
    )


def _words() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS unaccent")
    op.execute("CREATE TEXT SEARCH CONFIGURATION tripdesk (COPY = simple)")
    # No stemming: names are in every language.
    op.execute(
        "ALTER TEXT SEARCH CONFIGURATION tripdesk"
        " ALTER MAPPING FOR word, numword, hword, hword_part, hword_numpart, numhword WITH unaccent, simple"
    )
    # Words as they are compared, with one blank between them: without case, accents and apostrophes. What else stands
    # between words would have the parser see files, hosts and signed numbers in them.
    op.execute(
        r"""
        CREATE FUNCTION search_fold(words text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE RETURN
            btrim(regexp_replace(
                lower(unaccent(translate(normalize(words, NFKC), '''’‘`´', ''))), '[^[:alnum:]]+', ' ', 'g'))
        """
    )
    op.create_table(
        "search_words",
        sa.Column("word", sa.Text(collation="C"), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("word", name=op.f("pk_search_words")),
    )
    op.create_index(
        "ix_search_words_word_words",
        "search_words",
        ["word"],
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
    )
    op.create_table(
        "search_synonyms",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("words", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.CheckConstraint("cardinality(words) >= 2", name=op.f("ck_search_synonyms_words")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_synonyms")),
    )
    for words in SYNONYMS:
        listed = ", ".join(f"'{word}'" for word in words)
        op.execute(f"INSERT INTO search_synonyms (words) VALUES (ARRAY[{listed}])")


def _changes() -> None:
    op.create_table(
        "package_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("package_id", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_changes")),
    )
    _statement_trigger("packages", "insert", "note_new_packages", "SELECT id FROM written")
    differs = " OR ".join(f"before.{column} IS DISTINCT FROM written.{column}" for column in OF_A_PACKAGE)
    changed = f"SELECT written.id FROM written JOIN before ON before.id = written.id WHERE {differs}"  # nosec B608 - our own names
    _statement_trigger("packages", "update", "note_changed_packages", changed)
    _statement_trigger(
        "providers",
        "update",
        "note_packages_of_changed_providers",
        "SELECT packages.id FROM written JOIN before ON before.id = written.id"
        " JOIN packages ON packages.provider_id = written.id"
        " WHERE before.name <> written.name OR before.status <> written.status",
    )
    for event in ("insert", "update", "delete"):
        rows = "before" if event == "delete" else "written"
        found = f"SELECT DISTINCT package_id FROM {rows}"  # nosec B608 - our own names
        _statement_trigger("rating_counts", event, f"note_packages_of_rating_{event}", found)
    # Of an approved review nothing is shown until it can't be undone any more, and that is told by itself.
    op.execute(
        """
        CREATE FUNCTION note_package_of_review() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO package_changes (package_id) VALUES (NEW.package_id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER reviews_shown_changes AFTER UPDATE ON reviews FOR EACH ROW WHEN ("
        "(OLD.status = 'APPROVED' AND OLD.undo_until IS NULL)"
        " IS DISTINCT FROM (NEW.status = 'APPROVED' AND NEW.undo_until IS NULL))"
        " EXECUTE FUNCTION note_package_of_review()"
    )
    op.execute("INSERT INTO package_changes (package_id) SELECT id FROM packages")


def _statement_trigger(table: str, event: str, function: str, found: str) -> None:
    """A trigger that notes the packages whose ids are `found` among the rows `before` and as `written`."""
    tables = {
        "insert": "NEW TABLE AS written",
        "update": "OLD TABLE AS before NEW TABLE AS written",
        "delete": "OLD TABLE AS before",
    }
    op.execute(
        f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO package_changes (package_id) {found};
            RETURN NULL;
        END $$
        """  # nosec B608 - our own names
    )
    op.execute(
        f"CREATE TRIGGER {table}_{event}_changes AFTER {event.upper()} ON {table} REFERENCING {tables[event]}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
    )


def _documents() -> None:
    op.execute("CREATE SEQUENCE search_document_versions")
    op.create_table(
        "search_documents",
        sa.Column("package_id", sa.BigInteger(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column(
            "version", sa.BigInteger(), server_default=sa.text("nextval('search_document_versions')"), nullable=False
        ),
        sa.Column("sent_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("indexed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("amenities", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("rating", sa.REAL(), nullable=True),
        sa.Column("reviews", sa.Integer(), nullable=False),
        sa.Column("latitude", sa.Float(), nullable=True),
        sa.Column("longitude", sa.Float(), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("title", postgresql.TSVECTOR(), nullable=False),
        sa.Column("words", postgresql.TSVECTOR(), nullable=False),
        sa.Column("place_keys", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_search_documents_package_id")),
        sa.PrimaryKeyConstraint("package_id", name=op.f("pk_search_documents")),
        postgresql_with={"toast_tuple_target": 128},
    )
    # Rows are read by the ten thousand: what is long and not looked at then is put somewhere else.
    op.execute("ALTER TABLE search_documents ALTER COLUMN words SET STORAGE EXTERNAL")
    for column in KEPT_AT_HAND:
        op.execute(f"ALTER TABLE search_documents ALTER COLUMN {column} SET STORAGE MAIN")
    for column in ("words", "place_keys"):
        op.create_index(
            f"ix_search_documents_{column}",
            "search_documents",
            [column],
            postgresql_using="gin",
            postgresql_where=sa.text("listed"),
            # What waits to be merged into the index is read by every search.
            postgresql_with={"gin_pending_list_limit": 256},
        )
    op.create_index(
        "ix_search_documents_provider_id", "search_documents", ["provider_id"], postgresql_where=sa.text("listed")
    )
    op.create_index(
        "ix_search_documents_latitude",
        "search_documents",
        ["latitude", "longitude"],
        postgresql_where=sa.text("listed"),
    )
    op.create_index(
        "ix_search_documents_reviews",
        "search_documents",
        [sa.text("reviews DESC"), "package_id"],
        postgresql_where=sa.text("listed"),
    )
    op.create_index(
        "ix_search_documents_unsent",
        "search_documents",
        ["version"],
        postgresql_where=sa.text("version > sent_version"),
    )


def _stock() -> None:
    op.create_table(
        "stock_months",
        sa.Column("package_id", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("prices", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("min_nights", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.CheckConstraint("extract(day FROM month) = 1", name=op.f("ck_stock_months_month")),
        sa.CheckConstraint(
            "cardinality(prices) = 31 AND (min_nights IS NULL OR cardinality(min_nights) = 31)",
            name=op.f("ck_stock_months_days"),
        ),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_stock_months_package_id")),
        sa.PrimaryKeyConstraint("month", "package_id", name=op.f("pk_stock_months")),
        postgresql_with={"fillfactor": 80},
    )
    op.execute(
        """
        CREATE FUNCTION put_day(days anyarray, number integer, value anyelement) RETURNS anyarray
        LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
        BEGIN
            days[number] := value;
            RETURN days;
        END $$
        """
    )
    nothing = ",".join(["NULL"] * 31)
    op.execute(
        "CREATE AGGREGATE days_of_month(integer, anyelement)"
        f" (SFUNC = put_day, STYPE = anyarray, INITCOND = '{{{nothing}}}', PARALLEL = SAFE)"
    )
    # What `stock_months` must equal, from the rows themselves: for filling and checking it.
    op.execute(f"CREATE VIEW availability_months AS {_by_month('availability')}")
    _stock_of_new_days()
    _stock_of_changed_days()


def _by_month(days: str) -> str:
    """The SELECT of stock by month of these rows of availability."""
    return (
        "SELECT package_id, month,"  # nosec B608 - our own names
        " days_of_month(day - month + 1, price_minor) FILTER (WHERE NOT closed AND held + booked < capacity) AS prices,"
        " CASE WHEN count(min_nights) > 0"
        " THEN days_of_month(day - month + 1, min_nights) FILTER (WHERE min_nights IS NOT NULL) END AS min_nights"
        " FROM (SELECT package_id, day, CAST(date_trunc('month', CAST(day AS timestamp)) AS date) AS month,"
        f" capacity, held, booked, price_minor, min_nights, closed FROM {days}) AS days GROUP BY package_id, month"
    )


def _stock_of_new_days() -> None:
    op.execute(
        f"""
        CREATE FUNCTION keep_stock_of_new_days() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO stock_months AS kept (package_id, month, prices, min_nights)
            {_by_month("written")} ORDER BY package_id, month
            ON CONFLICT (month, package_id) DO UPDATE SET
                prices = (
                    SELECT array_agg(coalesce(added, there) ORDER BY number)
                    FROM unnest(excluded.prices, kept.prices) WITH ORDINALITY AS d (added, there, number)),
                min_nights = CASE
                    WHEN excluded.min_nights IS NULL THEN kept.min_nights
                    WHEN kept.min_nights IS NULL THEN excluded.min_nights
                    ELSE (
                        SELECT array_agg(coalesce(added, there) ORDER BY number)
                        FROM unnest(excluded.min_nights, kept.min_nights) WITH ORDINALITY AS d (added, there, number))
                    END;
            RETURN NULL;
        END $$
        """  # nosec B608 - our own numbers
    )
    op.execute(
        "CREATE TRIGGER availability_insert_stock AFTER INSERT ON availability REFERENCING NEW TABLE AS written"
        " FOR EACH STATEMENT EXECUTE FUNCTION keep_stock_of_new_days()"
    )


def _stock_of_changed_days() -> None:
    # One element at a time: who changes another day of the month meanwhile has theirs, and this one's.
    op.execute(
        """
        CREATE FUNCTION keep_stock_of_day(of_package bigint, of_day date, price bigint, nights integer) RETURNS void
        LANGUAGE plpgsql AS $$
        DECLARE
            first date := date_trunc('month', CAST(of_day AS timestamp));
            number integer := of_day - first + 1;
            were integer;
        BEGIN
            LOOP
                UPDATE stock_months SET prices[number] = price WHERE month = first AND package_id = of_package
                RETURNING min_nights[number] INTO were;
                EXIT WHEN FOUND OR price IS NULL AND nights IS NULL;
                INSERT INTO stock_months (package_id, month, prices)
                VALUES (of_package, first, array_fill(CAST(NULL AS bigint), ARRAY[31])) ON CONFLICT DO NOTHING;
            END LOOP;
            IF nights IS DISTINCT FROM were THEN
                UPDATE stock_months AS kept SET min_nights = (
                    SELECT CASE WHEN count(one) > 0 THEN array_agg(one ORDER BY n) END FROM (
                        SELECT n, CASE WHEN n = number THEN nights ELSE kept.min_nights[n] END AS one
                        FROM generate_series(1, 31) AS n) AS days)
                WHERE month = first AND package_id = of_package;
            END IF;
        END $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION keep_stock_of_changed_day() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            price bigint;
            nights integer;
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF NOT NEW.closed AND NEW.held + NEW.booked < NEW.capacity THEN
                    price := NEW.price_minor;
                END IF;
                PERFORM keep_stock_of_day(NEW.package_id, NEW.day, price, NEW.min_nights);
                IF (NEW.package_id, NEW.day) = (OLD.package_id, OLD.day) THEN
                    RETURN NULL;
                END IF;
            END IF;
            -- Where it was, another one may be by now.
            SELECT CASE WHEN NOT closed AND held + booked < capacity THEN price_minor END, min_nights
            INTO price, nights FROM availability WHERE package_id = OLD.package_id AND day = OLD.day;
            PERFORM keep_stock_of_day(OLD.package_id, OLD.day, price, nights);
            RETURN NULL;
        END $$
        """
    )
    # At the commit: a month is locked when its transaction has all the days that it wants, so that two of them never
    # wait for each other, one for a day and the other for a month.
    when = " OR ".join(
        (
            "(CASE WHEN NOT OLD.closed AND OLD.held + OLD.booked < OLD.capacity THEN OLD.price_minor END)"
            " IS DISTINCT FROM"
            " (CASE WHEN NOT NEW.closed AND NEW.held + NEW.booked < NEW.capacity THEN NEW.price_minor END)",
            "OLD.min_nights IS DISTINCT FROM NEW.min_nights",
            "(OLD.package_id, OLD.day) <> (NEW.package_id, NEW.day)",
        )
    )
    for event, condition in (("update", f"WHEN ({when})"), ("delete", "")):
        op.execute(
            f"CREATE CONSTRAINT TRIGGER availability_{event}_stock AFTER {event.upper()} ON availability"
            f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW {condition} EXECUTE FUNCTION keep_stock_of_changed_day()"
        )


def downgrade() -> None:
    for event in ("insert", "update", "delete"):
        op.execute(f"DROP TRIGGER availability_{event}_stock ON availability")
        op.execute(f"DROP TRIGGER rating_counts_{event}_changes ON rating_counts")
    op.execute("DROP TRIGGER reviews_shown_changes ON reviews")
    op.execute("DROP TRIGGER providers_update_changes ON providers")
    op.execute("DROP TRIGGER packages_update_changes ON packages")
    op.execute("DROP TRIGGER packages_insert_changes ON packages")
    op.execute(
        "DROP FUNCTION keep_stock_of_new_days(), keep_stock_of_changed_day(),"
        " keep_stock_of_day(bigint, date, bigint, integer), note_package_of_review(),"
        " note_new_packages(), note_changed_packages(), note_packages_of_changed_providers(),"
        " note_packages_of_rating_insert(), note_packages_of_rating_update(), note_packages_of_rating_delete()"
    )
    op.execute("DROP VIEW availability_months")
    op.execute("DROP AGGREGATE days_of_month(integer, anyelement)")
    op.execute("DROP FUNCTION put_day(anyarray, integer, anyelement)")
    for table in ("stock_months", "search_documents", "search_synonyms", "search_words", "package_changes"):
        op.drop_table(table)
    op.execute("DROP SEQUENCE search_document_versions")
    op.execute("DROP FUNCTION search_fold(text)")
    op.execute("DROP TEXT SEARCH CONFIGURATION tripdesk")
    for name, _columns, _where in reversed(INDEXES):
        op.drop_index(name, table_name="packages")
