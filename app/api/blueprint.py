"""The blueprint that every resource hangs its routes on."""

from __future__ import annotations

from flask import Blueprint

from app.extensions import csrf

api = Blueprint("api", __name__, url_prefix="/v1")
# Callers carry a bearer token, never a cookie, so there is nothing to forge.
csrf.exempt(api)
