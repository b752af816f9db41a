"""`flask demo …`: made-up data to try the product with."""

from __future__ import annotations

import click
from flask_migrate import upgrade

from app.cli.door import DoorGroup, operator
from app.config import settings
from app.demo import people
from app.demo import service as demo

group = DoorGroup("demo", help="Made-up data to try the product with.")


@group.command("seed")
@click.option(
    "--scale",
    default="small",
    metavar="small|medium|large|N",
    show_default=True,
    help=f"400, 50,000 or 1,000,000 bookings in the last year, or a number from {demo.SMALLEST:,} to {demo.LARGEST:,}; "
    "a third as many in the year before, and as many reviews as in the last.",
)
@click.option(
    "--if-empty", is_flag=True, help="Where there are bookings or packages, only give the demo logins DEMO_PASSWORD."
)
@click.option("--migrate", is_flag=True, help="Bring the schema up to date first, which saves starting twice.")
def seed(scale: str, if_empty: bool, migrate: bool) -> None:
    """Fill an empty database, and the local Stripe, with two years of bookings; refused in production."""
    size = demo.Scale.named(scale)
    demo.check_allowed()
    if migrate:
        upgrade()
    if if_empty and not demo.is_needed():
        reset = demo.reset_passwords(by=operator())
        click.echo("There are bookings or packages already: nothing was made.")
        if reset:
            click.echo(f"The {reset} demo logins have the password in DEMO_PASSWORD again.")
        return
    made = demo.seed(size, by=operator(), tell=lambda line: click.echo(line, err=True))
    click.echo(
        f"{made.bookings:,} bookings of {made.packages:,} packages by {made.travellers:,} travellers, "
        f"{made.providers:,} providers, {made.reviews:,} reviews, {made.payments:,} payments, "
        f"{made.audit_entries_sealed:,} audit entries sealed."
    )
    click.echo(f"Sign in with the password {settings().demo_password.get_secret_value()} as")
    for login in people.STAFF:
        click.echo(f"  {login.email}  ({', '.join(login.roles)})")
    click.echo(f"  {people.TRAVELLER}  (traveller, API)")
