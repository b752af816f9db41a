"""What is searched: documents, their words, words that mean the same; and what is known of searching itself."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    FetchedValue,
    Float,
    ForeignKey,
    Identity,
    Index,
    Sequence,
    Text,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR, aggregate_order_by
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model, words_index
from app.queue import Outbox
from app.states import Stateful, moves, status_check

_LISTED = text("listed")
_VERSIONS = Sequence("search_document_versions", metadata=Model.metadata)


def _found_by(column: str) -> Index:
    return Index(
        f"ix_search_documents_{column}",
        column,
        postgresql_using="gin",
        postgresql_where=_LISTED,
        postgresql_with={"gin_pending_list_limit": 256},
    )


class SearchDocument(Model):
    """What a package is found by, of one moment of its rows; one that was never on sale has none.

    `listed` says whether it was on sale then. `version` grows with every change of the row, from one document to the
    next too; `sent_version` is the one that Meilisearch has confirmed. `words` are those that are searched: its name's
    weigh most (A), then its place's (B), the provider's and the amenities (C), and the first of the description (D);
    `title` has the first two, for ranking. `place_keys` are city, place and country as `search_fold` writes them.
    `rating` is the mean of the reviews that the public is shown, to two decimals as it is shown.
    """

    __tablename__ = "search_documents"
    __table_args__ = (
        _found_by("words"),
        _found_by("place_keys"),
        Index("ix_search_documents_provider_id", "provider_id", postgresql_where=_LISTED),
        Index("ix_search_documents_latitude", "latitude", "longitude", postgresql_where=_LISTED),
        Index("ix_search_documents_reviews", text("reviews DESC"), "package_id", postgresql_where=_LISTED),
        Index("ix_search_documents_unsent", "version", postgresql_where=text("version > sent_version")),
        {"postgresql_with": {"toast_tuple_target": 128}},
    )

    package_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("packages.id"), primary_key=True, autoincrement=False
    )
    listed: Mapped[bool]
    version: Mapped[int] = mapped_column(BigInteger, server_default=_VERSIONS.next_value())
    sent_version: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    indexed_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    type: Mapped[str]
    provider_id: Mapped[int] = mapped_column(BigInteger)
    provider: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    place: Mapped[str | None]
    city: Mapped[str]
    country: Mapped[str]
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str]
    capacity: Mapped[int]
    amenities: Mapped[list[str]] = mapped_column(ARRAY(Text))
    rating: Mapped[float | None] = mapped_column(REAL)
    reviews: Mapped[int]
    latitude: Mapped[float | None] = mapped_column(Float)
    longitude: Mapped[float | None] = mapped_column(Float)
    added_at: Mapped[datetime]
    title: Mapped[str] = mapped_column(TSVECTOR)
    words: Mapped[str] = mapped_column(TSVECTOR)
    place_keys: Mapped[list[str]] = mapped_column(ARRAY(Text))


class SearchWord(Model):
    """One word of the listed documents, as `search_fold` writes it, and about how many of them have it."""

    __tablename__ = "search_words"
    __table_args__ = (words_index("search_words", "word"),)

    word: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    documents: Mapped[int]


class SearchSynonyms(Model):
    """Words, or short phrases, that mean the same: who types one of them finds the others.

    `folded` are the words as `search_fold` writes them, kept by the database.
    """

    __tablename__ = "search_synonyms"
    __table_args__ = (CheckConstraint("cardinality(words) >= 2", name="words"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    words: Mapped[list[str]] = mapped_column(ARRAY(Text))
    folded: Mapped[list[str]] = mapped_column(
        ARRAY(Text), server_default=FetchedValue(), server_onupdate=FetchedValue()
    )
    updated_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class SearchedWords(Model):
    """What the public searched for on one day (UTC): the words as `search_fold` writes them, empty for a search without
    any. `took_ms` is the sum over all `searches`; `degraded` counts those that another engine had to answer, `engine`
    is the one that answered last. Only first pages count: who reads on has not searched again.
    """

    __tablename__ = "searched_words"
    __table_args__ = (
        CheckConstraint("without_result <= searches AND degraded <= searches", name="counts"),
        Index("uq_searched_words_day", "day", "words", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    day: Mapped[date]
    words: Mapped[str]
    searches: Mapped[int]
    without_result: Mapped[int]
    degraded: Mapped[int]
    took_ms: Mapped[int] = mapped_column(BigInteger)
    slowest_ms: Mapped[int]
    engine: Mapped[str]
    last_at: Mapped[datetime]


class SearchedFor(Model):
    """The same, of all days that are kept; what it is called by is the id of the first day's row."""

    __table__ = (
        select(
            func.min(SearchedWords.id).label("id"),
            SearchedWords.words,
            func.sum(SearchedWords.searches).cast(BigInteger).label("searches"),
            func.sum(SearchedWords.without_result).cast(BigInteger).label("without_result"),
            func.sum(SearchedWords.degraded).cast(BigInteger).label("degraded"),
            (func.sum(SearchedWords.took_ms) / func.sum(SearchedWords.searches)).cast(BigInteger).label("mean_ms"),
            func.max(SearchedWords.slowest_ms).label("slowest_ms"),
            func.max(SearchedWords.last_at).label("last_at"),
            func.array_agg(aggregate_order_by(SearchedWords.engine, SearchedWords.last_at.desc()))[1].label("engine"),
        )
        .group_by(SearchedWords.words)
        .subquery("searched_for")
    )
    __tablename__ = "searched_words"  # whose ids these are
    __mapper_args__ = {"primary_key": [__table__.c.id]}

    if TYPE_CHECKING:
        id: Mapped[int]
        words: Mapped[str]
        searches: Mapped[int]
        without_result: Mapped[int]
        degraded: Mapped[int]
        mean_ms: Mapped[int]
        slowest_ms: Mapped[int]
        last_at: Mapped[datetime]
        engine: Mapped[str]


class SearchLatency(Model):
    """How many answers of one hour (UTC) took less than `under_ms`, and not less than the bound before it
    (`latency.BOUNDS_MS`). `kind` is search or suggestions; `degraded` says that the engine stood in for another.
    """

    __tablename__ = "search_latencies"
    __table_args__ = (CheckConstraint("kind IN ('search', 'suggestions')", name="kind"),)

    hour: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    engine: Mapped[str] = mapped_column(primary_key=True)
    degraded: Mapped[bool] = mapped_column(primary_key=True)
    under_ms: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    answers: Mapped[int] = mapped_column(BigInteger)


class IndexRebuild(Stateful, Outbox):
    """All documents compared with the packages and written where they differ, and then, where there is a Meilisearch,
    all of them sent into a second index there, which takes the first one's place. One at a time.

    `step` says what it is at, `reached` the package it is done with there. Of `packages` so many were read, `written`
    counts documents that differed, `sent` those that are in the second index; `version` is the newest there was when
    that was begun. `asked_by` is who asked, in words.
    """

    JOB = "jobs.search.rebuild"
    SWEEP = "jobs.sweeps.index_rebuilds"
    QUEUE = "slow"
    MOVES = moves({"RUNNING": "DONE FAILED", "DONE": "", "FAILED": ""})
    STAMPS = {"DONE": "ended_at", "FAILED": "ended_at"}

    __tablename__ = "index_rebuilds"
    __table_args__ = (
        status_check(MOVES),
        CheckConstraint("step IN ('documents', 'words', 'second_index', 'sending', 'swap')", name="step"),
        Index("uq_index_rebuilds_running", "status", unique=True, postgresql_where=text("status = 'RUNNING'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    status: Mapped[str] = mapped_column(default="RUNNING", server_default="RUNNING")
    asked_by: Mapped[str]
    step: Mapped[str] = mapped_column(default="documents", server_default="documents")
    reached: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    version: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    total: Mapped[int] = mapped_column(default=0, server_default="0")
    packages: Mapped[int] = mapped_column(default=0, server_default="0")
    written: Mapped[int] = mapped_column(default=0, server_default="0")
    sent: Mapped[int] = mapped_column(default=0, server_default="0")
    begun_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_because: Mapped[str | None]
