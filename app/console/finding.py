"""What the search box finds: records by something typed whole or by the words of a name, and pages by what they do.

Each kind stands on one page of the console, and only who may open that page is told of what is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from sqlalchemy import func, select, text

from app.accounts import recent
from app.audit.models import AuditEntry
from app.console.findable import KINDS, SHOWN, Hit, Kind, Words
from app.console.page import Page
from app.console.words import MOST_WORDS, letters_in
from app.extensions import db
from app.logs import OUTSIDE_A_REQUEST
from app.names import spelt_like
from app.search import for_staff

LONGEST = 200
_FEWEST_LETTERS = 2
_MOST_COUNTED = 100


@dataclass(frozen=True)
class Group:
    """What was found of one kind; `more_href` leads to all of it, where there is more than is shown."""

    label: str
    icon: str
    hits: Sequence[Hit]
    more_href: str | None = None


@dataclass(frozen=True)
class Found:
    """All that was found, the likeliest kind first. `straight` is where something typed whole leads. With `is_guess`,
    nothing has what was typed, and these are spelt like it.
    """

    groups: Sequence[Group] = field(default=())
    straight: str | None = None
    is_guess: bool = False


def find(typed: str, pages: Sequence[Page]) -> Found:
    """What was typed, on the pages that somebody may open: exactly that if there is such a thing, then names that have
    the words, then names that are spelt like them.

    Names of what is on sale are found as travellers find them, too; what isn't, by the rows alone.
    """
    typed = typed.strip()
    _by_index()
    kinds = _open(pages)
    exact = _exactly(typed, kinds, pages)
    commands = _commands(typed, pages)
    if exact.groups:
        return Found([*exact.groups, *commands], exact.straight)
    words = [part for part in typed.split() if letters_in(part)][:MOST_WORDS]
    if sum(map(letters_in, words)) < _FEWEST_LETTERS:
        return Found(commands)
    having, meant = for_staff.look_up(typed) if "@" not in typed else (for_staff.Found(), for_staff.Found())
    _by_index()
    named = _named([[word] for word in words], kinds, having, typed)
    if named or commands:
        return Found([*commands, *named])
    spellings = [list(dict.fromkeys([word.lower(), *spelt_like(word)])) for word in words]
    guessed = _named(spellings, kinds, meant, None)
    return Found(guessed, is_guess=bool(guessed))


def known_as(typed: str) -> set[tuple[str, int]]:
    """The rows (table and id) that this is a reference, an address or an id of, whoever may see them."""
    return {(kind.table, row_id) for kind in KINDS for row_id in kind.known_as(typed.strip())}


def lately(person_id: int, pages: Sequence[Page]) -> list[Group]:
    """What somebody opened last and may still open, and all that there is to do."""
    kinds = {kind.page: kind for kind, _ in _open(pages)}
    opened = [(kind, row_id) for kind, row_id in recent.of(person_id) if kind in kinds][: 2 * SHOWN]
    hits = {
        (name, hit.record_id): hit
        for name in {kind for kind, _ in opened}
        for hit in kinds[name].hits([row_id for kind, row_id in opened if kind == name])
    }
    shown = [hits[key] for key in opened if key in hits]
    return [*([Group("Recent", "clock", shown)] if shown else []), *_commands("", pages)]


def _open(pages: Sequence[Page]) -> list[tuple[Kind, Page]]:
    by_name = {page.endpoint: page for page in pages}
    return [(kind, by_name[kind.page]) for kind in KINDS if kind.page in by_name]


def _exactly(typed: str, kinds: Sequence[tuple[Kind, Page]], pages: Sequence[Page]) -> Found:
    known = [(kind, page, list(kind.hits(kind.known_as(typed)))) for kind, page in kinds]
    hanging = [(kind, page, list(kind.hits(kind.hanging_on(typed)))) for kind, page in kinds]
    requests = list(_requests(typed, pages))
    groups = [*requests, *(Group(kind.label, page.icon, hits) for kind, page, hits in known if hits)]
    first = [hit for group in groups for hit in group.hits]
    groups += [Group(kind.label, page.icon, hits) for kind, page, hits in hanging if hits]
    leading = first or [hit for group in groups for hit in group.hits]
    return Found(groups, leading[0].href if len(leading) == 1 else None)


def _requests(typed: str, pages: Sequence[Page]) -> Iterator[Group]:
    page = next((page for page in pages if page.endpoint == "audit"), None)
    if page is None or typed == OUTSIDE_A_REQUEST:
        return
    of_request = select(AuditEntry.id).where(AuditEntry.request_id == typed).limit(_MOST_COUNTED + 1)
    count = db.session.scalar(select(func.count()).select_from(of_request.subquery())) or 0
    if count:
        counted = (
            f"{_MOST_COUNTED}+ entries" if count > _MOST_COUNTED else f"{count} {'entry' if count == 1 else 'entries'}"
        )
        hit = Hit(
            f"/console/audit/?{urlencode({'request_id': typed})}", f"Request {typed}", f"{counted} in the audit trail"
        )
        yield Group("Requests", page.icon, [hit])


def _by_index() -> None:
    """For the transaction that is open: the indexes are there for all of this; for a common word the planner would
    begin to read the table instead, and read far where the first of them stands late.
    """
    db.session.execute(text("SET LOCAL enable_seqscan = off"))


def _named(words: Words, kinds: Sequence[tuple[Kind, Page]], found: for_staff.Found, typed: str | None) -> list[Group]:
    groups = []
    for kind, page in kinds:
        ids = list(dict.fromkeys([*kind.named(words), *kind.searched(found)]))
        hits = list(kind.hits(ids[:SHOWN]))
        if hits:
            more = kind.listed(typed) if typed and len(ids) > SHOWN else None
            groups.append(Group(kind.label, page.icon, hits, more))
    return groups


def _commands(typed: str, pages: Sequence[Page]) -> list[Group]:
    """Pages and what can be done on them, by the beginnings of the words that they are called by."""
    wanted = typed.lower().split()
    known = [(page.name, f"{page.url.rstrip('/')}/", "") for page in pages]
    known += [command for page in pages for command in page.commands]
    hits = [
        Hit(href, label)
        for label, href, also in known
        if all(any(word.startswith(part) for word in f"{label} {also}".lower().split()) for part in wanted)
    ]
    return [Group("Go to", "chevron-right", hits)] if hits else []
