"""JSON logs, and the request id that follows one piece of work through doors, verbs and jobs."""

from __future__ import annotations

import logging
import re
import secrets
from contextvars import ContextVar
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from pythonjsonlogger.orjson import OrjsonFormatter

log = logging.getLogger("tripdesk")

OUTSIDE_A_REQUEST = "-"
request_id: ContextVar[str] = ContextVar("request_id", default=OUTSIDE_A_REQUEST)

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def new_request_id(offered: str | None = None) -> str:
    """The caller's id when it is sane (1 to 128 of `A-Z a-z 0-9 . _ : -`), or a new one."""
    if offered and _SANE_REQUEST_ID.fullmatch(offered):
        return offered
    return "req_" + secrets.token_hex(10)


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def configure(log_dir: Path | None, *, stream: TextIO, level: int = logging.INFO) -> None:
    """Send every log line to `stream` as JSON, and with a `log_dir` to combined.log and error.log there too."""
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    if log_dir is not None:
        log_dir.mkdir(parents=True, exist_ok=True)
        # Watched, so that logrotate may move the files away under us.
        handlers.append(WatchedFileHandler(log_dir / "combined.log"))
        errors = WatchedFileHandler(log_dir / "error.log")
        errors.setLevel(logging.ERROR)
        handlers.append(errors)
    formatter = OrjsonFormatter(
        "{asctime}{levelname}{name}{message}{request_id}",
        style="{",
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
    )
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(_RequestId())
    logging.basicConfig(level=level, handlers=handlers, force=True)
    logging.getLogger("rq").setLevel(logging.WARNING)
    logging.getLogger("stripe").setLevel(logging.WARNING)
