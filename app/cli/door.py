"""What the command groups share: refusals become one line on stderr and a failing exit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from typing import Any

import click
from flask.cli import AppGroup
from sqlalchemy.exc import DBAPIError

from app.audit.actor import Actor
from app.db import raise_from_database
from app.errors import Invalid, TripdeskError
from app.logs import new_request_id, request_id


class DoorGroup(AppGroup):
    """A group of commands that run under a request id and answer refusals in words."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command of this group."""
        request_id.set(new_request_id())
        with refusals_in_words():
            return super().invoke(ctx)


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """Turn a verb's refusal into click's own, which exits with 1."""
    try:
        try:
            yield
        except DBAPIError as error:
            raise_from_database(error)
    except Invalid as error:
        lines = [f"{wrong.field}: {wrong.message}" for wrong in error.fields]
        # Of one field, the refusal is what is wrong with it.
        is_said = [wrong.message for wrong in error.fields] == [error.detail]
        raise click.ClickException("\n".join(lines if is_said else [error.detail, *lines])) from error
    except TripdeskError as error:
        raise click.ClickException(error.detail) from error


def operator() -> Actor:
    """Whoever runs the command: as they hold the database's password they act as Tripdesk, under their own name."""
    try:
        name = getuser()
    except (KeyError, OSError):
        name = "unknown user"
    return Actor("system", None, f"{name} (command line)")
