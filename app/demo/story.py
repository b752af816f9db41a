"""Who books what, and when: few packages sell most, people travel in season and at weekends, and some lives are told
however small the scale.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate

from app.demo.catalogue import Offer, Stock, season
from app.demo.lives import Plot, Stay
from app.demo.people import Person
from app.demo.places import zone

_USUAL_LEAD_DAYS, _LONGEST_LEAD_DAYS = 32, 170
# How many book on a weekday, Monday first.
_BY_WEEKDAY = (125, 100, 95, 95, 85, 80, 120)
_TRIES = 60

_PLOTS: dict[Plot, int] = {
    "paid": 797,
    "declined_then_paid": 40,
    "paid_late": 4,
    "refunded": 4,
    "expired": 50,
    "declined": 12,
    "cancelled_by_guest": 35,
    "cancelled_by_support": 8,
    "cancelled_by_provider": 7,
    "cancelled_when_paid": 40,
    "dispute_won": 1,
    "dispute_lost": 2,
}
# Drawn from with equal chances.
_NIGHTS = (1,) * 18 + (2,) * 30 + (3,) * 22 + (4,) * 12 + (5,) * 8 + (7,) * 8 + (10,) * 2
_UNITS = (1,) * 84 + (2,) * 13 + (3,) * 3
_SEATS = (1,) * 20 + (2,) * 55 + (3,) * 10 + (4,) * 15


@dataclass(frozen=True)
class Wish:
    """A booking that has to be there, made so many days ago: `lead_days` before the stay of so many `nights`, the demo
    login's if `own`.
    """

    days_ago: int
    plot: Plot | None
    own: bool = False
    lead_days: int | None = None
    nights: int | None = None


STAYED, ANYTHING = Wish(0, "paid"), Wish(0, None)

# Every sort of life is there however small the scale, and for the demo login stays that are over and stays to come.
WISHES = (
    *(Wish(days_ago, "paid", own=True, lead_days=8) for days_ago in (320, 280, 230, 180, 140, 100, 60)),
    *(Wish(3 * number + 2, "paid", own=True, lead_days=40 + 15 * number) for number in range(8)),
    *(Wish(days_ago, "refunded") for days_ago in (9, 75)),
    *(Wish(days_ago, "paid_late") for days_ago in (5, 48)),
    *(Wish(days_ago, "declined_then_paid") for days_ago in (1, 6, 60)),
    *(Wish(days_ago, "expired") for days_ago in (1, 3, 90)),
    *(Wish(days_ago, "declined") for days_ago in (2, 33)),
    *(Wish(days_ago, "cancelled_by_guest") for days_ago in (2, 4, 120)),
    *(Wish(days_ago, "cancelled_by_support") for days_ago in (7, 150)),
    *(Wish(days_ago, "cancelled_by_provider") for days_ago in (11, 200)),
    *(Wish(days_ago, "cancelled_when_paid", lead_days=45) for days_ago in (6, 15, 33, 95)),
    # What waits for finance: goodwill to approve, a refund that came back, and disputes in every stage.
    *(Wish(days_ago, "refund_waits", nights=7) for days_ago in (2, 3, 4, 6)),
    *(Wish(days_ago, "refund_failed") for days_ago in (3, 5)),
    *(Wish(days_ago, "disputed") for days_ago in (3, 5, 8)),
    *(Wish(days_ago, "dispute_won") for days_ago in (20, 85)),
    *(Wish(days_ago, "dispute_lost") for days_ago in (70,)),
)


class Story:
    """Decides who books what, and when: few packages sell most, and people travel in season and at weekends."""

    def __init__(self, rng: random.Random, offers: Sequence[Offer], stock: Stock, travellers: Sequence[Person]) -> None:
        self._rng = rng
        self._offers = offers
        self._weights = list(accumulate(offer.weight for offer in offers))
        self._stock = stock
        self._travellers = travellers
        self._registered = [person.registered_at for person in travellers]
        self._plots, self._plots_upto = list(_PLOTS), list(accumulate(_PLOTS.values()))

    def moments(
        self, start: datetime, end: datetime, count: int, *, wishes: Sequence[Wish], otherwise: Wish, growth: int
    ) -> Iterator[tuple[datetime, Wish]]:
        """When `count` bookings are made, in order: the `wishes` on their days, the others more and more by `growth`
        per cent until the end, most on Sundays and Mondays and some weeks ahead of the season.
        """
        days = (end - start).days
        wished: dict[int, list[Wish]] = {}
        for wish in wishes:
            wished.setdefault(days - wish.days_ago, []).append(wish)
        left = count - len(wishes)
        reached = list(
            accumulate(self._busy(start + timedelta(days=n)) * (100 + growth * n // days) for n in range(days))
        )
        done = 0
        for day in range(days):
            upto = left * reached[day] // reached[-1]
            wanted = [*wished.get(day, []), *[otherwise] * (upto - done)]
            done = upto
            times = sorted(self._rng.random() for _ in wanted)
            self._rng.shuffle(wanted)
            for moment, booked in zip(times, wanted, strict=True):
                yield start + timedelta(days=day, seconds=86_400 * moment), booked

    @staticmethod
    def _busy(at: datetime) -> int:
        return _BY_WEEKDAY[at.weekday()] * season((at + timedelta(days=_USUAL_LEAD_DAYS)).date())

    def next(self, at: datetime, wish: Wish) -> tuple[Plot, datetime, Person, Stay]:
        """Everything a life needs to begin at that moment."""
        plot = wish.plot or self._rng.choices(self._plots, cum_weights=self._plots_upto)[0]
        person = self._travellers[0] if wish.own else self._somebody(at)
        return plot, at, person, self._stay(at, wish)

    def _somebody(self, at: datetime) -> Person:
        registered = bisect_right(self._registered, at)
        # Some travel often. The first one's bookings are wishes.
        return self._travellers[1 + int((registered - 1) * self._rng.random() ** 1.25)]

    def _stay(self, at: datetime, wish: Wish) -> Stay:
        for _ in range(_TRIES):
            offer = self._rng.choices(self._offers, cum_weights=self._weights)[0]
            stay = self._wanted(offer, at.astimezone(zone(offer.time_zone)).date(), wish)
            if self._stock.has(offer, stay.stock_days, stay.units):
                return stay
        raise RuntimeError(f"nothing was left to book in {_TRIES} tries: too few packages for so many bookings")

    def _wanted(self, offer: Offer, today: date, wish: Wish) -> Stay:
        rng, lead_days = self._rng, wish.lead_days
        if lead_days is None:
            leads = [min(_LONGEST_LEAD_DAYS, int(rng.expovariate(1 / _USUAL_LEAD_DAYS))) for _ in range(3)]
            lead_days = rng.choices(leads, [offer.demand_on(today + timedelta(days=lead)) for lead in leads])[0]
        first = today + timedelta(days=lead_days)
        if offer.is_tour:
            first = next(day for day in (first + timedelta(days=n) for n in range(7)) if offer.offered_on(day))
            seats = min(offer.units, rng.choice(_SEATS))
            return Stay(offer, first, first + timedelta(days=offer.duration_days), (first,), seats, seats)
        nights = max(offer.min_nights, wish.nights or rng.choice(_NIGHTS))
        units = min(offer.units, rng.choice(_UNITS))
        days = tuple(first + timedelta(days=n) for n in range(nights))
        guests = rng.randint(1, units * offer.capacity)
        return Stay(offer, first, first + timedelta(days=nights), days, units, guests)
