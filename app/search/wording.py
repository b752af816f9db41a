"""How the words of a question are understood: as they are, as they were meant, joined, split, or said otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal

from sqlalchemy import Connection, text

from app.spelling import forgiven, slips

# What stands in so many texts that it says nothing; unless nothing else was typed.
STOP_WORDS = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "in", "is", "near", "of", "on", "or", "the", "to", "with")
)
MAX_WORDS = 12
MAX_LETTERS = 40
# Of more words no synonym is looked for.
LONGEST_PHRASE = 4
# Shorter ones begin too many words, or are like too many.
_SHORTEST_PREFIX = 2
_SHORTEST_SLIP = 3
_SHORTEST_PART = 3
_CANDIDATES = 200
_MOST_SPELLINGS = 6
# With fewer than these, words that are known may still have been meant otherwise.
FEW = 5
# What so many have is found as it was typed; of other words also those that begin so, and the plural or singular.
_PLENTY = 200
_LAST_CHARACTER = "\U0010ffff"

_SAME = """
SELECT folded FROM search_synonyms
WHERE folded && CAST(:phrases AS text[]) AND id IS DISTINCT FROM CAST(:without AS bigint)
"""
_LOOK_UP = f"""
SELECT (SELECT json_object_agg(word, documents) FROM search_words WHERE word = ANY(:words)) AS known,
       (SELECT json_agg(folded) FROM ({_SAME}) AS found) AS same,
       (SELECT sum(documents) FROM (SELECT documents FROM search_words
                                    WHERE word >= :begin AND word < :end LIMIT 1000) AS begun) AS begun
"""  # noqa: S608  # nosec B608 - our own constants
_COUNT = """
SELECT (SELECT count(*) FROM (SELECT FROM search_documents WHERE listed AND words @@ CAST(asked.query AS tsquery)
                              LIMIT :most) AS found)
FROM unnest(CAST(:queries AS text[])) WITH ORDINALITY AS asked (query, number) ORDER BY number
"""
_BEGUN = """
SELECT (SELECT coalesce(sum(documents), 0) FROM (SELECT documents FROM search_words
                                                 WHERE word >= asked.word AND word < asked.until LIMIT 1000) AS begun)
FROM unnest(CAST(:words AS text[]), CAST(:ends AS text[])) WITH ORDINALITY AS asked (word, until, number)
ORDER BY number
"""
# Trigrams find what is like a word; how many slips it is away is counted then.
_LIKE = """
SELECT asked.word AS typed, found.word, found.documents FROM unnest(CAST(:words AS text[])) AS asked (word)
CROSS JOIN LATERAL (
    SELECT word, documents FROM search_words
    WHERE word % asked.word AND length(word) BETWEEN length(asked.word) - 2 AND length(asked.word) + 2
    ORDER BY similarity(word, asked.word) DESC LIMIT :most) AS found
"""


# How a form came from what was typed: as it is, what begins so, singular or plural, two words as one, one as two, a
# likely spelling, a synonym.
Why = Literal["typed", "begins", "number", "joined", "split", "spelling", "synonym"]


@dataclass(frozen=True)
class Form:
    """One way to say something: words that follow each other; of the last one perhaps only the beginning. `why` tells
    where it came from, and makes no difference to what it finds.
    """

    words: tuple[str, ...]
    is_prefix: bool = False
    why: Why = field(default="typed", compare=False)

    def __str__(self) -> str:
        return self.of("")

    def of(self, weight: str) -> str:
        """As a tsquery, for words of this weight only, or of any."""
        # Folded words are letters and digits only, so that nothing in them needs escaping.
        marks = [weight] * (len(self.words) - 1) + [f"*{weight}" if self.is_prefix else weight]
        pairs = zip(self.words, marks, strict=True)
        return " <-> ".join(f"'{word}':{mark}" if mark else f"'{word}'" for word, mark in pairs)


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
    """A question's words as they are searched: all `terms` have to be there. `is_hopeless`: nothing is like them."""

    terms: tuple[Term, ...] = ()
    did_you_mean: str | None = None
    is_hopeless: bool = False

    @property
    def query(self) -> str:
        """As a tsquery, empty when there were no words."""
        return " & ".join(map(str, self.terms))

    @property
    def documents(self) -> int:
        """About so many documents fit, at most."""
        return min((term.documents for term in self.terms), default=0)

    def asks(self, word: str) -> bool:
        """Whether a folded word is one of those that are looked for."""
        return word in self._whole or any(word.startswith(begun) for begun in self._begun)

    @cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(word for term in self.terms for form in term.forms for word in form.words)

    @cached_property
    def _begun(self) -> tuple[str, ...]:
        return tuple(form.words[-1] for term in self.terms for form in term.forms if form.is_prefix)


@dataclass(frozen=True)
class SynonymsChange:
    """A group of synonyms as it would be: these words, folded, in place of those of the group `of`, or as a new one.
    Without words, that group would be no more.
    """

    of: int | None
    words: Sequence[str]


def fold(connection: Connection, q: str) -> list[str]:
    """The words of what was typed as the index has them: no case, no accents, nothing but letters and digits."""
    return [word[:MAX_LETTERS] for word in fold_phrase(connection, q).split()[:MAX_WORDS]]


def telling(words: Sequence[str]) -> list[str]:
    """Those of folded words that say something, each once; all where none does."""
    each = list(dict.fromkeys(words))
    return [word for word in each if word not in STOP_WORDS] or each


def fold_phrase(connection: Connection, phrase: str) -> str:
    """The same as one string, a blank between words."""
    folded: str = connection.scalar(text("SELECT search_fold(:phrase)"), {"phrase": phrase}) or ""
    return folded


def begun(connection: Connection, words: Sequence[str]) -> list[int]:
    """For each folded word how many documents about have one that begins like it, at most."""
    ends = [word + _LAST_CHARACTER for word in words]
    return list(connection.scalars(text(_BEGUN), {"words": list(words), "ends": ends}))


def understand(connection: Connection, q: str, change: SynonymsChange | None = None) -> Wording:
    """What was meant by `q`, by the vocabulary and by what is found; with a `change`, as if synonyms were changed so.

    Words nobody knows are taken for those they are like; so are known ones when all together find little; then the
    least telling one is left out, or more.
    """
    typed = list(dict.fromkeys(fold(connection, q)))
    if not typed:
        return Wording()
    vocabulary = _Vocabulary(connection, typed, change, ends_whole=q[-1:].isspace())
    terms = list(vocabulary.terms())
    unknown = [term.typed for term in terms if not term.forms]
    if unknown:
        like = _spellings(connection, unknown)
        vocabulary.learn_synonyms_of(like)
        terms = [term if term.forms else vocabulary.spelt(term, like[term.typed]) for term in terms]
    known = tuple(term for term in terms if term.forms)
    if not known:
        return Wording(is_hopeless=True)
    wording = Wording(known)
    # One word that many have is most of what is asked, and needs no second thought.
    if len(known) > 1 or known[0].documents < FEW:
        wording = _thought_over(connection, wording, vocabulary)
    is_other = any(term.meant != term.typed for term in wording.terms)
    return replace(wording, did_you_mean=" ".join(term.meant for term in wording.terms) if is_other else None)


class _Vocabulary:
    """What is known of the words that were typed, of what they make together, and of what they are made of."""

    def __init__(
        self, connection: Connection, typed: Sequence[str], change: SynonymsChange | None, *, ends_whole: bool
    ) -> None:
        self.connection, self.typed, self.change = connection, typed, change
        telling = [place for place, word in enumerate(typed) if word not in STOP_WORDS]
        # Where each of the words stands among all that were typed.
        self.places: Sequence[int] = telling or range(len(typed))
        self.words = words = [typed[place] for place in self.places]
        self.begun_word = "" if ends_whole or len(words[-1]) < _SHORTEST_PREFIX else words[-1]
        numbers = [other for word in words for other in _of_other_number(word)]
        joined = [one + other for one, other in pairwise(words)]
        parts = [part for word in words for pair in _splits(word) for part in pair]
        phrases = [phrase for number in range(len(words)) for phrase in self._phrases(number)]
        row = connection.execute(
            text(_LOOK_UP),
            {
                "words": [*words, *numbers, *joined, *parts],
                "phrases": phrases,
                "without": change.of if change else None,
                "begin": self.begun_word,
                "end": self.begun_word + _LAST_CHARACTER if self.begun_word else "",
            },
        ).one()
        self.known: dict[str, int] = row.known or {}
        self.same: list[Sequence[str]] = [*(row.same or ()), *self._changed(phrases)]
        self.begun: int = row.begun or 0

    def learn_synonyms_of(self, like: Mapping[str, Sequence[tuple[str, int]]]) -> None:
        """Know what means the same as the likeliest words that were meant, too."""
        words = [spellings[0][0] for spellings in like.values() if spellings]
        if words:
            without = self.change.of if self.change else None
            found = self.connection.scalars(text(_SAME), {"phrases": words, "without": without})
            self.same += [*found, *self._changed(words)]

    def terms(self) -> Iterator[Term]:
        """A term for each word; without any form for those that nothing is known of."""
        for number, word in enumerate(self.words):
            forms: dict[Form, int] = {}
            if word in self.known:
                forms[Form((word,))] = self.known[word]
            if self.known.get(word, 0) < _PLENTY:
                if number == len(self.words) - 1 and word == self.begun_word and self.begun:
                    forms[Form((word,), is_prefix=True, why="begins")] = self.begun
                for other in _of_other_number(word):
                    if other in self.known:
                        forms[Form((other,), why="number")] = self.known[other]
            for joined in (self._joined(number - 1), self._joined(number)):
                if joined in self.known:
                    forms[Form((joined,), why="joined")] = self.known[joined]
            parts = [pair for pair in _splits(word) if pair[0] in self.known and pair[1] in self.known]
            if parts:
                best = max(parts, key=lambda pair: min(self.known[part] for part in pair))
                forms[Form(best, why="split")] = min(self.known[part] for part in best)
            # Nobody may have written the word: that is what some synonyms are for.
            same = self._same_as(self._phrases(number))
            if forms or same:
                forms = dict.fromkeys(same, 0) | forms
                forms = {form: forms[form] for form in sorted(forms, key=lambda form: forms[form] == 0)}
            yield Term(word, word, tuple(forms), sum(forms.values()))

    def spelt(self, term: Term, like: Sequence[tuple[str, int]]) -> Term:
        """The term, found as well by words that it may have been meant as, the likeliest first."""
        if not like:
            return term
        likeliest = like[0][0]
        forms = dict.fromkeys(
            [*term.forms, *(Form((word,), why="spelling") for word, _ in like), *self._same_as([likeliest])]
        )
        meant = term.meant if term.forms else likeliest
        return Term(term.typed, meant, tuple(forms), term.documents + sum(documents for _, documents in like))

    def _joined(self, number: int) -> str:
        return "".join(self.words[number : number + 2]) if 0 <= number < len(self.words) - 1 else ""

    def _phrases(self, number: int) -> list[str]:
        """The word here, alone and together with those beside it as they were typed."""
        place, length = self.places[number], len(self.typed)
        spans = [
            (i, j) for i in range(length) for j in range(i + 1, i + LONGEST_PHRASE + 1) if i <= place < j <= length
        ]
        return [" ".join(self.typed[i:j]) for i, j in spans]

    def _changed(self, phrases: Sequence[str]) -> list[Sequence[str]]:
        """The words of the change, where these are some of them."""
        words = self.change.words if self.change else ()
        return [words] if set(words) & set(phrases) else []

    def _same_as(self, phrases: Sequence[str]) -> list[Form]:
        return [
            Form(tuple(other.split()), why="synonym")
            for group in self.same
            if set(group) & set(phrases)
            for other in group
            if other not in phrases and other.split()
        ]


def _of_other_number(word: str) -> tuple[str, ...]:
    """The plural of the word, or what it is the plural of, as far as an s tells."""
    return (f"{word}s", word[:-1]) if word.endswith("s") else (f"{word}s",)


def _splits(word: str) -> Iterator[tuple[str, str]]:
    """The word as two."""
    return ((word[:n], word[n:]) for n in range(_SHORTEST_PART, len(word) - _SHORTEST_PART + 1))


def _spellings(connection: Connection, words: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """For each word those known ones that it may have been meant as, with their documents: as few slips away as any."""
    asked = [word for word in words if len(word) >= _SHORTEST_SLIP]
    rows = connection.execute(text(_LIKE), {"words": asked, "most": _CANDIDATES}).all() if asked else ()
    found: dict[str, list[tuple[int, int, str]]] = {word: [] for word in words}
    for row in rows:
        apart = slips(row.typed, row.word)
        if 0 < apart <= forgiven(row.typed):
            found[row.typed].append((apart, -row.documents, row.word))
    return {
        word: [(other, -documents) for apart, documents, other in sorted(like) if apart == min(like)[0]][
            :_MOST_SPELLINGS
        ]
        for word, like in found.items()
    }


def _thought_over(connection: Connection, wording: Wording, vocabulary: _Vocabulary) -> Wording:
    """The wording, made wider or shorter where it finds little."""
    (found,) = _count(connection, [wording], FEW)
    if found >= FEW:
        return wording
    like = _spellings(connection, [term.typed for term in wording.terms if term.meant == term.typed])
    vocabulary.learn_synonyms_of(like)
    wider = Wording(tuple(vocabulary.spelt(term, like.get(term.typed, ())) for term in wording.terms))
    if wider != wording:
        (found_wider,) = _count(connection, [wider], FEW)
        if found_wider and not found:
            return _meant(connection, wording, wider)
        if found_wider > found:
            return wider
    return wording if found else _shortened(connection, wording)


def _meant(connection: Connection, wording: Wording, wider: Wording) -> Wording:
    """The wider wording, saying which one word, had it been another, would have found something."""
    others = []
    for number, (term, before) in enumerate(zip(wider.terms, wording.terms, strict=True)):
        for form in term.forms[len(before.forms) :]:
            forms = (form, *(other for other in term.forms if other != form))
            meant = replace(term, meant=" ".join(form.words), forms=forms)
            others.append((number, meant, replace(before, forms=(form,))))
    tried = [Wording((*wording.terms[:number], one, *wording.terms[number + 1 :])) for number, _, one in others]
    for (number, meant, _), found in zip(others, _count(connection, tried, 1), strict=True):
        if found:
            return Wording((*wider.terms[:number], meant, *wider.terms[number + 1 :]))
    return wider


def _shortened(connection: Connection, wording: Wording) -> Wording:
    """The wording without one of its terms, the most common one that leaves something to be found; or else with as many
    of the rarest as find something together.
    """
    rarest = sorted(wording.terms, key=lambda term: term.documents)
    kept = [[other for other in wording.terms if other is not term] for term in reversed(rarest)]
    kept += [[term for term in wording.terms if term in rarest[:most]] for most in range(len(rarest) - 2, 0, -1)]
    left = [Wording(tuple(terms)) for terms in kept if terms]
    return next((one for one, found in zip(left, _count(connection, left, 1), strict=True) if found), wording)


def _count(connection: Connection, wordings: Sequence[Wording], most: int) -> list[int]:
    """How many listed documents each of these finds, at most `most`."""
    queries = [wording.query for wording in wordings]
    return list(connection.scalars(text(_COUNT), {"queries": queries, "most": most}))
