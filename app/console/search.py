"""/console/search: the one box that finds everything; Ctrl-K opens it over any page."""

from __future__ import annotations

from flask import redirect, request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.console import finding, session
from app.console.base import EVERYBODY, Page
from app.errors import Invalid


class SearchView(Page):
    """Search, for everybody; what it finds is up to each one's roles."""

    roles = EVERYBODY
    icon = "search"

    def is_visible(self) -> bool:
        """It stands above every page, not in the menu."""
        return False

    @expose("/")  # type: ignore[untyped-decorator]
    @expose("")  # type: ignore[untyped-decorator]
    def index(self) -> str | Response:
        """What was found for `q`; something typed whole leads straight there. With `part`, only the results, for the
        box that a script opens: it leads nowhere by itself.
        """
        typed = request.args.get("q", "").strip()
        if len(typed) > finding.LONGEST:
            raise Invalid.field("q", f"Search for at most {finding.LONGEST} characters.")
        pages = [page for page in self.open_pages() if page is not self]
        found = finding.find(typed, pages) if typed else finding.Found(finding.lately(session.actor().id or 0, pages))
        if "part" in request.args:
            return str(self.render("console/search/results.html", typed=typed, found=found))
        if found.straight:
            return redirect(found.straight)
        return str(self.render("console/search/index.html", typed=typed, found=found, longest=finding.LONGEST))
