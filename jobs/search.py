"""Jobs that keep search in step with the catalogue."""

from __future__ import annotations

from app.catalog import changes
from app.queue import answer
from app.search import indexing
from jobs import job


@job
def index() -> None:
    """Take up what has changed; where there is more than a turn's worth, another one follows behind others' jobs."""
    answer(changes.INDEX)
    if indexing.index_changes():
        changes.ask()


@job
def count_words() -> None:
    """Put right in how many documents each word is."""
    indexing.count_words()
