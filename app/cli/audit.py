"""`flask audit …`: is the audit trail what it was?"""

from __future__ import annotations

import click

from app.audit import service as audit
from app.cli.door import DoorGroup

group = DoorGroup("audit", help="The audit trail.")


@group.command("verify")
def verify() -> None:
    """Recompute the hash chain; exits with 1 and names the first entry that was altered or taken out."""
    report = audit.verify()
    click.echo(f"{report.sealed} entries are sealed and as they were written; {report.unsealed} are not sealed yet.")
    if report.problem:
        raise click.ClickException(f"The audit trail was altered: {report.problem}.")


@group.command("seal")
def seal() -> None:
    """Seal what is not sealed yet, wherever it is; the scheduler seals what is new every few seconds."""
    sealed = 0
    while batch := audit.seal() or audit.seal(thorough=True):
        sealed += batch
    click.echo(f"{sealed} entries sealed.")
