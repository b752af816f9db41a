"""The journey the product is for: a traveller who knows only the API's documents books and pays, and staff see it."""

from __future__ import annotations

import re
import time
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import requests

from tests import factories
from tests.conftest import wait_for
from tests.stack import Stack

CONFIRMED_WITHIN_SECONDS = 5


class ApiClient:
    """A client that knows one address, the OpenAPI document's, and finds every path in it by what it is for."""

    def __init__(self, base: str) -> None:
        self.document = requests.get(f"{base}/v1/openapi.json", timeout=10).json()
        self.server = self.document["servers"][0]["url"]
        self.token: str | None = None

    def call(
        self, summary: str, *, body: Any = None, query: dict[str, str] | None = None, **path: Any
    ) -> requests.Response:
        """Call the operation whose summary starts like this; refuses an answer that the document doesn't mention."""
        method, template, operation = next(
            (method, template, operation)
            for template, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if operation["summary"].startswith(summary)
        )
        response = requests.request(
            method,
            self.server + template.format(**path),
            json=body,
            params=query,
            headers={"Authorization": f"Bearer {self.token}"} if operation["security"] else {},
            timeout=30,
        )
        assert str(response.status_code) in operation["responses"], f"{summary}: {response.status_code} {response.text}"
        return response


def sign_in(console: requests.Session, base: str, email: str) -> requests.Response:
    page = console.get(f"{base}/console/login", timeout=10)
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token is not None
    form = {"csrf_token": token[1], "email": email, "password": factories.PASSWORD}
    return console.post(f"{base}/console/login", data=form, timeout=10)


def test_a_traveller_books_and_pays_and_staff_see_the_story(stack: Stack) -> None:
    with stack.app():
        for_sale = factories.package(units=1, min_nights=2)
        package_id, package_name = for_sale.id, for_sale.name
        support_email = factories.staff("support").email

    api = ApiClient(stack.url)
    email = f"{uuid4().hex[:8]}@example.org"
    registered = api.call(
        "Make a traveller's account", body={"email": email, "password": "correct horse battery", "name": "Ada Nordmann"}
    )
    assert registered.status_code == 201
    api.token = registered.json()["accessToken"]

    found = api.call("List packages on sale").json()["items"]
    assert [(item["id"], item["name"]) for item in found] == [(package_id, package_name)]
    days = api.call("See which days are free", packageId=package_id).json()["items"]
    first = date.fromisoformat(next(day for day in days if day["unitsLeft"] == 1)["date"])
    wish = {"packageId": package_id, "checkIn": str(first), "checkOut": str(first + timedelta(days=2)), "guests": 2}
    booked = api.call("Book", body=wish)
    assert booked.status_code == 201
    booking = booked.json()
    assert booking["status"] == "PENDING_PAYMENT"
    assert booking["total"] == {"amount": 20_000, "currency": "USD"}
    again = api.call("Book", body=wish)
    assert again.status_code == 409
    assert again.headers["Content-Type"] == "application/problem+json"

    intent = api.call("Get the Stripe payment intent", bookingId=booking["id"]).json()
    assert intent["amount"] == booking["total"]
    declined = stack.pay(intent["paymentIntentId"], "pm_card_chargeDeclined")
    assert declined.status_code == 402
    wait_for(
        lambda: stack.ask_database("SELECT 1 FROM payments WHERE status = 'FAILED'"),
        "the decline to arrive",
        seconds=60,  # the workers may still be starting
    )
    assert api.call("Get one's own booking", bookingId=booking["id"]).json()["status"] == "PENDING_PAYMENT"
    same = api.call("Get the Stripe payment intent", bookingId=booking["id"]).json()
    assert same["paymentIntentId"] == intent["paymentIntentId"]

    paid_at = time.monotonic()
    assert stack.pay(same["paymentIntentId"]).ok

    def is_confirmed() -> bool:
        status = api.call("Get one's own booking", bookingId=booking["id"]).json()["status"]
        return bool(status == "CONFIRMED")

    wait_for(is_confirmed, "the booking to be confirmed", CONFIRMED_WITHIN_SECONDS)
    print(f"confirmed {time.monotonic() - paid_at:.2f} s after the payment")  # noqa: T201  (shown with -s)

    console = requests.Session()
    home = sign_in(console, stack.url, support_email)
    assert home.status_code == 200
    assert booking["reference"] in home.text
    page = console.get(f"{stack.url}/console/bookings/{booking['id']}/", timeout=10)
    assert page.status_code == 200
    assert "Confirmed" in page.text
    told = re.findall(r'class="event-title">([^<]+)<', page.text)
    for moment in ("Booked, stock held", "Payment started", "Payment declined", "Payment captured", "Confirmed"):
        assert told.count(moment) == 1, told
    assert told.count("Posted to the ledger") == 1
    assert {"Stripe: payment_intent.payment_failed", "Stripe: payment_intent.succeeded"} <= set(told)
    # In the order it happened, though the parts come from five tables.
    assert told.index("Booked, stock held") < told.index("Payment declined") < told.index("Payment captured")

    ledger = stack.flask("ledger", "verify")
    assert (ledger.returncode, ledger.stderr) == (0, "")
    assert "The ledger is in order." in ledger.stdout
    assert stack.ask_database("SELECT kind, amount_minor FROM ledger_entries ORDER BY kind") == [
        ("capture.commission", 3_000),
        ("capture.provider_share", 17_000),
        ("capture.stripe_fee", 610),
    ]
    sealed = stack.flask("audit", "seal")
    assert sealed.returncode == 0, sealed.stderr
    audit = stack.flask("audit", "verify")
    assert audit.returncode == 0, audit.stderr
    assert "0 are not sealed yet" in audit.stdout
    # The first page of the story was not all there is to see: the list finds it by its reference as well.
    listed = console.get(f"{stack.url}/console/bookings/", params={"q": booking["reference"]}, timeout=10)
    assert f"/console/bookings/{booking['id']}/" in listed.text
