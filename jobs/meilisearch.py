"""Jobs of Meilisearch; without one they have nothing to do."""

from __future__ import annotations

from app.search import meilisearch, sending
from jobs import job


@job
def send() -> None:
    """Send what has changed since Meilisearch last heard of it."""
    sending.send()


@job
def compare() -> None:
    """Have what Meilisearch lost or kept too long put right."""
    if meilisearch.server() is not None:
        sending.compare(mend=True)
