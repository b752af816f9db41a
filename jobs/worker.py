"""A worker: `python -m jobs.worker QUEUE` listens to one queue and forks for each job, with the app loaded before."""

from __future__ import annotations

import sys

from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from app import create_app
from app.config import SettingsError, settings
from app.extensions import db
from app.queue import QUEUES, connect


class ForkingWorker(Worker):
    """RQ's forking worker whose children don't share the parent's database connections."""

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """The child's start."""
        for engine in db.engines.values():
            engine.dispose(close=False)
        super().main_work_horse(job, queue)


def main(arguments: list[str]) -> int:
    """Work until told to stop; 2 for a wrong queue or wrong settings."""
    if len(arguments) != 1 or arguments[0] not in QUEUES:
        print(f"usage: python -m jobs.worker QUEUE, one of {', '.join(QUEUES)}", file=sys.stderr)
        return 2
    try:
        app = create_app()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    with app.app_context():
        redis = connect(settings().redis_url, blocking=True)
        worker = ForkingWorker(
            [Queue(arguments[0], connection=redis, serializer=JSONSerializer)],
            connection=redis,
            serializer=JSONSerializer,
        )
        worker.work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
