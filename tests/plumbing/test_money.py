"""Money in minor units, never a float."""

from __future__ import annotations

from decimal import Decimal

import pytest

from app.money import Money, share, to_minor


@pytest.mark.parametrize(
    ("major", "currency", "minor"),
    [
        ("259", "USD", 25900),
        ("0.005", "USD", 1),
        ("0.004", "USD", 0),
        ("1200", "JPY", 1200),
        ("1.5", "JPY", 2),
        ("1.2345", "KWD", 1235),
    ],
)
def test_major_units_become_minor_ones_rounded_half_up(major: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(major), currency) == minor


@pytest.mark.parametrize(
    ("amount", "basis_points", "part"),
    [(10_000, 1500, 1500), (333, 1500, 50), (1, 5000, 1), (1, 4999, 0), (0, 1500, 0), (99_999_999, 10_000, 99_999_999)],
)
def test_a_share_is_rounded_half_up(amount: int, basis_points: int, part: int) -> None:
    assert share(amount, basis_points) == part


def test_a_share_never_leaves_the_amount() -> None:
    for amount in range(1, 500):
        for points in (0, 1, 1500, 9_999, 10_000):
            assert 0 <= share(amount, points) <= amount


@pytest.mark.parametrize(
    ("money", "words"),
    [
        (Money(25900, "USD"), "259.00 USD"),
        (Money(1, "USD"), "0.01 USD"),
        (Money(1234567, "JPY"), "1,234,567 JPY"),
        (Money(-300, "EUR"), "-3.00 EUR"),
        (Money(1235, "KWD"), "1.235 KWD"),
    ],
)
def test_money_is_written_with_its_currencys_own_digits(money: Money, words: str) -> None:
    assert str(money) == words


def test_money_in_json_is_minor_units_and_the_currency() -> None:
    assert Money(25900, "USD").json() == {"amount": 25900, "currency": "USD"}
