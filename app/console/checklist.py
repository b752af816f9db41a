"""A provider's checklist on its pages: how it is shown, and the routes of what is done to it and to its documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import chain
from typing import Any
from unicodedata import normalize
from urllib.parse import quote, urlencode, urlsplit

from flask import Response as Answer
from flask import flash, redirect, request
from flask_admin import expose
from werkzeug.http import dump_options_header
from werkzeug.wrappers import Response

from app import storage
from app.audit.actor import Actor
from app.audit.trail import Title
from app.catalog import checklist, documents
from app.catalog.checklist import Standing
from app.catalog.models import Provider, ProviderDocument
from app.console import session
from app.console.base import MAX_ID, reason_given
from app.db import leave_database, utcnow
from app.errors import Conflict, Invalid, NotFound, TripdeskError

REFUSALS = (
    "Can't be read",
    "Is about somebody else",
    "Has expired",
    "Doesn't say what it has to",
    "Looks altered",
)
REMOVALS = ("Belongs to somebody else", "May not be kept any longer", "Added by mistake")
TITLES: dict[str, Title] = {
    "provider.accept_item": ("Accepted on the checklist", "audit", "good"),
    "provider.refuse_item": ("Refused on the checklist", "audit", "bad"),
    "provider.reopen_item": ("Opened again on the checklist", "audit", None),
    "provider.add_document": ("Document added", "note", None),
    "provider.replace_document": ("Document replaced", "note", None),
    "provider.remove_document": ("Document removed", "note", "warn"),
    "document.open": ("Document opened", "note", None),
}

# What a decision takes beside the item and who decides, and what is said when it is done.
_VERBS: dict[str, Callable[..., Standing]] = {
    "accept": checklist.accept,
    "refuse": checklist.refuse,
    "reopen": checklist.reopen,
}
_DONE = {"accept": "{} is accepted.", "refuse": "{} is refused.", "reopen": "{} is open again."}


class ChecklistRoutes:
    """Deciding items, adding, removing and opening documents: for admins, from the pages of a provider."""

    @expose("/<int:provider_id>/checklist/<item>/<decision>", methods=["POST"])  # type: ignore[untyped-decorator]
    def decide_item(self, provider_id: int, item: str, decision: str) -> Response:
        """Accept, refuse, or open again."""
        given: dict[str, Any] = {"by": _who_decides()}
        if decision not in _VERBS:
            raise NotFound("There is no such action.")
        if decision != "reopen":
            given["document_id"] = _document_seen()
        if decision != "accept":
            given["reason"] = reason_given()
        try:
            _VERBS[decision](provider_id, item, **given)
        except (Conflict, Invalid) as refusal:
            return _refused(refusal, provider_id, item)
        flash(_DONE[decision].format(checklist.find(item).label), "done")
        return redirect(_back(provider_id))

    @expose("/<int:provider_id>/checklist/<item>/documents", methods=["POST"])  # type: ignore[untyped-decorator]
    def add_document(self, provider_id: int, item: str) -> Response:
        """Take in a document, or a newer one."""
        by = _who_decides()
        file, typed = request.files.get("file"), request.form.get("expires_on", "").strip()
        try:
            if file is None:
                raise Invalid.field("file", "Choose a file.")
            documents.add(
                provider_id,
                item,
                file.stream,  # type: ignore[arg-type]  # Werkzeug's is a temporary file
                file_name=file.filename or "",
                expires_on=_day(typed) if typed else None,
                replaces=_document_seen(),
                by=by,
            )
        except (Conflict, Invalid) as refusal:
            return _refused(refusal, provider_id, item, expires_on=typed[:20])
        flash(f"A document for {checklist.find(item).label} was added.", "done")
        return redirect(_back(provider_id, item=item))

    @expose("/<int:provider_id>/documents/<int:document_id>")  # type: ignore[untyped-decorator]
    def document(self, provider_id: int, document_id: int) -> Response:
        """A document's file, to be saved: nothing that came from outside is shown inside the console."""
        by = _who_decides()
        _require_document(provider_id, document_id)
        document = documents.opened(document_id, by=by)
        leave_database()
        answer = Answer(storage.read(document.storage_key), content_type=document.content_type)
        answer.headers["Content-Disposition"] = _attachment(documents.download_name(document))
        answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
        answer.content_length = document.size
        return answer

    @expose("/<int:provider_id>/documents/<int:document_id>/remove", methods=["POST"])  # type: ignore[untyped-decorator]
    def remove_document(self, provider_id: int, document_id: int) -> Response:
        """Take a document away for good."""
        by = _who_decides()
        item = _require_document(provider_id, document_id).item
        try:
            documents.remove(document_id, reason=reason_given(), by=by)
        except (Conflict, Invalid) as refusal:
            return _refused(refusal, provider_id, item)
        flash("The document is removed, and its file deleted.", "done")
        return redirect(_back(provider_id, item=item))


def panel(provider: Provider) -> dict[str, Any]:
    """A provider's checklist as its pages show it: every item in a line, the one that is asked for, or else the next to
    decide, in full.
    """
    standings, today = checklist.of(provider.id), utcnow().date()
    may_decide = session.actor().has(checklist.MAY_DECIDE)
    others = {name: value for name, value in request.args.items() if name not in ("item", "expires_on")}
    back = f"{request.path}?{urlencode(others)}" if others else request.path
    current = _current(standings, today)
    return {
        "summary": checklist.summary(standings),
        "may_decide": may_decide,
        "back": back,
        "lines": [
            {
                "standing": standing,
                "item": standing.item,
                "number": number,
                "status": standing.status,
                "is_current": standing is current,
                "href": f"?{urlencode({**others, 'item': standing.item.key})}#checklist",
                "action": f"/console/providers/{provider.id}/checklist/{standing.item.key}/",
                "expired": standing.expired(today),
                "document": standing.document and _facts(standing.document),
            }
            for number, standing in enumerate(standings, 1)
        ],
        "current": _in_full(provider, current, today) if current else None,
    }


def why_not_verified(provider: Provider) -> str | None:
    """Why a provider can't be verified now, as a sentence; None when it can."""
    missing = checklist.lacking(checklist.of(provider.id))
    return f"{checklist.in_a_row(missing)}." if missing else None


def _current(standings: Sequence[Standing], today: date) -> Standing | None:
    asked = request.args.get("item")
    for standing in standings:
        if standing.item.key == asked:
            return standing
    undecided = [standing for standing in standings if standing.status == "OPEN" and standing.lacks(today)]
    # What can be decided comes before what waits for a document.
    ready = [standing for standing in undecided if standing.document or not standing.item.needs_document]
    return next(iter([*ready, *undecided]), None)


def _in_full(provider: Provider, standing: Standing, today: date) -> dict[str, Any]:
    expired = standing.expired(today)
    if standing.item.needs_document and standing.document is None:
        why_not = "There is no document to look at yet."
    else:
        why_not = f"It {expired}: a newer one is needed." if expired else ""
    former = documents.former(provider.id, standing.item.key)
    return {
        "may_reopen": standing.status != "OPEN" and provider.status != "VERIFIED",
        "may_remove": provider.status != "VERIFIED" or not standing.item.needs_document,
        "accepts_at_once": provider.status == "VERIFIED",
        "why_not": why_not,
        "refusals": REFUSALS,
        "removals": REMOVALS,
        "former": [_facts(document) for document in former],
        "expires_on": request.args.get("expires_on", ""),
        "today": today.isoformat(),
        "takes": ",".join(chain(documents.ENDINGS, *documents.ENDINGS.values())),
        "most": f"{documents.MOST_BYTES // 1_000_000} MB",
    }


def _facts(document: ProviderDocument) -> dict[str, Any]:
    return {
        "id": document.id,
        "name": document.file_name,
        "what": documents.in_words(document),
        "at": document.uploaded_at,
        "by": document.uploaded_by.name if document.uploaded_by else None,
        "expires_on": document.expires_on,
        "status": document.status,
        "removal_reason": document.removal_reason,
        "href": f"/console/providers/{document.provider_id}/documents/{document.id}"
        if document.status != "REMOVED"
        else None,
    }


def _attachment(name: str) -> str:
    """Content-Disposition for a name in any script (RFC 6266, 4.3): for what knows no better, its ASCII letters."""
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode()
    return dump_options_header("attachment", {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"})


def _back(provider_id: int, **more: str) -> str:
    """The page that the form stood on, with what is to be shown there."""
    page = session.inside(request.form.get("back")) or f"/console/providers/{provider_id}/"
    return f"{page}{'&' if urlsplit(page).query else '?'}{urlencode(more)}#checklist" if more else page


def _refused(refusal: TripdeskError, provider_id: int, item: str, **typed: str) -> Response:
    flash(f"{refusal.detail} Nothing was changed.", "refused")
    kept = {name: value for name, value in typed.items() if value}
    return redirect(_back(provider_id, item=item, **kept))


def _who_decides() -> Actor:
    """Whoever is signed in, before anything else is said to them. Raises NotAllowed."""
    by = session.actor()
    by.require(*checklist.MAY_DECIDE)
    return by


def _require_document(provider_id: int, document_id: int) -> ProviderDocument:
    """The document of an address. Raises NotFound."""
    document = documents.find(document_id) if document_id <= MAX_ID else None
    if document is None or document.provider_id != provider_id:
        raise NotFound("There is no document with this id.")
    return document


def _document_seen() -> int | None:
    """Which document the page showed when its form was sent."""
    value = request.form.get("document", "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or int(value) > MAX_ID:
        raise Invalid.field("document", "Load the page again: what it sent is not what it was given.")
    return int(value)


def _day(typed: str) -> date:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise Invalid.field("expires_on", "Give the last day as 2027-12-31.") from None
