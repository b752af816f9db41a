"""The audit trail: who did what, before and after; sealed in order; and what `verify` finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from app.accounts import service as accounts
from app.accounts import sessions, tokens
from app.accounts.models import User
from app.advisory_locks import AdvisoryLock
from app.audit import service as audit
from app.audit import trail
from app.audit.actor import SYSTEM, Actor
from app.audit.models import AuditEntry, AuditSeal
from app.bookings import service as bookings
from app.catalog.models import Provider
from app.db import lock, transaction
from app.errors import Conflict, NotAllowed
from app.extensions import db
from app.logs import request_id
from tests import factories
from tests.conftest import tampering, wait_for


def entry_of(action: str, object_id: int) -> AuditEntry:
    query = select(AuditEntry).where(AuditEntry.action == action, AuditEntry.object_id == object_id)
    return db.session.scalars(query.order_by(AuditEntry.id.desc()).limit(1)).one()


def rename(provider: Provider, name: str, by: Actor = SYSTEM) -> None:
    with transaction():
        row = lock(Provider, provider.id)
        row.name = name
        audit.record(by, "provider.rename", row, reason="A test")


def test_an_entry_says_who_what_before_after_why_and_in_which_request(app: Flask) -> None:
    provider = factories.provider(name="before")
    by = accounts.actor_of(factories.staff("admin"), "10.0.0.1")
    token = request_id.set("req_of_this_test")
    rename(provider, "after", by)
    request_id.reset(token)
    entry = entry_of("provider.rename", provider.id)
    assert (entry.actor_kind, entry.actor_id, entry.actor_label, entry.address) == (
        "staff",
        by.id,
        by.label,
        "10.0.0.1",
    )
    assert (entry.object_type, entry.before, entry.after) == ("providers", {"name": "before"}, {"name": "after"})
    assert (entry.reason, entry.request_id) == ("A test", "req_of_this_test")


def test_what_was_rolled_back_left_no_entry(app: Flask) -> None:
    provider = factories.provider()
    with pytest.raises(Conflict), transaction():
        audit.record(SYSTEM, "provider.nothing", lock(Provider, provider.id))
        raise Conflict("no")
    count = select(func.count()).where(AuditEntry.action == "provider.nothing", AuditEntry.object_id == provider.id)
    assert db.session.scalar(count) == 0


def test_an_entry_outside_a_transaction_is_refused(app: Flask) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        audit.record(SYSTEM, "provider.rename", factories.provider())


def test_a_booking_and_its_payment_leave_their_whole_way(app: Flask) -> None:
    booking = factories.paid_booking()
    hold = entry_of("booking.hold", booking.id)
    assert (hold.before, hold.actor_kind, hold.actor_id) == (None, "traveller", booking.traveller_id)
    assert (hold.after or {})["total_minor"] == 20_000
    confirm = entry_of("booking.confirm", booking.id)
    assert (confirm.actor_kind, (confirm.before or {})["status"]) == ("stripe", "PENDING_PAYMENT")
    assert (confirm.after or {})["status"] == "CONFIRMED"
    actions = set(db.session.scalars(select(AuditEntry.action).where(AuditEntry.object_type == "payments")))
    assert {"payment.open", "payment.captured"} <= actions


def test_no_secret_ever_gets_into_the_trail(empty_app: Flask) -> None:
    person, token = sessions.sign_in(
        email=factories.staff("admin").email, password=factories.PASSWORD, address=None, user_agent=None
    )
    pair = tokens.issue(person)
    second = tokens.rotate(pair.refresh_token)
    tokens.revoke(second.refresh_token)
    sessions.sign_out(token, by=factories.actor(person))
    booking = factories.paid_booking()
    everything = db.session.scalar(text("SELECT string_agg(e::text, E'\n') FROM audit_entries e")) or ""
    hashes = list(db.session.scalars(text("SELECT password_hash FROM users")))
    hashes += [value.hex() for value in db.session.scalars(text("SELECT token_hash FROM refresh_tokens"))]
    hashes += [value.hex() for value in db.session.scalars(text("SELECT token_hash FROM staff_sessions"))]
    assert len(hashes) >= 5
    for secret in (*hashes, factories.PASSWORD, token, pair.refresh_token, second.refresh_token, "password_hash"):
        assert secret not in everything
    assert booking.reference in everything


# ------------------------------------------------------------------ append-only

CHANGE = {"audit_entries": "UPDATE audit_entries SET reason = 'x'", "audit_seals": "UPDATE audit_seals SET digest = ''"}


@pytest.mark.parametrize("table", ["audit_entries", "audit_seals"])
@pytest.mark.parametrize("write", ["change", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_neither_the_app_nor_the_owner_may_change_what_was_written(
    app: Flask, owner: Any, table: str, write: str
) -> None:
    rename(factories.provider(), "after")
    seal_everything()
    statement = CHANGE[table] if write == "change" else write.format(table)
    before = db.session.scalar(text(f"SELECT count(*) FROM {table}"))
    with pytest.raises(DBAPIError, match="permission denied"):
        db.session.execute(text(statement))
    db.session.rollback()
    with owner.cursor() as cursor, pytest.raises(psycopg2.errors.RestrictViolation, match="append-only"):
        cursor.execute(statement)
    assert db.session.scalar(text(f"SELECT count(*) FROM {table}")) == before


# ------------------------------------------------------------------ sealing


def seal_everything() -> None:
    """Transactions of other tests, in other databases of the same cluster, may hold sealing up for a moment."""
    wait_for(lambda: audit.seal() >= 0 and audit.verify().unsealed == 0, "everything to be sealed")


def test_sealing_chains_every_entry_once(empty_app: Flask) -> None:
    for number in range(3):
        rename(factories.provider(), f"name {number}")
    assert audit.verify().unsealed == 3
    seal_everything()
    assert audit.seal() == 0
    report = audit.verify()
    assert (report.sealed, report.unsealed, report.problem) == (3, 0, None)
    rename(factories.provider(), "one more")
    seal_everything()
    assert audit.verify().sealed == 4


def test_an_entry_of_a_transaction_that_commits_late_is_sealed_after_those_before_it(
    empty_app: Flask, empty_owner: Any
) -> None:
    """Its id is smaller than those of entries committed meanwhile; sealing in id order too early would leave it out."""
    insert = (
        "INSERT INTO audit_entries (actor_kind, actor_label, action, object_type, object_id, request_id)"
        " VALUES ('system', 'Late', 'late', 'providers', 1, 'req_late')"
    )
    empty_owner.autocommit = False
    with empty_owner.cursor() as late:
        late.execute(insert)
        rename(factories.provider(), "meanwhile")
        assert audit.seal() == 0
        assert audit.verify().unsealed == 1
    empty_owner.commit()
    seal_everything()
    order = select(AuditEntry.action).join(AuditSeal).order_by(AuditSeal.position)
    assert list(db.session.scalars(order)) == ["late", "provider.rename"]
    assert audit.verify().problem is None


def test_a_transaction_that_began_before_and_writes_after_another_is_not_overtaken(
    empty_app: Flask, empty_owner: Any
) -> None:
    """Its entry's id is higher than that of the entry it comes before."""
    empty_owner.autocommit = False
    with empty_owner.cursor() as late:
        late.execute("SELECT pg_current_xact_id()")
        rename(factories.provider(), "meanwhile")
        assert audit.seal() == 0
        late.execute(
            "INSERT INTO audit_entries (actor_kind, actor_label, action, object_type, object_id, request_id)"
            " VALUES ('system', 'Late', 'late', 'providers', 1, 'req_late')"
        )
        assert audit.seal() == 0
    empty_owner.commit()
    seal_everything()
    order = select(AuditEntry.action, AuditEntry.id).join(AuditSeal).order_by(AuditSeal.position)
    assert [tuple(row) for row in db.session.execute(order)] == [("late", 2), ("provider.rename", 1)]
    assert audit.verify().problem is None


def test_what_is_older_than_an_open_transaction_is_sealed_without_it(empty_app: Flask, empty_owner: Any) -> None:
    rename(factories.provider(), "before")
    empty_owner.autocommit = False
    with empty_owner.cursor() as other:
        other.execute("SELECT pg_current_xact_id()")
        rename(factories.provider(), "after")
        wait_for(lambda: audit.seal() == 1, "the older entry to be sealed")
        assert (audit.seal(), audit.verify().unsealed) == (0, 1)
    empty_owner.rollback()
    seal_everything()
    assert audit.verify().sealed == 2


def test_a_batch_goes_on_where_the_one_before_ended(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_SEAL_BATCH", 3)
    with transaction():
        for number in range(5):  # of one transaction, so that a batch ends inside it
            audit.record(SYSTEM, f"provider.made_{number}", factories.provider())
    for number in range(3):
        rename(factories.provider(), f"name {number}")
    batches: list[int] = []
    wait_for(lambda: batches.append(audit.seal()) or audit.verify().unsealed == 0, "everything to be sealed")
    assert [size for size in batches if size] == [3, 3, 2]
    positions = db.session.execute(select(AuditSeal.position, AuditSeal.entry_id).order_by(AuditSeal.position)).all()
    assert [tuple(row) for row in positions] == [(number, number) for number in range(1, 9)]
    assert audit.verify().problem is None


def test_sealing_reads_nothing_that_is_sealed(empty_app: Flask, empty_owner: Any) -> None:
    """It takes as long as there is to seal, however long the chain."""
    with empty_owner, empty_owner.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_entries (actor_kind, actor_label, action, object_type, object_id, request_id)"
            " SELECT 'system', 'Many', 'many', 'providers', number, 'req_many' FROM generate_series(1, 30000) number"
        )
    seal_everything()
    rename(factories.provider(), "one more")
    with empty_owner, empty_owner.cursor() as cursor:
        cursor.execute("ANALYZE audit_entries, audit_seals")
    wait_for(lambda: audit.seal() == 1, "the new entry to be sealed")
    head = {"transaction_id": 0, "id": 0, "most": 10}
    for row in db.session.execute(text(f"SELECT transaction_id, id FROM audit_entries WHERE id = {30_000}")):
        head |= row._asdict()
    plan = "\n".join(db.session.scalars(text("EXPLAIN " + audit._NEXT % head)))
    assert "Index Scan using ix_audit_entries_transaction_id" in plan
    assert "Seq Scan" not in plan


def plant(app: Flask, transaction_id: int) -> None:
    """An entry of a transaction with this id."""
    with tampering(app) as cursor:
        cursor.execute(
            "INSERT INTO audit_entries (transaction_id, actor_kind, actor_label, action, object_type, object_id,"
            " request_id) VALUES (%s, 'system', 'Old', 'old', 'providers', 1, 'req_old')",
            (transaction_id,),
        )


def test_after_a_restore_into_another_cluster_nothing_stays_unsealed(empty_app: Flask) -> None:
    """There, transaction ids start over: the old entries' are higher than any that is given out."""
    for _ in range(3):
        plant(empty_app, 10**12)
    seal_everything()
    plant(empty_app, 10**12 + 1)
    rename(factories.provider(), "in the new cluster")
    seal_everything()
    rename(factories.provider(), "and another")
    seal_everything()
    assert (audit.verify().sealed, audit.verify().problem) == (6, None)


def test_what_was_passed_over_is_found_by_a_thorough_look(empty_app: Flask) -> None:
    rename(factories.provider(), "sealed")
    seal_everything()
    plant(empty_app, 3)
    assert audit.seal() == 0
    result = empty_app.test_cli_runner().invoke(args=["audit", "seal"])
    assert (result.exit_code, result.output) == (0, "1 entries sealed.\n")
    assert (audit.verify().sealed, audit.verify().problem) == (2, None)


@pytest.fixture
def empty_owner(empty_app: Flask) -> Iterator[Any]:
    connection = psycopg2.connect(empty_app.extensions["settings"].database_owner_url)
    yield connection
    connection.close()


def test_two_sealing_jobs_at_once_do_not_fork_the_chain(empty_app: Flask, empty_owner: Any) -> None:
    rename(factories.provider(), "after")
    empty_owner.autocommit = False
    with empty_owner.cursor() as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (AdvisoryLock.SEALING_AUDIT,))
        assert audit.seal() == 0
    empty_owner.rollback()
    seal_everything()
    assert audit.verify().sealed == 1


# What a thief does, the first entry that is wrong then, and in which words.
TAMPERED = {
    "a reason rewritten": ("UPDATE audit_entries SET reason = 'harmless' WHERE id = {2}", 2, "not what was sealed"),
    "a value rewritten": (
        """UPDATE audit_entries SET after = '{{"name": "harmless"}}' WHERE id = {2}""",
        2,
        "not what was sealed",
    ),
    "somebody else blamed": (
        "UPDATE audit_entries SET actor_label = 'Somebody else' WHERE id = {1}",
        1,
        "not what was sealed",
    ),
    "backdated": ("UPDATE audit_entries SET at = at - interval '1 day' WHERE id = {3}", 3, "not what was sealed"),
    "taken out": (
        "ALTER TABLE audit_seals DROP CONSTRAINT fk_audit_seals_entry_id; DELETE FROM audit_entries WHERE id = {2}",
        2,
        "missing, but its seal is there",
    ),
    "taken out with its seal": (
        "DELETE FROM audit_seals WHERE entry_id = {2}; DELETE FROM audit_entries WHERE id = {2}",
        3,
        "the seal at position 2 is missing",
    ),
    "taken out with its seal, and the others moved up": (
        "DELETE FROM audit_seals WHERE entry_id = {2}; DELETE FROM audit_entries WHERE id = {2};"
        " UPDATE audit_seals SET position = position - 10 WHERE position > 2;"
        " UPDATE audit_seals SET position = position + 9 WHERE position < 1",
        3,
        "not what was sealed",
    ),
    "two in another order": (
        "UPDATE audit_seals SET position = 9 WHERE entry_id = {2}; UPDATE audit_seals SET position = 2"
        " WHERE entry_id = {3}; UPDATE audit_seals SET position = 3 WHERE entry_id = {2}",
        3,
        "not what was sealed",
    ),
    "two rewritten": ("UPDATE audit_entries SET reason = 'harmless' WHERE id >= {3}", 3, "not what was sealed"),
}


@pytest.mark.parametrize(("damage", "first", "words"), TAMPERED.values(), ids=TAMPERED.keys())
def test_verify_names_the_first_entry_that_is_not_what_was_written(
    empty_app: Flask, damage: str, first: int, words: str
) -> None:
    for number in range(5):
        rename(factories.provider(), f"name {number}")
    seal_everything()
    ids = [0, *db.session.scalars(select(AuditEntry.id).order_by(AuditEntry.id))]
    db.session.rollback()
    with tampering(empty_app) as thief:
        thief.execute(damage.format(*ids))
    report = audit.verify()
    assert report.first_altered == ids[first], report
    assert words in (report.problem or "")
    assert report.sealed < 5
    outcome = empty_app.test_cli_runner().invoke(args=["audit", "verify"])
    assert (outcome.exit_code, "The audit trail was altered" in outcome.output) == (1, True)


@pytest.mark.parametrize("column", [column.name for column in AuditEntry.__table__.columns if column.name != "id"])
def test_every_column_of_an_entry_is_sealed(empty_app: Flask, column: str) -> None:
    rename(factories.provider(), "after")
    seal_everything()
    other = {
        "at": "at - interval '1 microsecond'",
        "actor_kind": "'traveller'",
        "actor_id": "coalesce(actor_id, 0) + 1",
        "object_id": "object_id + 1",
        "transaction_id": "transaction_id - 1",
        "before": """'{"name": "harmless"}'""",
        "after": """'{"name": "harmless"}'""",
    }.get(column, f"coalesce({column}, '') || 'x'")
    with tampering(empty_app) as thief:
        thief.execute(f"UPDATE audit_entries SET {column} = {other}")
    report = audit.verify()
    assert (report.sealed, "not what was sealed" in (report.problem or "")) == (0, True)


def test_the_commands_seal_and_verify(empty_app: Flask) -> None:
    rename(factories.provider(), "after")
    runner = empty_app.test_cli_runner()
    assert runner.invoke(args=["audit", "seal"]).exit_code == 0
    seal_everything()
    outcome = runner.invoke(args=["audit", "verify"])
    assert (outcome.exit_code, outcome.output) == (
        0,
        "1 entries are sealed and as they were written; 0 are not sealed yet.\n",
    )


# ------------------------------------------------------------------ actors


def test_a_role_lets_staff_act_and_nobody_else() -> None:
    finance = Actor("staff", 1, "F", frozenset({"finance"}))
    finance.require("finance", "admin")
    SYSTEM.require("admin")
    for nobody in (finance, Actor("traveller", 2, "T", frozenset({"admin"})), Actor("stripe", None, "Stripe")):
        with pytest.raises(NotAllowed, match="admin"):
            nobody.require("admin")


def test_a_cancelled_booking_names_who_cancelled_it_and_why(app: Flask) -> None:
    booking = factories.booking()
    by = factories.actor(factories.staff("support"))
    bookings.cancel(booking.id, by=by, on_behalf_of="support", reason="Looks like fraud")
    entry = entry_of("booking.cancel", booking.id)
    assert (entry.actor_id, entry.reason) == (by.id, "Looks like fraud")


def test_a_timeline_writes_times_and_codes_as_people_read_them(app: Flask) -> None:
    person = factories.traveller()
    with transaction():
        audit.record_many(
            SYSTEM,
            "user.tried",
            User,
            [person.id],
            before={"due_by": None, "assigned_to_id": None, "note": None, "source": None, "stripe_status": None},
            after={
                "due_by": "2026-11-30T23:59:59+00:00",
                "assigned_to_id": 5,
                "note": None,
                "source": "dispute:39",
                "stripe_status": "needs_response",
                "failure_reason": "expired_card",
            },
        )
    *_, told = trail.moments({"users": [person.id]})
    assert told.detail == "Expired card"
    assert [(field["name"], field["after"]) for field in told.fields if field["name"] != "Failure reason"] == [
        ("Due by", "30 Nov 2026 at 23:59 UTC"),
        ("Stripe status", "Needs response"),
    ]
