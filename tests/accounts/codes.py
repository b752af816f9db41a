"""A person's phone: the codes their authenticator app shows."""

from __future__ import annotations

import pyotp
import pytest

from app.accounts import throttle, two_factor
from app.accounts.models import TwoFactor, User
from app.db import transaction, utcnow
from app.extensions import db
from tests import factories


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still for codes and waits: no half minute ends between a code and its check, and no wait is over
    because the machine was busy.
    """
    now = utcnow()
    for module in (two_factor, throttle):
        monkeypatch.setattr(module, "utcnow", lambda: now)


class Phone:
    """An authenticator app that is set up with a person's secret."""

    def __init__(self, secret: str) -> None:
        self.totp = pyotp.TOTP(secret)

    def code(self, steps: int = 0) -> str:
        """The present code, or that of so many steps of 30 seconds from now."""
        return self.totp.at(int(two_factor.utcnow().timestamp()) + steps * 30)

    def wrong_code(self) -> str:
        """Six digits that are not a code of these minutes."""
        near = {self.code(steps) for steps in range(-3, 4)}
        return next(digits for digits in ("000000", "111111", "222222", "333333") if digits not in near)


def set_up(person: User) -> tuple[Phone, list[str]]:
    """A person's phone with their second factor turned on, and their recovery codes; the present code is not used."""
    by = factories.actor(person)
    two_factor.begin(person.id, by=by)
    enrolment = two_factor.enrolment(factories.reread(person))
    assert enrolment is not None
    phone = Phone(enrolment.secret)
    codes = two_factor.confirm(person.id, phone.code(), by=by)
    with transaction():
        db.session.get_one(TwoFactor, person.id, populate_existing=True).last_step = None
    factories.reread(person)
    return phone, codes
