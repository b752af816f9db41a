"""Jobs of Meilisearch; without one they have nothing to do."""

from __future__ import annotations

import logging

from app.errors import Unavailable
from app.queue import answer
from app.search import meilisearch, sending
from jobs import job

log = logging.getLogger(__name__)


@job
def send() -> None:
    """Send what has changed since Meilisearch last heard of it."""
    sending.take_turn()


@job
def send_synonyms() -> None:
    """Have it search with the synonyms as they are; what is in the way is kept for their page, and tried again."""
    if meilisearch.server() is None:
        return
    answer(sending.SYNONYMS_JOB)
    try:
        sending.send_synonyms()
    except Unavailable as error:
        log.warning("Meilisearch was not told of synonyms", extra={"error": error.detail})


@job
def compare() -> None:
    """Have what Meilisearch has lost, or kept too long, put right."""
    if meilisearch.server() is None:
        return
    try:
        sending.compare(mend=True)
    except Unavailable as error:
        log.warning("Meilisearch was not compared with the documents", extra={"error": error.detail})
