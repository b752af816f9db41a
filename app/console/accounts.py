"""/console/accounts/: every account's balance at any moment, and an account's statement with its running balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.bulk import spreadsheet
from app.console.base import FINANCE, Column, Page, line
from app.console.exports import ask_for_export, sums_file
from app.console.formatting import day as day_in_words
from app.console.formatting import exact
from app.console.listing import Listing, Rows
from app.console.ordering import Order, Sort
from app.console.page import EARLIEST, asked_day
from app.console.payments import references_of
from app.db import one_moment, utcnow
from app.errors import Invalid, NotFound
from app.extensions import db
from app.money import Money
from app.payments import accounts, ledger
from app.payments.accounts import Account, Totals
from app.payments.ledger_names import ACCOUNTS, kind_in_words
from app.payments.models import LedgerAccount, LedgerEntry

_PAGE_SIZE = 50
_ORDER = Order(LedgerEntry.__table__.c.id, Sort(LedgerEntry.posted_at), descending=False)
COLUMNS = (
    Column("booking", "About", "link"),
    Column("posting", "Posting"),
    Column("other", "Other side"),
    Column("posted_at", "Posted", "time"),
    Column("debit", "Debit", "sum", "right"),
    Column("credit", "Credit", "sum", "right"),
    Column("balance", "Balance", "sum", "right"),
)
# What an account is, and which side makes it larger.
KINDS = {"asset": "Asset", "expense": "Expense", "liability": "Liability", "revenue": "Revenue"}


class AccountsView(Page):
    """Balances and statements, for finance."""

    roles = FINANCE
    icon = "stack-2"
    # What a statement is exported as.
    exported_as = "ledger"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The trial balance at a moment."""
        at = _moment()
        balances = accounts.balances_at(at or utcnow())
        kinds = accounts.kinds()
        until = (at or utcnow()).date()
        return str(
            self.render(
                "console/accounts/index.html",
                at=at,
                at_typed=f"{at:%Y-%m-%dT%H:%M}" if at else "",
                said=exact(at) if at else None,
                presets=_moments(at),
                accounts=[account_line(balance, _statement_href(balance, until), kinds) for balance in balances],
                totals=totals_of(balances),
                csv_href="balances.csv" + (f"?{urlencode({'at': request.args['at']})}" if at else ""),
            )
        )

    @expose("/balances.csv")  # type: ignore[untyped-decorator]
    def balances(self) -> Response:
        """The same as a file."""
        at = _moment() or utcnow()
        kinds = accounts.kinds()
        head = ["Account", "Kind", "Debit", "Credit", "Currency", "Before"]
        body = [
            [
                balance.name,
                KINDS[kinds[balance.code]],
                spreadsheet.amount(balance.debit_minor, balance.currency),
                spreadsheet.amount(balance.credit_minor, balance.currency),
                balance.currency,
                at.isoformat(timespec="seconds"),
            ]
            for balance in accounts.balances_at(at)
        ]
        return sums_file(f"balances-{at:%Y-%m-%d-%H%M}.csv", spreadsheet.lines([head, *body]))

    @expose("/<code>/")  # type: ignore[untyped-decorator]
    def show(self, code: str) -> str:
        """One account's statement."""
        asked = _asked(code)
        with one_moment():
            page = _page(asked.listing)
            rows = _lines(asked.account, page.all)
            opening, closing = (asked.account.totals_at(at) for at in (asked.since, asked.until))
        return str(
            self.render(
                "console/accounts/show.html",
                asked=asked,
                account=asked.account,
                kind=KINDS[asked.account.kind],
                period=f"{day_in_words(asked.first)} to {day_in_words(asked.last)}",
                presets=_periods(asked),
                sums=_sums(asked.account, opening, closing),
                columns=COLUMNS,
                rows=rows,
                pager=_pager(page, asked),
                exported=asked.sent() if rows else None,
            )
        )

    @expose("/<code>/export", methods=["POST"])  # type: ignore[untyped-decorator]
    def export(self, code: str) -> Response:
        """Keep the statement's entries, to be exported as CSV."""
        asked = _asked(code)
        chips = [
            {"label": f"Account: {asked.account.name}"},
            {"label": f"From: {asked.first}"},
            {"label": f"To: {asked.last}"},
        ]
        return ask_for_export(self, asked.listing.places(), None, chips)


@dataclass(frozen=True)
class Asked:
    """Which account's statement is asked for, from which day to which (UTC)."""

    account: Account
    first: date
    last: date
    currencies: Sequence[str]

    @property
    def since(self) -> datetime:
        """The moment that it begins at."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def until(self) -> datetime:
        """The moment that it ends before."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    @property
    def listing(self) -> Listing:
        """Its entries, the oldest first."""
        return Listing(self.account.entries(self.since, self.until), _ORDER)

    def query(self, **other: Any) -> str:
        """The address of the same statement, with something else asked for."""
        return urlencode({**self.sent(), **other})

    def sent(self) -> dict[str, Any]:
        """What is asked for, by name."""
        currency = {"currency": self.account.currency} if len(self.currencies) > 1 else {}
        return {"from": self.first, "to": self.last, **currency}


def _asked(code: str) -> Asked:
    row = db.session.get(LedgerAccount, code)
    if row is None:
        raise NotFound("There is no account with this code.")
    last = asked_day("to", utcnow().date())
    first = asked_day("from", last.replace(day=1))
    if first > last:
        raise Invalid.field("from", "The statement begins after it ends.")
    currencies = accounts.currencies_of(code) or ["USD"]
    currency = request.values.get("currency", "").upper() or ("USD" if "USD" in currencies else currencies[0])
    if currency not in currencies:
        raise Invalid.field("currency", "This account has nothing in that currency.")
    return Asked(Account(row.code, row.name, row.kind, currency), first, last, currencies)


def _moment() -> datetime | None:
    """The moment that is asked for, in UTC; None for now. Raises Invalid."""
    typed = request.args.get("at", "").strip()
    if not typed:
        return None
    try:
        at = datetime.fromisoformat(typed)
    except ValueError:
        at = utcnow().replace(year=1, day=1)
    if not EARLIEST.year < at.year <= utcnow().year + 1:
        raise Invalid.field("at", "Give a day and a time such as 2026-11-22T14:00.")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _moments(at: datetime | None) -> list[dict[str, Any]]:
    today = datetime.combine(utcnow().date(), time(), UTC)
    month = today.replace(day=1)
    shown = {"Now": None, "End of yesterday": today, "End of last month": month}
    return [
        {
            "label": label,
            "href": f"?{urlencode({'at': f'{moment:%Y-%m-%dT%H:%M}'})}" if moment else "?",
            "is_chosen": moment == at,
        }
        for label, moment in shown.items()
    ]


def _periods(asked: Asked) -> list[dict[str, Any]]:
    today = utcnow().date()
    month = today.replace(day=1)
    last_month = (month - timedelta(days=1)).replace(day=1)
    shown = {
        "This month": (month, today),
        "Last month": (last_month, month - timedelta(days=1)),
        "90 days": (today - timedelta(days=89), today),
        "12 months": (today - timedelta(days=364), today),
    }
    return [
        {
            "label": label,
            "href": f"?{asked.query(**{'from': first, 'to': last})}",
            "is_chosen": (first, last) == (asked.first, asked.last),
        }
        for label, (first, last) in shown.items()
    ]


def account_line(balance: ledger.Balance, href: str, kinds: Mapping[str, str] | None = None) -> dict[str, Any]:
    """An account's line in a trial balance."""
    net = balance.debit_minor - balance.credit_minor
    return line(
        href,
        name=balance.name,
        kind=KINDS[kinds[balance.code]] if kinds else None,
        debit=Money(balance.debit_minor, balance.currency).json(),
        credit=Money(balance.credit_minor, balance.currency).json(),
        balance=Money(abs(net), balance.currency).json(),
        side="Debit" if net > 0 else "Credit" if net < 0 else "Even",
    )


def totals_of(balances: Sequence[ledger.Balance]) -> list[dict[str, Any]]:
    """Debits and credits of all accounts by currency: they have to be the same."""
    return [
        {
            "debit": Money(sum(b.debit_minor for b in balances if b.currency == currency), currency).json(),
            "credit": Money(sum(b.credit_minor for b in balances if b.currency == currency), currency).json(),
        }
        for currency in sorted({balance.currency for balance in balances})
    ]


def statement_href(code: str, **asked: Any) -> str:
    """An account's statement."""
    return f"/console/accounts/{code}/" + (f"?{urlencode(asked)}" if asked else "")


def _statement_href(balance: ledger.Balance, until: date) -> str:
    currency = {} if balance.currency == "USD" else {"currency": balance.currency}
    return statement_href(balance.code, **{"from": until.replace(day=1), "to": until}, **currency)


def _sums(account: Account, opening: Totals, closing: Totals) -> list[dict[str, Any]]:
    shown = (
        ("Opening balance", account.balance(opening), "muted"),
        ("Debits", closing.debit_minor - opening.debit_minor, "line"),
        ("Credits", closing.credit_minor - opening.credit_minor, "line"),
        ("Closing balance", account.balance(closing), "total"),
    )
    return [
        {"label": label, "hint": None, "amount": Money(minor, account.currency).json(), "kind": kind}
        for label, minor, kind in shown
    ]


def _lines(account: Account, entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    references = references_of(entry.booking_id for entry in entries if entry.booking_id)
    lines = []
    for entry, balance in zip(entries, account.running(entries), strict=True):
        is_debit = entry.debit_account == account.code
        amount = Money(entry.amount_minor, entry.currency).json()
        other = entry.credit_account if is_debit else entry.debit_account
        lines.append(
            line(
                f"/console/bookings/{entry.booking_id}/" if entry.booking_id else f"/console/ledger/{entry.id}/",
                booking=references[entry.booking_id] if entry.booking_id else entry.source_id,
                posting=kind_in_words(entry.kind),
                other=ACCOUNTS.get(other, other),
                posted_at=entry.posted_at,
                debit=amount if is_debit else None,
                credit=None if is_debit else amount,
                balance=Money(balance, entry.currency).json(),
            )
        )
    return lines


def _page(listing: Listing) -> Rows:
    for name in ("after", "before"):
        if name in request.args:
            beyond = _ORDER.beyond(_ORDER.place(name, request.args[name]), greater=name == "after")
            return listing.page(_PAGE_SIZE, beyond, backwards=name == "before")
    return listing.page(_PAGE_SIZE, is_place=False)


def _pager(page: Rows, asked: Asked) -> list[dict[str, Any]]:
    ways = (("Earlier", "prev", "before", page.back), ("Later", "next", "after", page.on))
    return [
        {"label": label, "rel": rel, "href": f"?{asked.query(**{name: place})}" if place else None}
        for label, rel, name, place in ways
    ]
