"""`flask catalog …`: bringing packages in from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
import orjson

from app.catalog.import_file import Unusable
from app.catalog.import_mapping import ImportMapping
from app.catalog.importing import CatalogImport, Progress, parse_rate
from app.cli.door import DoorGroup, operator
from app.imports import turns
from app.search import indexing

SOME_REJECTED = 3
UNUSABLE = 2
_SECONDS_BETWEEN_PROGRESS = 2

group = DoorGroup("catalog", help="Providers, packages and their days.")


@group.command("import")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.csv[.gz]")
@click.option(
    "--mapping",
    "mapping_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Which column of the file is which of our fields; docs/import/README.md says how to write one.",
)
@click.option("--rate", default="1", show_default=True, help="USD per unit of the file's prices.")
@click.option("--dry-run", is_flag=True, help="Read and compare everything, write nothing.")
def import_(file: Path, mapping_file: Path, rate: str, dry_run: bool) -> None:
    """Bring in the packages of a CSV file, or up to date those that are in already.

    The last line printed is JSON with the counts; before it, a line for each row that was rejected. Exits with 0 when
    every row went in, 3 when some were rejected, and 2 when the file or the mapping can't be used and nothing went in.
    While another import runs, in the console or by this command, it does nothing, says whose, and exits with 1.
    """
    with _unusable_in_words(None):
        usd_per_unit = parse_rate(rate)
    with _unusable_in_words(mapping_file):
        mapping = ImportMapping.from_toml(mapping_file.read_bytes())
    with _unusable_in_words(file):
        stream = file.open("rb")
    by = operator()
    with stream, nullcontext() if dry_run else turns.turn_of_command(by) as keep:
        with _unusable_in_words(file):
            work = CatalogImport(stream, mapping, rate=usd_per_unit, by=by, dry_run=dry_run, keep=keep)
        _show(work.run())
    if not dry_run:
        # Where no worker runs, nobody else has them found.
        indexing.catch_up(lambda line: click.echo(line, err=True))
    click.echo(orjson.dumps(work.report.json()))
    if work.report.rejected:
        click.get_current_context().exit(SOME_REJECTED)


def _show(steps: Iterator[Progress]) -> None:
    """Rejected rows on stdout as they are found; how far it is on stderr, now and then."""
    told_at = time.monotonic()
    for step in steps:
        for rejection in step.rejections:
            click.echo(str(rejection))
        if time.monotonic() - told_at >= _SECONDS_BETWEEN_PROGRESS:
            told_at = time.monotonic()
            counts = ", ".join(f"{count:,} {name}" for name, count in step.report.json().items())
            click.echo(f"{step.share:4.0%} read: {counts}", err=True)


@contextmanager
def _unusable_in_words(file: Path | None) -> Iterator[None]:
    """Say in one line why nothing can be imported, and exit with 2."""
    try:
        yield
    except (Unusable, OSError) as error:
        reason = error.detail if isinstance(error, Unusable) else error.strerror or str(error)
        click.echo(f"Error: {file}: {reason}" if file else f"Error: {reason}", err=True)
        click.get_current_context().exit(UNUSABLE)
