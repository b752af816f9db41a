"""A provider's checklist: what is asked of whom, items accepted and refused, who was first, what verification needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app.audit.models import AuditEntry
from app.catalog import checklist, documents, providers
from app.catalog.checklist import ITEMS, Standing
from app.catalog.models import Provider, ProviderCheck, ProviderDocument
from app.db import transaction, utcnow
from app.errors import Conflict, Invalid, NotAllowed, NotFound
from app.extensions import db
from tests import factories
from tests.catalog.listings import MAPPING, Listings
from tests.concurrency import at_once

ASKED_OF_ALL = ["legal_name", "proof_of_registration", "identity", "bank_account", "insurance"]


def waiting() -> Provider:
    return factories.provider(status="PENDING")


def standing(of: Provider, key: str) -> Standing:
    db.session.rollback()
    return next(found for found in checklist.of(of.id) if found.item.key == key)


def accept(of: Provider, key: str, **values: Any) -> None:
    checklist.accept(of.id, key, **{"document_id": None, "by": factories.admin(), **values})


def last_entry(of: Provider) -> AuditEntry:
    entries = select(AuditEntry).where(AuditEntry.object_type == "providers", AuditEntry.object_id == of.id)
    found = db.session.scalars(entries.order_by(AuditEntry.id.desc()).limit(1)).first()
    assert found is not None
    return found


def expire(document: ProviderDocument, days: int) -> None:
    with transaction():
        last = utcnow().date() - timedelta(days=days)
        db.session.execute(update(ProviderDocument).where(ProviderDocument.id == document.id).values(expires_on=last))


# ------------------------------------------------------------------ what is asked


def test_what_is_asked_depends_on_what_is_sold(app: Flask) -> None:
    hotels, tours, neither = waiting(), waiting(), waiting()
    factories.package(provider_id=hotels.id, days=0)
    factories.tour(provider_id=tours.id, days=0)
    found = checklist.of_many([hotels.id, tours.id, neither.id])
    keys = {provider_id: [each.item.key for each in standings] for provider_id, standings in found.items()}
    assert keys == {
        hotels.id: [*ASKED_OF_ALL, "lodging_permit"],
        tours.id: [*ASKED_OF_ALL, "tour_licence"],
        neither.id: ASKED_OF_ALL,
    }


def test_an_item_that_is_not_asked_is_not_decided(app: Flask) -> None:
    provider = waiting()
    with pytest.raises(NotFound, match="Tour operator's licence is not asked of"):
        accept(provider, "tour_licence")
    with pytest.raises(NotFound, match="no such item"):
        accept(provider, "shoe_size")
    assert db.session.scalar(select(func.count()).where(ProviderCheck.provider_id == provider.id)) == 0


def test_a_provider_that_nobody_looked_at_lacks_everything(app: Flask) -> None:
    assert checklist.lacking(checklist.of(waiting().id)) == [
        "Legal name and registration number is open",
        "Proof of registration has no document",
        "Identity of the responsible person has no document",
        "Bank account has no document",
        "Liability insurance has no document",
    ]


@pytest.mark.parametrize(
    ("words", "row"),
    [([], ""), (["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C"], "A, B and C")],
)
def test_words_in_a_row(words: list[str], row: str) -> None:
    assert checklist.in_a_row(words) == row


# ------------------------------------------------------------------ deciding an item


def test_an_item_is_accepted_by_somebody_and_its_history_says_so(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    document = factories.document(provider)
    accept(provider, "proof_of_registration", document_id=document.id, by=by)
    found = standing(provider, "proof_of_registration")
    assert found.check is not None
    assert (found.status, found.check.decided_by_id, found.check.reason) == ("ACCEPTED", by.id, None)
    assert found.check.decided_at is not None
    entry = last_entry(provider)
    assert (entry.action, entry.actor_id) == ("provider.accept_item", by.id)
    assert (entry.before, entry.after) == (
        {"proof_of_registration": "open"},
        {"proof_of_registration": "accepted"},
    )


def test_an_item_is_refused_with_a_reason_and_opened_again(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    checklist.refuse(provider.id, "legal_name", document_id=None, reason=" Is struck off ", by=by)
    found = standing(provider, "legal_name")
    assert found.check is not None
    assert (found.status, found.check.reason, found.check.decided_by_id) == ("REFUSED", "Is struck off", by.id)
    assert "Legal name and registration number is refused" in checklist.lacking(checklist.of(provider.id))
    assert last_entry(provider).reason == "Is struck off"

    checklist.reopen(provider.id, "legal_name", reason="It was another company", by=by)
    found = standing(provider, "legal_name")
    assert found.check is not None
    assert (found.status, found.check.reason, found.check.decided_by_id, found.check.decided_at) == (
        *("OPEN", None, None, None),
    )
    assert (last_entry(provider).action, last_entry(provider).before) == (
        *("provider.reopen_item", {"legal_name": "refused"}),
    )
    with pytest.raises(Conflict, match="is open already"):
        checklist.reopen(provider.id, "legal_name", reason="Once more", by=by)


@pytest.mark.parametrize("reason", [None, "", " ", "x" * 5_001])
def test_an_item_is_not_refused_without_a_proper_reason(app: Flask, reason: str | None) -> None:
    provider = waiting()
    with pytest.raises(Invalid):
        checklist.refuse(provider.id, "legal_name", document_id=None, reason=reason, by=factories.admin())
    assert standing(provider, "legal_name").status == "OPEN"


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_only_admins_decide_items(app: Flask, role: str) -> None:
    provider, by = waiting(), factories.actor(factories.staff(role))
    with pytest.raises(NotAllowed):
        accept(provider, "legal_name", by=by)
    with pytest.raises(NotAllowed):
        checklist.refuse(provider.id, "legal_name", document_id=None, reason="Because", by=by)
    accept(provider, "legal_name")
    with pytest.raises(NotAllowed):
        checklist.reopen(provider.id, "legal_name", reason="Because", by=by)
    assert standing(provider, "legal_name").status == "ACCEPTED"


def test_an_item_that_needs_a_document_is_not_accepted_without(app: Flask) -> None:
    provider = waiting()
    with pytest.raises(Conflict, match="Bank account has no document yet"):
        accept(provider, "bank_account")
    assert standing(provider, "bank_account").status == "OPEN"


def test_an_expired_document_is_not_accepted(app: Flask) -> None:
    provider = waiting()
    document = factories.document(provider, "insurance")
    expire(document, 1)
    with pytest.raises(Conflict, match="Liability insurance expired yesterday"):
        accept(provider, "insurance", document_id=document.id)
    assert standing(provider, "insurance").status == "OPEN"
    expire(document, 0)
    accept(provider, "insurance", document_id=document.id)
    assert standing(provider, "insurance").status == "ACCEPTED"


def test_what_came_in_meanwhile_is_not_accepted_unseen(app: Flask) -> None:
    provider, other = waiting(), factories.admin()
    seen = factories.document(provider)
    newer = factories.document(provider, replaces=seen.id, by=other)
    for document_id in (None, seen.id):
        with pytest.raises(Conflict, match=f"Another document .* was added by {other.label} .* Look at it first"):
            accept(provider, "proof_of_registration", document_id=document_id)
    documents.remove(newer.id, reason="Not theirs", by=other)
    with pytest.raises(Conflict, match="was removed meanwhile"):
        accept(provider, "proof_of_registration", document_id=newer.id)
    assert standing(provider, "proof_of_registration").status == "OPEN"


def test_of_two_who_decide_one_item_the_second_reads_who_was_first(app: Flask) -> None:
    provider, people = waiting(), [factories.admin(), factories.admin()]
    calls: list[Any] = [lambda by=by: accept(provider, "legal_name", by=by) for by in people]
    outcomes = at_once(app, *calls)
    (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    first = people[1 - outcomes.index(refusal)]
    assert f"Legal name and registration number was accepted by {first.label} " in refusal.detail
    assert db.session.scalar(select(func.count()).where(ProviderCheck.provider_id == provider.id)) == 1


# ------------------------------------------------------------------ what stands on it


def test_nobody_is_verified_before_everything_required_is_accepted(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    factories.package(provider_id=provider.id, days=0)
    for item in ITEMS:
        if item.key not in ASKED_OF_ALL:
            continue
        with pytest.raises(Conflict, match=f"{provider.name} can't be verified yet: .*{item.label}"):
            providers.decide(provider.id, "verify", by=by, reason="Known")
        assert factories.reread(provider).status == "PENDING"
        document = factories.document(provider, item.key) if item.needs_document else None
        accept(provider, item.key, document_id=document.id if document else None)
    # The permit is not required.
    providers.decide(provider.id, "verify", by=by, reason="Known")
    assert factories.reread(provider).status == "VERIFIED"


def test_who_sells_tours_is_not_verified_without_a_licence(app: Flask) -> None:
    provider, by = factories.complete(waiting()), factories.admin()
    with transaction():
        db.session.execute(
            update(ProviderCheck)
            .where(ProviderCheck.provider_id == provider.id, ProviderCheck.item == "tour_licence")
            .values(status="OPEN", decided_at=None, reason=None)
        )
    tour = factories.tour(provider_id=provider.id, days=0)
    with pytest.raises(Conflict, match="verified yet: Tour operator's licence has no document"):
        providers.decide(provider.id, "verify", by=by, reason="Known")
    assert factories.reread(tour.provider).status == "PENDING"


@pytest.mark.parametrize(("days", "words"), [(1, "yesterday"), (3, "3 days ago"), (90, r"on \d+ \w+ \d{4}")])
def test_nobody_is_reinstated_on_papers_that_expired(app: Flask, days: int, words: str) -> None:
    provider, by = factories.provider(), factories.admin()
    document = factories.document(provider, "insurance", by=by)
    expire(document, days)
    providers.decide(provider.id, "suspend", by=by, reason="Papers ran out")
    with pytest.raises(Conflict, match=f"Liability insurance expired {words}\\."):
        providers.decide(provider.id, "reinstate", by=by, reason="Put right")
    assert factories.reread(provider).status == "SUSPENDED"
    newer = factories.document(provider, "insurance", replaces=document.id, by=by)
    with pytest.raises(Conflict, match="Liability insurance is open"):
        providers.decide(provider.id, "reinstate", by=by, reason="Put right")
    accept(provider, "insurance", document_id=newer.id)
    providers.decide(provider.id, "reinstate", by=by, reason="Put right")
    assert factories.reread(provider).status == "VERIFIED"


def test_under_a_verified_provider_no_item_is_opened(app: Flask) -> None:
    provider, by = factories.provider(), factories.admin()
    with pytest.raises(Conflict, match="is verified, and that stands on its papers"):
        checklist.reopen(provider.id, "identity", reason="Looks altered", by=by)
    assert standing(provider, "identity").status == "ACCEPTED"
    providers.decide(provider.id, "suspend", by=by, reason="Suspected fraud")
    checklist.reopen(provider.id, "identity", reason="Looks altered", by=by)
    assert standing(provider, "identity").status == "OPEN"


def test_a_rejection_tells_which_items_were_refused(app: Flask) -> None:
    provider, by = waiting(), factories.admin()
    checklist.refuse(provider.id, "legal_name", document_id=None, reason="Is struck off", by=by)
    providers.decide(provider.id, "reject", by=by, reason="Papers missing or not right")
    assert last_entry(provider).reason == (
        "Papers missing or not right. Refused: Legal name and registration number (Is struck off)"
    )


def test_who_is_complete_or_has_something_to_read_or_expired_is_found_by_the_database(app: Flask) -> None:
    complete, tours, reading, expired = (waiting() for _ in range(4))
    for provider in (complete, tours):
        factories.complete(provider)
    with transaction():
        db.session.execute(
            update(ProviderCheck)
            .where(ProviderCheck.provider_id == tours.id, ProviderCheck.item == "tour_licence")
            .values(status="REFUSED", reason="Looks altered")
        )
    factories.tour(provider_id=tours.id, days=0)
    factories.document(reading)
    document = factories.document(expired, "insurance")
    checklist.refuse(expired.id, "insurance", document_id=document.id, reason="Has expired", by=factories.admin())
    expire(document, 1)
    ours = [provider.id for provider in (complete, tours, reading, expired)]

    def found(condition: Any) -> set[int]:
        return set(db.session.scalars(select(Provider.id).where(Provider.id.in_(ours), condition)))

    assert found(checklist.is_complete()) == {complete.id}
    insurance = factories.document(complete, "insurance")
    checklist.accept(complete.id, "insurance", document_id=insurance.id, by=factories.admin())
    expire(insurance, 0)
    assert found(checklist.is_complete()) == {complete.id}
    # Accepted once, it holds no more.
    expire(insurance, 1)
    assert found(checklist.is_complete()) == set()
    assert found(checklist.has_something_to_read()) == {reading.id}
    assert found(checklist.has_expired()) == {complete.id, expired.id}
    expire(insurance, -365)
    expire(document, 0)
    assert found(checklist.has_expired()) == set()
    expire(document, -30)
    assert found(checklist.has_expired(within_days=30)) == set()
    expire(document, -29)
    assert found(checklist.has_expired(within_days=30)) == {expired.id}


# ------------------------------------------------------------------ who comes in with a catalogue


@pytest.mark.parametrize("status", list(Provider.MOVES))
def test_who_is_imported_as_verified_counts_as_checked_elsewhere(listings: Listings, status: str) -> None:
    listings.mapping.write_text(MAPPING.replace("VERIFIED", status))
    listings.write(listings.row("a"), listings.row("b"))
    listings.run_well("--rate", "1")
    provider = listings.packages()["a"].provider
    assert provider.status == status
    is_trusted = status in ("VERIFIED", "SUSPENDED")
    assert (checklist.lacking(checklist.of(provider.id)) == []) is is_trusted
    checks = db.session.scalars(select(ProviderCheck).where(ProviderCheck.provider_id == provider.id)).all()
    assert {(check.reason, check.decided_by_id) for check in checks} == (
        {("Verified elsewhere: came in so with an imported catalogue.", None)} if is_trusted else set()
    )
    # A second import has nothing to add.
    listings.run_well("--rate", "1")
