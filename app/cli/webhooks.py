"""`flask webhooks …`: the inbox of Stripe's events."""

from __future__ import annotations

import click
from sqlalchemy import select

from app.cli.door import DoorGroup, operator
from app.extensions import db
from app.payments import inbox
from app.payments.models import WebhookEvent

group = DoorGroup("webhooks", help="Stripe's events.")


@group.command("replay")
@click.argument("stripe_event_ids", nargs=-1, metavar="[EVT_ID]...")
@click.option("--all-failed", is_flag=True, help="Every event whose tries are used up.")
def replay(stripe_event_ids: tuple[str, ...], all_failed: bool) -> None:
    """Work through events once more; what they already did is not done again."""
    if bool(stripe_event_ids) == all_failed:
        raise click.UsageError("Name events, or give --all-failed.")
    ids = inbox.failed_ids() if all_failed else [_id_of(event_id) for event_id in stripe_event_ids]
    for row_id in ids:
        inbox.replay(row_id, by=operator())
    click.echo(f"{len(ids)} {'event' if len(ids) == 1 else 'events'} will be worked through again.")


def _id_of(stripe_event_id: str) -> int:
    row_id = db.session.scalar(select(WebhookEvent.id).where(WebhookEvent.stripe_event_id == stripe_event_id))
    if row_id is None:
        raise click.ClickException(f"There is no event {stripe_event_id} in the inbox.")
    return row_id
