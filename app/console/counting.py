"""How many rows a list has: exactly as far as that is quick, beyond by what the database knows without reading them."""

from __future__ import annotations

from math import floor, log10
from typing import Any

from sqlalchemy import ClauseElement, Executable, Select, func, select
from sqlalchemy.ext.compiler import compiles

from app.extensions import db


class _Explain(Executable, ClauseElement):
    """The planner's account of a query, which is not run."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(_Explain)
def _explain(element: _Explain, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.query, **options)}"


def estimated(query: Select[Any]) -> int:
    """How many rows the planner expects of a query, from what the database last counted and sampled of its tables."""
    plan = db.session.execute(_Explain(query)).scalar_one()
    return int(plan[0]["Plan"]["Plan Rows"])


def counted(query: Select[Any], most: int) -> int:
    """How many rows a query has, counting `most` at most."""
    capped = query.order_by(None).limit(most).subquery()
    return db.session.scalar(select(func.count()).select_from(capped)) or 0


def rounded(count: int) -> int:
    """A number with no more digits than an estimate is good for: two."""
    return count if count < 100 else round(count, 1 - floor(log10(count)))
