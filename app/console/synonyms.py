"""/console/synonyms/: words that mean the same to search; admins change them, and see beforehand what that does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from flask import request
from flask_admin import expose
from sqlalchemy import Select, func, select
from werkzeug.wrappers import Response

from app.audit import edits, trail
from app.audit.edits import SavedMeanwhile
from app.audit.models import AuditEntry
from app.console import session
from app.console.base import ADMIN, MAX_ID, Column, RecordView, done, find
from app.console.edit_forms import Answer
from app.console.finding import LONGEST
from app.console.record import Action, Fact, Group, Phrase, Record
from app.errors import Invalid
from app.extensions import db
from app.search import meilisearch, sending, synonyms
from app.search.models import SearchSynonyms
from app.search.synonyms import Effect
from app.workers import last_check

TITLES: dict[str, trail.Title] = {
    "synonyms.create": ("Made", "audit", None),
    "synonyms.edit": ("Changed", "audit", None),
}
_WHAT = "group of synonyms"


class SynonymsView(RecordView):
    """Groups of words that mean the same, for admins."""

    roles = ADMIN
    icon = "copy"
    model = SearchSynonyms
    title = "Synonyms"
    noun = ("group", "groups")
    template = "console/synonyms/list.html"
    intro = "Words that mean the same: who searches for one of a group finds the others as well, after it."
    search_hint = "A word of the group"
    empty_hint = "Make a group of words that travellers and providers use for the same thing."
    columns = (
        Column("words", "Words", "link"),
        Column("count", "How many", "number", "right"),
        Column("updated_at", "Changed", "time", "right"),
    )
    commands = (("New synonyms", "/console/synonyms/new", "words search meaning same"),)

    def search(self, query: Select[Any], words: str) -> Select[Any]:
        """However it is written; groups are few."""
        joined = func.array_to_string(SearchSynonyms.folded, ", ")
        return query.where(func.strpos(joined, func.search_fold(words)) > 0)

    def href(self, row: SearchSynonyms) -> str:
        """The group's page."""
        return synonyms_href(row)

    def cells(self, row: SearchSynonyms) -> dict[str, Any]:
        """A group's cells."""
        return {"words": ", ".join(row.words), "count": len(row.words), "updated_at": row.updated_at}

    def context(self) -> dict[str, Any]:
        """How Meilisearch stands to them."""
        return {"standing": _standing()}

    @expose("/<int:group_id>/")  # type: ignore[untyped-decorator]
    def show(self, group_id: int) -> str:
        """One group."""
        group = find(SearchSynonyms, group_id, _WHAT)
        href = synonyms_href(group)
        facts = (
            *(Fact(f"Word {number}", word) for number, word in enumerate(group.words, 1)),
            Fact("Changed", group.updated_at, "time"),
        )
        return self.render_record(
            Record(
                title=", ".join(group.words),
                about=group,
                titles=TITLES,
                sub=(Phrase("changed", at=group.updated_at),),
                actions=[
                    Action(
                        "edit", "Edit", f"{href}edit", "Its words, and what a change of them does.", "e", is_link=True
                    ),
                    Action("delete", "Delete…", f"{href}delete", "See what that does first.", is_link=True),
                ],
                facts=(Group("They mean the same", facts),),
                timeline=list(trail.moments({"search_synonyms": [group.id]}, titles=TITLES)),
            ),
            "console/synonyms/show.html",
            standing=_standing(),
        )

    @expose("/new", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def new(self) -> Answer:
        """The form of a new group; sent, it is made, or its effect is shown."""
        if request.method == "POST":
            return self._sent(None)
        return self._form(None, {"words": ""})

    @expose("/<int:group_id>/edit", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def edit(self, group_id: int) -> Answer:
        """The form of one that there is."""
        group = find(SearchSynonyms, group_id, _WHAT)
        if request.method == "POST":
            return self._sent(group)
        version, texts = edits.opened(group, synonyms.fields_of(group))
        return self._form(group, {**texts, "seen": str(version)})

    @expose("/<int:group_id>/delete", methods=["GET", "POST"])  # type: ignore[untyped-decorator]
    def delete(self, group_id: int) -> str | Response:
        """What is lost without the group; sent, it is deleted."""
        group = find(SearchSynonyms, group_id, _WHAT)
        if request.method == "POST":
            gone = synonyms.delete(group.id, seen=_version(request.form), by=session.actor())
            return done(f"{', '.join(gone)} don't mean the same any more.", self._list)
        q = _query(request.args)
        return str(
            self.render(
                "console/synonyms/delete.html",
                group=group,
                back=synonyms_href(group),
                seen=edits.version_of(group),
                q=q,
                **_effects(synonyms.effects(q, [], of=group.id)),
            )
        )

    @property
    def _list(self) -> str:
        return f"{self.url.rstrip('/')}/"

    def _sent(self, group: SearchSynonyms | None) -> Answer:
        typed = request.form
        by, words = session.actor(), typed.get("words", "")
        try:
            if "preview" in typed:
                wanted = synonyms.read_words(words, but=group.id if group else None)
                effects = synonyms.effects(_query(typed), wanted, of=group.id if group else None)
                return self._form(group, typed, effects=effects)
            if group is None:
                saved = synonyms.create(words, by=by)
            else:
                saved = synonyms.edit(group.id, words, seen=_version(typed), by=by)
        except SavedMeanwhile as refusal:
            # What others made of it is shown; saved again, what was typed takes its place.
            theirs = ", ".join(clash.theirs.replace("\n", ", ") for clash in refusal.clashes)
            said = f"{refusal.detail} The group is {theirs} now. Saving replaces that."
            return self._form(group, {**typed, "seen": str(refusal.version)}, refusal=said), refusal.status
        except Invalid as refusal:
            errors = {error.field: error.message for error in refusal.fields}
            return self._form(group, typed, refusal="One field needs another look.", errors=errors), refusal.status
        return done(f"{', '.join(saved.words)} mean the same now.", synonyms_href(saved))

    def _form(
        self,
        group: SearchSynonyms | None,
        typed: Mapping[str, str],
        *,
        effects: Sequence[Effect] | None = None,
        refusal: str | None = None,
        errors: Mapping[str, str] | None = None,
    ) -> str:
        return str(
            self.render(
                "console/synonyms/edit.html",
                group=group,
                back=synonyms_href(group) if group else self._list,
                typed=typed,
                most=synonyms.MOST_WORDS,
                longest=LONGEST,
                most_characters=synonyms.MOST_CHARACTERS,
                refusal=refusal,
                errors=errors or {},
                **_effects(effects),
            )
        )


def synonyms_href(group: SearchSynonyms) -> str:
    """The page of a group."""
    return f"/console/synonyms/{group.id}/"


def _effects(effects: Sequence[Effect] | None) -> dict[str, Any]:
    return {
        "effects": effects,
        "shown": synonyms.SHOWN,
        "most_tried": synonyms.MOST_TRIED,
        "is_other_engine": meilisearch.server() is not None,
    }


def _query(typed: Mapping[str, str]) -> str:
    q = typed.get("q", "").strip()
    if len(q) > LONGEST:
        raise Invalid.field("q", f"Try at most {LONGEST} characters.")
    return q


def _version(typed: Mapping[str, str]) -> int:
    seen = typed.get("seen", "")
    if not (seen.isascii() and seen.isdigit()) or len(seen) > len(str(MAX_ID)) or int(seen) > MAX_ID:
        raise Invalid.field("seen", "Load the form again: what it sent is not what it was given.")
    return int(seen)


def _standing() -> dict[str, str] | None:
    """What there is to say of Meilisearch, and its tone; None where PostgreSQL searches, which knows at once."""
    if meilisearch.server() is None:
        return None
    try:
        check = last_check(sending.SYNONYMS_CHECK)
    except redis.RedisError:
        return {"tone": "warn", "text": "Whether Meilisearch knows of the last change can't be told: Redis is away."}
    if check is not None and check.problems:
        why = " ".join(check.problems)
        said = "Meilisearch has not taken the synonyms as they are, and searches with those from before."
        return {"tone": "bad", "text": f"{said} {why} It is told again every half minute."}
    changed_at = db.session.scalar(
        select(func.max(AuditEntry.at)).where(AuditEntry.object_type == SearchSynonyms.__tablename__)
    )
    if check is None or (changed_at is not None and check.at < changed_at):
        return {"tone": "info", "text": "Meilisearch is being told of the last change."}
    return None
