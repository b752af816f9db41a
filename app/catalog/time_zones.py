"""Countries and their time zones, from the IANA time zone database: what a package's days are counted in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import asin, cos, radians, sin, sqrt

# Where the database's own English names are abbreviated or unusual. All of its names are understood all the same.
_NAMES = {
    "AG": "Antigua and Barbuda",
    "AS": "American Samoa",
    "BA": "Bosnia and Herzegovina",
    "BL": "Saint Barthélemy",
    "CC": "Cocos Islands",
    "CD": "Democratic Republic of the Congo",
    "CF": "Central African Republic",
    "CG": "Republic of the Congo",
    "CI": "Ivory Coast",
    "CZ": "Czechia",
    "GB": "United Kingdom",
    "KN": "Saint Kitts and Nevis",
    "KP": "North Korea",
    "KR": "South Korea",
    "LC": "Saint Lucia",
    "MF": "Saint Martin",
    "MM": "Myanmar",
    "PM": "Saint Pierre and Miquelon",
    "SH": "Saint Helena",
    "SX": "Sint Maarten",
    "SZ": "Eswatini",
    "TC": "Turks and Caicos Islands",
    "TF": "French Southern Territories",
    "TL": "Timor-Leste",
    "TT": "Trinidad and Tobago",
    "VC": "Saint Vincent and the Grenadines",
    "VG": "British Virgin Islands",
    "VI": "U.S. Virgin Islands",
    "WS": "Samoa",
}
# Other names that foreign files use.
_ALSO_KNOWN_AS = {
    "england": "GB",
    "great britain": "GB",
    "northern ireland": "GB",
    "scotland": "GB",
    "uk": "GB",
    "wales": "GB",
    "america": "US",
    "united states of america": "US",
    "usa": "US",
    "brunei darussalam": "BN",
    "cabo verde": "CV",
    "czech republic": "CZ",
    "holland": "NL",
    "hong kong sar": "HK",
    "lao pdr": "LA",
    "macedonia": "MK",
    "macao": "MO",
    "palestinian territories": "PS",
    "republic of korea": "KR",
    "russian federation": "RU",
    "swaziland": "SZ",
    "turkiye": "TR",
    "uae": "AE",
    "viet nam": "VN",
}
# ISO 6709 as zone.tab writes it: ±DDMM±DDDMM or ±DDMMSS±DDDMMSS.
_POSITION = re.compile(r"([+-])(\d\d)(\d\d)(\d\d)?([+-])(\d{3})(\d\d)(\d\d)?")
_EARTH_RADIUS_KM = 6_371.0


@dataclass(frozen=True)
class Country:
    """A country by its two-letter ISO 3166 code and its customary English name."""

    code: str
    name: str


@dataclass(frozen=True)
class _Zone:
    name: str
    latitude: float
    longitude: float


def find_country(text: str) -> Country | None:
    """The country with this English name or two-letter code, in whatever case; None if there is none."""
    return _countries().get(_simplified(text))


def zone_of(country: Country, city: str, position: tuple[float, float] | None) -> str:
    """The IANA zone of a place: the country's zone whose principal city is nearest by great circle.

    Near a border between two zones of one country this may be the neighbour's. Without a position (latitude, longitude)
    it is the zone named like the city, or the country's first, mostly that of its capital or its most populous part.
    """
    zones = _zones()[country.code]
    if position is not None:
        return min(zones, key=lambda zone: _kilometres(position, (zone.latitude, zone.longitude))).name
    wanted = _simplified(city)
    return next((zone.name for zone in zones if _simplified(zone.name.rsplit("/", 1)[-1]) == wanted), zones[0].name)


def zones_of(country: Country) -> list[str]:
    """The IANA zones of a country, its principal one first."""
    return [zone.name for zone in _zones()[country.code]]


@cache
def all_zones() -> tuple[str, ...]:
    """Every IANA zone of a country, by name."""
    return tuple(sorted({zone.name for zones in _zones().values() for zone in zones}))


@cache
def all_countries() -> tuple[str, ...]:
    """The customary English names of all countries, in order."""
    return tuple(sorted({country.name for country in _countries().values()}))


@cache
def _countries() -> dict[str, Country]:
    """Every spelling that is understood. Countries without a zone (two uninhabited islands) are left out."""
    found: dict[str, Country] = {}
    for code, listed_name in _table("iso3166.tab"):
        if code in _zones():
            country = Country(code, _NAMES.get(code, listed_name.replace(" & ", " and ")))
            for spelling in (code, listed_name, country.name):
                found[_simplified(spelling)] = country
    return found | {spelling: found[code.lower()] for spelling, code in _ALSO_KNOWN_AS.items()}


@cache
def _zones() -> dict[str, list[_Zone]]:
    zones: dict[str, list[_Zone]] = {}
    for code, position, name, *_comment in _table("zone.tab"):
        zones.setdefault(code, []).append(_Zone(name, *_degrees(position)))
    return zones


def _table(name: str) -> list[list[str]]:
    text = files("tzdata").joinpath("zoneinfo", name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def _degrees(position: str) -> tuple[float, float]:
    parts = _POSITION.fullmatch(position)
    if parts is None:
        raise ValueError(f"zone.tab has a position that is not ISO 6709: {position}")
    latitude_sign, *latitude, longitude_sign, degrees, minutes, seconds = parts.groups(default="0")
    return _decimal(latitude_sign, *latitude), _decimal(longitude_sign, degrees, minutes, seconds)


def _decimal(sign: str, degrees: str, minutes: str, seconds: str) -> float:
    return float(sign + "1") * (int(degrees) + int(minutes) / 60 + int(seconds) / 3600)


def _kilometres(here: tuple[float, float], there: tuple[float, float]) -> float:
    """The haversine formula."""
    (latitude, longitude), (other_latitude, other_longitude) = (map(radians, here), map(radians, there))
    half_chord = (
        sin((other_latitude - latitude) / 2) ** 2
        + cos(latitude) * cos(other_latitude) * sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * asin(sqrt(half_chord))


def _simplified(text: str) -> str:
    """Without case, accents, punctuation and a leading article, so that spellings of one name meet."""
    plain = unicodedata.normalize("NFKD", text.replace("&", " and "))
    letters = "".join(" " if not sign.isalnum() else sign for sign in plain if not unicodedata.combining(sign))
    return " ".join(letters.casefold().split()).removeprefix("the ")
