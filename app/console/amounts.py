"""Amounts as people type them into a form of the console."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from app.errors import Invalid
from app.money import minor_digits, to_minor


def as_typed(minor: int, currency: str) -> str:
    """An amount as it stands in a field: `1234.50`."""
    digits = minor_digits(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f}"


def amount_typed(words: str, currency: str) -> int:
    """What was typed, in minor units. Raises Invalid for what is no amount, is below zero, or has parts of a cent."""
    try:
        amount = Decimal(words.strip().replace(",", ""))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount < 10**9 or amount.scaleb(minor_digits(currency)) % 1:
        raise Invalid.field("amount", "Write an amount such as 30.00.")
    return to_minor(amount, currency)
