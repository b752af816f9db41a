"""Where the demo's packages are: cities that everybody knows, with their position and time zone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zoneinfo import ZoneInfo

# Python keeps only the last eight by itself, and reads the others from disk again.
zone = cache(ZoneInfo)


@dataclass(frozen=True)
class City:
    """A city, its position in degrees, its IANA time zone, and what a night there costs compared with elsewhere."""

    name: str
    country: str
    latitude: float
    longitude: float
    time_zone: str
    price_level: float


CITIES = (
    City("Amsterdam", "Netherlands", 52.3676, 4.9041, "Europe/Amsterdam", 1.3),
    City("Athens", "Greece", 37.9838, 23.7275, "Europe/Athens", 0.8),
    City("Auckland", "New Zealand", -36.8509, 174.7645, "Pacific/Auckland", 1.1),
    City("Bangkok", "Thailand", 13.7563, 100.5018, "Asia/Bangkok", 0.6),
    City("Barcelona", "Spain", 41.3874, 2.1686, "Europe/Madrid", 1.1),
    City("Bergen", "Norway", 60.3913, 5.3221, "Europe/Oslo", 1.3),
    City("Berlin", "Germany", 52.5200, 13.4050, "Europe/Berlin", 1.0),
    City("Buenos Aires", "Argentina", -34.6037, -58.3816, "America/Argentina/Buenos_Aires", 0.6),
    City("Cape Town", "South Africa", -33.9249, 18.4241, "Africa/Johannesburg", 0.8),
    City("Copenhagen", "Denmark", 55.6761, 12.5683, "Europe/Copenhagen", 1.3),
    City("Cusco", "Peru", -13.5320, -71.9675, "America/Lima", 0.6),
    City("Dubrovnik", "Croatia", 42.6507, 18.0944, "Europe/Zagreb", 1.1),
    City("Edinburgh", "United Kingdom", 55.9533, -3.1883, "Europe/London", 1.2),
    City("Florence", "Italy", 43.7696, 11.2558, "Europe/Rome", 1.2),
    City("Granada", "Spain", 37.1773, -3.5986, "Europe/Madrid", 0.8),
    City("Hanoi", "Vietnam", 21.0278, 105.8342, "Asia/Bangkok", 0.5),
    City("Helsinki", "Finland", 60.1699, 24.9384, "Europe/Helsinki", 1.1),
    City("Istanbul", "Turkey", 41.0082, 28.9784, "Europe/Istanbul", 0.7),
    City("Kyoto", "Japan", 35.0116, 135.7681, "Asia/Tokyo", 1.1),
    City("Lisbon", "Portugal", 38.7223, -9.1393, "Europe/Lisbon", 1.0),
    City("London", "United Kingdom", 51.5074, -0.1278, "Europe/London", 1.6),
    City("Marrakesh", "Morocco", 31.6295, -7.9811, "Africa/Casablanca", 0.6),
    City("Melbourne", "Australia", -37.8136, 144.9631, "Australia/Melbourne", 1.1),
    City("Mexico City", "Mexico", 19.4326, -99.1332, "America/Mexico_City", 0.7),
    City("Montreal", "Canada", 45.5017, -73.5673, "America/Toronto", 1.0),
    City("New York", "United States", 40.7128, -74.0060, "America/New_York", 1.9),
    City("Oslo", "Norway", 59.9139, 10.7522, "Europe/Oslo", 1.3),
    City("Paris", "France", 48.8566, 2.3522, "Europe/Paris", 1.5),
    City("Porto", "Portugal", 41.1579, -8.6291, "Europe/Lisbon", 0.9),
    City("Prague", "Czechia", 50.0755, 14.4378, "Europe/Prague", 0.8),
    City("Queenstown", "New Zealand", -45.0312, 168.6626, "Pacific/Auckland", 1.3),
    City("Reykjavik", "Iceland", 64.1466, -21.9426, "Atlantic/Reykjavik", 1.5),
    City("Rio de Janeiro", "Brazil", -22.9068, -43.1729, "America/Sao_Paulo", 0.8),
    City("Rome", "Italy", 41.9028, 12.4964, "Europe/Rome", 1.2),
    City("San Francisco", "United States", 37.7749, -122.4194, "America/Los_Angeles", 1.7),
    City("Singapore", "Singapore", 1.3521, 103.8198, "Asia/Singapore", 1.4),
    City("Stockholm", "Sweden", 59.3293, 18.0686, "Europe/Stockholm", 1.2),
    City("Sydney", "Australia", -33.8688, 151.2093, "Australia/Sydney", 1.3),
    City("Tallinn", "Estonia", 59.4370, 24.7536, "Europe/Tallinn", 0.8),
    City("Tokyo", "Japan", 35.6762, 139.6503, "Asia/Tokyo", 1.2),
    City("Vancouver", "Canada", 49.2827, -123.1207, "America/Vancouver", 1.2),
    City("Vienna", "Austria", 48.2082, 16.3738, "Europe/Vienna", 1.0),
)
