"""The test that keeps the house plan: who imports whom, one commit, moves only through `states`, every door guarded."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.console.base import Page
from app.queue import QUEUES, Outbox
from jobs.schedule import SCHEDULE
from jobs.sweeps import SWEPT
from jobs.worker import MODULES

ROOT = Path(__file__).parent.parent

# From left to right: a subject imports only those before it.
SUBJECTS = (
    "audit",
    "notifications",
    "accounts",
    "catalog",
    "imports",
    "payments",
    "bookings",
    "reviews",
    "support",
    "disputes",
    "search",
    "reports",
    "bulk",
    "demo",
)
DOORS = ("console", "api", "webhooks", "ops", "cli")
# The two that have to know everybody.
KNOW_ALL = ("app/__init__.py", "app/models.py")

# Routes for everybody. A new one is guarded, or stands here with its reason.
PUBLIC = {
    "static": "styles, scripts and fonts",
    "home.static": "Flask-Admin's own files, which nothing links to",
    "root": "leads to the console",
    "ops.health": "probe",
    "ops.ready": "probe",
    "webhooks.receive": "guarded by Stripe's signature",
    "sessions.login": "how one gets in",
    "sessions.sign_in": "how one gets in",
    "sessions.sign_out": "ends only the session it comes with",
    "sessions.code": "guarded by the half-open session it comes with",
    "sessions.give_code": "guarded by the half-open session it comes with",
    "two_factor.setup": "guarded by the session it comes with, which may wait for this",
    "two_factor.begin": "guarded by the session it comes with, which may wait for this",
    "two_factor.confirm": "guarded by the session it comes with, which may wait for this",
    "mailed_links.forgot": "says nothing, and mails only whoever reads the address",
    "mailed_links.send": "says nothing, and mails only whoever reads the address",
    "mailed_links.reset_form": "guarded by the mailed token in its address",
    "mailed_links.reset": "guarded by the mailed token in its address",
    "mailed_links.invitation_form": "guarded by the mailed token in its address",
    "mailed_links.accept_invitation": "guarded by the mailed token in its address",
    "mailed_links.verify_form": "guarded by the mailed token in its address",
    "mailed_links.verify": "guarded by the mailed token in its address",
    "api.openapi_json": "documentation",
    "api.docs": "documentation",
    "api.register": "how one gets in",
    "api.login": "how one gets in",
    "api.refresh": "guarded by the refresh token it takes",
    "api.logout": "guarded by the refresh token it takes",
    "api.forgot_password": "says nothing, and mails only whoever reads the address",
    "api.reset_password": "guarded by the mailed token it takes",
    "api.verify_email": "guarded by the mailed token it takes",
    "api.list_packages": "the catalogue is for everybody",
    "api.get_package": "the catalogue is for everybody",
    "api.get_availability": "the catalogue is for everybody",
    "api.search_packages": "the catalogue is for everybody",
    "api.search_hotels": "the catalogue is for everybody",
    "api.search_tours": "the catalogue is for everybody",
    "api.suggest": "the catalogue is for everybody",
    "api.list_package_reviews": "what is shown of reviews is for everybody",
}


def sources(*folders: str) -> Iterator[Path]:
    """Every Python file below the folders."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imports(file: Path) -> Iterator[tuple[str, int, bool]]:
    """What a file imports: (dotted name, line, whether inside a function)."""
    tree = ast.parse(file.read_text())
    nested = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, node in nested
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno, node in nested


def place(file: Path) -> str:
    """The folder of `app/` a file is in; empty for plumbing."""
    parts = file.relative_to(ROOT).parts
    return parts[1] if parts[0] == "app" and len(parts) > 2 else ""


def refused(file: Path, name: str) -> str | None:
    """Why the house plan refuses this import, if it does."""
    parts = name.split(".")
    if parts[0] == "jobs":
        return "app/ never imports jobs/"
    if parts[0] != "app" or len(parts) < 2:
        return None
    target, here = parts[1], place(file)
    if target not in SUBJECTS and target not in DOORS:
        return None
    if not here:
        return f"plumbing imports no folder, not {target}"
    if target == here:
        return None
    if target in DOORS:
        return f"nobody imports a door, not {target}"
    if here in SUBJECTS and SUBJECTS.index(target) > SUBJECTS.index(here):
        return f"{here} stands left of {target}"
    return None


def test_every_folder_of_app_is_a_subject_or_a_door() -> None:
    folders = {path.name for path in (ROOT / "app").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {*SUBJECTS, *DOORS}


def test_imports_go_only_to_the_left() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}: {why}"
        for file in sources("app")
        if str(file.relative_to(ROOT)) not in KNOW_ALL
        for name, line, _ in imports(file)
        if (why := refused(file, name))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("app/db.py", "app.audit.service"),
        ("app/accounts/service.py", "app.bookings.models"),
        ("app/bookings/service.py", "app.api.bookings"),
        ("app/console/home.py", "app.api.bookings"),
        ("app/payments/service.py", "jobs.payments"),
    ],
)
def test_the_import_rule_sees_what_it_must_refuse(file: str, name: str) -> None:
    assert refused(ROOT / file, name) is not None


def test_no_import_hides_inside_a_function() -> None:
    hidden = [
        f"{file.relative_to(ROOT)}:{line} {name}"
        for file in sources("app", "jobs")
        for name, line, inside in imports(file)
        if inside
    ]
    assert hidden == []


def test_one_file_imports_stripe_and_one_meilisearch() -> None:
    importers = {
        library: {
            str(file.relative_to(ROOT))
            for file in sources("app", "jobs")
            for name, _, _ in imports(file)
            if name.split(".")[0] == library
        }
        for library in ("stripe", "meilisearch")
    }
    assert importers["stripe"] == {"app/payments/stripe_gateway.py"}
    assert importers["meilisearch"] <= {"app/search/meilisearch.py"}


def test_the_program_commits_in_one_place() -> None:
    commits = [
        f"{file.relative_to(ROOT)}"
        for file in sources("app", "jobs")
        for _ in re.finditer(r"\bcommit\(", file.read_text())
    ]
    assert commits == ["app/db.py"]


def test_a_status_is_set_only_by_states() -> None:
    setters = []
    for file in sources("app", "jobs"):
        for node in ast.walk(ast.parse(file.read_text())):
            targets = (
                node.targets
                if isinstance(node, ast.Assign)
                else [node.target]
                if isinstance(node, ast.AugAssign | ast.AnnAssign)
                else []
            )
            setters += [
                str(file.relative_to(ROOT))
                for target in targets
                if isinstance(target, ast.Attribute) and target.attr == "status"
            ]
            by_name = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr"
            if by_name and any(
                isinstance(argument, ast.Constant) and argument.value == "status" for argument in node.args
            ):
                setters.append(str(file.relative_to(ROOT)))
    assert setters == ["app/states.py"]


def test_every_route_is_guarded_or_public(app: Flask) -> None:
    open_routes = []
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        page = getattr(view, "__self__", None) or next(
            (admin_view for admin_view in _pages(app) if rule.endpoint.startswith(f"{admin_view.endpoint}.")), None
        )
        guarded_page = isinstance(page, Page) and page.roles
        signed_in = getattr(view, "guarded_by", None) == "signed in"
        if rule.endpoint not in PUBLIC and not guarded_page and not signed_in:
            open_routes.append(rule.endpoint)
    assert open_routes == []
    assert set(PUBLIC) <= set(app.view_functions), "a public route is listed that is no more"


def test_writes_to_the_console_are_posts(app: Flask) -> None:
    writing = [
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/console") and {"PUT", "PATCH", "DELETE"} & (rule.methods or set())
    ]
    assert writing == []


def _pages(app: Flask) -> list[Page]:
    return [view for admin in app.extensions["admin"] for view in admin._views]


def test_every_enqueued_name_is_a_job() -> None:
    named = {model.JOB for model in SWEPT} | {entry.job for entry in SCHEDULE}
    for file in sources("app"):
        named |= set(re.findall(r"[\"'](jobs\.\w+\.\w+)[\"']", file.read_text()))
    for name in named:
        module, _, function = name.rpartition(".")
        assert getattr(getattr(importlib.import_module(module), function, None), "is_job", False), (
            f"{name} is not a job"
        )


def test_a_worker_loads_every_job_before_its_first() -> None:
    with_jobs = {f"jobs.{file.stem}" for file in (ROOT / "jobs").glob("*.py") if "\n@job\n" in file.read_text()}
    assert with_jobs <= {module.__name__ for module in MODULES}


def test_every_outbox_is_swept(app: Flask) -> None:
    def below(model: type[Outbox]) -> set[type[Outbox]]:
        return {model, *(deeper for child in model.__subclasses__() for deeper in below(child))}

    assert below(Outbox) - {Outbox} == set(SWEPT)


def test_every_queue_has_a_worker_in_the_demo_and_every_job_a_known_queue() -> None:
    demo = (ROOT / "dev" / "demo.py").read_text()
    for queue in QUEUES:
        assert re.search(rf"[\"']{queue}[\"']", demo), f"the demo starts no worker for {queue}"
    assert {model.QUEUE for model in SWEPT} | {entry.queue for entry in SCHEDULE} <= set(QUEUES)


def test_every_module_says_where_it_stands() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in sources("app", "jobs", "dev")
        if not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty_names = {"utils", "helpers", "common", "misc", "manager", "dao"}
    assert [file for file in sources("app", "jobs", "dev") if file.stem in empty_names] == []
