"""What a traveller asks for, checked against what a package offers: the days it takes and the guests it holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from app.catalog.service import Offer
from app.errors import FieldError, Invalid

MAX_NIGHTS = 90
# Nobody sells further ahead, and the calendar itself ends in the year 9999.
MAX_AHEAD = timedelta(days=10 * 365)
MAX_UNITS = 50


@dataclass(frozen=True)
class Stay:
    """Units of a package from `starts_on` to `ends_on` (excluded); `stock_days` are its nights or its departure."""

    starts_on: date
    ends_on: date
    stock_days: tuple[date, ...]
    units: int
    guests: int


def stay_of(
    package: Offer, *, check_in: date | None, check_out: date | None, departure: date | None, units: int, guests: int
) -> Stay:
    """The stay that these wishes make. Raises Invalid, naming every field that is wrong as the API calls it."""
    today = datetime.now(ZoneInfo(package.time_zone)).date()
    wrong = _wrong_counts(package, units, guests)
    if package.type == "tour":
        if check_in or check_out:
            wrong.append(
                FieldError("checkIn" if check_in else "checkOut", "A tour has a departure, no check-in or check-out.")
            )
        if departure is None:
            wrong.append(FieldError("departure", "Say which departure."))
        elif departure < today:
            wrong.append(FieldError("departure", "This departure is in the past."))
        elif departure > today + MAX_AHEAD:
            wrong.append(FieldError("departure", "This departure is too far ahead."))
        if wrong or departure is None:
            raise Invalid("Some fields need another look.", wrong)
        return Stay(departure, departure + timedelta(days=package.duration_days), (departure,), units, guests)

    if departure:
        wrong.append(FieldError("departure", "A hotel has a check-in and a check-out, no departure."))
    if check_in is None:
        wrong.append(FieldError("checkIn", "Say on which day."))
    elif check_in < today:
        wrong.append(FieldError("checkIn", "This day is in the past."))
    elif check_in > today + MAX_AHEAD:
        wrong.append(FieldError("checkIn", "This day is too far ahead."))
    if check_out is None:
        wrong.append(FieldError("checkOut", "Say on which day."))
    elif check_in is not None:
        nights = (check_out - check_in).days
        if nights < 1:
            wrong.append(FieldError("checkOut", "This must be after checkIn."))
        elif nights > MAX_NIGHTS:
            wrong.append(FieldError("checkOut", f"At most {MAX_NIGHTS} nights can be booked at once."))
        elif nights < package.min_nights:
            wrong.append(FieldError("checkOut", f"This package is sold for at least {package.min_nights} nights."))
    if wrong or check_in is None or check_out is None:
        raise Invalid("Some fields need another look.", wrong)
    days = tuple(check_in + timedelta(days=n) for n in range((check_out - check_in).days))
    return Stay(check_in, check_out, days, units, guests)


def _wrong_counts(package: Offer, units: int, guests: int) -> list[FieldError]:
    if not 1 <= units <= MAX_UNITS:
        return [FieldError("units", f"Book 1 to {MAX_UNITS} units.")]
    if not 1 <= guests <= units * package.capacity:
        holds = f"{units} {'unit holds' if units == 1 else 'units hold'}"
        return [FieldError("guests", f"{holds} 1 to {units * package.capacity} guests.")]
    return []
