"""Stripe's documented test payment methods and what each one does (https://docs.stripe.com/testing)."""

from dataclasses import dataclass
from typing import Any

from dev.stripe.errors import doc_url
from dev.stripe.switches import RefundCourse


@dataclass(frozen=True)
class Decline:
    """How a card is refused: Stripe's error code, the issuer's reason where there is one, and the words."""

    code: str
    message: str
    decline_code: str | None = None
    blocked: bool = False


@dataclass(frozen=True)
class TestMethod:
    """One test payment method. `decline` comes at once, or after authentication where that is asked for."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    decline: Decline | None = None
    authentication: bool = False
    refund: RefundCourse = "succeeds"
    dispute: str | None = None  # what the payment turns into: a key of `disputes.CARDS`
    available_at_once: bool = False
    bank_debit: bool = False

    @property
    def type(self) -> str:
        """Stripe's word for the family of payment methods."""
        return "us_bank_account" if self.bank_debit else "card"


def _declined(decline_code: str, message: str = "Your card was declined.") -> Decline:
    return Decline("card_declined", message, decline_code)


GENERIC = _declined("generic_decline")
INSUFFICIENT_FUNDS = _declined("insufficient_funds", "Your card has insufficient funds.")
PROCESSING_ERROR = Decline(
    "processing_error", "An error occurred while processing your card. Try again in a little bit.", "processing_error"
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    "authentication_required",
)
BANK_ACCOUNT_EMPTY = Decline(
    "insufficient_funds", "The customer's account has insufficient funds to cover this payment."
)

METHODS: dict[str, TestMethod] = {
    "pm_card_visa": TestMethod("4242424242424242"),
    "pm_card_visa_debit": TestMethod("4000056655665556", funding="debit"),
    "pm_card_mastercard": TestMethod("5555555555554444", "mastercard"),
    "pm_card_mastercard_debit": TestMethod("5200828282828210", "mastercard", "debit"),
    "pm_card_mastercard_prepaid": TestMethod("5105105105105100", "mastercard", "prepaid"),
    "pm_card_amex": TestMethod("378282246310005", "amex"),
    "pm_card_discover": TestMethod("6011111111111117", "discover"),
    "pm_card_diners": TestMethod("3056930009020004", "diners"),
    "pm_card_jcb": TestMethod("3566002020360505", "jcb"),
    "pm_card_unionpay": TestMethod("6200000000000005", "unionpay"),
    "pm_card_us": TestMethod("4242424242424242"),
    "pm_card_bypassPending": TestMethod("4000000000000077", available_at_once=True),
    "pm_card_pendingRefund": TestMethod("4000000000007726", refund="succeeds_later"),
    "pm_card_refundFail": TestMethod("4000000000005126", refund="fails_later"),
    "pm_card_createDispute": TestMethod("4000000000000259", dispute="fraudulent"),
    "pm_card_createDisputeProductNotReceived": TestMethod("4000000000002685", dispute="product_not_received"),
    "pm_card_createDisputeInquiry": TestMethod("4000000000001976", dispute="inquiry"),
    "pm_card_riskLevelElevated": TestMethod("4000000000009235"),
    "pm_card_chargeDeclined": TestMethod("4000000000000002", decline=GENERIC),
    "pm_card_chargeDeclinedInsufficientFunds": TestMethod("4000000000009995", decline=INSUFFICIENT_FUNDS),
    "pm_card_chargeDeclinedLostCard": TestMethod("4000000000009987", decline=_declined("lost_card")),
    "pm_card_chargeDeclinedStolenCard": TestMethod("4000000000009979", decline=_declined("stolen_card")),
    "pm_card_chargeDeclinedVelocityLimitExceeded": TestMethod(
        "4000000000006975",
        decline=_declined(
            "card_velocity_exceeded",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
    "pm_card_chargeDeclinedExpiredCard": TestMethod(
        "4000000000000069", decline=Decline("expired_card", "Your card has expired.", "expired_card")
    ),
    "pm_card_chargeDeclinedIncorrectCvc": TestMethod(
        "4000000000000127", decline=Decline("incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc")
    ),
    "pm_card_chargeDeclinedProcessingError": TestMethod("4000000000000119", decline=PROCESSING_ERROR),
    "pm_card_chargeDeclinedFraudulent": TestMethod(
        "4100000000000019", decline=Decline("card_declined", "Your card was declined.", "fraudulent", blocked=True)
    ),
    "pm_card_chargeCustomerFail": TestMethod("4000000000000341", decline=GENERIC),
    "pm_card_authenticationRequired": TestMethod("4000002760003184", authentication=True),
    "pm_card_authenticationRequiredOnSetup": TestMethod("4000002500003155", authentication=True),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": TestMethod(
        "4000008260003178", authentication=True, decline=INSUFFICIENT_FUNDS
    ),
    "pm_card_threeDSecure2Required": TestMethod("4000000000003220", authentication=True),
    "pm_card_threeDSecureRequired": TestMethod("4000000000003063", authentication=True),
    "pm_card_threeDSecureRequiredChargeDeclined": TestMethod("4000008400001629", authentication=True, decline=GENERIC),
    "pm_card_threeDSecureRequiredProcessingError": TestMethod(
        "4000008400001280", authentication=True, decline=PROCESSING_ERROR
    ),
    "pm_card_threeDSecureOptional": TestMethod("4000000000003055"),
    "pm_usBankAccount_success": TestMethod("000123456789", bank_debit=True),
    "pm_usBankAccount_insufficientFunds": TestMethod("000222222227", bank_debit=True, decline=BANK_ACCOUNT_EMPTY),
}
for _suffix in ("", "InsufficientFunds", "LostCard", "StolenCard", "VelocityLimitExceeded"):
    METHODS[f"pm_card_visa_chargeDeclined{_suffix}"] = METHODS[f"pm_card_chargeDeclined{_suffix}"]
METHODS["pm_card_radarBlock"] = METHODS["pm_card_chargeDeclinedFraudulent"]

BY_NUMBER = {method.number: name for name, method in reversed(METHODS.items())}


def of_number(number: str) -> str | None:
    """The name of the test method with a card number, or nothing when it is none of Stripe's test cards."""
    return BY_NUMBER.get(number.replace(" ", ""))


def card(method: TestMethod) -> dict[str, Any]:
    """What Stripe shows of a card, in payment methods and in charges."""
    return {
        "brand": method.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": None},
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"local{method.number[-11:]}",
        "funding": method.funding,
        "last4": method.number[-4:],
        "regulated_status": "unregulated",
        "wallet": None,
    }


def _bank_account(method: TestMethod) -> dict[str, Any]:
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "fingerprint": f"local{method.number}",
        "last4": method.number[-4:],
        "routing_number": "110000000",
    }


BILLING_DETAILS: dict[str, Any] = {
    "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}


def payment_method(identifier: str, name: str, created: int) -> dict[str, Any]:
    """A payment method as Stripe shows it."""
    method = METHODS[name]
    if method.bank_debit:
        details: dict[str, Any] = _bank_account(method)
    else:
        details = card(method) | {
            "display_brand": method.brand,
            "generated_from": None,
            "networks": {"available": [method.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
        }
    return {
        "id": identifier,
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": BILLING_DETAILS,
        method.type: details,
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": method.type,
    }


def payment_method_details(name: str, amount: int) -> dict[str, Any]:
    """A charge's account of what it was paid with. `amount` is in minor units."""
    method = METHODS[name]
    if method.bank_debit:
        return {"type": "us_bank_account", "us_bank_account": _bank_account(method) | {"payment_reference": None}}
    details = card(method) | {
        "amount_authorized": amount,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": method.brand,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": {"authentication_flow": "challenge", "result": "authenticated", "version": "2.2.0"}
        if method.authentication
        else None,
    }
    return {"card": details, "type": "card"}


def outcome(decline: Decline | None) -> dict[str, Any]:
    """A charge's account of how the issuer answered."""
    if decline is None:
        status, reason, seller, kind = "approved_by_network", None, "Payment complete.", "authorized"
    elif decline.blocked:
        status, reason, kind = "not_sent_to_network", "highest_risk_level", "blocked"
        seller = "Stripe blocked this payment as too risky."
    else:
        status, reason, kind = "declined_by_network", decline.decline_code or decline.code, "issuer_declined"
        seller = "The bank did not return any further details with this decline."
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": "01" if kind == "issuer_declined" else None,
        "network_status": status,
        "reason": reason,
        "risk_level": "highest" if decline and decline.blocked else "normal",
        "risk_score": 90 if decline and decline.blocked else 20,
        "seller_message": seller,
        "type": kind,
    }


def payment_error(decline: Decline, charge: str | None, method: dict[str, Any]) -> dict[str, Any]:
    """`last_payment_error` of a payment intent, which is also what the confirmer is answered."""
    error: dict[str, Any] = {"charge": charge, "code": decline.code, "decline_code": decline.decline_code}
    error |= {"doc_url": doc_url(decline.code), "message": decline.message}
    error |= {"network_decline_code": outcome(decline)["network_decline_code"], "payment_method": method}
    return {key: value for key, value in (error | {"type": "card_error"}).items() if value is not None}
