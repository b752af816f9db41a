"""What the benchmarks run on: a throw-away marketplace on services of its own, and servers on free ports."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import insert

from app import create_app
from app.accounts import service as accounts
from app.accounts import tokens
from app.accounts.models import User
from app.catalog.models import Availability, Package, Provider
from app.db import transaction, utcnow
from app.extensions import db
from bench.load import Address
from dev.children import last_lines, spawn, stop
from dev.postgres import OWNER, Postgres
from dev.valkey import Valkey

ROOT = Path(__file__).parent.parent
SERVER = (sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py")
WEBHOOK_SECRET = "whsec_tripdesk_bench"
START_SECONDS = 30.0
PACKAGES = 1_000
PAGE_SIZE = 50  # of every list
STOCK = 1_000_000  # units a day, so that nothing is sold out within a run


@dataclass(frozen=True)
class Services:
    """The app on services of its own, and the environment that its server is started with."""

    app: Flask
    env: dict[str, str]
    postgres: Postgres


@dataclass(frozen=True)
class Market:
    """A marketplace with a traveller per client, the app on it, and the environment its server is started with."""

    app: Flask
    env: dict[str, str]
    package_ids: list[int]
    access_tokens: list[str]
    check_in: date

    def reading(self, number: int) -> bytes:
        """GET a package, each client starting at another one."""
        package_id = self.package_ids[number % len(self.package_ids)]
        return http_request("GET", f"/v1/packages/{package_id}")

    def booking(self, number: int) -> bytes:
        """POST a booking of two nights; each client books a package of its own, so that none waits for another."""
        body = json.dumps(
            {
                "packageId": self.package_ids[number],
                "checkIn": self.check_in.isoformat(),
                "checkOut": (self.check_in + timedelta(days=2)).isoformat(),
            }
        )
        return http_request("POST", "/v1/bookings", body.encode(), Authorization=f"Bearer {self.access_tokens[number]}")

    def event(self, number: int) -> bytes:
        """POST a signed event that was never sent before, of the size of Stripe's own."""
        body = _EVENT.replace("{number}", f"{number:012d}").encode()
        stamp = int(time.time())
        signature = hmac.new(WEBHOOK_SECRET.encode(), b"%d.%b" % (stamp, body), hashlib.sha256).hexdigest()
        return http_request("POST", "/v1/webhooks/stripe", body, **{"Stripe-Signature": f"t={stamp},v1={signature}"})

    def send(self, request: bytes) -> None:
        """Send one of these requests to the app in this process."""
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split()
        headers = dict(line.split(": ", 1) for line in lines)
        answer = self.app.test_client().open(path, method=method, data=body, headers=headers)
        if not 200 <= answer.status_code < 300:
            raise RuntimeError(f"{method} {path} was answered {answer.status_code}: {answer.text}")


# A payment intent as the API version of 2025 sends it, less its many nulls, padded to the size it has with them.
_EVENT = json.dumps(
    {
        "id": "evt_{number}",
        "object": "event",
        "api_version": "2025-09-30.clover",
        "created": 1_790_000_000,
        "type": "payment_intent.succeeded",
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_Wx8TQ1bGm2Zk3c", "idempotency_key": "4a8d3c1e-5b7f-4f0e-9c55-0c7a31a1f2bd"},
        "data": {
            "object": {
                "id": "pi_{number}",
                "object": "payment_intent",
                "amount": 20_000,
                "amount_received": 20_000,
                "automatic_payment_methods": {"allow_redirects": "never", "enabled": True},
                "capture_method": "automatic_async",
                "client_secret": "pi_{number}_secret_mQb2T6dYw1Nq0xKf",
                "confirmation_method": "automatic",
                "created": 1_790_000_000,
                "currency": "usd",
                "description": "Two nights in Oslo " * 20,
                "latest_charge": "ch_{number}",
                "livemode": False,
                "metadata": {"booking": "TD-7K3M9-QXZ2A"},
                "payment_method": "pm_{number}",
                "payment_method_types": ["card", "link"],
                "status": "succeeded",
                **{f"unset_{n}": None for n in range(20)},
            }
        },
    }
)


def http_request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: application/json", "User-Agent: bench"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


_CONSTANT = http_request("GET", "/constant")


def constant(_: int) -> bytes:
    """GET the route that returns a constant."""
    return _CONSTANT


@contextmanager
def services() -> Iterator[Services]:
    """Start PostgreSQL and Valkey as durable as the demo's, and migrate; all is gone at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tripdesk-bench-")))
        if os.geteuid() == 0:
            folder.chmod(0o711)  # PostgreSQL's account has to pass
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        valkey = stack.enter_context(Valkey(folder / "valkey"))
        env = {
            "APP_ENV": "test",
            "TRIPDESK_HOME": str(folder),
            "DATABASE_URL": postgres.url(),
            "DATABASE_OWNER_URL": postgres.url(OWNER),
            "REDIS_URL": valkey.url(),
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "RATE_LIMITS": "off",
        }
        app = create_app(**{name.lower(): value for name, value in env.items()})
        logging.disable(logging.INFO)
        with app.app_context():
            upgrade(str(ROOT / "migrations"))
        yield Services(app, env, postgres)
        with app.app_context():
            for engine in db.engines.values():
                engine.dispose()


@contextmanager
def market(*, clients: int) -> Iterator[Market]:
    """A marketplace on services of its own."""
    with services() as found:
        with found.app.app_context():
            check_in = utcnow().date() + timedelta(days=30)
            package_ids = _fill_catalogue(check_in)
            access_tokens = [tokens.issue(_traveller(number)).access_token for number in range(clients)]
        yield Market(found.app, found.env, package_ids, access_tokens, check_in)


def _traveller(number: int) -> User:
    return accounts.register(
        email=f"traveller-{number}@example.org", name=f"Traveller {number}", password="a long enough password"
    )


def _fill_catalogue(check_in: date) -> list[int]:
    with transaction():
        provider_id = db.session.scalar(
            insert(Provider).values(name="Fjord Stays", status="VERIFIED").returning(Provider.id)
        )
        package: dict[str, Any] = {
            "provider_id": provider_id,
            "type": "hotel",
            "status": "PUBLISHED",
            "description": "Two rooms and a kitchen, ten minutes on foot from the opera. " * 8,
            "place": "Grünerløkka",
            "city": "Oslo",
            "country": "Norway",
            "time_zone": "Europe/Oslo",
            "latitude": 59.92,
            "longitude": 10.76,
            "price_minor": 10_000,
            "capacity": 4,
            "units": STOCK,
            "amenities": ["wifi", "kitchen", "washer", "heating", "workspace"],
        }
        packages = [{**package, "name": f"Apartment {n} by the river"} for n in range(PACKAGES)]
        package_ids = list(db.session.scalars(insert(Package).returning(Package.id), packages))
        days = [check_in + timedelta(days=n) for n in range(30)]
        db.session.execute(
            insert(Availability),
            [
                {"package_id": package_id, "day": day, "capacity": STOCK, "price_minor": 10_000}
                for package_id in package_ids
                for day in days
            ],
        )
    return package_ids


@contextmanager
def served(target: str, env: dict[str, str]) -> Iterator[Address]:
    """Serve a WSGI app (`module:name`) as the demo and production do; yields its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address: Address = free.getsockname()
    log = Path(env["TRIPDESK_HOME"]) / f"{target.replace(':', '-')}.log"
    command = (*SERVER, "--bind", f"{address[0]}:{address[1]}", target)
    process = spawn(command, log=log, env={**os.environ, **env}, cwd=ROOT)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} did not come up; the end of its log:\n{last_lines(log)}")
            time.sleep(0.1)
        yield address
    finally:
        stop(process, signal.SIGTERM, 10.0)


def _answers(address: Address) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/health", timeout=2):  # nosec B310
            return True
    except urllib.error.HTTPError:  # the constant app has no such route, but it is up
        return True
    except OSError:
        return False
