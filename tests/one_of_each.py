"""One object of each kind that routes are about: made for its owner, or asked for although it is not there."""

from __future__ import annotations

from collections.abc import Callable

from app.audit.actor import Actor
from tests import factories
from tests.objects.asked import Asked
from tests.objects.bookings import BOOKINGS, booking, open_review
from tests.objects.catalogue import CATALOGUE, new_provider, package, policy, provider
from tests.objects.desk import DESK, audit_entry, searched, sent_mail
from tests.objects.money import (
    MONEY,
    dispute,
    done_event,
    failed_event,
    ledger_entry,
    open_refund,
    payment,
    reconciled_day,
)
from tests.objects.people import PEOPLE, colleague, person


def on_a_list(make: Callable[[Actor | None], Asked]) -> Callable[[Actor | None], Asked]:
    """A list with one of these on it, which is there whoever asks."""

    def listed(owner: Actor | None) -> Asked:
        make(owner or factories.actor())
        return Asked({})

    listed.__name__ = f"list_of_{make.__name__}"
    return listed


OBJECTS: dict[str, Callable[[Actor | None], Asked]] = {
    make.__name__: make
    for make in (
        *(*BOOKINGS, *MONEY, *CATALOGUE, *PEOPLE, *DESK),
        *map(on_a_list, (booking, open_review, new_provider, provider, package, person, colleague, payment)),
        *map(on_a_list, (dispute, open_refund, ledger_entry, done_event, audit_entry, sent_mail)),
        *map(on_a_list, (reconciled_day, failed_event, policy, searched)),
    )
}
