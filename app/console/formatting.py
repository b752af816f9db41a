"""Between the console's views and its templates: how money, times, days and states are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from markupsafe import Markup

from app.money import written

# One tone per state in the whole product, whatever carries the state. The word is always shown beside the colour.
#   good    as it should be              warn   somebody here has to act
#   active  under way, waits elsewhere   bad    failed, refused or stopped
#   done    over, ended well             quiet  over or not started, nothing to do
_TONES = {
    "good": "ACCEPTED ACTIVE APPROVED CONFIRMED PROCESSED PUBLISHED RECONCILED RESOLVED SENT SUCCEEDED VERIFIED WON",
    "active": (
        "EVIDENCE_SUBMITTED INVITED IN_PROGRESS PARTIALLY_REFUNDED PENDING_PAYMENT PROCESSING QUEUED RECEIVED"
        " REQUIRES_ACTION REQUIRES_PAYMENT RUNNING SENDING SUBMITTED UNDER_REVIEW UNDOING WAITING_ON_CUSTOMER"
        " CHECKING UPLOADING"
    ),
    "warn": "DIFFERS HIGH ON_HOLD OPEN PENDING PENDING_APPROVAL PREPARED UNKNOWN UPLOADED CHECKED STAGED",
    "bad": "FAILED LOST REFUSED REJECTED SUSPENDED URGENT",
    "done": "CLOSED COMPLETED DONE EXPLAINED FIXED",
    "quiet": (
        "CANCELLED CANCELLED_BY_GUEST CANCELLED_BY_PROVIDER CANCELLED_BY_SUPPORT DEACTIVATED DRAFT ENDED EXPIRED"
        " IGNORED LOW MEDIUM REFUNDED UNDONE WITHDRAWN"
    ),
}
_TONE_OF = {status: tone for tone, statuses in _TONES.items() for status in statuses.split()}


def money(value: Mapping[str, Any] | int, currency: str | None = None, *, code: bool = False) -> str:
    """An amount as people write it: `$1,234.50`, `−€3.00`, `1,200 JPY`.

    `value` is `{"amount": minor units, "currency": ISO 4217}`, or minor units with `currency` beside them. With `code`,
    the currency's code follows its sign too. Minor units without a currency are refused with ValueError.
    """
    if isinstance(value, Mapping):
        minor, currency = int(value["amount"]), str(value["currency"])
    elif currency is None:
        raise ValueError(f"the amount {value} has no currency; pass it as the second argument")
    else:
        minor = value
    return written(minor, currency, code=code)


def iso(at: datetime) -> str:
    """A time for machines, RFC 3339 in UTC; a time without zone is refused with ValueError."""
    return _utc(at).isoformat(timespec="seconds").replace("+00:00", "Z")


def exact(at: datetime) -> str:
    """A time for people, to the second: `22 Nov 2026, 07:40:46 UTC`."""
    return f"{_day_month(_utc(at))} {_utc(at):%Y, %H:%M:%S} UTC"


def relative(at: datetime, now: datetime | None = None) -> str:
    """How far a time is from now: `5 min ago`, `in 2 h`, `3 days ago`; beyond a week its date.

    `static/console.js` writes times by the same steps, in the person's zone, and keeps them current.
    """
    at, now = _utc(at), _utc(now or datetime.now(UTC))
    seconds = abs((now - at).total_seconds())
    if seconds >= timedelta(days=7).total_seconds():
        return _day_month(at) if at.year == now.year else f"{_day_month(at)} {at.year}"
    if seconds < 60:
        return "just now" if at <= now else "in under a minute"
    for size, one, many in ((86400, "day", "days"), (3600, "h", "h"), (60, "min", "min")):
        if seconds >= size:
            count = int(seconds // size)
            text = f"{count} {one if count == 1 else many}"
            break
    return f"{text} ago" if at <= now else f"in {text}"


def day(value: date) -> str:
    """A calendar day, without any zone: `Sun 22 Nov 2026`."""
    return f"{value:%a} {_day_month(value)} {value.year}"


def duration(seconds: float) -> str:
    """How long something takes: `350 ms`, `2.5 s`, `3.2 min`, `1 h`."""
    if seconds >= 3600:
        return f"{seconds / 3600:g} h"
    if seconds >= 60:
        return f"{seconds / 60:.3g} min"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def status_label(status: str) -> str:
    """A state as words: `PENDING_PAYMENT` → `Pending payment`."""
    return status.replace("_", " ").capitalize()


def chip_tone(status: str) -> str:
    """The tone a state is shown in; a state the product does not know is `quiet`."""
    return _TONE_OF.get(status.upper(), "quiet")


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"the time {at.isoformat()} has no zone; pass an aware datetime")
    return at.astimezone(UTC)


def _day_month(value: date) -> str:
    return f"{value.day} {value:%b}"


def code_marks(text: str) -> Markup:
    """Text with its `back-quoted` words set as code, everything escaped."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


FILTERS: dict[str, Callable[..., str]] = {
    "money": money,
    "iso": iso,
    "exact": exact,
    "relative": relative,
    "day": day,
    "status_label": status_label,
    "chip_tone": chip_tone,
    "code_marks": code_marks,
}
