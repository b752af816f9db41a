"""What a provider has to show before it is verified: the checklist, how far each provider is, and the verbs that decide
an item of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from sqlalchemy import ColumnElement, Select, and_, exists, func, insert, literal, not_, or_, select

from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog.models import Package, Provider, ProviderCheck, ProviderDocument
from app.db import lock, require_transaction, transaction, utcnow
from app.errors import Conflict, NotFound
from app.extensions import db
from app.states import in_words, move

MAY_DECIDE = ("admin",)

T = TypeVar("T", ProviderCheck, ProviderDocument)
_LONG_AGO_DAYS = 60


@dataclass(frozen=True)
class Item:
    """One thing to show, and what to look for in it. `sells` asks only those for it who have packages of that type.

    Of one that `expires`, the document's last day has to be given.
    """

    key: str
    label: str
    meaning: str
    needs_document: bool = True
    expires: bool = False
    is_required: bool = True
    sells: str | None = None


# In the order in which they are worked through. Those who are verified keep to what was asked of them then: a new item
# that is required of everybody needs a migration that accepts it for them, as 0015 does.
ITEMS = (
    Item(
        "legal_name",
        "Legal name and registration number",
        "Name, number and address are those of the public register, and the company is not struck off.",
        needs_document=False,
    ),
    Item(
        "proof_of_registration",
        "Proof of registration",
        "An extract of the trade register, not older than three months, of the same company.",
    ),
    Item(
        "identity",
        "Identity of the responsible person",
        "Passport or identity card of somebody whom the register names as acting for the company.",
        expires=True,
    ),
    Item(
        "bank_account",
        "Bank account",
        "A statement or a letter of the bank: the holder of the account is the company, by its legal name.",
    ),
    Item(
        "insurance",
        "Liability insurance",
        "A policy or certificate that names the company and covers guests, with the day until which it holds.",
        expires=True,
    ),
    Item(
        "tour_licence",
        "Tour operator's licence",
        "The licence, with the protection of prepayments against insolvency that package travel needs.",
        expires=True,
        sells="tour",
    ),
    Item(
        "lodging_permit",
        "Permit to let rooms",
        "Where the place asks for one: its number belongs on the listing.",
        is_required=False,
        sells="hotel",
    ),
)
_BY_KEY = {item.key: item for item in ITEMS}


@dataclass(frozen=True)
class Standing:
    """One item as it stands for a provider: what was decided, and the document that is there for it now."""

    item: Item
    check: ProviderCheck | None
    document: ProviderDocument | None

    @property
    def status(self) -> str:
        """OPEN, ACCEPTED or REFUSED."""
        return self.check.status if self.check else "OPEN"

    @property
    def needs_reading(self) -> bool:
        """Whether there is a document that nobody decided on."""
        return self.document is not None and self.status == "OPEN"

    def expired(self, today: date) -> str | None:
        """Since when its document no longer holds, in words; None while it does."""
        last = self.document.expires_on if self.document else None
        if last is None or last >= today:
            return None
        days = (today - last).days
        if days > _LONG_AGO_DAYS:
            return f"expired on {last.day} {last:%b %Y}"
        return "expired yesterday" if days == 1 else f"expired {days} days ago"

    def lacks(self, today: date) -> str | None:
        """Why it keeps the provider from being verified, in words; None when it doesn't."""
        if not self.item.is_required:
            return None
        expired = self.expired(today)
        if expired:
            return f"{self.item.label} {expired}"
        if self.status == "ACCEPTED":
            return None
        if self.status == "OPEN" and self.item.needs_document and self.document is None:
            return f"{self.item.label} has no document"
        return f"{self.item.label} is {in_words(self.status)}"


def find(key: str) -> Item:
    """The item of this name. Raises NotFound."""
    if key not in _BY_KEY:
        raise NotFound("There is no such item on the checklist.")
    return _BY_KEY[key]


def of(provider_id: int) -> list[Standing]:
    """A provider's checklist: what is asked of it, in order."""
    return of_many([provider_id])[provider_id]


def of_many(provider_ids: Sequence[int]) -> Mapping[int, list[Standing]]:
    """The same for many providers, with a few queries."""
    checks = {
        (check.provider_id, check.item): check
        for check in db.session.scalars(_fresh(ProviderCheck).where(ProviderCheck.provider_id.in_(provider_ids)))
    }
    are_current = (ProviderDocument.provider_id.in_(provider_ids), ProviderDocument.status == "CURRENT")
    documents = {
        (document.provider_id, document.item): document
        for document in db.session.scalars(_fresh(ProviderDocument).where(*are_current))
    }
    sold = defaultdict(set)
    types = select(Package.provider_id, Package.type).where(Package.provider_id.in_(provider_ids)).distinct()
    for provider_id, kind in db.session.execute(types):
        sold[provider_id].add(kind)
    return {
        provider_id: [
            Standing(item, checks.get((provider_id, item.key)), documents.get((provider_id, item.key)))
            for item in ITEMS
            if item.sells is None or item.sells in sold[provider_id]
        ]
        for provider_id in provider_ids
    }


def _fresh(model: type[T]) -> Select[T]:
    # What a colleague decided meanwhile is seen, whatever was read before.
    return select(model).execution_options(populate_existing=True)


def lacking(standings: Iterable[Standing]) -> list[str]:
    """What keeps a provider from being verified, each in words."""
    today = utcnow().date()
    return [words for standing in standings if (words := standing.lacks(today))]


def summary(standings: Sequence[Standing]) -> str:
    """How far a checklist is, as `4 of 5 accepted`; what expired counts no more."""
    required = sum(standing.item.is_required for standing in standings)
    return f"{required - len(lacking(standings))} of {required} accepted"


def require_complete(provider: Provider) -> None:
    """Raises Conflict, naming what is missing, unless everything required is accepted and holds."""
    missing = lacking(of(provider.id))
    if missing:
        raise Conflict(f"{provider.name} can't be verified yet: {in_a_row(missing)}.")


def refused(provider: Provider) -> list[str]:
    """The refused items, each with its reason."""
    return [
        f"{standing.item.label} ({standing.check.reason})"
        for standing in of(provider.id)
        if standing.check and standing.check.status == "REFUSED"
    ]


def in_a_row(words: Sequence[str]) -> str:
    """`A is open, B has no document and C is refused`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


# ------------------------------------------------------------------ for the queue's order


def is_complete() -> ColumnElement[bool]:
    """Of a provider's row: everything required is accepted, and its documents hold."""
    of_the_check = (
        ProviderDocument.provider_id == ProviderCheck.provider_id,
        ProviderDocument.item == ProviderCheck.item,
    )
    accepted = select(ProviderCheck.item).where(
        ProviderCheck.provider_id == Provider.id,
        ProviderCheck.status == "ACCEPTED",
        not_(exists().where(*of_the_check, *_is_over())),
    )
    return and_(
        *(
            or_(literal(item.key).in_(accepted), *([not_(_sells(item.sells))] if item.sells else []))
            for item in ITEMS
            if item.is_required
        )
    )


def has_something_to_read() -> ColumnElement[bool]:
    """Of a provider's row: there is a document that nobody decided on."""
    return exists().where(
        ProviderCheck.provider_id == Provider.id,
        ProviderCheck.status == "OPEN",
        ProviderDocument.provider_id == Provider.id,
        ProviderDocument.item == ProviderCheck.item,
        ProviderDocument.status == "CURRENT",
    )


def has_expired(*, within_days: int = 0) -> ColumnElement[bool]:
    """Of a provider's row: a document no longer holds, or will not in so many days."""
    return exists().where(ProviderDocument.provider_id == Provider.id, *_is_over(within_days))


def _is_over(within_days: int = 0) -> tuple[ColumnElement[bool], ...]:
    return (
        ProviderDocument.status == "CURRENT",
        ProviderDocument.expires_on < func.current_date() + within_days,
    )


def _sells(kind: str) -> ColumnElement[bool]:
    return exists().where(Package.provider_id == Provider.id, Package.type == kind)


# ------------------------------------------------------------------ verbs


def accept(provider_id: int, key: str, *, document_id: int | None, by: Actor) -> Standing:
    """Find an open item in order. `document_id` is the document that was looked at, None where there was none.

    Raises NotAllowed, NotFound, Conflict: decided already, by whom and how long ago; another document came in; there is
    none, or it has expired.
    """
    by.require(*MAY_DECIDE)
    with transaction():
        provider, standing = locked(provider_id, key)
        check = _open(provider, standing, document_id)
        if standing.item.needs_document and standing.document is None:
            raise Conflict(f"{standing.item.label} has no document yet. Add one first.")
        expired = standing.expired(utcnow().date())
        if expired:
            raise Conflict(f"{standing.item.label} {expired}. Add a newer document first.")
        decide(check, "ACCEPTED", by=by)
        note(by, "accept_item", provider, check, was="OPEN")
    return Standing(standing.item, check, standing.document)


def refuse(provider_id: int, key: str, *, document_id: int | None, reason: str | None, by: Actor) -> Standing:
    """Refuse an open item with a reason. Raises what `accept` does, but for the document, and Invalid."""
    by.require(*MAY_DECIDE)
    reason = reasons.given(reason)
    with transaction():
        provider, standing = locked(provider_id, key)
        check = _open(provider, standing, document_id)
        decide(check, "REFUSED", by=by, reason=reason)
        note(by, "refuse_item", provider, check, was="OPEN", reason=reason)
    return Standing(standing.item, check, standing.document)


def reopen(provider_id: int, key: str, *, reason: str | None, by: Actor) -> Standing:
    """Have an item decided anew. Raises NotAllowed, NotFound, Invalid without a reason, and Conflict when it is open
    already or the provider is verified, which stands on it.
    """
    by.require(*MAY_DECIDE)
    reason = reasons.given(reason)
    with transaction():
        provider, standing = locked(provider_id, key)
        check, was = standing.check, standing.status
        if check is None or was == "OPEN":
            raise Conflict(f"{standing.item.label} is open already.")
        require_not_verified(provider)
        decide(check, "OPEN", by=by)
        note(by, "reopen_item", provider, check, was=was, reason=reason)
    return Standing(standing.item, check, standing.document)


def accept_unseen(providers: Sequence[Provider], *, because: str) -> None:
    """Count everything required as accepted for providers that come in as verified from elsewhere, and say why.

    To be called in the transaction that makes them.
    """
    require_transaction()
    if not providers:
        return
    now = utcnow()
    rows = [
        {"provider_id": provider.id, "item": item.key, "status": "ACCEPTED", "reason": because, "decided_at": now}
        for provider in providers
        for item in ITEMS
        if item.is_required
    ]
    db.session.execute(insert(ProviderCheck), rows)


# ------------------------------------------------------------------ steps of these verbs, and of those of documents


def locked(provider_id: int, key: str) -> tuple[Provider, Standing]:
    """A provider, locked, and one item of its checklist, which is worked on under that lock. Raises NotFound."""
    item, provider = find(key), lock(Provider, provider_id)
    for standing in of(provider.id):
        if standing.item is item:
            return provider, standing
    raise NotFound(f"{item.label} is not asked of {provider.name}.")


def check_of(provider: Provider, standing: Standing) -> ProviderCheck:
    """The item's row, a new one where nothing was ever decided."""
    check = standing.check or ProviderCheck(provider_id=provider.id, item=standing.item.key, status="OPEN")
    db.session.add(check)
    return check


def decide(check: ProviderCheck, to: str, *, by: Actor, reason: str | None = None) -> None:
    """Move an item, and keep who did and why; an open one is nobody's."""
    move(check, to)
    is_decided = to != "OPEN"
    check.decided_by_id = by.id if is_decided else None
    check.reason = reason if is_decided else None
    if not is_decided:
        check.decided_at = None


def note(
    by: Actor, action: str, provider: Provider, check: ProviderCheck, *, was: str, reason: str | None = None
) -> None:
    """Enter in the provider's history what became of an item."""
    before, after = {check.item: in_words(was)}, {check.item: in_words(check.status)}
    audit.record(by, f"provider.{action}", provider, reason=reason, before=before, after=after)


def require_not_verified(provider: Provider) -> None:
    """Raises Conflict for a verified provider, whose papers can't be taken away under it."""
    if provider.status == "VERIFIED":
        raise Conflict(f"{provider.name} is verified, and that stands on its papers. Suspend it first.")


def _open(provider: Provider, standing: Standing, document_id: int | None) -> ProviderCheck:
    """The row of an open item whose document is the one that was looked at. Raises Conflict saying who was first."""
    check, document = standing.check, standing.document
    if check is not None and check.status != "OPEN":
        who = check.decided_by.name if check.decided_by else "Tripdesk"
        when = history.ago(check.decided_at) if check.decided_at else "before"
        raise Conflict(f"{standing.item.label} was {in_words(check.status)} by {who} {when}.")
    if document is not None and document.id != document_id:
        who = document.uploaded_by.name if document.uploaded_by else "Tripdesk"
        raise Conflict(
            f"Another document for {standing.item.label} was added by {who} {history.ago(document.uploaded_at)}."
            " Look at it first."
        )
    if document is None and document_id is not None:
        raise Conflict(f"The document for {standing.item.label} was removed meanwhile.")
    return check_of(provider, standing)
