"""An import as an admin sees it: from the file on their disk to the packages in the catalogue."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Console, SignIn
from tests.imports.files import DEFAULTS, Catalogue

CHOICES = ("type", "published")


def test_a_catalogue_is_imported_from_the_disk(sign_in: SignIn, console: Console, tmp_path: Path) -> None:
    catalogue = Catalogue(good=230, bad=3)
    file = tmp_path / "Oslo, våren.csv"
    file.write_bytes(catalogue.content)
    page = sign_in("admin")
    page.get_by_role("link", name="Import", exact=True).click()
    page.get_by_role("link", name="Upload a file").click()
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Upload file").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Which column is what?")
    guests = page.locator("#column-capacity")
    expect(guests.locator("option:checked")).to_have_text("accommodates")
    samples = page.locator(".column-row", has=guests).locator("[data-column-samples]")
    expect(samples).to_have_text("3 · 3 · 3")
    guests.select_option(label="price")
    expect(samples).to_have_text("1000.0 · 1000.0 · 1000.0")
    guests.select_option(label="Not in the file")
    expect(samples).to_be_hidden()
    guests.select_option(label="accommodates")

    page.watch.expect(422)  # type: ignore[attr-defined]
    page.get_by_role("button", name="Check the file").click()
    expect(page.locator("#column-city")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Needs a column or a default.").first).to_be_visible()
    for field, value in DEFAULTS.items():
        place = page.locator(f"#default-{field}")
        if field in CHOICES:
            place.select_option(value)
        else:
            place.fill(value)
    page.get_by_label("Currency of the file").fill("NOK")
    page.get_by_label("US dollars for one of it").fill("0.1")
    page.get_by_role("button", name="Check the file").click()

    state = page.locator("#run .record-title .chip")
    expect(state).to_have_text("Checked")
    expect(page.get_by_role("heading", name="230 packages can be imported")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text='"free" is not a number')).to_have_count(3)
    with console.stack.app():
        assert catalogue.packages() == {}
    page.wait_for_load_state()
    page.keyboard.press("a")
    expect(state).to_have_text("Done")
    expect(page.locator(".card", has_text="Created").locator(".card-value")).to_have_text("230")
    with console.stack.app():
        assert len(catalogue.packages()) == 230
    with page.expect_download() as download:
        page.get_by_role("link", name="Download all as CSV").click()
    assert download.value.path().read_text().count("is not a number") == 3


def test_a_file_that_is_too_large_is_told_before_it_is_sent(sign_in: SignIn, tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    file.write_bytes(b"x" * 20_000_001)
    page = sign_in("admin")
    page.goto("/console/import/new")
    page.get_by_label("File").set_input_files(file)
    expect(page.get_by_text("at most 20 MB can be uploaded")).to_be_visible()
    page.get_by_role("button", name="Upload file").click()
    expect(page).to_have_url(f"{page.url.split('/console')[0]}/console/import/new")
    expect(page.get_by_label("File")).to_have_attribute("aria-invalid", "true")
    smaller = tmp_path / "smaller.csv"
    smaller.write_bytes(Catalogue().content)
    page.get_by_label("File").set_input_files(smaller)
    expect(page.get_by_text("at most 20 MB can be uploaded")).to_be_hidden()
    page.get_by_role("button", name="Upload file").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Which column is what?")
