"""Why PostgreSQL's engine ranks a package where it does: the numbers that add up to its score, and its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text

from app.search import scoring, wording
from app.search.engine import Explanation, Question, Reason, Understood
from app.search.scoring import ScorePart
from app.search.wording import Form, Term, Wording

# As `document.py` weighs them.
_PLACES = {"A": "in the name", "B": "in the place", "C": "in provider or amenities", "D": "in the description"}
_WHY = {
    "typed": "as typed",
    "begins": "begins so",
    "number": "singular or plural",
    "joined": "written as one word",
    "split": "written as two words",
    "spelling": "spelling",
    "synonym": "synonym",
}
_MATCHES = """
SELECT d.package_id, asked.term, asked.form, asked.weight
FROM search_documents d
CROSS JOIN unnest(
    CAST(:terms AS integer[]), CAST(:forms AS integer[]), CAST(:weights AS text[]), CAST(:queries AS text[])
) AS asked (term, form, weight, query)
WHERE d.package_id = ANY(CAST(:ids AS bigint[])) AND d.words @@ CAST(asked.query AS tsquery)
"""


def explain(connection: Connection, question: Question, ids: Sequence[int], *, popularity: str) -> Explanation:
    """Of these packages; `popularity` is the SQL of what counts where there are no words, or another order."""
    words = wording.understand(connection, question.q)
    understood = list(_understood(connection, question.q, words))
    if not words.terms or question.sort != "relevance":
        values = _values(connection, [popularity], {}, ids)
        reasons = {
            package_id: [Reason("Popularity", "stars, and how many gave them", value)]
            for package_id, (value,) in values.items()
        }
        return Explanation(understood, reasons, are_summed=True)
    parts, parameters = scoring.parts(words)
    values = _values(connection, [part.sql for part in parts], parameters, ids)
    matches = _matches(connection, words, ids)
    terms = {term.typed: number for number, term in enumerate(words.terms)}
    return Explanation(
        understood,
        {
            package_id: [
                _reason(part, value, matches.get((package_id, terms.get(part.typed, -1)), ""))
                for part, value in zip(parts, row, strict=True)
            ]
            for package_id, row in values.items()
        },
        are_summed=True,
    )


def _understood(connection: Connection, q: str, words: Wording) -> Iterator[Understood]:
    terms = {term.typed: term for term in words.terms}
    for typed in dict.fromkeys(wording.fold(connection, q)):
        term = terms.get(typed)
        if term is None:
            yield Understood(typed, left_out=_why_left_out(typed, words))
        else:
            yield Understood(typed, [(_said(form), _WHY[form.why]) for form in term.forms], term.documents)


def _why_left_out(typed: str, words: Wording) -> str:
    if words.is_hopeless:
        return "nothing is like it"
    return "it says too little" if typed in wording.STOP_WORDS else "with it, nothing would be found"


def _said(form: Form) -> str:
    return " ".join(form.words) + ("…" if form.is_prefix else "")


def _values(
    connection: Connection, columns: Sequence[str], parameters: dict[str, Any], ids: Sequence[int]
) -> dict[int, tuple[float, ...]]:
    shown = ", ".join(f"{sql} AS value_{number}" for number, sql in enumerate(columns))
    sql = f"SELECT d.package_id, {shown} FROM search_documents d WHERE d.package_id = ANY(CAST(:ids AS bigint[]))"  # noqa: S608  # nosec B608 - our own expressions
    rows = connection.execute(text(sql), {**parameters, "ids": list(ids)})
    return {package_id: tuple(values) for package_id, *values in rows}


def _matches(connection: Connection, words: Wording, ids: Sequence[int]) -> dict[tuple[int, int], str]:
    """For each package and term where it stands there, and in which form: what counts most of it, in words."""
    asked = [
        (number, place, weight, form.of(weight))
        for number, term in enumerate(words.terms)
        for place, form in enumerate(term.forms)
        for weight in _PLACES
    ]
    terms, forms, weights, queries = (list(column) for column in zip(*asked, strict=True))
    rows = connection.execute(
        text(_MATCHES), {"terms": terms, "forms": forms, "weights": weights, "queries": queries, "ids": list(ids)}
    )
    found: dict[tuple[int, int], str] = {}
    for row in sorted(rows, key=lambda row: (row.weight, row.form)):
        found.setdefault((row.package_id, row.term), _match(words.terms[row.term], row.form, row.weight))
    return found


def _match(term: Term, form: int, weight: str) -> str:
    said = term.forms[form]
    how = "" if said.why == "typed" else f" ({_WHY[said.why]})"
    return f"“{_said(said)}”{how} {_PLACES[weight]}"


def _reason(part: ScorePart, value: float, match: str) -> Reason:
    if part.about == "term":
        return Reason(f"“{part.typed}”", match, value)
    about, found = {
        "reviews": ("Reviews", "how many there are"),
        "name": ("Length of the name", "what says little else comes first"),
        "order": ("The words in this order", "in the name" if value else "not in the name"),
    }[part.about]
    return Reason(about, found, value)
