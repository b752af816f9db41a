"""Money as integer minor units with its currency; nothing in the product holds an amount as a float."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

# ISO 4217 minor units where they are not two: https://www.six-group.com/en/products-services/financial-information/data-standards.html
_MINOR_DIGITS = {
    "JPY": 0,
    "KRW": 0,
    "CLP": 0,
    "ISK": 0,
    "VND": 0,
    "XOF": 0,
    "XAF": 0,
    "BHD": 3,
    "KWD": 3,
    "JOD": 3,
    "TND": 3,
}

# The largest charge Stripe accepts has eight digits: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
MAX_CHARGE_MINOR = 99_999_999

# Only signs that mean one currency to everybody; any other amount is written with its code.
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£"}


def minor_digits(currency: str) -> int:
    """How many decimal places a currency has."""
    return _MINOR_DIGITS.get(currency.upper(), 2)


def to_minor(amount: Decimal, currency: str) -> int:
    """Major units to minor units, rounded half up."""
    return int((amount.scaleb(minor_digits(currency))).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def share(amount_minor: int, basis_points: int) -> int:
    """A part of an amount, in 1/10,000; rounded half up, so that `amount - share` is the exact rest."""
    return (amount_minor * basis_points + 5_000) // 10_000


def written(minor: int, currency: str, *, code: bool = False) -> str:
    """An amount in minor units as people write it: `$1,234.50`, `−€3.00`, `1,200 JPY`.

    With `code`, the currency's code follows its sign too.
    """
    currency = currency.upper()
    digits = minor_digits(currency)
    amount = Decimal(minor).scaleb(-digits)
    sign = _SIGNS.get(currency, "")
    shown = f"{'−' if amount < 0 else ''}{sign}{abs(amount):,.{digits}f}"
    return shown if sign and not code else f"{shown}\N{NO-BREAK SPACE}{currency}"


@dataclass(frozen=True)
class Money:
    """An amount in minor units (`25900` is $259.00) and its ISO 4217 currency."""

    amount_minor: int
    currency: str

    def json(self) -> dict[str, object]:
        """The shape the public API and the templates use."""
        return {"amount": self.amount_minor, "currency": self.currency}

    def __str__(self) -> str:
        digits = minor_digits(self.currency)
        return f"{Decimal(self.amount_minor).scaleb(-digits):,.{digits}f} {self.currency}"
