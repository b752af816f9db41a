"""What the demo sells: providers and packages, what a day costs and how wanted it is, and the stock that is left."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app.demo import vocabulary
from app.demo.places import CITIES, City
from app.demo.vocabulary import HOTEL_AMENITIES, NEIGHBOURHOODS, OUTINGS, ROOMS, TOUR_AMENITIES

# Per cent of the base price, January to December north of the equator; demand follows it.
_SEASON = (80, 80, 90, 100, 110, 120, 130, 130, 110, 95, 85, 115)
_WEEKEND_PRICE = 112
# How much a weekday is wanted to arrive on, Monday first.
_ARRIVALS = (80, 70, 80, 110, 170, 130, 60)

_STATUSES = ("VERIFIED",) * 9 + ("PENDING",) * 3 + ("SUSPENDED", "REJECTED")
_EVERY_FOURTH = 4  # is a tour, and sold by somebody who does tours
_WEEKDAYS_OF_DEPARTURE = ((5,), (6,), (2, 5), (1, 3, 5), (0, 1, 2, 3, 4, 5, 6))
_MIN_NIGHTS = (1, 1, 1, 1, 2, 2, 3)
_DOUBLE_ROOM_MINOR = 11_000

# Of the stock, from today; the past only as far as somebody booked it.
FIRST_DAY, LAST_DAY = -735, 366


def season(day: date, *, southern: bool = False) -> int:
    """How much people want to travel then, and what it costs them, in per cent of what is usual."""
    return _SEASON[(day.month - 1 + 6 * southern) % 12]


@dataclass(frozen=True, slots=True)
class Offer:
    """A package, with what it takes to decide about a booking: `weight` is its popularity, `index` its place in the
    stock.
    """

    index: int
    id: int
    provider_id: int
    name: str
    is_tour: bool
    time_zone: str
    southern: bool
    price_minor: int
    capacity: int
    units: int
    min_nights: int
    duration_days: int
    departures: tuple[int, ...]
    policy: str
    on_sale: bool
    weight: float

    def price_on(self, day: date) -> int:
        """One unit's price for that night or departure, in minor units: a whole number of dollars."""
        weekend = _WEEKEND_PRICE if not self.is_tour and day.weekday() in (4, 5) else 100
        return max(100, self.price_minor * season(day, southern=self.southern) * weekend // 1_000_000 * 100)

    def demand_on(self, day: date) -> int:
        """How much this day is wanted to begin on, compared with others."""
        return season(day, southern=self.southern) * _ARRIVALS[day.weekday()]

    def offered_on(self, day: date) -> bool:
        """Every night, or the weekdays a tour departs on."""
        return not self.is_tour or day.weekday() in self.departures


def providers(rng: random.Random, ids: Iterator[int], count: int, now: datetime) -> list[dict[str, Any]]:
    """Providers, most of them verified; every fourth does tours."""
    return [
        {
            "id": next(ids),
            "external_id": f"demo-provider-{number:04}",
            "name": _provider_name(rng, number),
            "status": _STATUSES[number % len(_STATUSES)],
            **_contact(number),
            "created_at": now - timedelta(days=_age(rng, number), seconds=rng.randrange(86_400)),
        }
        for number in range(count)
    ]


def _contact(number: int) -> dict[str, str]:
    """How a provider is reached; the numbers are among those that ring nowhere (Ofcom's, for drama)."""
    first = vocabulary.FIRST_NAMES[number % len(vocabulary.FIRST_NAMES)]
    last = vocabulary.LAST_NAMES[number * 7 % len(vocabulary.LAST_NAMES)]
    city = CITIES[number * 5 % len(CITIES)]
    return {
        "contact_name": f"{first} {last}",
        "email": f"desk@provider-{number:04}.example",
        "phone": f"+44 20 7946 0{number % 1000:03}",
        "address": f"{number % 180 + 1} Harbour Street\n{city.name}",
        "country": city.country,
    }


def _age(rng: random.Random, number: int) -> int:
    is_new = _STATUSES[number % len(_STATUSES)] == "PENDING"
    return rng.randrange(2, 20) if is_new else rng.randrange(400, 700)


def _provider_name(rng: random.Random, number: int) -> str:
    first = vocabulary.PROVIDER_FIRST[number % len(vocabulary.PROVIDER_FIRST)]
    last = rng.choice(vocabulary.TOUR_PROVIDER_LAST if _does_tours(number) else vocabulary.HOTEL_PROVIDER_LAST)
    branch = number // len(vocabulary.PROVIDER_FIRST)
    return f"{first} {last}" + (f" {branch + 1}" if branch else "")


def _does_tours(number: int) -> bool:
    return number % _EVERY_FOURTH == _EVERY_FOURTH - 1


def packages(
    rng: random.Random, ids: Iterator[int], sellers: Sequence[dict[str, Any]], count: int
) -> Iterator[tuple[dict[str, Any], Offer]]:
    """Packages as rows and as offers; a quarter of them tours. A seller who isn't verified yet has drafts only."""
    by_trade = {tours: [s for n, s in enumerate(sellers) if _does_tours(n) == tours] for tours in (False, True)}
    shares = {"VERIFIED": 100, "PENDING": 12, "SUSPENDED": 50, "REJECTED": 0}
    for index in range(count):
        is_tour = _does_tours(index)
        trade = by_trade[is_tour]
        seller = rng.choices(trade, [shares[s["status"]] for s in trade])[0]
        row = _tour(rng, rng.choice(CITIES)) if is_tour else _hotel(rng, rng.choice(CITIES))
        # A fifth of the packages sells most of what is sold.
        weight = rng.lognormvariate(0, 1.25)
        created_at = seller["created_at"] + timedelta(hours=rng.randrange(1, 40))
        row |= {
            "id": next(ids),
            "provider_id": seller["id"],
            "external_id": f"demo-{index:06}",
            "status": "DRAFT" if seller["status"] == "PENDING" or rng.random() < 0.05 else "PUBLISHED",
            "currency": "USD",
            # Who sells much has much to sell.
            "units": min(60, max(6, round(10 * weight**0.5))) if is_tour else min(200, max(1, round(4 * weight**0.7))),
            "cancellation_policy": rng.choices(("flexible", "moderate", "strict"), (4, 4, 2))[0],
            "created_at": created_at,
            "updated_at": created_at,
        }
        on_sale = row["status"] == "PUBLISHED" and seller["status"] == "VERIFIED"
        departures = rng.choice(_WEEKDAYS_OF_DEPARTURE) if is_tour else ()
        yield row, _offer(index, row, on_sale=on_sale, departures=departures, weight=weight)


def _offer(index: int, row: dict[str, Any], *, on_sale: bool, departures: tuple[int, ...], weight: float) -> Offer:
    return Offer(
        index=index,
        id=row["id"],
        provider_id=row["provider_id"],
        name=row["name"],
        is_tour=row["type"] == "tour",
        time_zone=row["time_zone"],
        southern=row["latitude"] < 0,
        price_minor=row["price_minor"],
        capacity=row["capacity"],
        units=row["units"],
        min_nights=row["min_nights"],
        duration_days=row["duration_days"],
        departures=departures,
        policy=row["cancellation_policy"],
        on_sale=on_sale,
        weight=weight,
    )


def _hotel(rng: random.Random, city: City) -> dict[str, Any]:
    room, quarter = rng.choice(ROOMS), rng.choice(NEIGHBOURHOODS)
    house = f"{rng.choice(vocabulary.HOTEL_FIRST)} {rng.choice(vocabulary.HOTEL_LAST)}"
    price = round(_DOUBLE_ROOM_MINOR * room.price * city.price_level * rng.uniform(0.75, 1.5), -2)
    return {
        "type": "hotel",
        "name": f"{house} {city.name}, {room.name.lower()}",
        "description": f"{room.words} In {city.name}'s {quarter}, a short walk from the tram.",
        "place": quarter,
        "price_minor": int(price),
        "capacity": room.capacity,
        "min_nights": rng.choice(_MIN_NIGHTS),
        "duration_days": 1,
        "amenities": sorted({"wifi", *rng.sample(HOTEL_AMENITIES, rng.randrange(2, 7))}),
        **_where(rng, city),
    }


def _tour(rng: random.Random, city: City) -> dict[str, Any]:
    outing = rng.choice(OUTINGS)
    return {
        "type": "tour",
        "name": outing.name.format(city=city.name),
        "description": f"{outing.words} Starts and ends in {city.name}.",
        "place": rng.choice(NEIGHBOURHOODS),
        "price_minor": 100 * round(outing.dollars * rng.uniform(0.8, 1.3)),
        "capacity": 1,
        "min_nights": 1,
        "duration_days": outing.days,
        "amenities": sorted({"guide", *rng.sample(TOUR_AMENITIES, rng.randrange(1, 5))}),
        **_where(rng, city),
    }


def _where(rng: random.Random, city: City) -> dict[str, Any]:
    return {
        "city": city.name,
        "country": city.country,
        "time_zone": city.time_zone,
        "latitude": round(city.latitude + rng.gauss(0, 0.02), 5),
        "longitude": round(city.longitude + rng.gauss(0, 0.02), 5),
    }


class Stock:
    """Units held and booked per package and day, counted in one byte each, so that 20,000 packages fit in memory."""

    def __init__(self, offers: Sequence[Offer], today: date) -> None:
        self._offers = offers
        self._today = today
        self._first = today + timedelta(days=FIRST_DAY)
        days = LAST_DAY - FIRST_DAY
        self._held = [bytearray(days) for _ in offers]
        self._booked = [bytearray(days) for _ in offers]
        self._asked = [bytearray(days) for _ in offers]

    def has(self, offer: Offer, days: Sequence[date], units: int) -> bool:
        """Whether so many units are left on every one of these days."""
        held, booked = self._held[offer.index], self._booked[offer.index]
        return all(held[n] + booked[n] + units <= offer.units for n in self._numbers(days))

    def note(self, offer: Offer, days: Sequence[date], *, held: int = 0, booked: int = 0) -> None:
        """Take units for good; with neither, only remember that these days were sold from once."""
        for n in self._numbers(days):
            self._held[offer.index][n] += held
            self._booked[offer.index][n] += booked
            self._asked[offer.index][n] = 1

    def rows(self) -> Iterator[dict[str, Any]]:
        """The availability: from yesterday (it is still today somewhere) on, and before that what somebody booked."""
        yesterday = self._today - timedelta(days=1)
        days = [self._first + timedelta(days=n) for n in range(LAST_DAY - FIRST_DAY)]
        for offer in self._offers:
            held, booked, asked = self._held[offer.index], self._booked[offer.index], self._asked[offer.index]
            for n, day in enumerate(days):
                if asked[n] or (day >= yesterday and offer.offered_on(day)):
                    yield {
                        "package_id": offer.id,
                        "day": day,
                        "capacity": offer.units,
                        "held": held[n],
                        "booked": booked[n],
                        "price_minor": offer.price_on(day),
                    }

    def _numbers(self, days: Sequence[date]) -> range:
        first = (days[0] - self._first).days
        return range(first, first + len(days))
