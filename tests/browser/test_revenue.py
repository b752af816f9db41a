"""The charts as finance sees them: drawn in the page's colours, and replaced by their tables where they can't be."""

from __future__ import annotations

from playwright.sync_api import Route, expect

from tests.browser.conftest import SignIn

# As Plotly tells of a click: what stands nearest in each series, of which only the bar leads anywhere.
CLICKED = "{points: [{customdata: null}, {customdata: '/console/ledger/?counts=gross'}]}"
BARS = "#bookings .bars path"


def test_charts_are_drawn_in_the_colours_of_the_theme_and_lead_to_their_rows(sign_in: SignIn) -> None:
    page = sign_in("finance")
    page.goto("/console/revenue/")
    expect(page.locator(".chart-area[aria-busy]")).to_have_count(0)
    expect(page.locator(BARS)).to_have_count(30)
    mark = page.locator("#bookings .xtick text").first
    expect(mark).to_have_css("fill", "rgb(86, 86, 97)")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(mark).to_have_css("fill", "rgb(167, 167, 179)")
    page.evaluate(f"document.querySelector('[data-figure=bookings]').emit('plotly_click', {CLICKED})")
    page.wait_for_url("**/console/ledger/?counts=gross")


def test_the_first_date_stands_clear_of_the_other_axis(sign_in: SignIn) -> None:
    page = sign_in("finance")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/console/revenue/")
    expect(page.locator(".chart-area[aria-busy]")).to_have_count(0)
    expect(page.locator(BARS)).to_have_count(30)
    for name in ("gross", "refunds", "bookings"):
        nothing = page.locator(f"#{name} .ytick text").first.bounding_box()
        first_day = page.locator(f"#{name} .xtick text").first.bounding_box()
        assert nothing
        assert first_day
        assert nothing["y"] + nothing["height"] <= first_day["y"]


def test_what_is_below_a_chart_keeps_its_place_while_it_is_drawn(sign_in: SignIn) -> None:
    page = sign_in("finance")
    held: list[Route] = []
    page.route("**/console/revenue/figures*", lambda route: held.append(route))
    page.goto("/console/revenue/")
    areas = page.locator(".chart-area[data-height]")
    expect(areas).not_to_have_count(0)
    with_room = areas.evaluate_all("areas => areas.map((area) => area.clientHeight >= Number(area.dataset.height))")
    assert all(with_room)
    before = page.evaluate("document.documentElement.scrollHeight")
    held[0].continue_()
    expect(page.locator(".chart-area[aria-busy]")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollHeight") == before


def test_without_the_figures_the_tables_are_opened(sign_in: SignIn) -> None:
    page = sign_in("finance")
    page.watch.expect(503)  # type: ignore[attr-defined]
    page.route("**/console/revenue/figures*", lambda route: route.fulfill(status=503, body=""))
    page.goto("/console/revenue/")
    expect(page.get_by_text("The charts could not be drawn")).to_be_visible()
    expect(page.get_by_role("table", name="Bookings", exact=True)).to_be_visible()
    told = page.watch.troubles  # type: ignore[attr-defined]
    assert [trouble.partition("\n")[0] for trouble in told] == ["console: Error: the figures were answered 503"]
    told.clear()  # as it should
