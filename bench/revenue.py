"""What finance looks at, on a ledger of two million entries: the revenue page's data against adding up the ledger, and
against reading the sums by day alone; a figure's JSON against plotly.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from typing import Any

import orjson
import plotly.graph_objects  # type: ignore[import-untyped]
import psycopg2
from sqlalchemy import text

from app.accounts.models import User
from app.bookings.models import Booking
from app.db import owner_engine, read, transaction, utcnow
from app.demo.set_aside import SetAside
from app.extensions import db
from app.payments.models import LedgerEntry, Payment
from app.reports import figures, queries
from app.reports import service as reports
from app.reports.figures import Bar, Unit
from app.reports.periods import Period
from app.reports.revenue_days import COUNTED_AS, REVENUE_DAYS, REVENUE_MONTHS
from bench.cases import Case, Side
from bench.load import Run
from bench.market import Services, services
from dev.postgres import SUPERUSER

NAMES = ("revenue", "sums", "providers", "figure")
CAPTURES = 660_000  # of three entries each; every hundredth is refunded in two more
PROVIDERS, PACKAGES = 1_300, 13_000
_DAYS = 730

_FILLING = """
INSERT INTO providers (name, status) SELECT 'Provider ' || n, 'VERIFIED' FROM generate_series(1, %(providers)s) n;
INSERT INTO packages (provider_id, type, status, name, city, country, time_zone, price_minor, capacity, units)
SELECT 1 + n %% %(providers)s, CASE WHEN n %% 4 = 0 THEN 'tour' ELSE 'hotel' END, 'PUBLISHED', 'Package ' || n,
       'City ' || n %% 40, 'Country ' || n %% 20, 'Europe/Oslo', 10000, 4, 10
FROM generate_series(1, %(packages)s) n;
INSERT INTO users (email, name, password_hash) VALUES ('traveller@example.org', 'Traveller', '-');
INSERT INTO bookings (id, reference, status, traveller_id, package_id, provider_id, package_name, starts_on, ends_on,
                      time_zone, units, guests, nights, total_minor, currency, policy, expires_at, created_at)
SELECT n, 'TD-' || n, 'CONFIRMED', (SELECT max(id) FROM users), p.id, p.provider_id, p.name, current_date,
       current_date + 1, p.time_zone, 1, 2, '[]', 10000 + n %% 50000, 'USD', '{}', now(), now()
FROM generate_series(1, %(captures)s) n
JOIN packages p ON p.id = (SELECT min(id) FROM packages) + CAST(n AS bigint) * 7919 %% %(packages)s;
INSERT INTO payments (id, booking_id, provider_id, status, amount_minor, commission_minor, currency, idempotency_key)
SELECT id, id, provider_id, 'SUCCEEDED', total_minor, total_minor / 10, currency, 'pay_' || id FROM bookings;
INSERT INTO ledger_entries (posted_at, kind, debit_account, credit_account, amount_minor, currency, source_id,
                            payment_id, booking_id, provider_id)
SELECT now() - %(days)s * interval '1 day' * (1 - p.id / CAST(%(captures)s AS numeric)), e.kind, e.debit, e.credit,
       e.amount, 'USD', e.source || p.id, p.id, p.id, p.provider_id
FROM payments p CROSS JOIN LATERAL (VALUES
    ('capture.provider_share', 'stripe_balance', 'provider_payable', p.amount_minor - p.commission_minor, 'ch_'),
    ('capture.commission', 'stripe_balance', 'commission_revenue', p.commission_minor, 'ch_'),
    ('capture.stripe_fee', 'stripe_fees', 'stripe_balance', 300, 'ch_'),
    ('refund.provider_share', 'provider_payable', 'refunds_payable', 900, 'refund_'),
    ('refund.commission', 'commission_revenue', 'refunds_payable', 100, 'refund_')
) AS e(kind, debit, credit, amount, source)
WHERE e.source = 'ch_' OR p.id %% 100 = 0
ORDER BY p.id;
"""

# The same answers from the entries themselves, as one would write it.
_MEASURED = """
    sum(e.amount_minor) FILTER (WHERE e.kind LIKE 'capture.%' AND e.kind <> 'capture.stripe_fee') AS gross,
    sum(e.amount_minor) FILTER (WHERE e.kind LIKE 'refund.%') AS refunds,
    sum(CASE e.kind WHEN 'capture.commission' THEN e.amount_minor WHEN 'refund.commission' THEN -e.amount_minor END)
        AS commission,
    sum(e.amount_minor) FILTER (WHERE e.kind = 'capture.stripe_fee') AS fees,
    count(*) FILTER (WHERE e.kind = 'capture.provider_share') AS captures
"""
_PLAIN = (
    f"SELECT CAST(e.posted_at AS date) AS day, {_MEASURED} FROM ledger_entries e"  # nosec B608 - our own names
    " WHERE e.posted_at >= :first AND e.posted_at < :end AND e.currency = 'USD' GROUP BY 1",
    f"SELECT p.type, e.posted_at >= :since, {_MEASURED} FROM ledger_entries e"  # nosec B608 - our own names
    " JOIN bookings b ON b.id = e.booking_id JOIN packages p ON p.id = b.package_id"
    " WHERE e.posted_at >= :first AND e.posted_at < :end AND e.currency = 'USD' GROUP BY 1, 2",
)
_AMOUNTS = ", ".join(f"sum({name}) AS {name}" for name in queries.Takings._fields)
_SUMS = (
    "SELECT currency, sum(captures) FROM revenue_days WHERE dimension = 'all'"
    " AND day BETWEEN %(first)s AND %(last)s GROUP BY 1 ORDER BY 2 DESC, 1",
    f"SELECT day, {_AMOUNTS} FROM revenue_days WHERE dimension = 'all' AND key = '' AND currency = 'USD'"  # nosec B608 - our own names
    " AND day BETWEEN %(first)s AND %(last)s GROUP BY day",
    f"SELECT key, day >= %(since)s AS is_now, {_AMOUNTS} FROM revenue_days WHERE dimension = 'type'"  # nosec B608 - our own names
    " AND currency = 'USD' AND day BETWEEN %(first)s AND %(last)s GROUP BY 1, 2",
)
# As the page would without the sums by month, with what came since the mark.
_BY_PROVIDER = _SUMS[2].replace("'type'", "'provider'").replace("FROM revenue_days", f"FROM ({REVENUE_DAYS.all}) AS d")


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The table of what is measured, on services of its own."""
    with ExitStack() as stack:
        found = stack.enter_context(services())
        print("Filling the ledger takes a minute or more.", flush=True)
        stack.enter_context(found.app.app_context())
        _fill(found)
        today = utcnow().date()
        year = Period(today - timedelta(days=364), today)
        _check(year)
        days = queries.takings(year, "USD")
        bars = [Bar(day.isoformat(), str(day), sums.gross_minor, sums.refunds_minor) for day, sums in days.items()]
        unit, drawn = Unit("USD"), _in_colours(figures.over_time(bars, Unit("USD")))
        yield [
            Case(
                "revenue", "GROUP BY over the ledger", 100, _timed(lambda: _plain(year)), _timed(lambda: _ours(year)), 5
            ),
            Case("sums", "reading the sums by day", 0.5, _timed(lambda: _sums(year)), _timed(lambda: _ours(year))),
            Case(
                "providers",
                "adding up the days of each",
                3,
                _timed(lambda: read(_BY_PROVIDER, _asked(year))),
                _timed(lambda: queries.takings_by("provider", year, "USD")),
            ),
            Case(
                "figure",
                "plotly.py",
                50,
                _timed(lambda: plotly.graph_objects.Figure(drawn).to_json()),
                _timed(lambda: orjson.dumps(figures.over_time(bars, unit))),
            ),
        ]


def _fill(found: Services) -> None:
    engine = owner_engine(found.env["DATABASE_OWNER_URL"])
    sizes = {"providers": PROVIDERS, "packages": PACKAGES, "captures": CAPTURES, "days": _DAYS}
    with engine.begin() as owner:
        slowing = SetAside(owner, (User, Booking, Payment, LedgerEntry))
        owner.connection.cursor().execute(_FILLING, sizes)
        slowing.restore()
    engine.dispose()
    reports.add_up()
    with closing(psycopg2.connect(found.postgres.url(SUPERUSER))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _ours(year: Period) -> Any:
    """What the page reads for a year by day and by type, with the year before."""
    both = Period(year.before.first, year.last)
    (currency,) = queries.currencies(both)
    return queries.takings(both, currency), queries.takings_by("type", year, currency)


def _asked(year: Period) -> dict[str, Any]:
    return {"since": year.first, "first": year.before.first, "last": year.last}


def _sums(year: Period) -> None:
    for statement in _SUMS:
        read(statement, _asked(year))


def _plain(year: Period) -> list[list[Any]]:
    asked = {"since": year.first, "first": year.before.first, "end": year.last + timedelta(days=1)}
    with transaction():
        return [list(db.session.execute(text(statement), asked)) for statement in _PLAIN]


def _check(year: Period) -> None:
    """Both give the same, and every sum is what its entries come to. Raises RuntimeError."""
    (by_day, by_type), (plain_days, plain_types) = _ours(year), _plain(year)
    for row in plain_days:
        ours = by_day[row.day]
        if ours[:2] + ours[3:6] != tuple(value or 0 for value in row[1:]):
            raise RuntimeError(f"{row.day} is {ours} by its sums and {row} by its entries")
    for kind, is_now, gross, *_ in plain_types:
        if by_type[kind][not is_now].gross_minor != gross:
            raise RuntimeError(f"the sums of {kind} are not what its entries come to")
    by_provider = queries.takings_by("provider", year, "USD")
    for row in read(_BY_PROVIDER, _asked(year)):
        if by_provider[row.key][not row.is_now] != tuple(row[2:]):
            raise RuntimeError(f"the months of provider {row.key} are not what their days come to")
    with transaction():
        db.session.execute(text("SET LOCAL statement_timeout = 0"))
        wrong = [
            line for sums in (REVENUE_DAYS, REVENUE_MONTHS) for line in db.session.scalars(text(sums.contradictions))
        ]
        entries = db.session.scalar(text("SELECT count(*) FROM ledger_entries"))
    if wrong:
        raise RuntimeError("\n".join(wrong[:20]))
    print(f"{entries:,} entries, {len(COUNTED_AS)} measures, {len(by_day)} days: equal to the cent.", flush=True)


def _in_colours(figure: Any) -> Any:
    """The figure with colours that plotly.py accepts."""
    return orjson.loads(re.sub(rb"var\(--[a-z0-9-]+\)", b"#5253c4", orjson.dumps(figure)))


def _timed(call: Callable[[], Any]) -> Side:
    """Make the call again and again for as long as a round takes, at least once."""

    def run(seconds: float) -> Run:
        done = Run()
        begin = time.perf_counter()
        while done.seconds < seconds:
            started = time.perf_counter()
            call()
            now = time.perf_counter()
            done.latencies.append(now - started)
            done.seconds = now - begin
        return done

    return run
