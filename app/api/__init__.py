"""The public's door: a thin JSON API under /v1."""

from __future__ import annotations

from flask import Flask

from app.api import auth, bookings, docs, packages
from app.api.blueprint import api

RESOURCES = (auth, packages, bookings, docs)


def register(app: Flask) -> None:
    """Serve every resource: importing one has hung its routes on the blueprint."""
    app.register_blueprint(api)
