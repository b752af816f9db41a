"""/console/views/: the views of lists that somebody has saved, and saving one more."""

from __future__ import annotations

from flask import current_app, request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.accounts import saved_views
from app.console import session
from app.console.base import EVERYBODY, Page, RecordView, done
from app.errors import NotFound


class SavedViewsView(Page):
    """One's own views, for everybody; each list offers those of its own."""

    roles = EVERYBODY

    def is_visible(self) -> bool:
        """Not in the menu: the lists lead here."""
        return False

    @expose("/")  # type: ignore[untyped-decorator]
    def show(self) -> str:
        """All of them, by list."""
        lists = _lists()
        views = [view for view in saved_views.of(session.actor()) if view.page in lists]
        return str(
            self.render("console/views.html", views=[{"view": view, "list": lists[view.page]} for view in views])
        )

    @expose("/", methods=["POST"])  # type: ignore[untyped-decorator]
    def save(self) -> Response:
        """Keep what a list shows."""
        page, query = request.form.get("page", ""), request.form.get("query", "")
        shown = _lists().get(page)
        if shown is None:
            raise NotFound("There is no such list.")
        view = saved_views.save(page, request.form.get("name", ""), query, by=session.actor())
        return done(f"The view “{view.name}” is saved.", f"{shown.url.rstrip('/')}/?{view.query}")

    @expose("/<int:view_id>/delete", methods=["POST"])  # type: ignore[untyped-decorator]
    def delete(self, view_id: int) -> Response:
        """Forget one."""
        view = saved_views.forget(view_id, by=session.actor())
        return done(f"The view “{view.name}” is deleted.", "/console/views/")


def _lists() -> dict[str, RecordView]:
    """The lists that are open to whoever is signed in, by endpoint."""
    views = current_app.extensions["admin"][0]._views
    return {view.endpoint: view for view in views if isinstance(view, RecordView) and view.is_accessible()}
