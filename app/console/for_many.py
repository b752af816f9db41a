"""What a list offers to do to many of its rows at once: the ones that were picked, or all that match. They are kept as
a bulk run, whose page says what it would do before it is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode

from flask import redirect, request
from flask_admin import expose
from werkzeug.wrappers import Response

from app.audit.actor import Actor
from app.bulk import service as bulk
from app.bulk.kind import Ids
from app.bulk.kinds import KINDS
from app.console import session
from app.console.base import RecordView
from app.console.deciding import whole
from app.errors import Invalid, NotFound
from app.extensions import db

_NAMED = 5


@dataclass(frozen=True)
class ForMany:
    """One thing that can be done to many rows by the kind of bulk run called `run`, after a reason.

    `reasons` are codes with their words, or words; `arguments` makes of the reason and the note beside it what the run
    is asked for with.
    """

    name: str
    label: str
    run: str
    reasons: Mapping[str, str] | Sequence[str]
    arguments: Callable[[str, str], Mapping[str, Any]]
    danger: bool = False
    key: str | None = None

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The reasons to choose from: what is sent, and its words."""
        given = self.reasons
        return list(given.items()) if isinstance(given, Mapping) else [(words, words) for words in given]

    @property
    def explain(self) -> str:
        """What it does."""
        return KINDS[self.run].explain


class ForManyRoutes(RecordView):
    """The part of a list's page that takes many of its rows; the list names what `for_many` of them can be done."""

    for_many: ClassVar[Sequence[ForMany]]

    def lines(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """A page's rows, each with what it is picked by."""
        return [{**shown, "id": row.id} for row, shown in zip(rows, super().lines(rows), strict=True)]

    def context(self) -> dict[str, Any]:
        """What this person may do to many rows, and where the list sends them."""
        offered = self._offered(session.actor())
        return {"for_many": offered, "bulk_href": self._bulk_address()} if offered else {}

    @expose("/bulk", methods=["POST"])  # type: ignore[untyped-decorator]
    def take_many(self) -> Response | str | tuple[str, int]:
        """Ask for the reason, then keep what was picked, or all that match, and lead to what would be done."""
        by = session.actor()
        wanted = self._wanted(request.form.get("decision", ""), by)
        is_all = "all" in request.form
        ids = [] if is_all else [whole(value, "id") for value in request.form.getlist("id")]
        if not is_all and not 1 <= len(ids) <= self.page_size:
            raise Invalid(f"Pick 1 to {self.page_size} lines first.")
        if "asked" not in request.form:
            return self._ask(wanted, ids)
        reason, note = request.form.get("reason", ""), request.form.get("note", "").strip()
        try:
            chosen = self._all() if is_all else ids
            run = bulk.freeze(wanted.run, chosen, by=by, arguments=wanted.arguments(reason, note))
        except Invalid as refusal:
            return self._ask(wanted, ids, error=refusal.detail), refusal.status
        return redirect(f"/console/bulk/{run.id}/")

    def _offered(self, by: Actor) -> list[ForMany]:
        return [one for one in self.for_many if by.has(KINDS[one.run].roles)]

    def _wanted(self, name: str, by: Actor) -> ForMany:
        found = next((one for one in self.for_many if one.name == name), None)
        if found is None:
            raise NotFound("There is no such action.")
        by.require(*sorted(KINDS[found.run].roles))
        return found

    def _all(self) -> Ids:
        chosen, words, _, _ = self._asked()
        return self._listing(chosen, words, self._order()[0]).places()

    def _bulk_address(self) -> str:
        asked = self._asked()[-1]
        here = {name: request.args[name] for name in ("after", "before") if request.args.get(name)}
        query = urlencode({**asked, **here})
        return f"{self.url.rstrip('/')}/bulk{'?' if query else ''}{query}"

    def _ask(self, wanted: ForMany, ids: Sequence[int], error: str | None = None) -> str:
        """The page that says what it does and asks for the reason; without any ids it is about all that match."""
        chosen, words, _, asked = self._asked()
        key = self.model.__table__.c.id
        first = self.query().where(key.in_(ids)).order_by(key).limit(_NAMED)
        named = [str(self.cells(row)[self.columns[0].key]) for row in db.session.scalars(first)]
        about = self._counted(len(ids)) if ids else self._count_label(self._listing(chosen, words, self._order()[0]))
        up = f"{self.url.rstrip('/')}/{'?' if asked else ''}{urlencode(asked)}"
        return str(
            self.render(
                "console/queue/ask.html",
                heading=f"{wanted.label}: {about}",
                decision=wanted,
                ids=ids,
                headings=named,
                more=len(ids) - len(named),
                narrowed=[chip["label"] for chip in self._chips(chosen, words, asked)],
                line="0",
                bulk_href=self._bulk_address(),
                up={"label": self.title, "href": up},
                typed=request.form,
                error=error,
            )
        )
