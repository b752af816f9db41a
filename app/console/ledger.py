"""/console/ledger/: the accounts with their balances, and every entry; to read only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from flask_admin import expose
from sqlalchemy import ColumnElement, or_, select
from werkzeug.wrappers import Response

from app.bookings.models import Booking
from app.catalog.models import Package, Provider
from app.console import session
from app.console.accounts import account_line, totals_of
from app.console.base import FINANCE, Filter, RecordView, done, find
from app.console.payments import ENTRY_COLUMNS, account_names, entry_lines, payment_href, references_of
from app.console.periods import period
from app.console.record import Fact, Group, Phrase, Record
from app.console.scope import PROVIDER
from app.extensions import db
from app.money import Money
from app.payments import ledger
from app.payments.ledger_names import ACCOUNTS, kind_in_words
from app.payments.models import LedgerEntry
from app.queue import poke
from app.reports.revenue_days import COUNTED_AS
from app.workers import Check, last_check

_CHECK_WITHIN_SECONDS = 60


def _of_account(code: str) -> ColumnElement[bool]:
    return or_(LedgerEntry.debit_account == code, LedgerEntry.credit_account == code)


def _of_booking(reference: str) -> ColumnElement[bool]:
    return LedgerEntry.booking_id.in_(select(Booking.id).where(Booking.reference == reference.upper()))


def _counted_as(name: str) -> ColumnElement[bool]:
    return LedgerEntry.kind.in_(COUNTED_AS[name])


def _of_type(kind: str) -> ColumnElement[bool]:
    return _of_packages(Package.type == kind)


def _of_place(place: str) -> ColumnElement[bool]:
    return _of_packages(Package.city + ", " + Package.country == place)


def _of_packages(which: ColumnElement[bool]) -> ColumnElement[bool]:
    sold = select(Booking.id).join(Package, Package.id == Booking.package_id).where(which)
    return LedgerEntry.booking_id.in_(sold)


class LedgerView(RecordView):
    """The books, for finance."""

    roles = FINANCE
    icon = "book-2"
    model = LedgerEntry
    title = "Ledger"
    exported_as = "ledger"
    noun = ("entry", "entries")
    intro = "Each entry moves an amount from the credited to the debited account. Entries are never changed."
    empty_hint = "The first ones are posted when a payment is captured."
    template = "console/ledger/list.html"
    columns = ENTRY_COLUMNS
    filters = (
        Filter(
            "account",
            "Account",
            {code: ACCOUNTS[code] for code in sorted({code for pair in ledger.POSTINGS.values() for code in pair})},
            where=_of_account,
        ),
        Filter("kind", "Posting", {kind: kind_in_words(kind) for kind in ledger.POSTINGS}),
        Filter("booking", "Booking", kind="text", where=_of_booking, hint="TD-…"),
        Filter("counts", "Counted as", {name: name.capitalize() for name in COUNTED_AS}, where=_counted_as),
        *period(LedgerEntry.id, LedgerEntry.posted_at),
        Filter("currency", "Currency", kind="linked"),
        PROVIDER,
        Filter("type", "Type", kind="linked", where=_of_type),
        Filter("place", "Place", kind="linked", where=_of_place),
    )

    def lines(self, rows: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
        """One page's entries."""
        return entry_lines(rows)

    def context(self) -> dict[str, Any]:
        """The accounts and their balances, and what the last check of the books found."""
        balances = ledger.trial_balance()
        check, is_redis_down = _last_check()
        return {
            "accounts": [account_line(balance, f"?account={balance.code}") for balance in balances],
            "totals": totals_of(balances),
            "check": check,
            "is_redis_down": is_redis_down,
        }

    @expose("/<int:entry_id>/")  # type: ignore[untyped-decorator]
    def show(self, entry_id: int) -> str:
        """One entry, with what was posted together with it."""
        entry = find(LedgerEntry, entry_id, "ledger entry")
        names = account_names()
        payment, booking = _sold(entry)
        together = db.session.scalars(
            select(LedgerEntry).where(LedgerEntry.source_id == entry.source_id).order_by(LedgerEntry.id)
        ).all()
        return self.render_record(
            Record(
                title=f"Entry {entry.id}",
                lead=f"{kind_in_words(entry.kind)}: from {names[entry.credit_account]} to {names[entry.debit_account]}",
                sub=(booking, Phrase("posted", at=entry.posted_at)),
                facts=(
                    Group(
                        "Entry",
                        (
                            Fact("Amount", Money(entry.amount_minor, entry.currency).json(), "money"),
                            Fact("Debit", names[entry.debit_account], href=f"../?account={entry.debit_account}"),
                            Fact("Credit", names[entry.credit_account], href=f"../?account={entry.credit_account}"),
                            Fact("Stems from", entry.source_id, "mono"),
                            *payment,
                        ),
                    ),
                ),
            ),
            "console/ledger/show.html",
            source=entry.source_id,
            **_transaction(together, names),
        )

    @expose("/check", methods=["POST"])  # type: ignore[untyped-decorator]
    def check(self) -> Response:
        """Have a worker check every posting now."""
        session.actor().require(*FINANCE)
        poke("jobs.payments.check_books", queue="slow", keep_seconds=_CHECK_WITHIN_SECONDS)
        return done("The books are being checked. Load this page again in a moment.", "/console/ledger/")


def _sold(entry: LedgerEntry) -> tuple[tuple[Fact, ...], Phrase]:
    """What was sold that an entry is about, as facts and in a phrase."""
    if entry.payment_id is None or entry.booking_id is None:
        return (), Phrase(text="of no booking")
    reference = references_of([entry.booking_id])[entry.booking_id]
    provider = db.session.get_one(Provider, entry.provider_id)
    facts = (
        Fact("Payment", f"Payment of {reference}", href=payment_href(entry.payment_id)),
        Fact("Provider", provider.name),
    )
    return facts, Phrase("for", reference, href=f"/console/bookings/{entry.booking_id}/")


def _last_check() -> tuple[Check | None, bool]:
    try:
        return last_check("ledger"), False
    except redis.RedisError:
        return None, True


def _transaction(entries: Sequence[LedgerEntry], names: dict[str, str]) -> dict[str, Any]:
    """What was posted for one thing at Stripe, by account, with both sides' sums."""
    currency = entries[0].currency
    debits: dict[str, int] = {}
    credits: dict[str, int] = {}
    for entry in entries:
        debits[entry.debit_account] = debits.get(entry.debit_account, 0) + entry.amount_minor
        credits[entry.credit_account] = credits.get(entry.credit_account, 0) + entry.amount_minor
    rows = [
        {
            "name": names[code],
            "debit": Money(debits[code], currency).json() if code in debits else None,
            "credit": Money(credits[code], currency).json() if code in credits else None,
        }
        for code in names
        if code in debits or code in credits
    ]
    return {
        "postings": rows,
        "sums": {
            "debit": Money(sum(debits.values()), currency).json(),
            "credit": Money(sum(credits.values()), currency).json(),
        },
        "is_balanced": sum(debits.values()) == sum(credits.values()),
        "entry_columns": ENTRY_COLUMNS,
        "entries": entry_lines(entries),
    }
