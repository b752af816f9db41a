"""Finding work that Redis or a worker lost: every table that is an outbox is swept."""

from __future__ import annotations

from app.accounts.models import PasswordResetRequest
from app.bulk.models import Bulk
from app.disputes.models import Dispute
from app.imports.models import Import
from app.notifications.models import Notification
from app.payments.models import Payment, Refund, WebhookEvent
from app.queue import sweep, sweep_asked
from app.reports.models import Reconciliation
from app.search.models import IndexRebuild
from jobs import job

SWEPT = (
    WebhookEvent,
    Refund,
    Payment,
    Dispute,
    Notification,
    PasswordResetRequest,
    Bulk,
    Import,
    Reconciliation,
    IndexRebuild,
)


@job
def sweep_all() -> None:
    """Enqueue what is due and has no job on its way."""
    for model in SWEPT:
        sweep(model)


@job
def webhook_events() -> None:
    """Hand out the events that are due."""
    sweep_asked(WebhookEvent)


@job
def refunds() -> None:
    """Hand out the refunds that are due."""
    sweep_asked(Refund)


@job
def payments() -> None:
    """Hand out the payments whose intents are to be closed."""
    sweep_asked(Payment)


@job
def disputes() -> None:
    """Hand out the disputes that Stripe is to be asked about."""
    sweep_asked(Dispute)


@job
def notifications() -> None:
    """Hand out the mails that wait."""
    sweep_asked(Notification)


@job
def password_reset_requests() -> None:
    """Hand out the requests for a new password that nobody answered yet."""
    sweep_asked(PasswordResetRequest)


@job
def bulks() -> None:
    """Hand out the bulk runs that go on."""
    sweep_asked(Bulk)


@job
def imports() -> None:
    """Hand out the imports that go on."""
    sweep_asked(Import)


@job
def reconciliations() -> None:
    """Hand out the days whose reconciliation goes on."""
    sweep_asked(Reconciliation)


@job
def index_rebuilds() -> None:
    """Hand out the rebuild of the index that goes on."""
    sweep_asked(IndexRebuild)
