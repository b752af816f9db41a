"""What makes a load slow and is set aside while it lasts: foreign keys and indexes, in the load's own transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from app.extensions import Model

# Enough to sort the keys of a few million rows in memory; two workers share it.
_MEMORY = "256MB"

# As the database itself writes them down, so whatever a migration made comes back as it was. Primary keys stay: rows
# come in their order, and other tables' foreign keys stand on them.
_SET_ASIDE = text(
    """
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS dropping,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
               AS making,
           CASE contype WHEN 'u' THEN 1 ELSE 3 END AS turn
    FROM pg_constraint WHERE contype IN ('f', 'u') AND conrelid = ANY(CAST(:tables AS regclass[]))
    UNION ALL
    SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid), 2
    FROM pg_index WHERE indrelid = ANY(CAST(:tables AS regclass[]))
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
    ORDER BY turn, making
    """
)


class SetAside:
    """Foreign keys, unique constraints and indexes of some tables, until `restore`.

    The connection must be the owner's, and nobody else can use the tables until its transaction is over. When that
    fails or is cut short, they are as they were.
    """

    def __init__(self, connection: Connection, models: Sequence[type[Model]]) -> None:
        self._connection = connection
        self._tables = [model.__tablename__ for model in models]
        connection.execute(text(f"LOCK TABLE {', '.join(self._tables)}"))
        found = connection.execute(_SET_ASIDE, {"tables": self._tables}).all()
        self._making = [row.making for row in found]
        # What stands on others goes first.
        for row in reversed(found):
            connection.execute(text(row.dropping))

    def restore(self) -> None:
        """Make them again, which proves of every row what they say: each by one sort or join, not row by row.

        Raises IntegrityError for a row that contradicts one.
        """
        self._connection.execute(text(f"SET LOCAL maintenance_work_mem = '{_MEMORY}'"))
        # The planner has no idea yet how long the tables have become.
        self._connection.execute(text(f"ANALYZE {', '.join(self._tables)}"))
        for statement in self._making:
            self._connection.exec_driver_sql(statement)
