"""What may be said against a dispute: each field's check, as Stripe lists them (https://docs.stripe.com/api/disputes/update)."""

from typing import Any

from dev.stripe.errors import invalid_parameter
from dev.stripe.parameters import Spec, text
from dev.stripe.work import Json

LONGEST_TOGETHER = 150_000  # characters of all fields

_LONG = (
    "access_activity_log",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "duplicate_charge_explanation",
    "product_description",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "uncategorized_text",
)
_SHORT = (
    "billing_address",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "duplicate_charge_id",
    "service_date",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_tracking_number",
)
_FILES = (
    "cancellation_policy",
    "customer_communication",
    "customer_signature",
    "duplicate_charge_documentation",
    "receipt",
    "refund_policy",
    "service_documentation",
    "shipping_documentation",
    "uncategorized_file",
)


def _file(name: str, value: Any) -> str | None:
    # There are no uploads here, so that every file is unknown; an empty value unsets the field, as at Stripe.
    given = text()(name, value)
    if given is None:
        return None
    raise invalid_parameter(f"No such file upload: '{given}'", name, "resource_missing")


SPEC: Spec = dict.fromkeys(_LONG, text(20_000)) | dict.fromkeys(_SHORT, text()) | dict.fromkeys(_FILES, _file)


def merged(old: Json, new: Json) -> Json:
    """What is staged after an update: fields that are given replace, an emptied one goes. Raises when it's too long."""
    fields = {name: value for name, value in (old | new).items() if value is not None}
    if sum(map(len, fields.values())) > LONGEST_TOGETHER:
        raise invalid_parameter(
            f"The combined character count of all evidence fields is limited to {LONGEST_TOGETHER}.", "evidence"
        )
    return fields


def shape(fields: Json) -> Json:
    """The evidence of a dispute as Stripe shows it: every field, with `null` for what was not said."""
    return dict(sorted((dict.fromkeys(SPEC) | {"appeal": None, "enhanced_evidence": {}} | fields).items()))
