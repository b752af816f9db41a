"""Transactions, row locks, and what the database's own refusals become."""

from __future__ import annotations

import sys
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, InternalError

from app import create_app
from app.catalog.models import Provider
from app.db import after_commit, changes, leave_database, lock, one_moment, read, statement, transaction, write_alone
from app.errors import Busy, Conflict, NotFound, Unavailable
from app.extensions import db
from tests import factories


def rename(provider: Provider, name: str) -> None:
    db.session.execute(text("UPDATE providers SET name = :name WHERE id = :id"), {"name": name, "id": provider.id})


def name_of(provider: Provider) -> str:
    return str(factories.reread(provider).name)


def test_a_transaction_commits_at_its_end_and_only_then(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    with transaction():
        rename(provider, "after")
        with owner.cursor() as elsewhere:
            elsewhere.execute("SELECT name FROM providers WHERE id = %s", (provider.id,))
            assert elsewhere.fetchone() == ("before",)
    assert name_of(provider) == "after"


def test_what_is_read_in_one_moment_is_of_that_moment_and_nothing_is_written_then(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    name, mine = text("SELECT name FROM providers WHERE id = :id"), {"id": provider.id}
    with one_moment():
        assert db.session.scalar(name, mine) == "before"
        with owner.cursor() as elsewhere:
            elsewhere.execute("UPDATE providers SET name = 'after' WHERE id = %(id)s", mine)
        assert db.session.scalar(name, mine) == "before"
        with pytest.raises(InternalError, match="read-only"):
            rename(provider, "written")
    assert name_of(provider) == "after"
    with transaction(), pytest.raises(RuntimeError, match="inside a transaction"), one_moment():
        pass


def test_an_exception_takes_everything_back(app: Flask) -> None:
    provider = factories.provider(name="before")
    with pytest.raises(Conflict), transaction():
        rename(provider, "after")
        raise Conflict("no")
    assert name_of(provider) == "before"


def test_a_nested_transaction_joins_the_outer_one(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    with transaction():
        with transaction():
            rename(provider, "after")
        with owner.cursor() as elsewhere:
            elsewhere.execute("SELECT name FROM providers WHERE id = %s", (provider.id,))
            assert elsewhere.fetchone() == ("before",)
    assert name_of(provider) == "after"


def test_a_refusal_swallowed_inside_a_transaction_commits_nothing(app: Flask) -> None:
    provider = factories.provider(name="before")
    with pytest.raises(RuntimeError, match="swallowed"), transaction():
        try:
            with transaction():
                rename(provider, "after")
                raise Conflict("no")
        except Conflict:
            pass
    assert name_of(provider) == "before"
    with transaction():
        rename(provider, "the next one works")
    assert name_of(provider) == "the next one works"


def test_what_waits_for_the_commit_runs_after_it_and_outside(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    seen: list[Any] = []

    def look() -> None:
        with owner.cursor() as elsewhere:
            elsewhere.execute("SELECT name FROM providers WHERE id = %s", (provider.id,))
            seen.append(elsewhere.fetchone())
        leave_database()

    with transaction():
        with transaction():
            after_commit(look)
        rename(provider, "after")
        assert seen == []
    assert seen == [("after",)]


def test_what_waits_for_the_commit_never_runs_after_a_rollback(app: Flask) -> None:
    seen: list[str] = []
    with pytest.raises(Conflict), transaction():
        after_commit(lambda: seen.append("ran"))
        raise Conflict("no")
    with transaction():
        pass
    assert seen == []


def test_waiting_for_a_commit_needs_a_transaction(app: Flask) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        after_commit(lambda: None)


def test_the_network_is_not_waited_for_inside_a_transaction(app: Flask) -> None:
    with pytest.raises(RuntimeError, match="no network call"), transaction():
        leave_database()


def test_a_lock_rereads_a_row_that_was_read_before(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    assert db.session.get_one(Provider, provider.id).name == "before"
    with owner.cursor() as elsewhere:
        elsewhere.execute("UPDATE providers SET name = 'elsewhere' WHERE id = %s", (provider.id,))
    with transaction():
        assert lock(Provider, provider.id).name == "elsewhere"


def test_a_locked_row_cannot_be_locked_by_another_connection(app: Flask, owner: Any) -> None:
    provider = factories.provider()
    with transaction():
        lock(Provider, provider.id)
        with owner.cursor() as elsewhere, pytest.raises(psycopg2.errors.LockNotAvailable):
            elsewhere.execute("SELECT 1 FROM providers WHERE id = %s FOR UPDATE NOWAIT", (provider.id,))


def test_a_row_that_is_not_there_cannot_be_locked(app: Flask) -> None:
    with pytest.raises(NotFound, match="There is no provider 0"), transaction():
        lock(Provider, 0)


def test_changes_are_what_differs_since_the_lock(app: Flask) -> None:
    provider = factories.provider(name="before")
    with transaction():
        locked = lock(Provider, provider.id)
        locked.name = "after"
        assert changes(locked) == ({"name": "before"}, {"name": "after"})


def test_a_new_row_has_no_before(app: Flask) -> None:
    before, after = changes(Provider(name="new", status="PENDING"))
    assert before is None
    assert (after["name"], after["status"]) == ("new", "PENDING")


def test_a_lock_held_elsewhere_for_too_long_is_busy(app: Flask, owner: Any) -> None:
    provider = factories.provider(name="before")
    owner.autocommit = False
    with owner.cursor() as elsewhere:
        elsewhere.execute("SELECT 1 FROM providers WHERE id = %s FOR UPDATE", (provider.id,))
        with pytest.raises(Busy, match="Somebody else"), transaction():
            db.session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            lock(Provider, provider.id)
    owner.rollback()
    assert name_of(provider) == "before"


def test_a_statement_that_takes_too_long_is_busy(app: Flask) -> None:
    with pytest.raises(Busy), transaction():
        db.session.execute(text("SET LOCAL statement_timeout = '50ms'"))
        db.session.execute(text("SELECT pg_sleep(5)"))


def test_every_connection_waits_only_so_long_and_speaks_utc(app: Flask) -> None:
    wanted = {
        "lock_timeout": "3s",
        "statement_timeout": "15s",
        "idle_in_transaction_session_timeout": "1min",
        "TimeZone": "UTC",
    }
    assert {name: db.session.execute(text(f"SHOW {name}")).scalar() for name in wanted} == wanted


def test_a_connection_that_the_server_ended_is_unavailable(app: Flask) -> None:
    with pytest.raises(Unavailable, match="database") as refusal, transaction():
        pid = db.session.execute(text("SELECT pg_backend_pid()")).scalar()
        with db.engine.connect() as elsewhere:
            elsewhere.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        db.session.execute(text("SELECT 1"))
    assert not isinstance(refusal.value, Busy)
    with transaction():
        assert db.session.execute(text("SELECT 1")).scalar() == 1


def test_a_broken_constraint_stays_the_bug_it_is(app: Flask) -> None:
    provider = factories.provider()
    with pytest.raises(IntegrityError, match="ck_providers_status"), transaction():
        db.session.execute(text("UPDATE providers SET status = 'NOWHERE' WHERE id = :id"), {"id": provider.id})
    assert factories.reread(provider).status == "VERIFIED"


def test_a_plain_read_of_a_dead_database_is_unavailable(app: Flask) -> None:
    url = app.extensions["settings"].database_url
    lonely = create_app(
        app_env="test",
        database_url="postgresql://nobody@127.0.0.1:1/nowhere",
        database_owner_url=url,
        redis_url="redis://127.0.0.1:1/0",
    )
    with lonely.app_context(), pytest.raises(Unavailable, match="database"):
        read("SELECT 1")


def end_the_connection_of_single_statements() -> None:
    pid = read("SELECT pg_backend_pid() AS pid")[0].pid
    with transaction():
        db.session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def test_a_read_survives_the_end_of_its_connection(app: Flask) -> None:
    end_the_connection_of_single_statements()
    assert read("SELECT 1 AS one")[0].one == 1


def test_a_write_is_not_repeated_after_the_end_of_its_connection(app: Flask) -> None:
    provider = factories.provider(name="before")
    end_the_connection_of_single_statements()
    rename_alone = "UPDATE providers SET name = %(name)s WHERE id = %(id)s RETURNING id"
    with pytest.raises(Unavailable):
        write_alone(rename_alone, {"name": "after", "id": provider.id})
    assert name_of(provider) == "before"
    assert write_alone(rename_alone, {"name": "after", "id": provider.id})
    assert name_of(provider) == "after"


def test_an_idle_connection_that_died_is_replaced_unnoticed(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction():
        pid = db.session.scalar(text("SELECT pg_backend_pid()"))
    read("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
    # By its name, as the package `app` has an attribute that is called the same.
    monkeypatch.setattr(sys.modules["app.db"], "_TRUSTED_SECONDS", 0.0)
    with transaction():
        assert db.session.scalar(text("SELECT pg_backend_pid()")) != pid


NAME_OF = "SELECT name FROM providers WHERE id = %(id)s"


def test_a_statement_belongs_to_the_transaction(app: Flask) -> None:
    provider = factories.provider(name="before")
    with pytest.raises(Conflict), transaction():
        statement("UPDATE providers SET name = %(name)s WHERE id = %(id)s", {"name": "after", "id": provider.id})
        assert statement(NAME_OF, {"id": provider.id})[0].name == "after"
        raise Conflict("no")
    assert name_of(provider) == "before"
    with pytest.raises(RuntimeError, match="transaction"):
        statement(NAME_OF, {"id": provider.id})


def test_a_statement_that_breaks_a_constraint_says_so_and_may_be_used_again(app: Flask) -> None:
    new_name = "UPDATE providers SET name = %(name)s WHERE id = %(id)s"
    provider = factories.provider(name="before")
    with pytest.raises(IntegrityError), transaction():
        statement(new_name, {"name": None, "id": provider.id})
    with transaction():
        statement(new_name, {"name": "100 %", "id": provider.id})
    assert name_of(provider) == "100 %"


def test_a_statement_waits_no_longer_than_the_lock_timeout(app: Flask) -> None:
    provider = factories.provider()
    with db.engine.connect() as other, other.begin():
        other.execute(text("SELECT FROM providers WHERE id = :id FOR UPDATE"), {"id": provider.id})
        with pytest.raises(Busy), transaction():
            db.session.execute(text("SET LOCAL lock_timeout = 10"))
            statement("SELECT id FROM providers WHERE id = %(id)s FOR UPDATE", {"id": provider.id})


def test_a_statement_whose_connection_died_ends_the_transaction_and_the_next_one_works(app: Flask) -> None:
    provider = factories.provider(name="before")
    with pytest.raises(Unavailable), transaction():
        pid = statement("SELECT pg_backend_pid() AS pid", {})[0].pid
        read("SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
        statement(NAME_OF, {"id": provider.id})
    with transaction():
        assert statement(NAME_OF, {"id": provider.id})[0].name == "before"
