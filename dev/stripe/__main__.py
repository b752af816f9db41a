"""Starts the local Stripe: one process that serves the API, sends the webhooks, and keeps its state in one file."""

import argparse
import contextlib
import fcntl
import json
import logging
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from werkzeug.serving import make_server

from dev.stripe.errors import ApiError
from dev.stripe.schedule import Clock
from dev.stripe.server import RequestHandler, create_app
from dev.stripe.store import Store
from dev.stripe.switches import SwitchBoard
from dev.stripe.webhooks import Sender


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dev.stripe", description="A local stand-in for Stripe's API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, metavar="FILE", help="where everything is kept (SQLite)")
    parser.add_argument("--secret-key", required=True, metavar="KEY", help="the only API key that is accepted")
    parser.add_argument("--webhook-url", metavar="URL", help="where events are posted; without it nowhere")
    parser.add_argument("--webhook-secret", metavar="SECRET", help="signs the webhooks")
    parser.add_argument("--switches", metavar="JSON", help="as for POST /_local/switches; kept in the state file")
    arguments = parser.parse_args()
    if arguments.webhook_url and not arguments.webhook_secret:
        parser.error("--webhook-url needs --webhook-secret")
    return arguments


def _stop(message: str) -> NoReturn:
    sys.exit(f"Local Stripe: {message}")


def main() -> None:
    """Serves until SIGTERM or Ctrl-C; exits 1 with one plain line when it can't start."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING, format="Local Stripe: %(levelname)s %(message)s")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((arguments.host, arguments.port))
        listening.listen(512)
    except OSError as error:
        _stop(f"can't listen on {arguments.host} port {arguments.port}: {error.strerror}. Give another --port.")
    try:
        arguments.state.parent.mkdir(parents=True, exist_ok=True)
        in_use = arguments.state.with_name(arguments.state.name + ".lock").open("w")
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        store = Store(arguments.state)
    except BlockingIOError:  # two of them would send every webhook twice
        _stop(f"the state file {arguments.state} is in use by another local Stripe.")
    except (OSError, sqlite3.Error) as error:
        _stop(f"can't use the state file {arguments.state}: {error}")
    switches = SwitchBoard(store)
    if arguments.switches:
        try:
            switches.change(json.loads(arguments.switches))
        except (ValueError, ApiError) as error:
            _stop(f"--switches: {error}")
    sends_webhooks = bool(arguments.webhook_url)
    app = create_app(store, switches, arguments.secret_key, sends_webhooks=sends_webhooks)
    server = make_server(
        arguments.host, arguments.port, app, threaded=True, request_handler=RequestHandler, fd=listening.fileno()
    )

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    Clock(store, switches, sends_webhooks=sends_webhooks).start()
    if sends_webhooks:
        Sender(store, switches, arguments.webhook_url, arguments.webhook_secret).start()
    print(f"Local Stripe on http://{arguments.host}:{arguments.port}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
