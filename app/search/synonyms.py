"""Verbs of synonyms: groups of words that mean the same, made, changed and deleted by admins; and what a change of them
would do to searches, before anybody saves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select, text

from app.advisory_locks import AdvisoryLock
from app.audit import edits, meanwhile
from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.edits import Editable, Fields
from app.db import after_commit, lock, transaction, utcnow
from app.errors import Invalid
from app.extensions import db
from app.search import sending
from app.search.engine import Answer, Question
from app.search.models import SearchSynonyms
from app.search.postgres import PostgresEngine
from app.search.wording import LONGEST_PHRASE, MAX_LETTERS, STOP_WORDS, SynonymsChange

MAY_EDIT = ("admin",)
# Every search for a word looks whether a group has it.
MOST_GROUPS = 1_000
MOST_WORDS = 12
# Of what is typed into a form, which may be nonsense.
MOST_CHARACTERS = 2_000
# How many hits an effect shows, and how many words are tried by themselves.
SHOWN, MOST_TRIED = 10, 12
_BETWEEN = re.compile(r"[\n,;]")
_FOLD = text(
    "SELECT search_fold(word) FROM unnest(CAST(:words AS text[])) WITH ORDINALITY AS given (word, number)"
    " ORDER BY number"
)

_POSTGRES = PostgresEngine()


@dataclass(frozen=True)
class Effect:
    """What a search finds now, and what it would find: how many packages, and the first of them."""

    q: str
    now: Answer
    then: Answer

    @property
    def coming(self) -> frozenset[int]:
        """Packages that would be new among the first."""
        return self._ids(self.then) - self._ids(self.now)

    @property
    def going(self) -> frozenset[int]:
        """Packages that would not be among the first any more."""
        return self._ids(self.now) - self._ids(self.then)

    @property
    def is_none(self) -> bool:
        """Whether the same packages come in the same order."""
        return self.now.total == self.then.total and [hit.id for hit in self.now.hits] == [
            hit.id for hit in self.then.hits
        ]

    @staticmethod
    def _ids(answer: Answer) -> frozenset[int]:
        return frozenset(hit.id for hit in answer.hits)


def effects(q: str, words: Sequence[str], *, of: int | None) -> list[Effect]:
    """What the search for `q` would find if the group `of` had these words, or if there were a new group of them; no
    words, and the group would be gone. Without `q`, each word of the group is searched, as it is and as it would be:
    those that would change first, and no more than MOST_TRIED.

    Nothing is written. PostgreSQL's engine answers, whichever else is there. Raises Busy, Unavailable.
    """
    former = db.session.scalar(select(SearchSynonyms.words).where(SearchSynonyms.id == of)) or []
    change = SynonymsChange(of, _folded(words))
    tried = [q] if q else list(_by_interest(former, words))[:MOST_TRIED]
    questions = [Question(one, per_page=SHOWN) for one in tried]
    return [
        Effect(question.q, _POSTGRES.search_with(question, None), _POSTGRES.search_with(question, change))
        for question in questions
    ]


def read_words(typed: str, *, but: int | None = None) -> list[str]:
    """The words that were typed, one a line or with commas between them; each once, however it is written.

    `but` is the group that they are for. Raises Invalid for the field `words`, with all that is wrong with them.
    """
    if len(typed) > MOST_CHARACTERS:
        raise _wrong(f"Use at most {MOST_CHARACTERS:,} characters.")
    given = [" ".join(part.split()) for part in _BETWEEN.split(typed)]
    given = [word for word in given if word]
    by_folded: dict[str, str] = {}
    wrong: list[str] = []
    for word, folded in zip(given, _folded(given), strict=True):
        refusal = _refusal(word, folded)
        if refusal:
            wrong.append(refusal)
        else:
            by_folded.setdefault(folded, word)
    wrong += _taken(by_folded, but)
    if not wrong and len(by_folded) < 2:
        wrong.append("Give at least two different words or phrases; case and accents make no difference.")
    if len(by_folded) > MOST_WORDS:
        wrong.append(f"Give at most {MOST_WORDS} words or phrases; these are {len(by_folded)}.")
    if wrong:
        raise _wrong(" ".join(dict.fromkeys(wrong)))
    return list(by_folded.values())


def in_lines(words: Sequence[str]) -> str:
    """The words as a form shows them."""
    return "\n".join(words)


def fields_of(group: SearchSynonyms) -> Fields:
    """What a form of the group has."""
    return {"words": Editable("words", partial(read_words, but=group.id), in_lines)}


def create(typed: str, *, by: Actor) -> SearchSynonyms:
    """Have these words mean the same. Searches know at once on PostgreSQL, and soon on Meilisearch.

    Raises NotAllowed, Invalid for the field `words`.
    """
    by.require(*MAY_EDIT)
    with transaction():
        _one_at_a_time()
        words = read_words(typed)
        if (db.session.scalar(select(func.count()).select_from(SearchSynonyms)) or 0) >= MOST_GROUPS:
            raise _wrong(f"There are {MOST_GROUPS:,} groups already, and no more are taken. Delete one first.")
        group = SearchSynonyms(words=words)
        db.session.add(group)
        audit.record(by, "synonyms.create", group)
        after_commit(sending.ask_for_synonyms)
    return group


def edit(group_id: int, typed: str, *, seen: int, by: Actor) -> SearchSynonyms:
    """Save a form of a group that was opened at the version `seen`.

    Raises NotAllowed, NotFound, Invalid for the field `words`, SavedMeanwhile.
    """
    by.require(*MAY_EDIT)
    with transaction():
        _one_at_a_time()
        group = lock(SearchSynonyms, group_id)
        wanted = edits.merge(group, fields_of(group), {"words": typed}, seen=seen)
        if wanted:
            group.words, group.updated_at = wanted["words"], utcnow()
            audit.record(by, "synonyms.edit", group)
            after_commit(sending.ask_for_synonyms)
    return group


def delete(group_id: int, *, seen: int, by: Actor) -> list[str]:
    """Have its words mean the same no more; returns them. `seen` is the version of the group that somebody looked at.

    Raises NotAllowed, NotFound, Conflict when somebody saved it since, naming them.
    """
    by.require(*MAY_EDIT)
    with meanwhile.as_seen(SearchSynonyms, group_id, seen):
        group = lock(SearchSynonyms, group_id)
        words = list(group.words)
        audit.record(by, "synonyms.delete", group, before={"words": words}, after={"words": []})
        db.session.delete(group)
        after_commit(sending.ask_for_synonyms)
    return words


def _refusal(word: str, folded: str) -> str | None:
    parts = folded.split()
    if not word.isprintable():
        return f"“{ascii(word)[1:-1]}” has characters that can't be seen."
    if not parts:
        return f"“{word}” has no letters or digits."
    if len(parts) > LONGEST_PHRASE:
        return f"“{word}” is too long: a phrase has at most {LONGEST_PHRASE} words."
    if max(map(len, parts)) > MAX_LETTERS:
        return f"“{word}” is too long: a word has at most {MAX_LETTERS} letters."
    if all(part in STOP_WORDS for part in parts):
        return f"“{word}” is left out of every search that has other words."
    return None


def _taken(by_folded: dict[str, str], but: int | None) -> Iterator[str]:
    """What is said of those words that other groups have."""
    taken = select(SearchSynonyms).where(SearchSynonyms.folded.overlap(list(by_folded)))
    for group in db.session.scalars(taken.where(SearchSynonyms.id != (but or 0)).order_by(SearchSynonyms.id)):
        theirs = ", ".join(f"“{by_folded[word]}”" for word in group.folded if word in by_folded)
        yield f"{theirs} stands in another group already: {', '.join(group.words)}. A word can be in one only."


def _by_interest(former: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Each word once: those that come, those that go, those that stay."""
    were, will_be = (dict(zip(_folded(some), some, strict=True)) for some in (former, words))
    yield from (word for folded, word in will_be.items() if folded not in were)
    yield from (word for folded, word in were.items() if folded not in will_be)
    yield from (word for folded, word in will_be.items() if folded in were)


def _folded(words: Sequence[str]) -> list[str]:
    return list(db.session.scalars(_FOLD, {"words": list(words)}))


def _one_at_a_time() -> None:
    db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.SAVING_SYNONYMS)))


def _wrong(message: str) -> Invalid:
    return Invalid.field("words", message)
