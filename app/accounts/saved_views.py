"""Views of the console's lists that people keep under names of their own. Nobody else sees them, so changing one leaves
no audit entry.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.accounts.models import SavedView, User
from app.audit.actor import Actor
from app.db import lock, transaction, utcnow
from app.errors import Conflict, Invalid, NotFound
from app.extensions import db

MOST_VIEWS = 30
_MOST_LETTERS = 60
_LONGEST_QUERY = 2_000


def of(person: Actor, page: str | None = None) -> Sequence[SavedView]:
    """Somebody's views of one page or of all, by page and name."""
    own = select(SavedView).where(SavedView.user_id == person.id)
    wanted = own if page is None else own.where(SavedView.page == page)
    return db.session.scalars(wanted.order_by(SavedView.page, SavedView.name)).all()


def save(page: str, name: str, query: str, *, by: Actor) -> SavedView:
    """Keep what a page's address asks for (`query`, without its question mark) under a name; what had that name is
    replaced. Raises Invalid by field, Conflict beyond MOST_VIEWS of a page.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= _MOST_LETTERS:
        raise Invalid.field("name", f"Give the view a name of at most {_MOST_LETTERS} characters.")
    if len(query) > _LONGEST_QUERY:
        raise Invalid.field("query", "This view has too many conditions to be saved. Shorten the search.")
    with transaction():
        person_id = lock(User, by.id or 0).id
        kept = select(func.count()).where(
            SavedView.user_id == person_id, SavedView.page == page, SavedView.name != name
        )
        if (db.session.scalar(kept) or 0) >= MOST_VIEWS:
            raise Conflict(f"You have {MOST_VIEWS} views of this list. Delete one first.")
        written = insert(SavedView).values(user_id=person_id, page=page, name=name, query=query)
        now = {"query": query, "saved_at": utcnow()}
        upsert = written.on_conflict_do_update(index_elements=["user_id", "page", "name"], set_=now)
        return db.session.scalars(upsert.returning(SavedView), execution_options={"populate_existing": True}).one()


def forget(view_id: int, *, by: Actor) -> SavedView:
    """Delete one's own view; what it was. Raises NotFound, for somebody else's too."""
    with transaction():
        own = (SavedView.id == view_id, SavedView.user_id == by.id)
        view = db.session.scalar(select(SavedView).where(*own))
        if view is None or not db.session.execute(delete(SavedView).where(*own).returning(SavedView.id)).all():
            raise NotFound("There is no such view of yours.")
    return view
