"""Keeping processes running: starts them, starts again what dies and says so, stops them all."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from dev.children import last_lines, spawn, stop
from dev.environment import CHECKOUT, DemoError

DEATHS, WITHIN_SECONDS = 5, 60.0  # more is not an accident
STOP_SECONDS = 8.0
PROGRESS_SECONDS = 10.0
LOG_BYTES = 20_000_000
TICK_SECONDS = 0.2


def say(text: str) -> None:
    """Tell the terminal."""
    print(text, flush=True)


class Service(Protocol):
    """What the supervisor needs of PostgreSQL, Valkey and a program alike."""

    log: Path
    process: subprocess.Popen[bytes] | None

    def start(self) -> None:
        """Start it; it is up on return, or may be asked."""

    def stop(self, seconds: float) -> None:
        """Ask it to end, and kill it after `seconds`."""


class Program:
    """A command of the checkout, up as soon as it is started."""

    def __init__(self, command: Sequence[str | Path], *, log: Path, env: dict[str, str]) -> None:
        self.command = command
        self.log = log
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        self.process = spawn(self.command, log=self.log, env=self.env, cwd=CHECKOUT)

    def stop(self, seconds: float) -> None:
        """Ask it to finish what it is doing and end; after `seconds` it is killed."""
        if self.process:
            stop(self.process, signal.SIGTERM, seconds)


@dataclass
class Watched:
    """A service with the times at which it died of late."""

    name: str
    service: Service
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS))
    start_at: float | None = None


class Supervisor:
    """Starts services, starts them again when they die, and stops them in reverse order."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.watched: list[Watched] = []
        self.step: Program | None = None
        self.asked_to_stop = False

    def start(self, name: str, service: Service) -> None:
        """Start a service and watch over it from now on."""
        new_log(service.log)
        watched = Watched(name, service)
        self.watched.append(watched)
        self._start(watched)

    def wait(self, done: Callable[[], bool]) -> None:
        """Watch over the services until `done`. Raises KeyboardInterrupt when asked to stop."""
        while not done():
            if self.asked_to_stop:
                raise KeyboardInterrupt
            self._watch()
            time.sleep(TICK_SECONDS)

    def run_once(self, program: Program) -> int:
        """Run a program to its end, telling now and then how far it is. Returns its exit code."""
        new_log(program.log)
        told = time.monotonic()

        def ended() -> bool:
            nonlocal told
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                say(f"  {last_lines(program.log, 1)}")
            return program.process is None or program.process.poll() is not None

        self.step = program
        try:
            program.start()
            self.wait(ended)
        finally:
            program.stop(2.0)
            self.step = None
        assert program.process is not None
        return program.process.returncode

    def all_up(self) -> bool:
        """Whether every service runs at this moment."""
        processes = [watched.service.process for watched in self.watched]
        return all(process is not None and process.poll() is None for process in processes)

    def stop(self) -> None:
        """Stop everything within STOP_SECONDS, what was started last first, and nothing is left behind."""
        deadline = time.monotonic() + STOP_SECONDS
        for watched in reversed(self.watched):
            watched.service.stop(max(2.0, deadline - time.monotonic()))
        self.kill()  # only orphans are left, such as the job of a worker that was killed

    def kill(self) -> None:
        """Kill whatever still runs under us, at once."""
        left = psutil.Process().children(recursive=True)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)

    def _start(self, watched: Watched) -> None:
        watched.service.start()
        watched.start_at = None
        assert watched.service.process is not None
        (self.run / f"{watched.name}.pid").write_text(f"{watched.service.process.pid}\n")

    def _watch(self) -> None:
        now = time.monotonic()
        for watched in self.watched:
            keep_short(watched.service.log)
            process = watched.service.process
            if watched.start_at is not None:
                if now >= watched.start_at:
                    self._start(watched)
                    self._reap_orphans()
                    say(f"{watched.name} is running again.")
            elif process is not None and process.poll() is not None:
                self._note_death(watched, process.returncode, now)

    def _reap_orphans(self) -> None:
        """Take note of the end of children's children, which came to us when their parent was killed."""
        services = [self.step, *(watched.service for watched in self.watched)]
        ours = {service.process.pid for service in services if service and service.process}
        for process in psutil.Process().children():
            with suppress(psutil.NoSuchProcess, ChildProcessError):
                if process.pid not in ours and process.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(process.pid, os.WNOHANG)

    def _note_death(self, watched: Watched, code: int, now: float) -> None:
        watched.deaths.append(now)
        recent = sum(now - death <= WITHIN_SECONDS for death in watched.deaths)
        if recent == DEATHS:
            raise DemoError(
                f"{watched.name} {ending(code)}, for the {DEATHS}th time within a minute. "
                f"The end of {watched.service.log}:\n{last_lines(watched.service.log)}"
            )
        # The first time at once; one that needs another service gets time for that to come back.
        watched.start_at = now + recent - 1
        say(f"{watched.name} {ending(code)}; starting it again. Its log is {watched.service.log}")


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def new_log(log: Path) -> None:
    """Put the log of the run before aside, in place of the one before that."""
    if log.exists():
        log.rename(log.with_suffix(".log.1"))


def keep_short(log: Path) -> None:
    """Put a long log aside while it is being written: the writers append, so they go on at the new end."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        shutil.copyfile(log, log.with_suffix(".log.1"))
        os.truncate(log, 0)


def adopt_orphans() -> None:
    """Let the kernel hand us the children of our children that die, so that stopping finds them too (Linux)."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
