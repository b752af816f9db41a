"""The verb of demo data: fill an empty marketplace with two years of it, all or nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from itertools import chain

from sqlalchemy import Connection, func, select, text

from app import rollups
from app.accounts.models import StaffRole, User
from app.accounts.passwords import check_length, hash_password, matches
from app.advisory_locks import AdvisoryLock
from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.models import AuditEntry, AuditSeal
from app.audit.service import Chain
from app.bookings.models import Booking
from app.catalog.models import Availability, Package, Provider, ProviderCheck, ProviderDocument
from app.config import settings
from app.db import keep_before, leave_database, owner_engine, transaction, utcnow
from app.demo import catalogue, people, searching
from app.demo.catalogue import Offer, Stock
from app.demo.copying import Loading, TableCopy
from app.demo.journal import Journal
from app.demo.lives import Lives, Terms
from app.demo.papers import Papers
from app.demo.people import Person
from app.demo.reviews import count_ratings, write_reviews
from app.demo.set_aside import SetAside
from app.demo.story import ANYTHING, STAYED, WISHES, Story, Wish
from app.demo.stripe_objects import StripeLoading
from app.disputes.models import Dispute
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from app.payments.models import LedgerEntry, Payment, PaymentHold, Refund, WebhookEvent
from app.reports import reconciliation
from app.reports import service as reports
from app.reports.models import Reconciliation
from app.reports.service import SUMS
from app.reviews.models import RatingCount, Review, ReviewText
from app.search import indexing

SMALLEST, LARGEST = 100, 2_000_000

_SEED = "tripdesk demo"
# Long enough for a request that is under way, short enough to say so when somebody stays.
_LOCK_TIMEOUT_MS = 10_000
_BLOCK = 2_000
_SEALED_BETWEEN_LINES = 200_000
_RECONCILED_DAYS = 3
# A year in full, and before it a year of which only the stays are left: what lapsed then is cleared away.
_YEAR = timedelta(days=365)

# Every table that rows go into, parents first.
_FILLED = (
    *(
        User,
        StaffRole,
        Provider,
        ProviderCheck,
        ProviderDocument,
        Package,
        Booking,
        Payment,
        Refund,
        Dispute,
        PaymentHold,
    ),
    *(WebhookEvent, LedgerEntry, AuditEntry, AuditSeal, Review, RatingCount, ReviewText, Availability),
)
# Those whose ids others refer to, or the chain of the audit trail.
_NUMBERED = (
    *(User, Provider, ProviderCheck, ProviderDocument, Package, Booking, Payment, Refund, Dispute, AuditEntry, Review),
)
_ANYTHING_THERE = tuple(select(model.id).limit(1) for model in (Booking, Package))


@dataclass(frozen=True)
class Scale:
    """How much there is of everything: `bookings` of the last year, `earlier_stays` of the year before."""

    bookings: int
    packages: int
    providers: int
    travellers: int
    earlier_stays: int
    reviews: int

    @classmethod
    def named(cls, name: str) -> Scale:
        """`small`, `medium`, `large`, or a number of bookings. Raises Invalid."""
        number = {"small": "400", "medium": "50000", "large": "1000000"}.get(name, name)
        if not (number.isascii() and number.isdigit() and SMALLEST <= int(number) <= LARGEST):
            raise Invalid(
                f"--scale must be small, medium, large or a number of bookings from {SMALLEST:,} to {LARGEST:,},"
                f" not {name!r}."
            )
        bookings = int(number)
        return cls(
            bookings=bookings,
            packages=max(80, bookings // 50),
            providers=max(14, bookings // 500),
            travellers=60 if name == "small" else max(60, bookings // 5),
            # Three of four bookings of a year are stays that are over by its end, and a stay has at most one review:
            # with these there are as many reviews as bookings, of nine stays in ten.
            earlier_stays=bookings * 40 // 100,
            reviews=bookings,
        )


@dataclass(frozen=True)
class Seeded:
    """What was made."""

    bookings: int
    packages: int
    providers: int
    travellers: int
    reviews: int
    payments: int
    audit_entries_sealed: int


def is_needed() -> bool:
    """Whether there is neither a booking nor a package yet."""
    return all(db.session.scalar(query) is None for query in _ANYTHING_THERE)


def seed(scale: Scale, *, by: Actor, tell: Callable[[str], None]) -> Seeded:
    """Make the demo data of this size, and have the local Stripe know its payments; `tell` hears how it goes.

    The same on every run of a day. It works as the database's owner, and nobody else can use the tables meanwhile.
    Raises NotAllowed in production, Invalid for a setting, Conflict when there are bookings, packages or demo logins
    already, Busy when somebody is using the tables, Unavailable when the local Stripe doesn't answer; nothing is left
    then, nor when it is killed. Sums and reconciled days come after that, and the schedule makes up for them.
    """
    by.require("admin")
    check_allowed()
    _seal(tell)
    leave_database()
    engine = owner_engine(settings().database_owner_url)
    try:
        with transaction():
            connection = db.session.connection(bind_arguments={"bind": engine})
            _begin(connection)
            made = _fill(connection, scale, by, tell)
    finally:
        engine.dispose()
    tell("Indexing packages for search")
    indexing.catch_up(tell)
    searching.fill(scale.bookings)
    tell("Adding up the days")
    reports.add_up()
    tell("Comparing the last days with Stripe")
    _reconcile(by)
    sealed = _seal(tell)
    return replace(made, audit_entries_sealed=made.audit_entries_sealed + sealed)


def _reconcile(by: Actor) -> None:
    """Have the last days that are over compared with the local Stripe, as each night does."""
    today = utcnow().date()
    for days_ago in range(_RECONCILED_DAYS, 0, -1):
        day_id = reconciliation.reconcile(today - timedelta(days=days_ago), by=by).id
        while db.session.get_one(Reconciliation, day_id, populate_existing=True).status == "RUNNING":
            reconciliation.go_on(day_id)


def _seal(tell: Callable[[str], None]) -> int:
    """Everything that isn't sealed yet and can be; returns how many entries."""
    sealed = 0
    while batch := audit.seal():
        sealed += batch
        if sealed % _SEALED_BETWEEN_LINES == 0:
            tell(f"  {sealed:,} audit entries sealed")
    return sealed


def reset_passwords(*, by: Actor) -> int:
    """Give the demo logins the password in DEMO_PASSWORD, where they have another one; returns how many had."""
    check_allowed()
    password = settings().demo_password.get_secret_value()
    emails = [*(login.email for login in people.STAFF), people.TRAVELLER]
    with transaction():
        found = db.session.scalars(select(User).where(User.email.in_(emails)).order_by(User.id).with_for_update()).all()
        outdated = [person for person in found if not matches(person.password_hash, password)]
        for person in outdated:
            keep_before(person)
            person.password_hash = hash_password(password)
            audit.record(by, "user.reset_password", person)
    return len(outdated)


def check_allowed() -> None:
    """Raises NotAllowed or Invalid where there must be no demo data: in production, and without a local Stripe."""
    if settings().app_env == "production":
        raise NotAllowed("Demo data is refused in production (APP_ENV=production): its passwords are public.")
    if not settings().database_owner_url:
        raise Invalid("Demo data is loaded as the database's owner: set DATABASE_OWNER_URL to postgresql://…")
    if not settings().stripe_api_base:
        raise Invalid(
            "Demo data is for the local Stripe only: STRIPE_API_BASE is not set, so this would be about the real one."
        )
    check_length(settings().demo_password.get_secret_value(), field="DEMO_PASSWORD")


def _begin(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}"))
    if not connection.scalar(select(func.pg_try_advisory_xact_lock(AdvisoryLock.SEEDING))):
        raise Conflict("Somebody else is seeding this database right now.")
    if any(connection.scalar(query) for query in _ANYTHING_THERE):
        raise Conflict(
            "There are bookings or packages already, and demo data goes into an empty database only. "
            "With --if-empty this is passed over."
        )
    if connection.scalar(select(User.email).where(User.email.like(f"%@{people.DOMAIN}")).limit(1)):
        raise Conflict(
            f"There is an account at {people.DOMAIN} already; the demo logins need that name for themselves."
        )


def _fill(connection: Connection, scale: Scale, by: Actor, tell: Callable[[str], None]) -> Seeded:
    slowing = SetAside(connection, _FILLED)
    trail = audit.take_chain(connection)
    # The local Stripe hears of the payments before they are committed, so that nothing of ours stays when it can't be
    # reached: the one call over the network inside a transaction.
    key = settings().stripe_secret_key.get_secret_value()
    with Loading(connection, _NUMBERED) as loading, StripeLoading(settings().stripe_api_base, key) as stripe:
        made = _load(loading, stripe, trail, scale, by, tell)
    count_ratings(connection)
    for sums in SUMS:
        rollups.forget(connection, sums)
    tell("Making indexes and foreign keys")
    slowing.restore()
    return replace(made, payments=stripe.loaded)


def _load(
    loading: Loading,
    stripe: StripeLoading,
    trail: Chain | None,
    scale: Scale,
    by: Actor,
    tell: Callable[[str], None],
) -> Seeded:
    now = utcnow()
    today = now.date()
    rng = random.Random(f"{_SEED} {today}")  # noqa: S311  # nosec B311  (believable, not secret)
    journal = Journal(rng, loading, trail)
    midnight = datetime.combine(today, time(), UTC)
    # All of it is over by midnight, to the closing of the last intent; only what is held right now comes after that.
    hold_time = timedelta(minutes=settings().hold_minutes)
    end = midnight - hold_time - timedelta(hours=2)
    start = end - _YEAR

    tell("Making people and packages")
    # One hash for everybody, as hashing is meant to be slow, and the password is no secret.
    password_hash = hash_password(settings().demo_password.get_secret_value())
    staff = _make_staff(loading, journal, by, password_hash, start - _YEAR - timedelta(days=45))
    travellers = _make_travellers(rng, loading, scale.travellers, password_hash, start - _YEAR, end)
    registrations = _Registrations(journal, travellers)
    offers = _make_catalogue(rng, loading, scale, end, Papers(loading, journal, staff["admin"], today))
    stock = Stock(offers, today)
    business = Terms(settings().hold_minutes, settings().commission_basis_points, settings().refund_approval_days)
    lives = Lives(rng, loading, journal, stripe, stock, staff["support"], business, now)
    story = Story(rng, [offer for offer in offers if offer.on_sale], stock, travellers)

    tell("Making bookings")
    bookings = scale.earlier_stays + scale.bookings
    holds = min(20, max(4, scale.bookings // 100))
    moments = chain(
        story.moments(start - _YEAR, start, scale.earlier_stays, wishes=(), otherwise=STAYED, growth=0),
        story.moments(start, end, scale.bookings - holds, wishes=WISHES, otherwise=ANYTHING, growth=100),
    )
    for told, (at, wish) in enumerate(moments, start=1):
        lives.tell(*story.next(at, wish))
        if told % _BLOCK == 0:
            lives.send()
            registrations.note(until=at)
            journal.send(until=at)
            if told % (10 * _BLOCK) == 0:
                tell(f"  {told:,} of {bookings:,} bookings")
    lives.send()
    registrations.note(until=end)

    tell("Making reviews")
    reviews = write_reviews(
        rng,
        loading,
        lives.over,
        scale.reviews,
        but_not_by=travellers[0].id,
        moderator=staff["moderator"].id,
        now=now,
        tell=tell,
    )

    just_now = utcnow()
    for number in range(holds):
        at = just_now - hold_time * (0.6 * (1 - number / holds))
        lives.tell(*story.next(at, Wish(0, "held")))
    lives.send()
    journal.send()

    tell("Making the calendars")
    availability, days = TableCopy(Availability, loading, left_out=("min_nights", "closed")), 0
    for days, row in enumerate(stock.rows(), start=1):
        availability.add(row)
        if days % (10 * _BLOCK) == 0:
            availability.send()
        if days % (250 * _BLOCK) == 0:
            tell(f"  {days:,} days")
    availability.send()
    return Seeded(bookings, scale.packages, scale.providers, scale.travellers, reviews, 0, journal.sealed)


def _make_staff(loading: Loading, journal: Journal, by: Actor, password_hash: str, since: datetime) -> dict[str, Actor]:
    users, roles = TableCopy(User, loading), TableCopy(StaffRole, loading)
    actors = {}
    for login, row in people.staff(loading.ids(User), password_hash, since):
        users.add(row)
        for role in login.roles:
            roles.add({"user_id": row["id"], "role": role})
        after = _without_hash(row) | {"roles": list(login.roles)}
        journal.audit(row["created_at"], by, "staff.create", (User.__tablename__, row["id"]), (None, after))
        actors[login.local_part] = Actor("staff", row["id"], login.name, frozenset(login.roles))
    users.send()
    roles.send()
    return actors


def _make_travellers(
    rng: random.Random, loading: Loading, count: int, password_hash: str, start: datetime, end: datetime
) -> list[Person]:
    users, made = TableCopy(User, loading), []
    for person in people.travellers(rng, loading.ids(User), count, start, end):
        users.add(person.row(password_hash))
        made.append(person)
        if len(made) % _BLOCK == 0:
            users.send()
    users.send()
    return made


class _Registrations:
    """Enters in the journal that travellers registered, once their time has come: all at once would fill the memory."""

    def __init__(self, journal: Journal, travellers: Sequence[Person]) -> None:
        self._journal = journal
        self._travellers = iter(travellers)
        self._next = next(self._travellers, None)

    def note(self, *, until: datetime) -> None:
        """Those up to that moment that aren't noted yet."""
        while (person := self._next) is not None and person.registered_at <= until:
            after = _without_hash(person.row(""))
            subject = (User.__tablename__, person.id)
            self._journal.audit(person.registered_at, person.actor, "user.register", subject, (None, after))
            self._next = next(self._travellers, None)


def _without_hash(row: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name != "password_hash"}


def _make_catalogue(rng: random.Random, loading: Loading, scale: Scale, end: datetime, papers: Papers) -> list[Offer]:
    providers, packages = TableCopy(Provider, loading), TableCopy(Package, loading)
    sellers = catalogue.providers(rng, loading.ids(Provider), scale.providers, end)
    for seller in sellers:
        providers.add(seller)
    providers.send()
    offers = []
    for row, offer in catalogue.packages(rng, loading.ids(Package), sellers, scale.packages):
        packages.add(row)
        offers.append(offer)
    packages.send()
    papers.write(sellers, {offer.provider_id for offer in offers if offer.is_tour})
    papers.save()
    return offers
