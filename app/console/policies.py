"""/console/policies/: cancellation policies with what each gives back by an example; admins make and change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import request
from flask_admin import expose
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from app.audit import trail
from app.catalog import cancellation_policies as policies
from app.catalog.models import CancellationPolicy, Package
from app.catalog.policies import USUAL, Tiers, in_words, quote, terms
from app.console import session
from app.console.base import EVERYBODY, Column, Filter, RecordView, done, find, line, reason_given
from app.console.edit_forms import Answer
from app.console.formatting import status_label
from app.console.ordering import Sort
from app.console.record import Action, Blocked, Fact, Group, Phrase, Record
from app.errors import Conflict, Invalid
from app.extensions import db
from app.money import Money

TITLES: dict[str, trail.Title] = {
    "policy.create": ("Made", "audit", None),
    "policy.edit": ("Changed", "audit", None),
    "policy.retire": ("Retired", "state", "warn"),
    "policy.reinstate": ("Taken up again", "state", "good"),
}
RETIRE_REASONS = ("Replaced by another policy", "No provider asks for it any more", "Made by mistake")
# A stay to say by example what comes back of it.
_EXAMPLE_MINOR = 40_000
_EXAMPLE_DAY = date(2027, 6, 18)


class PoliciesView(RecordView):
    """Cancellation policies, for everybody to read and admins to edit."""

    roles = EVERYBODY
    icon = "clock"
    model = CancellationPolicy
    title = "Cancellation policies"
    noun = ("policy", "policies")
    exported_as = "policies"
    template = "console/policies/list.html"
    intro = "What a guest gets back, by when they cancel. A booking keeps the terms that it was sold under."
    empty_hint = "Make one, and choose it for packages."
    columns = (
        Column("name", "Policy", "link"),
        Column("status", "State", "chip"),
        Column("gives", "A guest gets back"),
        Column("code", "Code", "mono", sort=Sort(CancellationPolicy.code)),
        Column("packages", "Packages", "number", "right"),
        Column("updated_at", "Changed", "time", "right"),
        Column("created_at", "Made", "time", "right"),
    )
    filters = (Filter("status", "State", {status: status_label(status) for status in CancellationPolicy.MOVES}),)

    def lines(self, rows: Sequence[CancellationPolicy]) -> list[dict[str, Any]]:
        """One page's policies, with how many packages have each."""
        tiers = policies.tiers_of(rows)
        counts = select(Package.cancellation_policy, func.count()).where(
            Package.cancellation_policy.in_([row.code for row in rows])
        )
        packages = dict(db.session.execute(counts.group_by(Package.cancellation_policy)).all())
        return [
            line(
                policy_href(row),
                name=row.name,
                status=row.status,
                gives=in_words(terms(row.code, tiers[row.id])),
                code=row.code,
                packages=packages.get(row.code, 0),
                updated_at=row.updated_at,
                created_at=row.created_at,
            )
            for row in rows
        ]

    def context(self) -> dict[str, Any]:
        """Whether whoever looks may make one."""
        return {"may_edit": session.actor().has(policies.MAY_EDIT)}

    @expose("/<int:policy_id>/")  # type: ignore[untyped-decorator]
    def show(self, policy_id: int) -> str:
        """One policy."""
        policy = find(CancellationPolicy, policy_id, "cancellation policy")
        packages = policies.packages_with(policy.code)
        actions, blocked = _actions(policy, packages)
        facts = (
            Fact("Code", policy.code, "mono"),
            Fact("Version", policy.version, "number"),
            Fact("Packages", packages, "number", href=f"/console/packages/?cancellation_policy={policy.code}"),
            Fact("Made", policy.created_at, "time"),
            Fact("Changed", policy.updated_at, "time"),
        )
        return self.render_record(
            Record(
                title=policy.name,
                about=policy,
                titles=TITLES,
                status=policy.status,
                sub=(Phrase("version", str(policy.version)), Phrase("changed", at=policy.updated_at)),
                actions=actions,
                blocked=blocked,
                facts=(Group("Policy", facts),),
                timeline=list(trail.moments({"cancellation_policies": [policy.id]}, titles=TITLES)),
            ),
            "console/policies/show.html",
            **_example(policies.tiers_of([policy])[policy.id]),
        )

    @expose("/new", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def new(self) -> Answer:
        """The form of a new one; sent, it is made, or shown by an example."""
        session.actor().require(*policies.MAY_EDIT)
        if request.method == "GET":
            return self._form(None, {"days-1": "7", "percent-1": "100"})
        return self._sent(None)

    @expose("/<int:policy_id>/edit", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def edit(self, policy_id: int) -> Answer:
        """The form of one that there is."""
        session.actor().require(*policies.MAY_EDIT)
        policy = find(CancellationPolicy, policy_id, "cancellation policy")
        if request.method == "POST":
            return self._sent(policy)
        tiers = policies.tiers_of([policy])[policy.id]
        typed = {"name": policy.name, "seen": str(policy.version)}
        for number, (days, percent) in enumerate(tiers, 1):
            typed |= {f"days-{number}": str(days), f"percent-{number}": str(percent)}
        return self._form(policy, typed, tiers=tiers)

    @expose("/<int:policy_id>/retire", methods=["POST"])  # type: ignore[untyped-decorator]
    def retire(self, policy_id: int) -> Response:
        """Have it chosen no more."""
        policy = policies.retire(policy_id, by=session.actor(), reason=reason_given())
        return done(f"{policy.name} is retired. Packages that have it keep it.", policy_href(policy))

    @expose("/<int:policy_id>/reinstate", methods=["POST"])  # type: ignore[untyped-decorator]
    def reinstate(self, policy_id: int) -> Response:
        """Have it chosen again."""
        policy = policies.reinstate(policy_id, by=session.actor())
        return done(f"{policy.name} can be chosen again.", policy_href(policy))

    def _sent(self, policy: CancellationPolicy | None) -> Answer:
        typed = request.form
        try:
            if "preview" in typed:
                return self._form(policy, typed, tiers=policies.read_tiers(typed))
            if policy is None:
                made = policies.create(typed, by=session.actor())
                return done(f"{made.name} is made. Choose it for packages on their forms.", policy_href(made))
            saved = policies.edit(policy.id, typed, seen=_version(typed), by=session.actor())
        except Invalid as refusal:
            return self._form(policy, typed, refusal=refusal), refusal.status
        except Conflict as refusal:
            if policy is None:
                raise
            # What others made of it is shown; saved again, what was typed takes its place.
            db.session.refresh(policy)
            now = in_words(terms(policy.code, policies.tiers_of([policy])[policy.id]))
            said = f"{refusal.detail} It is called {policy.name} now and gives {now}. Saving replaces that."
            again = {**typed, "seen": str(policy.version)}
            return self._form(policy, again, refusal=Conflict(said)), refusal.status
        return done(f"{saved.name} is saved. Bookings made before keep their terms.", policy_href(saved))

    def _form(
        self,
        policy: CancellationPolicy | None,
        typed: Mapping[str, str],
        *,
        tiers: Tiers | None = None,
        refusal: Invalid | Conflict | None = None,
    ) -> str:
        wrong = refusal.fields if isinstance(refusal, Invalid) else []
        said = None
        if refusal is not None:
            said = refusal.detail if not wrong else _counted(len(wrong))
        return str(
            self.render(
                "console/policies/edit.html",
                policy=policy,
                back=policy_href(policy) if policy else "/console/policies/",
                typed=typed,
                numbers=range(1, policies.MOST_TIERS + 1),
                errors={error.field: error.message for error in wrong},
                refusal=said,
                packages=policies.packages_with(policy.code) if policy else 0,
                **(_example(tiers) if tiers is not None else {}),
            )
        )


def policy_href(policy: CancellationPolicy) -> str:
    """The page of a policy."""
    return f"/console/policies/{policy.id}/"


def _version(typed: Mapping[str, str]) -> int:
    seen = typed.get("seen", "")
    if not (seen.isascii() and seen.isdigit()) or len(seen) > 9:
        raise Invalid.field("seen", "Load the form again: what it sent is not what it was given.")
    return int(seen)


def _counted(wrong: int) -> str:
    return "One field needs another look." if wrong == 1 else f"{wrong} fields need another look."


def _example(tiers: Tiers) -> dict[str, Any]:
    """What comes back of one stay, by the day on which its guest cancels, as bookings reckon it."""
    kept = terms("", tiers)
    rows = []
    for place, (days, _percent) in enumerate(tiers):
        given = quote(kept, _EXAMPLE_MINOR, starts_on=_EXAMPLE_DAY, time_zone="UTC", at=_days_before(days))
        rows.append(
            {
                "when": _when(days, tiers[place - 1][0] if place else None),
                "percent": given.percent,
                "back": Money(given.refund_minor, "USD").json(),
                "kept": Money(given.kept_minor, "USD").json(),
            }
        )
    return {"example": rows, "example_total": Money(_EXAMPLE_MINOR, "USD").json()}


def _days_before(days: int) -> datetime:
    return datetime.combine(_EXAMPLE_DAY - timedelta(days=days), datetime.min.time(), UTC)


def _when(days: int, earlier: int | None) -> str:
    """The days that a tier is for: from the one before it, if there is one, to the last of its own."""
    least = f"{days} {'day' if days == 1 else 'days'}"
    if earlier is None:
        return "At any time up to the day itself" if days == 0 else f"{least} before, or earlier"
    if days == 0:
        return "On the day itself" if earlier == 1 else f"Less than {earlier} days before"
    return f"{least} before" if earlier - days == 1 else f"{days} to {earlier - 1} days before"


def _actions(policy: CancellationPolicy, packages: int) -> tuple[list[Action], list[Blocked]]:
    if not session.actor().has(policies.MAY_EDIT):
        return [], []
    href = policy_href(policy)
    edit = Action("edit", "Edit", f"{href}edit", "Its name and tiers.", key="e", is_link=True)
    if policy.status == "RETIRED":
        explain = "It can be chosen for packages again."
        return [edit, Action("reinstate", "Take up again", f"{href}reinstate", explain)], []
    if policy.code == USUAL:
        return [edit], [Blocked("Retire", "Packages that say nothing else get this policy.")]
    have = f"{packages:,} {'package has' if packages == 1 else 'packages have'}"
    explain = f"It can't be chosen any more, on forms and in imports. {have} it and keep it until another is chosen."
    retire = Action(
        *("retire", "Retire", f"{href}retire", explain), danger=True, needs_reason=True, reasons=RETIRE_REASONS
    )
    return [edit, retire], []
