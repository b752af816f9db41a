"""What one kind of bulk work is: what it would do, how it does a chunk, and what became of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select

from app.audit.actor import Actor

# Row ids, or the SELECT of them, which may have their `place` beside them.
Ids = Collection[int] | Select[Any]


@dataclass(frozen=True)
class Preview:
    """What a run would do now: to how many rows, how many it would skip and refuse for which reason, and what else
    there is to know before it, as labels with their words.
    """

    will: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Outcome:
    """What was done to a chunk: the rows that changed, and why each of the others did not."""

    done: Sequence[int]
    skipped: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Became:
    """How many of the refunds that a run began are in one state now, and what they come to."""

    status: str
    count: int
    amount_minor: int
    currency: str


@dataclass(frozen=True)
class BulkKind:
    """One thing that can be done to many rows; `verb` and `past` say it, as in "approve" and "approved".

    `preview` is given the ids, and whoever asked with the roles they hold now. `apply_chunk` is called inside a
    transaction with some of the ids, in order; what it raises fails the row that makes it raise. Without any ids it
    does nothing but raise what it has against the arguments. `undo_chunk` is given what was done, and is None where
    there is no way back. `explain` says what it does where that is more than its name.

    What `settle` gives for the ids, the arguments and whoever starts the run is kept with its arguments: what must not
    depend on how far it has come.

    Where it `moves_money`, it is started by who has shown that it is them. `became` says then what is now of what was
    begun for these rows.
    """

    name: str
    verb: str
    past: str
    nouns: tuple[str, str]
    roles: frozenset[str]
    table: str
    preview: Callable[[Select[Any], Actor], Preview]
    apply_chunk: Callable[[list[int], Mapping[str, Any], Actor], Outcome]
    undo_chunk: Callable[[list[int], Actor], Outcome] | None = None
    settle: Callable[[Select[Any], Mapping[str, Any], Actor], dict[str, Any]] | None = None
    part_of: Callable[[list[int], Mapping[str, Any], Actor], tuple[bytes, Outcome]] | None = None
    # How many rows a chunk has, and a run at most; without them, as many as any kind's.
    chunk_rows: int | None = None
    most_rows: int | None = None
    explain: str = ""
    moves_money: bool = False
    became: Callable[[Select[Any], Mapping[str, Any]], Sequence[Became]] | None = None

    @property
    def label(self) -> str:
        """Such as "Approve reviews"."""
        return f"{self.verb} {self.nouns[1]}".capitalize()
