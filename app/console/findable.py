"""The kinds of records that the search box finds: each by something typed whole, or by the words of a name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import defer

from app.accounts.models import StaffRole, User
from app.bookings.models import Booking
from app.catalog.models import Package, Provider
from app.console.base import MAX_ID
from app.console.bookings import booking_href
from app.console.formatting import day as day_in_words
from app.console.mail import mail_href
from app.console.packages import package_href
from app.console.payments import payment_href, references_of
from app.console.providers import provider_href
from app.console.staff import staff_href, staff_state
from app.console.users import account_state, is_traveller, user_href
from app.console.webhooks import event_href
from app.console.words import either_in
from app.extensions import db
from app.money import written
from app.notifications.kinds import title_of
from app.notifications.models import Notification
from app.payments.models import Payment, Refund, WebhookEvent
from app.search import for_staff

# Of one kind: what is shown, and out of how many the likeliest are picked.
SHOWN, _PICKED_FROM = 6, 60
# Of what hangs on something typed whole: the newest bookings and mails of an address.
_OF_AN_ADDRESS = 3
_REFERENCE = re.compile(r"(?:TD)?-?([A-Z0-9]{5})-?([A-Z0-9]{5})")


@dataclass(frozen=True)
class Hit:
    """One thing that was found; `record_id` where it is a record."""

    href: str
    title: str
    detail: str = ""
    status: str | None = None
    record_id: int | None = None


# For each word that was typed, the ways to spell it.
Words = Sequence[Sequence[str]]


class Kind:
    """One kind of record of a table. `page` names the page that lists them, as the app does."""

    page: ClassVar[str]
    label: ClassVar[str]
    table: ClassVar[str]

    def known_as(self, typed: str) -> Sequence[int]:
        """The records that this is a name of: at most one, mostly."""
        return ()

    def hanging_on(self, typed: str) -> Sequence[int]:
        """The records that belong to what this is a name of, the newest first."""
        return ()

    def named(self, words: Words) -> Sequence[int]:
        """The records whose name has all the words, the likeliest first."""
        return ()

    def searched(self, found: for_staff.Found) -> Sequence[int]:
        """The records among those that search finds for travellers, the likeliest first."""
        return ()

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """These records, in this order; those that aren't there (any more) are left out."""
        raise NotImplementedError

    def listed(self, typed: str) -> str | None:
        """Where the page lists all that have these words."""
        return None


class Bookings(Kind):
    """By reference or id; of a traveller's address or a payment intent."""

    page, label, table = "bookings", "Bookings", Booking.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """Its reference, with or without dashes."""
        whole = _REFERENCE.fullmatch(typed.upper())
        wanted = Booking.reference == f"TD-{whole[1]}-{whole[2]}" if whole else None
        return _ids(Booking, wanted) or _by_id(Booking, typed)

    def hanging_on(self, typed: str) -> Sequence[int]:
        """A payment intent's one, and the newest of a traveller."""
        if typed.startswith("pi_"):
            paid_with = select(Payment.booking_id).where(Payment.stripe_payment_intent_id == typed)
            return _ids(Booking, Booking.id.in_(paid_with))
        if "@" in typed:
            by = select(User.id).where(User.email == typed.lower()).scalar_subquery()
            return _ids(Booking, Booking.traveller_id == by, most=_OF_AN_ADDRESS)
        return ()

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With who booked what, for when."""
        rows = _rows(select(Booking, User.name).join(User, User.id == Booking.traveller_id), Booking, ids)
        for row, traveller in rows:
            detail = f"{traveller} · {row.package_name} · {day_in_words(row.starts_on)}"
            yield Hit(booking_href(row.id), row.reference, detail, row.status, row.id)


class Payments(Kind):
    """By the id of an intent, charge or refund at Stripe."""

    page, label, table = "payments", "Payments", Payment.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """An id at Stripe, or its own."""
        column = {"pi": Payment.stripe_payment_intent_id, "ch": Payment.stripe_charge_id}.get(
            typed.split("_", maxsplit=1)[0]
        )
        if typed.startswith("re_"):
            of_refund = select(Refund.payment_id).where(Refund.stripe_refund_id == typed)
            return _ids(Payment, Payment.id.in_(of_refund))
        return _ids(Payment, column == typed) if column is not None else _by_id(Payment, typed)

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With the amount and the intent."""
        rows = _rows(select(Payment), Payment, ids)
        references = references_of(row.booking_id for (row,) in rows)
        for (row,) in rows:
            detail = " · ".join(filter(None, (written(row.amount_minor, row.currency), row.stripe_payment_intent_id)))
            yield Hit(payment_href(row.id), f"Payment of {references[row.booking_id]}", detail, row.status, row.id)


class Events(Kind):
    """Stripe's events, by their id."""

    page, label, table = "webhook_inbox", "Webhooks", WebhookEvent.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """Its id at Stripe."""
        wanted = WebhookEvent.stripe_event_id == typed if typed.startswith("evt_") else None
        return _ids(WebhookEvent, wanted) or _by_id(WebhookEvent, typed)

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With what they are about."""
        for (row,) in _rows(select(WebhookEvent).options(defer(WebhookEvent.payload)), WebhookEvent, ids):
            detail = " · ".join(filter(None, (row.stripe_event_id, row.object_id)))
            yield Hit(event_href(row.id), row.type, detail, row.status, row.id)


class Travellers(Kind):
    """By e-mail address, or by words of name and address."""

    page, label, table = "users", "Travellers", User.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """Their address."""
        found = _ids(User, User.email == typed.lower() if "@" in typed else None) or _by_id(User, typed)
        return self._travellers(found)

    def named(self, words: Words) -> Sequence[int]:
        """By name first, then by address."""
        picked = _likeliest(User, User.name, either_in(words, User.name, User.email), words)
        return self._travellers(picked)

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With the address."""
        for (row,) in _rows(select(User), User, self._travellers(ids)):
            yield Hit(user_href(row.id), row.name, row.email, account_state(row), row.id)

    def listed(self, typed: str) -> str:
        """The same words in the list."""
        return _listed("/console/users/", typed)

    @staticmethod
    def _travellers(ids: Sequence[int]) -> Sequence[int]:
        # Asked of the few that were picked: of all that have a common name, the database would look into every booking.
        those = set(db.session.scalars(select(User.id).where(User.id.in_(ids), is_traveller()))) if ids else set()
        return [row_id for row_id in ids if row_id in those]


class Staff(Kind):
    """By e-mail address, or by words of name and address."""

    page, label, table = "staff", "Staff", User.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """Their address."""
        return _ids(User, _is_staff() & (User.email == typed.lower()) if "@" in typed else None)

    def named(self, words: Words) -> Sequence[int]:
        """By name or address; staff are few."""
        return _likeliest(User, User.name, _is_staff() & either_in(words, User.name, User.email), words)

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With the roles."""
        for (row,) in _rows(select(User).where(_is_staff()), User, ids):
            detail = f"{row.email} · {', '.join(sorted(row.roles))}"
            yield Hit(staff_href(row.id), row.name, detail, staff_state(row), row.id)


class Providers(Kind):
    """By words of the name, or the whole external id."""

    page, label, table = "providers", "Providers", Provider.__tablename__

    def known_as(self, typed: str) -> Sequence[int]:
        """Its external id, or ours."""
        return _ids(Provider, Provider.external_id == typed) or _by_id(Provider, typed)

    def named(self, words: Words) -> Sequence[int]:
        """By name."""
        return _likeliest(Provider, Provider.name, either_in(words, Provider.name), words)

    def searched(self, found: for_staff.Found) -> Sequence[int]:
        """Who offers something, by name however it is written."""
        return found.providers

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With the external id."""
        for (row,) in _rows(select(Provider), Provider, ids):
            yield Hit(provider_href(row.id), row.name, row.external_id or "", row.status, row.id)

    def listed(self, typed: str) -> str:
        """The same words in the list."""
        return _listed("/console/providers/", typed)


class Packages(Kind):
    """By words of the name and of where it is."""

    page, label, table = "packages", "Packages", Package.__tablename__
    _COLUMNS = (Package.name, Package.place, Package.city, Package.country)

    def known_as(self, typed: str) -> Sequence[int]:
        """Its id."""
        return _by_id(Package, typed)

    def named(self, words: Words) -> Sequence[int]:
        """By name first, then by where it is."""
        return _likeliest(Package, Package.name, either_in(words, *self._COLUMNS), words)

    def searched(self, found: for_staff.Found) -> Sequence[int]:
        """What is on sale, as travellers find it."""
        return found.packages

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With whose they are and where."""
        for (row,) in _rows(select(Package), Package, ids):
            detail = f"{row.type.capitalize()} in {row.city}, {row.country} · {row.provider.name}"
            yield Hit(package_href(row.id), row.name, detail, row.status, row.id)

    def listed(self, typed: str) -> str:
        """The same words in the list."""
        return _listed("/console/packages/", typed)


class Mails(Kind):
    """The newest to an address."""

    page, label, table = "mail", "Mail", Notification.__tablename__

    def hanging_on(self, typed: str) -> Sequence[int]:
        """What was sent there."""
        wanted = Notification.recipient == typed.lower() if "@" in typed else None
        return _ids(Notification, wanted, most=_OF_AN_ADDRESS)

    def hits(self, ids: Sequence[int]) -> Iterator[Hit]:
        """With whom they were for."""
        bare = select(Notification).options(defer(Notification.body), defer(Notification.html))
        for (row,) in _rows(bare, Notification, ids):
            yield Hit(mail_href(row.id), title_of(row.kind), f"To {row.recipient}", row.status, row.id)


# In the order in which they are shown.
KINDS: Sequence[Kind] = (
    Bookings(),
    Payments(),
    Events(),
    Travellers(),
    Staff(),
    Providers(),
    Packages(),
    Mails(),
)


def _is_staff() -> ColumnElement[bool]:
    return User.id.in_(select(StaffRole.user_id))


def _ids(model: Any, wanted: ColumnElement[bool] | None, *, most: int = SHOWN) -> Sequence[int]:
    if wanted is None:
        return ()
    return db.session.scalars(select(model.id).where(wanted).order_by(model.id.desc()).limit(most)).all()


def _by_id(model: Any, typed: str) -> Sequence[int]:
    is_id = typed.isascii() and typed.isdigit() and len(typed) <= len(str(MAX_ID)) and int(typed) <= MAX_ID
    return _ids(model, model.id == int(typed)) if is_id else ()


def _likeliest(model: Any, name: Any, wanted: ColumnElement[bool], words: Words) -> Sequence[int]:
    """The ids of some that have the words; those whose name begins with them first, the newest before the others."""
    found = db.session.execute(select(model.id, name.label("name")).where(wanted).limit(_PICKED_FROM)).all()
    typed = " ".join(ways[0] for ways in words).lower()

    def place(row: Any) -> tuple[int, int, int]:
        called = row.name.lower()
        begins = sum(any(part.startswith(way.lower()) for part in called.split() for way in ways) for ways in words)
        return (called != typed) + (not called.startswith(typed)), -begins, -row.id

    return [row.id for row in sorted(found, key=place)]


def _rows(query: Any, model: Any, ids: Sequence[int]) -> list[Any]:
    if not ids:
        return []
    by_id = {row[0].id: row for row in db.session.execute(query.where(model.id.in_(ids)))}
    return [by_id[row_id] for row_id in ids if row_id in by_id]


def _listed(path: str, typed: str) -> str:
    return f"{path}?{urlencode({'q': typed})}"
