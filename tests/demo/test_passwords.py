"""The demo logins take the password the demo was started with, also on its second start."""

from __future__ import annotations

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import select

from app.accounts import service as accounts
from app.accounts import staff
from app.audit.actor import SYSTEM
from app.audit.models import AuditEntry
from app.demo import people
from app.demo import service as demo
from app.errors import NotAllowed
from app.extensions import db


def test_another_password_takes_the_place_of_the_old_one(empty_app: Flask) -> None:
    for login in people.STAFF:
        staff.create_staff(email=login.email, name=login.name, password="tripdesk-demo", roles=login.roles, by=SYSTEM)
    assert demo.reset_passwords(by=SYSTEM) == 0
    settings = empty_app.extensions["settings"]
    empty_app.extensions["settings"] = settings.model_copy(update={"demo_password": SecretStr("another password")})
    assert demo.reset_passwords(by=SYSTEM) == len(people.STAFF)
    written = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "user.reset_password")).all()
    assert len(written) == len(people.STAFF)
    assert demo.reset_passwords(by=SYSTEM) == 0
    assert accounts.authenticate(email=people.STAFF[0].email, password="another password")
    with pytest.raises(NotAllowed):
        accounts.authenticate(email=people.STAFF[0].email, password="tripdesk-demo")
