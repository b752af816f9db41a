"""What the tests of the local Stripe work with: the server as a process of its own, and a receiver of webhooks."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import stripe

ROOT = Path(__file__).parents[3]
KEY = "sk_test_tripdesk_tests"
WEBHOOK_SECRET = "whsec_tripdesk_tests"
AUTOMATIC: dict[str, Any] = {"enabled": True, "allow_redirects": "never"}


def free_port() -> int:
    """A port of the loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], object], within: float = 15) -> None:
    """Waits until `check` is true; fails after `within` seconds."""
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class LocalStripe:
    """One server with its state file."""

    def __init__(self, state: Path, webhook_url: str | None = None) -> None:
        self.state = state
        self.webhook_url = webhook_url
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        """The command line it is started with."""
        options = ["--port", str(self.port), "--state", str(self.state), "--secret-key", KEY]
        if self.webhook_url:
            options += ["--webhook-url", self.webhook_url, "--webhook-secret", WEBHOOK_SECRET]
        return [sys.executable, "-m", "dev.stripe", *options]

    def start(self) -> "LocalStripe":
        """Starts it and returns when it listens."""
        process = subprocess.Popen(self.command(), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.process = process
        assert process.stdout is not None
        assert process.stdout.readline() == f"Local Stripe on http://127.0.0.1:{self.port}\n"
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and returns its exit status."""
        process = self.process
        if process is None:
            return 0
        self.process = None
        os.kill(process.pid, how)
        status = process.wait(timeout=10)
        assert process.stdout is not None
        process.stdout.close()
        return status

    def client(self, key: str = KEY) -> stripe.StripeClient:
        """A client of the stripe library that does not retry by itself."""
        address: Any = {"api": f"http://127.0.0.1:{self.port}"}
        return stripe.StripeClient(key, base_addresses=address, max_network_retries=0)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], Any]:
        """One raw request: status, headers, JSON. A dict goes as JSON, a string as a form."""
        sent = {"Authorization": f"Bearer {KEY}"} | (headers or {})
        if isinstance(body, str):
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        elif isinstance(body, dict):
            body = json.dumps(body)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {k: v for k, v in sent.items() if v})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read())
        finally:
            connection.close()

    def switch(self, **switches: Any) -> None:
        """Sets switches."""
        status, _, answer = self.ask("POST", "/_local/switches", switches)
        assert status == 200, answer

    def paid(self, amount: int = 10_000, method: str = "pm_card_visa") -> Any:
        """A payment intent that has just been confirmed with a test method."""
        return self.intent(amount=amount, payment_method=method, confirm=True)

    def intent(self, amount: int = 25_900, **more: Any) -> Any:
        """A new payment intent in dollars, with automatic payment methods and no redirects."""
        params: Any = {"amount": amount, "currency": "usd", "automatic_payment_methods": AUTOMATIC, **more}
        return self.client().v1.payment_intents.create(params)

    def event_types(self) -> list[str]:
        """The types of the last hundred events, oldest first."""
        events = self.client().v1.events.list({"limit": 100}).data
        return [event.type for event in reversed(events)]


class Receiver:
    """Takes webhooks, verifies each, and answers the next of `answers`, or 200 when they are used up."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.arrived_at: list[float] = []
        self.payloads: list[bytes] = []
        self.signatures: list[str] = []
        self.answers: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers["Stripe-Signature"]
                event = stripe.Webhook.construct_event(payload, signature, WEBHOOK_SECRET)
                receiver.arrived_at.append(time.monotonic())
                receiver.events.append(event)
                receiver.payloads.append(payload)
                receiver.signatures.append(signature)
                receiver.may_answer.wait(60)
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/webhooks"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def types(self) -> list[str]:
        """The types of what came, in order of arrival."""
        return [event.type for event in self.events]
