"""When what is poked: `python -m jobs.schedule` enqueues these by the clock. Due times are rows in the database; this
only says «look».
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from dataclasses import dataclass

from app import create_app, workers
from app.config import SettingsError
from app.queue import poke

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A job and the seconds between two pokes of it."""

    job: str
    every_seconds: int
    queue: str


SCHEDULE = (
    Entry("jobs.sweeps.sweep_all", 5, "default"),
    Entry("jobs.search.index", 3, "default"),
    Entry("jobs.meilisearch.send", 2, "default"),
    Entry("jobs.meilisearch.send_synonyms", 30, "default"),
    Entry("jobs.search.keep_searches", 15, "default"),
    Entry("jobs.bookings.expire_holds", 10, "default"),
    Entry("jobs.bookings.complete_stays", 300, "slow"),
    Entry("jobs.reviews.settle", 5, "default"),
    Entry("jobs.audit.seal", 10, "slow"),
    Entry("jobs.payments.expire_refunds", 60, "default"),
    Entry("jobs.disputes.remind", 60, "default"),
    Entry("jobs.payments.check_books", 3600, "slow"),
    Entry("jobs.reports.add_up", 300, "slow"),
    Entry("jobs.reconciliation.reconcile_due", 600, "slow"),
    Entry("jobs.search.compare", 60, "slow"),
    Entry("jobs.search.count_words", 3600, "slow"),
    Entry("jobs.search.forget_searches", 3600, "slow"),
    Entry("jobs.meilisearch.compare", 600, "slow"),
    Entry("jobs.accounts.forget_old", 3600, "slow"),
    Entry("jobs.providers.sweep_files", 3600, "slow"),
    Entry("jobs.bulk.delete_files", 3600, "slow"),
    Entry("jobs.imports.forget_files", 3600, "slow"),
)


def run(stop: threading.Event) -> None:
    """Poke each entry when its time has come, until `stop` is set."""
    workers.forget_schedule()
    due = dict.fromkeys(SCHEDULE, 0.0)
    while not stop.is_set():
        now = time.monotonic()
        for entry, at in due.items():
            if now >= at:
                poke(entry.job, queue=entry.queue, keep_seconds=entry.every_seconds)
                workers.note_poke(entry.job, queue=entry.queue, every_seconds=entry.every_seconds)
                due[entry] = now + entry.every_seconds
        stop.wait(min(due.values()) - now)


def main() -> int:
    """Run until told to stop; 2 for wrong settings."""
    try:
        app = create_app()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with app.app_context():
        run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
