"""Verbs of cancellation policies: made, changed and retired by admins; each change of the tiers is a new version."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

from sqlalchemy import func, select

from app.advisory_locks import AdvisoryLock
from app.audit import history, reasons
from app.audit import service as audit
from app.audit.actor import Actor
from app.catalog.models import CancellationPolicy, CancellationPolicyTier, Package
from app.catalog.policies import USUAL, Tiers, in_words, terms
from app.db import lock, read, transaction, utcnow
from app.errors import Conflict, FieldError, Invalid
from app.extensions import db

T = TypeVar("T")

MAY_EDIT = ("admin",)
MOST_TIERS = 8
MOST_DAYS = 365
_CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MOST_CODE, _MOST_NAME = 40, 80


def on_offer() -> list[str]:
    """The codes of the policies that a package can be given, the oldest first."""
    return [row.code for row in read("SELECT code FROM cancellation_policies WHERE status = 'ACTIVE' ORDER BY id")]


def tiers_of(policies: Sequence[CancellationPolicy]) -> dict[int, Tiers]:
    """What each of these policies gives in its present version, by id."""
    tier, policy = CancellationPolicyTier, CancellationPolicy
    rows = (
        select(tier.policy_id, tier.days_before, tier.refund_percent)
        .join(policy, (policy.id == tier.policy_id) & (policy.version == tier.version))
        .where(tier.policy_id.in_([one.id for one in policies]))
        .order_by(tier.policy_id, tier.days_before.desc())
    )
    found: dict[int, list[tuple[int, int]]] = {}
    for policy_id, days, percent in db.session.execute(rows):
        found.setdefault(policy_id, []).append((days, percent))
    return {policy_id: tuple(tiers) for policy_id, tiers in found.items()}


def find(code: str) -> CancellationPolicy:
    """The policy with a code that a package has."""
    return db.session.scalars(select(CancellationPolicy).where(CancellationPolicy.code == code)).one()


def all_in_words(*, also: str = "") -> list[tuple[str, str]]:
    """Each policy that can be chosen, and `also` the one with this code: its code, and its name with what it gives."""
    wanted = select(CancellationPolicy).where(
        (CancellationPolicy.status == "ACTIVE") | (CancellationPolicy.code == also)
    )
    found = db.session.scalars(wanted.order_by(CancellationPolicy.id)).all()
    tiers = tiers_of(found)
    return [
        (
            policy.code,
            f"{policy.name}: {in_words(terms(policy.code, tiers[policy.id]))}"
            + (" (retired)" if policy.status == "RETIRED" else ""),
        )
        for policy in found
    ]


def packages_with(code: str) -> int:
    """How many packages are sold under it."""
    return db.session.scalar(select(func.count()).where(Package.cancellation_policy == code)) or 0


def read_tiers(typed: Mapping[str, str]) -> Tiers:
    """The tiers that were typed as `days-1` and `percent-1` and so on, most days first; a pair left empty is none.

    From what is given on, each earlier day has to give more than the later one; nothing comes back on the day itself
    where it isn't among them. Raises Invalid by field.
    """
    wrong: list[FieldError] = []
    given: dict[int, tuple[int, int]] = {}
    for number in range(1, MOST_TIERS + 1):
        days, percent = (typed.get(f"{name}-{number}", "").strip() for name in ("days", "percent"))
        if not days and not percent:
            continue
        read_days = _whole(days, f"days-{number}", f"Give a whole number of days from 0 to {MOST_DAYS}.", MOST_DAYS)
        read_percent = _whole(percent, f"percent-{number}", "Give a whole percentage from 0 to 100.", 100)
        wrong += [found for found in (read_days, read_percent) if isinstance(found, FieldError)]
        if isinstance(read_days, FieldError) or isinstance(read_percent, FieldError):
            continue
        if read_days in given:
            wrong.append(FieldError(f"days-{number}", f"There is another tier from {_days(read_days)} before on."))
        else:
            given[read_days] = (read_percent, number)
    if not wrong and not given:
        wrong.append(FieldError("days-1", "Give at least one tier: from how many days before, and what comes back."))
    falling = sorted(given.items(), reverse=True)
    for (earlier, (more, _)), (later, (less, number)) in pairwise(falling):
        if less >= more:
            said = f"This has to be less than the {more} % of {_days(earlier)} before: {_days(later)} before is later."
            wrong.append(FieldError(f"percent-{number}", said))
    if wrong:
        raise Invalid("Some fields need another look.", wrong)
    tiers = [(days, percent) for days, (percent, _) in falling]
    return tuple(tiers if tiers[-1][0] == 0 or tiers[-1][1] == 0 else [*tiers, (0, 0)])


def create(typed: Mapping[str, str], *, by: Actor) -> CancellationPolicy:
    """Make a policy of what was typed: `name`, `code`, and tiers as `read_tiers` takes them.

    Raises NotAllowed, Invalid by field.
    """
    by.require(*MAY_EDIT)
    with transaction():
        _one_at_a_time()
        wrong: list[FieldError] = []
        name = _or_wrong(wrong, lambda: _name(typed.get("name", ""), but=None))
        code = _or_wrong(wrong, lambda: _new_code(typed.get("code", "")))
        tiers = _or_wrong(wrong, lambda: read_tiers(typed))
        if wrong or name is None or code is None or tiers is None:
            raise Invalid("Some fields need another look.", wrong)
        policy = CancellationPolicy(code=code, name=name, status="ACTIVE", version=1)
        db.session.add(policy)
        db.session.flush()
        _keep(policy, tiers)
        audit.record(by, "policy.create", policy, after={"gives": in_words(terms(code, tiers))})
    return policy


def edit(policy_id: int, typed: Mapping[str, str], *, seen: int, by: Actor) -> CancellationPolicy:
    """Save a form of a policy that was opened at the version `seen`. Bookings keep what they were sold under.

    Raises NotAllowed, NotFound, Invalid by field, Conflict when somebody saved it since, naming them.
    """
    by.require(*MAY_EDIT)
    with transaction():
        _one_at_a_time()
        policy = lock(CancellationPolicy, policy_id)
        if policy.version != seen:
            who = history.last_by(policy, "policy.edit")
            raise Conflict(f"Somebody saved this policy since you opened it{f': {who}' if who else ''}.")
        wrong: list[FieldError] = []
        name = _or_wrong(wrong, lambda: _name(typed.get("name", ""), but=policy.id))
        tiers = _or_wrong(wrong, lambda: read_tiers(typed))
        if wrong or name is None or tiers is None:
            raise Invalid("Some fields need another look.", wrong)
        former = tiers_of([policy])[policy.id]
        if (name, tiers) == (policy.name, former):
            return policy
        policy.name, policy.version, policy.updated_at = name, policy.version + 1, utcnow()
        db.session.flush()
        _keep(policy, tiers)
        gave, gives = (in_words(terms(policy.code, one)) for one in (former, tiers))
        is_same = gave == gives
        audit.record(
            *(by, "policy.edit", policy),
            before=None if is_same else {"gives": gave},
            after=None if is_same else {"gives": gives},
        )
    return policy


def retire(policy_id: int, *, by: Actor, reason: str | None) -> CancellationPolicy:
    """Have it chosen for no package any more; those that have it keep it.

    Raises NotAllowed, NotFound, Invalid without a reason, Conflict for the usual one, or naming who was first.
    """
    by.require(*MAY_EDIT)
    reason = reasons.given(reason)
    with transaction():
        policy = lock(CancellationPolicy, policy_id)
        if policy.code == USUAL:
            raise Conflict("Packages that say nothing else get this policy, so it can't be retired.")
        history.move(policy, "RETIRED")
        policy.updated_at = utcnow()
        audit.record(by, "policy.retire", policy, reason=reason)
    return policy


def reinstate(policy_id: int, *, by: Actor) -> CancellationPolicy:
    """Have it chosen again. Raises NotAllowed, NotFound, Conflict naming who was first."""
    by.require(*MAY_EDIT)
    with transaction():
        policy = lock(CancellationPolicy, policy_id)
        history.move(policy, "ACTIVE")
        policy.updated_at = utcnow()
        audit.record(by, "policy.reinstate", policy)
    return policy


def _keep(policy: CancellationPolicy, tiers: Tiers) -> None:
    db.session.add_all(
        CancellationPolicyTier(policy_id=policy.id, version=policy.version, days_before=days, refund_percent=percent)
        for days, percent in tiers
    )
    db.session.flush()


def _or_wrong(wrong: list[FieldError], read_one: Callable[[], T]) -> T | None:
    """What was typed; None where it is refused, which `wrong` then has."""
    try:
        return read_one()
    except Invalid as refusal:
        wrong += refusal.fields
        return None


def _one_at_a_time() -> None:
    db.session.execute(select(func.pg_advisory_xact_lock(AdvisoryLock.NAMING_POLICY)))


def _name(typed: str, *, but: int | None) -> str:
    name = " ".join(typed.split())
    if not name or len(name) > _MOST_NAME or not name.isprintable():
        raise Invalid.field("name", f"Give a name of up to {_MOST_NAME} characters.")
    taken = select(CancellationPolicy.name).where(func.lower(CancellationPolicy.name) == func.lower(name))
    other = db.session.scalar(taken.where(CancellationPolicy.id != (but or 0)))
    if other is not None:
        raise Invalid.field("name", f"There is a policy called {other} already.")
    return name


def _new_code(typed: str) -> str:
    code = typed.strip().lower()
    if not _CODE.fullmatch(code) or len(code) > _MOST_CODE:
        said = f"Use letters from a to z, digits and single hyphens, up to {_MOST_CODE}, such as non-refundable."
        raise Invalid.field("code", said)
    if db.session.scalar(select(CancellationPolicy.id).where(CancellationPolicy.code == code)) is not None:
        raise Invalid.field("code", f"There is a policy with the code {code} already.")
    return code


def _whole(typed: str, field: str, refusal: str, most: int) -> int | FieldError:
    if typed.isascii() and typed.isdigit() and len(typed) <= 4 and int(typed) <= most:
        return int(typed)
    return FieldError(field, refusal)


def _days(days: int) -> str:
    return f"{days} {'day' if days == 1 else 'days'}"
