"""A provider's checklist in the console: on its page and in the queue, for those who decide and for those who read."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app.audit.models import AuditEntry
from app.catalog import checklist
from app.catalog.models import Provider, ProviderDocument
from app.db import transaction, utcnow
from app.extensions import db
from tests import factories
from tests.console.browser import Browser, signed_in

QUEUE = "/console/verification/"


def waiting(**values: Any) -> Provider:
    return factories.provider(status="PENDING", **values)


def page_of(provider: Provider) -> str:
    return f"/console/providers/{provider.id}/"


def item_of(provider: Provider) -> str:
    return f"{QUEUE}{provider.id}/"


def said(browser: Browser, path: str) -> str:
    """A page's words."""
    page = browser.get(path).text
    main = page[page.index("<main") : page.index("</main>")]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", main)).split())


def status_of(provider: Provider, key: str) -> str:
    db.session.rollback()
    return next(found.status for found in checklist.of(provider.id) if found.item.key == key)


def kept(provider: Provider) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).where(ProviderDocument.provider_id == provider.id)) or 0


def expire(document: ProviderDocument, days: int) -> None:
    with transaction():
        row = update(ProviderDocument).where(ProviderDocument.id == document.id)
        db.session.execute(row.values(expires_on=utcnow().date() - timedelta(days=days)))


@pytest.mark.parametrize("path", [page_of, item_of])
def test_items_are_decided_one_after_the_other_and_then_the_provider(app: Flask, path: Any) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    here, act = path(provider), f"{page_of(provider)}checklist/"
    found = browser.get(here).text
    assert "0 of 5 accepted" in found
    assert f'action="{act}legal_name/accept"' in found

    answer = browser.post(f"{act}legal_name/accept", {"back": here})
    assert answer.location == here
    assert "Legal name and registration number is accepted." in said(browser, here)
    assert status_of(provider, "legal_name") == "ACCEPTED"
    # The next one needs a document; with it, it can be accepted.
    found = browser.get(here).text
    assert f'action="{act}proof_of_registration/documents"' in found
    assert f'action="{act}proof_of_registration/accept"' not in found
    upload = {"back": here, "document": "", "file": (factories.pdf("An extract"), "extract.pdf")}
    answer = browser.post(f"{act}proof_of_registration/documents", upload)
    assert answer.location == f"{here}?item=proof_of_registration#checklist"
    found = browser.get(answer.location).text
    (seen,) = set(re.findall(r'name="document" value="(\d+)"', found))
    browser.post(f"{act}proof_of_registration/refuse", {"back": here, "document": seen, "reason": "Can't be read"})
    assert status_of(provider, "proof_of_registration") == "REFUSED"
    browser.post(f"{act}proof_of_registration/reopen", {"back": here, "reason": "With a magnifier, it can"})
    browser.post(f"{act}proof_of_registration/accept", {"back": here, "document": seen})
    assert status_of(provider, "proof_of_registration") == "ACCEPTED"
    assert "2 of 5 accepted" in browser.get(here).text


def test_the_queue_offers_no_verifying_before_everything_is_accepted_and_says_why(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    page = browser.get(item_of(provider)).text
    assert re.search(r"<button[^>]*disabled[^>]*why-not-verify[^>]*>\s*Verify", page)
    assert "Verify: not yet. Legal name and registration number is open" in said(browser, item_of(provider))
    assert f'action="{item_of(provider)}reject' in page
    answer = browser.post(f"{item_of(provider)}verify", {"seen": "0", "reason": "Known"})
    assert answer.status_code == 302
    assert f"{provider.name} can't be verified yet: Legal name" in said(browser, item_of(provider))
    assert factories.reread(provider).status == "PENDING"

    factories.complete(provider)
    page = browser.get(item_of(provider)).text
    assert "not yet" not in page
    assert f'action="{item_of(provider)}verify' in page


def test_a_providers_page_says_what_it_lacks(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    assert "1 not possible now Verify Legal name and registration number is open" in said(browser, page_of(provider))
    assert f'action="{page_of(provider)}verify"' not in browser.get(page_of(provider)).text
    assert browser.post(f"{page_of(provider)}verify", {"reason": "Known"}).status_code == 409
    assert factories.reread(provider).status == "PENDING"
    factories.complete(provider)
    assert "not possible now" not in said(browser, page_of(provider))
    assert f'action="{page_of(provider)}verify"' in browser.get(page_of(provider)).text


@pytest.mark.parametrize("role", ["support", "moderator", "finance"])
def test_who_does_not_decide_reads_how_far_it_is_and_no_names_of_files(app: Flask, role: str) -> None:
    provider, browser = waiting(), signed_in(app, role)
    document = factories.document(provider, "identity", file_name="passport of Ada Lovelace.pdf")
    newer = factories.document(provider, "identity", file_name="Ada again.pdf", replaces=document.id)
    for path in (page_of(provider), item_of(provider)):
        for page in (browser.get(f"{path}?item=identity").text, browser.get(f"{path}?tab=history").text):
            assert "<form" not in page[page.index("<main") : page.index("</main>")]
            assert "Ada" not in page
            assert "/documents/" not in page
        assert "Document to look at" in said(browser, path)
    for action in ("identity/accept", "identity/refuse", "identity/reopen", "identity/documents"):
        assert browser.post(f"{page_of(provider)}checklist/{action}", {"reason": "x"}).status_code == 403
    assert browser.get(f"{page_of(provider)}documents/{newer.id}").status_code == 403
    assert browser.post(f"{page_of(provider)}documents/{newer.id}/remove", {"reason": "x"}).status_code == 403
    assert status_of(provider, "identity") == "OPEN"
    assert kept(provider) == 2


def test_a_document_is_handed_out_to_be_saved_and_never_shown_inside(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    content = factories.pdf("<script>alert(1)</script>").getvalue()
    document = factories.document(provider, stream=BytesIO(content), file_name='Auszug "für" Zoë;.html')
    answer = browser.get(f"{page_of(provider)}documents/{document.id}")
    assert (answer.status_code, answer.data) == (200, content)
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''Auszug%20%22f%C3%BCr%22%20Zo%C3%AB%3B.html.pdf" in disposition
    opened = (AuditEntry.object_type == "provider_documents", AuditEntry.object_id == document.id)
    assert db.session.scalars(select(AuditEntry.action).where(*opened)).all() == ["document.open"]
    assert "Document opened" in said(browser, page_of(provider))


def test_a_document_is_found_under_its_own_provider_alone(app: Flask) -> None:
    document, other, browser = factories.document(waiting()), waiting(), signed_in(app, "admin")
    assert browser.get(f"{page_of(other)}documents/{document.id}").status_code == 404
    assert browser.post(f"{page_of(other)}documents/{document.id}/remove", {"reason": "x"}).status_code == 404
    assert browser.get(f"{page_of(other)}documents/{2**63}").status_code == 404
    assert factories.reread(document).status == "CURRENT"


def test_opening_a_document_is_no_reason_to_refuse_what_was_being_decided(app: Flask) -> None:
    provider, browser = factories.complete(waiting()), signed_in(app, "admin")
    document = factories.document(factories.provider())
    with transaction():
        row = update(ProviderDocument).where(ProviderDocument.id == document.id)
        db.session.execute(row.values(provider_id=provider.id))
    page = browser.get(item_of(provider)).text
    seen = re.findall(r'name="seen" value="(\d+)"', page)[0]
    assert browser.get(f"{page_of(provider)}documents/{document.id}").status_code == 200
    browser.post(f"{item_of(provider)}verify", {"seen": seen, "reason": "Papers and bank account checked"})
    assert factories.reread(provider).status == "VERIFIED"


def test_who_verifies_what_changed_meanwhile_is_told_what_happened(app: Flask) -> None:
    provider, browser, other = factories.complete(waiting()), signed_in(app, "admin"), factories.admin()
    seen = re.findall(r'name="seen" value="(\d+)"', browser.get(item_of(provider)).text)[0]
    checklist.reopen(provider.id, "identity", reason="Looks altered", by=other)
    checklist_was = status_of(provider, "identity")
    browser.post(f"{item_of(provider)}verify", {"seen": seen, "reason": "Papers and bank account checked"})
    assert f"Opened again on the checklist by {other.label}" in said(browser, item_of(provider))
    assert (factories.reread(provider).status, checklist_was) == ("PENDING", "OPEN")


def test_the_second_who_accepts_an_item_reads_who_was_first(app: Flask) -> None:
    provider, browser, first = waiting(), signed_in(app, "admin"), factories.admin()
    checklist.accept(provider.id, "legal_name", document_id=None, by=first)
    browser.post(f"{page_of(provider)}checklist/legal_name/accept", {"back": item_of(provider)})
    words = said(browser, item_of(provider))
    assert re.search(rf"registration number was accepted by {first.label} .*\. Nothing was changed\.", words)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, "Choose a file."),
        ({"file": (BytesIO(b"PK"), "a.pdf")}, "This is no PDF, PNG or JPEG."),
        ({"file": (BytesIO(b"%PDF-"), "a.pdf"), "document": "x"}, "Load the page again"),
        ({"file": (BytesIO(b"%PDF-"), "a.pdf"), "expires_on": "31.12.2099"}, "Give the last day as"),
    ],
    ids=["none", "zip", "odd", "day"],
)
def test_a_refused_upload_is_said_and_keeps_the_day_that_was_typed(app: Flask, form: Any, words: str) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    typed = {"back": page_of(provider), "expires_on": "2099-12-31", **form}
    answer = browser.post(f"{page_of(provider)}checklist/insurance/documents", typed)
    assert answer.status_code == 302
    page = browser.get(answer.location).text
    assert f"{words}" in unescape(page)
    if typed["expires_on"] == "2099-12-31":
        assert 'value="2099-12-31"' in page
    assert kept(provider) == 0


def post_large(browser: Browser, path: str, size: int) -> TestResponse:
    """Send a form with a file of so many bytes."""
    token = re.findall(r'name="csrf_token" value="([^"]+)"', browser.get("/console/account/").text)[0]
    head = (
        f'--x\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n%PDF-'
    )
    body = head.encode() + bytes(size - 5) + b"\r\n--x--\r\n"
    return browser.client.post(path, data=body, content_type="multipart/form-data; boundary=x")


def test_only_where_files_come_in_a_page_takes_more_than_a_megabyte(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    act = f"{page_of(provider)}checklist/bank_account/"
    assert post_large(browser, f"{act}refuse", 2_000_000).status_code == 413
    assert post_large(browser, f"{act}documents", 21_000_000).status_code == 413
    answer = post_large(browser, f"{act}documents", 15_000_000)
    assert "The file has 15.0 MB. Send at most 10 MB." in browser.get(answer.location).text
    assert kept(provider) == 0
    assert status_of(provider, "bank_account") == "OPEN"
    post_large(browser, f"{act}documents", 2_000_000)
    assert kept(provider) == 1


def test_nobody_is_led_out_of_the_console(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    answer = browser.post(f"{page_of(provider)}checklist/legal_name/accept", {"back": "https://example.org/console/"})
    assert answer.location == page_of(provider)


def test_a_removed_document_stays_listed_without_its_file(app: Flask) -> None:
    provider, browser = waiting(), signed_in(app, "admin")
    document = factories.document(provider, file_name="wrong.pdf")
    form = {"back": page_of(provider), "reason": "Belongs to somebody else", "note": "Of Ada's"}
    answer = browser.post(f"{page_of(provider)}documents/{document.id}/remove", form)
    page = browser.get(answer.location).text
    assert "wrong.pdf" in page
    assert "Belongs to somebody else. Of Ada's" in unescape(page)
    assert f"documents/{document.id}" not in page
    assert browser.get(f"{page_of(provider)}documents/{document.id}").status_code == 404


def test_the_queue_says_how_far_each_is_and_puts_first_what_can_be_done(empty_app: Flask) -> None:
    untouched, expired, reading, ready = (waiting() for _ in range(4))
    expire(factories.document(expired, "insurance"), 3)
    checklist.refuse(
        expired.id,
        "insurance",
        document_id=checklist.of(expired.id)[4].document.id,  # type: ignore[union-attr]
        reason="Has expired",
        by=factories.admin(),
    )
    for item in ("identity", "bank_account"):
        factories.document(reading, item)
    factories.complete(ready)
    words = said(signed_in(empty_app, "support"), QUEUE)
    lines = [
        f"{provider.name} {rest}"
        for provider, rest in (
            (ready, "5 of 5 accepted just now Everything is accepted"),
            (reading, "0 of 5 accepted just now 2 documents to look at"),
            (expired, "0 of 5 accepted just now Liability insurance expired 3 days ago"),
            (untouched, "0 of 5 accepted just now"),
        )
    ]
    places = [words.index(line) for line in lines]
    assert places == sorted(places)


def test_whose_papers_expired_is_found_on_the_list_of_providers(app: Flask) -> None:
    late, soon, fine = (factories.provider() for _ in range(3))
    for provider, days in ((late, 1), (soon, -29), (fine, -31)):
        expire(factories.document(provider, "insurance"), days)
    browser = signed_in(app, "support")
    shown = {
        papers: [
            f"{page_of(provider)}" in browser.get(f"/console/providers/?papers={papers}&q={provider.name}").text
            for provider in (late, soon, fine)
        ]
        for papers in ("expired", "month")
    }
    assert shown == {"expired": [True, False, False], "month": [True, True, False]}
    assert "Expired yesterday" in said(browser, page_of(late))
