"""The kinds of bulk work that move money: refunding bookings, cancelling them for their providers, approving refunds.

Each row is one call of the verb that does the same to one booking or refund, in a transaction of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, String, and_, cast, func, or_, select

from app.audit import reasons
from app.audit.actor import Actor
from app.bookings import outlook
from app.bookings import refunds as booking_refunds
from app.bookings import service as bookings
from app.bookings.models import Booking
from app.bulk.kind import Became, BulkKind, Outcome, Preview
from app.db import lock
from app.errors import Conflict
from app.extensions import db
from app.money import written
from app.payments import refund_approval, refunds
from app.payments.cancellation import BEGUN
from app.payments.models import Payment, PaymentHold, Refund
from app.states import in_words

MAY_REFUND_MANY = frozenset(refund_approval.MAY_APPROVE)
# More than that at once is no day's work but a slip.
MOST_ROWS = 20_000

_HELD = "Refunds of the payment are on hold"


def refund_arguments(reason: str, note: str) -> dict[str, str]:
    """What a run that refunds is asked for with; its key, with a booking's id, makes each refund one, also where
    another run takes up the rest. The reason is a code of `refunds.REASONS`, the note the words beside it.
    """
    return {"reason": reason, "note": note, "key": uuid4().hex}


def _key(arguments: Mapping[str, Any], booking_id: int) -> str:
    return f"bulk_{arguments['key']}_{booking_id}"


# ---- refunding ----


@dataclass(frozen=True)
class _Sorted:
    """What becomes of each row: `alone` and `waiting` hold what goes back, in minor units, with its currency."""

    skipped: Counter[str]
    refused: Counter[str]
    alone: list[tuple[int, str]]
    waiting: list[tuple[int, str]]


def _sorted(ids: Select[Any], by: Actor, limits: _Limits) -> _Sorted:
    rows = _Sorted(Counter(), Counter(), [], [])
    for row in outlook.of_many(ids, by=by):
        if not row.is_paid:
            rows.skipped["Nothing was paid"] += 1
        elif row.is_held and (row.left_minor or row.is_disputed):
            rows.refused[_HELD] += 1
        elif row.left_minor == 0:
            rows.skipped["A dispute has taken it" if row.is_disputed else "Refunded already, or on its way"] += 1
        else:
            is_enough = row.left_minor + row.alone_minor <= limits.of(row.currency)
            (rows.alone if is_enough else rows.waiting).append((row.left_minor, row.currency))
    return rows


def _preview_of_refunds(ids: Select[Any], by: Actor) -> Preview:
    limits = _Limits(by)
    rows = _sorted(ids, by, limits)
    will = [*rows.alone, *rows.waiting]
    above = _above_together(rows.alone, limits)
    facts = [("Goes back", _sums(will))]
    if above or rows.waiting:
        facts.append(("At once", _many([] if above else rows.alone, "refund")))
    if above:
        facts.append(
            ("Waits for a second person", f"{_many(rows.alone, 'refund')}: together above your limit of {above}")
        )
    if rows.waiting:
        facts.append(("Waits for a second person", f"{_many(rows.waiting, 'refund')}, each above your limit"))
    return Preview(len(will), dict(rows.skipped), dict(rows.refused), tuple(facts))


def _above_together(alone: Sequence[tuple[int, str]], limits: _Limits) -> str | None:
    """The limit of whoever starts it, where what each row stays within is passed by all of them; in words."""
    for currency in sorted({currency for _, currency in alone}):
        if sum(minor for minor, of in alone if of == currency) > limits.of(currency):
            return written(limits.of(currency), currency)
    return None


def _settle_who_approves(ids: Select[Any], arguments: Mapping[str, Any], by: Actor) -> dict[str, Any]:
    """Whether the refunds of a run that starts wait for a second person; so do those that take up the rest of one."""
    limits = _Limits(by)
    above = _above_together(_sorted(ids, by, limits).alone, limits)
    return {"waits": bool(arguments.get("waits")) or above is not None}


class _Limits:
    """Up to how much somebody refunds of one payment alone, asked once for each currency."""

    def __init__(self, by: Actor) -> None:
        self._by = by
        self._known: dict[str, int] = {}

    def of(self, currency: str) -> int:
        """In minor units."""
        if currency not in self._known:
            self._known[currency] = refund_approval.limit_of(self._by, currency)
        return self._known[currency]


def _sums(amounts: Collection[tuple[int, str]]) -> str:
    sums = Counter[str]()
    for minor, currency in amounts:
        sums[currency] += minor
    return " and ".join(written(sums[currency], currency, code=True) for currency in sorted(sums)) or "nothing"


def _many(amounts: Collection[tuple[int, str]], noun: str) -> str:
    return f"{len(amounts):,} {noun}{'' if len(amounts) == 1 else 's'}, {_sums(amounts)}"


def _refund(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
    reason, note = arguments["reason"], arguments["note"]
    refunds.checked_note(reason, note)
    done, skipped = [], {}
    for booking_id in ids:
        why_nothing = booking_refunds.why_nothing_goes_back(booking_id)
        if why_nothing is not None:
            skipped[booking_id] = why_nothing
            continue
        booking_refunds.request_refund(
            booking_id,
            amount_minor=None,
            reason=reason,
            note=note,
            key=_key(arguments, booking_id),
            by=by,
            alone=not arguments.get("waits"),
        )
        done.append(booking_id)
    return Outcome(done, skipped)


def _refunds_of_run(arguments: Mapping[str, Any]) -> ColumnElement[bool]:
    key = func.concat(f"bulk_{arguments['key']}_", cast(Payment.booking_id, String))
    return and_(Payment.booking_id == Booking.id, Refund.client_key == key)


# ---- cancelling for the provider ----


def _preview_of_cancellations(ids: Select[Any], by: Actor) -> Preview:
    skipped = Counter[str]()
    paid: list[tuple[int, str]] = []
    held: list[tuple[int, str]] = []
    will = unpaid = 0
    for row in outlook.of_many(ids, by=by):
        if row.status not in ("CONFIRMED", "PENDING_PAYMENT"):
            skipped[f"{in_words(row.status).capitalize()} already"] += 1
        elif row.is_over:
            skipped["The stay is over; refund what is due instead"] += 1
        else:
            will += 1
            unpaid += row.status != "CONFIRMED"
            if row.due_minor:
                (held if row.is_held else paid).append((row.due_minor, row.currency))
    return Preview(will, dict(skipped), facts=tuple(_cancellation_facts(paid, held, unpaid)))


def _cancellation_facts(
    paid: Sequence[tuple[int, str]], held: Sequence[tuple[int, str]], unpaid: int
) -> list[tuple[str, str]]:
    facts = [("Goes back", _many([*paid, *held], "refund") if paid or held else "Nothing")]
    if held:
        facts.append(("Waits for its hold", f"{_many(held, 'refund')}: the payment is disputed"))
    if unpaid:
        facts.append(("Not paid yet", f"{unpaid:,} of them: nothing goes back"))
    return facts


def _cancel_for_provider(ids: list[int], arguments: Mapping[str, Any], by: Actor) -> Outcome:
    reason = reasons.given(arguments["reason"])
    done, skipped = [], {}
    for booking_id in ids:
        lock(Booking, booking_id)
        try:
            bookings.preview_cancel(booking_id, by=by, on_behalf_of="provider")
        except Conflict as refusal:
            skipped[booking_id] = refusal.detail
            continue
        bookings.cancel(booking_id, by=by, on_behalf_of="provider", reason=reason)
        done.append(booking_id)
    return Outcome(done, skipped)


def _refunds_of_cancellation(_arguments: Mapping[str, Any]) -> ColumnElement[bool]:
    return and_(Payment.booking_id == Booking.id, Refund.client_key == BEGUN)


# ---- approving ----


def _preview_of_approvals(ids: Select[Any], by: Actor) -> Preview:
    is_held = (
        select(PaymentHold.id)
        .where(PaymentHold.payment_id == Refund.payment_id, PaymentHold.lifted_at.is_(None))
        .exists()
    )
    found = db.session.execute(
        select(
            Refund.status,
            Refund.amount_minor,
            Refund.currency,
            (Refund.requested_by_id == by.id).label("is_own"),
            (Refund.expires_at <= func.now()).label("is_over"),
            or_(Refund.status == "ON_HOLD", is_held).label("is_held"),
        ).where(Refund.id.in_(ids))
    ).all()
    skipped, refused = Counter[str](), Counter[str]()
    will: list[tuple[int, str]] = []
    for row in found:
        if row.status not in ("PENDING_APPROVAL", "ON_HOLD"):
            skipped[f"{in_words(row.status).capitalize()} already"] += 1
        elif row.is_own:
            refused["You asked for it yourself; somebody else has to approve it"] += 1
        elif row.is_held:
            refused[_HELD] += 1
        elif row.is_over:
            refused["The time to approve it is over"] += 1
        else:
            will.append((row.amount_minor, row.currency))
    return Preview(len(will), dict(skipped), dict(refused), (("Goes back", _sums(will)),))


def _approve(ids: list[int], _arguments: Mapping[str, Any], by: Actor) -> Outcome:
    done, skipped = [], {}
    for refund_id in ids:
        status = db.session.scalar(select(Refund.status).where(Refund.id == refund_id))
        if status is None:
            skipped[refund_id] = "It is not there any more."
        elif status not in ("PENDING_APPROVAL", "ON_HOLD"):
            skipped[refund_id] = refund_approval.what_happened(refund_id)
        else:
            refund_approval.approve(refund_id, by=by)
            done.append(refund_id)
    return Outcome(done, skipped)


# ---- what became of them ----

_States = Callable[[Select[Any], Mapping[str, Any]], Sequence[Became]]


def _of_bookings(begun: Callable[[Mapping[str, Any]], ColumnElement[bool]]) -> _States:
    """What is now of the refunds that `begun` finds beside each booking."""

    def became(ids: Select[Any], arguments: Mapping[str, Any]) -> list[Became]:
        joined = select(Refund).join(Payment, Payment.id == Refund.payment_id).join(Booking, begun(arguments))
        return _counted(joined.where(Booking.id.in_(ids)))

    return became


def _of_refunds(ids: Select[Any], _arguments: Mapping[str, Any]) -> list[Became]:
    return _counted(select(Refund).where(Refund.id.in_(ids)))


def _counted(chosen: Select[Any]) -> list[Became]:
    counted = chosen.with_only_columns(
        Refund.status, func.count(), func.sum(Refund.amount_minor), Refund.currency, maintain_column_froms=True
    ).group_by(Refund.status, Refund.currency)
    found = {
        (status, currency): Became(status, count, int(minor), currency)
        for status, count, minor, currency in db.session.execute(counted)
    }
    order = list(Refund.MOVES)
    return [found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))]


_MONEY: dict[str, Any] = {"chunk_rows": 1, "most_rows": MOST_ROWS, "moves_money": True}

KINDS = (
    BulkKind(
        "bookings.refund",
        "refund",
        "refunded",
        nouns=("booking", "bookings"),
        roles=MAY_REFUND_MANY,
        table=Booking.__tablename__,
        preview=_preview_of_refunds,
        apply_chunk=_refund,
        settle=_settle_who_approves,
        became=_of_bookings(_refunds_of_run),
        explain="All that is left of what was paid goes back to each traveller, and its provider and we bear it by our"
        " shares; as goodwill, we alone. The bookings stay as they are: nothing is cancelled, their days stay sold.",
        **_MONEY,
    ),
    BulkKind(
        "bookings.cancel_for_provider",
        "cancel",
        "cancelled",
        nouns=("booking", "bookings"),
        # Who may do both one by one.
        roles=MAY_REFUND_MANY & frozenset(bookings.MAY_CANCEL),
        table=Booking.__tablename__,
        preview=_preview_of_cancellations,
        apply_chunk=_cancel_for_provider,
        became=_of_bookings(_refunds_of_cancellation),
        explain="Each booking is cancelled for its provider: its days are free again, all that is left of its price"
        " goes back whatever the policy says, no second person is asked, and its traveller gets a mail.",
        **_MONEY,
    ),
    BulkKind(
        "refunds.approve",
        "approve",
        "approved",
        nouns=("refund", "refunds"),
        roles=MAY_REFUND_MANY,
        table=Refund.__tablename__,
        preview=_preview_of_approvals,
        apply_chunk=_approve,
        became=_of_refunds,
        explain="Stripe is asked to pay each of them at once. It can't be taken back.",
        **_MONEY,
    ),
)
