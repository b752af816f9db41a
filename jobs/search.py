"""Jobs that keep search in step with the catalogue."""

from __future__ import annotations

from app.catalog import changes
from app.errors import Unavailable
from app.queue import answer, note_failure
from app.search import indexing, rebuilding, searches
from app.search.models import IndexRebuild
from jobs import due, job


@job
def index() -> None:
    """Take up what has changed; where there is more than a turn's worth, another one follows behind others' jobs."""
    answer(changes.INDEX)
    if indexing.index_changes():
        changes.ask()


@job
def compare() -> None:
    """Write what differs among some documents though no change told of it."""
    indexing.compare_some()


@job
def count_words() -> None:
    """Put right in how many documents each word is."""
    indexing.count_words()


@job
def keep_searches() -> None:
    """Keep what the public has searched for, as the processes that answered have counted it."""
    searches.keep()


@job
def forget_searches() -> None:
    """Forget what was searched for long ago."""
    searches.forget_old()


@job
def rebuild(rebuild_id: int) -> None:
    """Go on with making the index anew."""
    if due(IndexRebuild, rebuild_id) is None:
        return
    try:
        rebuilding.go_on(rebuild_id)
    except Unavailable as error:
        note_failure(IndexRebuild, rebuild_id, error.detail, give_up=rebuilding.fail)
