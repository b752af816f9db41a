"""/console/searches/: what the public searches for, and how often nothing was found."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask_admin import expose
from sqlalchemy import ColumnElement, Select, func, select

from app.console.base import ADMIN, Column, Filter, RecordView, find, line
from app.console.formatting import day
from app.console.ordering import Order, Sort
from app.console.record import Action, Fact, Group, Record
from app.extensions import db
from app.search.models import SearchedFor, SearchedWords
from app.search.searches import KEPT_DAYS

_OUTCOMES = {"empty": "Without a result at times", "never": "Never with a result", "found": "Always with a result"}
_DAY_COLUMNS = (
    Column("day", "Day"),
    Column("searches", "Searches", "number", "right"),
    Column("without_result", "Without a result", "number", "right"),
    Column("degraded", "Stood in", "number", "right"),
    Column("mean", "Mean", align="right"),
    Column("slowest", "Slowest", align="right"),
)


def _with_outcome(outcome: str) -> ColumnElement[bool]:
    if outcome == "never":
        return SearchedFor.without_result == SearchedFor.searches
    return SearchedFor.without_result > 0 if outcome == "empty" else SearchedFor.without_result == 0


class SearchesView(RecordView):
    """Words, each once, for admins."""

    roles = ADMIN
    icon = "search"
    model = SearchedFor
    title = "Searches"
    noun = ("query", "queries")
    exported_as = "searches"
    intro = (
        f"What the public searched for in the last {KEPT_DAYS} days, without case and accents. What looks like "
        "somebody's address or number isn't kept."
    )
    empty_hint = "What is searched for is here within half a minute."
    search_hint = "Words"
    columns = (
        Column("words", "Words", "link", sort=Sort(SearchedFor.words)),
        Column("searches", "Searches", "number", "right", sort=Sort(SearchedFor.searches)),
        Column("without_result", "Without a result", "number", "right", sort=Sort(SearchedFor.without_result)),
        Column("mean_ms", "Mean, ms", "number", "right", sort=Sort(SearchedFor.mean_ms)),
        Column("slowest_ms", "Slowest, ms", "number", "right", sort=Sort(SearchedFor.slowest_ms), is_usual=False),
        Column("degraded", "Engine stood in", "number", "right", is_usual=False),
        Column("engine", "Engine", is_usual=False),
        Column("last_at", "Last", "time", "right", sort=Sort(SearchedFor.last_at)),
    )
    filters = (
        Filter("outcome", "Outcome", _OUTCOMES, where=_with_outcome),
        Filter("since", "Searched since", kind="day", where=lambda since: SearchedFor.last_at >= since),
    )

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """By a part of the words, folded as they are."""
        return query.where(SearchedFor.words.contains(func.search_fold(words), autoescape=False))

    def cells(self, row: SearchedFor) -> dict[str, Any]:
        """One line."""
        names = ("searches", "without_result", "mean_ms", "slowest_ms", "degraded", "engine", "last_at")
        return {"words": words_shown(row.words), **{name: getattr(row, name) for name in names}}

    def href(self, row: SearchedFor) -> str:
        """Its days."""
        return searched_href(row.id)

    @expose("/<int:search_id>/")  # type: ignore[untyped-decorator]
    def show(self, search_id: int) -> str:
        """The words, day by day."""
        words = find(SearchedWords, search_id, "search").words
        row = db.session.scalars(select(SearchedFor).where(SearchedFor.words == words)).one()
        days = db.session.scalars(
            select(SearchedWords).where(SearchedWords.words == words).order_by(SearchedWords.day.desc())
        )
        return self.render_record(
            Record(
                title=words_shown(words),
                actions=[Action("try", "Try it", try_href(words), "As the public asks it", "q", is_link=True)],
                facts=(_facts(row),),
            ),
            "console/searches/show.html",
            columns=_DAY_COLUMNS,
            days=[
                line(
                    day=day(one.day),
                    searches=one.searches,
                    without_result=one.without_result,
                    degraded=one.degraded,
                    mean=f"{one.took_ms / one.searches:,.0f} ms",
                    slowest=f"{one.slowest_ms:,} ms",
                )
                for one in days
            ],
        )

    def _order(self) -> tuple[Order, Column | None]:
        # The most frequent first: whose words were the first of all is nothing to go by.
        if self._sort_asked():
            return super()._order()
        column = next(column for column in self.columns if column.key == "searches")
        return Order(self.model.__table__.c.id, column.sort), column

    def _sort_asked(self) -> str:
        asked = super()._sort_asked()
        return "" if asked == "-searches" else asked


def searched_href(search_id: int) -> str:
    """The page of some words."""
    return f"/console/searches/{search_id}/"


def try_href(words: str) -> str:
    """Where they are tried out."""
    return f"/console/public-search/try?{urlencode({'q': words})}"


def words_shown(words: str) -> str:
    """The words; a search may have none."""
    return words or "(no words)"


def _facts(row: SearchedFor) -> Group:
    return Group(
        f"In {KEPT_DAYS} days",
        (
            Fact("Searches", row.searches, "number"),
            Fact("Without a result", row.without_result, "number"),
            Fact("Mean", f"{row.mean_ms:,} ms"),
            Fact("Slowest", f"{row.slowest_ms:,} ms"),
            Fact("Engine stood in", row.degraded, "number"),
            Fact("Last", row.last_at, "time"),
        ),
    )
