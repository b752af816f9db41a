"""What the staff's box finds as travellers would: packages and their providers, by words with slips and accents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text

from app.extensions import db
from app.search import service, wording
from app.search.engine import Question

# A provider's name may stand behind packages that have the words elsewhere.
_LOOKED_AT = 30
_HAVING = """
SELECT package_id, provider_id, words @@ CAST(:typed AS tsquery) AS has_words,
       to_tsvector('tripdesk', search_fold(provider)) @@ CAST(:typed AS tsquery) AS is_sellers_name,
       to_tsvector('tripdesk', search_fold(provider)) @@ CAST(:meant AS tsquery) AS may_be_sellers_name
FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS hit (package_id, place)
JOIN search_documents USING (package_id) ORDER BY place
"""


@dataclass(frozen=True)
class Found:
    """Ids of packages and providers, the likeliest first."""

    packages: Sequence[int] = field(default=())
    providers: Sequence[int] = field(default=())


def look_up(q: str) -> tuple[Found, Found]:
    """What has all the words, or words that begin like them, and beside it what may have been meant. Only what is on
    sale is found. Nothing may have been read in a transaction before: the engine may be on the network. Raises Busy,
    Unavailable.
    """
    answer = service.first(Question(q, per_page=_LOOKED_AT))
    if not answer.hits:
        return Found(), Found()
    connection = db.session.connection()
    typed = wording.telling(wording.fold(connection, q))
    meant = wording.telling(wording.fold(connection, answer.did_you_mean or q))
    rows = connection.execute(
        text(_HAVING),
        {"ids": [hit.id for hit in answer.hits], "typed": _all_begun(typed), "meant": _all_begun(meant)},
    ).all()
    exact = Found(
        [row.package_id for row in rows if row.has_words],
        list(dict.fromkeys(row.provider_id for row in rows if row.is_sellers_name)),
    )
    if exact.packages:
        return exact, exact
    # Where a word had to be left out, it is not what was meant.
    if len(wording.understand(connection, q).terms) < len(typed):
        return exact, Found()
    return exact, Found(
        [row.package_id for row in rows],
        list(dict.fromkeys(row.provider_id for row in rows if row.may_be_sellers_name)),
    )


def _all_begun(words: Sequence[str]) -> str:
    return " & ".join(str(wording.Form((word,), is_prefix=True)) for word in words)
