"""Who may do what: every route and method, as each kind of caller, on what is theirs, another's, or missing.

TABLE is the whole of it. A route without a row fails, and so does a row without a route: to add one, write its line,
and where it is about a kind of object that isn't in `tests/objects/` yet, how to make one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urldefrag, urlencode, urljoin

import pytest
from flask import Blueprint, Flask
from sqlalchemy import text
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.test import TestResponse

from app.audit.actor import Actor
from app.db import transaction
from app.extensions import db
from tests import factories
from tests.console.browser import Browser
from tests.objects.asked import Asked
from tests.one_of_each import OBJECTS

CALLERS = ("anyone", "traveller", "support", "moderator", "finance", "admin")

# A cell is the status that the caller gets; `login` is a redirect to the console's sign-in. Where it matters whose the
# object is, the cell is own/another's. `missing` is what whoever may do it gets for an object that isn't there; the
# others get the same as for one that is. In the console, the traveller is somebody whose roles were taken a moment ago.
TABLE = """
route                      method object        anyone traveller support moderator finance admin   missing

root                       GET    -             302    302       302     302       302     302     -
static                     GET    style         200    200       200     200       200     200     404
ops.health                 GET    -             200    200       200     200       200     200     -
ops.ready                  GET    -             200    200       200     200       200     200     -
webhooks.receive           POST   -             400    400       400     400       400     400     -

sessions.login             GET    -             200    200       302     302       302     302     -
sessions.sign_in           POST   wrong_login   403    403       403     403       403     403     403
sessions.sign_out          POST   -             302    302       302     302       302     302     -
home.static                GET    admin_style   200    200       200     200       200     200     404
home.index                 GET    -             login  login     200     200       200     200     -
home.live                  GET    -             login  login     200     200       200     200     -
search.index               GET    -             login  login     200     200       200     200     -
bookings.index             GET    -             login  login     200     200       200     200     -
bookings.show              GET    booking       login  login     200     200       200     200     404
bookings.cancel            POST   cancellation  login  login     302     403       403     302     404
bookings.take_many         POST   many_bookings login login     403     403       302     302     302
bookings.complete          POST   ended_stay    login  login     302     403       403     302     404
bookings.add_note          POST   noted         login  login     302     403       403     302     404
packages.index             GET    -             login  login     200     200       200     200     -
packages.show              GET    package       login  login     200     200       200     200     404
packages.edit              GET    package       login  login     403     403       403     200     404
packages.edit              POST   edited_package login login     403     403       403     302     404
packages.publish           POST   draft         login  login     403     403       403     302     404
packages.unpublish         POST   on_sale       login  login     403     403       403     302     404
packages.days              GET    days          login  login     403     403       403     200     404
packages.change_days       POST   changed_days  login  login     403     403       403     302     404
policies.index             GET    -             login  login     200     200       200     200     -
policies.show              GET    policy        login  login     200     200       200     200     404
policies.new               GET    -             login  login     403     403       403     200     -
policies.new               POST   new_policy    login  login     403     403       403     302     302
policies.edit              GET    policy        login  login     403     403       403     200     404
policies.edit              POST   edited_policy login  login     403     403       403     302     404
policies.retire            POST   retired_policy login login     403     403       403     302     404
policies.reinstate         POST   policy_again  login  login     403     403       403     302     404
policies.export            POST   list_of_policy login login     302     302       302     302     302
providers.index            GET    -             login  login     200     200       200     200     -
providers.show             GET    provider      login  login     200     200       200     200     404
providers.edit             GET    provider      login  login     403     403       403     200     404
providers.edit             POST   edited_provider login login    403     403       403     302     404
providers.decide           POST   suspension    login  login     403     403       403     302     404
providers.decide_item      POST   open_item     login  login     403     403       403     302     404
providers.add_document     POST   paper         login  login     403     403       403     302     404
providers.document         GET    kept_paper    login  login     403     403       403     200     404
providers.remove_document  POST   kept_paper    login  login     403     403       403     302     404
verification.index         GET    -             login  login     200     200       200     200     -
verification.show          GET    new_provider  login  login     200     200       200     200     404
verification.claim         POST   new_provider  login  login     403     403       403     302     404
verification.decide        POST   verified      login  login     403     403       403     302     404
verification.decide_many   POST   verified_many login  login     403     403       403     404     404
imports.index              GET    -              login  login     403     403       403     200     -
imports.upload_form        GET    -              login  login     403     403       403     200     -
imports.upload             POST   catalogue      login  login     403     403       403     302     422
imports.show               GET    checked_import login  login     403     403       403     200     404
imports.columns_form       GET    new_import     login  login     403     403       403     200     404
imports.check              POST   chosen_columns login  login     403     403       403     302     404
imports.start              POST   checked_import login  login     403     403       403     302     404
imports.cancel             POST   new_import     login  login     403     403       403     302     404
imports.rejected           GET    checked_import login  login     403     403       403     200     404
imports.mapping            GET    checked_import login  login     403     403       403     200     404
imports.kept               GET    -              login  login     403     403       403     200     -
imports.kept_mapping       GET    kept_columns   login  login     403     403       403     200     404
imports.forget             POST   kept_columns   login  login     403     403       403     302     404
reviews.index              GET    -             login  login     200     200       403     200     -
reviews.show               GET    open_review   login  login     200     200       403     200     404
reviews.claim              POST   open_review   login  login     403     302       403     302     404
reviews.decide             POST   approval      login  login     403     302       403     302     404
reviews.decide_many        POST   approvals     login  login     403     302       403     302     302
users.index                GET    -             login  login     200     200       200     200     -
users.show                 GET    person        login  login     200     200       200     200     404
users.edit                 GET    person        login  login     403     403       403     200     404
users.save                 POST   edited_person login  login     403     403       403     302     404
users.mail_verification    POST   person        login  login     302     403       403     302     404
payments.index             GET    -             login  login     403     403       200     200     -
payments.show              GET    payment       login  login     403     403       200     200     404
disputes.index             GET    -             login  login     200     403       200     200     -
disputes.show              GET    dispute       login  login     200     403       200     200     404
disputes.write             GET    dispute       login  login     403     403       200     200     404
disputes.write             POST   evidence_of_it login login     403     403       302     302     404
disputes.submit            POST   staged_dispute login login     403     403       302     302     404
disputes.accept            POST   accepted_dispute login login   403     403       302     302     404
disputes.lift_hold         POST   inquiry       login  login     403     403       302     302     404
disputes.export            POST   list_of_dispute login login    302     403       302     302     302
refunds.index              GET    -             login  login     200     403       200     200     -
refunds.show               GET    open_refund   login  login     200     403       200     200     404
refunds.claim              POST   open_refund   login  login     403     403       302     302     404
refunds.decide             POST   approved_refund login login    403     403       302     302     404
refunds.decide_many        POST   approved_refunds login login   403     403       302     302     302
refunds.ask                GET    payment       login  login     200     403       200     200     404
refunds.ask                POST   wanted_refund login  login     200     403       200     200     404
refunds.request_refund     POST   wanted_refund login  login     302     403       302     302     404
refunds.export             POST   list_of_open_refund login login 302    403       302     302     302
ledger.index               GET    -             login  login     403     403       200     200     -
ledger.show                GET    ledger_entry  login  login     403     403       200     200     404
accounts.index             GET    -             login  login     403     403       200     200     -
accounts.balances          GET    -             login  login     403     403       200     200     -
accounts.show              GET    ledger_account login login     403     403       200     200     404
accounts.export            POST   ledger_account login login     403     403       302     302     404
payables.index             GET    -             login  login     403     403       200     200     -
payables.csv               GET    -             login  login     403     403       200     200     -
payables.show              GET    paid_provider login  login     403     403       200     200     404
payables.export            POST   paid_provider login  login     403     403       302     302     404
revenue.index              GET    -             login  login     403     403       200     200     -
revenue.figures            GET    -             login  login     403     403       200     200     -
revenue.csv                GET    drawn         login  login     403     403       200     200     404
ledger.check               POST   -             login  login     403     403       302     302     -
reconciliation.index       GET    -             login  login     403     403       200     200     -
reconciliation.reconcile   POST   past_day      login  login     403     403       302     302     422
reconciliation.reconcile_month POST past_month login login    403     403       302     302     422
reconciliation.show        GET    reconciled_day login login     403     403       200     200     404
reconciliation.again       POST   reconciled_day login login     403     403       302     302     404
reconciliation.difference  GET    open_difference login login    403     403       200     200     404
reconciliation.assign      POST   open_difference login login    403     403       302     302     404
reconciliation.explain     POST   open_difference login login    403     403       302     302     404
reconciliation.reopen      POST   explained_difference login login 403   403       302     302     404
reconciliation.fix         POST   open_difference login login    403     403       302     302     404
webhook_inbox.index        GET    -             login  login     403     403       200     200     -
webhook_inbox.show         GET    done_event    login  login     403     403       200     200     404
webhook_inbox.replay       POST   done_event    login  login     403     403       302     302     404
failed_webhooks.index      GET    -             login  login     403     403       200     200     -
failed_webhooks.show       GET    failed_event  login  login     403     403       200     200     404
failed_webhooks.claim      POST   failed_event  login  login     403     403       302     302     404
failed_webhooks.decide     POST   replayed      login  login     403     403       302     302     404
failed_webhooks.decide_many POST  replayed_many login  login     403     403       302     302     302
failed_webhooks.export     POST   list_of_failed_event login login 403   403       302     302     302
audit.index                GET    -             login  login     403     403       403     200     -
audit.show                 GET    audit_entry   login  login     403     403       403     200     404
jobs.index                 GET    -             login  login     403     403       403     200     -
mail.index                 GET    -             login  login     200     403       403     200     -
mail.show                  GET    sent_mail     login  login     200     403       403     200     404
mail.html                  GET    sent_mail     login  login     200     403       403     200     404
mail.send                  POST   sent_mail     login  login     403     403       403     302     404
mail.templates             GET    -             login  login     200     403       403     200     -
mail.template_page         GET    kind_of_mail  login  login     200     403       403     200     404
mail.template_html         GET    kind_of_mail  login  login     200     403       403     200     404
bulk.index                 GET    -             login  login     200     200       200     200     -
bulk.show                  GET    bulk_run      login  login     200/404 200/404   200/404 200     404
bulk.start                 POST   bulk_run      login  login     403/404 302/404   403/404 302/403 404
bulk.cancel                POST   running_run   login  login     302/404 302/404   302/404 302     404
bulk.undo                  POST   done_run      login  login     403/404 302/404   403/404 302/403 404
bulk.take_up               POST   stopped_run   login  login     403/404 302/404   403/404 302     404
bookings.export            POST   list_of_booking login  login   302     302       302     302     302
packages.export            POST   list_of_package login  login   302     302       302     302     302
providers.export           POST   list_of_provider login login   302     302       302     302     302
verification.export        POST   list_of_new_provider login login 302   302       302     302     302
reviews.export             POST   list_of_open_review login login 302    302       403     302     302
users.export               POST   list_of_person login  login    302     302       302     302     302
payments.export            POST   list_of_payment login login    403     403       302     302     302
ledger.export              POST   list_of_ledger_entry login login 403   403       302     302     302
reconciliation.export      POST   list_of_reconciled_day login login 403 403       302     302     302
webhook_inbox.export       POST   list_of_done_event login login 403     403       302     302     302
audit.export               POST   list_of_audit_entry login login 403    403       403     302     302
mail.export                POST   list_of_sent_mail login login  302     403       403     302     302
staff.export               POST   list_of_colleague login login  403     403       403     302     302
bulk.export                POST   -             login  login     404     404       404     404     -
bulk.download              POST   done_export   login  login     200/404 200/404   403/404 200     404
imports.export             POST   -             login  login     403     403       403     404     -
synonyms.index             GET    -             login  login     403     403       403     200     -
synonyms.show              GET    synonyms      login  login     403     403       403     200     404
synonyms.new               GET    -             login  login     403     403       403     200     -
synonyms.new               POST   new_synonyms  login  login     403     403       403     302     302
synonyms.edit              GET    synonyms      login  login     403     403       403     200     404
synonyms.edit              POST   edited_synonyms login login    403     403       403     302     404
synonyms.delete            GET    synonyms      login  login     403     403       403     200     404
synonyms.delete            POST   seen_synonyms login  login     403     403       403     302     404
synonyms.export            POST   -             login  login     403     403       403     404     -
settings.index             GET    -             login  login     403     403       403     200     -
settings.set_limit         POST   refund_limit  login  login     403     403       403     302     404
saved_views.show           GET    -             login  login     200     200       200     200     -
saved_views.save           POST   view_to_save  login  login     302     302       302     302     404
saved_views.delete         POST   saved_view    login  login     302/404 302/404   302/404 302/404 404
development.index          GET    -             login  login     200     200       200     200     -
development.confirm        POST   intent        login  login     302     302       302     302     404

sessions.code              GET    -             login     login     login     login     login     login     -
sessions.give_code         POST   -             login     login     login     login     login     login     -
two_factor.setup           GET    -             login     login     200       200       200       200       -
two_factor.begin           POST   -             login     login     302       302       302       302       -
two_factor.confirm         POST   -             login     login     422       422       422       422       -
mailed_links.forgot        GET    -             200       200       200       200       200       200       -
mailed_links.send          POST   wrong_login   200       200       200       200       200       200       200
mailed_links.reset_form    GET    reset_link    200       200       200       200       200       200       410
mailed_links.reset         POST   reset_link    200       200       200       200       200       200       410
mailed_links.invitation_form GET    invitation    200       200       200       200       200       200       410
mailed_links.accept_invitation POST   invitation    200       200       200       200       200       200       410
mailed_links.verify_form   GET    verify_link   200       200       200       200       200       200       410
mailed_links.verify        POST   verify_link   200       200       200       200       200       200       410
account.index              GET    -             login     login     200       200       200       200       -
account.change_password    POST   -             login     login     422       422       422       422       -
account.end_session        POST   session       login     login     302/404   302/404   302/404   302/404   404
account.end_others         POST   -             login     login     302       302       302       302       -
account.renew_recovery_codes POST   -             login     login     409       409       409       409       -
account.turn_off_two_factor POST   -             login     login     302       302       302       302       -
staff.index                GET    -             login     login     403       403       403       200       -
staff.invite_form          GET    -             login     login     403       403       403       200       -
staff.invite               POST   new_colleague login     login     403       403       403       302       302
staff.show                 GET    colleague     login     login     403       403       403       200       404
staff.edit                 GET    colleague     login     login     403       403       403       200       404
staff.save                 POST   edited_colleague login  login     403       403       403       302       404
staff.set_roles            POST   colleague     login     login     403       403       403       302       404
staff.deactivate           POST   colleague     login     login     403       403       403       302       404
staff.reactivate           POST   former        login     login     403       403       403       302       404
staff.reset_two_factor     POST   guarded_one   login     login     403       403       403       302       404
staff.invite_again         POST   invited_one   login     login     403       403       403       302       404
staff.end_sessions         POST   colleague     login     login     403       403       403       302       404
staff.end_session          POST   their_session login     login     403       403       403       302       404

api.openapi_json           GET    -             200    200       200     200       200     200     -
api.docs                   GET    -             200    200       200     200       200     200     -
api.register               POST   new_person    201    201       201     201       201     201     201
api.login                  POST   wrong_login   401    401       401     401       401     401     401
api.forgot_password        POST   forgotten     202       202       202       202       202       202       202
api.reset_password         POST   reset_token   204       204       204       204       204       204       422
api.verify_email           POST   verify_token  204       204       204       204       204       204       422
api.refresh                POST   refresh_token 200    200       200     200       200     200     401
api.logout                 POST   refresh_token 204    204       204     204       204     204     204
api.list_packages          GET    -             200    200       200     200       200     200     -
api.search_packages        GET    -             200    200       200     200       200     200     -
api.search_hotels          GET    -             200    200       200     200       200     200     -
api.search_tours           GET    -             200    200       200     200       200     200     -
api.suggest                GET    -             200    200       200     200       200     200     -
api.get_package            GET    package       200    200       200     200       200     200     404
api.get_availability       GET    package       200    200       200     200       200     200     404
api.create_booking         POST   stay          401    201       201     201       201     201     404
api.list_bookings          GET    -             401    200       200     200       200     200     -
api.get_booking            GET    booking       401    200/404   200/404 200/404   200/404 200/404 404
api.preview_cancellation   GET    booking       401    200/404   200/404 200/404   200/404 200/404 404
api.cancel_booking         POST   booking       401    200/404   200/404 200/404   200/404 200/404 404
api.refund_booking         POST   paid_stay     401    403       201     403       201     201     404
api.list_package_reviews   GET    package       200    200       200     200       200     200     404
api.create_review          POST   stayed        401    201/404   201/404 201/404   201/404 201/404 404
api.moderate_review        PATCH  waiting_review 401   403       403     200       403     200     404
api.create_payment_intent  POST   booking       401    200/404   200/404 200/404   200/404 200/404 404
"""


# --- Reading the table -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    route: str
    method: str
    object: str
    cells: dict[str, str]
    missing: str

    def expected(self, caller: str, whose: str) -> str:
        """What the caller should get."""
        own, _, anothers = self.cells[caller].partition("/")
        if whose == "missing":
            return self.missing if own[0] in "23" or self.missing == own else own
        return own if whose == "own" else anothers or own

    @property
    def cases(self) -> list[str]:
        """Whose objects to try."""
        if self.object == "-":
            return ["none"]
        return (
            ["own", "another's", "missing"] if any("/" in cell for cell in self.cells.values()) else ["own", "missing"]
        )


def read(table: str) -> list[Row]:
    lines = [line.split() for line in table.splitlines() if line.strip()][1:]
    return [
        Row(route, method, kind, dict(zip(CALLERS, cells, strict=True)), missing)
        for route, method, kind, *cells, missing in lines
    ]


ROWS = read(TABLE)
CASES = [
    pytest.param(row, caller, whose, id=f"{row.route} {row.method} {caller} {whose}")
    for row in ROWS
    for caller in CALLERS
    for whose in row.cases
]


def served(app: Flask) -> set[tuple[str, str]]:
    """Every route and method of the app."""
    return {
        (str(rule.endpoint), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def holes(app: Flask) -> set[tuple[str, str]]:
    """What the app serves without a row."""
    return served(app) - {(row.route, row.method) for row in ROWS}


# --- Callers ---------------------------------------------------------------------------------------------------------


class Caller:
    """One kind of caller: a browser on the console, and a client of the API."""

    def __init__(self, app: Flask, kind: str) -> None:
        self.app, self.kind = app, kind
        self.browser = Browser(app)
        self.actor: Actor | None = None
        self.headers: dict[str, str] = {}
        if kind == "anyone":
            return
        person = factories.traveller() if kind == "traveller" else factories.staff(kind)
        self.actor, self.headers = factories.actor(person), factories.bearer(person)
        if kind != "traveller":
            assert self.browser.sign_in(person).status_code == 302
            return
        demoted = factories.staff("admin")
        assert self.browser.sign_in(demoted).status_code == 302
        with transaction():
            db.session.execute(text("DELETE FROM staff_roles WHERE user_id = :id"), {"id": demoted.id})
        db.session.expire_all()

    def ask(self, row: Row, asked: Asked) -> TestResponse:
        """Send the request of a row."""
        path = self.address(row.route, asked)
        if not path.startswith("/console/"):
            return self.browser.client.open(path, method=row.method, json=asked.body, headers=self.headers)
        if row.method == "GET":
            return self.browser.get(f"{path}?{urlencode(asked.body or {})}")
        return self.browser.post(path, asked.body)

    def address(self, route: str, asked: Asked) -> str:
        with self.app.test_request_context():
            path: str = self.app.url_for(route, **asked.args)
        return path


@pytest.fixture(scope="module")
def known() -> dict[str, Caller]:
    """The callers of this file, made when first needed."""
    return {}


@pytest.fixture
def caller_of(app: Flask, known: dict[str, Caller]) -> Callable[[str], Caller]:
    def find(kind: str) -> Caller:
        if kind not in known:
            known[kind] = Caller(app, kind)
        return known[kind]

    return find


def made_for(row: Row, caller: Caller, whose: str) -> Asked:
    if whose in ("none", "missing"):
        return OBJECTS[row.object](None) if row.object != "-" else Asked({})
    owner = caller.actor if whose == "own" and caller.actor else factories.actor()
    return OBJECTS[row.object](owner)


def audited() -> int:
    """How much was ever done: every change leaves an entry."""
    db.session.rollback()
    return int(db.session.execute(text("SELECT count(*) FROM audit_entries")).scalar_one())


# --- The tests -------------------------------------------------------------------------------------------------------


def test_every_route_and_method_has_its_row(app: Flask) -> None:
    assert holes(app) == set(), "write their rows in TABLE"


def test_every_row_has_its_route_and_stands_once(app: Flask) -> None:
    rows = [(row.route, row.method) for row in ROWS]
    assert set(rows) - served(app) == set()
    assert len(rows) == len(set(rows))


def test_a_new_route_is_noticed(empty_app: Flask) -> None:
    forgotten = Blueprint("forgotten", __name__)
    forgotten.add_url_rule("/console/forgotten/", "hole", lambda: "open", methods=["GET", "POST"])
    empty_app._got_first_request = False
    empty_app.register_blueprint(forgotten)
    assert holes(empty_app) == {("forgotten.hole", "GET"), ("forgotten.hole", "POST")}


@pytest.mark.parametrize(("row", "caller", "whose"), CASES)
def test_each_caller_gets_what_the_table_says(
    caller_of: Callable[[str], Caller], row: Row, caller: str, whose: str
) -> None:
    asking = caller_of(caller)
    if row.route == "sessions.sign_out":
        asking = Caller(asking.app, caller)
    asked = made_for(row, asking, whose)
    before = audited()
    answer = asking.ask(row, asked)
    is_sent_to_sign_in = (answer.location or "").startswith("/console/login") and row.route != "sessions.sign_out"
    got = "login" if is_sent_to_sign_in else str(answer.status_code)
    expected = row.expected(caller, whose)
    # To refuse who asks, or that there is such a thing, is the same to somebody who may not.
    assert got == expected or (whose, expected, got) == ("missing", "403", "404"), answer.text[:2000]
    answer.close()
    if expected == "login" or expected[0] == "4":
        assert audited() == before, "it was refused, and something was done all the same"


def drawn(app: Flask, page: TestResponse) -> set[str]:
    """Where the buttons of a page lead."""
    forms = re.findall(r'<form[^>]*method="post"[^>]*>', page.text)
    # Without an action, a form is sent to its own page.
    actions = [found[1] if (found := re.search(r'action="([^"]+)"', form)) else "" for form in forms]
    return {urldefrag(urljoin(page.request.path, action.replace("&amp;", "&"))).url for action in actions}


def route_of(app: Flask, path: str, method: str) -> str | None:
    try:
        return str(app.url_map.bind("localhost").match(path, method=method)[0])
    except (HTTPException, RequestRedirect):
        return None


# The console's own: whoever isn't signed in is sent to do so.
CONSOLE = [row for row in ROWS if row.cells["anyone"] == "login"]
# Its button stands below the preview of what it would do.
PREVIEWED = {"packages.change_days", "refunds.request_refund"}
# Its button stands on the list that is narrowed to a month.
OF_A_MONTH = {"reconciliation.reconcile_month"}
# Its button stands on every list.
ON_LISTS = {"saved_views.save"}
# Drawn by how far somebody's own password and second factor are, which their own tests follow.
BY_STATE = {"account.change_password", "account.turn_off_two_factor", "two_factor.begin", "two_factor.confirm"}
WRITES = [
    row for row in CONSOLE if row.method == "POST" and row.route not in PREVIEWED | OF_A_MONTH | ON_LISTS | BY_STATE
]


@pytest.mark.parametrize("role", CALLERS[2:])
@pytest.mark.parametrize("row", WRITES, ids=lambda row: row.route)
def test_a_button_is_drawn_for_whoever_may_press_it_and_for_nobody_else(
    app: Flask, caller_of: Callable[[str], Caller], row: Row, role: str
) -> None:
    caller = caller_of(role)
    asked = made_for(row, caller, "own" if row.object != "-" else "none")
    action = caller.address(row.route, asked)
    page = next(path for path in (action, *parents(action)) if route_of(app, path, "GET"))
    answer = caller.browser.get(f"{page}?{urlencode(asked.body or {})}" if page == action else page)
    may = row.expected(role, "own") in ("200", "302")
    assert (answer.status_code == 200 and action in drawn(app, answer)) is may


def parents(path: str) -> Iterator[str]:
    """The addresses above one, from the nearest."""
    parts = path.strip("/").split("/")
    for length in range(len(parts) - 1, 0, -1):
        yield "/" + "/".join(parts[:length]) + "/"


@pytest.mark.parametrize("role", CALLERS[2:])
def test_no_button_and_no_link_of_any_page_leads_to_a_refusal(
    app: Flask, caller_of: Callable[[str], Caller], role: str
) -> None:
    caller = caller_of(role)
    table = {(row.route, row.method): row for row in ROWS}
    reads = [row for row in CONSOLE if row.method == "GET" and row.expected(role, "own") == "200"]
    wrong = []
    for row in reads:
        answer = caller.ask(row, made_for(row, caller, "own" if row.object != "-" else "none"))
        links = {urljoin(answer.request.path, link) for link in re.findall(r'<a[^>]*href="([^"#?]+)', answer.text)}
        for method, targets in (("POST", drawn(app, answer)), ("GET", links)):
            for target in targets:
                route = route_of(app, target, method)
                if route is None or table[route, method].expected(role, "own") in ("403", "login"):
                    wrong.append(f"{answer.request.path}: {method} {target}")
    assert wrong == []


@pytest.mark.parametrize("role", CALLERS[2:])
def test_the_menu_shows_each_role_its_pages_and_no_others(caller_of: Callable[[str], Caller], role: str) -> None:
    caller = caller_of(role)
    home = caller.browser.get("/console/").text
    menu = home[home.index('<nav class="menu"') : home.index("</nav>")]
    shown = set(re.findall(r'<a href="([^"]+)"', menu))
    pages = [
        row
        for row in CONSOLE
        if row.method == "GET"
        and row.object == "-"
        and row.route.endswith(".index")
        # One's own account is behind one's name, searching is on top of every page.
        and row.route not in ("account.index", "search.index")
    ]
    assert shown == {caller.address(row.route, Asked({})) for row in pages if row.expected(role, "own") == "200"}
