"""Several calls at the same moment, each in a thread and on a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask import Flask

from app.extensions import db


def at_once(app: Flask, *calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised, in the order of the calls."""
    outcomes: list[Any] = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(place: int, call: Callable[[], Any]) -> None:
        with app.app_context():
            start.wait(10)
            try:
                outcomes[place] = call()
            except Exception as error:  # noqa: BLE001  (it is the outcome)
                outcomes[place] = error
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(place, call)) for place, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes
