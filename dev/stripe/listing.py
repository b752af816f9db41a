"""Lists, newest first, paged by object ids as Stripe pages them (https://docs.stripe.com/api/pagination)."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dev.stripe.errors import invalid_parameter, no_such

_COMPARE = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def page(
    db: sqlite3.Connection,
    params: Mapping[str, Any],
    table: str,
    shape: Callable[[sqlite3.Connection, sqlite3.Row], dict[str, Any]],
    url: str,
    where: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """One page of a table. `where` maps conditions to their values; the page's place comes from `params`."""
    clauses = list(where)
    values = [value for given in where.values() for value in given]
    for name, moment in params.get("created", {}).items():
        clauses.append(f"created {_COMPARE[name]} ?")
        values.append(moment)
    backwards = "ending_before" in params
    if backwards and "starting_after" in params:
        raise invalid_parameter(
            "You may only specify one of these parameters: ending_before, starting_after.", "ending_before"
        )
    for name, compare in (("starting_after", "<"), ("ending_before", ">")):
        if name in params:
            place = f"SELECT created, seq FROM {table} WHERE id = ?"  # nosec B608
            cursor = db.execute(place, (params[name],)).fetchone()
            if cursor is None:
                raise no_such(table.removesuffix("s"), params[name], name)
            clauses.append(f"(created, seq) {compare} (?, ?)")
            values += [cursor["created"], cursor["seq"]]
    limit = params.get("limit", 10)
    order = "created, seq" if backwards else "created DESC, seq DESC"
    condition = f"WHERE {' AND '.join(clauses)}" if clauses else ""
    statement = f"SELECT * FROM {table} {condition} ORDER BY {order} LIMIT ?"  # nosec B608
    rows = db.execute(statement, (*values, limit + 1)).fetchall()
    shown = rows[:limit][::-1] if backwards else rows[:limit]
    return {
        "object": "list",
        "data": [shape(db, row) for row in shown],
        "has_more": len(rows) > limit,
        "url": url,
    }
