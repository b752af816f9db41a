"""A record's page as data: what it is, what can be done now, its facts, its money, its story.

`templates/console/record.html` lays it out; a page that shows more extends that template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.audit.trail import Moment, Title
from app.extensions import Model


@dataclass(frozen=True)
class Fact:
    """One labelled value; `kind` decides how it is written (see `value_of` in `templates/console/_parts.html`)."""

    label: str
    value: Any
    kind: str = "text"
    href: str | None = None


@dataclass(frozen=True)
class Group:
    """Facts under one heading."""

    title: str
    items: Sequence[Fact | Mapping[str, Any]]


@dataclass(frozen=True)
class Phrase:
    """A few words of the line under the title: `word` text `(aside)`, or `word` and a time."""

    word: str = ""
    text: str | None = None
    href: str | None = None
    aside: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Choice:
    """One of several ways of an action, of which its dialog sends one."""

    value: str
    label: str
    hint: str = ""


@dataclass(frozen=True)
class Action:
    """A button of a record page: its POST goes to `href`, after a dialog when it is `danger` or needs a reason.

    `explain` says what it will do, in numbers. The dialog sends `reason`, chosen of `reasons` where there are some,
    with a `note` beside it; `reason_hint` says where they are kept and who doesn't see them. `key` is one lower-case
    letter or digit other than g, j, k, t, u and x. What can't be taken back asks for `typed`, which names what it is
    done to; its route is `confirmation.typed`. With `is_link`, the button leads to a page of its own. `statement` is
    the money that it moves, as on the record itself; of `choices` the first is chosen, and sent as `choice`; `hidden`
    fields say what was shown.
    """

    name: str
    label: str
    href: str
    explain: str
    key: str | None = None
    danger: bool = False
    needs_reason: bool = False
    reasons: Sequence[str] = ()
    reason_hint: str = "Kept in its history, which only staff see."
    typed: str = ""
    is_link: bool = False
    statement: Mapping[str, Any] | None = None
    choices_title: str = ""
    choices: Sequence[Choice] = ()
    hidden: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Blocked:
    """What nobody can do now, and why."""

    label: str
    why: str


@dataclass(frozen=True)
class Record:
    """Everything a record's page shows; what is empty is left out."""

    title: str
    # The row that the page is about: with it, the page has a History tab, and its reader finds it again in the box.
    about: Model | None = None
    # What the actions of its history are called; an action without a title is told by its name.
    titles: Mapping[str, Title] = field(default_factory=dict)
    status: str | None = None
    lead: str | None = None
    # Beside the state: until when it holds, as ("hold ends", time).
    deadline: tuple[str, datetime] | None = None
    sub: Sequence[Phrase] = ()
    actions: Sequence[Action] = ()
    blocked: Sequence[Blocked] = ()
    # {"lines": [{"label", "hint", "amount", "kind"}], "note"}: the record's money.
    statement: Mapping[str, Any] | None = None
    facts: Sequence[Group | Mapping[str, Any]] = ()
    timeline: Sequence[Moment] = ()
    # Where a note is posted to, as `note`.
    note_href: str | None = None
    # Whether the timeline may be narrowed to money, changes or mail.
    has_segments: bool = False
