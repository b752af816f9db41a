"""The staff's door: /console/, on Flask-Admin. `register` is the menu."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import groupby
from typing import Any

from flask import Flask, Response, g, redirect, request, url_for
from flask_admin import Admin
from werkzeug.exceptions import RequestEntityTooLarge

from app.accounts.sessions import LIFETIME
from app.catalog.documents import MOST_BYTES
from app.config import settings
from app.console import cells, errors, formatting, mailed_links, session, two_factor
from app.console.account import AccountView
from app.console.accounts import AccountsView
from app.console.audit import AuditView
from app.console.base import Page
from app.console.bookings import BookingsView
from app.console.bulk import BulkView
from app.console.configuration import SettingsView
from app.console.development import DevelopmentView
from app.console.disputes import DisputesView
from app.console.failed_webhooks import FailedWebhooksView
from app.console.home import HomeView
from app.console.imports import ImportsView
from app.console.jobs import JobsView
from app.console.ledger import LedgerView
from app.console.live import depths
from app.console.mail import MailView
from app.console.packages import PackagesView
from app.console.payables import PayablesView
from app.console.payments import PaymentsView
from app.console.policies import PoliciesView
from app.console.providers import ProvidersView
from app.console.queue import LOOKING_AGAIN
from app.console.reconciliation import ReconciliationView
from app.console.refunds import RefundsView
from app.console.revenue import RevenueView
from app.console.reviews import ReviewsView
from app.console.search import SearchView
from app.console.staff import StaffView
from app.console.synonyms import SynonymsView
from app.console.users import UsersView
from app.console.verification import VerificationView
from app.console.views import SavedViewsView
from app.console.webhooks import WebhooksView
from app.errors import Invalid
from app.imports.columns import MOST_FILE_BYTES
from app.logs import request_id

__all__ = ["errors", "register"]

# No inline scripts or styles, nothing from elsewhere, nobody frames us.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "frame-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)


# The menu: its groups, and the addresses in each, in order. A page that isn't named comes last, under its category.
MENU = {
    "": ("", "bookings", "reviews", "tickets", "disputes", "bulk"),
    "Money": (
        "payments",
        "refunds",
        "ledger",
        "accounts",
        "payables",
        "revenue",
        "reconciliation",
        "webhooks",
        "failed-webhooks",
    ),
    "Catalogue": ("packages", "policies", "providers", "verification", "import", "synonyms"),
    "People": ("users", "staff"),
    "System": ("audit", "jobs", "mail", "health", "settings"),
    "Development": ("development",),
}
_PLACE = {
    f"/console/{name}".rstrip("/"): (group, place)
    for group, names in enumerate(MENU.values())
    for place, name in enumerate(names)
}


# Bytes that a page takes where it is more than others do: a file may be somewhat too large and still be told how large.
_TAKES_MORE = {"imports.upload": 2 * MOST_FILE_BYTES, "providers.add_document": 2 * MOST_BYTES}


def pages() -> list[Page]:
    """Every page; where it stands in the menu, MENU says."""
    return [
        BookingsView("Bookings", endpoint="bookings", url="/console/bookings"),
        ReviewsView("Reviews", endpoint="reviews", url="/console/reviews"),
        DisputesView("Disputes", endpoint="disputes", url="/console/disputes"),
        PaymentsView("Payments", endpoint="payments", url="/console/payments"),
        RefundsView("Refunds", endpoint="refunds", url="/console/refunds"),
        LedgerView("Ledger", endpoint="ledger", url="/console/ledger"),
        AccountsView("Accounts", endpoint="accounts", url="/console/accounts"),
        PayablesView("Owed to providers", endpoint="payables", url="/console/payables"),
        RevenueView("Revenue", endpoint="revenue", url="/console/revenue"),
        ReconciliationView("Reconciliation", endpoint="reconciliation", url="/console/reconciliation"),
        WebhooksView("Webhooks", endpoint="webhook_inbox", url="/console/webhooks"),
        FailedWebhooksView("Failed webhooks", endpoint="failed_webhooks", url="/console/failed-webhooks"),
        AccountView("Your account", endpoint="account", url="/console/account"),
        StaffView("Staff", endpoint="staff", url="/console/staff"),
        AuditView("Audit", endpoint="audit", url="/console/audit"),
        JobsView("Jobs", endpoint="jobs", url="/console/jobs"),
        MailView("Mail", endpoint="mail", url="/console/mail"),
        SettingsView("Settings", endpoint="settings", url="/console/settings"),
        PackagesView("Packages", endpoint="packages", url="/console/packages"),
        PoliciesView("Policies", endpoint="policies", url="/console/policies"),
        ProvidersView("Providers", endpoint="providers", url="/console/providers"),
        VerificationView("Verification", endpoint="verification", url="/console/verification"),
        ImportsView("Import", endpoint="imports", url="/console/import"),
        SynonymsView("Synonyms", endpoint="synonyms", url="/console/synonyms"),
        UsersView("Travellers", endpoint="users", url="/console/users"),
        BulkView("Bulk runs", endpoint="bulk", url="/console/bulk"),
        SavedViewsView("Your views", endpoint="saved_views", url="/console/views"),
        SearchView("Search", endpoint="search", url="/console/search"),
        DevelopmentView("Confirm a payment", endpoint="development", url="/console/development"),
    ]


def register(app: Flask) -> None:
    """Serve the console."""
    admin = Admin(app, name="Tripdesk", url="/console", index_view=HomeView("Home", endpoint="home", url="/console"))
    found = sorted(pages(), key=_place)
    for page in found:
        admin.add_view(page)
    menu = [admin.index_view, *found]
    for blueprint in (session.sessions, two_factor.two_factor_setup, mailed_links.mailed_links):
        app.register_blueprint(blueprint)
    app.add_url_rule("/", "root", lambda: redirect(admin.index_view.url))
    app.session_interface = session.ConsoleCookie()
    app.permanent_session_lifetime = timedelta(seconds=LIFETIME.total_seconds())
    app.jinja_env.filters.update(formatting.FILTERS)
    app.jinja_env.globals.update(cells.WRITTEN, sprite=f"{app.static_url_path}/vendor/tabler-icons/sprite.svg")
    app.context_processor(lambda: _frame(menu) if request and request.path.startswith("/console") else {})


def begin() -> None:
    """Refuse what no page can take: PostgreSQL's text holds no NUL, and nobody types one. Raises Invalid, and
    RequestEntityTooLarge; files are taken from whoever is signed in.
    """
    more = _TAKES_MORE.get(request.endpoint or "")
    request.max_content_length = more if more and session.person() else None
    try:
        values = request.values
    except RequestEntityTooLarge:
        most = f"{(request.max_content_length or 0) // 1_000_000} MB"
        raise RequestEntityTooLarge(f"This page takes at most {most}, and more was sent. Nothing was done.") from None
    if any("\0" in value for value in values.values()):
        raise Invalid("What was sent contains a NUL character. Leave it out.")


def _frame(menu: list[Page]) -> dict[str, Any]:
    """What every page's layout shows around it."""
    person = None if g.get("without_person") else session.person()
    shown = [page for page in menu if page.is_visible() and page.is_open_to(person.roles)] if person else []
    waiting = depths(shown)
    groups = groupby(shown, key=_group)
    # What is said once is said to whoever reads the page, not to a page that looks whether something changed.
    unsaid: dict[str, Any] = {"get_flashed_messages": lambda **_: []} if request.headers.get(LOOKING_AGAIN) else {}
    return {
        **unsaid,
        "nav": [{"label": label, "items": [_menu_item(page, waiting) for page in group]} for label, group in groups],
        "person": {"id": person.id, "name": person.name, "email": person.email, "roles": sorted(person.roles)}
        if person
        else None,
        "environment": settings().app_env,
        "request_id": request_id.get(),
        "search_url": url_for("search.index") if person else None,
    }


def _place(page: Page) -> tuple[int, int]:
    return _PLACE.get(page.url.rstrip("/"), (len(MENU), 0))


def _group(page: Page) -> str:
    group, _ = _place(page)
    return list(MENU)[group] if group < len(MENU) else page.category or "More"


def _menu_item(page: Page, waiting: Mapping[str, str]) -> dict[str, Any]:
    href = page.url.rstrip("/") + "/"
    active = request.path == href if href == "/console/" else request.path.startswith(href)
    queue = {"endpoint": page.endpoint, "waiting": waiting[page.endpoint]} if page.endpoint in waiting else None
    return {"label": page.name, "href": href, "icon": page.icon, "active": active, "queue": queue}


def finish(response: Response) -> None:
    """Have the browser load nothing but ours, tell other sites nothing, and keep nothing."""
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
