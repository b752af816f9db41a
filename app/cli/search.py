"""`flask search …`: the index of what is on sale, made anew and compared with the rows."""

from __future__ import annotations

import time

import click

from app.cli.door import DoorGroup, operator
from app.search import indexing, meilisearch, rebuilding, sending
from app.search.models import IndexRebuild

_SECONDS_BETWEEN_LOOKS = 1
_SECONDS_BETWEEN_LINES = 2

group = DoorGroup("search", help="What packages are found by.")


@group.command("reindex")
def reindex() -> None:
    """Compare every package's document with its rows and write what differs; searches go on meanwhile."""
    told_at = time.monotonic()

    def tell(found: IndexRebuild) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _SECONDS_BETWEEN_LINES:
            told_at = time.monotonic()
            click.echo(f"  {_progress(found)}", err=True)

    with sending.patiently():
        done = rebuilding.finish_here(rebuilding.begin_here(by=operator()).id, tell)
    click.echo(f"Every package is indexed; {done.written:,} documents were written.")
    if meilisearch.server() is not None:
        click.echo("Meilisearch has them all, in a new index.")


def _progress(found: IndexRebuild) -> str:
    if found.step in ("documents", "words"):
        return f"{found.packages:,} packages read, {found.written:,} documents written"
    return f"{found.sent:,} of {found.total:,} documents sent"


@group.command("configure")
def configure() -> None:
    """Have Meilisearch know our keys, our index, and how it is searched; waits until it has taken them."""
    click.echo("Where settings are new, Meilisearch indexes all documents anew: that may take minutes.", err=True)
    with sending.patiently():
        sending.configure()
    click.echo(f"Meilisearch has the index {meilisearch.INDEX} with its settings.")


@group.command("status")
@click.option("--wait", is_flag=True, help="Until nothing differs and no change waits, for --seconds at most.")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="How long --wait may take.")
def status(wait: bool, seconds: int) -> None:
    """Compare all documents with the rows; exits with 1 when they differ or changes wait."""
    until = time.monotonic() + seconds
    found, engine = indexing.status(), sending.standing()
    while wait and not (found.equal and (engine is None or engine.equal)) and time.monotonic() < until:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        # Comparing takes long where there is much, and says nothing while changes wait.
        if (indexing.lag_seconds() == 0 and not _is_behind()) or time.monotonic() >= until:
            found, engine = indexing.status(), sending.standing()
    for name, value in (
        ("engine", "postgres" if engine is None else "meilisearch"),
        ("packages on sale", f"{found.on_sale:,}"),
        ("documents listed", f"{found.listed:,}"),
        ("missing", f"{found.missing:,}"),
        ("outdated", f"{found.outdated:,}"),
        ("left over", f"{found.left_over:,}"),
        ("changes waiting", f"{found.waiting:,}"),
        ("oldest waits since", f"{found.lag_seconds:.1f} s"),
    ):
        click.echo(f"{name:<18} {value}")
    if engine is not None:
        _tell(engine)
    if not found.equal:
        raise click.ClickException(
            "Documents and packages differ. Workers take up changes by themselves; what stays different is put right "
            "by: flask --app wsgi search reindex"
        )
    if engine is not None and not engine.equal:
        raise click.ClickException(
            "Meilisearch and documents differ. Workers send what it has not heard of and compare by themselves; all of "
            "it is put right by: flask --app wsgi search reindex"
        )
    click.echo(
        "Documents and packages say the same." if engine is None else "Packages, documents and Meilisearch agree."
    )


def _is_behind() -> bool:
    return meilisearch.server() is not None and sending.behind(1) > 0


def _tell(engine: sending.Standing) -> None:
    differences, state = engine.differences, engine.state
    for name, value in (
        ("in Meilisearch", f"{state.documents:,}" if state else "does not answer"),
        ("missing there", f"{len(differences.missing):,}" if differences is not None else "?"),
        ("outdated there", f"{len(differences.outdated):,}" if differences is not None else "?"),
        ("left over there", f"{len(differences.left_over):,}" if differences is not None else "?"),
        ("not sent", f"{engine.unsent:,}"),
        ("tasks waiting", f"{state.waiting:,}" if state else "?"),
    ):
        click.echo(f"{name:<18} {value}")
    for failure in engine.failures:
        click.echo(f"failed             {failure}")
