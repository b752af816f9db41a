"""The public's door: a thin JSON API under /v1."""

from __future__ import annotations

from flask import Flask

from app.api import auth, bookings, docs, headers, limits, packages, reviews
from app.api.blueprint import api

RESOURCES = (auth, packages, bookings, reviews, docs)


def register(app: Flask) -> None:
    """Serve every resource: importing one has hung its routes on the blueprint."""
    limits.register(app)
    headers.register(app)
    app.register_blueprint(api)
