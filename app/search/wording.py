"""How the words of a question are understood: as they are, as they were meant, joined, split, or said otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from sqlalchemy import text

from app.extensions import db
from app.spelling import forgiven, slips

# What stands in so many texts that it says nothing; unless nothing else was typed.
STOP_WORDS = frozenset("a an and at by for from in is near of on or the to with".split())
MAX_WORDS = 12
_MAX_LETTERS = 40
# Shorter ones begin too many words, or are like too many.
_SHORTEST_PREFIX = 2
_SHORTEST_SLIP = 3
_SHORTEST_PART = 3
_LIKE_ENOUGH = 0.15
_CANDIDATES = 200
_MOST_SPELLINGS = 6
# With fewer than these, words that are known may still have been meant otherwise.
_FEW = 5
_MOST_DROPPED = 3
_LAST_CHARACTER = "\U0010ffff"

_LOOK_UP = """
SELECT (SELECT json_object_agg(word, documents) FROM search_words WHERE word = ANY(:words)) AS known,
       (SELECT json_agg(words) FROM search_synonyms WHERE words && CAST(:phrases AS text[])) AS same,
       (SELECT sum(documents) FROM (SELECT documents FROM search_words
                                    WHERE word >= :begin AND word < :end LIMIT 1000) AS begun) AS begun
"""
# Trigrams find what is like a word; how many slips it is away is counted then.
_LIKE = """
SELECT asked.word AS typed, found.word, found.documents FROM unnest(CAST(:words AS text[])) AS asked (word)
CROSS JOIN LATERAL (
    SELECT word, documents FROM search_words WHERE word % asked.word
    ORDER BY similarity(word, asked.word) DESC LIMIT :most) AS found
"""


@dataclass(frozen=True)
class Form:
    """One way to say something: words that follow each other; of the last one perhaps only the beginning."""

    words: tuple[str, ...]
    is_prefix: bool = False

    def __str__(self) -> str:
        # Folded words are letters and digits only, so that nothing in them needs escaping.
        return " <-> ".join(f"'{word}'" for word in self.words) + (":*" if self.is_prefix else "")


@dataclass(frozen=True)
class Term:
    """One thing that is asked for, in any of its forms; `documents` says about how many have it."""

    typed: str
    meant: str
    forms: tuple[Form, ...]
    documents: int

    def __str__(self) -> str:
        return "(" + " | ".join(f"({form})" for form in self.forms) + ")"


@dataclass(frozen=True)
class Wording:
    """A question's words as they are searched: all `terms` have to be there. `is_hopeless` when nothing is like them."""

    terms: tuple[Term, ...] = ()
    did_you_mean: str | None = None
    is_hopeless: bool = False

    @property
    def query(self) -> str:
        """As a tsquery, empty when there were no words."""
        return " & ".join(map(str, self.terms))

    @property
    def exact(self) -> str:
        """The same in its first forms only: what fits this fits best."""
        return " & ".join(f"({term.forms[0]})" for term in self.terms)

    @property
    def documents(self) -> int:
        """At most about so many documents fit."""
        return min((term.documents for term in self.terms), default=0)


def fold(q: str) -> list[str]:
    """The words of what was typed as the index has them: no case, no accents, nothing but letters and digits."""
    folded: str = db.session.scalar(text("SELECT search_fold(:q)"), {"q": q}) or ""
    return [word[:_MAX_LETTERS] for word in folded.split()[:MAX_WORDS]]


def understand(q: str, count: Callable[[str, int], int]) -> Wording:
    """What was meant by `q`, by the vocabulary and by what is found.

    `count(query, most)` says how many documents a tsquery finds, at most `most`. Words nobody knows are taken for those
    they are like; so are known ones when all together find little; then the least telling are dropped, fewest first.
    """
    words = fold(q)
    words = [word for word in words if word not in STOP_WORDS] or words
    if not words:
        return Wording()
    vocabulary = _Vocabulary(words, ends_whole=q[-1:].isspace())
    terms = list(vocabulary.terms())
    unknown = [term.typed for term in terms if not term.forms]
    if unknown:
        like = _spellings(unknown)
        terms = [term if term.forms else vocabulary.spelt(term, like[term.typed]) for term in terms]
    known = tuple(term for term in terms if term.forms)
    if not known:
        return Wording(is_hopeless=True)
    wording = Wording(known)
    if len(known) == 1 and known[0].documents >= _FEW and not unknown:
        return wording  # as most are
    found = count(wording.query, _FEW)
    if found < _FEW:
        wording, found = _widened(wording, vocabulary, found, count)
    if not found:
        wording = _shortened(wording, count)
    meant = " ".join(term.meant for term in wording.terms)
    is_other = any(term.meant != term.typed for term in wording.terms)
    return replace(wording, did_you_mean=meant if is_other else None)


class _Vocabulary:
    """What is known of the words that were typed, of what they make together, and of what they are made of."""

    def __init__(self, words: Sequence[str], *, ends_whole: bool) -> None:
        self.words = words
        self.begun_word = "" if ends_whole or len(words[-1]) < _SHORTEST_PREFIX else words[-1]
        joined = [one + other for one, other in zip(words, words[1:], strict=False)]
        parts = [part for word in words for pair in _splits(word) for part in pair]
        row = db.session.execute(
            text(_LOOK_UP),
            {
                "words": [*words, *joined, *parts],
                "phrases": [" ".join(words[i:j]) for i, j in _spans(len(words))],
                "begin": self.begun_word,
                "end": self.begun_word + _LAST_CHARACTER if self.begun_word else "",
            },
        ).one()
        self.known: dict[str, int] = row.known or {}
        self.same: list[list[str]] = row.same or []
        self.begun: int = row.begun or 0

    def terms(self) -> Iterator[Term]:
        """A term for each word; without any form for those that nothing is known of."""
        for number, word in enumerate(self.words):
            forms: dict[Form, int] = {}
            if word in self.known:
                forms[Form((word,))] = self.known[word]
            if word == self.begun_word and number == len(self.words) - 1 and self.begun:
                forms[Form((word,), is_prefix=True)] = self.begun
            for joined in (self._joined(number - 1), self._joined(number)):
                if joined in self.known:
                    forms[Form((joined,))] = self.known[joined]
            parts = [pair for pair in _splits(word) if pair[0] in self.known and pair[1] in self.known]
            if parts:
                best = max(parts, key=lambda pair: min(self.known[part] for part in pair))
                forms[Form(best)] = min(self.known[part] for part in best)
            for same in self._said_otherwise(number):
                forms.setdefault(Form(same), 0)
            yield Term(word, word, tuple(forms), sum(forms.values()))

    def spelt(self, term: Term, like: Sequence[tuple[str, int]]) -> Term:
        """The term, found as well by words that it may have been meant as, the likeliest first."""
        if not like:
            return term
        forms = dict.fromkeys([*term.forms, *(Form((word,)) for word, _ in like)])
        for same in _synonyms([like[0][0]], self._groups_of(like[0][0])):
            forms.setdefault(Form(same))
        meant = term.meant if term.forms else like[0][0]
        return Term(term.typed, meant, tuple(forms), term.documents + sum(documents for _, documents in like))

    def _joined(self, number: int) -> str:
        return "".join(self.words[number : number + 2]) if 0 <= number < len(self.words) - 1 else ""

    def _said_otherwise(self, number: int) -> list[tuple[str, ...]]:
        """What means the same as the words here, alone or together with those beside them."""
        spans = [(i, j) for i, j in _spans(len(self.words)) if i <= number < j]
        return _synonyms([" ".join(self.words[i:j]) for i, j in spans], self.same)

    def _groups_of(self, word: str) -> list[list[str]]:
        sql = "SELECT words FROM search_synonyms WHERE words && ARRAY[CAST(:word AS text)]"
        return list(db.session.scalars(text(sql), {"word": word}))


def _synonyms(phrases: Sequence[str], groups: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [
        tuple(other.split())
        for group in groups
        if set(group) & set(phrases)
        for other in group
        if other not in phrases and other.split()
    ]


def _spans(length: int) -> Iterator[tuple[int, int]]:
    """One to three words that follow each other."""
    return ((i, j) for i in range(length) for j in range(i + 1, min(i + 3, length) + 1))


def _splits(word: str) -> Iterator[tuple[str, str]]:
    """The word as two."""
    return ((word[:n], word[n:]) for n in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1))


def _spellings(words: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """For each word those known ones that it may have been meant as, with their documents: as few slips away as any."""
    asked = [word for word in words if len(word) >= _SHORTEST_SLIP]
    rows: Sequence[Any] = []
    if asked:
        rows = db.session.execute(text(_LIKE), {"words": asked, "most": _CANDIDATES}).all()
    found: dict[str, list[tuple[int, int, str]]] = {word: [] for word in words}
    for row in rows:
        apart = slips(row.typed, row.word)
        if 0 < apart <= forgiven(row.typed):
            found[row.typed].append((apart, -row.documents, row.word))
    return {
        word: [(other, -documents) for apart, documents, other in sorted(like) if apart == min(like)[0]][:_MOST_SPELLINGS]
        for word, like in found.items()
    }


def _widened(
    wording: Wording, vocabulary: _Vocabulary, found: int, count: Callable[[str, int], int]
) -> tuple[Wording, int]:
    """The wording with every known word found by its like as well, should that find more; and how much."""
    like = _spellings([term.typed for term in wording.terms if term.meant == term.typed])
    terms = tuple(vocabulary.spelt(term, like.get(term.typed, ())) for term in wording.terms)
    if terms == wording.terms:
        return wording, found
    wider = Wording(terms)
    found_more = count(wider.query, _FEW)
    if found_more <= found:
        return wording, found
    if not found:
        # What was typed is nowhere: the first that is like it was meant.
        wider = _meant_otherwise(wider, wording, count)
    return wider, found_more


def _meant_otherwise(wider: Wording, wording: Wording, count: Callable[[str, int], int]) -> Wording:
    """The wider wording, saying which one word has to be another for the others to be found."""
    for number, (term, before) in enumerate(zip(wider.terms, wording.terms, strict=True)):
        added = [form for form in term.forms if form not in before.forms]
        for form in added:
            other = replace(term, meant=" ".join(form.words), forms=(form,))
            terms = (*wording.terms[:number], other, *wording.terms[number + 1 :])
            if count(Wording(terms).query, 1):
                forms = (form, *(one for one in term.forms if one != form))
                told = replace(term, meant=other.meant, forms=forms)
                return Wording((*wider.terms[:number], told, *wider.terms[number + 1 :]))
    return wider


def _shortened(wording: Wording, count: Callable[[str, int], int]) -> Wording:
    """The wording without as few of its terms as it takes to find something, first those that most documents have."""
    order = sorted(range(len(wording.terms)), key=lambda number: -wording.terms[number].documents)
    for dropped in range(1, min(_MOST_DROPPED, len(order) - 1) + 1):
        for without in combinations(order, dropped):
            left = Wording(tuple(term for number, term in enumerate(wording.terms) if number not in without))
            if count(left.query, 1):
                return left
    rarest = min(wording.terms, key=lambda term: term.documents)
    return Wording((rarest,))
