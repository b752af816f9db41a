"""Everything that is kept in the trail has a name."""

from __future__ import annotations

import re
from pathlib import Path

from app.audit.action_names import ACTIONS, action_in_words

APP = Path(__file__).parent.parent.parent / "app"
# `audit.record(by, "booking.cancel", …)`, and the others that record.
_RECORDED = re.compile(r"audit\.record\w*\(\s*(?:\*\()?\w+,\s*\"([a-z_]+\.[a-z_]+)\"")


def test_every_action_that_is_recorded_has_a_name_of_its_own() -> None:
    recorded = {action for path in APP.rglob("*.py") for action in _RECORDED.findall(path.read_text())}
    assert len(recorded) > 70
    assert recorded - ACTIONS.keys() == set()


def test_an_action_without_a_name_is_told_by_its_code() -> None:
    assert action_in_words("booking.cancel") == "Booking cancelled"
    assert action_in_words("tea.pour_out") == "Tea pour out"
