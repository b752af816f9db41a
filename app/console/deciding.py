"""What may be decided about a row, by whom and when; and what came with a decision when somebody took it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from flask import request

from app.audit.actor import Actor
from app.console.base import MAX_ID, ListPage, reason_given
from app.errors import Invalid, NotFound
from app.states import Stateful, may_move


@dataclass(frozen=True)
class Decision:
    """What may be decided about an item, by whom, from which states (without any: the waiting one) to which, or to stay
    in.

    `verb` takes the item's id and `by`; with `reasons` or `needs_reason` also a `reason`: of reasons that are codes
    with their words the code, and `notes` beside it; otherwise words. `said` tells what was done, where the name of the
    state that it leads to doesn't. `many` takes ids and returns those that it moved;
    with it, the decision is in the bulk bar; with the name of a kind of bulk run as `run`, it can be taken on all that
    match, however many, and without `many` what is picked goes that way as well. `explain` says what it will do; `key`
    is as in `Action`, and `u` for an undo. `when` narrows further what the states and roles allow; `why_not` says what
    an item still lacks for it, which is shown at its button, disabled until then.
    """

    name: str
    label: str
    to: str
    verb: Callable[..., Any]
    may: Collection[str]
    explain: str = ""
    said: str = ""
    key: str | None = None
    many: Callable[..., list[int]] | None = None
    run: str | None = None
    sources: Collection[str] = ()
    reasons: Mapping[str, str] | Sequence[str] = ()
    needs_reason: bool = False
    danger: bool = False
    when: Callable[[Any, Actor], bool] | None = None
    why_not: Callable[[Any], str | None] | None = None

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The reasons to choose from: what is sent, and its words."""
        given = self.reasons
        return list(given.items()) if isinstance(given, Mapping) else [(words, words) for words in given]

    @property
    def is_for_many(self) -> bool:
        """Whether it is in the bulk bar."""
        return self.many is not None or self.run is not None

    @property
    def asks(self) -> bool:
        """Whether a reason has to be given."""
        return self.needs_reason or bool(self.reasons)


class Deciding(ListPage):
    """A list of rows that wait for one of its decisions."""

    model: ClassVar[type[Stateful]]
    waiting: ClassVar[str] = "PENDING"
    decisions: ClassVar[Sequence[Decision]]

    def offered(self, row: Any, by: Actor) -> list[Decision]:
        """What `by` may decide about an item now; its buttons and keys are these."""
        return [decision for decision in self.decisions if self._allows(decision, row, by)]

    def _allows(self, decision: Decision, row: Any, by: Actor) -> bool:
        return (
            row.status in (decision.sources or (self.waiting,))
            and by.has(decision.may)
            and (row.status == decision.to or may_move(row, decision.to))
            and (decision.when is None or decision.when(row, by))
        )

    def _may_decide(self, by: Actor) -> bool:
        return any(by.has(decision.may) for decision in self.decisions)

    def _decision(self, name: str) -> Decision:
        for decision in self.decisions:
            if decision.name == name:
                return decision
        raise NotFound("There is no such action.")


def seen() -> int:
    """Up to which entry of its history the person had seen the item that they decide on."""
    return whole(request.form.get("seen", ""), "seen")


def whole(value: str, name: str) -> int:
    """An id that a page's form sends back. Raises Invalid for anything that no page was given."""
    if not (value.isascii() and value.isdigit()) or int(value) > MAX_ID:
        raise Invalid.field(name, "Load the page again: what it sent is not what it was given.")
    return int(value)


def given(decision: Decision) -> dict[str, str]:
    """The reason, as the decision's verbs take it."""
    if isinstance(decision.reasons, Mapping):
        return {"reason": request.form.get("reason", ""), "notes": request.form.get("note", "")}
    return {"reason": reason_given()} if decision.asks else {}
