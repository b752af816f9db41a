"""The embedded PostgreSQL and Valkey on real processes: rights, durability, and what a kill -9 leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis

from dev.children import ServiceError, socket_folder
from dev.postgres import APP, OWNER, SUPERUSER, Postgres
from dev.services import throwaway
from dev.valkey import Valkey


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a space in its name that PostgreSQL's account may pass through."""
    with tempfile.TemporaryDirectory(prefix="tripdesk test ") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def kill(process: subprocess.Popen[bytes] | None) -> None:
    assert process is not None
    process.kill()
    process.wait()


def test_the_app_may_connect_and_nothing_else_until_the_owner_grants_it(folder: Path) -> None:
    with Postgres(folder / "postgres", durable=False) as postgres:
        ask(postgres.url(OWNER), "CREATE TABLE booking (id int)")
        refused = ("SELECT * FROM booking", "CREATE TABLE mine ()", "CREATE TEMPORARY TABLE mine ()")
        for statement in refused:
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                ask(postgres.url(APP), statement)
        ask(postgres.url(OWNER), f"GRANT SELECT ON booking TO {APP}")
        assert ask(postgres.url(APP), "SELECT * FROM booking") == []
        rights = (
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'tripdesk%' AND (rolsuper OR rolcreatedb OR rolcreaterole)"
        )
        assert ask(postgres.url(SUPERUSER), rights) == []


def test_every_database_has_the_extensions_and_knows_accented_letters(folder: Path) -> None:
    with Postgres(folder / "postgres", durable=False) as postgres:
        postgres.create_database("another")
        for database in ("tripdesk", "another"):
            url = postgres.url(OWNER, database)
            names = {name for (name,) in ask(url, "SELECT extname FROM pg_extension")}
            assert {"pg_trgm", "unaccent", "pg_stat_statements"} <= names
            assert ask(url, "SELECT cardinality(show_trgm('Åé')), lower('É')") == [(3, "é")]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(postgres.url(APP).replace(f"{APP}:", f"{APP}:x"))


def test_a_killed_postgresql_comes_back_with_what_was_committed(folder: Path) -> None:
    with Postgres(folder / "postgres") as postgres:
        ask(postgres.url(OWNER), "CREATE TABLE kept AS SELECT 1 AS id")
        with closing(psycopg2.connect(postgres.url(OWNER))) as session:
            busy = session.info.backend_pid  # outlives the server's first process, and holds its memory meanwhile
            os.kill(busy, signal.SIGSTOP)
            kill(postgres.process)
            with subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {busy}"]):
                postgres.start()
        assert ask(postgres.url(OWNER), "SELECT id FROM kept") == [(1,)]


def test_another_process_with_the_number_in_the_pid_file_does_not_block_the_start(folder: Path) -> None:
    with Postgres(folder / "postgres") as postgres:
        url = postgres.url(OWNER)
        kill(postgres.process)
        file = folder / "postgres" / "data" / "postmaster.pid"
        lines = file.read_text().splitlines()
        # A process of the server's account, which is what PostgreSQL takes for a server.
        owner = file.stat().st_uid
        stranger = (
            subprocess.Popen(["sleep", "60"], user=owner) if os.geteuid() == 0 else subprocess.Popen(["sleep", "60"])
        )
        try:
            file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            postgres.start()
            assert ask(url, "SELECT 1") == [(1,)]
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


def test_a_start_that_was_cut_short_is_completed_by_the_next(folder: Path) -> None:
    half = folder / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (folder / "postgres").chmod(0o711)
    with Postgres(folder / "postgres", durable=False) as postgres:
        ask(postgres.url(SUPERUSER, "postgres"), "SELECT 1")
        with closing(psycopg2.connect(postgres.url(SUPERUSER, "postgres"))) as connection:
            connection.autocommit = True
            connection.cursor().execute("DROP DATABASE tripdesk")
            connection.cursor().execute("DROP ROLE tripdesk_app")
        postgres.stop()
        postgres.start()
        assert ask(postgres.url(APP), "SELECT 1") == [(1,)]


def test_a_lost_password_file_is_said_in_plain_words(folder: Path) -> None:
    with Postgres(folder / "postgres", durable=False):
        pass
    (folder / "postgres" / "passwords.json").unlink()
    with pytest.raises(ServiceError, match=r"passwords\.json is missing"):
        Postgres(folder / "postgres").start()


def test_a_socket_folder_that_others_may_enter_is_refused(folder: Path) -> None:
    with Valkey(folder / "valkey", durable=False) as valkey:
        assert valkey.process is not None
    sockets = socket_folder(folder / "valkey", os.geteuid())
    sockets.chmod(0o777)
    try:
        with pytest.raises(ServiceError, match="not a private folder"):
            Valkey(folder / "valkey").start()
    finally:
        sockets.rmdir()


def test_a_durable_valkey_keeps_its_data_over_a_kill_and_a_stop(folder: Path) -> None:
    with Valkey(folder / "valkey") as valkey:
        redis.Redis.from_url(valkey.url(3)).set("key", "kept")
        time.sleep(1.1)  # it writes out once a second
        kill(valkey.process)
        valkey.start()
        assert redis.Redis.from_url(valkey.url(3)).get("key") == b"kept"
        assert redis.Redis.from_url(valkey.url()).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_throwaway_pair_leaves_nothing_behind() -> None:
    with throwaway() as (postgres, valkey):
        folders = [postgres.folder.parent]
        folders += [socket_folder(postgres.folder / "data", (postgres.folder / "data").stat().st_uid)]
        processes = [postgres.process, valkey.process]
        assert all(folder.exists() for folder in folders)
        assert ask(postgres.url(), "SHOW fsync") == [("off",)]
        assert ask(postgres.url(), "SHOW listen_addresses") == [("",)]
    assert not any(folder.exists() for folder in folders)
    assert all(process is not None and process.returncode is not None for process in processes)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ties a child to its parent on Linux only")
def test_services_end_with_a_parent_that_is_killed() -> None:
    program = "\n".join(
        [
            "from dev.services import throwaway",
            "with throwaway() as (postgres, valkey):",
            "    print(postgres.process.pid, valkey.process.pid, postgres.folder.parent, sep='\\n', flush=True)",
            "    input()",
        ]
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdin is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    left = Path(parent.stdout.readline().strip())
    children = [psutil.Process(pid) for pid in pids]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    try:
        deadline = time.monotonic() + 10
        while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
            assert time.monotonic() < deadline, "a service outlived its parent"
            time.sleep(0.05)
    finally:
        subprocess.run(["rm", "-rf", str(left)], check=True)
