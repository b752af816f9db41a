"""A worker: `python -m jobs.worker QUEUE` listens to one queue and runs its jobs one after the other, in-process."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer

import jobs
from app import create_app
from app.config import SettingsError, settings
from app.queue import QUEUES, connect

# Loaded before the first job, so that one that doesn't import stops the start, not the job.
MODULES = [import_module(f"jobs.{found.name}") for found in iter_modules(jobs.__path__) if found.name != "worker"]


def main(arguments: list[str]) -> int:
    """Work until told to stop; 1 when there is no Redis to begin with, 2 for a wrong queue or wrong settings."""
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
        try:
            redis.ping()
        except RedisError as error:
            print(f"REDIS_URL: no Redis answers there ({error}). Start it, or correct the setting.", file=sys.stderr)
            return 1
        queue = Queue(arguments[0], connection=redis, serializer=JSONSerializer)
        SimpleWorker([queue], connection=redis, serializer=JSONSerializer).work(logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
