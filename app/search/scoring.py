"""How well a document fits the words, as SQL: what its name says counts most, then its place, then all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import Any, Literal

from app.search.wording import Form, Wording

# A word that was typed; one that was not, but is like it or means the same; its place; anywhere else.
_IN_NAME, _OTHERWISE_IN_NAME, _IN_PLACE, _ELSEWHERE = 1.0, 0.7, 0.5, 0.1
_IN_THIS_ORDER = 1.0
# Among those that fit alike: what many have reviewed, and a name that says little else.
_REVIEWED, _LONG_NAME = "float8 '0.01' * ln(1 + d.reviews)", "-float8 '0.001' * length(d.name)"


@dataclass(frozen=True)
class ScorePart:
    """One of the numbers that a score is the sum of, and what it is about: a term as it was typed, or nothing typed."""

    about: Literal["reviews", "name", "term", "order"]
    sql: str
    typed: str = ""


def score(wording: Wording) -> tuple[str, dict[str, Any]]:
    """The score of `search_documents d`, and its parameters: for each term where it stands, the rarer the more."""
    found, parameters = parts(wording)
    return " + ".join(part.sql for part in found), parameters


def parts(wording: Wording) -> tuple[list[ScorePart], dict[str, Any]]:
    """The same as the numbers that it is the sum of."""
    found = [ScorePart("reviews", _REVIEWED), ScorePart("name", _LONG_NAME)]
    parameters: dict[str, Any] = {}
    for number, term in enumerate(wording.terms):
        typed, others, place = f"typed_{number}", f"others_{number}", f"place_{number}"
        parameters |= {typed: _any(term.forms[:1], "A"), place: _any(term.forms, "B")}
        named_otherwise = ""
        weight = 1 + 4 / log(10 + term.documents)
        if len(term.forms) > 1:
            parameters[others] = _any(term.forms[1:], "A")
            named_otherwise = f"WHEN {_title_has(others)} THEN {_number(weight * _OTHERWISE_IN_NAME)} "
        sql = (
            f"CASE WHEN {_title_has(typed)} THEN {_number(weight * _IN_NAME)} {named_otherwise}"
            f"WHEN {_title_has(place)} THEN {_number(weight * _IN_PLACE)} ELSE {_number(weight * _ELSEWHERE)} END"
        )
        found.append(ScorePart("term", sql, term.typed))
    if len(wording.terms) > 1:
        parameters["phrase"] = " <-> ".join(term.forms[0].of("A") for term in wording.terms)
        in_order = f"CASE WHEN {_title_has('phrase')} THEN {_number(_IN_THIS_ORDER)} ELSE {_number(0)} END"
        found.append(ScorePart("order", in_order))
    return found, parameters


def _title_has(parameter: str) -> str:
    return f"d.title @@ CAST(:{parameter} AS tsquery)"


def _number(value: float) -> str:
    # Left to itself, PostgreSQL calculates with decimals, digit by digit.
    return f"float8 '{value:.4f}'"


def _any(forms: Iterable[Form], weight: str) -> str:
    return " | ".join(f"({form.of(weight)})" for form in forms)
