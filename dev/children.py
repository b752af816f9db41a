"""What the embedded services stand on: children that end with their parent, and private folders for their sockets."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import pwd
import signal
import stat
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

POSTGRES_PORT = 5432  # names the socket file; nothing listens on TCP
START_SECONDS = 60.0  # crash recovery of a large database takes its time
STOP_SECONDS = 10.0
LONGEST_SOCKET_PATH = 103  # sun_path holds 108 bytes on Linux and 104 on macOS, with the final NUL


class ServiceError(Exception):
    """A service could not be started; the message says what is wrong and what to do."""


class Embedded(ABC):
    """A service of ours: started and stopped, by `with` too."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers. Raises ServiceError when it can't be."""

    @abstractmethod
    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop it, and kill it after `seconds`."""


_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    env: dict[str, str] | None = None,
    cwd: Path | str | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a child with its output appended to `log`, in a session of its own so that Ctrl-C reaches only the parent.

    On Linux the kernel sends the child `death_signal` when the thread that called this ends, even by kill -9: call it
    from the main thread. `options` go to subprocess.Popen.
    """
    parent = os.getpid()

    def tie_to_parent() -> None:
        # Runs after subprocess has switched the user, which would clear the setting (prctl(2)).
        if sys.platform == "linux":
            _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # the parent died before the setting took hold
                os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=tie_to_parent,  # noqa: PLW1509 - nothing that starts children here has threads
            **options,
        )


def stop(process: subprocess.Popen[bytes], request: signal.Signals, seconds: float) -> None:
    """Ask a child to end with the signal `request`, and kill it when it has not within `seconds`."""
    if process.poll() is None:
        process.send_signal(request)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log file, for an error message."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 200 * count))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


def package_folder(package: str) -> Path:
    """Where an installed package lies. It is found without being imported: only the binaries in it are of use here."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise ServiceError(f"The Python package {name} is not installed: run `pip install -r requirements-dev.txt`.")
    return Path(spec.submodule_search_locations[0])


def socket_folder(data: Path, uid: int) -> Path:
    """A private folder for the sockets of the service that keeps its data in `data`, the same one at every start.

    It lies directly under the system's temporary folder, because a socket's path may have only 103 bytes and a
    checkout can lie deep.
    """
    name = f"tripdesk-{hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:10]}"
    longest = f"/{name}/.s.PGSQL.{POSTGRES_PORT}.lock"
    system = Path(tempfile.gettempdir()).resolve()
    parent = system if len(os.fsencode(system)) + len(longest) <= LONGEST_SOCKET_PATH else Path("/tmp")  # nosec B108
    folder = parent / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid == os.geteuid() != uid:
        os.chown(folder, uid, -1)
    found = folder.lstat()
    # Anybody can make folders in /tmp: one that another account owns or may write to could hold a false server.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or stat.S_IMODE(found.st_mode) != 0o700:
        raise ServiceError(f"{folder} is not a private folder of {account_name(uid)}: remove it and start again.")
    return folder


def account_name(uid: int) -> str:
    """The name of an operating-system account, for messages."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
