"""The currencies that the local Stripe takes, with the least amount of a charge and how amounts are written."""

from dataclasses import dataclass

LARGEST_AMOUNT = 99_999_999  # minor units, https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts


@dataclass(frozen=True)
class Currency:
    """One currency: its sign, the least charge in minor units, and how many decimals an amount is shown with."""

    sign: str
    smallest_charge: int
    decimals: int = 2


CURRENCIES = {
    "usd": Currency("$", 50),
    "eur": Currency("€", 50),
    "gbp": Currency("£", 30),
    "nok": Currency("kr", 300),
    "sek": Currency("kr", 300),
    "dkk": Currency("kr", 250),
    "chf": Currency("CHF", 50),
    "cad": Currency("$", 50),
    "aud": Currency("$", 50),
    "nzd": Currency("$", 50),
    "jpy": Currency("¥", 50, decimals=0),
}


def written(amount: int, currency: str) -> str:
    """An amount of minor units as Stripe's messages write it: `$1,234.50`."""
    known = CURRENCIES[currency]
    return f"{known.sign}{amount / 10**known.decimals:,.{known.decimals}f}"
