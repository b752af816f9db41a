"""What is wrong with its settings, a process says in one clear line each and ends; what is away, it waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, wait_for
from tests.faults.conftest import Services
from tests.stack import Stack, environment, free_port, migrate, server_command, settings_on

# "web" is served as it is in earnest, "wsgi" is what any other server would import.
PROCESSES = {
    "web": server_command(free_port()),
    "wsgi": [sys.executable, "-c", "import wsgi"],
    "worker": [sys.executable, "-m", "jobs.worker", "urgent"],
    "scheduler": [sys.executable, "-m", "jobs.schedule"],
    "command": [sys.executable, "-m", "flask", "--app", "wsgi", "ledger", "verify"],
}


def run(command: list[str], folder: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(folder, settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_wrong_settings_end_the_start_with_a_line_each(process: str, tmp_path: Path) -> None:
    ended = run(
        PROCESSES[process],
        tmp_path,
        app_env="test",
        database_url="mysql://app@localhost/tripdesk",
        database_owner_url="postgresql://owner@localhost/tripdesk",
        stripe_secret_key="pk_test_the_public_one",
        hold_minutes="soon",
    )
    assert ended.returncode not in (0, -9)
    assert "Traceback" not in ended.stderr
    # Types first: what can't be read can't be checked against the rest.
    assert "HOLD_MINUTES" in ended.stderr
    ended = run(
        PROCESSES[process],
        tmp_path,
        app_env="test",
        database_url="mysql://app@localhost/tripdesk",
        database_owner_url="postgresql://owner@localhost/tripdesk",
        stripe_secret_key="pk_test_the_public_one",
    )
    assert ended.returncode not in (0, -9)
    assert "Traceback" not in ended.stderr
    lines = ended.stderr.splitlines()
    for name, what in (
        ("DATABASE_URL", "must start with postgresql://"),
        ("REDIS_URL", "is not set"),
        ("STRIPE_SECRET_KEY", "must start with sk_test_"),
    ):
        assert sum(line.startswith(name) and what in line for line in lines) == 1, ended.stderr
    assert "the_public_one" not in ended.stderr


def test_production_without_secrets_names_each(tmp_path: Path) -> None:
    ended = run(
        PROCESSES["wsgi"],
        tmp_path,
        app_env="production",
        database_url="postgresql://app@localhost/tripdesk",
        database_owner_url="postgresql://owner@localhost/tripdesk",
        redis_url="redis://localhost",
    )
    assert ended.returncode == 1
    named = {line.split()[0] for line in ended.stderr.splitlines()}
    assert {"SECRET_KEY", "JWT_SECRET", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "PUBLIC_URL", "MAIL_URL"} <= named


def test_an_unknown_queue_is_said(services: Services, tmp_path: Path) -> None:
    ended = run([sys.executable, "-m", "jobs.worker", "urgnet"], tmp_path)
    assert ended.returncode == 2
    assert "one of urgent, default, mail, bulk, slow" in ended.stderr


def test_a_worker_without_redis_says_so_in_a_line(services: Services, tmp_path: Path) -> None:
    settings = settings_on(services.postgres, services.valkey)
    ended = run(PROCESSES["worker"], tmp_path, **{**settings, "redis_url": f"redis://127.0.0.1:{free_port()}"})
    assert ended.returncode == 1
    (said,) = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
    assert said.startswith("REDIS_URL: no Redis answers there (")
    assert "Connection refused" in said


def test_a_start_while_the_database_is_down_waits_for_it(services: Services, tmp_path: Path) -> None:
    settings = settings_on(services.postgres, services.valkey)
    away = settings["database_url"].replace("/tripdesk?", "/not_there_yet?")
    with Stack(tmp_path, {**settings, "database_url": away}) as stack:
        stack.start_worker("urgent")
        stack.start_scheduler()
        stack.start_web()
        ready = requests.get(f"{stack.url}/health/ready", timeout=30)
        assert (ready.status_code, ready.json()["db"], ready.json()["status"]) == (503, "down", "down")
        refused = requests.get(f"{stack.url}/v1/packages", timeout=30)
        assert refused.status_code == 503
        assert refused.headers["Content-Type"] == "application/problem+json"
        page = requests.get(f"{stack.url}/console/login", timeout=30)
        assert page.status_code == 200
        command = stack.flask("ledger", "verify")
        assert command.returncode == 1
        assert command.stderr.strip().splitlines()[-1] == (
            "Error: The database can't be reached right now. Try again in a moment."
        )
        services.postgres.create_database("not_there_yet")
        assert requests.get(f"{stack.url}/health/ready", timeout=30).json()["db"] == "wrong schema"
        owner = settings["database_owner_url"].replace("/tripdesk?", "/not_there_yet?")
        migrate({**settings, "database_url": away, "database_owner_url": owner})
        wait_for(
            lambda: requests.get(f"{stack.url}/health/ready", timeout=30).json()["status"] == "ok",
            "the web server to find the database",
        )
        assert stack.processes["urgent"].poll() is None
        assert stack.processes["scheduler"].poll() is None
