"""A worker whose disk never gets done: the file that it writes stays half written until the worker is killed."""

from __future__ import annotations

import os
import sys
import time

from jobs.worker import main


def _never_done(_handle: int) -> None:
    time.sleep(3_600)


if __name__ == "__main__":
    os.fsync = _never_done
    sys.exit(main(sys.argv[1:]))
