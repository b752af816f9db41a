"""`flask staff …`: making staff accounts."""

from __future__ import annotations

import click

from app.accounts import service as accounts
from app.accounts.models import ROLES
from app.cli.door import DoorGroup, operator

group = DoorGroup("staff", help="Staff accounts.")


@group.command("create")
@click.option("--email", required=True, help="Their e-mail address.")
@click.option("--name", required=True, help="Their name.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(ROLES),
    help="A role; give it several times for several.",
)
@click.password_option(help="Their first password; asked for when left out.")
def create(email: str, name: str, roles: tuple[str, ...], password: str) -> None:
    """Make a staff account."""
    person = accounts.create_staff(email=email, name=name, password=password, roles=roles, by=operator())
    click.echo(f"{person.email} can sign in to the console as {', '.join(sorted(person.roles))}.")
