"""A reconciled day by keys: from its sums, which lead nowhere, to what differs."""

from __future__ import annotations

from datetime import date
from typing import Any

from playwright.sync_api import expect

from app.db import transaction, utcnow
from app.extensions import db
from app.reports.models import Difference, Reconciliation
from tests.browser.conftest import Console, SignIn

DAY = date(2012, 5, 17)
SUMS: dict[str, Any] = {
    **{"booked_as": "charge", "currency": "USD", "movements": 1, "differing": 1},
    **{"there_minor": 41_250, "there_fee_minor": 0, "here_minor": 0, "here_fee_minor": 0},
}


def test_j_goes_to_the_first_row_that_leads_somewhere(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        now = utcnow()
        done = {
            "status": "DONE",
            "begun_at": now,
            "compared_at": now,
            "differing": 1,
            "sums": [SUMS],
            "request_id": "req_1",
        }
        with transaction():
            db.session.add(Reconciliation(id=20120517, day=DAY, **done))
            db.session.flush()
            moved = {"there_minor": 41_250, "there_fee_minor": 0, "here_minor": 0, "here_fee_minor": 0}
            difference = Difference(
                **{"reconciliation_id": 20120517, "kind": "missing_here", "booked_as": "charge", "currency": "USD"},
                **{"source_id": "ch_lonely", "transaction_id": "txn_lonely", **moved},
            )
            db.session.add(difference)
    page = sign_in("finance")
    page.goto("/console/reconciliation/20120517/")
    expect(page.get_by_role("link", name="ch_lonely")).to_be_visible()
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="ch_lonely")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Missing in the ledger: charge")).to_be_visible()
    expect(page.get_by_role("button", name="Explain")).to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_role("dialog", name="Explain").get_by_label("Reason")).to_be_focused()
    page.keyboard.type("Of another shop")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Explained. Should it change, it is open again.")).to_be_visible()
