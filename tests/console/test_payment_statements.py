"""The statement of a payment, on its page and its booking's: what was paid, what was taken of it, who has the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask

from app.payments.models import Payment
from tests import queued
from tests.console.browser import signed_in
from tests.disputes.disputing import decided, disputed
from tests.payments.refunding import ask, paid


def statement(app: Flask, path: str) -> dict[str, str]:
    """The lines of the page's statement, without hints."""
    answer = signed_in(app, "finance").get(path)
    assert answer.status_code == 200, path
    table = answer.text[answer.text.index('<table class="statement">') :].split("</table>")[0]
    table = re.sub(r"<small>.*?</small>", "", table)
    lines = re.findall(r'<th scope="row">(.*?)</th>\s*<td>(.*?)</td>', table, re.S)
    return {plain(label): plain(amount).removesuffix(" USD") for label, amount in lines}


def plain(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split()).replace("\N{MINUS SIGN}", "-")


def of(app: Flask, payment: Payment) -> dict[str, str]:
    """The payment's statement, which its booking's has too."""
    lines = statement(app, f"/console/payments/{payment.id}/")
    assert lines.pop("Asked for") == "$100.00"
    of_booking = statement(app, f"/console/bookings/{payment.booking_id}/")
    assert {label: of_booking[label] for label in lines} == lines
    return lines


def test_a_payment_of_which_nothing_was_taken_is_shared_as_it_was_paid(app: Flask) -> None:
    assert of(app, paid()) == {
        "Paid": "$100.00",
        "Stripe's fee": "-$3.20",
        "Provider's share": "$85.00",
        "Commission": "$15.00",
    }


@pytest.mark.parametrize(
    ("course", "label"), [("succeeds", "Refunded"), ("stays_pending", "Refund on its way")], ids=["paid", "pending"]
)
def test_the_shares_are_what_a_refund_leaves_also_while_it_is_on_its_way(
    app: Flask, switches: Callable[..., None], course: str, label: str
) -> None:
    payment = paid()
    switches(refunds={"course": course})
    ask(payment, 4_000)
    assert queued.work_off() == []
    assert of(app, payment) == {
        "Paid": "$100.00",
        "Stripe's fee": "-$3.20",
        label: "-$40.00",
        "Provider's share": "$51.00",
        "Commission": "$9.00",
    }


def test_what_a_dispute_withdrew_is_a_line_and_a_lost_one_takes_the_shares(app: Flask) -> None:
    payment = paid()
    dispute_id = disputed(payment).stripe_dispute_id or ""
    lines = of(app, payment)
    assert (lines["Withdrawn by a dispute"], lines["Provider's share"], lines["Commission"]) == (
        "-$100.00",
        "$85.00",
        "$15.00",
    )
    decided(dispute_id, "lost")
    lines = of(app, payment)
    assert (lines["Withdrawn by a dispute"], lines["Provider's share"], lines["Commission"]) == (
        "-$100.00",
        "$0.00",
        "$0.00",
    )
