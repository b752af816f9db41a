from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from app import create_app, storage
from app.accounts import service as accounts
from app.accounts import staff
from app.accounts.models import User
from app.advisory_locks import AdvisoryLock
from app.audit import service as audit
from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.bookings.models import Booking
from app.catalog import checklist, policies
from app.catalog.models import Package, Provider, ProviderDocument
from app.db import utcnow
from app.demo import people
from app.demo import service as demo
from app.demo.catalogue import Stock
from app.demo.journal import change
from app.demo.story import Story
from app.disputes.models import Dispute
from app.errors import Conflict, Invalid, NotAllowed, TripdeskError, Unavailable
from app.extensions import db
from app.notifications.models import Notification
from app.payments import ledger_checks, stripe_gateway
from app.payments.models import LedgerEntry, Payment, Refund, WebhookEvent
from app.reports import invariants, stripe_balance
from app.reports.models import Reconciliation
from app.reviews.models import Review
from app.search import indexing, latency, searches
from app.search.models import SearchedWords, SearchWord
from dev.stripe import charges
from tests import factories
from tests.conftest import ROOT, STRIPE_KEY, _copy_database, _settings, run_local_stripe, wait_for
from tests.demo.conftest import HOLD_MINUTES

SMALL = demo.Scale.named("small")


def quiet(_: str) -> None:
    """Nobody listens to the progress."""


def everything_sealed() -> audit.AuditReport | None:
    """What the chain says once it has all entries. A transaction of another test in this cluster may be older than the
    last entry, and keeps it unsealed.
    """
    while audit.seal():
        pass
    report = audit.verify()
    return report if report.unsealed == 0 else None


def test_nothing_in_the_demo_breaks_an_invariant(seeded: Flask) -> None:
    assert {finding.statement: finding.wrong for finding in invariants.check() if finding.wrong} == {}
    assert ledger_checks.verify() == []
    # What was done after the load is sealed once no other transaction of this server could still come before it.
    wait_for(lambda: audit.seal() == 0 and audit.verify().unsealed == 0, "the last entries to be sealed")
    report = audit.verify()
    assert report.problem is None
    assert report.sealed > 1_000


def test_every_package_on_sale_is_found(fresh: Flask) -> None:
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    found = indexing.status()
    assert found.equal
    assert found.listed > 40
    assert (db.session.scalar(select(func.count()).select_from(SearchWord)) or 0) > 100


def test_the_public_has_searched_for_what_there_is_and_for_what_there_is_not(seeded: Flask) -> None:
    days = select(func.count(func.distinct(SearchedWords.day)))
    assert db.session.scalar(days) == searches.KEPT_DAYS
    assert db.session.scalar(days.where(SearchedWords.without_result > 0)) == searches.KEPT_DAYS
    for kind, most_ms in (("search", 1_000), ("suggestions", 100)):
        found = latency.over(kind, utcnow() - timedelta(days=1))
        assert found is not None
        assert 1 < found.p50 < found.p95 < found.p99 < most_ms, kind


def test_there_is_as_much_as_the_scale_says(seeded: Flask) -> None:
    def count(model: Any) -> int:
        return db.session.scalar(select(func.count()).select_from(model)) or 0

    last_year = count(Booking) - SMALL.earlier_stays
    assert (last_year, count(Review), count(Package), count(Provider)) == (400, 400, 80, 14)
    assert count(User) == 60 + len(people.STAFF)
    assert db.session.scalar(select(func.count()).where(Package.type == "tour")) == 20


def test_every_state_of_a_booking_is_there(seeded: Flask) -> None:
    assert set(db.session.scalars(select(Booking.status).distinct())) == set(Booking.MOVES)
    assert set(db.session.scalars(select(Provider.status).distinct())) == set(Provider.MOVES)
    assert {"SUCCEEDED", "REFUNDED", "CANCELLED"} <= set(db.session.scalars(select(Payment.status).distinct()))
    late = select(Booking.id).where(Booking.expired_at.is_not(None), Booking.confirmed_at.is_not(None))
    assert db.session.scalars(late).first()


def test_the_demo_traveller_has_stays_that_are_over_and_stays_to_come(seeded: Flask) -> None:
    traveller = db.session.scalars(select(User.id).where(User.email == people.TRAVELLER)).one()
    own = select(func.count()).where(Booking.traveller_id == traveller)
    assert (db.session.scalar(own.where(Booking.status == "COMPLETED")) or 0) >= 5
    to_come = own.where(Booking.status == "CONFIRMED", Booking.starts_on > utcnow().date())
    assert (db.session.scalar(to_come) or 0) >= 5


def test_the_demo_traveller_has_reviewed_nothing_yet(seeded: Flask) -> None:
    traveller = db.session.scalars(select(User.id).where(User.email == people.TRAVELLER)).one()
    assert db.session.scalar(select(func.count()).where(Review.traveller_id == traveller)) == 0


def test_every_state_of_a_review_is_there_and_the_newest_wait(seeded: Flask) -> None:
    assert set(db.session.scalars(select(Review.status).distinct())) == set(Review.MOVES)
    newest = db.session.scalars(select(Review.status).order_by(Review.id.desc()).limit(12)).all()
    assert set(newest) == {"PENDING"}
    assert set(db.session.scalars(select(Review.rating).distinct())) == {1, 2, 3, 4, 5}


def test_providers_have_shown_papers_in_every_stage(seeded: Flask) -> None:
    providers = db.session.scalars(select(Provider)).all()
    checklists = checklist.of_many([provider.id for provider in providers])
    lacking = {
        status: [
            "; ".join(checklist.lacking(checklists[provider.id])) for provider in providers if provider.status == status
        ]
        for status in Provider.MOVES
    }
    assert set(lacking["VERIFIED"]) == {"", "Liability insurance expired 3 days ago"}
    assert any("is refused" in words for words in lacking["PENDING"])
    assert any(words.endswith("expired 3 days ago") for words in lacking["PENDING"])
    assert any(standing.needs_reading for standings in checklists.values() for standing in standings)
    documents = db.session.scalars(select(ProviderDocument)).all()
    assert len(documents) >= 10
    for document in documents:
        content = b"".join(storage.read(document.storage_key))
        assert (len(content), hashlib.sha256(content).digest()) == (document.size, document.sha256)
        assert content.startswith(b"%PDF-" if document.content_type == "application/pdf" else b"\x89PNG")


def test_before_the_last_year_there_are_only_stays_that_were_completed(seeded: Flask) -> None:
    year_ago = utcnow() - timedelta(days=367)
    earlier = db.session.execute(
        select(Booking.status, func.count()).where(Booking.created_at < year_ago).group_by(Booking.status)
    ).all()
    assert [status for status, _ in earlier] == ["COMPLETED"]
    assert earlier[0][1] > 100


@pytest.fixture(scope="module")
def skewed_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Enough bookings that what sells and when is more than chance."""
    state = tmp_path_factory.mktemp("skewed") / "stripe.sqlite3"
    with run_local_stripe(state, webhook_url="http://127.0.0.1:1/") as url:
        app = create_app(**_settings(_copy_database(), stripe_api_base=url, hold_minutes=HOLD_MINUTES))
        with app.app_context():
            demo.seed(demo.Scale.named("5000"), by=SYSTEM, tell=quiet)
            db.session.remove()
        yield app
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def skewed(skewed_app: Flask) -> Iterator[Flask]:
    """The same with a context pushed."""
    with skewed_app.app_context():
        yield skewed_app
        db.session.remove()


def number(sql: str) -> float:
    return float(db.session.scalar(text(sql)) or 0)


def test_few_packages_sell_most_and_have_most_of_the_reviews(skewed: Flask) -> None:
    for table in ("bookings", "reviews"):
        share = number(
            f"SELECT sum(sold) FILTER (WHERE place <= 0.2) / sum(sold) FROM ("
            f"SELECT coalesce(sold, 0) AS sold, percent_rank() OVER (ORDER BY coalesce(sold, 0) DESC) AS place"
            f" FROM packages LEFT JOIN (SELECT package_id, count(*) AS sold FROM {table} GROUP BY 1) s"
            f" ON s.package_id = packages.id) AS ranked"
        )
        assert 0.5 < share < 0.95, table


def test_people_travel_at_weekends_and_in_season(skewed: Flask) -> None:
    by_weekday = dict(
        db.session.execute(
            text(
                "SELECT extract(isodow FROM starts_on)::int, count(*) FROM bookings"
                " WHERE NOT nights->0 ? 'departure' GROUP BY 1"
            )
        ).all()
    )
    assert by_weekday[5] > 1.4 * by_weekday[2]


def test_people_book_some_weeks_ahead_of_the_season() -> None:
    story = Story(random.Random(1), [], Stock([], date(2026, 1, 1)), [])
    start = datetime(2025, 1, 1, tzinfo=UTC)
    flat = story.moments(start, start + timedelta(days=365), 20_000, wishes=(), otherwise=demo.Wish(0, None), growth=0)
    months = Counter((at + timedelta(days=32)).month for at, _ in flat)
    assert months[7] > 1.4 * months[2]
    grown = story.moments(
        start, start + timedelta(days=365), 20_000, wishes=(), otherwise=demo.Wish(0, None), growth=100
    )
    by_half = Counter(at > start + timedelta(days=182) for at, _ in grown)
    assert by_half[True] > 1.2 * by_half[False]


def test_there_are_as_many_reviews_as_bookings_of_the_last_year(skewed: Flask) -> None:
    assert number("SELECT count(*) FROM reviews") == 5_000
    assert number("SELECT count(*) FROM bookings") == 5_000 + 2_000
    assert number("SELECT count(*) FROM bookings WHERE status = 'COMPLETED'") > 5_000
    assert [finding for finding in invariants.check_database() if finding.wrong] == []


def test_a_year_of_every_calendar_lies_ahead(skewed: Flask) -> None:
    short = number(
        "SELECT count(*) FROM packages p WHERE type = 'hotel' AND (SELECT count(*) FROM availability a"
        " WHERE a.package_id = p.id AND day >= current_date) < 365"
    )
    assert short == 0


def test_rows_that_the_database_refuses_leave_nothing(fresh: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are on their way while others are made; whichever is refused, none stays."""
    monkeypatch.setattr("app.demo.reviews._STARS", (1, 2, 3, 4, 6))
    monkeypatch.setattr("app.demo.reviews.REVIEW_TITLES", dict.fromkeys((1, 2, 3, 4, 6), ("T",)))
    for words in ("OPENINGS", "DETAILS", "ENDS"):
        monkeypatch.setattr(f"app.demo.reviews.REVIEW_{words}", dict.fromkeys((1, 2, 3, 4, 6), ("W",) * 3))
    with pytest.raises(psycopg2.errors.CheckViolation):
        demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert set(counts().values()) == {0}
    monkeypatch.undo()
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)


def test_everybody_can_sign_in(seeded: Flask) -> None:
    for login in people.STAFF:
        assert accounts.authenticate(email=login.email, password="tripdesk-demo").roles == frozenset(login.roles)
    assert not accounts.authenticate(email=people.TRAVELLER, password="tripdesk-demo").roles


def test_what_is_held_right_now_can_still_be_paid(seeded: Flask) -> None:
    holds = db.session.scalars(select(Booking).where(Booking.status == "PENDING_PAYMENT")).all()
    assert len(holds) == 4
    assert all(hold.created_at < hold.expires_at for hold in holds)
    newest = max(hold.expires_at for hold in holds)
    assert newest > utcnow()


def test_nothing_is_left_to_do_for_a_worker(seeded: Flask) -> None:
    for model in (Payment, Refund, WebhookEvent, Dispute, Reconciliation):
        assert db.session.scalars(select(model.id).where(model.due_at.is_not(None))).all() == []


def test_every_queue_of_finance_has_something_in_it(seeded: Flask) -> None:
    waiting = db.session.scalars(select(Refund).where(Refund.status == "PENDING_APPROVAL")).all()
    support = db.session.scalars(select(User.id).where(User.email.like("support@%"))).one()
    assert len(waiting) >= 4
    assert {(refund.kind, refund.requested_by_id, refund.held_status) for refund in waiting} == {
        ("goodwill", support, None)
    }
    assert all(refund.note and refund.expires_at and refund.expires_at > utcnow() for refund in waiting)
    failed = db.session.scalars(select(Refund).where(Refund.status == "FAILED")).all()
    assert {refund.failure_reason for refund in failed} == {"expired_or_canceled_card"}
    disputes = Counter(db.session.scalars(select(Dispute.status)))
    assert disputes["OPEN"] >= 3
    assert min(disputes["WON"], disputes["LOST"]) >= 1
    due = db.session.scalars(select(Dispute.answer_by).where(Dispute.status == "OPEN")).all()
    assert all(utcnow() < by < utcnow() + timedelta(days=9) for by in due)


def test_paid_bookings_that_were_cancelled_gave_back_what_their_policy_gives(seeded: Flask) -> None:
    cancelled = select(Booking, Payment).join(Payment, Payment.booking_id == Booking.id)
    cancelled = cancelled.where(Booking.status.like("CANCELLED%"), Payment.succeeded_at.is_not(None))
    rows = db.session.execute(cancelled).all()
    assert len(rows) >= 4
    for booking, payment in rows:
        assert booking.cancelled_at is not None
        policy = policies.quote(
            booking.policy,
            booking.total_minor,
            starts_on=booking.starts_on,
            time_zone=booking.time_zone,
            at=booking.cancelled_at,
        )
        by_provider = booking.status == "CANCELLED_BY_PROVIDER"
        assert payment.refunded_minor == (booking.total_minor if by_provider else policy.refund_minor)


def test_the_last_days_are_reconciled_without_a_difference(seeded: Flask) -> None:
    days = db.session.scalars(select(Reconciliation).order_by(Reconciliation.day)).all()
    assert [(day.status, day.differing) for day in days] == [("DONE", 0)] * 3
    assert days[-1].day == seeded.config["SEEDED_ON"] - timedelta(days=1)
    assert sum(day.matched for day in days) > 3


def test_nobody_who_is_made_up_is_sent_mail(seeded: Flask) -> None:
    assert db.session.scalars(select(Notification.id)).all() == []


def trail_of(booking: Booking) -> list[tuple[Any, ...]]:
    """What the audit trail has of a booking and its payment: who did what, and which columns changed."""
    payment_ids = db.session.scalars(select(Payment.id).where(Payment.booking_id == booking.id)).all()
    about = (AuditEntry.object_type == "bookings") & (AuditEntry.object_id == booking.id)
    about |= (AuditEntry.object_type == "payments") & AuditEntry.object_id.in_(payment_ids)
    return [
        (entry.action, entry.actor_kind, entry.reason, sorted(entry.before or {}), sorted(entry.after or {}))
        for entry in db.session.scalars(select(AuditEntry).where(about).order_by(AuditEntry.id))
    ]


def postings_of(booking: Booking) -> list[tuple[str, str, str]]:
    entries = select(LedgerEntry).where(LedgerEntry.booking_id == booking.id).order_by(LedgerEntry.id)
    return [(entry.kind, entry.debit_account, entry.credit_account) for entry in db.session.scalars(entries)]


def test_a_paid_booking_left_behind_what_the_verbs_leave(app: Flask, seeded_app: Flask) -> None:
    real = factories.paid_booking()
    trail, postings = trail_of(real), postings_of(real)
    assert [action for action, *_ in trail] == ["booking.hold", "payment.open", "booking.confirm", "payment.captured"]
    with seeded_app.app_context():
        traveller = db.session.scalars(select(User.id).where(User.email == people.TRAVELLER)).one()
        own = select(Booking).where(Booking.traveller_id == traveller, Booking.status == "CONFIRMED")
        made_up = db.session.scalars(own.limit(1)).one()
        assert trail_of(made_up) == trail
        assert postings_of(made_up) == postings


def test_what_is_worked_off_later_goes_on_under_the_request_that_asked_for_it(seeded: Flask) -> None:
    asked = """
    SELECT count(*), count(*) FILTER (WHERE a.request_id = p.request_id AND e.request_id = p.request_id)
    FROM {table} p JOIN audit_entries e ON (e.object_type, e.object_id, e.action) = ('{table}', p.id, '{done}')
    JOIN audit_entries a ON a.object_id = {of} AND a.action IN ({asked}) AND a.object_type = '{about}'
    """
    closed = {"table": "payments", "done": "payment.cancelled", "about": "bookings", "of": "p.booking_id"}
    refunded = {"table": "refunds", "done": "refund.succeeded", "about": "refunds", "of": "p.id"}
    for names in (
        {**closed, "asked": "'booking.expire', 'booking.cancel'"},
        {**refunded, "asked": "'refund.approve'"},
    ):
        rows, right = db.session.execute(text(asked.format(**names))).one()
        assert rows == right > 0


def test_fees_are_what_the_local_stripe_would_have_charged(seeded: Flask) -> None:
    paid = db.session.scalars(select(Payment).where(Payment.succeeded_at.is_not(None))).all()
    assert {p.id: p.fee_minor for p in paid} == {p.id: charges.fee(p.amount_minor, "pm_card_visa") for p in paid}


def test_ids_grow_with_time(seeded: Flask) -> None:
    for stamp in (
        AuditEntry.at,
        LedgerEntry.posted_at,
        WebhookEvent.received_at,
        Booking.created_at,
        Review.created_at,
    ):
        in_order_of_id = db.session.scalars(select(stamp).order_by(stamp.class_.id)).all()
        assert list(in_order_of_id) == sorted(in_order_of_id), stamp


def test_the_local_stripe_knows_a_seeded_payment(seeded: Flask) -> None:
    payment = db.session.scalars(select(Payment).where(Payment.status == "SUCCEEDED").order_by(Payment.id)).first()
    assert payment is not None
    assert payment.stripe_payment_intent_id
    intent = stripe_gateway.retrieve_intent(payment.stripe_payment_intent_id)
    assert (intent.status, intent.charge_id, intent.fee_minor, intent.captured_at) == (
        *("succeeded", payment.stripe_charge_id),
        *(payment.fee_minor, payment.succeeded_at),
    )
    assert intent.payment_id == payment.id


def test_a_seeded_payment_can_be_refunded_at_the_local_stripe(fresh: Flask) -> None:
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    payment = db.session.scalars(select(Payment).where(Payment.status == "SUCCEEDED").limit(1)).one()
    refund = stripe_gateway.create_refund(
        intent_id=payment.stripe_payment_intent_id or "",
        amount_minor=payment.amount_minor,
        key="demo",
        refund_id=1,
        submission=1,
    )
    assert refund.status == "succeeded"


@contextmanager
def empty_market(stripe_api_base: str) -> Iterator[Flask]:
    app = create_app(**_settings(_copy_database(), stripe_api_base=stripe_api_base, hold_minutes=HOLD_MINUTES))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Flask]:
    """An app on an empty database, before a local Stripe that knows nothing."""
    with (
        run_local_stripe(tmp_path / "stripe.sqlite3", webhook_url="http://127.0.0.1:1/") as url,
        empty_market(url) as app,
    ):
        yield app


def identities() -> list[tuple[Any, ...]]:
    """Of everything but what is held right now, whose time is that of the run."""
    rows = select(Booking.id, Booking.reference, Booking.total_minor, Payment.id, Payment.stripe_payment_intent_id)
    rows = rows.where(Booking.status != "PENDING_PAYMENT")
    return [tuple(row) for row in db.session.execute(rows.outerjoin(Payment).order_by(Booking.id))]


def test_two_runs_on_one_day_make_the_same(seeded_app: Flask) -> None:
    if seeded_app.config["SEEDED_ON"] != utcnow().date():
        pytest.skip("midnight has passed since the first run")
    with empty_market(seeded_app.extensions["settings"].stripe_api_base):
        demo.seed(SMALL, by=SYSTEM, tell=quiet)
        again = identities()
        assert stripe_balance.check().wrong == [], "the local Stripe did not pass over what it knew"
    with seeded_app.app_context():
        assert identities() == again


def counts() -> dict[str, int]:
    return {
        model.__tablename__: db.session.scalar(select(func.count()).select_from(model)) or 0
        for model in (User, Provider, Package, Booking, Payment, AuditEntry)
    }


def test_a_second_seed_is_refused_and_changes_nothing(seeded: Flask) -> None:
    before = counts()
    with pytest.raises(Conflict, match="bookings or packages already"):
        demo.seed(SMALL, by=SYSTEM, tell=quiet)
    assert counts() == before
    result = seeded.test_cli_runner().invoke(args=["demo", "seed", "--if-empty"])
    assert (result.exit_code, result.output) == (0, "There are bookings or packages already: nothing was made.\n")
    assert counts() == before


def with_settings(app: Flask, **values: Any) -> None:
    app.extensions["settings"] = app.extensions["settings"].model_copy(update=values)


@pytest.mark.parametrize(
    ("values", "refusal", "words"),
    [
        ({"app_env": "production"}, NotAllowed, "production"),
        ({"stripe_api_base": ""}, Invalid, "STRIPE_API_BASE"),
        ({"stripe_api_base": "http://127.0.0.1:1"}, Unavailable, "local Stripe does not answer"),
    ],
)
def test_a_seed_that_is_refused_leaves_nothing(
    fresh: Flask, values: dict[str, Any], refusal: type[TripdeskError], words: str
) -> None:
    with_settings(fresh, **values)
    with pytest.raises(refusal, match=words):
        demo.seed(SMALL, by=SYSTEM, tell=quiet)
    assert set(counts().values()) == {0}


def test_production_is_refused_also_when_there_is_data(fresh: Flask) -> None:
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    with_settings(fresh, app_env="production")
    result = fresh.test_cli_runner().invoke(args=["demo", "seed", "--if-empty"])
    assert result.exit_code == 1
    assert "refused in production" in result.output


def test_only_an_admin_seeds(fresh: Flask) -> None:
    with pytest.raises(NotAllowed):
        demo.seed(SMALL, by=factories.actor(factories.staff("finance")), tell=quiet)
    assert counts()["bookings"] == 0


def test_of_two_seeds_at_once_one_is_told_of_the_other(fresh: Flask) -> None:
    with closing(psycopg2.connect(fresh.extensions["settings"].database_owner_url)) as other:
        other.cursor().execute("SELECT pg_advisory_xact_lock(%s)", (AdvisoryLock.SEEDING,))
        with pytest.raises(Conflict, match="Somebody else is seeding"):
            demo.seed(SMALL, by=SYSTEM, tell=quiet)
    assert set(counts().values()) == {0}


def test_an_account_in_the_demos_name_is_in_the_way(fresh: Flask) -> None:
    factories.traveller(email=f"somebody@{people.DOMAIN}")
    with pytest.raises(Conflict, match="demo logins need that name"):
        demo.seed(SMALL, by=SYSTEM, tell=quiet)
    assert counts()["bookings"] == 0


@pytest.mark.parametrize("wrong", ["", "0", "99", "2000001", "-400", "4e2", "tiny", "٤٠٠"])
def test_a_scale_that_makes_no_sense_is_named(wrong: str) -> None:
    with pytest.raises(Invalid, match="small, medium, large or a number"):
        demo.Scale.named(wrong)


def test_the_named_scales() -> None:
    assert demo.Scale.named("small") == demo.Scale(400, 80, 14, 60, earlier_stays=160, reviews=400)
    assert demo.Scale.named("medium").bookings == 50_000
    assert demo.Scale.named("large") == demo.Scale(
        1_000_000, 20_000, 2_000, 200_000, earlier_stays=400_000, reviews=1_000_000
    )
    assert demo.Scale.named("100").bookings == 100


def test_the_smallest_scale_holds_together(fresh: Flask) -> None:
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert counts()["bookings"] == 140
    assert [finding for finding in invariants.check_database() if finding.wrong] == []


def test_a_life_takes_no_step_that_the_moves_table_lacks() -> None:
    with pytest.raises(ValueError, match="no move from COMPLETED to CONFIRMED"):
        change(Booking, {"status": "COMPLETED"}, status="CONFIRMED")


def guards(owner_url: str) -> list[tuple[Any, ...]]:
    """Every constraint and index as the database has it, and whether each counts."""
    with closing(psycopg2.connect(owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated, conenforced"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace UNION ALL"
            " SELECT indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid,"
            " indisready FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE relnamespace = 'public'::regnamespace ORDER BY 1, 2, 3"
        )
        return cursor.fetchall()


def test_what_was_set_aside_for_the_load_guards_the_tables_again(fresh: Flask) -> None:
    owner_url = fresh.extensions["settings"].database_owner_url
    before = guards(owner_url)
    assert len(before) > 100
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert guards(owner_url) == before
    assert all(is_validated for *_, is_validated, _ in before)


def test_a_row_that_contradicts_a_foreign_key_leaves_nothing(fresh: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are off while rows go in; what they say is looked into afterwards."""
    owner_url = fresh.extensions["settings"].database_owner_url
    before = guards(owner_url)
    monkeypatch.setattr(
        "app.demo.reviews.Stayed.__getitem__", lambda self, place: (place + 1, 10**9, 1, utcnow().timestamp() - 86_400)
    )
    with pytest.raises(IntegrityError, match=r"fk_(reviews|rating_counts)_package_id"):
        demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert set(counts().values()) == {0}
    db.session.rollback()
    assert guards(owner_url) == before


def test_a_seed_that_is_killed_leaves_the_database_as_it_was(fresh: Flask) -> None:
    settings = fresh.extensions["settings"]
    before = guards(settings.database_owner_url)
    environment = {
        "APP_ENV": "development",
        "DATABASE_URL": settings.database_url,
        "DATABASE_OWNER_URL": settings.database_owner_url,
        "REDIS_URL": settings.redis_url,
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_API_BASE": settings.stripe_api_base,
    }
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "demo", "seed", "--scale", "3000"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    ) as seeding:
        assert seeding.stderr is not None
        assert any("Making reviews" in line for line in seeding.stderr)
        seeding.kill()
    # Its session ends with it, which may take the server a moment to see.
    with closing(psycopg2.connect(settings.database_owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE bookings")
    assert set(counts().values()) == {0}
    db.session.rollback()
    assert guards(settings.database_owner_url) == before
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert [finding for finding in invariants.check() if finding.wrong] == []


@pytest.mark.parametrize("waits", [True, False])
def test_nothing_is_sealed_that_somebody_could_still_get_in_front_of(
    fresh: Flask, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """An older transaction, in whatever database of the cluster, leaves the sealing to the job."""
    took: list[Any] = []
    take_chain = audit.take_chain

    def taking(connection: Connection) -> Any:
        # Other tests write to other databases of the cluster at any time, so that it is tried until none does.
        while (chain := take_chain(connection)) is None and not waits:
            time.sleep(0.05)
        took.append(chain)
        return chain

    monkeypatch.setattr("app.demo.service.audit.take_chain", taking)
    with closing(psycopg2.connect(fresh.extensions["settings"].database_owner_url)) as older:
        if waits:
            older.cursor().execute("SELECT pg_current_xact_id()")
        made = demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    assert (took[0] is None) == waits
    entries = counts()["audit_entries"]
    # Those about the days that were reconciled come after it, one by one: another test may keep them unsealed.
    loaded = entries - (db.session.scalar(select(func.count()).where(AuditEntry.action.like("reconciliation.%"))) or 0)
    assert loaded < entries
    if waits:
        assert made.audit_entries_sealed == 0
    else:
        assert loaded <= made.audit_entries_sealed <= entries
    report = wait_for(everything_sealed, "every entry to be sealed")
    assert (report.sealed, report.problem) == (entries, None)


def test_the_chain_goes_on_from_what_was_sealed_before(fresh: Flask) -> None:
    staff.create_staff(
        email="somebody@example.org", name="Somebody", password="a long one", roles=("admin",), by=SYSTEM
    )
    demo.seed(demo.Scale.named("100"), by=SYSTEM, tell=quiet)
    staff.create_staff(email="else@example.org", name="Else", password="a long one", roles=("admin",), by=SYSTEM)
    report = wait_for(everything_sealed, "every entry to be sealed")
    assert (report.sealed, report.problem) == (counts()["audit_entries"], None)
