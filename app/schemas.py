"""What typed questions and answers share: camelCase names, plain text without control characters, money, cursors."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from app.errors import FieldError, Invalid
from app.money import MAX_CHARGE_MINOR, Money

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MAX_LIMIT = 100
MAX_ID = 2**63 - 1
# Where pydantic speaks to programmers.
_WORDS = {
    "extra_forbidden": "There is nothing of this name here: leave it out",
    "model_type": "Must be an object",
}
# However wrong a body is, its refusal stays short enough to read.
_MOST_ERRORS = 50
_LONGEST_NAME = 100

T = TypeVar("T", bound=BaseModel)


def _without_control_characters(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must not contain control characters")
    return value


def _written_as_a_day(value: Any) -> Any:
    # Left to itself, pydantic takes any number for the seconds since 1970.
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("must be a day such as 2027-03-12")
    return date.fromisoformat(value)


PlainText = Annotated[str, AfterValidator(_without_control_characters)]
Day = Annotated[date, BeforeValidator(_written_as_a_day)]
Id = Annotated[int, Field(ge=1, le=MAX_ID)]


class Schema(BaseModel):
    """Base of everything that goes out; and with `Wish`, of what comes in."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True)


class Wish(Schema):
    """Base of query strings and of each `Body`: unknown names are refused, lest a typo pass for a default."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False, str_max_length=20_000)


class Body(Wish):
    """Base of request bodies: JSON has types of its own, so `true` is no number of guests, nor is "2"."""

    model_config = ConfigDict(strict=True)


class MoneyWish(Body):
    """An amount in minor units and its currency."""

    amount: int = Field(ge=0, le=MAX_CHARGE_MINOR, description="Minor units: 3000 is $30.00.", examples=[3000])
    currency: str = Field(min_length=3, max_length=3, description="ISO 4217.", examples=["USD"])


class MoneyOut(Schema):
    """An amount in minor units and its currency."""

    amount: int = Field(description="Minor units: 25900 is $259.00.", examples=[25900])
    currency: str = Field(description="ISO 4217.", examples=["USD"])

    @classmethod
    def of(cls, amount_minor: int, currency: str) -> MoneyOut:
        """From our own columns."""
        return cls(**Money(amount_minor, currency).json())


class ProviderOut(Schema):
    """Who sells it."""

    id: int
    name: str


class PageQuery(Wish):
    """The window of a list."""

    limit: int = Field(20, ge=1, le=MAX_LIMIT, description="How many items.")
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before.")


def encode_cursor(last_id: int) -> str:
    """An opaque mark of where a page ended."""
    return base64.urlsafe_b64encode(f"id:{last_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """The id a page ended with. Raises Invalid for anything that `encode_cursor` didn't make."""
    if cursor is None:
        return None
    try:
        kind, _, value = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        kind, value = "", ""
    if kind != "id" or not value.isdigit() or len(value) > 19 or int(value) > MAX_ID:
        raise Invalid.field("cursor", "This is not a cursor of this list.")
    return int(value)


def page(rows: Sequence[Any], limit: int, out: Callable[[Any], Schema]) -> dict[str, Any]:
    """The answer of a list whose rows were read with one more than `limit`, each as `out` makes it."""
    shown = rows[:limit]
    return {
        "items": [out(row) for row in shown],
        "next_cursor": encode_cursor(shown[-1].id) if len(rows) > limit else None,
    }


def parse(schema: type[T], values: Any) -> T:
    """What was sent, as the schema has it. Raises Invalid, naming every field that is wrong."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        wrong = [
            FieldError(_name(line["loc"]), _sentence(_WORDS.get(line["type"], line["msg"])))
            for line in error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
        ]
        raise Invalid("Some fields need another look.", wrong) from None


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)[:_LONGEST_NAME] or "body"


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[0].upper() + message[1:].rstrip(".") + "."
