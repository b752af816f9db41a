"""/console/public-search/: how the public's search stands: index, engine, latency, and what nothing was found for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import redis
from flask import request
from flask_admin import expose
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from app.console import session
from app.console.base import ADMIN, Column, done, line, reason_given
from app.console.formatting import day, duration
from app.console.record import Action, Blocked, Fact, Group
from app.console.searches import searched_href, words_shown
from app.console.try_search import TryPages
from app.db import utcnow
from app.errors import Invalid
from app.extensions import db
from app.search import indexing, latency, meilisearch, rebuilding, sending
from app.search.meilisearch import Meilisearch, NotAnswering
from app.search.models import IndexRebuild, SearchedFor, SearchedWords

_REASONS = (
    "What is found differs from the packages",
    "The database or Meilisearch was restored",
    "Fields or settings of the index have changed",
    "To see that it works",
)
_LATENCY_COLUMNS = (
    Column("at", "When"),
    Column("engine", "Engine"),
    Column("answers", "Answers", "number", "right"),
    Column("p50", "p50", align="right"),
    Column("p95", "p95", align="right"),
    Column("p99", "p99", align="right"),
)
_EMPTY_COLUMNS = (
    Column("words", "Words", "link"),
    Column("without_result", "Without a result", "number", "right"),
    Column("searches", "Searches", "number", "right"),
    Column("last_at", "Last", "time", "right"),
)
_FREQUENT_COLUMNS = (
    Column("words", "Words", "link"),
    Column("searches", "Searches", "number", "right"),
    Column("mean", "Mean", align="right"),
    Column("last_at", "Last", "time", "right"),
)
_SHOWN = 10
_UNSENT_COUNTED = 10_000
# Seconds between two looks while a rebuild runs.
_LOOK = 2
_SPANS = {
    "hours": ("Searches, by hour", "search", "hour", timedelta(hours=24)),
    "days": ("By day", "search", "day", timedelta(days=30)),
    "suggestion-hours": ("Suggestions, by hour", "suggestions", "hour", timedelta(hours=24)),
    "suggestion-days": ("By day", "suggestions", "day", timedelta(days=30)),
}


class PublicSearchView(TryPages):
    """The public's search, for admins."""

    roles = ADMIN
    icon = "search"
    commands = (("Try a query", "/console/public-search/try", "search explain ranking scores public"),)

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Everything at once."""
        counts, rebuild = indexing.counts(), rebuilding.last()
        running = rebuild is not None and rebuild.status == "RUNNING"
        return str(
            self.render(
                "console/public_search/index.html",
                title=self.name,
                actions=_actions(counts, running=running),
                blocked=[Blocked("Rebuild the index", "It is being rebuilt right now.")] if running else [],
                look_again=_LOOK if running else None,
                says="Being rebuilt" if running else "Not being rebuilt",
                progress=_progress(rebuild) if rebuild and running else None,
                cards=_cards(counts),
                facts=[_index_facts(counts), _engine_facts(meilisearch.server()), _rebuild_facts(rebuild)],
                failures=_failures(meilisearch.server(), rebuild),
                spans=_spans(),
                latency_columns=_LATENCY_COLUMNS,
                latencies=_latencies(),
                empty_columns=_EMPTY_COLUMNS,
                empty=_most(SearchedFor.without_result),
                frequent_columns=_FREQUENT_COLUMNS,
                frequent=_most(SearchedFor.searches),
            )
        )

    @expose("/rebuild", methods=["POST"])  # type: ignore[untyped-decorator]
    def rebuild(self) -> Response:
        """Have the index made anew."""
        rebuilding.begin(reason_given(), by=session.actor())
        return done("The index is being rebuilt. Searches go on meanwhile.", "/console/public-search/")


def _actions(counts: indexing.Counts, *, running: bool) -> list[Action]:
    offered = [Action("try", "Try a query", "/console/public-search/try", "As the public asks it", "q", is_link=True)]
    if not running:
        what = (
            f"Compares the documents of all packages, {counts.on_sale:,} of them on sale, with their rows and writes "
            "what differs. Searches go on meanwhile."
        )
        if meilisearch.server() is not None:
            what += f" Then sends {counts.listed:,} documents into a second index, which takes the first one's place."
        href = "/console/public-search/rebuild"
        offered.append(Action("rebuild", "Rebuild the index", href, what, "r", needs_reason=True, reasons=_REASONS))
    return offered


def _cards(counts: indexing.Counts) -> list[dict[str, Any]]:
    today = utcnow().date()
    searched, empty = db.session.execute(
        select(
            func.coalesce(func.sum(SearchedWords.searches), 0), func.coalesce(func.sum(SearchedWords.without_result), 0)
        ).where(SearchedWords.day == today)
    ).one()
    last_day = latency.over("search", utcnow() - timedelta(hours=24))
    return [
        {"label": "Searches today", "value": f"{searched:,}", "hint": "Since midnight UTC, first pages"},
        {
            "label": "Without a result",
            "value": f"{empty:,}",
            "hint": f"{100 * empty / searched:.1f} % of today's" if searched else "None today",
        },
        {
            "label": "p95 in 24 hours",
            "value": _ms(last_day.p95) if last_day else "–",
            "hint": f"Half take at most {_ms(last_day.p50)}" if last_day else "Nobody has searched",
        },
        {
            "label": "Index is behind by",
            "value": duration(counts.lag_seconds) if counts.changed else "0 s",
            "hint": _waiting(counts.changed),
        },
    ]


def _waiting(packages: int) -> str:
    if not packages:
        return "No change waits"
    return "1 package waits" if packages == 1 else f"{packages:,} packages wait"


def _index_facts(counts: indexing.Counts) -> Group:
    return Group(
        "Index",
        (
            Fact("Packages on sale", counts.on_sale, "number"),
            Fact("Documents listed", counts.listed, "number"),
            Fact("Missing", counts.missing, "number"),
            Fact("Left over", counts.left_over, "number"),
            Fact("Outdated", counts.changed, "number"),
            Fact("First change waits", duration(counts.lag_seconds) if counts.changed else None),
        ),
    )


def _engine_facts(server: Meilisearch | None) -> Group:
    if server is None:
        facts = (Fact("Engine", "PostgreSQL"), Fact("Stands in for it", "Nobody: MEILI_URL is not set"))
        return Group("Engine", facts)
    unsent = sending.behind(_UNSENT_COUNTED)
    documents, waiting = _state(server)
    return Group(
        "Engine",
        (
            Fact("Engine", "Meilisearch"),
            Fact("Breaker", "Open: PostgreSQL answers" if server.breaker.is_open else "Closed: Meilisearch answers"),
            Fact("Documents there", documents, "number"),
            Fact("Not sent yet", f"{unsent:,}{'+' if unsent == _UNSENT_COUNTED else ''}"),
            Fact("Tasks waiting", waiting, "number"),
        ),
    )


def _state(server: Meilisearch) -> tuple[int | None, int | None]:
    """Documents and waiting tasks; nothing while it doesn't answer, and nobody waits for one that is known not to."""
    if server.breaker.is_open:
        return None, None
    try:
        state = server.state()
    except NotAnswering:
        return None, None
    return state.documents, state.waiting


def _failures(server: Meilisearch | None, rebuild: IndexRebuild | None) -> list[str]:
    found = []
    if rebuild is not None and rebuild.status == "FAILED":
        found.append(f"The last rebuild failed: {rebuild.ended_because}")
    elif rebuild is not None and rebuild.last_error:
        found.append(f"The rebuild is tried again by itself. The last try failed: {rebuild.last_error}")
    if server is not None:
        try:
            found += [f"Sending to Meilisearch fails: {problem}" for problem in sending.problems()]
        except redis.RedisError:
            found.append("Redis can't be reached: what went wrong when Meilisearch was told last isn't known.")
    return found


def _rebuild_facts(rebuild: IndexRebuild | None) -> Group:
    if rebuild is None:
        return Group("Last rebuild", (Fact("Begun", "Never, as far as is known"),))
    took = (rebuild.ended_at or utcnow()) - rebuild.begun_at
    return Group(
        "Last rebuild",
        (
            Fact("State", rebuild.status, "chip"),
            Fact("By", rebuild.asked_by),
            Fact("Begun", rebuild.begun_at, "time"),
            Fact("Took" if rebuild.ended_at else "Runs for", duration(took.total_seconds())),
            Fact("Packages compared", rebuild.packages, "number"),
            Fact("Documents written", rebuild.written, "number"),
            Fact("Documents sent", rebuild.sent or None, "number"),
        ),
    )


def _progress(rebuild: IndexRebuild) -> dict[str, Any]:
    of = f"{rebuild.total:,}"
    said, value = {
        "documents": (f"{rebuild.packages:,} of {of} packages compared", rebuild.packages),
        "words": ("Counting the words of all documents", rebuild.total),
        "second_index": ("Beginning a second index", 0),
        "sending": (f"{rebuild.sent:,} of {of} documents sent into the second index", rebuild.sent),
        "swap": ("The second index takes the first one's place", rebuild.total),
    }[rebuild.step]
    return {"has_bar": True, "value": min(value, rebuild.total), "most": rebuild.total, "said": f"{said}."}


def _span() -> str:
    asked = request.args.get("latency", "hours")
    if asked not in _SPANS:
        raise Invalid.field("latency", f"There is no table of latency called {asked}.")
    return asked


def _spans() -> list[dict[str, Any]]:
    return [
        {"label": label, "href": f"?latency={name}#latency", "is_chosen": name == _span()}
        for name, (label, *_) in _SPANS.items()
    ]


def _latencies() -> list[dict[str, Any]]:
    _, kind, step, back = _SPANS[_span()]
    return [
        line(
            at=f"{found.at:%-d %b, %H:%M} UTC" if step == "hour" else day(found.at.date()),
            engine=f"{_ENGINES.get(found.engine, found.engine)}{', standing in' if found.degraded else ''}",
            answers=found.latency.answers,
            **{name: _ms(getattr(found.latency, name)) for name in ("p50", "p95", "p99")},
        )
        for found in latency.by(kind, step, utcnow() - back)
    ]


_ENGINES = {"postgres": "PostgreSQL", "meilisearch": "Meilisearch"}


def _most(what: Any) -> list[dict[str, Any]]:
    """The words with most of it."""
    wanted = select(SearchedFor).where(what > 0).order_by(what.desc(), SearchedFor.last_at.desc()).limit(_SHOWN)
    return [
        line(
            searched_href(row.id),
            words=words_shown(row.words),
            searches=row.searches,
            without_result=row.without_result,
            mean=_ms(row.mean_ms),
            last_at=row.last_at,
        )
        for row in db.session.scalars(wanted)
    ]


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
