"""The operators' door: `flask --app wsgi …`."""

from __future__ import annotations

from flask import Flask

from app.cli import audit, catalog, demo, invariants, ledger, reports, search, staff, webhooks


def register(app: Flask) -> None:
    """Hang every command group on the app's CLI."""
    for door in (audit, catalog, demo, invariants, ledger, reports, search, staff, webhooks):
        app.cli.add_command(door.group)
