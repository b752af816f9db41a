"""The public's door: a thin JSON API under /v1."""

from __future__ import annotations

from flask import Flask

from app.api import auth, bookings, docs, limits, packages, refunds, reviews, search
from app.api.blueprint import api
from app.api.headers import finish

__all__ = ["RESOURCES", "finish", "register"]

RESOURCES = (auth, search, packages, bookings, refunds, reviews, docs)


def register(app: Flask) -> None:
    """Serve every resource: importing one has hung its routes on the blueprint."""
    limits.register(app)
    app.register_blueprint(api)
