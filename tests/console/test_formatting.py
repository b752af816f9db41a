"""How money, times and states are written in the console."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.bookings.models import Booking
from app.catalog.models import Package, Provider
from app.console import formatting
from app.payments.models import Payment, Refund, WebhookEvent

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "options", "written"),
    [
        ({"amount": 123_450, "currency": "USD"}, {}, "$1,234.50"),
        ({"amount": -300, "currency": "EUR"}, {}, "−€3.00"),
        ({"amount": 1200, "currency": "JPY"}, {}, "1,200\N{NO-BREAK SPACE}JPY"),
        ({"amount": 1234, "currency": "KWD"}, {}, "1.234\N{NO-BREAK SPACE}KWD"),
        ({"amount": 5, "currency": "USD"}, {"code": True}, "$0.05\N{NO-BREAK SPACE}USD"),
    ],
)
def test_money_has_its_currencys_digits_and_sign(value: dict[str, Any], options: dict[str, Any], written: str) -> None:
    assert formatting.money(value, **options) == written


def test_an_amount_without_a_currency_is_refused() -> None:
    with pytest.raises(ValueError, match="no currency"):
        formatting.money(100)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_400, "1 day ago"),
        (6 * 86_400, "6 days ago"),
        (-30, "in under a minute"),
        (-7200, "in 2 h"),
        (7 * 86_400, "15 Nov"),
    ],
)
def test_a_time_is_written_as_its_distance_from_now(seconds: int, written: str) -> None:
    assert formatting.relative(NOW - timedelta(seconds=seconds), NOW) == written


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no zone"):
        formatting.exact(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("model", [Booking, Payment, Refund, Provider, Package, WebhookEvent])
def test_every_state_has_a_tone_of_its_own_choosing(model: Any) -> None:
    assert [status for status in model.MOVES if status not in formatting._TONE_OF] == []


def test_back_quoted_words_become_code_and_everything_is_escaped() -> None:
    assert formatting.code_marks("a `b<c` <d>") == "a <code>b&lt;c</code> &lt;d&gt;"
