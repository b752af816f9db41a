"""Countries by the names files use for them, and the zone of a place."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from app.catalog import time_zones
from app.catalog.time_zones import Country, find_country, zone_of


@pytest.mark.parametrize(
    ("written", "code", "name"),
    [
        ("Norway", "NO", "Norway"),
        ("no", "NO", "Norway"),
        ("  NORWAY ", "NO", "Norway"),
        ("The Netherlands", "NL", "Netherlands"),
        ("UK", "GB", "United Kingdom"),
        ("Britain (UK)", "GB", "United Kingdom"),
        ("United States of America", "US", "United States"),
        ("Cote d'Ivoire", "CI", "Ivory Coast"),
        ("Türkiye", "TR", "Turkey"),
        ("Trinidad & Tobago", "TT", "Trinidad and Tobago"),
        ("South Korea", "KR", "South Korea"),
    ],
)
def test_a_country_is_known_by_its_names_and_its_code(written: str, code: str, name: str) -> None:
    assert find_country(written) == Country(code, name)


@pytest.mark.parametrize("written", ["Atlantis", "", "XX", "Bouvet Island"])
def test_what_is_no_inhabited_country_is_not_known(written: str) -> None:
    assert find_country(written) is None


@pytest.mark.parametrize(
    ("code", "city", "position", "zone"),
    [
        ("NO", "Oslo", (59.91, 10.75), "Europe/Oslo"),
        ("US", "San Diego", (32.72, -117.16), "America/Los_Angeles"),
        ("US", "Boston", (42.36, -71.06), "America/New_York"),
        ("US", "Honolulu", (21.31, -157.86), "Pacific/Honolulu"),
        ("US", "Anchorage", None, "America/Anchorage"),
        ("US", "New York", None, "America/New_York"),
        ("ES", "Las Palmas", (28.12, -15.44), "Atlantic/Canary"),
        ("ES", "Sevilla", None, "Europe/Madrid"),
        ("AU", "Perth", (-31.95, 115.86), "Australia/Perth"),
        ("FJ", "Labasa", (-16.42, -179.99), "Pacific/Fiji"),
    ],
)
def test_a_place_is_in_its_countrys_nearest_zone(
    code: str, city: str, position: tuple[float, float] | None, zone: str
) -> None:
    country = find_country(code)
    assert country is not None
    assert zone_of(country, city, position) == zone


def test_every_zone_that_can_come_out_exists() -> None:
    for zones in time_zones._zones().values():
        for zone in zones:
            ZoneInfo(zone.name)
