"""The way of a request: who asks, what for, was it asked before, do it, answer as Stripe does."""

import base64
import io
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException
from werkzeug.serving import WSGIRequestHandler

from dev.stripe import charges, disputes, events, expand, intents, payouts, refunds, webhooks
from dev.stripe.errors import (
    ApiError,
    key_in_use,
    key_reused,
    missing_key,
    rate_limited,
    server_error,
    unrecognized_url,
    wrong_key,
)
from dev.stripe.load import load
from dev.stripe.parameters import EXPAND, LIST, Spec, check, decode
from dev.stripe.store import Store
from dev.stripe.switches import Fault, SwitchBoard
from dev.stripe.work import Json, Work, new_id

log = logging.getLogger(__name__)

Handler = Callable[..., Json]


@dataclass(frozen=True)
class Endpoint:
    """One line of the API: what may be asked, what does it, and what kind of object comes back (for expansion)."""

    method: str
    path: str
    handler: Handler
    spec: Spec = field(default_factory=lambda: EXPAND)
    required: tuple[str, ...] = ()
    kind: str | None = None
    of_list: bool = False


def _account(_work: Work, _params: Json) -> Json:
    return {
        "id": "acct_1TripdeskLocal",
        "object": "account",
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active", "us_bank_account_ach_payments": "active"},
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Tripdesk (local)", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


_INTENT = "/v1/payment_intents/<id>"
_TRANSACTIONS = "/v1/balance_transactions"
_DISPUTE = "/v1/disputes/<id>"

ENDPOINTS = (
    Endpoint(
        "POST", "/v1/payment_intents", intents.create, intents.CREATE_SPEC, ("amount", "currency"), "payment_intent"
    ),
    Endpoint("GET", "/v1/payment_intents", intents.listed, LIST, kind="payment_intent", of_list=True),
    Endpoint("GET", _INTENT, intents.retrieve, kind="payment_intent"),
    Endpoint("POST", _INTENT, intents.update, intents.UPDATE_SPEC, kind="payment_intent"),
    Endpoint("POST", f"{_INTENT}/confirm", intents.confirm, intents.CONFIRM_SPEC, kind="payment_intent"),
    Endpoint("POST", f"{_INTENT}/cancel", intents.cancel, intents.CANCEL_SPEC, kind="payment_intent"),
    Endpoint("GET", "/v1/charges", charges.listed, charges.LIST_SPEC, kind="charge", of_list=True),
    Endpoint("GET", "/v1/charges/<id>", charges.retrieve, kind="charge"),
    Endpoint("POST", "/v1/refunds", refunds.create, refunds.CREATE_SPEC, kind="refund"),
    Endpoint("GET", "/v1/refunds", refunds.listed, refunds.LIST_SPEC, kind="refund", of_list=True),
    Endpoint("GET", "/v1/refunds/<id>", refunds.retrieve, kind="refund"),
    Endpoint("POST", "/v1/refunds/<id>", refunds.update, refunds.UPDATE_SPEC, kind="refund"),
    Endpoint("GET", "/v1/disputes", disputes.listed, disputes.LIST_SPEC, kind="dispute", of_list=True),
    Endpoint("GET", _DISPUTE, disputes.retrieve, kind="dispute"),
    Endpoint("POST", _DISPUTE, disputes.update, disputes.UPDATE_SPEC, kind="dispute"),
    Endpoint("POST", f"{_DISPUTE}/close", disputes.close, kind="dispute"),
    Endpoint(
        "GET",
        _TRANSACTIONS,
        charges.list_balance_transactions,
        charges.BALANCE_LIST_SPEC,
        kind="balance_transaction",
        of_list=True,
    ),
    Endpoint("GET", f"{_TRANSACTIONS}/<id>", charges.retrieve_balance_transaction, kind="balance_transaction"),
    Endpoint("GET", "/v1/payouts", payouts.listed, payouts.LIST_SPEC, kind="payout", of_list=True),
    Endpoint("GET", "/v1/payouts/<id>", payouts.retrieve, kind="payout"),
    Endpoint("GET", "/v1/events", events.listed, events.LIST_SPEC),
    Endpoint("GET", "/v1/events/<id>", events.retrieve),
    Endpoint("GET", "/v1/balance", charges.balance),
    Endpoint("GET", "/v1/account", _account),
    Endpoint(
        "POST",
        "/_local/payment_intents/<id>/authenticate",
        intents.authenticate,
        intents.AUTHENTICATE_SPEC,
        kind="payment_intent",
    ),
    Endpoint("POST", "/_local/refunds", refunds.create_in_dashboard, refunds.CREATE_SPEC, kind="refund"),
    Endpoint("POST", "/_local/refunds/<id>/settle", refunds.settle, refunds.SETTLE_SPEC, ("outcome",), "refund"),
    Endpoint("POST", "/_local/disputes", disputes.create, disputes.CREATE_SPEC, ("reason",), kind="dispute"),
    Endpoint("POST", "/_local/disputes/<id>/decide", disputes.decide, disputes.DECIDE_SPEC, ("outcome",), "dispute"),
    Endpoint("POST", "/_local/payouts", payouts.create_in_dashboard, payouts.CREATE_SPEC, kind="payout"),
    Endpoint("POST", "/_local/payouts/<id>/settle", payouts.settle, payouts.SETTLE_SPEC, ("outcome",), "payout"),
    Endpoint("POST", "/_local/fees", payouts.take_fee, payouts.FEE_SPEC, ("amount",), "balance_transaction"),
    Endpoint("POST", "/_local/events/<id>/resend", events.resend),
    Endpoint("GET", "/_local/webhooks", webhooks.status),
)


@dataclass(frozen=True)
class Answer:
    """What goes out, and what an idempotency key keeps."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def _written(body: Json) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Api:
    """The API over one state file and one set of switches."""

    def __init__(self, store: Store, switches: SwitchBoard, secret_key: str, *, sends_webhooks: bool) -> None:
        self._store = store
        self._switches = switches
        self._secret_key = secret_key
        self._sends_webhooks = sends_webhooks
        self._in_flight: set[str] = set()
        self._in_flight_lock = threading.Lock()

    def authenticate(self) -> None:
        """Raises Stripe's 401 unless the key came as the user name of Basic or as a Bearer token."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[0]
            except ValueError:
                given = ""
        elif kind.lower() != "bearer":
            given = ""
        if not given:
            raise missing_key()
        if given != self._secret_key:
            raise wrong_key(given)

    def answer(self, endpoint: Endpoint, request_id: str, ids: Mapping[str, str]) -> Response:
        """The whole way of one request."""
        fault = self._switches.fault(request.method, request.path) if request.path.startswith("/v1/") else None
        if fault and fault.fault == "rate_limit":
            raise rate_limited()
        if fault and (fault.fault == "error_before" or (fault.fault == "error_after" and request.method == "GET")):
            raise server_error(retry=True)
        pairs = request.args if request.method == "GET" else request.form
        raw = decode(pairs.items(multi=True))
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        if key is None:
            return self._respond(self._perform(endpoint, raw, request_id, ids, None, fault), fault)
        if not 0 < len(key) <= 255:
            raise ApiError(400, "The idempotency key must have 1 to 255 characters.", kind="idempotency_error")
        with self._in_flight_lock:
            if key in self._in_flight:
                raise key_in_use(key)
            self._in_flight.add(key)
        try:
            answer = self._kept(key, raw) or self._perform(endpoint, raw, request_id, ids, key, fault)
            return self._respond(answer, fault)
        finally:
            with self._in_flight_lock:
                self._in_flight.discard(key)

    def _kept(self, key: str, raw: Json) -> Answer | None:
        """The first answer to this key, or nothing when it is new; raises when the key was for something else."""
        with self._store.read() as db:
            row = db.execute("SELECT * FROM idempotency_keys WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        if row["path"] != request.path or orjson.loads(row["parameters"]) != raw:
            raise key_reused(key, row["path"], request.path)
        again = {"Idempotent-Replayed": "true", "Original-Request": row["request_id"]}
        return Answer(row["status"], row["body"], orjson.loads(row["headers"]) | again)

    def _perform(
        self,
        endpoint: Endpoint,
        raw: Json,
        request_id: str,
        ids: Mapping[str, str],
        key: str | None,
        fault: Fault | None,
    ) -> Answer:
        """Checks, works, and keeps the answer for the key: effect and key in one transaction."""
        params = check(raw, endpoint.spec, endpoint.required)
        paths = params.get("expand", [])
        expand.check(paths, endpoint.kind, of_list=endpoint.of_list)

        def work_on(db: sqlite3.Connection) -> Work:
            return Work(db, self._switches.now, self._sends_webhooks, request_id, key)

        def done(work: Work) -> Answer:
            body = expand.apply(work, endpoint.handler(work, params, *ids.values()), paths)
            return Answer(200, _written(body))

        if request.method == "GET":
            with self._store.read() as db:
                return done(work_on(db))
        with self._store.write() as db:
            work = work_on(db)
            db.execute("SAVEPOINT work")
            try:
                answer = done(work)
            except ApiError as error:
                if not error.executed:
                    raise
                if not error.keeps_work:
                    db.execute("ROLLBACK TO work")
                answer = self._error(error, request_id)
            if fault and fault.fault == "error_after":
                answer = self._error(server_error(retry=False), request_id)
            if key is not None:
                work.insert(
                    "idempotency_keys",
                    key=key,
                    path=request.path,
                    parameters=orjson.dumps(raw),
                    request_id=request_id,
                    status=answer.status,
                    body=answer.body,
                    headers=orjson.dumps(answer.headers),
                )
        return answer

    @staticmethod
    def _error(error: ApiError, request_id: str) -> Answer:
        return Answer(error.status, _written(error.body(request_id, int(time.time()))), error.headers)

    def _respond(self, answer: Answer, fault: Fault | None) -> Response:
        if fault and fault.fault == "slow":
            time.sleep(fault.seconds)
        if fault and fault.fault == "hang_up":
            connection: socket.socket = request.environ["werkzeug.socket"]
            connection.shutdown(socket.SHUT_RDWR)
        return Response(answer.body, answer.status, answer.headers, mimetype="application/json")


class RequestHandler(WSGIRequestHandler):
    """Connections that stay open between requests, as Stripe's do, and no line in the log for each of them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes; Nagle would hold the second for 40 ms
    timeout = 120  # seconds that an idle connection stays

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: errors are logged where they happen."""

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        """A client that leaves, or that was hung up on, is no error."""


def create_app(store: Store, switches: SwitchBoard, secret_key: str, *, sends_webhooks: bool) -> Flask:
    """The WSGI application."""
    app = Flask(__name__, static_folder=None)
    api = Api(store, switches, secret_key, sends_webhooks=sends_webhooks)

    @app.before_request
    def begin() -> None:
        request.environ["stripe.request_id"] = new_id("req")
        if request.path != "/health":
            api.authenticate()

    @app.after_request
    def sign(response: Response) -> Response:
        response.headers["Request-Id"] = request.environ["stripe.request_id"]
        response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", events.API_VERSION)
        if key := request.headers.get("Idempotency-Key"):
            response.headers["Idempotency-Key"] = key
        return response

    def refused(error: ApiError) -> Response:
        body = error.body(request.environ["stripe.request_id"], int(time.time()))
        return Response(_written(body), error.status, error.headers, mimetype="application/json")

    app.register_error_handler(ApiError, refused)

    @app.errorhandler(HTTPException)
    def unrecognized(error: HTTPException) -> Response:
        if error.code in (404, 405):
            return refused(unrecognized_url(request.method, request.path))
        return refused(ApiError(error.code or 500, error.description or error.name))

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.path, exc_info=error)
        return refused(server_error(retry=True))

    def view_of(endpoint: Endpoint) -> Callable[..., Response]:
        return lambda **ids: api.answer(endpoint, request.environ["stripe.request_id"], ids)

    for endpoint in ENDPOINTS:
        name = f"{endpoint.method} {endpoint.path}".replace(".", "")
        app.add_url_rule(endpoint.path, name, view_of(endpoint), methods=[endpoint.method])

    @app.get("/health")
    def health() -> Json:
        return {"status": "ok"}

    @app.get("/_local/switches")
    def show_switches() -> Json:
        return switches.now.model_dump()

    @app.post("/_local/switches")
    def change_switches() -> Json:
        return switches.change(request.get_json(force=True)).model_dump()

    @app.post("/_local/load")
    def bulk_load() -> Json:
        # Unbuffered, the request's stream finds each line's end byte by byte.
        return load(store, io.BufferedReader(cast(io.RawIOBase, request.stream), 1 << 20))

    return app
