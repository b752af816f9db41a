"""The export of a whole list: how long it takes, and how much memory its worker and the web server need for it.

`measure` is given the environment of an app whose database holds the rows. Each step runs in a process of its own, as
it does in production: its peak is the step's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import psutil
import requests
from sqlalchemy import func, select

from app import create_app
from app.accounts import service as accounts
from app.accounts import staff
from app.audit.actor import SYSTEM
from app.bulk import exporting, work
from app.bulk import service as bulk
from app.bulk.models import Bulk
from app.extensions import db
from app.reviews.models import Review
from bench.market import ROOT, served

MOST_MEMORY_MB = 300
_PASSWORD = "a long enough password"
_BLOCK_BYTES = 256 * 1024


def measure(env: Mapping[str, str]) -> dict[str, float]:
    """Export every review, a million at most, and download the file. Peaks are of resident memory, in MB."""
    email = f"export-{uuid4().hex[:8]}@example.org"
    asked = _step("ask", env, email)
    worked = _step("work", env, str(int(asked["run"])))
    with served("wsgi:app", dict(env)) as (host, port):
        downloaded = _download(f"http://{host}:{port}", email, int(asked["run"]))
    return {
        "rows": worked["rows"],
        "ask_seconds": asked["seconds"],
        "work_seconds": worked["seconds"],
        "rows_per_second": round(worked["rows"] / worked["seconds"]),
        "worker_peak_mb": worked["peak_mb"],
        **downloaded,
    }


def _step(name: str, env: Mapping[str, str], argument: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.export", name, argument]
    answer = subprocess.run(command, env={**os.environ, **env}, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _ask(email: str) -> dict[str, float]:
    person = staff.create_staff(email=email, name="Export", password=_PASSWORD, roles=("moderator",), by=SYSTEM)
    by = accounts.actor_of(person)
    newest = select(Review.id.label("id")).order_by(Review.id.desc()).limit(bulk.MOST_ROWS).subquery()
    place = func.row_number().over(order_by=newest.c.id.desc()).label("place")
    began = time.monotonic()
    run = exporting.ask("reviews", select(newest.c.id, place), by=by)
    bulk.start(run.id, by=by)
    return {"run": run.id, "seconds": round(time.monotonic() - began, 1)}


def _work(run_id: str) -> dict[str, float]:
    began, run = time.monotonic(), db.session.get_one(Bulk, int(run_id))
    while run.status == "RUNNING":
        work.go_on(run.id)
        run = db.session.get_one(Bulk, int(run_id), populate_existing=True)
    if run.status != "DONE":
        raise RuntimeError(f"the export ended as {run.status}: {run.ended_because}")
    seconds = round(time.monotonic() - began, 1)
    return {"rows": run.done, "seconds": seconds, "peak_mb": _peak_mb()}


def _peak_mb() -> int:
    """The most this process ever held. What `getrusage` says begins with what its parent held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _download(address: str, email: str, run_id: int) -> dict[str, float]:
    browser, page = requests.Session(), f"{address}/console/bulk/{run_id}/"
    _post(browser, f"{address}/console/login", f"{address}/console/login", email=email, password=_PASSWORD)
    began, received, peak = time.monotonic(), 0, 0
    answer = _post(browser, page, f"{page}download")
    for block in answer.iter_content(_BLOCK_BYTES):
        received += len(block)
        if received % (40 * _BLOCK_BYTES) < len(block):
            peak = max(peak, _largest_server())
    seconds = time.monotonic() - began
    return {
        "file_mb": round(received / 1e6, 1),
        "download_seconds": round(seconds, 1),
        "web_peak_mb": max(peak, _largest_server()) // 1024**2,
    }


def _post(browser: requests.Session, page: str, target: str, **form: str) -> requests.Response:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page, timeout=30).text)
    if found is None:
        raise RuntimeError(f"{page} has no form")
    answer = browser.post(target, {"csrf_token": found[1], **form}, stream=True, timeout=60)
    if answer.status_code != 200:
        raise RuntimeError(f"{target} was answered {answer.status_code}")
    return answer


def _largest_server() -> int:
    """What the largest process of the web server holds, in bytes."""
    found = psutil.Process().children(recursive=True)
    return max(child.memory_info().rss for child in found if any("gunicorn" in word for word in child.cmdline()))


STEPS: dict[str, Callable[[str], dict[str, float]]] = {"ask": _ask, "work": _work}


def main() -> int:
    """One step, for `measure`; or without any, all of it on the running demo's data, in `make shell`."""
    if len(sys.argv) == 1:
        print(json.dumps(measure(os.environ), indent=2))
        return 0
    with create_app().app_context():
        print(json.dumps(STEPS[sys.argv[1]](sys.argv[2])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
