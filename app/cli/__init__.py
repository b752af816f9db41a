"""The operators' door: `flask --app wsgi …`."""

from __future__ import annotations

from flask import Flask

from app.cli import audit, catalog, demo, invariants, ledger, staff, webhooks


def register(app: Flask) -> None:
    """Hang every command group on the app's CLI."""
    for group in (audit.group, catalog.group, demo.group, invariants.group, ledger.group, staff.group, webhooks.group):
        app.cli.add_command(group)
