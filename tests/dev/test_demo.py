"""The supervisor of `make demo` with stand-ins for the app's processes, from start to Ctrl-C."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dev import environment
from dev.demo import Settings
from dev.environment import CHECKOUT, DemoError

# What the demo runs in place of the app: a server that is well, a step, a worker whose job outlives it.
STAND_IN = """
import os, sys
from dev.demo import Process, main

SERVER = '''
import http.server, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(float(os.environ.get("LINGER", "0"))), sys.exit()))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
'''
CONNECT = "import os, psycopg2; psycopg2.connect(os.environ['DATABASE_OWNER_URL']); print(os.environ.get('PGPORT'))"
WORK = "import subprocess, time; subprocess.Popen(['sleep', '300']); time.sleep(300)"

def table(settings):
    python = sys.executable
    rows = [
        Process("stripe", (python, "-c", SERVER, str(settings.port + 1)), ready=f"{settings.stripe}/health"),
        Process(
            "migrate",
            (python, "-c", os.environ.get("STEP", CONNECT)),
            once="Migrating the database",
            done=os.environ.get("DONE", ""),
        ),
        Process("web", (python, "-c", SERVER, str(settings.port)), ready=f"{settings.address}/health/ready"),
        Process("worker", (python, "-c", os.environ.get("WORK", WORK))),
    ]
    return rows

sys.exit(main(table))
"""


NEWEST = max(file.name for file in (CHECKOUT / "migrations" / "versions").glob("[0-9]*.py")).partition("_")[0]


class Run:
    """One `make demo` with stand-ins, in a home of its own with a space in its name."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.output = home.parent / f"{home.name}.out"
        self.port = free_ports()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> subprocess.Popen[bytes]:
        env = os.environ | {"TRIPDESK_HOME": str(self.home), "PORT": str(self.port), "HOST": ""} | settings
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", STAND_IN], cwd=CHECKOUT, env=env, stdout=output, stderr=subprocess.STDOUT
            )
        return self.process

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, text: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < deadline, f"never said {text!r}:\n{self.said()}"
            time.sleep(0.05)

    def pid(self, name: str) -> int:
        return int((self.home / "run" / f"{name}.pid").read_text())

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)


def free_ports() -> int:
    """A port that is free together with the next one; below those the system hands out to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 32_000, 2)
        with socket.socket() as first, socket.socket() as second:
            if first.connect_ex(("127.0.0.1", port)) and second.connect_ex(("127.0.0.1", port + 1)):
                return port


@pytest.fixture
def demo() -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="tripdesk test ") as name:
        Path(name).chmod(0o711)
        run = Run(Path(name) / "home")
        yield run
        if run.process and run.process.poll() is None:
            run.end(signal.SIGTERM)


def descendants(run: Run) -> list[psutil.Process]:
    assert run.process is not None
    return psutil.Process(run.process.pid).children(recursive=True)


def test_it_gets_ready_and_ctrl_c_leaves_no_process_and_no_secrets(demo: Run) -> None:
    demo.start(DATABASE_URL="postgresql://somewhere/else", PGPORT="1")
    demo.wait_for(f"READY http://127.0.0.1:{demo.port}\n")
    assert "Not used from your environment, since the demo has its own: DATABASE_URL, PGPORT" in demo.said()
    assert "finance2@demo.tripdesk.example" in demo.said()
    file = demo.home / "run" / "env"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "somewhere" not in file.read_text()
    started = descendants(demo)
    assert len(started) > 5
    assert demo.end() == 0
    assert not any(process.is_running() for process in started)
    assert sorted(path.name for path in (demo.home / "run").iterdir()) == ["lock"]


@pytest.mark.parametrize("service", ["postgres", "valkey", "web", "worker"])
def test_what_is_killed_is_said_and_started_again(demo: Run, service: str) -> None:
    demo.start()
    demo.wait_for("READY ")
    before = demo.pid(service)
    os.kill(before, signal.SIGKILL)
    demo.wait_for(f"{service} was killed by SIGKILL; starting it again.")
    demo.wait_for(f"{service} is running again.")
    assert demo.pid(service) != before
    assert psutil.pid_exists(demo.pid(service))
    left = descendants(demo)
    assert demo.end(signal.SIGTERM) == 0
    assert not any(process.is_running() for process in left)  # the killed worker's job too


def test_what_dies_five_times_in_a_minute_ends_the_demo_with_the_end_of_its_log(demo: Run) -> None:
    process = demo.start(WORK="print('no such queue'); raise SystemExit(3)")
    assert process.wait(60) == 1
    assert "worker ended with exit code 3, for the 5th time within a minute" in demo.said()
    assert "no such queue" in demo.said()
    assert "READY" not in demo.said().split("5th time")[1]


def test_a_step_that_fails_ends_the_demo(demo: Run) -> None:
    process = demo.start(STEP="raise SystemExit('two heads')")
    assert process.wait(30) == 1
    assert "Migrating the database failed: it ended with exit code 1" in demo.said()
    assert "two heads" in demo.said()


MIGRATE = """
import os, psycopg2
connection = psycopg2.connect(os.environ["DATABASE_OWNER_URL"])
cursor = connection.cursor()
cursor.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num text); DELETE FROM alembic_version")
cursor.execute("INSERT INTO alembic_version VALUES (%s); GRANT SELECT ON alembic_version TO PUBLIC", ["VERSION"])
connection.commit()
"""


@pytest.mark.parametrize(
    ("version", "done", "expected"),
    [(NEWEST, "as before", False), (NEWEST, "otherwise", True), ("0000", "as before", True)],
    ids=["nothing changed", "another password", "an older schema"],
)
def test_a_step_is_left_out_while_nothing_changed(demo: Run, version: str, done: str, expected: bool) -> None:
    for attempt in ("as before", done):
        demo.start(STEP=MIGRATE.replace("VERSION", version), DONE=attempt)
        demo.wait_for("READY ")
        assert demo.end() == 0
    assert ("Migrating the database" in demo.said()) is expected


def test_ctrl_c_during_start_up_stops_everything(demo: Run) -> None:
    demo.start(STEP="import time; time.sleep(60)")
    demo.wait_for("Migrating the database")
    started = descendants(demo)
    assert demo.end() == 0
    assert not any(process.is_running() for process in started)


def test_a_second_demo_is_refused_by_home_and_by_port(demo: Run) -> None:
    demo.start()
    demo.wait_for("READY ")
    second = Run(demo.home)
    second.output = demo.home.parent / "second.out"
    assert second.start().wait(20) == 1
    assert (
        f"Another demo (process {demo.process.pid if demo.process else 0}) is running in {demo.home}" in second.said()
    )
    third = Run(demo.home.parent / "other home")
    for port in (demo.port, demo.port - 1):  # as the web server's, as the local Stripe's
        third.port = port
        assert third.start().wait(20) == 1
        assert f"Port {demo.port}, which" in third.said()
        assert "is taken" in third.said()
    assert demo.end() == 0


def test_it_starts_again_after_the_supervisor_was_killed(demo: Run) -> None:
    demo.start(LINGER="2")
    demo.wait_for("READY ")
    key = environment.read(demo.home / "run" / "env")["SECRET_KEY"]
    demo.end(signal.SIGKILL)
    assert environment.running(demo.home) is None
    demo.start()
    demo.wait_for("READY ")
    running = environment.running(demo.home)
    assert running is not None
    assert running["SECRET_KEY"] == key
    assert demo.end() == 0


def test_the_shell_runs_a_command_in_the_demo_and_keeps_its_status(demo: Run) -> None:
    env = os.environ | {"TRIPDESK_HOME": str(demo.home), "DATABASE_URL": "postgresql://somewhere/else"}
    command = [sys.executable, "-m", "dev.shell", "echo $DATABASE_URL $VIRTUAL_ENV; exit 7"]
    before = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert before.returncode == 1
    assert before.stderr == f"No demo is running in {demo.home}: start it with `make demo` first.\n"
    demo.start()
    demo.wait_for("READY ")
    inside = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
    assert inside.returncode == 7
    assert inside.stdout.startswith("postgresql://tripdesk_app:")
    assert inside.stdout.rstrip().endswith(str(Path(sys.executable).parents[1]))
    assert demo.end() == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("PORT", "65535"),
        ("DEMO_SCALE", "huge"),
        ("DEMO_SCALE", "0"),
        ("RATE_LIMITS", "maybe"),
        ("DEMO_PASSWORD", "it's"),
        ("TRIPDESK_HOME", "/tmp/$home"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(DemoError, match=name):
        Settings.read({name: value})


def test_an_address_for_everybody_is_reached_by_the_loopback() -> None:
    settings = Settings.read({"HOST": "0.0.0.0", "PORT": "", "DEMO_SCALE": "250"})
    assert (settings.bind, settings.address) == ("0.0.0.0:8000", "http://127.0.0.1:8000")
    assert Settings.read({"HOST": "::1"}).bind == "[::1]:8000"
