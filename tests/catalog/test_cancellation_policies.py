"""Cancellation policies as rows: what may be typed, versions, and bookings that keep what they were sold under."""

from __future__ import annotations

from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import func, select

from app.api.packages import PolicyOut
from app.audit.models import AuditEntry
from app.catalog import cancellation_policies as policies
from app.catalog import edits
from app.catalog.models import CancellationPolicy, CancellationPolicyTier
from app.catalog.policies import POLICIES, USUAL, in_words, terms
from app.errors import Conflict, Invalid, NotAllowed
from app.extensions import db
from tests import factories

TIERS = {"days-1": "3", "percent-1": "80", "days-2": "1", "percent-2": "20"}


def gives(policy: CancellationPolicy) -> Any:
    db.session.rollback()
    return policies.tiers_of([policy])[policy.id]


def entries(policy: CancellationPolicy) -> list[AuditEntry]:
    about = (AuditEntry.object_type == "cancellation_policies", AuditEntry.object_id == policy.id)
    return list(db.session.scalars(select(AuditEntry).where(*about).order_by(AuditEntry.id)))


def how_many() -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).select_from(CancellationPolicy)) or 0


def refused(typed: dict[str, str]) -> dict[str, str]:
    before = how_many()
    with pytest.raises(Invalid) as refusal:
        policies.create(typed, by=factories.admin())
    assert how_many() == before
    return {wrong.field: wrong.message for wrong in refusal.value.fields}


def test_the_three_that_there_were_are_rows_that_give_what_they_gave(empty_app: Flask) -> None:
    found = db.session.scalars(select(CancellationPolicy).order_by(CancellationPolicy.id)).all()
    tiers = policies.tiers_of(found)
    assert {policy.code: tiers[policy.id] for policy in found} == POLICIES
    assert policies.on_offer() == list(POLICIES)


def test_what_is_typed_in_any_order_is_kept_from_most_days_on_and_ends_with_nothing(app: Flask) -> None:
    typed = {"days-1": "2", "percent-1": "30", "days-4": " 10 ", "percent-4": "90"}
    policy = factories.policy(**typed)
    assert gives(policy) == ((10, 90), (2, 30), (0, 0))
    assert in_words(terms(policy.code, gives(policy))) == "90 % until 10 days before, 30 % until 2 days before"
    assert [entry.action for entry in entries(policy)] == ["policy.create"]


def test_a_policy_may_give_something_on_the_day_itself_or_nothing_at_all(app: Flask) -> None:
    assert gives(factories.policy(**{"days-1": "0", "percent-1": "100"})) == ((0, 100),)
    nothing = factories.policy(**{"days-1": "0", "percent-1": "0"})
    assert in_words(terms(nothing.code, gives(nothing))) == "nothing back"


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({}, "days-1", "at least one tier"),
        ({"days-1": "3"}, "percent-1", "whole percentage from 0 to 100"),
        ({"percent-2": "3"}, "days-2", "from 0 to 365"),
        ({"days-1": "3", "percent-1": "101"}, "percent-1", "from 0 to 100"),
        ({"days-1": "3", "percent-1": "-1"}, "percent-1", "from 0 to 100"),
        ({"days-1": "3", "percent-1": "12.5"}, "percent-1", "whole percentage"),
        ({"days-1": "366", "percent-1": "10"}, "days-1", "from 0 to 365"),
        ({"days-1": "٣", "percent-1": "10"}, "days-1", "from 0 to 365"),
        ({"days-1": "3", "percent-1": "50", "days-2": "3", "percent-2": "40"}, "days-2", "another tier from 3 days"),
        ({"days-1": "3", "percent-1": "50", "days-2": "1", "percent-2": "60"}, "percent-2", "less than the 50 %"),
        ({"days-1": "3", "percent-1": "50", "days-2": "1", "percent-2": "50"}, "percent-2", "less than the 50 %"),
        ({"days-2": "9", "percent-2": "50", "days-1": "1", "percent-1": "60"}, "percent-1", "less than the 50 %"),
    ],
)
def test_a_tier_that_makes_no_sense_is_refused_at_its_field(
    app: Flask, typed: dict[str, str], field: str, said: str
) -> None:
    wrong = refused({"name": "Never made", "code": "never-made", **typed})
    assert list(wrong) == [field]
    assert said in wrong[field]


@pytest.mark.parametrize("code", ["", "Ä", "two words", "-a", "a-", "a--b", "1st", "a" * 41, "a\n"])
def test_a_code_is_one_that_a_file_can_name(app: Flask, code: str) -> None:
    if code == "a\n":
        assert factories.policy(code=f"a{how_many()}\n", name=f"Name {how_many()}").code == f"a{how_many() - 1}"
        return
    assert list(refused({"name": "Never made", "code": code, **TIERS})) == ["code"]


def test_names_and_codes_are_each_had_once_and_everything_wrong_is_told_at_once(app: Flask) -> None:
    policy = factories.policy()
    wrong = refused({"name": f"  {policy.name.upper()} ", "code": policy.code, "days-1": "x", "percent-1": "1"})
    assert list(wrong) == ["name", "code", "days-1"]
    assert policy.name in wrong["name"]


def test_a_change_is_a_version_and_what_was_sold_keeps_the_one_before(app: Flask) -> None:
    policy = factories.policy()
    package = factories.package(cancellation_policy=policy.code)
    sold = factories.booking(of=package)
    assert sold.policy == terms(policy.code, ((3, 80), (1, 20), (0, 0)))
    typed = {"name": policy.name, "days-1": "7", "percent-1": "60"}
    changed = policies.edit(policy.id, typed, seen=1, by=factories.admin())
    assert (changed.version, gives(changed)) == (2, ((7, 60), (0, 0)))
    assert factories.reread(sold).policy == terms(policy.code, ((3, 80), (1, 20), (0, 0)))
    assert factories.booking(of=factories.package(cancellation_policy=policy.code)).policy == terms(
        policy.code, ((7, 60), (0, 0))
    )
    kept = select(func.count()).where(CancellationPolicyTier.policy_id == policy.id)
    assert db.session.scalar(kept) == 3 + 2
    told = entries(policy)[-1]
    assert (told.action, told.before, told.after) == (
        "policy.edit",
        told.before,
        {**(told.after or {}), "gives": "60 % until 7 days before", "version": 2},
    )
    assert (told.before or {})["gives"] == "80 % until 3 days before, 20 % until 1 day before"


def test_a_form_that_changes_nothing_is_no_version(app: Flask) -> None:
    policy = factories.policy()
    same = policies.edit(policy.id, {"name": policy.name, **TIERS}, seen=1, by=factories.admin())
    assert same.version == 1
    assert len(entries(policy)) == 1


def test_of_two_who_edit_the_second_is_told_who_was_first(app: Flask) -> None:
    policy, first = factories.policy(), factories.staff("admin")
    typed = {"name": policy.name, "days-1": "7", "percent-1": "60"}
    policies.edit(policy.id, typed, seen=1, by=factories.actor(first))
    with pytest.raises(Conflict, match=first.name):
        policies.edit(policy.id, {**typed, "percent-1": "10"}, seen=1, by=factories.admin())
    assert gives(policy) == ((7, 60), (0, 0))


def test_a_retired_one_is_chosen_no_more_and_holds_for_who_has_it(app: Flask) -> None:
    policy = factories.policy()
    package = factories.package(cancellation_policy=policy.code)
    other = factories.package()
    policies.retire(policy.id, by=factories.admin(), reason="Made by mistake")
    assert policy.code not in policies.on_offer()
    with pytest.raises(Invalid) as refusal:
        edits.edit_package(other.id, {"cancellation_policy": policy.code}, seen=0, by=factories.admin())
    assert [wrong.field for wrong in refusal.value.fields] == ["cancellation_policy"]
    assert factories.reread(other).cancellation_policy == USUAL
    assert factories.booking(of=package).policy["name"] == policy.code
    edits.edit_package(package.id, {"name": "Kept", "cancellation_policy": policy.code}, seen=0, by=factories.admin())
    assert "(retired)" in dict(policies.all_in_words(also=policy.code))[policy.code]
    policies.reinstate(policy.id, by=factories.admin())
    edits.edit_package(other.id, {"cancellation_policy": policy.code}, seen=0, by=factories.admin())
    assert factories.reread(other).cancellation_policy == policy.code


def test_the_usual_one_is_not_retired(app: Flask) -> None:
    with pytest.raises(Conflict, match="say nothing else"):
        policies.retire(policies.find(USUAL).id, by=factories.admin(), reason="x")
    assert USUAL in policies.on_offer()


def test_only_admins_change_policies(app: Flask) -> None:
    policy, before = factories.policy(), how_many()
    by = factories.actor(factories.staff("finance", "support", "moderator"))
    for refused_one in (
        lambda: policies.create({"name": "x", "code": "x", **TIERS}, by=by),
        lambda: policies.edit(policy.id, {"name": "x", **TIERS}, seen=1, by=by),
        lambda: policies.retire(policy.id, by=by, reason="x"),
        lambda: policies.reinstate(policy.id, by=by),
    ):
        with pytest.raises(NotAllowed):
            refused_one()
    assert (how_many(), factories.reread(policy).status, factories.reread(policy).version) == (before, "ACTIVE", 1)


def test_the_database_keeps_percents_days_versions_and_what_packages_name(app: Flask, owner: Any) -> None:
    policy = factories.policy()
    package = factories.package(cancellation_policy=policy.code)
    for statement in (
        f"INSERT INTO cancellation_policy_tiers VALUES ({policy.id}, 1, 3, 10)",
        f"INSERT INTO cancellation_policy_tiers VALUES ({policy.id}, 2, 3, 101)",
        f"INSERT INTO cancellation_policy_tiers VALUES ({policy.id}, 2, -1, 1)",
        f"UPDATE packages SET cancellation_policy = 'nothing-like-it' WHERE id = {package.id}",
        f"DELETE FROM cancellation_policies WHERE id = {policy.id}",
    ):
        with owner.cursor() as cursor, pytest.raises(psycopg2.Error):
            cursor.execute(statement)


def test_the_api_says_a_policy_in_words_beside_its_tiers() -> None:
    shown = PolicyOut.of("own", ((2, 30), (0, 10)))
    assert shown.model_dump(by_alias=True) == {
        "name": "own",
        "tiers": [{"daysBefore": 2, "refundPercent": 30}, {"daysBefore": 0, "refundPercent": 10}],
        "words": "30 % until 2 days before, 10 % until the day itself",
    }
