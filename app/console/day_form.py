"""The form that changes many days of a package: what was typed, as the verb takes it, and kept as it was typed."""

from __future__ import annotations

from calendar import day_abbr
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation

from werkzeug.datastructures import MultiDict

from app.catalog.day_changes import DayChange
from app.errors import FieldError, Invalid
from app.money import minor_digits, to_minor

SALES = {"": "As it is", "open": "Open", "closed": "Closed"}
_LONGEST = 20


@dataclass(frozen=True)
class DayForm:
    """What stands in the form's fields."""

    first: str = ""
    last: str = ""
    weekdays: Sequence[str] = ()
    price: str = ""
    capacity: str = ""
    min_nights: str = ""
    sale: str = ""
    offer_missing: bool = False

    @classmethod
    def of(cls, sent: MultiDict[str, str]) -> DayForm:
        """What was sent, in the address or as a form."""

        def text(name: str) -> str:
            return sent.get(name, "").strip()[:_LONGEST]

        return cls(
            first=text("first"),
            last=text("last"),
            weekdays=[day for day in sent.getlist("weekday") if day in "0123456" and len(day) == 1],
            price=text("price"),
            capacity=text("capacity"),
            min_nights=text("min_nights"),
            sale=text("sale"),
            offer_missing=bool(sent.get("offer_missing")),
        )

    def change(self, currency: str) -> DayChange:
        """The change it asks for. Raises Invalid by field; what the days allow is the verb's to check."""
        wrong: list[FieldError] = []
        first, last = _day(self.first, "first", wrong), _day(self.last, "last", wrong)
        price = _price(self.price, currency, wrong)
        capacity = _count(self.capacity, "capacity", wrong)
        min_nights = _count(self.min_nights, "min_nights", wrong)
        if self.sale not in SALES:
            wrong.append(FieldError("sale", "Choose one of the three."))
        if wrong or first is None or last is None:
            raise Invalid("Some fields need another look.", wrong)
        return DayChange(
            first=first,
            last=last,
            weekdays=frozenset(map(int, self.weekdays)) or frozenset(range(7)),
            price_minor=price,
            capacity=capacity,
            min_nights=min_nights,
            closed=None if self.sale == "" else self.sale == "closed",
            offer_missing=self.offer_missing,
        )

    def weekday_choices(self) -> list[dict[str, object]]:
        """The seven boxes; none ticked means every day, and is shown as all of them."""
        return [
            {
                "value": str(number),
                "label": day_abbr[number],
                "checked": not self.weekdays or str(number) in self.weekdays,
            }
            for number in range(7)
        ]


def _day(typed: str, field: str, wrong: list[FieldError]) -> date | None:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        wrong.append(FieldError(field, "Give a day such as 2026-12-24."))
        return None


def _count(typed: str, field: str, wrong: list[FieldError]) -> int | None:
    if not typed:
        return None
    if not (typed.isascii() and typed.isdigit()) or len(typed) > 9:
        wrong.append(FieldError(field, "Give a whole number."))
        return None
    return int(typed)


def _price(typed: str, currency: str, wrong: list[FieldError]) -> int | None:
    if not typed:
        return None
    digits = minor_digits(currency)
    try:
        amount = Decimal(typed.replace(",", "")) if typed.isascii() else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount.adjusted() > 12 or amount != round(amount, digits):
        wrong.append(FieldError("price", f"Give an amount in {currency} such as 129.00."))
        return None
    return to_minor(amount, currency)
