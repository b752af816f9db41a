"""Tripdesk: the console a travel marketplace is run from. `create_app` is the table of contents."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentry_sdk
from flask import Flask, Response, request
from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

import app.models  # noqa: F401  (the migrations and relationships need every table)
from app import api, cli, config, console, logs, problems, storage
from app.db import ALONE, connect_args, engine_url, in_our_words, trust_recent_connections
from app.errors import TripdeskError
from app.extensions import csrf, db, login_manager, migrate
from app.ops.health import ops, schema_head
from app.payments import stripe_gateway
from app.queue import connect
from app.webhooks.stripe import webhooks

ROOT = Path(__file__).parent.parent
_MAX_BODY_BYTES = 1_000_000  # in the console; the other doors say how much each of their routes takes


class _Flask(Flask):
    """Flask without its question, eight times a request, whether a function is a coroutine: none of ours is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(**overrides: Any) -> Flask:
    """The whole application; settings come from the environment. Raises SettingsError, which names what is wrong."""
    settings = config.load(**overrides)
    logs.configure(settings.log_dir, stream=sys.stderr if config.run_by_command() else sys.stdout)
    app = _Flask("app", root_path=str(ROOT), template_folder="templates", static_folder="static")
    app.extensions["settings"] = settings
    engine_options = {
        "connect_args": connect_args(patient=config.run_by_command()),
        "pool_size": 5,
        "max_overflow": 5,
        "pool_use_lifo": True,  # the connection used last is the one least likely to have died
    }
    app.config.update(
        SQLALCHEMY_DATABASE_URI=engine_url(settings.database_url),
        SQLALCHEMY_ENGINE_OPTIONS=engine_options,
        SQLALCHEMY_BINDS={
            ALONE: {
                **engine_options,
                "url": engine_url(settings.database_url),
                "isolation_level": "AUTOCOMMIT",
                "pool_reset_on_return": None,  # nothing is ever open on it
            }
        },
        SECRET_KEY=settings.secret_key.get_secret_value(),
        SECRET_KEY_FALLBACKS=list(settings.secret_key_fallbacks),
        SESSION_COOKIE_NAME="tripdesk",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.public_url.startswith("https://"),
        MAX_CONTENT_LENGTH=_MAX_BODY_BYTES,
        WTF_CSRF_TIME_LIMIT=None,
    )
    if settings.sentry_dsn:
        sentry_sdk.init(
            dsn=settings.sentry_dsn, environment=settings.app_env, traces_sample_rate=settings.sentry_traces_sample_rate
        )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]

    # First of all, so that also a request refused by what follows has its own id.
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(Exception, _refuse)

    db.init_app(app)
    with app.app_context():
        for engine in db.engines.values():
            trust_recent_connections(engine)
    migrate.init_app(app)
    csrf.init_app(app)
    app.login_manager = login_manager  # type: ignore[attr-defined]  # its init_app would renew "remember me" cookies, which nobody gets, on every answer
    app.extensions["redis"] = connect(settings.redis_url)
    app.extensions["storage"] = storage.connect(settings)
    app.extensions["asked_for"] = {}
    app.extensions["schema_head"] = schema_head(ROOT)
    stripe_gateway.configure(app, settings)

    app.register_blueprint(ops)
    app.register_blueprint(webhooks)
    api.register(app)
    console.register(app)
    cli.register(app)
    return app


def _begin() -> None:
    logs.request_id.set(logs.new_request_id(request.environ.get("HTTP_X_REQUEST_ID")))
    if request.path.startswith("/console"):
        console.begin()


def _finish(response: Response) -> Response:
    """Every answer leaves here, with what its door adds to it."""
    response.headers.add("X-Request-ID", logs.request_id.get())
    response.headers.add("X-Content-Type-Options", "nosniff")
    path = request.path
    if path.startswith("/v1/"):
        api.finish(response)
    elif path.startswith("/console"):
        console.finish(response)
    return response


def _refuse(error: Exception) -> Response:
    """Every error ends here, and is said in the words of the door it came in by."""
    of, of_http, unexpected = (
        (console.errors.of, console.errors.of_http, console.errors.unexpected)
        if request.path.startswith("/console")
        else (problems.of, problems.of_http, problems.unexpected)
    )
    if isinstance(error, DBAPIError):
        error = in_our_words(error) or error
    if isinstance(error, TripdeskError):
        return of(error)
    if isinstance(error, HTTPException):
        return of_http(error)
    logs.log.error("unexpected error", exc_info=error)
    sentry_sdk.capture_exception(error)
    return unexpected()
