"""/console/development/: stands in for Stripe.js, so that a payment can be made by hand. Served in development only."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, url_for
from flask_admin import expose
from sqlalchemy import select
from werkzeug.wrappers import Response

from app.bookings.models import Booking
from app.config import settings
from app.console.base import EVERYBODY, Page
from app.errors import Conflict, Invalid
from app.extensions import db
from app.money import Money
from app.payments import stripe_gateway
from app.payments.models import Payment

# https://docs.stripe.com/testing#cards
METHODS = {
    "pm_card_visa": "Visa, succeeds",
    "pm_card_mastercard": "Mastercard, succeeds",
    "pm_card_chargeDeclined": "Visa, declined",
    "pm_card_chargeDeclinedInsufficientFunds": "Visa, declined: insufficient funds",
    "pm_card_chargeDeclinedExpiredCard": "Visa, declined: expired",
    "pm_card_threeDSecure2Required": "Visa, asks for 3-D Secure",
    "pm_card_pendingRefund": "Visa, its refund is pending for a while",
    "pm_card_refundFail": "Visa, its refund fails after it succeeded",
    "pm_card_createDispute": "Visa, disputed as fraudulent",
    "pm_card_createDisputeInquiry": "Visa, its bank asks about it",
}
_MOST = 50


class DevelopmentView(Page):
    """Open payment intents, each with a card to pay it with."""

    roles = EVERYBODY
    icon = "credit-card"

    def is_open_to(self, roles: frozenset[str]) -> bool:
        """Nobody's in production."""
        return settings().app_env != "production" and super().is_open_to(roles)

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The open intents, newest first."""
        open_ones = (
            select(Payment, Booking.reference)
            .join(Booking, Booking.id == Payment.booking_id)
            .where(Payment.status.in_(Payment.PAYABLE), Payment.stripe_payment_intent_id.is_not(None))
            .order_by(Payment.id.desc())
            .limit(_MOST)
        )
        return str(
            self.render(
                "console/development/confirm_payment.html",
                intents=[_intent(payment, reference) for payment, reference in db.session.execute(open_ones)],
                methods=[{"value": value, "label": label} for value, label in METHODS.items()],
                outcome=None,
            )
        )

    @expose("/confirm/<intent_id>", methods=["POST"])  # type: ignore[untyped-decorator]
    def confirm(self, intent_id: str) -> Response:
        """Pay one, as the traveller's browser would."""
        method = request.form.get("payment_method", "")
        if method not in METHODS:
            raise Invalid.field("payment_method", "Choose one of the cards.")
        try:
            intent = stripe_gateway.confirm_intent(intent_id, method)
        except Conflict as refusal:
            flash(refusal.detail, "refused")
        else:
            flash(
                f"Stripe says: {intent.status.replace('_', ' ')}.", "done" if intent.status == "succeeded" else "info"
            )
        return redirect(url_for("development.index"))


def _intent(payment: Payment, reference: str) -> dict[str, Any]:
    return {
        "id": payment.stripe_payment_intent_id,
        "booking_reference": reference,
        "amount": Money(payment.amount_minor, payment.currency).json(),
        "status": payment.status,
        "created_at": payment.created_at,
        "confirm_href": url_for("development.confirm", intent_id=payment.stripe_payment_intent_id),
    }
