"""Makes what a test needs, each with names of its own; the defaults make sense together."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import date, timedelta
from io import BytesIO
from itertools import count
from typing import Any
from uuid import uuid4

import requests
from flask import current_app
from sqlalchemy import inspect

from app.accounts import service as accounts
from app.accounts import staff as staff_accounts
from app.accounts import tokens
from app.accounts.models import User
from app.audit.actor import SYSTEM, Actor
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.catalog import cancellation_policies, checklist, documents
from app.catalog.models import Availability, CancellationPolicy, Package, Provider, ProviderDocument
from app.db import lock, transaction, utcnow
from app.extensions import db
from app.payments import stripe_gateway
from app.payments.stripe_objects import Intent
from app.reviews import service as reviews
from app.reviews.models import Review
from app.search import synonyms as search_synonyms
from app.search.models import SearchSynonyms
from app.states import move

PASSWORD = "a long enough password"
_number = count(1)


def traveller(**values: Any) -> User:
    """A person with an account and no role."""
    number = uuid4().hex[:10]
    return accounts.register(
        **{"email": f"traveller-{number}@example.org", "name": f"Traveller {number}", "password": PASSWORD, **values}
    )


def staff(*roles: str) -> User:
    """A person with roles; support when none is named."""
    number = uuid4().hex[:10]
    return staff_accounts.create_staff(
        email=f"staff-{number}@example.org",
        name=f"Staff {number}",
        password=PASSWORD,
        roles=roles or ("support",),
        by=SYSTEM,
    )


def actor(person: User | None = None) -> Actor:
    """A person as the one who acts; a new traveller when nobody is named."""
    return accounts.actor_of(person or traveller())


def bearer(person: User | None = None) -> dict[str, str]:
    """The header a person's API client sends."""
    return {"Authorization": f"Bearer {tokens.issue(person or traveller()).access_token}"}


def acting_with(access_token: str) -> Actor:
    """Who acts with an access token, as the API finds out."""
    return tokens.holder(tokens.person_of_access_token(access_token), None)


def provider(**values: Any) -> Provider:
    """A verified provider, which has shown all that it has to; nothing has one that waits or was rejected."""
    made = _save(Provider(**{"name": f"Provider {next(_number)}", "status": "VERIFIED", **values}))
    return complete(made) if made.status in ("VERIFIED", "SUSPENDED") else made


def complete(made: Provider) -> Provider:
    """The provider with everything required of it accepted."""
    with transaction():
        db.session.flush()  # inside another transaction it has no id yet
        checklist.accept_unseen([made], because="Known from somewhere else")
    return made


def pdf(words: str = "A document") -> BytesIO:
    """A file that begins as a PDF does."""
    return BytesIO(b"%PDF-1.7\n" + words.encode())


def document(
    of: Provider, item: str = "proof_of_registration", *, by: Actor | None = None, **values: Any
) -> ProviderDocument:
    """A document that a provider has shown, added by an admin."""
    expires_on = tomorrow() + timedelta(days=365) if checklist.find(item).expires else None
    given = {"file_name": "extract.pdf", "expires_on": expires_on, "replaces": None, **values}
    return documents.add(of.id, item, given.pop("stream", None) or pdf(), by=by or admin(), **given)


def admin() -> Actor:
    """Somebody who decides about providers."""
    return actor(staff("admin"))


def package(*, days: int = 30, starting: date | None = None, **values: Any) -> Package:
    """A published hotel package with one unit on each of `days` days from tomorrow on, at $100 a night."""
    number = next(_number)
    made = Package(
        **{
            "provider_id": values.get("provider_id") or provider().id,
            "type": "hotel",
            "status": "PUBLISHED",
            "name": f"Package {number}",
            "city": "Oslo",
            "country": "Norway",
            "time_zone": "Europe/Oslo",
            "price_minor": 10_000,
            "capacity": 2,
            "units": 1,
            **values,
        }
    )
    _save(made)
    first = starting or tomorrow()
    with transaction():
        db.session.add_all(
            Availability(
                package_id=made.id,
                day=first + timedelta(days=number),
                capacity=made.units,
                price_minor=made.price_minor,
            )
            for number in range(days)
        )
    return made


def policy(**typed: str) -> CancellationPolicy:
    """A cancellation policy that gives 80 % until three days before, then 20 %."""
    code = f"policy-{uuid4().hex[:10]}"
    tiers = {"days-1": "3", "percent-1": "80", "days-2": "1", "percent-2": "20"}
    given = {"name": code, "code": code, **({} if "days-1" in typed else tiers), **typed}
    return cancellation_policies.create(given, by=admin())


def two_words() -> str:
    """Two words that nobody else uses, as a form of synonyms takes them."""
    return f"kip{uuid4().hex[:10]}\nden{uuid4().hex[:10]}"


def synonyms(*words: str) -> SearchSynonyms:
    """A group of words that mean the same."""
    return search_synonyms.create("\n".join(words) or two_words(), by=admin())


def tour(**values: Any) -> Package:
    """A published tour package with a departure on each day."""
    return package(**{"type": "tour", "duration_days": 3, "units": 8, "capacity": 1, **values})


def tomorrow() -> date:
    """A day that is in the future everywhere on earth."""
    return utcnow().date() + timedelta(days=2)


def booking(
    *, of: Package | None = None, by: Actor | None = None, nights: int = 2, units: int = 1, guests: int = 1
) -> Booking:
    """A held booking of the package's first days."""
    of = of or package()
    first = tomorrow()
    stay: dict[str, Any] = (
        {"departure": first} if of.type == "tour" else {"check_in": first, "check_out": first + timedelta(days=nights)}
    )
    return bookings.hold(by=by or actor(), package_id=of.id, units=units, guests=guests, **stay)


def intent_of(held: Booking) -> Intent:
    """The Stripe intent its traveller would pay."""
    by = Actor("traveller", held.traveller_id, "The traveller")
    return bookings.start_payment(held.id, by=by)


def confirm(intent_id: str, payment_method: str = "pm_card_visa") -> requests.Response:
    """Pay an intent at the local Stripe, as Stripe.js would."""
    settings = current_app.extensions["settings"]
    return requests.post(
        f"{settings.stripe_api_base}/v1/payment_intents/{intent_id}/confirm",
        data={"payment_method": payment_method},
        auth=(settings.stripe_secret_key.get_secret_value(), ""),
        timeout=10,
    )


def paid_booking(**values: Any) -> Booking:
    """A booking that was paid and whose payment has been told of."""
    held = booking(**values)
    intent = intent_of(held)
    assert confirm(intent.id).ok
    bookings.payment_changed(stripe_gateway.retrieve_intent(intent.id))
    return reread(held)


def completed_booking(**values: Any) -> Booking:
    """A booking whose stay is over. Nobody paid for it, which takes longer and matters to few."""
    held = booking(**values)
    with transaction():
        held = lock(Booking, held.id)
        move(held, "CONFIRMED")
        move(held, "COMPLETED")
    return held


def review(
    *, of: Package | None = None, rating: int = 4, title: str = "Would come back", content: str = "Quiet at night."
) -> Review:
    """A review that waits for a moderator."""
    stay = completed_booking(of=of)
    by = Actor("traveller", stay.traveller_id, "The traveller")
    return reviews.submit(stay.id, rating=rating, title=title, content=content, by=by)


def moderator() -> Actor:
    """Somebody who decides on reviews."""
    return actor(staff("moderator"))


def reread(row: Any) -> Any:
    """The row as the database has it now."""
    db.session.rollback()
    return db.session.get_one(type(row), inspect(row).identity, populate_existing=True)


def stock(of: Package, day: date | None = None) -> tuple[int, int]:
    """(held, booked) units of one day, as the database has it now."""
    db.session.rollback()
    row = db.session.get_one(Availability, (of.id, day or tomorrow()), populate_existing=True)
    return row.held, row.booked


def event(kind: str, subject: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A Stripe event about an object."""
    return {
        "id": f"evt_{uuid4().hex}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "data": {"object": subject},
        **values,
    }


def signed(body: dict[str, Any], *, secret: str = "whsec_tripdesk_demo", at: int | None = None) -> dict[str, Any]:
    """What a test client posts to the webhook's door for an event, signed as Stripe does."""
    payload = json.dumps(body).encode()
    stamp = at if at is not None else int(time.time())
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + payload, hashlib.sha256).hexdigest()
    return {
        "data": payload,
        "content_type": "application/json",
        "headers": {"Stripe-Signature": f"t={stamp},v1={signature}"},
    }


def _save(row: Any) -> Any:
    with transaction():
        db.session.add(row)
    return row
