"""What belongs to the console itself: its trail, mail, saved views, files, and bulk runs."""

from __future__ import annotations

from unittest.mock import patch
from uuid import uuid4

from sqlalchemy import func, select

from app.accounts import saved_views
from app.audit.actor import Actor
from app.audit.models import AuditEntry
from app.bulk import exporting, work
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.db import transaction, utcnow
from app.extensions import db
from app.notifications import service as notifications
from app.reviews.models import Review
from app.search import rebuilding
from app.search.models import IndexRebuild, SearchedWords
from tests import factories
from tests.bulk.runs import Waiting
from tests.notifications.conftest import a_mail
from tests.objects.asked import NOT_THERE, Asked


def audit_entry(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"entry_id": NOT_THERE})
    made = factories.booking(by=owner)
    about = (AuditEntry.object_type == "bookings", AuditEntry.object_id == made.id)
    return Asked({"entry_id": db.session.scalar(select(AuditEntry.id).where(*about))})


def sent_mail(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"mail_id": NOT_THERE})
    mail = a_mail()
    notifications.send(mail.id)
    return Asked({"mail_id": mail.id})


def kind_of_mail(owner: Actor | None) -> Asked:
    return Asked({"kind": "hold_expired" if owner else "weather"})


def view_to_save(owner: Actor | None) -> Asked:
    return Asked({}, {"page": "bookings" if owner else "nothing", "name": "Held", "query": "status=PENDING_PAYMENT"})


def saved_view(owner: Actor | None) -> Asked:
    kept = saved_views.save("bookings", f"View {uuid4().hex}", "", by=owner) if owner else None
    return Asked({"view_id": kept.id if kept else NOT_THERE})


def searched(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"search_id": NOT_THERE})
    now = utcnow()
    found = SearchedWords(
        day=now.date(),
        words=f"hytte {uuid4().hex}",
        searches=12,
        without_result=3,
        degraded=0,
        took_ms=480,
        slowest_ms=90,
        engine="postgres",
        last_at=now,
    )
    with transaction():
        db.session.add(found)
    return Asked({"search_id": found.id})


def rebuild_of_the_index(owner: Actor | None) -> Asked:
    for running in db.session.scalars(select(IndexRebuild).where(IndexRebuild.status == "RUNNING")).all():
        rebuilding.fail(running.id, "Another is asked for.")
    return Asked({}, {"reason": "To see that it works" if owner else ""})


def query_to_try(owner: Actor | None) -> Asked:
    return Asked({}, {"q": "hotell i Grünerløkka", "guests": "2"} if owner else {"guests": "none"})


def style(owner: Actor | None) -> Asked:
    return Asked({"filename": "console.css" if owner else "nothing.css"})


def admin_style(owner: Actor | None) -> Asked:
    return Asked({"filename": "admin/css/bootstrap4/admin.css" if owner else "nothing.css"})


def bulk_run(owner: Actor | None) -> Asked:
    return Asked({"bulk_id": prepared(owner).id if owner else NOT_THERE})


def prepared(owner: Actor) -> Bulk:
    """Asked for by somebody who was a moderator then."""
    return bulk.freeze("reviews.approve", Waiting(2).ids, by=_moderator(owner.id))


def running_run(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"bulk_id": NOT_THERE})
    run = prepared(owner)
    bulk.start(run.id, by=_moderator(owner.id))
    return Asked({"bulk_id": run.id})


def done_run(owner: Actor | None) -> Asked:
    asked = running_run(owner)
    if owner:
        # Whoever may not do it any more, and the traveller, have somebody's help.
        with patch.object(work, "_who_works", lambda run: (_moderator(run.by_id), "")):
            work.go_on(asked.args["bulk_id"])
    return asked


def done_export(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"bulk_id": NOT_THERE})
    place = func.row_number().over(order_by=Review.id).label("place")
    listed = select(Review.id.label("id"), place).where(Review.id.in_(Waiting(2).ids))
    run = exporting.ask("reviews", listed, by=_moderator(owner.id))
    bulk.start(run.id, by=_moderator(owner.id))
    with patch.object(work, "_who_works", lambda run: (_moderator(run.by_id), "")):
        work.go_on(run.id)
    return Asked({"bulk_id": run.id})


def stopped_run(owner: Actor | None) -> Asked:
    asked = running_run(owner)
    if owner:
        bulk.cancel(asked.args["bulk_id"], by=owner)
    return asked


def _moderator(person_id: int | None) -> Actor:
    return Actor("staff", person_id, "Somebody", frozenset({"moderator"}))


DESK = (
    audit_entry,
    sent_mail,
    kind_of_mail,
    view_to_save,
    saved_view,
    searched,
    rebuild_of_the_index,
    query_to_try,
    style,
    admin_style,
    bulk_run,
    running_run,
    done_run,
    done_export,
    stopped_run,
)
