"""`flask ledger …`: are the books whole?"""

from __future__ import annotations

import click

from app.cli.door import DoorGroup
from app.money import Money
from app.payments import ledger, ledger_checks

group = DoorGroup("ledger", help="The double-entry ledger.")


@group.command("verify")
def verify() -> None:
    """Print the trial balance and check every posting; exits with 1 when anything is off."""
    for balance in ledger.trial_balance():
        debit, credit = Money(balance.debit_minor, balance.currency), Money(balance.credit_minor, balance.currency)
        click.echo(f"{balance.name:<24} debit {debit!s:>22}   credit {credit!s:>22}")
    wrong = ledger_checks.verify()
    for line in wrong:
        click.echo(line, err=True)
    if wrong:
        raise click.ClickException("The ledger is NOT in order.")
    click.echo("The ledger is in order.")
