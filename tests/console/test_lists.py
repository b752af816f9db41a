"""What every list can do: sorted by its headers, gone through from any place, counted, searched, with columns chosen,
and kept as somebody's view.
"""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import inspect, select, text

from app.accounts import saved_views
from app.accounts.models import SavedView
from app.audit.actor import Actor
from app.bookings.models import Booking
from app.catalog.models import Provider
from app.console import listing
from app.console.base import RecordView
from app.console.bookings import BookingsView
from app.console.counting import rounded
from app.console.packages import PackagesView
from app.console.providers import ProvidersView
from app.console.users import UsersView
from app.db import transaction, utcnow
from app.errors import Conflict, NotFound
from app.extensions import db
from app.search.models import SearchedFor
from tests import factories
from tests.console.browser import Browser, signed_in

FAR_AHEAD = "2199-01-01"


def lists(app: Flask) -> list[RecordView]:
    return [view for view in app.extensions["admin"][0]._views if isinstance(view, RecordView)]


class Pages:
    """One list in a browser, and the names in its first column."""

    def __init__(self, browser: Browser, path: str) -> None:
        self.browser, self.path = browser, path

    def get(self, query: str = "") -> tuple[list[str], str]:
        answer = self.browser.get(f"{self.path}{query}")
        assert answer.status_code == 200, answer.text
        rows = re.findall(r"<tr role=\"row\" data-row>(.*?)</tr>", answer.text, re.DOTALL)
        return [html.unescape(re.sub(r"<[^>]+>", "", row.split("</td>")[0]).strip()) for row in rows], answer.text

    def all(self, query: str, rel: str = "next") -> list[list[str]]:
        """Each page from one on, following its links."""
        pages = []
        while True:
            names, page = self.get(query)
            pages.append(names)
            if (way := link(page, rel)) is None:
                return pages
            query = way


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'href="([^"]*)" rel="{rel}"', page)
    return html.unescape(found[1]) if found else None


def header(page: str, label: str) -> tuple[str | None, str | None]:
    """How a header says its column is sorted, and where it leads."""
    (found,) = re.findall(rf"<th [^>]*>(?:<a [^>]*>)?{label}(?:<svg|</th>)", page)
    way, href = re.search(r'aria-sort="(\w+)"', found), re.search(r'href="([^"]+)"', found)
    return way[1] if way else None, html.unescape(href[1]) if href else None


# ------------------------------------------------------------------ order


def test_every_header_sorts_by_what_an_index_serves_and_is_never_empty(app: Flask) -> None:
    unserved = []
    for view in lists(app):
        if view.model is SearchedFor:
            continue  # sums over a month of what the public searched for, which no index has
        for column in view.columns:
            if column.sort is None:
                continue
            by = column.sort.by
            look = inspect(db.engine)
            indexes = [index["column_names"] for index in look.get_indexes(by.class_.__tablename__)]
            unique = [found["column_names"] for found in look.get_unique_constraints(by.class_.__tablename__)]
            unique += [index["column_names"] for index in look.get_indexes(by.class_.__tablename__) if index["unique"]]
            if by.class_ is not view.model or by.property.columns[0].nullable:
                unserved.append(f"{view.endpoint}: {column.key} may be empty, or is of another table")
            if [by.key, "id"] not in indexes and [by.key] not in unique:
                unserved.append(f"{view.endpoint}: no index on {by.key} and id")
    assert unserved == []


def test_most_lists_can_be_sorted(app: Flask) -> None:
    # One's own bulk runs and imports are few, the newest first; so are groups of synonyms.
    unsorted = {view.endpoint for view in lists(app) if not any(column.sort for column in view.columns)}
    assert unsorted == {"bulk", "imports", "synonyms"}


@pytest.fixture
def stays(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[Booking]:
    """Thirteen bookings, shown five a page; in pairs they begin on one day."""
    monkeypatch.setattr(BookingsView, "page_size", 5)
    package, by = factories.package(units=120, days=40), factories.actor()
    made = [factories.booking(of=package, by=by, nights=1) for _ in range(13)]
    with transaction():
        for number, booking in enumerate(made):
            move = "UPDATE bookings SET starts_on = starts_on + :days, ends_on = ends_on + :days WHERE id = :id"
            db.session.execute(text(move), {"days": number * 5 % 13 // 2, "id": booking.id})
    return [factories.reread(booking) for booking in made]


@pytest.mark.parametrize(
    ("sort", "key", "backwards"),
    [
        ("starts_on", lambda booking: (booking.starts_on, booking.id), False),
        ("-starts_on", lambda booking: (booking.starts_on, booking.id), True),
        ("created_at", lambda booking: booking.id, False),
        ("-created_at", lambda booking: booking.id, True),
    ],
)
def test_a_list_is_sorted_and_paged_both_ways(
    empty_app: Flask, stays: list[Booking], sort: str, key: Any, backwards: bool
) -> None:
    expected = [booking.reference for booking in sorted(stays, key=key, reverse=backwards)]
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    forward = pages.all(f"?sort={sort}")
    assert [len(page) for page in forward] == [5, 5, 3]
    assert [name for page in forward for name in page] == expected
    back = pages.all(f"?sort={sort}&goto={FAR_AHEAD if not backwards else '1999-01-01'}", rel="prev")
    assert [name for page in reversed(back) for name in page] == expected


def test_a_header_says_how_it_is_sorted_and_turns_it_around(empty_app: Flask, stays: list[Booking]) -> None:
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    _, page = pages.get("?status=PENDING_PAYMENT")
    assert header(page, "Booked") == ("descending", "?status=PENDING_PAYMENT&sort=created_at")
    assert header(page, "From") == (None, "?status=PENDING_PAYMENT&sort=-starts_on")
    assert header(page, "Package") == (None, None)
    _, page = pages.get("?status=PENDING_PAYMENT&sort=-starts_on")
    assert header(page, "From") == ("descending", "?status=PENDING_PAYMENT&sort=starts_on")
    assert header(page, "Booked")[0] is None
    assert parse_qs(str(link(page, "next"))[1:])["sort"] == ["-starts_on"]


def test_a_page_begins_at_a_day_and_leads_back_to_what_is_before_it(empty_app: Flask, stays: list[Booking]) -> None:
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    day = sorted({booking.starts_on for booking in stays})[2]
    later = [b for b in sorted(stays, key=lambda b: (b.starts_on, b.id)) if b.starts_on >= day]
    names, page = pages.get(f"?sort=starts_on&goto={day}")
    assert names == [booking.reference for booking in later[:5]]
    assert f'value="{day}"' in page
    before, _ = pages.get(str(link(page, "prev")))
    assert before
    assert set(before) == {booking.reference for booking in stays if booking.starts_on < day}
    # Descending, the day itself comes first, and what is earlier after it.
    names, _ = pages.get(f"?sort=-starts_on&goto={day}")
    earlier = sorted((b for b in stays if b.starts_on <= day), key=lambda b: (b.starts_on, b.id), reverse=True)
    assert names == [booking.reference for booking in earlier[:5]]


def test_a_day_is_gone_to_by_when_rows_were_added(empty_app: Flask, stays: list[Booking]) -> None:
    ids = [booking.id for booking in stays]
    with transaction():
        for age, row_id in enumerate(reversed(ids)):
            db.session.execute(
                text("UPDATE bookings SET created_at = :at WHERE id = :id"),
                {"at": utcnow().replace(hour=23, minute=59) - timedelta(days=age), "id": row_id},
            )
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    day = (utcnow() - timedelta(days=4)).date()
    names, page = pages.get(f"?goto={day}")
    assert names == [booking.reference for booking in stays[::-1][4:9]]
    assert pages.get(str(link(page, "prev")))[0] == [booking.reference for booking in stays[::-1][:4]]
    names, page = pages.get(f"?sort=created_at&goto={day}")
    assert names == [booking.reference for booking in stays[8:13]]
    assert link(page, "prev") is not None
    assert link(page, "next") is None


def test_beyond_its_ends_a_list_shows_its_ends(empty_app: Flask, stays: list[Booking]) -> None:
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    newest_first = [booking.reference for booking in stays[::-1]]
    first, page = pages.get(f"?goto={FAR_AHEAD}")
    assert first == newest_first[:5]
    assert link(page, "prev") is None
    last, page = pages.get("?goto=1999-01-01")
    assert last == newest_first[-5:]
    assert link(page, "next") is None
    assert pages.get(f"?before={stays[0].id}")[0] == newest_first[-5:]
    assert pages.get(f"?after={stays[-1].id}")[0] == newest_first[:5]


def test_a_name_is_gone_to_by_how_it_begins(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProvidersView, "page_size", 2)
    for name in ("Delta Inn", "Alfa", "Bravo~1", "Charlie", "Delta Arms", "Echo"):
        factories.provider(name=name)
    pages = Pages(signed_in(empty_app, "support"), "/console/providers/")
    assert pages.all("?sort=name") == [["Alfa", "Bravo~1"], ["Charlie", "Delta Arms"], ["Delta Inn", "Echo"]]
    assert pages.get("?sort=name&goto=Bravo")[0] == ["Bravo~1", "Charlie"]
    names, page = pages.get("?sort=-name&goto=Delta")
    assert names == ["Delta Inn", "Delta Arms"]
    assert pages.get(str(link(page, "next")))[0] == ["Charlie", "Bravo~1"]
    assert pages.get(str(link(page, "prev")))[0] == ["Echo"]


def test_an_amount_is_gone_to_in_whole_units(empty_app: Flask) -> None:
    for price in (5_000, 10_000, 25_050):
        factories.package(name=f"Costs {price}", price_minor=price, days=1)
    pages = Pages(signed_in(empty_app, "support"), "/console/packages/")
    assert pages.get("?sort=price&goto=100")[0] == ["Costs 10000", "Costs 25050"]
    assert pages.get("?sort=-price&goto=250.50")[0] == ["Costs 25050", "Costs 10000", "Costs 5000"]


@pytest.mark.parametrize(
    "query",
    [
        *("sort=total", "sort=-", "sort=nothing", "sort=starts_on&before=5", "sort=starts_on&before=x~5"),
        *("sort=starts_on&after=2026-13-01~5", "sort=starts_on&after=2026-01-01~-5", "before=2026-01-01~5"),
        *("goto=yesterday", "goto=0001-01-01", "goto=9999-12-31", "after="),
    ],
)
def test_what_no_list_has_is_refused_in_words(app: Flask, query: str) -> None:
    answer = signed_in(app, "support").get(f"/console/bookings/?{query}")
    assert (answer.status_code, answer.mimetype) == (422, "text/html")


@pytest.mark.parametrize("goto", ["NaN", "1e99", "-Infinity", "ten"])
def test_an_odd_amount_is_refused_in_words(app: Flask, goto: str) -> None:
    answer = signed_in(app, "support").get(f"/console/packages/?sort=price&goto={goto}")
    assert (answer.status_code, "Go to an amount such as 250." in answer.text) == (422, True)


# ------------------------------------------------------------------ counts


def test_a_count_is_exact_up_to_the_cap_and_about_right_beyond(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(14):
        factories.provider(name=f"Provider {number}", status="PENDING" if number < 4 else "VERIFIED")
    connection = psycopg2.connect(empty_app.extensions["settings"].database_owner_url)
    connection.autocommit = True
    connection.cursor().execute("ANALYZE providers")
    connection.close()
    pages = Pages(signed_in(empty_app, "support"), "/console/providers/")
    assert "<p>14 providers</p>" in pages.get()[1]
    monkeypatch.setattr(ProvidersView, "count_cap", 5)
    assert "<p>About 14 providers</p>" in pages.get()[1]
    assert "<p>4 providers</p>" in pages.get("?status=PENDING")[1]
    assert "<p>About 10 providers</p>" in pages.get("?status=VERIFIED")[1]


def test_an_estimate_below_the_cap_is_not_believed(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        factories.provider()
    monkeypatch.setattr(ProvidersView, "count_cap", 2)
    monkeypatch.setattr(listing, "estimated", lambda query: 1)
    assert "<p>2+ providers</p>" in Pages(signed_in(empty_app, "support"), "/console/providers/").get()[1]


@pytest.mark.parametrize(
    ("count", "words"), [(0, 0), (7, 7), (99, 99), (123, 120), (10_432, 10_000), (1_370_411, 1_400_000)]
)
def test_an_estimate_has_two_digits(count: int, words: int) -> None:
    assert rounded(count) == words


# ------------------------------------------------------------------ search


@pytest.fixture
def named(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Providers with a word that most have and one that few have, where six are looked through for them."""
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 6)
    monkeypatch.setattr(ProvidersView, "page_size", 3)
    names = [f"{'Harbour' if number % 7 == 0 else 'Mountain'} {number:02} Lodge" for number in range(24)]
    for name in names:
        factories.provider(name=name)
    return names[::-1]


@pytest.mark.parametrize("sort", ["", "&sort=name", "&sort=-name"])
@pytest.mark.parametrize("word", ["Lodge", "Mountain", "harbour", "Lodge harb", "nothing"])
def test_rare_and_common_words_find_the_same_as_reading_everything(
    empty_app: Flask, named: list[str], word: str, sort: str
) -> None:
    expected = [name for name in named if all(part.lower() in name.lower() for part in word.split())]
    if sort:
        expected.sort(reverse=sort.endswith("-name"))
    pages = Pages(signed_in(empty_app, "support"), "/console/providers/")
    found = pages.all(f"?q={word}{sort}")
    assert [name for page in found for name in page] == expected
    if expected:
        assert f"<p>{len(expected)} providers</p>" in pages.get(f"?q={word}{sort}")[1]
        _, last = pages.get(f"?q={word}{sort}")
        while (way := link(last, "next")) is not None:
            _, last = pages.get(way)
        back = [pages.get(way)[0]] if (way := link(last, "prev")) else []
        assert all(set(page) <= set(expected) for page in back)


def test_a_common_word_is_answered_without_its_index(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    by_index = listing.Listing._by_index

    def noted(self: listing.Listing, query: Any) -> Any:
        asked.append("index")
        return by_index(self, query)

    monkeypatch.setattr(listing.Listing, "_by_index", noted)
    view = ProvidersView("Providers", endpoint="providers", url="/console/providers")
    for word, ways in (("Lodge", []), ("Harbour", ["index"])):
        asked.clear()
        order = listing.Order(Provider.__table__.c.id)
        found = listing.Listing(select(Provider), order, view.match(word)).page(3)
        assert (len(found.all), asked) == (3, ways), word


def test_a_common_word_is_counted_by_its_share(named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "estimated", lambda query: 1_000_000)
    order = listing.Order(Provider.__table__.c.id)
    match = ProvidersView("Providers", endpoint="providers", url="/console/providers").match("Mountain")
    count, is_exact = listing.Listing(select(Provider), order, match).count(10_000)
    assert not is_exact
    assert count == rounded(1_000_000 * 5 // 6)


def test_words_are_searched_with_filters_and_in_any_order(empty_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 2)
    monkeypatch.setattr(PackagesView, "page_size", 1)
    for number, status in enumerate(("DRAFT", "PUBLISHED", "PUBLISHED", "DRAFT")):
        factories.package(name=f"Cabin {number}", status=status, price_minor=1_000 * (9 - number), days=1)
    pages = Pages(signed_in(empty_app, "support"), "/console/packages/")
    assert pages.all("?q=cabin&status=PUBLISHED&sort=price") == [["Cabin 2"], ["Cabin 1"]]


def test_travellers_are_found_by_a_booking_whatever_else_they_are_called(
    empty_app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOKED_THROUGH", 1)
    booking = factories.booking()
    for _ in range(3):
        factories.traveller()
    pages = Pages(signed_in(empty_app, "support"), "/console/users/")
    names, page = pages.get(f"?q={booking.reference.lower()}")
    assert len(names) == 1
    assert f"/console/users/{booking.traveller_id}/" in page
    assert UsersView.search_hint in page


# ------------------------------------------------------------------ columns and views


def test_columns_are_chosen_and_stay_chosen(empty_app: Flask, stays: list[Booking]) -> None:
    pages = Pages(signed_in(empty_app, "support"), "/console/bookings/")
    _, page = pages.get("?columns=reference&columns=guests&columns=starts_on&columns=gone")
    heads = [re.sub(r"<[^>]+>", "", head).strip() for head in re.findall(r"<th [^>]*>(.*?)</th>", page, re.DOTALL)]
    assert heads == ["Booking", "From", "Guests"]
    assert parse_qs(str(link(page, "next"))[1:])["columns"] == ["reference,starts_on,guests"]
    assert parse_qs(str(header(page, "From")[1])[1:])["columns"] == ["reference,starts_on,guests"]
    _, usual = pages.get()
    assert "Guests</span>" in usual, "it can be chosen"
    assert 'data-label="Guests"' not in usual
    assert "columns=" not in str(link(usual, "next"))


def test_a_view_is_saved_shown_and_deleted_by_whose_it_is(app: Flask) -> None:
    browser = signed_in(app, "support")
    form = {"page": "bookings", "name": "  Held,  by day ", "query": "status=PENDING_PAYMENT&sort=starts_on"}
    saved = browser.post("/console/views/", form)
    assert saved.location == "/console/bookings/?status=PENDING_PAYMENT&sort=starts_on"
    page = browser.get(saved.location).text
    assert "The view “Held, by day” is saved." in page
    assert 'href="?status=PENDING_PAYMENT&amp;sort=starts_on" aria-current="true"' in page
    assert "Held, by day" not in browser.get("/console/packages/").text, "it is of another list"
    other = signed_in(app, "support")
    assert "Held, by day" not in other.get("/console/bookings/").text
    assert "No views yet" in other.get("/console/views/").text
    browser.post("/console/views/", {**form, "query": "sort=starts_on"})
    mine = browser.get("/console/views/").text
    assert mine.count("<bdi>Held, by day</bdi>") == 1, "the same name is the same view"
    assert "/console/bookings/?sort=starts_on" in mine
    (delete,) = re.findall(r'action="(/console/views/\d+/delete)"', mine)
    assert other.post(delete).status_code == 404
    assert "Held, by day" in browser.get("/console/views/").text
    assert browser.post(delete).location == "/console/views/"
    assert "No views yet" in browser.get("/console/views/").text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"page": "bookings", "name": " ", "query": ""}, 422),
        ({"page": "bookings", "name": "x" * 61, "query": ""}, 422),
        ({"page": "bookings", "name": "Long", "query": "q=" + "x" * 2_000}, 422),
        ({"page": "nothing", "name": "Nowhere", "query": ""}, 404),
        ({"page": "audit", "name": "Not for support", "query": ""}, 404),
    ],
)
def test_what_is_no_view_is_not_saved(app: Flask, form: dict[str, str], status: int) -> None:
    before = db.session.scalar(text("SELECT count(*) FROM saved_views"))
    assert signed_in(app, "support").post("/console/views/", form).status_code == status
    db.session.rollback()
    assert db.session.scalar(text("SELECT count(*) FROM saved_views")) == before


def test_nobody_saves_views_without_end(app: Flask) -> None:
    by: Actor = factories.actor(factories.staff("support"))
    for number in range(saved_views.MOST_VIEWS):
        saved_views.save("bookings", f"View {number}", "", by=by)
    with pytest.raises(Conflict, match="Delete one first"):
        saved_views.save("bookings", "One too many", "", by=by)
    saved_views.save("bookings", "View 3", "sort=starts_on", by=by)
    saved_views.save("packages", "Elsewhere", "", by=by)
    assert len(saved_views.of(by)) == saved_views.MOST_VIEWS + 1
    assert [view.query for view in saved_views.of(by, "bookings") if view.name == "View 3"] == ["sort=starts_on"]


def test_somebody_elses_view_is_not_there(app: Flask) -> None:
    mine, theirs = (factories.actor(factories.staff("support")) for _ in range(2))
    view = saved_views.save("bookings", "Mine", "", by=mine)
    with pytest.raises(NotFound):
        saved_views.forget(view.id, by=theirs)
    assert db.session.scalar(select(SavedView.name).where(SavedView.id == view.id)) == "Mine"
