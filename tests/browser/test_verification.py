"""An admin verifies a provider by keyboard alone: item by item, a document, a refusal, and the decision."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Page, expect

from app.catalog import checklist
from tests import factories
from tests.browser.conftest import Console, SignIn
from tests.browser.test_every_page import AXE, RULES

_VIOLATIONS = """async (rules) => (await axe.run(document, {runOnly: rules})).violations.map(
    (violation) => `${violation.id}: ${violation.nodes.map((node) => node.html).join(" | ")}`)"""


def shown(page: Page, item: str) -> None:
    """This item is shown in full, and its page listens to keys."""
    expect(page.locator("[data-current] a[aria-current]")).to_have_text(item)
    page.wait_for_load_state("load")


def chip(page: Page, item: str) -> str:
    return page.get_by_role("listitem").filter(has_text=item).locator(".chip").inner_text()


def test_a_provider_is_verified_by_keyboard_alone(sign_in: SignIn, console: Console, tmp_path: Path) -> None:
    extract = tmp_path / "register extract.pdf"
    extract.write_bytes(factories.pdf("An extract").getvalue())
    with console.stack.app():
        provider = factories.provider(status="PENDING", name=f"Harbour Stays {uuid4().hex[:8]}")
        for item in ("identity", "bank_account", "insurance"):
            factories.document(provider, item)
    page = sign_in("admin")
    keys = page.keyboard
    page.goto(f"/console/verification/{provider.id}/")
    shown(page, "Legal name and registration number")
    expect(page.get_by_role("button", name="Verify")).to_be_disabled()
    page.evaluate(AXE)
    assert page.evaluate(_VIOLATIONS, RULES) == []

    keys.press("a")
    shown(page, "Identity of the responsible person")
    keys.press("f")
    dialog = page.get_by_role("dialog", name="Refuse")
    expect(dialog.get_by_label("Can't be read")).to_be_focused()
    keys.press("5")
    expect(dialog.get_by_label("Looks altered")).to_be_checked()
    keys.press("Enter")
    shown(page, "Bank account")
    assert chip(page, "Identity of the responsible person") == "Refused"
    keys.press("a")
    shown(page, "Liability insurance")
    keys.press("a")

    # What is left waits for its document.
    shown(page, "Proof of registration")
    expect(page.get_by_text("Verify: not yet. Proof of registration has no document and Identity")).to_be_visible()
    page.get_by_label("Document", exact=True).set_input_files(extract)
    page.get_by_role("button", name="Add document").press("Enter")
    expect(page.get_by_role("link", name="register extract.pdf")).to_be_visible()
    shown(page, "Proof of registration")
    with page.expect_download() as download:
        keys.press("o")
    assert download.value.suggested_filename == "register extract.pdf"
    assert Path(download.value.path()).read_bytes() == extract.read_bytes()
    keys.press("a")
    expect(page.get_by_text("Proof of registration is accepted.")).to_be_visible()

    page.wait_for_load_state("load")
    keys.press("3")
    shown(page, "Identity of the responsible person")
    with console.stack.app():
        refused = next(found for found in checklist.of(provider.id) if found.item.key == "identity").document
        assert refused is not None
        factories.document(provider, "identity", replaces=refused.id)
    page.reload()
    shown(page, "Identity of the responsible person")
    page.evaluate(AXE)
    assert page.evaluate(_VIOLATIONS, RULES) == []
    keys.press("a")
    expect(page.get_by_role("button", name="Verify")).to_be_enabled()
    page.wait_for_load_state("load")
    keys.press("v")
    dialog = page.get_by_role("dialog", name="Verify")
    expect(dialog.get_by_label("Papers and bank account checked")).to_be_focused()
    keys.press("1")
    expect(dialog.get_by_label("Papers and bank account checked")).to_be_checked()
    keys.press("Enter")
    expect(page.get_by_text(f"Verified: {provider.name}")).to_be_visible()
    rows = console.stack.ask_database(f"SELECT status FROM providers WHERE id = {provider.id}")
    assert rows[0][0] == "VERIFIED"


def test_on_a_phone_nothing_lies_over_why_a_provider_is_not_verified_yet(sign_in: SignIn, console: Console) -> None:
    with console.stack.app():
        provider = factories.provider(status="PENDING", name=f"Harbour Stays {uuid4().hex[:8]}")
    page = sign_in("admin")
    page.set_viewport_size({"width": 390, "height": 600})
    page.goto(f"/console/verification/{provider.id}/")
    why_not, decide = page.locator("p.why-not"), page.locator("#decide")
    expect(why_not).to_contain_text("Liability insurance has no document.")
    sentence, bar = why_not.bounding_box(), decide.bounding_box()
    assert sentence
    assert bar
    assert sentence["y"] + sentence["height"] <= bar["y"]
