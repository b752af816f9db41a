"""/console/payables/: what is owed to each provider, what they have not earned yet, what is held, and the bookings of
each. Paying out is done elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.bookings.models import Booking
from app.bulk import spreadsheet
from app.catalog.models import Provider
from app.console.base import FINANCE, Column, Page, find, line
from app.console.exports import ask_for_export, sums_file
from app.console.listing import Listing, Rows
from app.console.ordering import Order
from app.console.record import Fact, Group
from app.db import one_moment
from app.errors import Invalid
from app.money import Money
from app.reports import payables
from app.reports.payables import STATES, Payable

_PAGE_SIZE = 50
_ORDER = Order(Booking.__table__.c.id)
COLUMNS = (
    Column("provider", "Provider", "link"),
    Column("owed", STATES["owed"], "sum", "right"),
    Column("ahead", STATES["ahead"], "sum", "right"),
    Column("held", STATES["held"], "sum", "right"),
    Column("total", "Together", "sum", "right"),
)
BOOKING_COLUMNS = (
    Column("booking", "Booking", "link"),
    Column("status", "State", "chip"),
    Column("package", "Package"),
    Column("ends_on", "Stay ends", "day"),
    Column("state", "Provider's part is"),
    Column("kept", "Provider's part", "money", "right"),
)
# What each part is of, in words.
_HINTS = {
    "owed": "Stays completed, and what cancellations left them",
    "ahead": "Stays to come",
    "held": "Until a dispute or another hold is over",
}


class PayablesView(Page):
    """What is owed to providers, for finance."""

    roles = FINANCE
    icon = "building-store"
    exported_as = "payables"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Every provider, the one most is owed to first."""
        found = payables.payables()
        words = request.args.get("q", "").strip()
        shown = [one for one in found if words.casefold() in one.name.casefold()]
        page = _page_of(shown)
        return str(
            self.render(
                "console/payables/index.html",
                cards=_cards(found),
                columns=COLUMNS,
                rows=[_provider_line(one) for one in page.all],
                words=words,
                count=f"{len(shown):,} {'provider' if len(shown) == 1 else 'providers'}",
                pager=[
                    _way("Back", "prev", page.back and _address(q=words, before=page.back)),
                    _way("On", "next", page.on and _address(q=words, after=page.on)),
                ],
            )
        )

    @expose("/payables.csv")  # type: ignore[untyped-decorator]
    def csv(self) -> Response:
        """All of them as a file."""
        head = ["Provider id", *(column.label for column in COLUMNS), "Currency"]
        body = [
            [
                one.provider_id,
                one.name,
                *(spreadsheet.amount(minor, one.currency) for minor in (*one[3:], one.total_minor)),
                one.currency,
            ]
            for one in payables.payables()
        ]
        return sums_file("payables.csv", spreadsheet.lines([head, *body]))

    @expose("/<int:provider_id>/")  # type: ignore[untyped-decorator]
    def show(self, provider_id: int) -> str:
        """One provider's bookings with something kept for them, the newest first."""
        provider = find(Provider, provider_id, "provider")
        state = _state()
        # Of one moment, so that the bookings come to what the cards say.
        with one_moment():
            page = _page(_listing(provider, state))
            rows, kept = _booking_lines(page.all), payables.payable_to(provider.id)
        return str(
            self.render(
                "console/payables/show.html",
                provider=provider,
                cards=_cards(kept),
                tabs=[
                    {"label": label, "href": _address(state=name), "is_chosen": name == state}
                    for name, label in {"": "All", **STATES}.items()
                ],
                columns=BOOKING_COLUMNS,
                rows=rows,
                pager=[
                    _way("Newer", "prev", page.back and _address(state=state, after=page.back)),
                    _way("Older", "next", page.on and _address(state=state, before=page.on)),
                ],
                exported={"state": state} if page.all else None,
            )
        )

    @expose("/<int:provider_id>/export", methods=["POST"])  # type: ignore[untyped-decorator]
    def export(self, provider_id: int) -> Response:
        """Keep a provider's bookings with something kept for them, to be exported as CSV."""
        provider = find(Provider, provider_id, "provider")
        state = _state()
        chips = [{"label": f"Provider: {provider.name}"}]
        if state:
            chips.append({"label": STATES[state]})
        return ask_for_export(self, _listing(provider, state).places(), None, chips)


def payables_href(provider_id: int, state: str = "") -> str:
    """A provider's page here."""
    return f"/console/payables/{provider_id}/" + (f"?{urlencode({'state': state})}" if state else "")


def payable_groups(provider_id: int) -> list[Group]:
    """The same three numbers as facts of a provider's page, by currency."""
    found = payables.payable_to(provider_id) or [Payable(provider_id, "", "USD", 0, 0, 0)]
    return [
        Group(
            "Owed to them" if len(found) == 1 else f"Owed to them in {one.currency}",
            [
                Fact(label, Money(minor, one.currency).json(), "money", payables_href(provider_id, state))
                for (state, label), minor in zip(STATES.items(), one[3:], strict=True)
            ],
        )
        for one in found
    ]


def _state() -> str:
    state = request.values.get("state", "")
    if state and state not in STATES:
        raise Invalid.field("state", f"Show {', '.join(STATES)}, or all.")
    return state


def _place(one: Payable) -> tuple[int, int, str]:
    return -one.owed_minor, one.provider_id, one.currency


def _page_of(found: Sequence[Payable]) -> Rows:
    """The page behind or before a place. All are read for the sums above them; what is owed changes while somebody
    turns the pages, so that a page begins at a place and not at a number.
    """
    rows = sorted(found, key=_place)
    first = 0
    if "after" in request.args:
        first = bisect_right(rows, _place_asked("after"), key=_place)
    elif "before" in request.args:
        first = max(bisect_left(rows, _place_asked("before"), key=_place) - _PAGE_SIZE, 0)
    page = rows[first : first + _PAGE_SIZE]
    return Rows(
        page,
        back=_written(page[0]) if page and first else None,
        on=_written(page[-1]) if first + _PAGE_SIZE < len(rows) else None,
    )


def _written(one: Payable) -> str:
    return f"{one.owed_minor}~{one.provider_id}~{one.currency}"


def _place_asked(name: str) -> tuple[int, int, str]:
    found = re.fullmatch(r"(-?[0-9]{1,18})~([0-9]{1,18})~([A-Z]{3})", request.args[name])
    if found is None:
        raise Invalid.field(name, "This is not a place in this list.")
    return -int(found[1]), int(found[2]), found[3]


def _listing(provider: Provider, state: str) -> Listing:
    query = payables.bookings_with_something_kept(provider.id)
    return Listing(query.where(payables.in_state(state)) if state else query, _ORDER)


def _page(listing: Listing) -> Rows:
    for name in ("after", "before"):
        if name in request.args:
            beyond = _ORDER.beyond(_ORDER.place(name, request.args[name]), greater=name == "after")
            return listing.page(_PAGE_SIZE, beyond, backwards=name == "after")
    return listing.page(_PAGE_SIZE, is_place=False)


def _cards(found: Sequence[Payable]) -> list[dict[str, Any]]:
    cards = []
    for currency in sorted({one.currency for one in found}) or ["USD"]:
        mine = [one for one in found if one.currency == currency]
        sums = {
            "owed": sum(one.owed_minor for one in mine),
            "ahead": sum(one.ahead_minor for one in mine),
            "held": sum(one.held_minor for one in mine),
        }
        cards += [
            {"label": STATES[state], "value": Money(minor, currency).json(), "hint": _HINTS[state]}
            for state, minor in sums.items()
        ]
        together = Money(sum(sums.values()), currency).json()
        cards.append({"label": "Together", "value": together, "hint": "The balance of provider payable"})
    return cards


def _provider_line(one: Payable) -> dict[str, Any]:
    return line(
        payables_href(one.provider_id),
        provider=one.name,
        owed=Money(one.owed_minor, one.currency).json(),
        ahead=Money(one.ahead_minor, one.currency).json(),
        held=Money(one.held_minor, one.currency).json(),
        total=Money(one.total_minor, one.currency).json(),
    )


def _booking_lines(bookings: Sequence[Booking]) -> list[dict[str, Any]]:
    kept = payables.kept_for([booking.id for booking in bookings])
    return [
        line(
            f"/console/bookings/{booking.id}/",
            booking=booking.reference,
            status=booking.status,
            package=booking.package_name,
            ends_on=booking.ends_on,
            state=kept[booking.id][1],
            kept=Money(kept[booking.id][0], booking.currency).json(),
        )
        for booking in bookings
    ]


def _way(label: str, rel: str, href: str | None) -> dict[str, Any]:
    return {"label": label, "rel": rel, "href": href}


def _address(**asked: Any) -> str:
    return "?" + urlencode({name: value for name, value in asked.items() if value})
