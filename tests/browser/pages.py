"""Every page of the console, each with something on it: what the role matrix has rows for, so that the browser opens a
new page without its being named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from flask import Flask, url_for

from app.accounts.models import ROLES
from tests import factories
from tests.test_role_matrix import OBJECTS, ROWS, Asked, Row

# Served by GET without being a page: files, what pages ask for, and the frames that a mail's page shows.
NO_PAGES = {"home.static", "home.live", "mail.html", "mail.template_html"}
NO_PAGES |= {"revenue.figures", "revenue.csv", "accounts.balances", "payables.csv"}
NO_PAGES |= {"providers.document", "imports.rejected", "imports.mapping", "imports.kept_mapping"}
# Opened by who has given their password and not yet their code; the tests sign in that far by hand.
BETWEEN = {"sessions.code"}


@dataclass(frozen=True)
class ConsolePage:
    """A page, where it is, and which roles it opens for; with `is_outside`, it is for who isn't signed in."""

    route: str
    address: str
    roles: frozenset[str]
    is_outside: bool

    @property
    def is_in_the_menu(self) -> bool:
        """Whether the menu should show it to whom it opens; one's own account is behind one's name, and search is
        above every page.
        """
        return self.route.endswith(".index") and self.route not in ("account.index", "search.index")


def every_page(app: Flask) -> list[ConsolePage]:
    """Make one object for each kind of page; the pages about them."""
    with app.test_request_context():
        found = [_page(row) for row in ROWS if row.method == "GET" and row.route not in NO_PAGES | BETWEEN]
    return [page for page in found if page.address.startswith("/console/")]


def _page(row: Row) -> ConsolePage:
    asked = OBJECTS[row.object](factories.actor()) if row.object != "-" else Asked({})
    query = f"?{urlencode(asked.body)}" if asked.body else ""
    return ConsolePage(
        route=row.route,
        address=url_for(row.route, **asked.args) + query,
        roles=frozenset(role for role in ROLES if row.expected(role, "own") == "200"),
        is_outside=row.expected("anyone", "own") == "200",
    )
