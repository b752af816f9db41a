"""`flask invariants …`: is everything as it must always be?"""

from __future__ import annotations

import click

from app.cli.door import DoorGroup
from app.reports import invariants

group = DoorGroup("invariants", help="What must always be true of the data.")


@group.command("check")
def check() -> None:
    """Compare stock, bookings, payments, ledger, audit trail and Stripe; exits with 1 when anything is wrong."""
    wrong = 0
    for finding in invariants.check():
        if finding.skipped:
            click.echo(f"skipped  {finding.statement}: {finding.skipped}.")
        elif finding.wrong:
            wrong += 1
            click.echo(f"WRONG    {finding.statement}")
            for line in finding.wrong:
                click.echo(f"         {line}")
        else:
            click.echo(f"ok       {finding.statement}" + (f" ({finding.note})" if finding.note else ""))
    if wrong:
        raise click.ClickException(f"{wrong} {'invariant is' if wrong == 1 else 'invariants are'} broken.")
    click.echo("Nothing breaks an invariant.")
