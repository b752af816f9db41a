"""`flask search …`: the index of what is on sale, made anew and compared with the rows."""

from __future__ import annotations

import time

import click

from app.cli.door import DoorGroup
from app.search import indexing

_SECONDS_BETWEEN_LOOKS = 1
_SECONDS_BETWEEN_LINES = 2

group = DoorGroup("search", help="What packages are found by.")


@group.command("reindex")
def reindex() -> None:
    """Compare every package's document with its rows and write what differs; searches go on meanwhile."""
    told_at = time.monotonic()

    def tell(line: str) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _SECONDS_BETWEEN_LINES:
            told_at = time.monotonic()
            click.echo(line, err=True)

    written = indexing.reindex(tell)
    click.echo(f"Every package is indexed; {written:,} documents were written.")


@group.command("status")
@click.option("--wait", is_flag=True, help="Until nothing differs and no change waits, for --seconds at most.")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="How long --wait may take.")
def status(wait: bool, seconds: int) -> None:
    """Compare all documents with the rows; exits with 1 when they differ or changes wait."""
    until = time.monotonic() + seconds
    found = indexing.status()
    while wait and not found.equal and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        # Comparing takes long where there is much, and says nothing while changes wait.
        if indexing.lag_seconds() == 0 or time.monotonic() >= until:
            found = indexing.status()
    for name, value in (
        ("engine", "postgres"),
        ("packages on sale", f"{found.on_sale:,}"),
        ("documents listed", f"{found.listed:,}"),
        ("missing", f"{found.missing:,}"),
        ("outdated", f"{found.outdated:,}"),
        ("left over", f"{found.left_over:,}"),
        ("changes waiting", f"{found.waiting:,}"),
        ("oldest waits since", f"{found.lag_seconds:.1f} s"),
    ):
        click.echo(f"{name:<18} {value}")
    if not found.equal:
        raise click.ClickException(
            "Documents and packages differ. Workers take up changes by themselves; what stays different is put right "
            "by: flask --app wsgi search reindex"
        )
    click.echo("Documents and packages say the same.")
