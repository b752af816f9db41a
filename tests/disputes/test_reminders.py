"""Reminders of the time to answer: at 72, 24 and 4 hours, once each, while an answer is still needed.

Everybody of finance is mailed about every dispute, so that each test has a database without those of the others.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Flask
from sqlalchemy import select

from app.audit import trail
from app.db import lock, transaction, utcnow
from app.disputes import evidence, reminders
from app.disputes.models import Dispute
from app.extensions import db
from app.notifications.models import Notification
from app.notifications.rendering import render
from tests import factories, queued
from tests.concurrency import at_once
from tests.disputes.disputing import disputed
from tests.payments.refunding import finance, paid


def due_in(dispute: Dispute, hours: float) -> None:
    with transaction():
        row = lock(Dispute, dispute.id)
        row.evidence_due_by = row.answer_by = utcnow() + timedelta(hours=hours)


def mails(dispute: Dispute, to: str) -> list[int]:
    """The hours of each reminder that a person got."""
    db.session.rollback()
    sent = select(Notification).where(
        Notification.kind == "dispute_deadline", Notification.object_id == dispute.id, Notification.recipient == to
    )
    return [mail.values["hours"] for mail in db.session.scalars(sent.order_by(Notification.id))]


def test_finance_is_reminded_at_each_threshold_once(empty_app: Flask) -> None:
    person = factories.staff("finance")
    email = person.email
    dispute = disputed(paid())
    told = []
    for hours in (73, 71, 70, 25, 23, 23, 5, 3.9, 0.1):
        due_in(dispute, hours)
        reminders.remind_due()
        reminders.remind_due()
        told.append(len(mails(dispute, email)))
    assert told == [0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert mails(dispute, email) == [72, 24, 4]
    told = [
        (moment.detail, moment.fields)
        for moment in trail.moments({"disputes": [dispute.id]})
        if moment.title == "Finance reminded of a dispute"
    ]
    assert told == [(f"{hours} hours left", []) for hours in (72, 24, 4)]


def test_who_comes_late_is_told_only_how_little_time_is_left(empty_app: Flask) -> None:
    email = factories.staff("finance").email
    dispute = disputed(paid())
    due_in(dispute, 3)
    reminders.remind_due()
    assert mails(dispute, email) == [4]


def test_two_schedulers_at_once_remind_once(empty_app: Flask) -> None:
    email = factories.staff("finance").email
    dispute = disputed(paid())
    due_in(dispute, 20)
    at_once(empty_app, *[reminders.remind_due] * 3)
    assert mails(dispute, email) == [24]


def test_what_was_answered_or_is_over_is_not_reminded_of(empty_app: Flask) -> None:
    email = factories.staff("finance").email
    answered, late = disputed(paid()), disputed(paid())
    evidence.stage(answered.id, {}, seen=0, by=finance())
    assert queued.work_off() == []
    evidence.submit(answered.id, by=finance())
    assert queued.work_off() == []
    due_in(late, -1)
    reminders.remind_due()
    assert mails(answered, email) == []
    assert mails(late, email) == []


def test_the_mail_says_until_when_and_leads_to_the_dispute(empty_app: Flask) -> None:
    email = factories.staff("finance").email
    dispute = disputed(paid())
    due_in(dispute, 20)
    reminders.remind_due()
    db.session.rollback()
    mail = db.session.scalars(
        select(Notification).where(Notification.object_id == dispute.id, Notification.recipient == email)
    ).one()
    shown = render(mail.kind, name="Ada", values=mail.values)
    assert shown.subject.startswith("24 hours left to answer the dispute over TD-")
    assert f"/console/disputes/{dispute.id}/" in shown.text
    assert "$100.00, fraudulent" in shown.text
