"""Packages, their days and policies, providers and their papers, and imports of all that."""

from __future__ import annotations

import io
from decimal import Decimal
from uuid import uuid4

from app.audit.actor import Actor
from app.catalog import cancellation_policies, checklist, day_changes
from app.catalog.day_changes import DayChange
from app.catalog.import_mapping import ImportMapping
from app.catalog.models import Provider
from app.imports import mappings
from tests import factories
from tests.imports.files import COLUMNS, DEFAULTS, HEADER, Catalogue, nobody_imports
from tests.objects.asked import NOT_THERE, Asked, last_entry


def package(owner: Actor | None) -> Asked:
    return Asked({"package_id": factories.package().id if owner else NOT_THERE})


def draft(owner: Actor | None) -> Asked:
    return Asked({"package_id": factories.package(status="DRAFT", days=1).id if owner else NOT_THERE})


def on_sale(owner: Actor | None) -> Asked:
    return Asked(package(owner).args, {"reason": "Closed for good"})


def days(owner: Actor | None) -> Asked:
    day = factories.tomorrow().isoformat()
    return Asked(package(owner).args, {"first": day, "last": day, "price": "90"})


def changed_days(owner: Actor | None) -> Asked:
    day = factories.tomorrow()
    change = DayChange(first=day, last=day, price_minor=9_000)
    about = package(owner).args
    admin = Actor("staff", None, "Anybody", frozenset({"admin"}))
    version = day_changes.preview(about["package_id"], change, by=admin).version if owner else ""
    return Asked(about, {"first": day.isoformat(), "last": day.isoformat(), "price": "90", "version": version})


def edited_package(owner: Actor | None) -> Asked:
    return Asked(package(owner).args, {"seen": "0", "name": "Another name"})


def policy(owner: Actor | None) -> Asked:
    return Asked({"policy_id": factories.policy().id if owner else NOT_THERE})


def new_policy(owner: Actor | None) -> Asked:
    code = f"policy-{uuid4().hex[:10]}"
    return Asked({}, {"name": code, "code": code, "days-1": "3", "percent-1": "80"})


def edited_policy(owner: Actor | None) -> Asked:
    name = f"Policy {uuid4().hex[:10]}"
    return Asked(policy(owner).args, {"name": name, "days-1": "3", "percent-1": "80", "seen": "1"})


def retired_policy(owner: Actor | None) -> Asked:
    return Asked(policy(owner).args, {"reason": "Made by mistake"})


def policy_again(owner: Actor | None) -> Asked:
    asked = policy(owner)
    if owner:
        cancellation_policies.retire(asked.args["policy_id"], by=factories.admin(), reason="Made by mistake")
    return asked


def synonyms(owner: Actor | None) -> Asked:
    return Asked({"group_id": factories.synonyms().id if owner else NOT_THERE})


def new_synonyms(owner: Actor | None) -> Asked:
    return Asked({}, {"words": factories.two_words()})


def edited_synonyms(owner: Actor | None) -> Asked:
    about = seen_synonyms(owner)
    return Asked(about.args, {**(about.body or {}), "words": factories.two_words()})


def seen_synonyms(owner: Actor | None) -> Asked:
    asked = synonyms(owner)
    return Asked(asked.args, {"seen": str(last_entry("search_synonyms", asked.args["group_id"]))})


def provider(owner: Actor | None) -> Asked:
    return Asked({"provider_id": factories.provider().id if owner else NOT_THERE})


def edited_provider(owner: Actor | None) -> Asked:
    return Asked(provider(owner).args, {"seen": "0", "name": "Another name"})


def suspension(owner: Actor | None) -> Asked:
    return Asked({**provider(owner).args, "decision": "suspend"}, {"reason": "Complaints of travellers"})


def new_provider(owner: Actor | None) -> Asked:
    return Asked({"row_id": factories.complete(factories.provider(status="PENDING")).id if owner else NOT_THERE})


def open_item(owner: Actor | None) -> Asked:
    provider_id = factories.provider(status="PENDING").id if owner else NOT_THERE
    return Asked({"provider_id": provider_id, "item": "legal_name", "decision": "accept"})


def paper(owner: Actor | None) -> Asked:
    about = {"provider_id": shown_its_name().id if owner else NOT_THERE, "item": "proof_of_registration"}
    return Asked(about, {"file": (factories.pdf(), "extract.pdf")})


def kept_paper(owner: Actor | None) -> Asked:
    document = factories.document(shown_its_name()) if owner else None
    provider_id, document_id = (document.provider_id, document.id) if document else (NOT_THERE, NOT_THERE)
    return Asked({"provider_id": provider_id, "document_id": document_id}, {"reason": "Added by mistake"})


def shown_its_name() -> Provider:
    """A provider whose next item on the checklist needs a document."""
    waiting = factories.provider(status="PENDING")
    checklist.accept(waiting.id, "legal_name", document_id=None, by=factories.admin())
    return waiting


def verified(owner: Actor | None) -> Asked:
    args = {**new_provider(owner).args, "decision": "verify"}
    return Asked(args, {"seen": "0", "reason": "Papers and bank account checked"})


def verified_many(owner: Actor | None) -> Asked:
    return Asked({}, {"decision": "verify", "id": str(new_provider(owner).args["row_id"])})


def catalogue(owner: Actor | None) -> Asked:
    return Asked({}, {"file": (io.BytesIO(Catalogue().content), "oslo.csv")} if owner else {})


def new_import(owner: Actor | None) -> Asked:
    return Asked({"import_id": Catalogue().upload(_admin()).id if owner else NOT_THERE})


def chosen_columns(owner: Actor | None) -> Asked:
    columns = {f"column-{field}": str(HEADER.split(",").index(heading)) for field, heading in COLUMNS.items()}
    defaults = {f"default-{field}": value for field, value in DEFAULTS.items()}
    return Asked(new_import(owner).args, {**columns, **defaults, "currency": "NOK", "rate": "0.1"})


def checked_import(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"import_id": NOT_THERE})
    nobody_imports()
    return Asked({"import_id": Catalogue(good=2, bad=1).checked(_admin()).id})


def kept_columns(owner: Actor | None) -> Asked:
    if owner is None:
        return Asked({"mapping_id": NOT_THERE})
    mapping = ImportMapping.checked(COLUMNS, DEFAULTS)
    kept = mappings.keep(f"Oslo {uuid4().hex}", mapping, currency="NOK", rate=Decimal("0.1"), by=_admin())
    return Asked({"mapping_id": kept.id})


def _admin() -> Actor:
    return factories.actor(factories.staff("admin"))


CATALOGUE = (
    package,
    draft,
    on_sale,
    days,
    changed_days,
    edited_package,
    policy,
    new_policy,
    edited_policy,
    retired_policy,
    policy_again,
    synonyms,
    new_synonyms,
    edited_synonyms,
    seen_synonyms,
    provider,
    edited_provider,
    suspension,
    new_provider,
    open_item,
    paper,
    kept_paper,
    verified,
    verified_many,
    catalogue,
    new_import,
    chosen_columns,
    checked_import,
    kept_columns,
)
