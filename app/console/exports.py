"""The way from a list to its export: all rows that match are kept as a bulk run, whose page tells of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlencode

from flask import redirect
from sqlalchemy import Select
from werkzeug.wrappers import Response

from app.bulk import exporting, spreadsheet
from app.console import session
from app.errors import NotFound
from app.reports import downloads


class Exported(Protocol):
    """A page that lists rows."""

    url: str
    exported_as: str


def export_href(page: Exported, asked: Mapping[str, str]) -> str | None:
    """Where a list is sent to be exported as it is narrowed, sorted and shown; None where it can't be."""
    if not page.exported_as:
        return None
    path = f"{page.url.rstrip('/')}/export"
    return f"{path}?{urlencode(asked)}" if asked else path


def ask_for_export(
    page: Exported, places: Select[Any], columns: Sequence[str] | None, chips: Sequence[Mapping[str, str]]
) -> Response:
    """Keep these rows with these columns, or all there are, and lead to the page of the run, which says by the chips
    what the list was narrowed to.

    Raises NotFound, NotAllowed, Invalid.
    """
    if not page.exported_as:
        raise NotFound("This list can't be exported.")
    narrowed = [chip["label"] for chip in chips]
    run = exporting.ask(page.exported_as, places, columns=columns, narrowed=narrowed, by=session.actor())
    return redirect(f"/console/bulk/{run.id}/")


def sums_file(name: str, lines: bytes) -> Response:
    """Sums as CSV, made at once; whoever takes them stands in the trail."""
    downloads.taken(name, by=session.actor())
    answer = Response(spreadsheet.BYTE_ORDER_MARK + lines, content_type="text/csv; charset=utf-8; header=present")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
