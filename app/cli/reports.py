"""`flask reports …`: the sums that balances and charts are read from, and the days reconciled with Stripe."""

from __future__ import annotations

import click

from app.cli.door import DoorGroup, operator
from app.reports import months
from app.reports import service as reports

group = DoorGroup("reports", help="Sums by day and month, and days reconciled with Stripe.")


@group.command("rebuild")
def rebuild() -> None:
    """Make them anew from the ledger and the audit trail, beside whatever else goes on."""
    reports.rebuild(click.echo)
    click.echo("The sums by day are up to date.")


@group.command("reconcile")
@click.argument("month", metavar="YYYY-MM")
def reconcile(month: str) -> None:
    """Have the days of a month compared with Stripe that have not been, or differ. The workers do it."""
    days = months.reconcile(months.read_month(month), by=operator())
    click.echo(f"{len(days)} {'day is' if len(days) == 1 else 'days are'} being compared: {days[0]} to {days[-1]}.")
