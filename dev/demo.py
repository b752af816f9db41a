"""What `make demo` does: everything that runs, in which order, and what it says to the terminal."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self
from urllib.parse import urlsplit

import psutil
import psycopg2

from dev import environment
from dev.children import ServiceError, account_name, last_lines
from dev.environment import CHECKOUT, DemoError
from dev.postgres import OWNER, Postgres
from dev.supervisor import TICK_SECONDS, Program, Supervisor, adopt_orphans, ending, say
from dev.valkey import Valkey

STRIPE_KEY, STRIPE_WEBHOOK_SECRET = "sk_test_tripdesk_demo", "whsec_tripdesk_demo"
# Name of the process: the queue it works on.
WORKERS = {
    "urgent-1": "urgent",
    "urgent-2": "urgent",
    "default": "default",
    "mail": "mail",
    "bulk": "bulk",
    "slow": "slow",
}
LOGINS = ("support", "moderator", "finance", "finance2", "admin", "traveller")
READY_SECONDS = 60.0


# --- What to run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """What `make demo` takes from its caller, checked."""

    home: Path
    host: str
    port: int
    scale: str
    password: str
    rate_limits: str

    @classmethod
    def read(cls, caller: Mapping[str, str]) -> Self:
        """Read the caller's environment; a setting without a value counts as unset. Raises DemoError by name."""
        port = caller.get("PORT") or "8000"
        if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65534:
            raise DemoError(
                f"PORT must be a number from 1 to 65534 (the local Stripe takes the next one), not {port!r}."
            )
        scale = caller.get("DEMO_SCALE") or "small"
        if scale not in ("small", "medium", "large") and not (scale.isascii() and scale.isdigit() and int(scale) > 0):
            raise DemoError(f"DEMO_SCALE must be small, medium, large or a number above 0, not {scale!r}.")
        rate_limits = caller.get("RATE_LIMITS") or "on"
        if rate_limits not in ("on", "off"):
            raise DemoError(f"RATE_LIMITS must be on or off, not {rate_limits!r}.")
        password = caller.get("DEMO_PASSWORD") or "tripdesk-demo"
        home = environment.home_folder(caller)
        for name, value in (("DEMO_PASSWORD", password), ("TRIPDESK_HOME", str(home))):
            if environment.unwritable(value):
                raise DemoError(f"{name} may not contain ' or \\ or $ or control characters.")
        return cls(home, caller.get("HOST") or "127.0.0.1", int(port), scale, password, rate_limits)

    @property
    def address(self) -> str:
        """The web server's address as a browser on this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # nosec B104  (a name, nothing binds)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def bind(self) -> str:
        """What the web server listens on."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def stripe(self) -> str:
        """The local Stripe's address."""
        return f"http://127.0.0.1:{self.port + 1}"


@dataclass(frozen=True)
class Process:
    """A row of the table: a program that has to keep running, or with `once` a step that has to succeed first."""

    name: str
    command: Sequence[str | Path]
    ready: str = ""  # an address that answers 200 when it is up, and status ok if it tells a status
    once: str = ""  # what the step does, for the terminal
    done: str = ""  # of a step: kept in the home; with the same and the newest schema the step is left out


def processes(settings: Settings) -> list[Process]:
    """Everything beside PostgreSQL and Valkey, in the order of starting."""
    python = sys.executable
    flask = (python, "-m", "flask", "--app", "wsgi")
    stripe: list[str | Path] = [python, "-m", "dev.stripe", "--host", "127.0.0.1", "--port", str(settings.port + 1)]
    stripe += ["--state", settings.home / "stripe.db", "--webhook-url", f"{settings.address}/v1/webhooks/stripe"]
    stripe += ["--webhook-secret", STRIPE_WEBHOOK_SECRET, "--secret-key", STRIPE_KEY]
    seed = (*flask, "demo", "seed", "--scale", settings.scale, "--if-empty", "--migrate")
    web = (python, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py", "--bind", settings.bind, "wsgi:app")
    return [
        Process("stripe", stripe, ready=f"{settings.stripe}/health"),
        Process(
            "seed",
            seed,
            once=f"Migrating the database, and seeding it where it is empty ({settings.scale})",
            done=hashlib.sha256(settings.password.encode()).hexdigest(),  # the logins get the password of each start
        ),
        Process("web", web, ready=f"{settings.address}/health/ready"),
        *(Process(f"worker-{name}", (python, "-m", "jobs.worker", queue)) for name, queue in WORKERS.items()),
        Process("scheduler", (python, "-m", "jobs.schedule")),
    ]


def is_newest(database_url: str) -> bool:
    """Whether every migration of this checkout has been applied."""
    newest = max(file.name.partition("_")[0] for file in (CHECKOUT / "migrations" / "versions").glob("[0-9]*.py"))
    try:
        with closing(psycopg2.connect(database_url, connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT version_num FROM alembic_version")
            return [row[0] for row in cursor.fetchall()] == [newest]
    except psycopg2.Error:  # no table yet
        return False


def app_settings(settings: Settings, postgres: Postgres, valkey: Valkey) -> dict[str, str]:
    """The app's environment. The secrets are random per home and kept in it, so that a restart signs nobody out."""
    file = settings.home / "secrets.env"
    if not file.exists():
        environment.write(file, {"SECRET_KEY": secrets.token_hex(32), "JWT_SECRET": f"demo:{secrets.token_hex(32)}"})
    return {
        "APP_ENV": "development",
        "TRIPDESK_HOME": str(settings.home),
        "PUBLIC_URL": settings.address,
        "DATABASE_URL": postgres.url(),
        "DATABASE_OWNER_URL": postgres.url(OWNER),
        "REDIS_URL": valkey.url(),
        "STRIPE_SECRET_KEY": STRIPE_KEY,
        "STRIPE_WEBHOOK_SECRET": STRIPE_WEBHOOK_SECRET,
        "STRIPE_API_BASE": settings.stripe,
        "DEMO_PASSWORD": settings.password,
        "RATE_LIMITS": settings.rate_limits,
        **environment.read(file),
    }


def prepare_home(home: Path) -> None:
    """Make the home, and see that it is ours. Raises DemoError otherwise."""
    try:
        # Root's PostgreSQL runs under another account, which has to pass through; nobody may look around.
        home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        owner = home.stat().st_uid
        if owner != os.geteuid():
            raise DemoError(
                f"{home} belongs to {account_name(owner)}: start the demo as {account_name(owner)}, or give it another "
                f"home with TRIPDESK_HOME."
            )
        for name in ("run", "logs"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise DemoError(
            f"The demo can't keep its data in {home}: {error.strerror}. Choose another with TRIPDESK_HOME."
        ) from None


def check_port(host: str, port: int, what: str, *, patience: float) -> None:
    """See that nobody listens on a port, waiting `patience` seconds for it. Raises DemoError otherwise."""
    deadline = time.monotonic() + patience
    while True:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, past TIME_WAIT
                probe.bind(address)
                probe.listen()
            return
        except socket.gaierror as error:
            raise DemoError(f"HOST={host} is no address of this machine: {error.strerror}.") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise DemoError(f"HOST={host} is no address of this machine.") from None
            if error.errno == errno.EACCES:
                raise DemoError(
                    f"Port {port} needs more rights than you have: choose one above 1023 with PORT."
                ) from None
            if error.errno != errno.EADDRINUSE:
                raise
            if time.monotonic() > deadline:
                raise DemoError(
                    f"Port {port}, which {what} needs, is taken{listener(port)}: stop what uses it, or choose another "
                    f"with PORT, as in `make demo PORT=8100`."
                ) from None
        time.sleep(TICK_SECONDS)


def listener(port: int) -> str:
    """Who listens on a port, as far as we may know."""
    try:
        pids = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        ]
        return f" by {psutil.Process(pids[0]).name()} (process {pids[0]})" if pids and pids[0] else ""
    except psutil.Error:  # macOS tells only root
        return ""


def answers_ok(address: str) -> tuple[bool, str]:
    """Whether an address answers 200 without telling of a problem, and what it said."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer ({error})"
    finally:
        connection.close()
    try:
        status = json.loads(body).get("status", "ok")
    except (ValueError, AttributeError):  # not JSON, or no object: then the code alone counts
        status = "ok"
    return response.status == 200 and status == "ok", f"{response.status} {body[:500]}"


class Demo:
    """One run of the demo."""

    def __init__(self, settings: Settings, table: Sequence[Process], caller: Mapping[str, str]) -> None:
        self.settings = settings
        self.table = table
        self.caller = caller
        self.supervisor = Supervisor(settings.home / "run")
        self.env_file = settings.home / "run" / "env"
        self.started: list[tuple[Process, Program]] = []

    def run(self) -> None:
        """Start everything and watch over it until interrupted. Raises DemoError or ServiceError when that can't be."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                signal.signal(number, self._interrupted)
        prepare_home(self.settings.home)
        with environment.claim(self.settings.home):
            # The file is left by a run that was killed: what that one had started may need a moment to go.
            patience = 10.0 if self.env_file.exists() else 0.0
            check_port(self.settings.host, self.settings.port, "the web server", patience=patience)
            check_port("127.0.0.1", self.settings.port + 1, "the local Stripe (PORT + 1)", patience=patience)
            try:
                self._start()
                self.supervisor.wait(lambda: False)
            except KeyboardInterrupt:
                say("\nStopping. Ctrl-C again kills.")
            finally:
                self._stop()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        # Remembered as well as raised: Python drops what is raised in its own hooks around a fork.
        self.supervisor.asked_to_stop = True
        raise KeyboardInterrupt

    def _start(self) -> None:
        logs = self.settings.home / "logs"
        say(f"Starting PostgreSQL, Valkey and the local Stripe in {self.settings.home}")
        postgres = Postgres(self.settings.home / "postgres", log=logs / "postgres.log")
        valkey = Valkey(self.settings.home / "valkey", log=logs / "valkey.log")
        self.supervisor.start("postgres", postgres)
        self.supervisor.start("valkey", valkey)
        own = app_settings(self.settings, postgres, valkey)
        environment.write(self.env_file, own)
        env = environment.inherited(self.caller) | own | {"PYTHONUNBUFFERED": "1"}
        for name in ("NO_PROXY", "no_proxy"):  # a proxy can't reach the local Stripe
            env[name] = ",".join(filter(None, (self.caller.get(name), "127.0.0.1", "localhost")))

        for row in self.table:
            program = Program(row.command, log=logs / f"{row.name}.log", env=env)
            if row.once:
                done = self.settings.home / f"{row.name}.done"
                if row.done and done.exists() and done.read_text() == row.done and is_newest(postgres.url()):
                    continue
                self._wait_ready()
                self._run_once(row, program)
                done.write_text(row.done)
            else:
                self.supervisor.start(row.name, program)
                self.started.append((row, program))
        say("Waiting for the web server, the workers and the scheduler")
        self._wait_ready()
        self._greet()

    def _run_once(self, row: Process, program: Program) -> None:
        say(row.once)
        code = self.supervisor.run_once(program)
        if code != 0:
            raise DemoError(
                f"{row.once} failed: it {ending(code)}. The end of {program.log}:\n{last_lines(program.log)}"
            )

    def _wait_ready(self) -> None:
        """Wait until everything started so far runs, and answers if it has an address to ask."""
        deadline = time.monotonic() + READY_SECONDS
        for row, program in self.started:

            def done(row: Process = row, program: Program = program) -> bool:
                ok, said = answers_ok(row.ready) if row.ready else (True, "")
                if not ok and time.monotonic() > deadline:
                    raise DemoError(
                        f"{row.name} was not ready within {READY_SECONDS:.0f} seconds. {row.ready} says: {said}\n"
                        f"The end of {program.log}:\n{last_lines(program.log)}"
                    )
                return ok and self.supervisor.all_up()

            self.supervisor.wait(done)

    def _greet(self) -> None:
        say(f"\nConsole  {self.settings.address}/console/\nAPI      {self.settings.address}/v1/docs\nLogins")
        for login in LOGINS:
            say(f"         {login}@demo.tripdesk.example")
        say(f"Password {self.settings.password}\n")
        say(f"READY {self.settings.address}")

    def _stop(self) -> None:
        try:
            self.supervisor.stop()
        except KeyboardInterrupt:
            self.supervisor.kill()
        for file in (self.env_file, *self.env_file.parent.glob("*.pid")):
            file.unlink(missing_ok=True)


def main(table: Callable[[Settings], Sequence[Process]] = processes) -> int:
    """Run the demo; the exit status is 0 when it was asked to stop and 1 when it could not go on."""
    adopt_orphans()
    caller = dict(os.environ)
    try:
        settings = Settings.read(caller)
        if names := environment.ignored(caller):
            say(f"Not used from your environment, since the demo has its own: {', '.join(names)}")
        if names := [name for name in environment.SHARED if caller.get(name)]:
            say(f"Taken from your environment: {', '.join(names)}")
        Demo(settings, table(settings), caller).run()
    except (DemoError, ServiceError) as error:
        print(f"\n{error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 0
    say("Stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
