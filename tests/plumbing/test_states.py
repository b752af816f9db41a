"""Status changes: the tables are the contract's, and nothing outside them happens."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.bookings.models import Booking
from app.catalog.models import Package, Provider
from app.db import lock, transaction
from app.errors import Conflict
from app.extensions import db
from app.payments.models import Payment, Refund
from app.states import Stateful, move, move_many
from tests import factories

# The public contract's edges (CONTRACT, States), written out again: the code may not drift from it unseen.
OPEN_PAYMENT = {"REQUIRES_ACTION", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED"}
CANCELLED = {"CANCELLED_BY_GUEST", "CANCELLED_BY_PROVIDER", "CANCELLED_BY_SUPPORT"}
CONTRACT: dict[type[Stateful], dict[str, set[str]]] = {
    Booking: {
        "PENDING_PAYMENT": {"CONFIRMED", "EXPIRED", *CANCELLED},
        "CONFIRMED": {"COMPLETED", *CANCELLED},
        "EXPIRED": {"CONFIRMED"},
        "COMPLETED": set(),
        "CANCELLED_BY_GUEST": set(),
        "CANCELLED_BY_PROVIDER": set(),
        "CANCELLED_BY_SUPPORT": set(),
    },
    Payment: {
        "REQUIRES_PAYMENT": OPEN_PAYMENT,
        "REQUIRES_ACTION": OPEN_PAYMENT,
        "PROCESSING": OPEN_PAYMENT,
        "FAILED": OPEN_PAYMENT,
        "SUCCEEDED": {"PARTIALLY_REFUNDED", "REFUNDED"},
        "PARTIALLY_REFUNDED": {"SUCCEEDED", "REFUNDED"},
        "REFUNDED": {"SUCCEEDED", "PARTIALLY_REFUNDED"},
        "CANCELLED": set(),
    },
    Refund: {
        "PENDING_APPROVAL": {"APPROVED", "REJECTED", "EXPIRED", "ON_HOLD"},
        "APPROVED": {"SUBMITTED", "FAILED", "ON_HOLD"},
        "ON_HOLD": {"PENDING_APPROVAL", "APPROVED"},
        "SUBMITTED": {"SUCCEEDED", "FAILED"},
        "SUCCEEDED": {"FAILED"},
        "FAILED": {"APPROVED"},
        "REJECTED": set(),
        "EXPIRED": set(),
    },
    Provider: {
        "PENDING": {"VERIFIED", "REJECTED"},
        "REJECTED": {"PENDING"},
        "VERIFIED": {"SUSPENDED"},
        "SUSPENDED": {"VERIFIED"},
    },
}
# Those whose edges can be walked with nothing but a row of the table; all share one `move`.
EDGES = [
    (model, start, end, end in ends)
    for model, table in CONTRACT.items()
    for start, ends in table.items()
    for end in table
]


@pytest.mark.parametrize("model", CONTRACT, ids=lambda model: model.__name__)
def test_the_table_of_moves_is_the_contracts(model: type[Stateful]) -> None:
    assert {state: set(ends) for state, ends in model.MOVES.items()} == CONTRACT[model]


@pytest.mark.parametrize(("model", "start", "end", "allowed"), EDGES)
def test_move_takes_exactly_the_contracts_edges(
    app: Flask, model: type[Stateful], start: str, end: str, allowed: bool
) -> None:
    row = model(status=start)
    with transaction():
        if allowed:
            move(row, end)
            assert row.status == end
        else:
            with pytest.raises(Conflict, match="already" if start == end else "can't become"):
                move(row, end)
            assert row.status == start
            assert all(getattr(row, stamp) is None for stamp in model.STAMPS.values())
        db.session.expunge_all()


def test_a_move_stamps_its_time(app: Flask) -> None:
    booking = factories.booking()
    with transaction():
        booking = lock(Booking, booking.id)
        move(booking, "CANCELLED_BY_SUPPORT")
    booking = factories.reread(booking)
    assert booking.cancelled_at is not None
    assert (booking.confirmed_at, booking.expired_at, booking.completed_at) == (None, None, None)


def test_a_move_outside_a_transaction_is_refused(app: Flask) -> None:
    booking = factories.booking()
    with pytest.raises(RuntimeError, match="transaction"):
        move(booking, "CONFIRMED")
    assert booking.status == "PENDING_PAYMENT"


def test_the_database_itself_refuses_a_state_that_is_none(app: Flask) -> None:
    provider = factories.provider()
    with pytest.raises(IntegrityError, match="ck_providers_status"):
        db.session.execute(text("UPDATE providers SET status = 'BANKRUPT' WHERE id = :id"), {"id": provider.id})
    assert factories.reread(provider).status == "VERIFIED"


def test_move_many_moves_those_in_a_source_state_and_leaves_the_others(app: Flask) -> None:
    verified, suspended, pending = (factories.provider(status=s) for s in ("VERIFIED", "SUSPENDED", "PENDING"))
    with transaction():
        moved = move_many(Provider, [verified.id, suspended.id, pending.id], to="SUSPENDED", sources=("VERIFIED",))
    assert moved == [verified.id]
    assert [factories.reread(row).status for row in (verified, suspended, pending)] == [
        "SUSPENDED",
        "SUSPENDED",
        "PENDING",
    ]


def test_move_many_refuses_an_edge_that_is_none(app: Flask) -> None:
    provider = factories.provider(status="PENDING")
    with pytest.raises(ValueError, match="no move from PENDING to SUSPENDED"), transaction():
        move_many(Provider, [provider.id], to="SUSPENDED", sources=("VERIFIED", "PENDING"))
    assert factories.reread(provider).status == "PENDING"


def test_move_many_stamps_the_time(app: Flask) -> None:
    booking = factories.paid_booking()
    with transaction():
        move_many(Booking, [booking.id], to="COMPLETED", sources=("CONFIRMED",))
    assert factories.reread(booking).completed_at is not None


def test_a_package_is_a_draft_or_published() -> None:
    assert {state: set(ends) for state, ends in Package.MOVES.items()} == {
        "DRAFT": {"PUBLISHED"},
        "PUBLISHED": {"DRAFT"},
    }
