"""What an open page asks for again and again (static/live.js): how much waits in each queue, which the menu shows, and
whether what the page shows of one has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from flask import Response, jsonify, request
from sqlalchemy import func, select

from app.console.base import MAX_ID, Page
from app.console.queue import QueueView
from app.db import read
from app.errors import Invalid, NotFound
from app.extensions import db

# Counting goes no further: nobody decides anything by how many more it are.
_COUNTED = 999


def depths(pages: Sequence[Page]) -> dict[str, str]:
    """How much waits in each of the queues among these pages, by endpoint; nothing where none does."""
    queues = tuple(page for page in pages if isinstance(page, QueueView))
    if not queues:
        return {}
    (counts,) = read(_counting(queues))
    return {queue.endpoint: _in_words(count) for queue, count in zip(queues, counts, strict=True)}


@lru_cache(maxsize=64)
def _counting(queues: tuple[QueueView, ...]) -> str:
    # Every page of everybody counts these: written once for those who may open the same ones.
    counts = [
        select(func.count()).select_from(queue.waits().limit(_COUNTED + 1).subquery()).scalar_subquery()
        for queue in queues
    ]
    named = [count.label(queue.endpoint) for queue, count in zip(queues, counts, strict=True)]
    return str(select(*named).compile(dialect=db.engine.dialect, compile_kwargs={"literal_binds": True}))


def _in_words(count: int) -> str:
    return f"{_COUNTED}+" if count > _COUNTED else str(count or "")


def answer(pages: Sequence[Page]) -> Response:
    """`depths` of the queues among these pages; and of the `queue` whose items of these `id` the page shows, their
    `mark`. 304 while both are what they were when it asked last.

    Raises NotFound for another queue, Invalid for what is no list of ids.
    """
    found = jsonify(depths=depths(pages), mark=_mark(pages))
    found.add_etag()
    found.make_conditional(request)
    return found


def _mark(pages: Sequence[Page]) -> str | None:
    endpoint = request.args.get("queue")
    if endpoint is None:
        return None
    queue = next((page for page in pages if isinstance(page, QueueView) and page.endpoint == endpoint), None)
    if queue is None:
        raise NotFound(f"There is no queue {endpoint} that you may open.")
    ids = request.args.getlist("id")
    if len(ids) > queue.page_size or not all(
        value.isascii() and value.isdigit() and int(value) <= MAX_ID for value in ids
    ):
        raise Invalid.field("id", f"Give the ids of at most {queue.page_size} items.")
    return queue.mark([int(value) for value in ids])
