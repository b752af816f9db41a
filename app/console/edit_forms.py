"""The page that edits a record: its fields as declared, errors at the field, and what others saved meanwhile beside it.

Nothing typed is lost: whatever the verb refuses, the form comes back as it was sent. Over somebody else's save it shows
each field that both changed three times, and asks which of the two to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flask import request
from werkzeug.wrappers import Response

from app.audit import edits
from app.audit.edits import Fields, SavedMeanwhile
from app.console import session
from app.console.base import MAX_ID, Page, done, reason_given
from app.errors import FieldError, Invalid
from app.extensions import Model

Answer = Response | str | tuple[str, int]
Kind = Literal["line", "text", "choice", "email", "tel", "whole", "decimal"]


@dataclass(frozen=True)
class Input:
    """How one of the verb's fields is shown. `options` are the values of a choice, each with its words; `most` is how
    many characters it may have.
    """

    name: str
    label: str
    kind: Kind = "line"
    options: Sequence[tuple[str, str]] = ()
    hint: str = ""
    is_optional: bool = False
    most: int = 300


@dataclass(frozen=True)
class EditForm:
    """One record's form. `fields` are the verb's, `groups` how they are shown, under their headings.

    `save` takes what was typed by field, `seen`, the version that the form was opened at, and `by`; where the form
    `asks_reason`, also a `reason`.
    """

    row: Model
    name: str
    intro: str
    back: str
    fields: Fields
    groups: Mapping[str, Sequence[Input]]
    save: Callable[..., Any]
    asks_reason: bool = False
    # What the record's page is called, where the form is only about a part of it.
    back_label: str = ""

    @property
    def inputs(self) -> dict[str, Input]:
        """All of them, by name."""
        return {shown.name: shown for group in self.groups.values() for shown in group}


@dataclass(frozen=True)
class _Refusal:
    """Why the form is shown again."""

    status: int
    detail: str
    errors: Mapping[str, str]


def serve(page: Page, form: EditForm, may: Collection[str]) -> Answer:
    """Answer a GET with the form and a POST by saving it. Raises NotAllowed for who holds none of the roles `may`."""
    by = session.actor()
    by.require(*may)
    if request.method == "GET":
        version, texts = edits.opened(form.row, form.fields)
        return _page(page, form, version, texts)
    typed = {name: request.form[name] for name in form.inputs if name in request.form}
    seen = _version("seen")
    clashed, kept = _choices(form)
    if clashed and len(kept) == len(clashed):
        # Both sides were shown and one was chosen for each: what the form has seen is what it showed.
        seen = _version("against")
        typed = {name: text for name, text in typed.items() if kept.get(name) != "theirs"}
    try:
        form.save(typed, seen=seen, by=by, **({"reason": reason_given()} if form.asks_reason else {}))
    except SavedMeanwhile as refusal:
        errors = {name: "Choose which of the two to keep." for name in clashed if name not in kept}
        return _page(page, form, seen, refusal.texts, _Refusal(refusal.status, refusal.detail, errors), refusal)
    except Invalid as refusal:
        errors = {wrong.field: wrong.message for wrong in refusal.fields}
        texts = {**edits.texts_of(form.row, form.fields), **typed}
        return _page(
            page, form, seen, texts, _Refusal(refusal.status, _counted(refusal.fields) or refusal.detail, errors)
        )
    return done("Your changes are saved.", form.back)


def _choices(form: EditForm) -> tuple[list[str], dict[str, str]]:
    """The fields that a choice was asked for, and which side was chosen."""
    clashed = [name for name in request.form.getlist("clash") if name in form.inputs]
    chosen = {name: request.form.get(f"keep-{name}", "") for name in clashed}
    return clashed, {name: side for name, side in chosen.items() if side in ("theirs", "yours")}


def _version(name: str) -> int:
    value = request.form.get(name, "")
    if not (value.isascii() and value.isdigit()) or len(value) > len(str(MAX_ID)) or int(value) > MAX_ID:
        raise Invalid.field(name, "Load the form again: what it sent is not what it was given.")
    return int(value)


def _counted(wrong: Sequence[FieldError]) -> str:
    if len(wrong) > 1:
        return f"{len(wrong)} fields need another look."
    return "One field needs another look." if wrong else ""


def _page(
    page: Page,
    form: EditForm,
    seen: int,
    texts: Mapping[str, str],
    refusal: _Refusal | None = None,
    meanwhile: SavedMeanwhile | None = None,
) -> Answer:
    inputs = form.inputs
    errors = refusal.errors if refusal else {}
    html = str(
        page.render(
            "console/edit.html",
            form=form,
            seen=seen,
            against=meanwhile.version if meanwhile else None,
            texts=texts,
            reason=request.form.get("reason", ""),
            refusal=refusal,
            errors=errors,
            first_error=next((name for name in inputs if name in errors), None),
            first_clash=next((clash.field for clash in meanwhile.clashes), None) if meanwhile and not errors else None,
            clashes={clash.field: clash for clash in meanwhile.clashes} if meanwhile else {},
            followed=[inputs[name].label for name in meanwhile.followed] if meanwhile else [],
            kept=_choices(form)[1] if meanwhile else {},
            choices={name: _options(shown, texts[name]) for name, shown in inputs.items() if shown.kind == "choice"},
        )
    )
    return (html, refusal.status) if refusal else html


def _options(shown: Input, text: str) -> Sequence[tuple[str, str]]:
    """What can be chosen; what is there stays choosable, also where it would not be offered any more."""
    known = any(value == text for value, _ in shown.options)
    return shown.options if known else [(text, text or "Not given"), *shown.options]
