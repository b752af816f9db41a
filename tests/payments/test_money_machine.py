"""Money under whatever happens in whatever order: bookings are paid, cancelled, refunded and disputed while events come
late, twice and shuffled, Stripe hangs up, and workers die. The books balance after each step and agree with Stripe's in
the end.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest.mock import patch
from uuid import uuid4

import pytest
import requests
from flask import Flask, current_app
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text

from app.accounts.models import User
from app.audit.actor import Actor
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.db import lock, transaction
from app.disputes import chargebacks
from app.disputes.models import Dispute
from app.errors import Conflict
from app.extensions import db
from app.payments import holds, inbox, ledger_checks, refund_approval, refunds, stripe_gateway
from app.payments.models import Payment, Refund, WebhookEvent
from app.queue import MAX_ATTEMPTS
from jobs import payments as payment_jobs
from jobs import webhooks
from tests import factories
from tests.payments import settled
from tests.payments.refunding import ask_stripe, at_stripe, finance, support

# `make test-long` asks for more, other ones each time; MONEY_SEED repeats those of a time before.
RUNS = int(os.environ.get("MONEY_RUNS", "100"))
LONG = "MONEY_RUNS" in os.environ
SEED = int(os.environ.get("MONEY_SEED") or (secrets.randbelow(1_000_000) if LONG else 0))
STEPS = 50
# Low, so that it is met often; in minor units.
LIMIT = 8_000
# So that they are shared out among the processes that run tests.
PARTS = 4
# Who or what a step is about: drawn apart from what there is to choose from, which another run need not have.
PICKS = st.integers(0, 9_999).map(random.Random)
CARDS = (
    *("pm_card_visa",) * 3,
    *("pm_card_chargeDeclined", "pm_card_authenticationRequired"),
    *("pm_card_createDispute", "pm_card_createDisputeInquiry"),
)


class Died(BaseException):
    """A worker killed where this is raised."""


class MadeWhileHeld(BaseException):
    """Stripe was asked to refund a payment while something held it."""


@contextmanager
def watched() -> Iterator[None]:
    """Nothing is asked of Stripe while its payment is held."""
    create = stripe_gateway.create_refund

    def call(**given: Any) -> Any:
        payment_id = db.session.scalars(select(Refund.payment_id).where(Refund.id == given["refund_id"])).one()
        if holds.of(payment_id):
            raise MadeWhileHeld(given)
        return create(**given)

    with patch.object(stripe_gateway, "create_refund", call):
        yield


@contextmanager
def dying(moment: str) -> Iterator[None]:
    """The worker dies before Stripe hears of a refund, or after it did the work and before we heard."""
    create = stripe_gateway.create_refund

    def call(**given: Any) -> Any:
        if moment == "after":
            create(**given)
        raise Died

    with patch.object(stripe_gateway, "create_refund", call):
        yield


class Money(RuleBasedStateMachine):
    """One traveller's bookings; Stripe's events wait in `told` until a rule delivers them."""

    paying = Bundle("paying")
    # How often each rule did something, over all stories.
    did: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.did["story"] += 1
        self.finance, self.second, self.support = finance(), finance(), support()
        self.package = factories.package(units=50)
        self.bookings: list[int] = []
        self.seen: dict[str, dict[str, Any]] = {}
        self.delivered: list[dict[str, Any]] = []
        self.since = ask_stripe("GET", "/v1/events", params={"limit": 1})["data"]
        # Each story begins with money: which rules take part is drawn too, and few would get there by themselves.
        for _ in range(2):
            self.pay(self.book(2), "pm_card_visa")
        for event in self._news():
            self._tell(event)

    # ---- what people do ----

    @rule(target=paying, nights=st.integers(1, 3))
    def book(self, nights: int) -> int:
        held = factories.booking(of=self.package, nights=nights)
        self.bookings.append(held.id)
        factories.intent_of(held)
        return held.id

    @rule(booking_id=paying, card=st.sampled_from(CARDS))
    def pay(self, booking_id: int, card: str) -> None:
        """Also once it is paid, which Stripe refuses, and once it is cancelled, when the money is owed back."""
        intent_id = self._payment(booking_id).stripe_payment_intent_id
        self.did[f"pay: {'paid' if factories.confirm(str(intent_id), card).ok else 'refused'}"] += 1

    @rule(booking_id=paying, outcome=st.sampled_from(("succeed", "succeed", "fail")))
    def authenticate(self, booking_id: int, outcome: str) -> None:
        """3-D Secure, where Stripe waits for it."""
        intent_id = self._payment(booking_id).stripe_payment_intent_id
        self._try_stripe(f"/_local/payment_intents/{intent_id}/authenticate", data={"outcome": outcome})

    @rule(at=PICKS, whose=st.sampled_from(("guest", "provider", "support")), everything=st.booleans())
    def cancel(self, at: random.Random, whose: str, everything: bool) -> None:
        def verb(booking: Booking) -> None:
            guest = factories.actor(db.session.get_one(User, booking.traveller_id))
            with self._tolerating(f"cancel: {booking.status.lower()} by {whose}"):
                bookings.cancel(
                    booking.id,
                    by=guest if whose == "guest" else self.support,
                    on_behalf_of=whose,
                    reason="Changed plans",
                    everything=everything and whose == "support",
                )

        db.session.rollback()
        open_ones = select(Booking).where(
            Booking.id.in_(self.bookings), Booking.status.in_(("PENDING_PAYMENT", "CONFIRMED"))
        )
        self._each(at, list(db.session.scalars(open_ones.order_by(Booking.id))), verb)

    @rule(amount=st.integers(1, 25_000), kind=st.sampled_from(("standard", "goodwill")), at=PICKS)
    def refund(self, amount: int, kind: str, at: random.Random) -> None:
        by = at.choice((self.finance, self.support))
        self._each(at, self._captured(), lambda payment: self._request(payment, amount, kind, by))

    @rule(at=PICKS)
    def refund_the_rest(self, at: random.Random) -> None:
        self._each(at, self._captured(), lambda payment: self._request(payment, None, "standard", self.finance))

    @rule(at=PICKS, agreed=st.booleans())
    def decide(self, at: random.Random, agreed: bool) -> None:
        def verb(refund: Refund) -> None:
            with self._tolerating("approve" if agreed else "reject"):
                if agreed:
                    refund_approval.approve(refund.id, by=self.second)
                else:
                    refund_approval.reject(refund.id, by=self.second, reason="Not by the policy")

        self._each(at, self._refunds("PENDING_APPROVAL"), verb)

    @rule(at=PICKS)
    def retry(self, at: random.Random) -> None:
        """By somebody else, or by who asked, who may have refunded something else alone meanwhile."""

        def verb(refund: Refund) -> None:
            by = at.choice((self.finance, self.second))
            who = "who asked" if by.id == refund.requested_by_id else "another"
            with self._tolerating(f"retry by {who}"):
                refunds.retry(refund.id, by=by)

        self._each(at, self._refunds("FAILED"), verb)

    @rule(at=PICKS)
    def retry_what_was_given_up(self, at: random.Random) -> None:
        """All its tries were without an answer."""

        def verb(refund: Refund) -> None:
            with transaction():
                row = lock(Refund, refund.id)
                row.attempts = MAX_ATTEMPTS - 1
                row.failed("Stripe gave no answer")
            refunds.retry(refund.id, by=self.second)
            self.did["retry of what was given up"] += 1

        self._each(at, [refund for refund in self._refunds("SUBMITTED") if not refund.stripe_refund_id], verb)

    @rule(at=PICKS)
    def lift_a_hold(self, at: random.Random) -> None:
        def verb(dispute: Dispute) -> None:
            with self._tolerating("lift a hold"):
                chargebacks.lift_hold(dispute.id, by=self.finance, reason="The guest is right")

        self._each(at, self._disputes(), verb)

    # ---- what workers do ----

    @rule(at=PICKS)
    def submit(self, at: random.Random) -> None:
        self._each(at, self._refunds("APPROVED", "SUBMITTED"), self._submit)

    @rule(at=PICKS, moment=st.sampled_from(("before", "after")))
    def die_while_submitting(self, at: random.Random, moment: str) -> None:
        def job(refund: Refund) -> None:
            with tolerating(Died), dying(moment), watched():
                payment_jobs.submit_refund(refund.id)

        self._each(at, self._refunds("APPROVED", "SUBMITTED"), job)

    # ---- what Stripe does ----

    @rule(fault=st.sampled_from(("hang_up", "error_before", "error_after", "rate_limit")))
    def misbehave_once(self, fault: str) -> None:
        ask_stripe(
            "POST",
            "/_local/switches",
            json={"api": [{"fault": fault, "method": "POST", "path": "/v1/refunds", "times": 1}]},
        )

    @rule(course=st.sampled_from(("succeeds", "succeeds", "stays_pending", "fails")))
    def treat_the_next_refunds(self, course: str) -> None:
        ask_stripe("POST", "/_local/switches", json={"refunds": {"course": course}})

    @rule(at=PICKS, outcome=st.sampled_from(("succeeded", "failed")))
    def settle_a_refund(self, at: random.Random, outcome: str) -> None:
        self._each(
            at,
            [refund for refund in self._refunds("SUBMITTED", "SUCCEEDED") if refund.stripe_refund_id],
            lambda refund: self._try_stripe(
                f"/_local/refunds/{refund.stripe_refund_id}/settle", data={"outcome": outcome}
            ),
        )

    @rule(at=PICKS, amount=st.integers(1, 10_000))
    def refund_in_the_dashboard(self, at: random.Random, amount: int) -> None:
        self._each(
            at,
            self._captured(),
            lambda payment: self._try_stripe(
                "/_local/refunds",
                data={"payment_intent": payment.stripe_payment_intent_id, "amount": amount},
            ),
        )

    @rule(at=PICKS)
    def make_a_refund_twice(self, at: random.Random) -> None:
        """It was asked for again under another key, when the list did not show the first one yet."""

        def make(refund: Refund) -> None:
            marks = {"metadata[refund_id]": refund.id, "metadata[submission]": refund.submission}
            intent_id = db.session.get_one(Payment, refund.payment_id).stripe_payment_intent_id
            data = {"payment_intent": intent_id, "amount": refund.amount_minor, **marks}
            self._try_stripe("/_local/refunds", data=data)

        asked = [refund for refund in self._refunds("SUBMITTED", "SUCCEEDED", "FAILED") if refund.submission]
        self._each(at, asked, make)

    @rule(at=PICKS)
    def fail_a_refund_that_its_asker_asks_for_anew(self, at: random.Random) -> None:
        """And tries again besides."""

        def verb(refund: Refund) -> None:
            payment = db.session.get_one(Payment, refund.payment_id)
            self._try_stripe(f"/_local/refunds/{refund.stripe_refund_id}/settle", data={"outcome": "failed"})
            for event in self._news():
                self._tell(event)
            self._request(payment, refund.amount_minor, refund.kind, self.finance)
            with self._tolerating("retry of what was asked for anew"):
                refunds.retry(refund.id, by=self.finance)

        own = [refund for refund in self._refunds("SUCCEEDED") if refund.requested_by_id == self.finance.id]
        self._each(at, own, verb)

    @rule(
        at=PICKS,
        case=st.sampled_from(("chargeback", "chargeback", "chargeback", "inquiry", "resolution")),
        amount=st.none() | st.integers(1, 20_000),
        is_refundable=st.sampled_from((None, None, "true")),
    )
    def dispute(self, at: random.Random, case: str, amount: int | None, is_refundable: str | None) -> None:
        """Also one that is disputed already, and more of it than is left; a bank knows of no refunds."""
        given = {"reason": "fraudulent", "case_type": case, "amount": amount, "is_charge_refundable": is_refundable}
        self._each(
            at,
            self._captured(),
            lambda payment: self._try_stripe("/_local/disputes", data={"charge": payment.stripe_charge_id, **given}),
        )

    @rule(at=PICKS, outcome=st.sampled_from(("won", "partially_won", "lost", "closed", "escalated")))
    def decide_a_dispute(self, at: random.Random, outcome: str) -> None:
        """Also one that nobody has told us of, and one that is lost already, of which the bank thinks better."""
        self._each(
            at,
            [dispute for payment in self._captured() for dispute in settled.disputes_at_stripe(payment)],
            lambda dispute: self._try_stripe(f"/_local/disputes/{dispute['id']}/decide", data={"outcome": outcome}),
        )

    @rule(at=PICKS, count=st.integers(1, 6))
    def deliver(self, at: random.Random, count: int) -> None:
        """Some of what Stripe has to tell, in any order."""
        waiting = self._news()
        for event in at.sample(waiting, min(count, len(waiting))):
            self._tell(event)

    @rule(at=PICKS)
    def deliver_again(self, at: random.Random) -> None:
        """What was told already, as an event of another id."""
        self._each(at, self.delivered, lambda event: self._tell({**event, "id": f"evt_{uuid4().hex}"}, again=True))

    # ---- what always holds ----

    @invariant()
    def the_books_balance(self) -> None:
        db.session.rollback()
        if not self.bookings:
            return
        found = db.session.execute(
            text(
                """
                SELECT p.id, p.amount_minor, p.refunded_minor,
                       coalesce((SELECT sum(r.amount_minor) FROM refunds r
                                 WHERE r.payment_id = p.id AND r.status = 'SUCCEEDED'), 0) AS paid_back,
                       coalesce((SELECT sum(r.amount_minor) FROM refunds r
                                 WHERE r.payment_id = p.id AND r.status = 'SUBMITTED'), 0) AS submitted,
                       coalesce((SELECT sum(CASE e.kind WHEN 'refund.paid' THEN e.amount_minor ELSE -e.amount_minor END)
                                 FROM ledger_entries e WHERE e.payment_id = p.id
                                 AND e.kind IN ('refund.paid', 'refund.failed')), 0) AS posted,
                       coalesce((SELECT sum(r.amount_minor) FROM refunds r WHERE r.payment_id = p.id
                                 AND r.status NOT IN ('FAILED', 'REJECTED', 'EXPIRED')), 0) AS live,
                       coalesce((SELECT sum(r.amount_minor) FROM refunds r WHERE r.payment_id = p.id
                                 AND r.requested_by_id = :finance AND r.decided_by_id = :finance
                                 AND r.status NOT IN ('FAILED', 'REJECTED', 'EXPIRED')), 0) AS alone,
                       EXISTS (SELECT FROM refunds r WHERE r.payment_id = p.id
                               AND r.status IN ('PENDING_APPROVAL', 'APPROVED')) AS some_wait,
                       p.disputed_minor
                FROM payments p WHERE p.booking_id = ANY(:bookings)
                """
            ),
            {"bookings": self.bookings, "finance": self.finance.id},
        )
        for payment in found:
            assert payment.refunded_minor == payment.paid_back <= payment.posted, payment
            assert payment.posted <= payment.paid_back + payment.submitted, payment
            assert 0 <= payment.paid_back <= payment.live <= payment.amount_minor, payment
            # Whatever failed and was tried again, nobody passes their limit alone.
            assert payment.alone <= LIMIT, payment
            # What Stripe did may be more than was paid, together with a dispute; what we would ask it for never is.
            assert not payment.some_wait or payment.live + payment.disputed_minor <= payment.amount_minor, payment

    def teardown(self) -> None:
        """The storm is over: everything is told, every job runs, and the books are Stripe's."""
        ask_stripe("POST", "/_local/switches", json={"api": [], "refunds": {}})
        for _ in range(6):
            for event in self._news():
                self._tell(event)
            for event_id in self._unapplied():
                with tolerating(Conflict):  # not given up yet
                    inbox.replay(event_id, by=self.finance)
                webhooks.process(event_id)
            for refund in self._refunds("APPROVED", "SUBMITTED"):
                if refund.due_at is None:
                    refunds.retry(refund.id, by=self.finance)  # given up
                self._submit(refund)
        self.the_books_balance()
        for booking_id in self.bookings:
            settled.agrees_with_stripe(self._payment(booking_id))
        waiting = [db.session.get_one(WebhookEvent, event_id) for event_id in self._unapplied()]
        assert [(event.type, event.object_id, event.last_error) for event in waiting] == []
        assert self._refunds("APPROVED") == []
        for refund in self._refunds("SUBMITTED"):
            # Stripe has it, and it has not failed there; or a hold keeps us from asking for it.
            made = {row["id"]: row["status"] for row in at_stripe(db.session.get_one(Payment, refund.payment_id))}
            assert made.get(refund.stripe_refund_id) == "pending" or holds.of(refund.payment_id), refund
        assert ledger_checks.verify() == []
        assert settled.contradictions(self.bookings, [event["id"] for event in self.delivered]) == []

    # ---- how ----

    @contextmanager
    def _tolerating(self, what: str) -> Iterator[None]:
        """What may be refused at this moment; whether it was is counted."""
        refused = True
        with tolerating(Conflict):
            yield
            refused = False
        self.did[f"{what}: {'refused' if refused else 'done'}"] += 1

    def _try_stripe(self, path: str, *, data: dict[str, Any]) -> None:
        """What Stripe may refuse at this moment; whether it did is counted."""
        settings = current_app.extensions["settings"]
        url, key = f"{settings.stripe_api_base}{path}", settings.stripe_secret_key.get_secret_value()
        status = requests.post(url, data=data, auth=(key, ""), timeout=10).status_code
        assert status < 500
        what = " ".join([re.sub(r"/\w+_\w+", "", path.removeprefix("/_local/")), str(data.get("outcome", ""))]).strip()
        self.did[f"Stripe's {what}: {'done' if status < 400 else 'refused'}"] += 1

    def _submit(self, refund: Refund) -> None:
        with watched():
            payment_jobs.submit_refund(refund.id)

    def _request(self, payment: Payment, amount: int | None, kind: str, by: Actor) -> None:
        with self._tolerating(f"{' '.join(by.roles)} asks for a {kind} refund"):
            refunds.request(
                payment.id, amount_minor=amount, kind=kind, reason="stay_problem", key=uuid4().hex, by=by, again=True
            )

    def _each(self, at: random.Random, among: list[Any], do: Callable[[Any], object]) -> None:
        """Something is done to one of these, if there is any."""
        if among:
            do(at.choice(among))

    def _payment(self, booking_id: int) -> Payment:
        db.session.rollback()
        return db.session.scalars(select(Payment).where(Payment.booking_id == booking_id)).one()

    def _captured(self) -> list[Payment]:
        db.session.rollback()
        captured = select(Payment).where(Payment.booking_id.in_(self.bookings), Payment.succeeded_at.is_not(None))
        return list(db.session.scalars(captured.order_by(Payment.id)))

    def _refunds(self, *statuses: str) -> list[Refund]:
        db.session.rollback()
        found = select(Refund).join(Payment, Payment.id == Refund.payment_id)
        wanted = found.where(Payment.booking_id.in_(self.bookings), Refund.status.in_(statuses))
        return list(db.session.scalars(wanted.order_by(Refund.id)))

    def _disputes(self) -> list[Dispute]:
        db.session.rollback()
        found = select(Dispute).where(Dispute.booking_id.in_(self.bookings)).order_by(Dispute.id)
        return list(db.session.scalars(found))

    def _news(self) -> list[dict[str, Any]]:
        """What Stripe has to tell and has not told yet, oldest first."""
        before = {"ending_before": self.since[0]["id"]} if self.since else {}
        found = ask_stripe("GET", "/v1/events", params={"limit": 100, **before})["data"]
        while found:
            self.seen |= {event["id"]: event for event in reversed(found)}
            self.since = found[:1]
            found = ask_stripe("GET", "/v1/events", params={"limit": 100, "ending_before": found[0]["id"]})["data"]
        told = {event["id"] for event in self.delivered}
        return [event for event in self.seen.values() if event["id"] not in told]

    def _tell(self, event: dict[str, Any], *, again: bool = False) -> None:
        if not again:
            self.delivered.append(event)
        inbox.receive(event)
        row = select(WebhookEvent.id).where(WebhookEvent.stripe_event_id == event["id"])
        webhooks.process(db.session.scalars(row).one())

    def _unapplied(self) -> list[int]:
        """Events that could not be applied when they came."""
        db.session.rollback()
        ids = [event["id"] for event in self.delivered]
        waiting = select(WebhookEvent.id).where(
            WebhookEvent.stripe_event_id.in_(ids), WebhookEvent.status.not_in(("PROCESSED", "IGNORED"))
        )
        return list(db.session.scalars(waiting.order_by(WebhookEvent.id)))


@contextmanager
def tolerating(*refusals: type[BaseException]) -> Iterator[None]:
    """What may be refused at this moment, which changes nothing."""
    try:
        yield
    except refusals:
        db.session.rollback()


@pytest.mark.timeout(1200 if not LONG else 0)
@pytest.mark.parametrize("part", range(PARTS))
def test_money_is_neither_lost_nor_made(
    part: int,
    app: Flask,
    switches: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    monkeypatch.setattr(refund_approval, "limit_of", lambda _by, _currency: LIMIT)
    stories: type[Money] = seed(SEED + part)(type("Money", (Money,), {"did": Counter()}))
    try:
        run_state_machine_as_test(
            stories,
            settings=settings(
                max_examples=RUNS // PARTS,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink) if LONG else (Phase.generate,),
                database=None,
            ),
        )
    finally:
        record_property("money", json.dumps({"seed": SEED, "did": stories.did}))
