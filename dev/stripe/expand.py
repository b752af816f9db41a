"""Expansion: ids in an answer replaced by the objects they name (https://docs.stripe.com/api/expanding_objects)."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from dev.stripe import charges, disputes, intents, payouts, refunds
from dev.stripe.cards import payment_method
from dev.stripe.errors import invalid_parameter
from dev.stripe.work import Json, Work

# Which kinds of object a field may lead to; an empty tuple is a field that Stripe expands and that is never set here.
EXPANDABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "payment_intent": {
        "latest_charge": ("charge",),
        "payment_method": ("payment_method",),
        "customer": (),
        "review": (),
    },
    "charge": {
        "balance_transaction": ("balance_transaction",),
        "payment_intent": ("payment_intent",),
        "refunds": ("refund",),
        "failure_balance_transaction": (),
        "customer": (),
        "review": (),
    },
    "refund": {
        "balance_transaction": ("balance_transaction",),
        "failure_balance_transaction": ("balance_transaction",),
        "charge": ("charge",),
        "payment_intent": ("payment_intent",),
    },
    "dispute": {"charge": ("charge",), "payment_intent": ("payment_intent",)},
    "balance_transaction": {"source": ("charge", "refund", "dispute", "payout")},
    "payout": {
        "balance_transaction": ("balance_transaction",),
        "failure_balance_transaction": ("balance_transaction",),
    },
    "payment_method": {"customer": ()},
}
DEEPEST = 4


def check(paths: Iterable[str], kind: str | None, *, of_list: bool) -> None:
    """Refuses, before anything is done, a path that leads nowhere."""
    for path in paths:
        steps = path.split(".")
        if of_list:
            if steps[0] != "data":
                raise _cannot(path)
            steps = steps[1:]
        if len(steps) > DEEPEST:
            raise invalid_parameter(f"You cannot expand more than {DEEPEST} levels of a property: {path}.", "expand")
        kinds = {kind} if kind else set()
        for step in steps:
            found = [EXPANDABLE[one][step] for one in kinds if step in EXPANDABLE.get(one, {})]
            if not found:
                raise _cannot(path)
            kinds = {one for several in found for one in several}


def _cannot(path: str) -> Exception:
    return invalid_parameter(f"This property cannot be expanded ({path}).", "expand")


def apply(work: Work, answer: Json, paths: Iterable[str]) -> Json:
    """The answer with every path expanded."""
    for path in paths:
        _expand(work, answer, path.split("."))
    return answer


def _expand(work: Work, place: Json, steps: list[str]) -> None:
    step, *rest = steps
    if place.get("object") == "list":
        for entry in place["data"]:
            _expand(work, entry, rest if step == "data" else steps)
        return
    if step == "refunds" and "refunds" not in place:
        place["refunds"] = refunds.listed(work, {"charge": place["id"]})
    value: Any = place.get(step)
    if isinstance(value, str):
        value = place[step] = _object(work, place, value)
    if rest and isinstance(value, dict):
        _expand(work, value, rest)


def _object(work: Work, place: Json, identifier: str) -> Json:
    db: sqlite3.Connection = work.db
    match identifier.split("_", maxsplit=1)[0]:
        case "pi":
            return intents.retrieve(work, {}, identifier)
        case "ch":
            return charges.retrieve(work, {}, identifier)
        case "re":
            return refunds.retrieve(work, {}, identifier)
        case "du":
            return disputes.retrieve(work, {}, identifier)
        case "po":
            return payouts.retrieve(work, {}, identifier)
        case "txn":
            return charges.retrieve_balance_transaction(work, {}, identifier)
        case _:  # a payment method, which lives on the intent it was given to
            row = db.execute("SELECT test_method FROM payment_intents WHERE id = ?", (place["id"],)).fetchone()
            return payment_method(identifier, row["test_method"], place["created"])
