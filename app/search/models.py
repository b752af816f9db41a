"""What is searched: a document for each package, the words of all documents, and words that mean the same."""

from __future__ import annotations

from datetime import datetime

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
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.extensions import Model, words_index

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
    `rating` is the mean of the reviews that the public is shown, in full.
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
