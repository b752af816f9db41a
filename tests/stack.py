"""The product as it runs in production: web server, workers, scheduler and the local Stripe as processes of their own.

For tests of what only shows between processes. Everything listens on free ports, writes its log into the stack's folder
and ends with the process of the test.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis
import requests
from flask import Flask
from flask_migrate import upgrade

from app import create_app
from app.extensions import db
from dev.children import last_lines, spawn
from dev.postgres import APP, DATABASE, OWNER, Postgres
from dev.valkey import Valkey
from tests.conftest import ROOT, STRIPE_KEY, WEBHOOK_SECRET, wait_for

WEB_WORKERS = 2


def server_command(port: int, *, workers: int = WEB_WORKERS, app: str = "wsgi:app") -> list[str]:
    """What serves the app, as in production."""
    command = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    return [*command, "--bind", f"127.0.0.1:{port}", "--workers", str(workers), app]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def environment(folder: Path, settings: dict[str, Any]) -> dict[str, str]:
    """What a process is started with: these settings, and nothing that the caller or a running demo sets."""
    names = {name.upper() for name in settings}
    inherited = {name: value for name, value in os.environ.items() if name in _INHERITED and name not in names}
    given = {name.upper(): str(value) for name, value in settings.items()}
    return {"TRIPDESK_HOME": str(folder), "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1", **inherited, **given}


_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")


class Stack:
    """Processes by name on one database. A context manager that ends them all, whatever happened; when a test fails, it
    shows the ends of their logs.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.web_port, self.stripe_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.web_port}"
        self.stripe_url = f"http://127.0.0.1:{self.stripe_port}"
        self.settings = {**settings, "stripe_api_base": self.stripe_url, "public_url": self.url}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for name in reversed(list(self.processes)):
            self.kill(name)
        if kind is not None:
            sys.stderr.write(self.logs())

    def start(self, name: str, command: Sequence[str], **settings: Any) -> subprocess.Popen[bytes]:
        """Start a process of the checkout; a stopped one of the same name may be started again."""
        self.processes[name] = spawn(
            command,
            log=self.folder / f"{name}.log",
            death_signal=signal.SIGKILL,
            env=environment(self.folder, {**self.settings, **settings}),
            cwd=ROOT,
        )
        return self.processes[name]

    def start_web(self, *, app: str = "wsgi:app", workers: int = WEB_WORKERS, **settings: Any) -> None:
        """Serve the API and the console; returns when it answers."""
        self.start("web", server_command(self.web_port, app=app, workers=workers), **settings)
        self.wait_until_answering("web", f"{self.url}/health")

    def start_stripe(self) -> None:
        """Run the local Stripe, which sends its webhooks to the web server."""
        command = [sys.executable, "-m", "dev.stripe", "--host", "127.0.0.1", "--port", str(self.stripe_port)]
        command += ["--state", str(self.folder / "stripe.sqlite3"), "--secret-key", STRIPE_KEY]
        command += ["--webhook-url", f"{self.url}/v1/webhooks/stripe", "--webhook-secret", WEBHOOK_SECRET]
        self.start("stripe", command)
        self.wait_until_answering("stripe", f"{self.stripe_url}/health")

    def start_worker(self, queue: str, name: str | None = None) -> None:
        """Run a worker of one queue, under the queue's name unless given another."""
        self.start(name or queue, [sys.executable, "-m", "jobs.worker", queue])

    def start_scheduler(self) -> None:
        """Run the scheduler, which pokes the sweeps."""
        self.start("scheduler", [sys.executable, "-m", "jobs.schedule"])

    def start_all(self) -> None:
        """Everything a running product has."""
        for queue in ("urgent", "default", "mail", "bulk", "slow"):
            self.start_worker(queue)
        self.start_scheduler()
        self.start_stripe()
        self.start_web()

    def kill(self, name: str) -> None:
        """Kill a process and its children at once, as a crash of the machine would."""
        process = self.processes.pop(name)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for victim in family:
            with suppress(psutil.NoSuchProcess):
                victim.kill()

    def wait_until_answering(self, name: str, url: str) -> None:
        """Wait for a 200; fails with the end of the log when the process ends instead."""

        def answers() -> bool:
            if self.processes[name].poll() is not None:
                raise AssertionError(f"{name} ended:\n{last_lines(self.folder / f'{name}.log')}")
            try:
                return requests.get(url, timeout=5).status_code == 200
            except requests.RequestException:
                return False

        wait_for(answers, f"{name} to answer", 60)

    def flask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run an operator's command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
            cwd=ROOT,
            env=environment(self.folder, self.settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def switch_stripe(self, **switches: Any) -> None:
        """Set the local Stripe's switches; a group that is given replaces that group."""
        self.ask_stripe("POST", "/_local/switches", json=switches)

    def ask_stripe(self, method: str, path: str, **options: Any) -> Any:
        """One request to the local Stripe; its answer. Fails on a refusal."""
        response = requests.request(method, self.stripe_url + path, auth=(STRIPE_KEY, ""), timeout=30, **options)
        assert response.ok, response.text
        return response.json()

    def pay(self, intent_id: str, payment_method: str = "pm_card_visa") -> requests.Response:
        """Confirm an intent at the local Stripe, as Stripe.js would."""
        return requests.post(
            f"{self.stripe_url}/v1/payment_intents/{intent_id}/confirm",
            data={"payment_method": payment_method},
            auth=(STRIPE_KEY, ""),
            timeout=30,
        )

    def logs(self) -> str:
        """The ends of all logs."""
        files = sorted(self.folder.glob("*.log"))
        return "".join(f"\n--- {file.name}\n{last_lines(file, 15)}\n" for file in files)

    @contextmanager
    def app(self) -> Iterator[Flask]:
        """The same app inside the test's own process, with a context pushed: to make rows and to look at them."""
        app = create_app(**{**self.settings, "tripdesk_home": self.folder})
        with app.app_context():
            try:
                yield app
            finally:
                db.session.remove()
                db.engine.dispose()

    def empty_redis(self) -> None:
        """Throw away every job there is, as a Redis without persistence does when it is restarted."""
        with closing(redis.Redis.from_url(self.settings["redis_url"])) as connection:
            connection.flushall()

    def ask_database(self, statement: str, parameters: Any = None, *, role: str = OWNER) -> list[tuple[Any, ...]]:
        """One statement as the owner, committed; its rows."""
        connection = psycopg2.connect(self.settings["database_owner_url" if role == OWNER else "database_url"])
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


def settings_on(postgres: Postgres, valkey: Valkey, database: str = DATABASE) -> dict[str, Any]:
    """The settings of an app on services of the test's own."""
    return {
        "app_env": "test",
        "database_url": postgres.url(APP, database),
        "database_owner_url": postgres.url(OWNER, database),
        "redis_url": valkey.url(),
        "stripe_secret_key": STRIPE_KEY,
        "stripe_webhook_secret": WEBHOOK_SECRET,
        "rate_limits": "off",
    }


def migrate(settings: dict[str, Any]) -> None:
    """Build the schema."""
    app = create_app(**settings)
    with app.app_context():
        upgrade(str(ROOT / "migrations"))
        db.engine.dispose()
