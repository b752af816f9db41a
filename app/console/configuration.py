"""/console/settings/: what this process runs with and where it came from, and how much a role refunds alone."""

from __future__ import annotations

import os
import re
from typing import Any

from flask import request
from flask_admin import expose
from pydantic import SecretStr
from werkzeug.wrappers import Response

from app import storage
from app.config import Settings, settings
from app.console import session
from app.console.amounts import amount_typed, as_typed
from app.console.base import ADMIN, Page, done, find, reason_given
from app.money import written
from app.payments import refund_approval
from app.payments.models import RefundLimit

# Group: setting: what it means. Every setting stands in one of them.
MEANINGS: dict[str, dict[str, str]] = {
    "Where it runs": {
        "app_env": "Production refuses missing, default and demo secrets; development shows the demo logins.",
        "public_url": "Where people reach Tripdesk; https makes the session cookie secure.",
        "trusted_proxies": "How many proxies in front are believed about the caller's address.",
        "cors_origins": "Web pages of these origins may call the API.",
        "tripdesk_home": "The demo's data, and what is written to disk without a service for it.",
        "log_dir": "With a folder, combined.log and error.log are written there too.",
    },
    "Services": {
        "database_url": "PostgreSQL, as the app's own role.",
        "database_owner_url": "PostgreSQL, as the owner: only migrations and demo data need it.",
        "redis_url": "Queues, and what may be forgotten.",
        "meili_url": "Meilisearch, which finds and ranks; without it, or while it is away, PostgreSQL searches.",
        "meili_api_key": "Meilisearch's master key or an admin key; narrower ones are made with it.",
        "storage_url": "Where documents and exports are kept, a folder or an S3 bucket; without one, in TRIPDESK_HOME.",
    },
    "Stripe": {
        "stripe_secret_key": "Tripdesk's key at Stripe.",
        "stripe_webhook_secret": "Signs what Stripe sends; several while one is being replaced.",
        "stripe_api_base": "Another address than Stripe's own, for tests; refused together with a live key.",
    },
    "Signing in": {
        "secret_key": "Signs browser sessions.",
        "secret_key_fallbacks": "Earlier keys, still believed, so that a rotation signs nobody out.",
        "jwt_secret": "Signs API tokens: the first key signs, all are believed.",
        "rate_limits": "Whether callers of the API are slowed down; off is refused in production.",
        "demo_password": "The password of the demo's logins.",
    },
    "Mail": {
        "mail_url": "The SMTP server; without one, mail is written to files.",
        "mail_from": "The sender of every mail.",
    },
    "Watching": {
        "metrics_token": "Needed to read /metrics from elsewhere than this machine.",
        "sentry_dsn": "Where errors are reported to.",
        "sentry_traces_sample_rate": "The share of requests traced in Sentry, 0 to 1.",
    },
    "Business": {
        "hold_minutes": "How long stock is held for a booking that is not paid yet.",
        "claim_minutes": "How long somebody who does nothing is still shown to be looking at an item of a queue.",
        "undo_seconds": "How long a decision can be undone; until then nobody outside is told of it.",
        "commission_basis_points": "Our share of a booking's price: 1,500 is 15 %.",
        "refund_approval_days": "How many days a refund waits for a second person before it is let go.",
        "refund_twin_seconds": "How long the same refund of another person is taken for the same, unless it is meant.",
    },
}
# Secrets that are lists, and so no SecretStr.
_SECRET_LISTS = {"stripe_webhook_secret", "secret_key_fallbacks", "jwt_secret"}
# Addresses whose first part is a secret as well.
_SECRET_ADDRESSES = {"sentry_dsn"}


class SettingsView(Page):
    """Every setting, for admins to read; they are changed where the process is started."""

    roles = ADMIN
    icon = "settings"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """The whole list."""
        found = settings()
        from_demo = _names_in_demo_file(found)
        groups = [
            {"title": title, "settings": [_line(found, name, meaning, from_demo) for name, meaning in names.items()]}
            for title, names in MEANINGS.items()
        ]
        limits = [
            {
                "id": limit.id,
                "href": f"{self.url.rstrip('/')}/limits/{limit.id}",
                "role": limit.role,
                "currency": limit.currency,
                "amount": as_typed(limit.amount_minor, limit.currency),
            }
            for limit in refund_approval.limits()
        ]
        return str(self.render("console/settings/index.html", groups=groups, limits=limits))

    @expose("/limits/<int:limit_id>", methods=["POST"])  # type: ignore[untyped-decorator]
    @session.confirmed
    def set_limit(self, limit_id: int) -> Response:
        """Change up to how much a role refunds alone."""
        limit = find(RefundLimit, limit_id, "limit")
        minor = amount_typed(request.form.get("amount", ""), limit.currency)
        refund_approval.set_limit(limit.id, minor, by=session.actor(), reason=reason_given())
        words = written(minor, limit.currency)
        return done(f"{limit.role.capitalize()} refunds up to {words} alone now.", self.url.rstrip("/") + "/")


def _line(found: Settings, name: str, meaning: str, from_demo: set[str]) -> dict[str, str]:
    return {
        "name": name.upper(),
        "value": shown(name, getattr(found, name)),
        "source": _source(found, name, from_demo),
        "meaning": meaning,
        "problem": (storage.problem() if name == "storage_url" else None) or "",
    }


def shown(name: str, value: Any) -> str:
    """A setting's value as it may be shown: of a secret only whether there is one."""
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "not set"
    if name in _SECRET_LISTS:
        return f"set, {len(value)}" if len(value) > 1 else "set" if value else "not set"
    if name in _SECRET_ADDRESSES:
        return "set" if value else "not set"
    if isinstance(value, tuple):
        return ", ".join(value) or "not set"
    if value is None or value == "":
        return "not set"
    return _without_password(str(value))


def _without_password(value: str) -> str:
    if "://" not in value:
        return value
    # A query may carry a password as well.
    return re.sub(r"(://[^/@:]*):.*@", r"\1:…@", re.sub(r"\?.*", "?…", value))


def _source(found: Settings, name: str, from_demo: set[str]) -> str:
    if name not in found.model_fields_set:
        return "Default"
    if any(variable.lower() == name and value for variable, value in os.environ.items()):
        return "Environment"
    return "Running demo" if name in from_demo else "Given at start"


def _names_in_demo_file(found: Settings) -> set[str]:
    file = found.tripdesk_home / "run" / "env"
    if found.app_env == "production" or not file.exists():
        return set()
    return {line.partition("=")[0].lower() for line in file.read_text().splitlines()}
