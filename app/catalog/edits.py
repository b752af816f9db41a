"""The verbs that edit what a package and a provider say of themselves, and how each of their fields is typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from app.accounts.service import is_address
from app.audit import edits
from app.audit import service as audit
from app.audit.actor import Actor
from app.audit.edits import Editable
from app.catalog import calendars, changes, packages, providers
from app.catalog.import_fields import FIELDS, Wrong, number, shown
from app.catalog.models import Package, Provider
from app.catalog.time_zones import all_zones, find_country, zones_of
from app.db import lock, transaction, utcnow
from app.errors import FieldError, Invalid
from app.money import MAX_CHARGE_MINOR, minor_digits, to_minor

MAX_DURATION_DAYS = 365
MAX_ADDRESS = 1_000
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{3,38}[0-9]")
_ZONES_NAMED = 5


def package_fields(package: Package) -> dict[str, Editable]:
    """What can be edited of a package, read by the rules of an import; its length depends on its type."""
    nights = {"min_nights": _as_imported("min_nights")}
    days = {"duration_days": Editable("duration_days", partial(_whole, name="duration_days", most=MAX_DURATION_DAYS))}
    return {
        "name": _as_imported("name"),
        "description": _as_imported("description"),
        "amenities": Editable("amenities", _amenities, "\n".join),
        "place": _as_imported("place", _or_empty),
        "city": _as_imported("city"),
        "country": Editable("country", partial(_country, name="country")),
        "time_zone": Editable("time_zone", _zone),
        "latitude": _as_imported("latitude", _or_empty),
        "longitude": _as_imported("longitude", _or_empty),
        "price": Editable(
            "price_minor", partial(_price, currency=package.currency), partial(_major, currency=package.currency)
        ),
        "units": _as_imported("units"),
        "capacity": _as_imported("capacity"),
        **(days if package.type == "tour" else nights),
        "cancellation_policy": _as_imported("cancellation_policy"),
    }


def provider_fields() -> dict[str, Editable]:
    """What can be edited of a provider."""
    return {
        "name": Editable("name", partial(_imported, name="provider_name", field="name")),
        "contact_name": Editable("contact_name", partial(_line, name="contact_name"), _or_empty),
        "email": Editable("email", _email, _or_empty),
        "phone": Editable("phone", _phone, _or_empty),
        "address": Editable("address", _address, _or_empty),
        "country": Editable("country", lambda text: _country(text, name="country") if text else None, _or_empty),
    }


def edit_package(package_id: int, typed: Mapping[str, str], *, seen: int, by: Actor) -> Package:
    """Save a form of a package that was opened at the version `seen`, over what others saved since.

    A new price or number of units goes for the days that had the package's own; bookings that were made keep theirs.
    Raises NotAllowed, NotFound, Invalid by field, SavedMeanwhile.
    """
    by.require(*packages.MAY_EDIT)
    with transaction():
        package = packages.lock_for_edit(package_id)
        wanted = edits.merge(package, package_fields(package), typed, seen=seen)
        if not wanted:
            return package
        _check_place(package, wanted)
        _check_stock(package, wanted)
        former = calendars.Former(package, package.units, package.price_minor)
        _set(package, wanted)
        package.updated_at = utcnow()
        audit.record(by, "package.edit", package)
        changes.announce()
        calendars.follow([former])
    return package


def edit_provider(provider_id: int, typed: Mapping[str, str], *, seen: int, by: Actor) -> Provider:
    """Save a form of a provider that was opened at the version `seen`, over what others saved since.

    Raises NotAllowed, NotFound, Invalid by field, SavedMeanwhile.
    """
    by.require(*providers.MAY_DECIDE)
    with transaction():
        provider = lock(Provider, provider_id)
        wanted = edits.merge(provider, provider_fields(), typed, seen=seen)
        if wanted:
            _set(provider, wanted)
            audit.record(by, "provider.edit", provider)
            changes.announce()
    return provider


def _set(row: Package | Provider, wanted: Mapping[str, Any]) -> None:
    for column, value in wanted.items():
        setattr(row, column, value)


def _check_place(package: Package, wanted: Mapping[str, Any]) -> None:
    wrong = []
    latitude, longitude = (wanted.get(name, getattr(package, name)) for name in ("latitude", "longitude"))
    if (latitude is None) != (longitude is None):
        missing = "latitude" if latitude is None else "longitude"
        wrong.append(FieldError(missing, "A position needs both latitude and longitude."))
    if wanted.keys() & {"country", "time_zone"}:
        country, zone = (wanted.get(name, getattr(package, name)) for name in ("country", "time_zone"))
        found = find_country(country)
        zones = zones_of(found) if found else []
        if zones and zone not in zones:
            named = ", ".join(zones[:_ZONES_NAMED]) + (" and others" if len(zones) > _ZONES_NAMED else "")
            wrong.append(FieldError("time_zone", f"{zone} is not in {country}, which has {named}."))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)


def _check_stock(package: Package, wanted: Mapping[str, Any]) -> None:
    """Raises Invalid when a day that would follow has sold more than the units wanted."""
    units = wanted.get("units", package.units)
    beyond = calendars.sold_beyond([(package, units)], lock=True).get(package.id)
    if beyond:
        sold = f"{beyond.sold} are held or booked on {beyond.day.isoformat()}"
        raise Invalid.field("units", f"{sold}. Change that day on the calendar first, or keep at least as many.")


# --- How each field is typed -----------------------------------------------------------------------------------------


def _as_imported(name: str, write: Callable[[Any], str] = str) -> Editable:
    return Editable(name, partial(_imported, name=name, field=name), write)


def _imported(text: str, *, name: str, field: str) -> Any:
    """What a cell with this text would say in an import of the field `name`; refused in a sentence, as `field`."""
    if not text.strip() and FIELDS[name].empty not in (None, "", []):
        # A file may leave out what has a usual value; whoever empties a field of a form didn't mean that.
        raise Invalid.field(field, "This is missing.")
    try:
        return FIELDS[name].value(text)
    except Wrong as wrong:
        said = str(wrong)
        raise Invalid.field(field, f"{said}." if said.startswith('"') else f"This {said}.") from None


def _or_empty(value: Any) -> str:
    return "" if value is None else str(value)


def _amenities(text: str) -> Any:
    return _imported(text.replace("\n", "|"), name="amenities", field="amenities")


def _country(text: str, *, name: str) -> str:
    country: str = _imported(text, name="country", field=name).name
    return country


def _zone(text: str) -> str:
    if text not in all_zones():
        raise Invalid.field("time_zone", f"{shown(text)} is no time zone.")
    return text


def _whole(text: str, *, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not 1 <= int(text) <= most:
        raise Invalid.field(name, f"Give a whole number from 1 to {most:,}.")
    return int(text)


def _price(text: str, *, currency: str) -> int:
    try:
        amount = number(text.replace(",", ""))
    except Wrong:
        amount = Decimal(0)
    # Before it is rounded, which takes long for a number beyond all sense.
    minor = to_minor(amount, currency) if amount > 0 and amount.adjusted() <= len(str(MAX_CHARGE_MINOR)) else 0
    if not 0 < minor <= MAX_CHARGE_MINOR or amount != round(amount, minor_digits(currency)):
        raise Invalid.field("price", f"Give an amount in {currency} that can be charged at once, such as 129.00.")
    return minor


def _major(minor: int, *, currency: str) -> str:
    digits = minor_digits(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f}"


def _line(text: str, *, name: str) -> str | None:
    """One line, or nothing; held to what a place may be in an import."""
    line: str | None = _imported(text, name="place", field=name)
    return line


def _email(text: str) -> str | None:
    email = text.strip()
    if email and not is_address(email):
        raise Invalid.field("email", "This is not an e-mail address.")
    return email or None


def _phone(text: str) -> str | None:
    phone = " ".join(text.split())
    if phone and not _PHONE.fullmatch(phone):
        raise Invalid.field("phone", "Give a telephone number such as +47 22 12 34 56.")
    return phone or None


def _address(text: str) -> str | None:
    address: str = _imported(text, name="description", field="address")
    if len(address) > MAX_ADDRESS:
        raise Invalid.field("address", f"Use at most {MAX_ADDRESS:,} characters.")
    return address or None
