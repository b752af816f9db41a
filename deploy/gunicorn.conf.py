"""How the app is served, in the demo and in production alike; docs/decisions/0001-web-server.md says why."""

import gc
import os

worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))  # gunicorn's own variable; about two per core
threads = 1  # waiting for Python's one turn costs more than another process
preload_app = True  # wrong settings end the server with their line, instead of each of its processes for ever
timeout = 30  # of a worker that stopped beating; the database's statement timeout is half of it
graceful_timeout = 20  # for the requests at hand on SIGTERM
keepalive = 5
control_socket_disable = True  # it would be opened in the home folder
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # heartbeats never wait for a disk  # noqa: PTH112, S108
logconfig_dict = {
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.orjson.OrjsonFormatter",
            "fmt": "{asctime}{levelname}{name}{message}",
            "style": "{",
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            "rename_fields": {"asctime": "at", "levelname": "level", "name": "logger"},
        }
    },
    "handlers": {"stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}},
    "root": {"level": "INFO", "handlers": ["stdout"]},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": ["stdout"], "propagate": False},
        "gunicorn.access": {"level": "INFO", "handlers": ["stdout"], "propagate": False},
    },
}


def post_fork(server, worker):  # gunicorn's name for it
    """What was loaded before stays for good: the collector needn't walk it again and again, nor copy its pages."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
