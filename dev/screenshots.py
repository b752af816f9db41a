"""`make screenshots`: every page of the console as each role sees it, light and dark, wide and narrow.

The pages are the app's own: what the menu and every link on them leads to, one record for each kind of page. A demo
that runs is used as it is; otherwise one is started for this, given what mailed links and second factors open, and
thrown away. Exits with 1 when a page failed, broke its policy, is wider than the window, or (of a demo of its own) when
there is a page that no picture was taken of.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pyotp
from flask import Flask
from playwright.sync_api import Browser, BrowserContext, Page, Response, sync_playwright
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter, RequestRedirect

from app import create_app
from app.accounts import links, staff, two_factor
from app.accounts import service as accounts
from app.accounts.models import ROLES, User
from app.audit.actor import SYSTEM
from app.bulk import service as bulk
from app.db import transaction, utcnow
from app.extensions import db
from app.imports import service as imports
from app.payments.models import Payment, WebhookEvent
from app.reports.models import Difference, Reconciliation
from app.reviews.models import Review
from dev import environment
from dev.children import last_lines, spawn, stop

WIDTHS = {"wide": (1440, 900), "narrow": (390, 844)}
THEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Under root, as in containers, Chromium's own sandbox doesn't start.
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
DEMO_SECONDS = 600
# Served under /console/ without being pages: files, what pages ask for, and the frames that a mail's page shows.
NO_PAGES = {"home.static", "home.live", "mail.html", "mail.template_html"}
NO_PAGES |= {"revenue.figures", "revenue.csv", "accounts.balances", "payables.csv"}
NO_PAGES |= {"providers.document", "imports.rejected", "imports.mapping", "imports.kept_mapping"}
COLLEAGUE, GUARDED = "new.colleague@demo.tripdesk.example", "guarded@demo.tripdesk.example"
_NOTE_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`));
"""


@dataclass
class Walk:
    """One role's way through the console: which address was found for which route, and what went wrong."""

    role: str
    routes: MapAdapter
    found: dict[str, str] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    chosen: Mapping[str, str] = field(default_factory=dict)

    def take(self, page: Page) -> None:
        """Note where the links of the page that is shown lead: of each route the `chosen` record, or else the first."""
        links: list[str] = page.eval_on_selector_all("a[href]", "links => links.map((link) => link.href)")
        for link in links:
            parts = urlsplit(link)
            endpoint = endpoint_of(self.routes, parts.path)
            if endpoint and parts.netloc == urlsplit(page.url).netloc:
                address = parts._replace(scheme="", netloc="", fragment="").geturl()
                self.found.setdefault(endpoint, self.chosen.get(endpoint, address))


def endpoint_of(routes: MapAdapter, path: str) -> str | None:
    """Which route of the console serves a path by GET; None for what is no page of it."""
    if not path.startswith("/console/"):
        return None
    try:
        endpoint, _ = routes.match(path, method="GET")
    except (HTTPException, RequestRedirect):
        return None
    return None if endpoint in NO_PAGES else str(endpoint)


def main(arguments: list[str]) -> int:
    """Take the pictures, and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m dev.screenshots", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to put them (default: a new one under the temporary files)")
    parser.add_argument("--role", action="append", choices=ROLES, help="only this role; may be given again")
    parser.add_argument("--page", default="", help="only pages whose route has this in its name, such as ledger")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="tripdesk-screenshots-"))
    with demo() as (settings, is_ours), sync_playwright() as playwright:
        app = create_app(**{name.lower(): value for name, value in settings.items()})
        outside: dict[str, str] = {}
        chosen_records: dict[str, str] = {}
        if is_ours:
            outside = people_at_the_door(app, settings["DEMO_PASSWORD"])
            prepare_bulk_run(app)
            prepare_import(app)
            prepare_failed_event(app)
            chosen_records = {**a_difference(app), **a_refundable_payment(app)}
        routes = app.url_map.bind(urlsplit(settings["PUBLIC_URL"]).netloc)
        program = next(filter(None, map(shutil.which, BROWSERS)), None)
        browser = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        walks = [Walk(role, routes, chosen=chosen_records) for role in chosen.role or ROLES]
        for walk in walks:
            photograph(browser, walk, settings, folder, chosen.page)
        walks.append(Walk("nobody", routes, outside))
        photograph_outside(browser, walks[-1], settings, folder, chosen.page)
        browser.close()
    troubles = [trouble for walk in walks for trouble in walk.troubles]
    if is_ours and not chosen.role and not chosen.page:
        served = {
            str(rule.endpoint)
            for rule in app.url_map.iter_rules()
            if rule.rule.startswith("/console/") and "GET" in (rule.methods or ()) and rule.endpoint not in NO_PAGES
        }
        taken = {endpoint for walk in walks for endpoint in walk.found}
        troubles += [f"nothing that anybody sees leads to {endpoint}" for endpoint in sorted(served - taken)]
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    print(f"{len(list(folder.rglob('*.png')))} pictures in {folder}")
    return 1 if troubles else 0


def people_at_the_door(app: Flask, password: str) -> dict[str, str]:
    """A colleague with mail, and one with a second factor; where the colleague's mailed links lead."""
    with app.app_context():
        colleague = staff.invite(email=COLLEAGUE, name="Noor Haddad", roles=["support"], by=SYSTEM)
        with transaction():
            mailed = {
                f"mailed_links.{route}": urlsplit(links.make(colleague, purpose)).path
                for route, purpose in (
                    ("reset_form", "password_reset"),
                    ("invitation_form", "staff_invitation"),
                    ("verify_form", "verify_email"),
                )
            }
        guarded = staff.create_staff(
            email=GUARDED, name="Theo Lindqvist", password=password, roles=["finance"], by=SYSTEM
        )
        by = accounts.actor_of(guarded)
        two_factor.begin(guarded.id, by=by)
        enrolment = two_factor.enrolment(guarded)
        assert enrolment is not None
        two_factor.confirm(guarded.id, pyotp.TOTP(enrolment.secret).now(), by=by)
    return mailed


def prepare_bulk_run(app: Flask) -> None:
    """A moderator has asked for something to be done to every review that waits."""
    with app.app_context():
        person = db.session.scalars(select(User).where(User.email == "moderator@demo.tripdesk.example")).one()
        pending = select(Review.id).where(Review.status == "PENDING")
        bulk.freeze("reviews.approve", pending, by=accounts.actor_of(person))


def prepare_import(app: Flask) -> None:
    """An admin has uploaded the file of a provider's packages."""
    rows = "\n".join(f"{number},Cabin {number},900.00,4" for number in range(1, 41))
    with app.app_context():
        person = db.session.scalars(select(User).where(User.email == "admin@demo.tripdesk.example")).one()
        file = io.BytesIO(f"id,name,price,guests\n{rows}\n".encode())
        imports.upload(file, "cabins.csv", by=accounts.actor_of(person))


def prepare_failed_event(app: Flask) -> None:
    """An event of Stripe's has used up its tries."""
    now = utcnow()
    with app.app_context(), transaction():
        event = WebhookEvent(
            stripe_event_id="evt_1RdK2v4fQhXbJm7sTn0LwYpC",
            type="charge.dispute.created",
            object_id="du_1RdK2u4fQhXbJm7sEw9VaZtB",
            payload={"id": "evt_1RdK2v4fQhXbJm7sTn0LwYpC", "type": "charge.dispute.created"},
            status="FAILED",
            happened_at=now - timedelta(hours=9),
            received_at=now - timedelta(hours=9),
            attempts=12,
            last_error="Unavailable: Stripe did not answer within 10 seconds.",
            request_id="req_2f64c0a18be9d7530f41",
        )
        db.session.add(event)


def a_difference(app: Flask) -> dict[str, str]:
    """A reconciled day has a payment that the ledger doesn't know; returns that day's page."""
    with app.app_context(), transaction():
        day = db.session.scalars(select(Reconciliation).order_by(Reconciliation.day.desc()).limit(1)).one()
        nothing = {"there_fee_minor": 0, "here_minor": 0, "here_fee_minor": 0}
        difference = Difference(
            reconciliation_id=day.id,
            kind="missing_here",
            booked_as="charge",
            source_id="ch_3RdJ9x4fQhXbJm7s1kPqUuVe",
            transaction_id="txn_3RdJ9x4fQhXbJm7s1vHs2GnA",
            currency="USD",
            there_minor=41_250,
            **nothing,
        )
        db.session.add(difference)
        day.differing += 1
        return {"reconciliation.show": f"/console/reconciliation/{day.id}/"}


def a_refundable_payment(app: Flask) -> dict[str, str]:
    """The page of a payment that can be refunded."""
    with app.app_context():
        whole = select(Payment.id).where(Payment.status == "SUCCEEDED", Payment.disputed_minor == 0)
        payment_id = db.session.scalars(whole.order_by(Payment.id.desc()).limit(1)).one()
        return {"payments.show": f"/console/payments/{payment_id}/"}


def photograph(browser: Browser, walk: Walk, settings: Mapping[str, str], folder: Path, only: str) -> None:
    """Find every page this role can reach, and take each in every look."""
    context = window(browser, settings)
    page = context.new_page()
    page.add_init_script(_NOTE_VIOLATIONS)
    sign_in(page, walk.role, settings["DEMO_PASSWORD"])
    walk.take(page)
    seen: set[str] = set()
    while todo := [(endpoint, path) for endpoint, path in walk.found.items() if endpoint not in seen]:
        for endpoint, path in todo:
            seen.add(endpoint)
            answer = page.goto(path)
            walk.take(page)
            if endpoint == "packages.show" and page.get_by_role("button", name="Preview the change").count():
                walk.found.setdefault("packages.days", f"{path}days?{a_change_of_days()}")
            if only in endpoint:
                note_troubles(walk, page, path, answer)
                wrong = pictures(page, folder / walk.role, endpoint)
                walk.troubles += [f"{walk.role} {path}: {trouble}" for trouble in wrong]
        print(f"{walk.role}: {len(seen)} pages", flush=True)
    context.close()


def window(browser: Browser, settings: Mapping[str, str]) -> BrowserContext:
    """A fresh window at the demo's address."""
    width, height = WIDTHS["wide"]
    return browser.new_context(
        base_url=settings["PUBLIC_URL"], viewport={"width": width, "height": height}, reduced_motion="reduce"
    )


def sign_in(page: Page, role: str, password: str) -> None:
    """Sign in with the role's demo login."""
    type_in(page, f"{role}@demo.tripdesk.example", password)
    page.wait_for_url(lambda url: "/console/login" not in url)


def type_in(page: Page, email: str, password: str) -> None:
    """Send the sign-in form."""
    page.goto("/console/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in").click()


def note_troubles(walk: Walk, page: Page, path: str, answer: Response | None) -> None:
    """What nobody would see on a picture: a status, a broken policy."""
    if answer is None or answer.status >= 400:
        walk.troubles.append(f"{walk.role} {path}: {answer.status if answer else 'no answer'}")
    violations: list[str] = page.evaluate("window.violations")
    walk.troubles += [f"{walk.role} {path}: {violation}" for violation in violations]


def pictures(page: Page, folder: Path, name: str) -> list[str]:
    """The page in each theme and width; returns what is wrong with its width."""
    wrong = []
    for look, (width, height) in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        # What a frame shows is painted only where it is in sight; a picture of the full page doesn't bring it there.
        if page.locator("iframe").count():
            page.set_viewport_size({"width": width, "height": page.evaluate("document.documentElement.scrollHeight")})
        for theme in THEMES:
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            page.screenshot(path=folder / f"{name}-{look}-{theme}.png", full_page=True)
        found: int = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wrong.append(f"{found} px wide in a window of {width}")
    return wrong


def photograph_outside(browser: Browser, walk: Walk, settings: Mapping[str, str], folder: Path, only: str) -> None:
    """What is shown to whoever isn't signed in, and between a password and its code."""
    context = window(browser, settings)
    page = context.new_page()
    page.add_init_script(_NOTE_VIOLATIONS)
    has_guarded = bool(walk.found)
    walk.found["sessions.login"] = "/console/login"
    page.goto("/console/login")
    walk.take(page)
    walk.found.pop("home.index", None)  # leads back here
    if has_guarded:
        walk.found["sessions.code"] = "/console/login/code"
    for endpoint, path in walk.found.items():
        if only in endpoint:
            if endpoint == "sessions.code":
                type_in(page, GUARDED, settings["DEMO_PASSWORD"])
            answer = page.goto(path)
            note_troubles(walk, page, path, answer)
            wrong = pictures(page, folder / walk.role, endpoint)
            walk.troubles += [f"{walk.role} {path}: {trouble}" for trouble in wrong]
    context.close()


def a_change_of_days() -> str:
    """The query of a change that is only looked at: a week's prices."""
    first = utcnow().date() + timedelta(days=14)
    return urlencode({"first": first.isoformat(), "last": (first + timedelta(days=6)).isoformat(), "price": "120"})


@contextmanager
def demo() -> Iterator[tuple[Mapping[str, str], bool]]:
    """The settings of the demo that runs, or of one of our own for as long as this lasts; and whether it is ours."""
    running = environment.running(environment.home_folder(os.environ))
    if running is not None:
        yield running, False
        return
    with tempfile.TemporaryDirectory(prefix="tripdesk-") as home:
        log = Path(home) / "demo.log"
        own = {**os.environ, "TRIPDESK_HOME": f"{home}/home", "PORT": str(free_pair_of_ports())}
        print("No demo is running: starting one for the pictures", flush=True)
        process = spawn([sys.executable, "-m", "dev.demo"], log=log, env=own, cwd=environment.CHECKOUT)
        try:
            wait_until_ready(process, log)
            started = environment.running(Path(f"{home}/home"))
            assert started is not None
            yield started, True
        finally:
            stop(process, signal.SIGINT, 30)


def wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the demo's READY line; exits when it ends before."""
    for _ in range(DEMO_SECONDS * 2):
        if re.search(r"^READY ", log.read_text(), re.MULTILINE):
            return
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    sys.exit(f"The demo did not start. The end of its log:\n{last_lines(log)}")


def free_pair_of_ports() -> int:
    """A port that nobody listens on, and the next one neither."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
