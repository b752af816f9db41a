"""`flask reports …`: the sums by day that balances and charts are read from."""

from __future__ import annotations

import click

from app.cli.door import DoorGroup
from app.reports import service as reports

group = DoorGroup("reports", help="The sums by day that balances and charts are read from.")


@group.command("rebuild")
def rebuild() -> None:
    """Make them anew from the ledger and the audit trail, beside whatever else goes on."""
    reports.rebuild(click.echo)
    click.echo("The sums by day are up to date.")
