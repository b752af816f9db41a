"""Decisions about providers and packages: which are possible, what they do to what is on sale, who was first."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.catalog import packages, providers
from app.catalog.models import Availability, Package, Provider
from app.db import transaction
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from tests import factories
from tests.concurrency import at_once, held_up


def admin() -> Actor:
    return factories.actor(factories.staff("admin"))


def last_entry(table: str, row_id: int) -> AuditEntry:
    entry = db.session.scalar(
        select(AuditEntry)
        .where(AuditEntry.object_type == table, AuditEntry.object_id == row_id)
        .order_by(AuditEntry.id.desc())
        .limit(1)
    )
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("source", "decision", "to"),
    [
        ("PENDING", "verify", "VERIFIED"),
        ("PENDING", "reject", "REJECTED"),
        ("REJECTED", "reconsider", "PENDING"),
        ("VERIFIED", "suspend", "SUSPENDED"),
        ("SUSPENDED", "reinstate", "VERIFIED"),
    ],
)
def test_a_decision_moves_the_provider_and_is_kept_with_its_reason(
    app: Flask, source: str, decision: str, to: str
) -> None:
    provider, by = factories.provider(status=source), admin()
    if source == "PENDING":
        factories.complete(provider)
    providers.decide(provider.id, decision, by=by, reason=" Because ")
    assert factories.reread(provider).status == to
    entry = last_entry("providers", provider.id)
    assert (entry.action, entry.actor_id, entry.reason) == (f"provider.{decision}", by.id, "Because")
    assert (entry.before, entry.after) == ({"status": source}, {"status": to})


@pytest.mark.parametrize("decision", list(providers.DECISIONS))
@pytest.mark.parametrize("status", list(Provider.MOVES))
def test_every_other_decision_is_a_conflict_and_changes_nothing(app: Flask, decision: str, status: str) -> None:
    if providers.DECISIONS[decision][0] == status:
        return
    provider = factories.provider(status=status)
    with pytest.raises(Conflict):
        providers.decide(provider.id, decision, by=admin(), reason="Because")
    assert factories.reread(provider).status == status


def test_every_move_of_a_provider_has_its_decision() -> None:
    moves = {(source, to) for source, targets in Provider.MOVES.items() for to in targets}
    assert set(providers.DECISIONS.values()) == moves


def test_suspension_takes_packages_out_of_sale_and_bookings_stand(app: Flask) -> None:
    package = factories.package(units=2)
    held = factories.booking(of=package)
    providers.decide(package.provider_id, "suspend", by=admin(), reason="Complaints")
    with pytest.raises(NotFound, match="on sale"):
        factories.booking(of=package)
    assert factories.reread(held).status == "PENDING_PAYMENT"
    assert factories.stock(package) == (1, 0)
    intent = factories.intent_of(held)
    assert factories.confirm(intent.id).ok
    bookings.payment_changed(factories.stripe_gateway.retrieve_intent(intent.id))
    assert factories.reread(held).status == "CONFIRMED"
    providers.decide(package.provider_id, "reinstate", by=admin(), reason="Put right")
    assert factories.booking(of=package).status == "PENDING_PAYMENT"


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 5_001])
def test_a_decision_without_a_proper_reason_is_refused(app: Flask, reason: str | None) -> None:
    provider = factories.provider()
    with pytest.raises(Invalid) as refusal:
        providers.decide(provider.id, "suspend", by=admin(), reason=reason)
    assert [wrong.field for wrong in refusal.value.fields] == ["reason"]
    assert factories.reread(provider).status == "VERIFIED"


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_admins_decide_about_providers_and_packages(app: Flask, role: str) -> None:
    package, by = factories.package(), factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        providers.decide(package.provider_id, "suspend", by=by, reason="Because")
    with pytest.raises(NotAllowed):
        packages.unpublish(package.id, by=by, reason="Because")
    assert factories.reread(package).status == "PUBLISHED"
    assert factories.reread(db.session.get_one(Provider, package.provider_id)).status == "VERIFIED"


def test_of_two_who_decide_at_once_the_second_reads_who_was_first(app: Flask) -> None:
    provider, people = factories.provider(), [admin(), admin()]
    calls: list[Any] = [
        lambda by=by: providers.decide(provider.id, "suspend", by=by, reason="Because") for by in people
    ]
    outcomes = at_once(app, *calls)
    (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    first = people[1 - outcomes.index(refusal)]
    assert f"That was {first.label}, on " in refusal.detail
    assert factories.reread(provider).status == "SUSPENDED"


# ------------------------------------------------------------------ packages


def test_a_package_is_taken_off_sale_and_published_again(app: Flask) -> None:
    package, by = factories.package(), admin()
    packages.unpublish(package.id, by=by, reason="Wrong price")
    assert factories.reread(package).status == "DRAFT"
    entry = last_entry("packages", package.id)
    assert (entry.action, entry.reason) == ("package.unpublish", "Wrong price")
    with pytest.raises(NotFound, match="on sale"):
        factories.booking(of=package)
    packages.publish(package.id, by=by)
    assert factories.booking(of=package).status == "PENDING_PAYMENT"
    assert last_entry("packages", package.id).action == "package.publish"


def test_a_package_without_a_day_to_sell_is_not_published(app: Flask) -> None:
    package = factories.package(days=0, status="DRAFT")
    with pytest.raises(Conflict, match="no open day"):
        packages.publish(package.id, by=admin())
    assert factories.reread(package).status == "DRAFT"


@pytest.mark.parametrize("made", [{"capacity": 0}, {"closed": True}, {"day": date(2020, 1, 1)}])
def test_days_that_nobody_could_book_are_none_to_publish_for(app: Flask, made: dict[str, Any]) -> None:
    package = factories.package(days=1, status="DRAFT")
    with transaction():
        db.session.execute(update(Availability).where(Availability.package_id == package.id).values(**made))
    with pytest.raises(Conflict, match="no open day"):
        packages.publish(package.id, by=admin())
    assert factories.reread(package).status == "DRAFT"


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 5_001])
def test_a_package_is_not_taken_off_sale_without_a_proper_reason(app: Flask, reason: str | None) -> None:
    package = factories.package()
    with pytest.raises(Invalid) as refusal:
        packages.unpublish(package.id, by=admin(), reason=reason)
    assert [wrong.field for wrong in refusal.value.fields] == ["reason"]
    assert factories.reread(package).status == "PUBLISHED"


def test_who_unpublishes_second_reads_who_was_first(app: Flask) -> None:
    package, first = factories.package(), admin()
    packages.unpublish(package.id, by=first, reason="Wrong price")
    with pytest.raises(Conflict, match=f"This package is draft already. That was {first.label}, on "):
        packages.unpublish(package.id, by=admin(), reason="Wrong price")
    assert db.session.get_one(Package, package.id).status == "DRAFT"


def test_publishing_does_not_keep_bookings_waiting(app: Flask) -> None:
    package, by, traveller = factories.package(), admin(), factories.actor()
    with transaction():
        packages.unpublish(package.id, by=by, reason="Because")
        # Nobody knows of it yet; the booking is made before it is done.
        booked = held_up(app, lambda: factories.booking(of=package, by=traveller).status)()
    assert booked == "PENDING_PAYMENT"
    with pytest.raises(NotFound, match="on sale"):
        factories.booking(of=package, by=traveller)
