"""Audit, settings and jobs, as admins see them."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from uuid import uuid4

import pytest
from flask import Flask
from pydantic import SecretStr
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from sqlalchemy import select

import jobs
from app.accounts.models import User
from app.audit import service as audit
from app.audit.models import AuditEntry
from app.bookings import service as bookings
from app.config import Settings
from app.console.audited import object_in_words
from app.console.configuration import MEANINGS, shown
from app.console.job_names import JOBS
from app.db import lock, transaction
from app.extensions import db
from app.payments import inbox
from app.payments.models import Payment, WebhookEvent
from app.queue import MAX_ATTEMPTS, connect, connection, note_failure, poke
from app.workers import note_poke, outboxes
from tests import factories, queued
from tests.console.browser import signed_in


def entry_about(table: str, row_id: int, action: str) -> AuditEntry:
    about = (AuditEntry.object_type == table, AuditEntry.object_id == row_id, AuditEntry.action == action)
    return db.session.scalars(select(AuditEntry).where(*about)).one()


# ------------------------------------------------------------------ the audit trail


def test_a_period_has_what_long_transactions_wrote_late(empty_app: Flask) -> None:
    """Ids come in order of time but for those of transactions that take long: their entries say when it began."""
    written = {
        "first": datetime(2031, 5, 1, 23, 50, tzinfo=UTC),
        "second": datetime(2031, 5, 2, 0, 10, tzinfo=UTC),
        "first-late": datetime(2031, 5, 1, 23, 40, tzinfo=UTC),
        "third": datetime(2031, 5, 3, 0, 5, tzinfo=UTC),
        "second-late": datetime(2031, 5, 2, 23, 30, tzinfo=UTC),
        "fourth": datetime(2031, 5, 4, 12, 0, tzinfo=UTC),
    }
    browser = signed_in(empty_app, "admin")
    with transaction():
        for action, at in written.items():
            who = {"actor_kind": "system", "actor_label": "Tripdesk", "request_id": "req_1"}
            db.session.add(AuditEntry(at=at, action=action, object_type="nothing", object_id=1, **who))
            db.session.flush()
    for period, expected in {
        "from=2031-05-02&to=2031-05-02": {"second", "second-late"},
        "from=2031-05-01&to=2031-05-01": {"first", "first-late"},
        "from=2031-05-02&to=2031-05-03": {"second", "second-late", "third"},
        "from=2031-05-03": {"third", "fourth"},
        "to=2031-05-01": {"first", "first-late"},
        "from=2031-05-05": set(),
        "to=2020-05-05": set(),
    }.items():
        page = browser.get(f"/console/audit/?object_type=nothing&{period}").text
        assert {action for action in written if f">{action.capitalize()}<" in page} == expected, period
    for wrong in ("from=0001-01-01", "to=9999-12-31"):
        assert browser.get(f"/console/audit/?{wrong}").status_code == 422


def test_the_trail_is_filtered_by_person_action_object_request_and_day(app: Flask) -> None:
    person, other = factories.staff("support"), factories.staff("support")
    held, theirs = factories.booking(), factories.booking()
    for staff, booking in ((person, held), (other, theirs)):
        bookings.cancel(
            booking.id, by=factories.actor(staff), on_behalf_of="support", reason=f"For {booking.reference}"
        )
    done, today = entry_about("bookings", held.id, "booking.cancel"), factories.utcnow().date()
    browser = signed_in(app, "admin")
    for query in (
        f"actor={person.email}",
        f"actor={person.name}&actor_kind=staff",
        f"object_type=bookings&object_id={held.id}&action=booking.cancel",
        f"object_type=bookings&object_id={held.id}&action=booking.",
        f"request_id={done.request_id}&object_id={held.id}&object_type=bookings&from={today}&to={today}",
    ):
        page = unescape(browser.get(f"/console/audit/?{query}").text)
        assert f"For {held.reference}" in page, query
        assert f"For {theirs.reference}" not in page
    for query in (
        f"actor={person.name.lower()}",
        f"actor={person.name.split()[1][:7]}&action=booking.cancel",
        f"object={held.reference.lower()}&action=booking.cancel",
        f"object_type=bookings&object={held.reference}",
    ):
        page = unescape(browser.get(f"/console/audit/?{query}").text)
        assert f"For {held.reference}" in page, query
        assert f"For {theirs.reference}" not in page
    travellers = browser.get(f"/console/audit/?object={db.session.get_one(User, held.traveller_id).email}").text
    assert "Account made" in travellers
    assert "Booking made" not in re.sub(r"<form.*?</form>", "", travellers, flags=re.DOTALL)
    for nobody in ("object=TD-00000-00000", "actor=nobody@example.org", "actor=--"):
        assert "No entries match" in browser.get(f"/console/audit/?{nobody}").text, nobody
    for query in (f"actor={person.email}&action=booking.hold", "action=booking", "object_id=1&object_type=nothing"):
        assert "No entries match" in browser.get(f"/console/audit/?{query}").text
    assert browser.get("/console/audit/?object_id=x").status_code == 422


def test_a_name_that_too_many_have_is_refused_rather_than_half_answered(app: Flask) -> None:
    with transaction():
        db.session.add_all(User(email=f"{uuid4().hex}@example.org", name=f"Commonest {n}") for n in range(21))
    answer = signed_in(app, "admin").get("/console/audit/?actor=commonest")
    assert answer.status_code == 422
    assert "More than 20 people have commonest in their name" in answer.text


def test_an_entry_shows_each_column_before_and_after_and_leads_to_what_it_is_about(app: Flask) -> None:
    booking = factories.booking()
    by = factories.actor(factories.staff("support"))
    bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Looks like <b>fraud</b>")
    entry = entry_about("bookings", booking.id, "booking.cancel")
    page = signed_in(app, "admin").get(f"/console/audit/{entry.id}/").text
    for words in ("PENDING_PAYMENT", "CANCELLED_BY_SUPPORT", "Looks like &lt;b&gt;fraud&lt;/b&gt;", by.label):
        assert words in page, words
    assert f'href="/console/bookings/{booking.id}/"' in page
    assert "Not sealed yet" in page


@pytest.mark.parametrize(
    ("table", "words"),
    [("staff_sessions", "sign-in 4"), ("users", "person 4"), ("webhook_events", "Stripe's event 4"), ("tea", "tea 4")],
)
def test_what_an_entry_is_about_is_said_in_words(table: str, words: str) -> None:
    assert object_in_words(AuditEntry(object_type=table, object_id=4)) == words


def test_the_page_says_how_far_the_trail_is_sealed(empty_app: Flask) -> None:
    browser = signed_in(empty_app, "admin")
    assert "Nothing is sealed yet" in browser.get("/console/audit/").text
    while audit.seal():
        pass
    assert "none wait" in browser.get("/console/audit/").text
    factories.traveller()
    page = unescape(browser.get("/console/audit/").text)
    assert "1 written since" in re.sub(r"\s+", " ", page)
    sealed = entry_about("users", db.session.scalars(select(User.id)).first() or 0, "staff.create")
    assert "Place in the chain" in browser.get(f"/console/audit/{sealed.id}/").text


# ------------------------------------------------------------------ settings


def test_every_setting_is_explained_once() -> None:
    explained = [name for group in MEANINGS.values() for name in group]
    assert sorted(explained) == sorted(Settings.model_fields)


def test_no_secret_is_shown(app: Flask) -> None:
    page = signed_in(app, "admin").get("/console/settings/").text
    settings = app.extensions["settings"]
    passwords = [re.search(r":([^:@/]+)@", url) for url in (settings.database_url, settings.database_owner_url)]
    secrets = [
        settings.secret_key.get_secret_value(),
        *settings.stripe_webhook_secret,
        settings.stripe_secret_key.get_secret_value(),
        *settings.jwt_keys.values(),
        *(found[1] for found in passwords if found),
    ]
    assert len(secrets) >= 5
    assert [secret for secret in secrets if secret in page] == []
    assert "http://127.0.0.1:8000" in page


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("secret_key", SecretStr("x"), "set"),
        ("meili_api_key", SecretStr(""), "not set"),
        ("jwt_secret", ("a:x", "b:y"), "set, 2"),
        ("secret_key_fallbacks", (), "not set"),
        ("sentry_dsn", "https://key@sentry.example/1", "set"),
        ("redis_url", "rediss://:pa/ss@host:6379/0", "rediss://:…@host:6379/0"),
        ("mail_url", "smtps://me:p@ss@mail.example:465", "smtps://me:…@mail.example:465"),
        ("database_url", "postgresql://app@host/db?password=secret", "postgresql://app@host/db?…"),
        ("public_url", "https://desk.example.org", "https://desk.example.org"),
        ("hold_minutes", 15, "15"),
        ("log_dir", None, "not set"),
    ],
)
def test_a_value_is_shown_without_what_is_secret_in_it(name: str, value: object, written: str) -> None:
    assert shown(name, value) == written


def test_each_setting_says_where_it_came_from(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = signed_in(app, "admin")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    page = re.sub(r"\s+", " ", browser.get("/console/settings/").text)

    def source(name: str) -> str:
        found = re.search(rf"<code>{name}</code>.*?<dd>.*?<small>(.*?)</small>", page)
        assert found
        return found[1]

    assert (source("HOLD_MINUTES"), source("REDIS_URL"), source("APP_ENV")) == (
        "Default",
        "Environment",
        "Given at start",
    )


# ------------------------------------------------------------------ jobs


@pytest.fixture
def without_redis(app: Flask) -> Iterator[None]:
    """For one test, nobody answers where Redis was."""
    real = app.extensions["redis"]
    app.extensions["redis"] = connect("redis://127.0.0.1:1/0")
    yield
    app.extensions["redis"] = real


@pytest.fixture
def a_worker(app: Flask) -> Iterator[Worker]:
    """One that has reported itself, without working."""
    own = connect(app.extensions["settings"].redis_url)
    worker = Worker([Queue("urgent", connection=own)], name="worker-of-a-test")
    worker.register_birth()
    yield worker
    worker.register_death()


def test_queues_workers_and_the_schedule_are_shown(app: Flask, a_worker: Worker) -> None:
    poke("jobs.bookings.expire_holds", queue="default", keep_seconds=60)
    note_poke("jobs.bookings.expire_holds", queue="default", every_seconds=10)
    browser = signed_in(app, "admin")
    page = unescape(re.sub(r"\s+", " ", browser.get("/console/jobs/").text))
    assert "worker-of-a-" in page
    assert "No worker listens to default, mail, bulk, slow" in page
    assert "None in the last day." in page
    assert re.search(r"Free the holds whose time is over.*?jobs\.bookings\.expire_holds.*?10 s.*?–", page)
    queued.work_off()
    page = re.sub(r"\s+", " ", browser.get("/console/jobs/").text)
    assert re.search(r"jobs\.bookings\.expire_holds.*?\d+ ms", page)


def test_looking_at_workers_leaves_our_connections_as_impatient_as_they_were(app: Flask, a_worker: Worker) -> None:
    # RQ's own way to list workers sets the timeout of the connections it is given to minutes.
    ours = app.extensions["redis"] = connect(app.extensions["settings"].redis_url)
    assert a_worker.name[:12] in signed_in(app, "admin").get("/console/jobs/").text
    assert ours.connection_pool.connection_kwargs["socket_timeout"] == 2


def test_a_job_that_raised_is_listed_with_its_error(app: Flask) -> None:
    Queue("slow", connection=connection(), serializer=JSONSerializer).enqueue(
        "jobs.payments.close_intent", "no number", meta={"request_id": "req_of_a_test"}
    )
    queued.work_off()
    page = unescape(signed_in(app, "admin").get("/console/jobs/").text)
    assert "jobs.payments.close_intent" in page
    assert "Close a payment at Stripe" in page
    assert "req_of_a_test" in page


def test_every_job_has_a_name_of_its_own_and_only_jobs_have() -> None:
    modules = [importlib.import_module(f"jobs.{found.name}") for found in pkgutil.iter_modules(jobs.__path__)]
    named = {
        f"{function.__module__}.{function.__name__}"
        for module in modules
        for function in vars(module).values()
        if getattr(function, "is_job", False)
    }
    assert len(named) > 30
    assert named == JOBS.keys()
    assert len(set(JOBS.values())) == len(JOBS)


def test_rows_that_are_due_on_their_way_put_off_or_given_up_are_counted(empty_app: Flask) -> None:
    def counts() -> dict[str, tuple[int, int, int, int]]:
        db.session.rollback()
        return {state.table: (state.due, state.leased, state.later, state.given_up) for state in outboxes()}

    assert counts()["webhook_events"] == counts()["payments"] == (0, 0, 0, 0)
    for number in range(4):
        inbox.receive(factories.event("customer.created", {"id": f"cus_{number}"}))
    first, second, third, _ = db.session.scalars(select(WebhookEvent.id).order_by(WebhookEvent.id)).all()
    for _ in range(MAX_ATTEMPTS):
        inbox.note_failure(first, ValueError("no"))
    with transaction():
        lock(WebhookEvent, second).hand_out()
    inbox.note_failure(third, ValueError("not yet"))
    assert counts()["webhook_events"] == (1, 1, 1, 1)

    held = factories.booking()
    factories.intent_of(held)
    payment_id = db.session.scalars(select(Payment.id)).one()
    with transaction():
        lock(Payment, payment_id).hand_out()
    assert counts()["payments"] == (0, 1, 0, 0)
    for _ in range(MAX_ATTEMPTS):
        note_failure(Payment, payment_id, "Stripe is down")
    assert counts()["payments"] == (0, 0, 0, 1)


def test_with_redis_down_the_page_says_so_and_shows_the_rows(app: Flask, without_redis: None) -> None:
    browser = signed_in(app, "admin")
    answer = browser.get("/console/jobs/")
    assert answer.status_code == 200
    assert "Redis can't be reached" in unescape(answer.text)
    for work in ("Stripe's events", "Requests for new passwords", "Refunds"):
        assert work in unescape(answer.text)
    assert "webhook_events" not in answer.text
    assert "Redis can't be reached" in unescape(signed_in(app, "finance").get("/console/ledger/").text)
