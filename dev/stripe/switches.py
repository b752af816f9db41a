"""Switches that make the local Stripe misbehave on purpose, as the real one and the network between may."""

import random
import threading
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dev.stripe.errors import ApiError
from dev.stripe.store import Store


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebhookSwitches(_Form):
    """How webhooks are delivered. Decided per event when it happens, but for `paused`, which holds all."""

    paused: bool = False
    duplicate: int = Field(default=0, ge=0, le=20)  # extra copies of each
    delay: float = Field(default=0, ge=0)  # seconds
    shuffle: float = Field(default=0, ge=0)  # each copy waits a random part of so many seconds more
    drop: float = Field(default=0, ge=0, le=1)  # share of events whose webhook never comes, not even by a retry


class Fault(_Form):
    """What happens to the next matching API requests.

    `rate_limit` and `error_before` answer 429 and 500 and do nothing. `error_after` does the work and answers 500,
    which the idempotency key then keeps, as at Stripe: what was done shows in lists and webhooks only. `hang_up` does
    the work, keeps the true answer for the key, and closes the connection. `slow` waits after the work.
    """

    fault: Literal["rate_limit", "error_before", "error_after", "hang_up", "slow"]
    method: Literal["GET", "POST"] | None = None
    path: str = "/v1/*"  # shell pattern
    times: int | None = Field(default=None, ge=0)  # None: until the switches are changed
    rate: float = Field(default=1, ge=0, le=1)
    seconds: float = Field(default=1, ge=0, le=60)  # of `slow`


class TimingSwitches(_Form):
    """Seconds that Stripe takes for what it does by itself.

    `settle`: bank debits, refunds of the test cards whose refund succeeds or fails later, and the bank's answer to
    evidence that decides a dispute. `balance_transaction`: until a charge has one, and with it its fee; with Stripe's
    default capture method that may be after the payment.
    """

    settle: float = Field(default=2, ge=0)
    balance_transaction: float = Field(default=0, ge=0)


RefundCourse = Literal["succeeds", "succeeds_later", "stays_pending", "fails", "fails_later"]
RefundFailure = Literal[
    "charge_for_pending_refund_disputed",
    "declined",
    "expired_or_canceled_card",
    "insufficient_funds",
    "lost_or_stolen_card",
    "merchant_request",
    "unknown",
]


class RefundSwitches(_Form):
    """What becomes of new refunds, whatever their card; without `course`, what the card's own is.

    `fails` within the request, `fails_later` after it had succeeded. The reasons of failure are Stripe's
    (https://docs.stripe.com/api/refunds/object#refund_object-failure_reason).
    """

    course: RefundCourse | None = None
    failure_reason: RefundFailure = "expired_or_canceled_card"


class DisputeSwitches(_Form):
    """What a chargeback costs, in minor units of its currency; 15.00 is Stripe's price in the US.

    Stripe keeps the fee whoever wins; `fee_returned` is for accounts whose contract, or country, says otherwise
    (https://docs.stripe.com/disputes/how-disputes-work, "Dispute fees").
    """

    fee: int = Field(default=1500, ge=0)
    fee_returned: bool = False


class PayoutSwitches(_Form):
    """Whether Stripe pays out to our bank each day what is available, as it does unless told otherwise."""

    daily: bool = False


class Switches(_Form):
    """All switches; the defaults are a Stripe on a good day. `seed` fixes what is random."""

    seed: int = 1
    webhooks: WebhookSwitches = WebhookSwitches()
    api: tuple[Fault, ...] = ()
    timing: TimingSwitches = TimingSwitches()
    refunds: RefundSwitches = RefundSwitches()
    disputes: DisputeSwitches = DisputeSwitches()
    payouts: PayoutSwitches = PayoutSwitches()


class SwitchBoard:
    """The switches as they stand, kept in the state file."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        with store.read() as db:
            row = db.execute("SELECT value FROM switches").fetchone()
        self.now = Switches.model_validate_json(row["value"]) if row else Switches()
        self._random = random.Random(self.now.seed)  # nosec B311

    def change(self, wanted: Any) -> Switches:
        """Sets the given switches (a group replaces that group), leaves the others; raises a 400 naming a bad one."""
        if not isinstance(wanted, dict):
            raise ApiError(400, "The switches must be a JSON object.", executed=False)
        with self._lock:
            try:
                switches = Switches.model_validate({**self.now.model_dump(), **wanted})
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(step) for step in first["loc"])
                raise ApiError(400, f"Switch {where}: {first['msg']}.", param=where, executed=False) from error
            self._random = random.Random(switches.seed)  # nosec B311
            self._keep(switches)
        return switches

    def _keep(self, switches: Switches) -> None:
        with self._store.write() as db:
            db.execute("INSERT OR REPLACE INTO switches VALUES (1, ?)", (switches.model_dump_json(),))
        self.now = switches

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any; it is used up by one."""
        if not self.now.api:
            return None
        with self._lock:
            for place, fault in enumerate(self.now.api):
                if fault.times == 0 or fault.method not in (None, method) or not fnmatchcase(path, fault.path):
                    continue
                if self._random.random() >= fault.rate:
                    continue
                if fault.times is not None:
                    left = fault.model_copy(update={"times": fault.times - 1})
                    faults = (*self.now.api[:place], left, *self.now.api[place + 1 :])
                    self._keep(self.now.model_copy(update={"api": faults}))
                return fault
        return None
