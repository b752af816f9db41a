"""/console/verification/: providers that wait to be verified, with the checklist of what they have shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flask import g
from sqlalchemy import ColumnElement, Text, cast, func, select

from app.audit.models import AuditEntry
from app.catalog import checklist, providers
from app.catalog.checklist import Standing
from app.catalog.models import Provider, ProviderCheck, ProviderDocument
from app.console import checklist as checklist_page
from app.console.base import EVERYBODY, Column
from app.console.providers import REASONS, TITLES, contact_of, provider_href
from app.console.queue import Decision, QueueView, Urgency
from app.console.record import Fact, Group, Phrase
from app.db import utcnow

_verify, _reject = (partial(providers.decide, decision=decision) for decision in ("verify", "reject"))


def _expired(provider: Provider) -> str:
    today = utcnow().date()
    standings = _checklist(provider)
    return "; ".join(f"{standing.item.label} {words}" for standing in standings if (words := standing.expired(today)))


def _to_read(provider: Provider) -> str:
    count = sum(standing.needs_reading for standing in _checklist(provider))
    return f"{count} {'document' if count == 1 else 'documents'} to look at"


class VerificationView(QueueView):
    """Providers to verify or reject before they sell."""

    roles = EVERYBODY
    icon = "shield-check"
    model = Provider
    title = "Verification"
    intro = "A provider is verified when everything required of it is accepted; its packages go on sale then."
    exported_as = "providers"
    noun = ("provider", "providers")
    columns = (
        Column("name", "Provider", "link"),
        Column("accepted", "Checklist"),
        Column("created_at", "Added", "time", "right"),
    )
    item_template = "console/verification/item.html"
    parts = ((ProviderCheck, "provider_id"), (ProviderDocument, "provider_id"))
    titles = TITLES
    urgency = (
        Urgency("Everything is accepted", checklist.is_complete(), hours=72),
        Urgency(_to_read, checklist.has_something_to_read(), hours=48),
        Urgency(_expired, checklist.has_expired(), hours=24),
    )
    decisions = (
        Decision(
            *("verify", "Verify", "VERIFIED", _verify, providers.MAY_DECIDE),
            key="v",
            reasons=REASONS["verify"],
            why_not=checklist_page.why_not_verified,
        ),
        Decision(
            *("reject", "Reject", "REJECTED", _reject, providers.MAY_DECIDE),
            explain="Nothing of theirs goes on sale. The refused items of the checklist are kept with the reason.",
            key="r",
            reasons=REASONS["reject"],
            danger=True,
        ),
    )

    def prepare(self, rows: Sequence[Provider]) -> None:
        """The checklists of a page's providers."""
        g.checklists = checklist.of_many([row.id for row in rows])

    def _version(self) -> ColumnElement[str]:
        # What is done to its checklist and documents is no change of the provider's row, but of its history.
        of_it = (AuditEntry.object_type == Provider.__tablename__, AuditEntry.object_id == Provider.id)
        newest = select(cast(func.coalesce(func.max(AuditEntry.id), 0), Text)).where(*of_it)
        return newest.correlate(Provider).scalar_subquery()

    def cells(self, row: Provider) -> dict[str, Any]:
        """One provider's line."""
        return {"name": row.name, "accepted": checklist.summary(_checklist(row)), "created_at": row.created_at}

    def heading(self, row: Provider) -> str:
        """The provider's name."""
        return row.name

    def sub(self, row: Provider) -> Sequence[Phrase]:
        """Since when it is here, and where the rest about it is."""
        return (
            Phrase("added", at=row.created_at),
            Phrase(text="Its packages and bookings", href=provider_href(row.id)),
        )

    def facts(self, row: Provider) -> Sequence[Group]:
        """What it is known by, and how it is reached."""
        facts = [Fact("External id", row.external_id, "mono"), Fact("Added", row.created_at, "time")]
        return [Group("Facts", facts), Group("How to reach it", contact_of(row))]

    def context(self, row: Provider) -> dict[str, Any]:
        """The checklist, in full."""
        return {"checklist": checklist_page.panel(row)}


def _checklist(provider: Provider) -> list[Standing]:
    found: list[Standing] = g.checklists[provider.id]
    return found
