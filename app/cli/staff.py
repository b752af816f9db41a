"""`flask staff …`: making staff accounts, and getting in when nobody can."""

from __future__ import annotations

import click

from app.accounts import staff
from app.accounts.models import ROLES
from app.cli.door import DoorGroup, operator

group = DoorGroup("staff", help="Staff accounts.")


_email = click.option("--email", required=True, help="Their e-mail address.")
_name = click.option("--name", required=True, help="Their name.")
_roles = click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(ROLES),
    help="A role; give it several times for several.",
)


@group.command("create")
@_email
@_name
@_roles
@click.password_option(help="Their first password; asked for when left out.")
def create(email: str, name: str, roles: tuple[str, ...], password: str) -> None:
    """Make a staff account."""
    person = staff.create_staff(email=email, name=name, password=password, roles=roles, by=operator())
    click.echo(f"{person.email} can sign in to the console as {', '.join(sorted(person.roles))}.")


@group.command("invite")
@_email
@_name
@_roles
def invite(email: str, name: str, roles: tuple[str, ...]) -> None:
    """Make a staff account and mail its person a link to choose a password."""
    person = staff.invite(email=email, name=name, roles=roles, by=operator())
    click.echo(f"{person.email} is invited as {', '.join(sorted(person.roles))}; the mail is on its way.")


@group.command("break-glass")
@_email
@click.option("--name", default="Break-glass admin", show_default=True, help="Their name, for a new account.")
@click.option("--reason", required=True, help="Why; kept in the audit trail.")
def break_glass(email: str, name: str, reason: str) -> None:
    """Make an admin when nobody can get in any more.

    The account is made, or taken as it is: let in again, without its second factor, and signed out everywhere. Prints a
    link to choose a password, good once and for an hour.
    """
    click.echo(staff.break_glass(email=email, name=name, reason=reason, by=operator()))
