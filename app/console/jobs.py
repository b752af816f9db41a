"""/console/jobs/: queues, workers, the schedule, jobs that failed, and the work that rows in the database ask for."""

from __future__ import annotations

from typing import Any

import redis
from flask_admin import expose

from app import workers
from app.console.audited import THINGS
from app.console.base import ADMIN, Column, Page, line
from app.console.job_names import job_in_words
from app.db import utcnow

QUEUE_COLUMNS = (
    Column("name", "Queue"),
    Column("waiting", "Waiting", "number", "right"),
    Column("running", "Running", "number", "right"),
    Column("failed", "Failed in a day", "number", "right"),
    Column("oldest_at", "Oldest", "time", "right"),
)
WORKER_COLUMNS = (
    Column("name", "Worker", "mono"),
    Column("queue", "Queue"),
    Column("state", "Doing"),
    Column("host", "Host"),
    Column("done", "Jobs done", "number", "right"),
    Column("failed", "Failed", "number", "right"),
    Column("started_at", "Started", "time", "right"),
    Column("beat_at", "Last beat", "time", "right"),
)
OUTBOX_COLUMNS = (
    Column("what", "What", "link"),
    Column("queue", "Queue"),
    Column("due", "Due", "number", "right"),
    Column("leased", "With a worker", "number", "right"),
    Column("later", "Later", "number", "right"),
    Column("given_up", "Given up", "number", "right"),
    Column("oldest_at", "Oldest due", "time", "right"),
)
SCHEDULE_COLUMNS = (
    Column("what", "What"),
    Column("job", "Job", "mono"),
    Column("queue", "Queue"),
    Column("every", "Every", align="right"),
    Column("took", "Took", align="right"),
    Column("error", "Error"),
    Column("poked_at", "Asked for", "time", "right"),
    Column("ran_at", "Last run", "time", "right"),
)
FAILED_COLUMNS = (
    Column("what", "What"),
    Column("name", "Job", "mono"),
    Column("ids", "Row", "mono"),
    Column("error", "Error"),
    Column("request_id", "Request", "mono"),
    Column("failed_at", "Failed", "time", "right"),
)
# Where the rows of an outbox whose tries are used up can be looked at.
_OUTBOX_HREFS = {
    "webhook_events": "/console/webhooks/?status=FAILED",
    "payments": "/console/payments/",
    "refunds": "/console/refunds/?status=SUBMITTED&open=given_up",
    "disputes": "/console/disputes/",
    "reconciliations": "/console/reconciliation/",
    "bulks": "/console/bulk/",
}


class JobsView(Page):
    """What the workers do, for admins."""

    roles = ADMIN
    icon = "stack-2"

    @expose("/")  # type: ignore[untyped-decorator]
    def index(self) -> str:
        """Everything at once; with Redis down, what the database knows."""
        outboxes = workers.outboxes()
        try:
            live: dict[str, Any] | None = _live()
        except redis.RedisError:
            live = None
        return str(
            self.render(
                "console/jobs/index.html",
                live=live,
                now=utcnow(),
                queue_columns=QUEUE_COLUMNS,
                worker_columns=WORKER_COLUMNS,
                outbox_columns=OUTBOX_COLUMNS,
                schedule_columns=SCHEDULE_COLUMNS,
                failed_columns=FAILED_COLUMNS,
                outboxes=[_waiting(outbox) for outbox in outboxes],
            )
        )


def _waiting(outbox: workers.OutboxState) -> dict[str, Any]:
    _, what = THINGS.get(outbox.table, ("", outbox.table))
    return line(_OUTBOX_HREFS.get(outbox.table), **vars(outbox), what=what)


def _live() -> dict[str, Any]:
    failed = workers.failed_jobs()
    queues = workers.queues()
    seen = workers.workers()
    listened_to = {worker.queue for worker in seen}
    return {
        "queues": [{"cells": vars(queue)} for queue in queues],
        "unheard": [queue.name for queue in queues if queue.name not in listened_to],
        "workers": [{"cells": {**vars(worker), "name": worker.name[:12]}} for worker in seen],
        "schedule": [{"cells": _scheduled(entry)} for entry in workers.schedule()],
        "failed": [
            {"cells": {**vars(job), "what": job_in_words(job.name), "ids": ", ".join(map(str, job.ids))}}
            for job in failed
        ],
        "most_failed": workers.MOST_FAILED,
        "failed_count": sum(queue.failed for queue in queues),
    }


def _scheduled(entry: workers.Scheduled) -> dict[str, Any]:
    return {
        **vars(entry),
        "what": job_in_words(entry.job),
        "every": _seconds(entry.every_seconds),
        "took": None if entry.seconds is None else _seconds(entry.seconds),
    }


def _seconds(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
